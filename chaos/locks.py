"""Everything at once on one SQLite file: does anybody ever meet "database is locked"?

    python -m chaos.locks --seconds 60

Three processes of four threads each: drivers of syncs, refreshes of cohorts, people in the admin.
"""

import random
import threading
import time

from chaos import fixtures

THREADS = 4
USERS = 20_000


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], seconds=60.0, database=fixtures.DATABASES)
    with fixtures.prepared(options.database):
        from tests import world
        from tests.partner import Partner

        with Partner() as partner:
            for number in range(THREADS):
                cohort = world.cohort(world.users(USERS), key=f"busy-{number}")
                preset = ("amplitude-list", "amplitude-property")[number % 2]
                world.sync(cohort, world.destination(partner.url, preset, batch_size=100))
            errors, done = _play(options)
    passed = not errors and all(done.values())
    fixtures.finish({**vars(options), "errors": errors[:5], "done": done}, passed=passed)


def _play(options):
    context = fixtures.processes()
    outcomes = context.Queue()
    jobs = ("drive", "refresh", "browse")
    started = [context.Process(target=work, args=(job, options.seconds, outcomes)) for job in jobs]
    for process in started:
        process.start()
    errors, done = [], {}
    for _ in started:
        job, count, found = outcomes.get(timeout=options.seconds + 120)
        done[job] = count
        errors += found
    for process in started:
        fixtures.ended(process)
    return errors, done


def work(job: str, seconds: float, outcomes) -> None:
    """Do one job in four threads until the time is over; put what was done and what went wrong."""
    import chaos.child  # noqa: F401

    errors, done = [], [0] * THREADS
    until = time.monotonic() + seconds

    def loop(number: int) -> None:
        from django.db import connections

        act = {"drive": _drive, "refresh": _refresh, "browse": _browse}[job](number)
        while time.monotonic() < until:
            try:
                act()
                done[number] += 1
            except Exception as error:  # noqa: BLE001  # each is a figure
                errors.append(f"{job}: {type(error).__name__}: {error}")
        connections.close_all()

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcomes.put((job, sum(done), errors))


def _drive(number):
    from syncs import lifecycle
    from syncs.choices import RunMode, RunState, Trigger
    from syncs.delivery.drive import drive
    from syncs.delivery.ended import How
    from syncs.models import Sync

    sync = Sync.objects.get(cohort__key=f"busy-{number}")

    def act() -> None:
        run = lifecycle.start(sync, trigger=Trigger.COMMAND, mode=RunMode.FULL)
        ended = drive(sync.destination_id, stop=threading.Event())
        run.refresh_from_db()
        assert ended.how == How.DONE, ended.reason
        assert run.state == RunState.SUCCEEDED, run.reason

    return act


def _refresh(number):
    from cohorts import refresh
    from cohorts.models import Cohort
    from tests import world

    cohort = Cohort.objects.get(key=f"busy-{number}")
    chance = random.Random(number)

    def act() -> None:
        first = chance.randrange(USERS)
        refresh.replace(cohort.pk, world.users(USERS, first=first), source="chaos")

    return act


def _browse(number):
    from django.contrib.auth.models import User
    from django.test import Client

    from cohorts.models import Cohort
    from destinations.models import Destination
    from syncs.models import Sync

    client = Client()
    client.force_login(User.objects.create_superuser(f"person-{number}"))
    pages = ["/admin/", "/admin/syncs/sync/", "/admin/syncs/run/", "/admin/cohorts/cohort/"]
    sync = Sync.objects.get(cohort__key=f"busy-{number}")

    def act() -> None:
        for page in pages:
            reply = client.get(page)
            assert reply.status_code == 200, f"{page}: {reply.status_code}"
        # What a person's forms write.
        Cohort.objects.filter(pk=sync.cohort_id).update(description=str(time.time()))
        made = Destination.objects.create(
            name=f"made-{number}-{time.monotonic_ns()}", base_url="http://x.test"
        )
        made.delete()

    return act


if __name__ == "__main__":
    main()
