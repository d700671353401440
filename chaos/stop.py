"""SIGTERM at random instants of a sync: does a worker record what is in flight, send nothing new, and leave?

    python -m chaos.stop --rounds 20

In each round one worker is asked once: afterwards no batch may be left as being sent, the lease must be
free, and the next driver must send nothing twice. Another one, whose partner is slow, is asked twice:
it must be gone at once. On a machine that has much else to do, --patience 5 lets it take five times as long.
"""

import signal
import time
from random import Random

from chaos import fixtures

THREADS = 4
DELAY = 0.05
# Seconds: how long a worker may take to leave, beside the partner's delay; a second signal, at once.
AT_MOST, AT_ONCE = 2.0, 1.0
# How long after the signal a request may still set out: the thread had it already.
LATE = 0.15


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0], rounds=20, users=20_000, patience=1.0, database=fixtures.DATABASES
    )
    with fixtures.prepared(options.database):
        chance = Random(options.seed)
        played = [_play(chance, options.users, options.patience) for _ in range(options.rounds)]
        figures = {name: sum(one[name] for one in played) for name in ("left_sending", "sent_twice", "equal")}
        figures["most_new_requests"] = max(one["new_requests"] for one in played)
        figures["slowest_exit_seconds"] = max(one["seconds"] for one in played)
        figures["exit_codes"] = sorted({one["code"] for one in played})
        figures["lease_held"] = sum(one["lease_held"] for one in played)
        figures["second_signal_seconds"] = max(_twice(options.users) for _ in range(2))
    wrong = ("left_sending", "sent_twice", "most_new_requests", "lease_held")
    passed = (
        not any(figures[name] for name in wrong)
        and figures["equal"] == options.rounds
        and figures["exit_codes"] == [0]
        and figures["slowest_exit_seconds"] <= AT_MOST * options.patience
        and figures["second_signal_seconds"] <= AT_ONCE * options.patience
    )
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(chance, users, patience):
    from chaos.child import drive_once
    from syncs import lifecycle
    from syncs.choices import BatchState, Trigger
    from syncs.models import Batch, Driver
    from tests import world
    from tests.partner import Partner

    with Partner(delay=DELAY) as partner:
        sync = world.sync(
            world.cohort(world.users(users)),
            world.destination(partner.url, "amplitude-list", batch_size=users // 200, threads=THREADS),
        )
        lifecycle.start(sync, trigger=Trigger.COMMAND)
        worker = fixtures.worker()
        _wait_for(partner, chance.randrange(2, 120))
        time.sleep(chance.uniform(0, 0.05))
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
        seconds = round(time.monotonic() - began, 2)
        # A call is noted when its delay is over; one may have set out as the signal came.
        new = sum(call.at > began + DELAY + LATE * patience for call in partner.calls)
        left = Batch.objects.filter(run__sync=sync, state=BatchState.SENDING).count()
        held = Driver.objects.filter(destination=sync.destination, until__isnull=False).count()
        drive_once(sync.destination_id)
        sync.refresh_from_db()
        return {
            "code": code,
            "seconds": seconds,
            "new_requests": new,
            "left_sending": left,
            "lease_held": held,
            "sent_twice": sum(count - 1 for count in partner.payloads().values()),
            "equal": partner.members(world.name_at_partner(sync)) == world.wanted(sync),
        }


def _twice(users: int) -> float:
    """Return the seconds that a worker lives after a second signal, while its partner takes its time."""
    from syncs import lifecycle
    from syncs.choices import RunState, Trigger
    from syncs.models import Run
    from tests import world
    from tests.partner import Partner

    with Partner(delay=3.0) as partner:
        sync = world.sync(world.cohort(world.users(users)), world.destination(partner.url))
        run = lifecycle.start(sync, trigger=Trigger.COMMAND)
        worker = fixtures.worker()
        while not partner.in_flight:
            time.sleep(0.01)
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(60)
        seconds = round(time.monotonic() - began, 2)
        Run.objects.end(run.pk, RunState.CANCELLED, reason="The round is over.")
        assert code == 128 + signal.SIGTERM, code
    return seconds


def _wait_for(partner, calls: int) -> None:
    until = time.monotonic() + 60
    while len(partner.calls) < calls:
        if time.monotonic() > until:
            raise TimeoutError("The worker sends nothing.")
        time.sleep(0.001)


if __name__ == "__main__":
    main()
