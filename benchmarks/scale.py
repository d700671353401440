"""How sending grows with workers, and with what is due at once.

    python -m benchmarks.scale                    # 1, 2 and 4 workers on 20 destinations that answer in 50 ms
    python -m benchmarks.scale --part large       # 10 million members to 5 destinations
    python -m benchmarks.scale --part minute      # 100 syncs due in one minute

On PostgreSQL (TEST_POSTGRES_URL). The partners are those of the tests, a process for every five, so that they
are not what is measured; they and the workers share this machine's processors. Theory: each destination has
THREADS requests under way all the time, of BATCH users and DELAY seconds.
"""

import argparse
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from chaos import fixtures

THREADS, BATCH, DELAY = 4, 1_000, 0.05
PARTNERS_EACH = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", choices=["workers", "large", "minute"], default="workers")
    parser.add_argument("--users", type=int, help="members of the cohort")
    options = parser.parse_args()
    with fixtures.prepared("postgres"):
        {"workers": workers, "large": large, "minute": minute}[options.part](options.users)


def workers(users: int | None) -> None:
    users, destinations = users or 100_000, 20
    theory = destinations * THREADS * BATCH / DELAY
    print(f"{destinations} destinations, {users:,} users each, {DELAY:g} s; theory: {theory:,.0f} users/s")
    with partners(destinations) as urls:
        syncs = made(urls, users)
        for count in (1, 2, 4):
            seconds = sent(syncs, count)
            rate = users * destinations / seconds
            print(
                f"{count} workers: {seconds:.1f} s, {rate:,.0f} users/s in all, {rate / theory:.1%} of theory"
            )


def large(users: int | None) -> None:
    users = users or 10_000_000
    with partners(5) as urls:
        began = time.monotonic()
        syncs = made(urls, users)
        print(f"{users:,} members written in {time.monotonic() - began:.0f} s")
        seconds = sent(syncs, 2)
        print(f"to 5 destinations by 2 workers: {seconds:.0f} s, {users * 5 / seconds:,.0f} users/s in all")


def minute(users: int | None) -> None:
    """From the moment in which all are due to the end of each run."""
    from syncs.models import Run

    users = users or 1_000
    with partners(100) as urls:
        syncs = made(urls, users)
        seconds = sent(syncs, 2)
        ended = sorted(
            (run.finished_at - run.created_at).total_seconds() for run in Run.objects.all() if run.finished_at
        )
        print(
            f"100 syncs of {users:,} users due at once, 2 workers: all ended after {seconds:.1f} s; "
            f"half of them after {ended[50]:.1f} s"
        )


def made(urls, users: int):
    from tests import world

    cohort = world.cohort(world.users(users))
    fields = {"threads": THREADS, "batch_size": BATCH}
    return [world.sync(cohort, world.destination(url, **fields)) for url in urls]


def sent(syncs, count: int) -> float:
    """Send everybody to each, by so many workers that have started; return the seconds it took."""
    from syncs import lifecycle
    from syncs.choices import OPEN_RUNS, RunMode, RunState, Trigger
    from syncs.models import Run

    running = [_worker(len(syncs)) for _ in range(count)]
    try:
        _until_started(running)
        began = time.monotonic()
        runs = [lifecycle.start(sync, trigger=Trigger.SCHEDULE, mode=RunMode.FULL).pk for sync in syncs]
        while Run.objects.filter(pk__in=runs, state__in=OPEN_RUNS).exists():
            time.sleep(0.05)
        seconds = time.monotonic() - began
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)
    assert Run.objects.filter(pk__in=runs, state=RunState.SUCCEEDED).count() == len(runs)
    return seconds


def _worker(destinations: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "manage.py", "sync_worker", f"--slots={destinations}"])


def _until_started(running) -> None:
    """Wait until the workers have connected to the database: starting is not what is measured."""
    from django.db import connection

    deadline = time.monotonic() + 120
    asked = "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE datname = current_database()"
    while True:
        with connection.cursor() as cursor:
            cursor.execute(asked)
            if cursor.fetchone()[0] > len(running):
                return
        assert all(process.poll() is None for process in running) and time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def partners(count: int) -> Iterator[list[str]]:
    """Yield the addresses of so many partners, a few to a process."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        urls: list[str] = []
        for begin in range(0, count, PARTNERS_EACH):
            here, there = context.Pipe()
            process = context.Process(
                target=_serve, args=(min(PARTNERS_EACH, count - begin), there), daemon=True
            )
            process.start()
            stack.callback(process.kill)
            urls += here.recv()
        yield urls


def _serve(count: int, pipe) -> None:
    from tests.partner import Partner

    with ExitStack() as stack:
        pipe.send([stack.enter_context(_forgetful(Partner)).url for _ in range(count)])
        time.sleep(24 * 3600)


def _forgetful(kind):
    """A partner that keeps no calls: with ten million users they would fill the memory."""
    from collections import deque

    partner = kind(delay=DELAY)
    partner.calls = deque(maxlen=1)
    return partner


if __name__ == "__main__":
    main()
