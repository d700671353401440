"""A hundred partners that fail, beside a healthy one: how much slower is the healthy one's sync?

    python -m chaos.neighbours --failing 100

The worker is the real one, and waits are as long as in life. The time is from making the run to its end.
"""

import time

from chaos import fixtures

MOST = 1.10


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0], failing=100, batches=800, rounds=3, most=MOST, database=fixtures.DATABASES
    )
    with fixtures.prepared(options.database, RETRY_TIME_SCALE="1.0"):
        alone, alongside = [], []
        for _ in range(options.rounds):
            alone.append(_play(0, options.batches))
            alongside.append(_play(options.failing, options.batches))
            fixtures.progress(f"alone {alone[-1]:.2f} s, beside the failing ones {alongside[-1]:.2f} s")
    ratio = _median(alongside) / _median(alone)
    figures = {
        "alone_seconds": [round(seconds, 2) for seconds in alone],
        "beside_seconds": [round(seconds, 2) for seconds in alongside],
        "ratio_of_medians": round(ratio, 3),
    }
    fixtures.finish({**vars(options), **figures}, passed=ratio <= options.most)


def _median(values):
    return sorted(values)[len(values) // 2]


def _play(failing: int, batches: int) -> float:
    """Return the seconds that the healthy sync took; its partner answers after 50 ms."""
    from syncs import lifecycle
    from syncs.choices import OPEN_RUNS, RunState, Trigger
    from syncs.models import Run, Sync
    from tests import world
    from tests.partner import Fault, Partner

    Run.objects.filter(state__in=OPEN_RUNS).update(state=RunState.CANCELLED)
    with Partner(delay=0.05) as healthy, Partner() as sick:
        sick.fault = lambda call: Fault(503, {}) if len(sick.calls) % 2 else Fault(how="reset")
        cohort = world.cohort(world.users(batches * 100))
        small = world.cohort(world.users(100))
        worker = fixtures.worker()
        _wait(lifecycle.start(world.sync(small, world.destination(healthy.url)), trigger=Trigger.SCHEDULE))
        for _ in range(failing):
            lifecycle.start(world.sync(small, world.destination(sick.url)), trigger=Trigger.SCHEDULE)
        sync: Sync = world.sync(cohort, world.destination(healthy.url, batch_size=100))
        # Each of the failing ones has been tried: from here on they come back, again and again.
        while Run.objects.filter(sync__cohort=small, started_at=None).exists():
            time.sleep(0.05)
        began = time.monotonic()
        run = lifecycle.start(sync, trigger=Trigger.SCHEDULE)
        _wait(run)
        took = time.monotonic() - began
        worker.terminate()
        worker.wait()
        assert healthy.members(world.name_at_partner(Sync.objects.get(pk=sync.pk))) == world.wanted(sync)
    return took


def _wait(run) -> None:
    from syncs.choices import DONE_RUNS

    while type(run).objects.filter(pk=run.pk).exclude(state__in=DONE_RUNS).exists():
        time.sleep(0.02)


if __name__ == "__main__":
    main()
