"""A partner that fails three calls in ten, in every way it can: do both sides end equal?

    python -m chaos.flaky --seeds 20 --users 100000

Per seed a first sync in full and one of the changes, list-based and property-based in turn.
"""

import random
import threading

from chaos import fixtures

RATE = 0.3
MOST_TRIES = 9


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0], seeds=20, users=100_000, rate=RATE, database=fixtures.DATABASES
    )
    with fixtures.prepared(options.database):
        from tests.partner import Partner

        equal, most, calls, failed, unsettled = 0, 0, 0, 0, 0
        for seed in range(options.seed, options.seed + options.seeds):
            with Partner(delay=0.001) as partner:
                faults = _play(partner, seed, options)
                equal += faults["equal"]
                unsettled += faults["rejected"]
                failed += faults["failed"]
                most = max(most, *partner.payloads().values())
                calls += len(partner.calls)
            fixtures.progress(f"{equal} equal, at most {most} requests for a payload")
    figures = {"equal": equal, "most_requests_for_a_payload": most, "requests": calls}
    figures |= {"failed_on_purpose": failed, "undelivered_at_the_end": unsettled}
    fixtures.finish({**vars(options), **figures}, passed=equal == options.seeds and most <= MOST_TRIES)


def _play(partner, seed, options):
    from syncs import lifecycle
    from syncs.choices import OPEN_RUNS, Trigger
    from syncs.delivery.slots import drive_runs
    from syncs.models import Run
    from tests import world
    from tests.partner import Fault

    chance = random.Random(seed)
    failed = [0]

    def fault(call):
        if chance.random() >= options.rate:
            return None
        failed[0] += 1
        after = chance.random() < 0.5
        return chance.choice(
            [
                Fault(429, {}, headers={"Retry-After": "1"}),
                Fault(500, {}, apply=after),
                Fault(503, {}, apply=after),
                Fault(how="silence", seconds=0.3, apply=after),
                Fault(how="reset", apply=after),
                Fault(200, {"listId": 1}, how="half", apply=after and call.kind != "create"),
            ]
        )

    preset = "amplitude-list" if seed % 2 else "amplitude-property"
    fields = {"read_timeout": 0.2, "batch_size": max(options.users // 100, 10)}
    cohort = world.cohort(world.users(options.users))
    sync = world.sync(cohort, world.destination(partner.url, preset, **fields))
    partner.fault = fault
    for first in (0, options.users // 3):
        world.fill(cohort, world.users(options.users, first=first))
        run = lifecycle.start(sync, trigger=Trigger.COMMAND)
        while Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).exists():
            drive_runs([run], stop=threading.Event())
    sync.refresh_from_db()
    wrong = partner.members(world.name_at_partner(sync)) ^ world.wanted(sync)
    rejected = world.rejected(sync)
    return {"equal": wrong <= rejected, "rejected": len(rejected), "failed": failed[0]}


if __name__ == "__main__":
    main()
