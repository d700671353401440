"""The database cuts every connection, again and again, while a worker delivers: does it come through?

    python -m chaos.outage --cuts 50

PostgreSQL only: it is what a restart of its server, or a firewall, does. The worker must stay alive, and
both sides must end equal. A driver that was cut leaves its lease; it is taken over when it has run out.
"""

import random
import time

from chaos import fixtures

DEADLINE = 1.0


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], cuts=50, users=100_000, database=("postgres",))
    with fixtures.prepared("postgres"):
        figures = _play(options)
    passed = figures["worker_lives"] and figures["equal"]
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(options):
    from django.db import connection

    from syncs import lifecycle
    from syncs.choices import OPEN_RUNS, RunMode, Trigger
    from syncs.models import Driver, Run
    from tests import world
    from tests.partner import Partner

    chance = random.Random(options.seed)
    cuts = rounds = 0
    with Partner(delay=0.02) as partner:
        sync = world.sync(
            world.cohort(world.users(options.users)),
            world.destination(partner.url, batch_size=options.users // 400, deadline=DEADLINE),
        )
        worker = fixtures.worker()
        try:
            while cuts < options.cuts and worker.poll() is None:
                run = lifecycle.start(sync, trigger=Trigger.COMMAND, mode=RunMode.FULL)
                until = time.monotonic() + 120
                while Run.objects.filter(pk=run.pk, state__in=OPEN_RUNS).exists():
                    if time.monotonic() > until:
                        raise TimeoutError("The run does not come to its end.")
                    time.sleep(chance.uniform(0.2, 1.5))
                    if cuts < options.cuts:
                        cuts += _cut(connection)
                    # What was parked for an error, and a lease that nobody holds, need not be waited for.
                    Driver.objects.update(next_at=None)
                rounds += 1
                fixtures.progress(f"{cuts} cuts, {rounds} runs")
            lives = worker.poll() is None
        finally:
            worker.terminate()
            worker.wait(60)
        sync.refresh_from_db()
        equal = partner.members(world.name_at_partner(sync)) == world.wanted(sync)
    return {"cuts": cuts, "runs": rounds, "worker_lives": lives, "equal": equal}


def _cut(connection) -> int:
    """End every other session of this database; return 1."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
    return 1


if __name__ == "__main__":
    main()
