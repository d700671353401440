"""kill -9 at random instants of a sync: does the partner's list end equal to the cohort, each time?

    python -m chaos.kill --kills 200 --users 100000 --database postgres --kind property
    python -m chaos.kill --variant record-first       # a driver that records before it sends: must fail

A driver in a process of its own sends the whole cohort; it is killed at a random instant; another one
recovers. Then the two sides are compared, and the requests that came twice are counted. The partner does
not apply a request whose sender is gone, as many web servers do not; and before each round it is made to
hold just whom it should not, so that every request of the round matters.
"""

import random
import time

from chaos import fixtures

THREADS = 4


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0],
        kills=200,
        users=100_000,
        database=fixtures.DATABASES,
        kind=("list", "property"),
        variant=("none", "record-first"),
    )
    with fixtures.prepared(options.database):
        passed, figures = _play(options)
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(options):
    from syncs import lifecycle
    from syncs.choices import OPEN_RUNS, RunMode, Trigger
    from syncs.models import Batch, Run
    from tests import world
    from tests.partner import Partner

    chance = random.Random(options.seed)
    context = fixtures.processes()
    kills = equal = most_again = 0
    slowest = 0.0
    left: set[str] = set()
    with Partner(delay=0.02, drops_abandoned=True) as partner:
        cohort = world.cohort(world.users(options.users))
        fields = {"batch_size": max(options.users // 100, 10), "threads": THREADS}
        sync = world.sync(cohort, world.destination(partner.url, f"amplitude-{options.kind}", **fields))

        def drive():
            process = context.Process(target=_child, args=(sync.destination_id, options.variant))
            process.start()
            return process

        while kills < options.kills:
            partner.calls.clear()
            _turn_round(partner, sync, left)
            run = lifecycle.start(sync, trigger=Trigger.COMMAND, mode=RunMode.FULL)
            process = drive()
            target = chance.randrange(1, 100)
            while len(partner.calls) < target and process.exitcode is None:
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
            process.join()
            # One that was through already has not been killed in the middle.
            kills += Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).exists()
            began = time.monotonic()
            while Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).exists():
                fixtures.ended(drive())
            slowest = max(slowest, time.monotonic() - began)
            most_again = max(most_again, sum(count - 1 for count in partner.payloads().values()))
            equal += partner.members(world.name_at_partner(sync)) == world.wanted(sync)
            rounds = Run.objects.count()
            fixtures.progress(f"{kills} kills, equal {equal} of {rounds}, {most_again} sent again")
            before = world.wanted(sync)
            world.fill(cohort, world.users(options.users, first=rounds * (options.users // 100)))
            left = before - world.wanted(sync)
            Batch.objects.all().delete()
    figures = {"kills": kills, "rounds": rounds, "equal": equal, "most_batches_sent_again": most_again}
    figures["slowest_recovery_seconds"] = round(slowest, 1)
    return equal == rounds and most_again <= THREADS, figures


def _turn_round(partner, sync, left: set[str]) -> None:
    """Make the partner hold those who have left the cohort, and nobody else."""
    from tests import world

    for list_id in partner.lists:
        partner.lists[list_id] = set(left)
    name = world.name_at_partner(sync)
    partner.traits.clear()
    for user in left if sync.destination.kind == "property" else ():
        partner.traits[user][name] = True


def _child(destination_id: int, variant: str) -> None:
    from chaos.child import drive_once

    drive_once(destination_id, variant)


if __name__ == "__main__":
    main()
