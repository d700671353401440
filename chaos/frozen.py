"""A driver that was frozen past its lease (SIGSTOP), and goes on after another one took over.

    python -m chaos.frozen --rounds 20

It must write nothing, and start no request: at most one a thread may slip, between check and send.
"""

import os
import random
import signal
import time

from chaos import fixtures

THREADS = 4
# Seconds: a request's deadline, and how much longer a lease is. Short, to freeze for seconds only.
DEADLINE, MARGIN = 1.0, 1.0


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], rounds=20, users=20_000, database=fixtures.DATABASES)
    with fixtures.prepared(options.database):
        from tests.partner import Partner

        chance = random.Random(options.seed)
        wrote, most_late, equal = 0, 0, 0
        for number in range(1, options.rounds + 1):
            with Partner(delay=0.02) as partner:
                writes, late, same = _play(partner, chance, options.users)
            wrote += writes
            equal += same
            most_late = max(most_late, late)
            fixtures.progress(f"{number} rounds: {wrote} writes, {most_late} late requests")
    figures = {"writes_after_takeover": wrote, "most_late_requests": most_late, "equal": equal}
    passed = not wrote and most_late <= THREADS and equal == options.rounds
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(partner, chance, users):
    from chaos.child import drive_once
    from syncs import lifecycle
    from syncs.choices import Trigger
    from tests import world

    fields = {"batch_size": users // 200, "threads": THREADS, "deadline": DEADLINE, "read_timeout": DEADLINE}
    sync = world.sync(
        world.cohort(world.users(users)), world.destination(partner.url, "amplitude-list", **fields)
    )
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    frozen = fixtures.processes().Process(target=drive_once, args=(sync.destination_id, "", MARGIN))
    frozen.start()
    freeze_after = chance.randrange(2, 150)
    while len(partner.calls) < freeze_after:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.02))
    _freeze(frozen.pid)
    time.sleep(DEADLINE + MARGIN + 0.2)

    second = fixtures.processes().Process(target=drive_once, args=(sync.destination_id,))
    second.start()
    fixtures.ended(second)
    rows, calls = _rows(), len(partner.calls)
    os.kill(frozen.pid, signal.SIGCONT)
    fixtures.ended(frozen)
    wrote = rows != _rows()
    sync.refresh_from_db()
    same = partner.members(world.name_at_partner(sync)) == world.wanted(sync)
    return wrote, len(partner.calls) - calls, same


def _freeze(pid: int) -> None:
    """Stop the process; on SQLite outside of its transactions, within which nobody could take over.

    On PostgreSQL the server ends a session that is idle in a transaction for a minute.
    """
    from django.db import OperationalError, connection, transaction

    while True:
        os.kill(pid, signal.SIGSTOP)
        if connection.vendor != "sqlite":
            return
        connection.ensure_connection()
        connection.cursor().execute("PRAGMA busy_timeout = 50")
        try:
            with transaction.atomic():  # it begins by taking the one lock for writing
                return
        except OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.005)
        finally:
            connection.cursor().execute("PRAGMA busy_timeout = 30000")


def _rows():
    """Everything that a driver writes."""
    from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync

    models = (Sync, Run, Batch, Attempt, Rejection, Driver)
    return [list(model.objects.order_by("pk").values()) for model in models]


if __name__ == "__main__":
    main()
