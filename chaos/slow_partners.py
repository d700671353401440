"""A hundred slow or failing partners and a quick one, all due at once: when has the quick one its cohort?

    python -m chaos.slow_partners --kind slow
    python -m chaos.slow_partners --kind failing

The worker is the real one, and waits are as long as in life. All runs wait when it starts. Seconds are from
its first request to the end of the quick one's run; and from the start of its process. On a machine that is
busy with other work, look at `cpu_seconds`: those of the worker, from its first request on.
"""

import os
import time
from pathlib import Path

from chaos import fixtures

MOST = 2.0
ANSWER_AFTER = 2.0


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0],
        kind=("slow", "failing"),
        partners=100,
        rounds=3,
        most=MOST,
        database=fixtures.DATABASES,
    )
    with fixtures.prepared(options.database, RETRY_TIME_SCALE="1.0"):
        rounds = [_play(options.kind, options.partners) for _ in range(options.rounds)]
    figures = {name: [one[name] for one in rounds] for name in rounds[0]}
    passed = sorted(figures["seconds"])[len(rounds) // 2] <= options.most
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(kind: str, partners: int) -> dict[str, float]:
    """Return the figures of one worker: seconds, and the peak of its memory in MB."""
    from syncs import lifecycle
    from syncs.choices import DONE_RUNS, OPEN_RUNS, RunState, Trigger
    from syncs.models import Run, Sync
    from tests import world
    from tests.partner import Fault, Partner

    Run.objects.filter(state__in=OPEN_RUNS).update(state=RunState.CANCELLED)
    with Partner() as quick, Partner() as other:
        if kind == "slow":
            other.delay = ANSWER_AFTER
        else:
            other.fault = lambda call: Fault(503, {}) if len(other.calls) % 2 else Fault(how="reset")
        cohort = world.cohort(world.users(2_000))
        syncs = [world.sync(cohort, world.destination(other.url, batch_size=100)) for _ in range(partners)]
        # In the middle of them: neither the first nor the last that was asked for.
        syncs.insert(partners // 2, world.sync(cohort, world.destination(quick.url, batch_size=100)))
        runs = {sync.pk: lifecycle.start(sync, trigger=Trigger.SCHEDULE) for sync in syncs}
        sync: Sync = syncs[partners // 2]
        started = time.monotonic()
        worker = fixtures.worker()
        began, cpu = None, 0.0
        while not Run.objects.filter(pk=runs[sync.pk].pk, state__in=DONE_RUNS).exists():
            if began is None and (quick.calls or other.calls):
                began, cpu = time.monotonic(), _cpu(worker.pid)
            time.sleep(0.02)
        ended, cpu = time.monotonic(), _cpu(worker.pid) - cpu
        # Until each of the others has been asked: all drivers are there then.
        while Run.objects.filter(pk__in=[run.pk for run in runs.values()], requests=0).exists():
            time.sleep(0.1)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        worker.kill()
        worker.wait()
        assert quick.members(world.name_at_partner(Sync.objects.get(pk=sync.pk))) == world.wanted(sync)
    return {
        "seconds": round(ended - (began or ended), 2),
        "seconds_with_start": round(ended - started, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak / 1024),
    }


def _cpu(pid: int) -> float:
    """Return the seconds that a process has had of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
