"""Two web machines, two workers and a beat share PostgreSQL, Redis and an object store: each fails in turn.

    python -m chaos.machines --rounds 16 --users 5000

In each round everybody is sent to each of six partners, a file is uploaded at one of the web machines, and
events come in by HTTP, while one thing fails at a random instant: one of the five processes is killed with
signal 9 and started again, Redis dies and comes back empty, the object store dies and comes back, PostgreSQL
ends all sessions. What people do is done here, too: a call or an upload that was not taken is sent again, an
import that failed is tried again. In the end nothing may be lost, no two drivers may have sent to a partner
at once, and no event may count twice.
"""

import random
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import requests

from chaos import fixtures

PARTNERS, BATCHES = 6, 50
PASSWORD = "correct horse battery"
PLAYED = {"version": 1, "where": {"performed": {"event": "play"}}}
# Seconds for which work may go on after what failed has come back.
PATIENCE = 300


def main() -> None:
    options = fixtures.arguments(__doc__.split("\n")[0], rounds=16, users=5_000, database=("postgres",))
    with fixtures.prepared("postgres"), ExitStack() as stack:
        figures = _play(options, stack)
    fixtures.finish({**vars(options), **figures}, passed=_is_well(options, figures))


def _is_well(options, figures):
    return (
        figures["equal"] == PARTNERS
        and figures["most_at_once"] == 1
        and figures["events_counted"] == figures["events"] > 0
        and figures["uploaded"] == options.rounds
    )


def _play(options, stack: ExitStack):
    from tests import machines, world
    from tests.partner import Partner

    chance = random.Random(options.seed)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    site, broker, store = stack.enter_context(machines.machines(folder))
    partners = [stack.enter_context(Partner(delay=0.05)) for _ in range(PARTNERS)]
    cohort, uploaded = world.cohort(world.users(options.users)), world.cohort()
    fields = {"threads": 1, "batch_size": options.users // BATCHES, "deadline": 1.0}
    syncs = [world.sync(cohort, world.destination(partner.url, **fields)) for partner in partners]
    person = Person(site, uploaded)
    sender = Sender(site.urls["web-a"], person.key)
    stack.callback(sender.stop)
    fails = [(name, partial(site.kill, name), partial(site.start, name)) for name in machines.NAMES]
    fails += [
        (name, partial(it.kill), partial(it.start)) for name, it in (("redis", broker), ("store", store))
    ]
    fails += [("postgresql", partial(_cut), partial(_cut))]
    failed: dict[str, int] = {}
    slowest = 0.0
    for number in range(options.rounds):
        name, fail, return_ = fails[number % len(fails)]
        _start_all(syncs)
        upload = threading.Thread(target=person.upload, args=(number,))
        upload.start()
        time.sleep(chance.uniform(0.2, 3))
        fail()
        time.sleep(chance.uniform(0, 2))
        return_()
        began = time.monotonic()
        upload.join()
        _tried(lambda: _until_done(person))
        slowest = max(slowest, time.monotonic() - began)
        failed[name] = failed.get(name, 0) + 1
        fixtures.progress(f"{number + 1} of {options.rounds} rounds, {name}")
    sender.stop()
    sent = sum(len(partner.sent("add")) for partner in partners) // fields["batch_size"]
    uploaded.refresh_from_db()
    return {
        "failed": failed,
        "slowest_recovery_seconds": round(slowest, 1),
        "equal": sum(
            p.members(world.name_at_partner(s)) == world.wanted(s)
            for p, s in zip(partners, syncs, strict=True)
        ),
        "most_at_once": max(partner.most_in_flight for partner in partners),
        "batches": BATCHES * PARTNERS * options.rounds,
        "batches_sent_again": sent - BATCHES * PARTNERS * options.rounds,
        "uploaded": _size(uploaded),
        "imports_tried_again": person.tried_again,
        "events": len(sender.taken),
        "calls_sent_again": sender.again,
        "events_counted": _counted(len(sender.taken)),
    }


def _tried(act):
    """Do something until the database, whose sessions are ended, answers."""
    from django.db import OperationalError, connection

    while True:
        try:
            return act()
        except OperationalError:
            connection.close()
            time.sleep(0.2)


def _cut() -> None:
    from django.db import connection

    with suppress(Exception), connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )


def _start_all(syncs) -> None:
    from syncs import lifecycle
    from syncs.choices import RunMode, Trigger

    for sync in syncs:
        _tried(lambda sync=sync: lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL))


def _until_done(person) -> None:
    """Wait until no run and no upload is open; an import that failed is tried again, as a person would."""
    from cohorts.choices import UploadState
    from cohorts.models import Upload
    from syncs.choices import OPEN_RUNS
    from syncs.models import Run

    deadline = time.monotonic() + PATIENCE
    while True:
        for pk in Upload.objects.filter(state=UploadState.FAILED).values_list("pk", flat=True):
            person.tried_again += Upload.objects.try_again(pk)
        uploads = Upload.objects.exclude(state=UploadState.DONE).exists()
        if not uploads and not Run.objects.filter(state__in=OPEN_RUNS).exists():
            return
        if time.monotonic() > deadline:
            raise TimeoutError("A run or an upload does not come to its end.")
        time.sleep(0.2)


def _size(cohort) -> int:
    from cohorts import members

    return members.size_of(cohort.pk, cohort.version)


def _counted(sent: int) -> int:
    """Return how many people the worker finds to have played, when what is in the spool is taken in."""
    from cohorts.choices import PreviewState, SourceKind
    from cohorts.models import Preview

    found, deadline = -1, time.monotonic() + PATIENCE
    while found != sent and time.monotonic() < deadline:
        asked = Preview.objects.create(
            source_kind=SourceKind.BEHAVIORAL, definition=PLAYED, events_workspace="default", created_by_id=1
        )
        while asked.state not in (PreviewState.DONE, PreviewState.FAILED) and time.monotonic() < deadline:
            time.sleep(0.2)
            asked.refresh_from_db()
        found = asked.size if asked.state == PreviewState.DONE else -1
    return found


class Person:
    """Who uploads files with a browser, one user in each."""

    def __init__(self, site, cohort):
        from django.contrib.auth.models import User

        from receiving.keys import create_key
        from receiving.models import Workspace
        from tests import machines

        self.webs, self.tried_again = machines.WEBS, 0
        self.page = f"/admin/cohorts/cohort/{cohort.pk}/upload/"
        User.objects.create_superuser("ann", password=PASSWORD)
        self.key = create_key(Workspace.objects.create(slug="default"))[1]
        self.browser = machines.Browser(site)
        assert self.browser.log_in(self.webs[0], "ann", PASSWORD).url.endswith("/admin/")

    def upload(self, number: int) -> None:
        """Upload a file, at the other machine if one does not take it."""
        deadline = time.monotonic() + PATIENCE
        for turn in range(10_000):
            with suppress(requests.RequestException):
                file = (f"{number}.csv", f"user-{number}\n")
                web = self.webs[(number + turn) % 2]
                sent = self.browser.submit(web, self.page, {"mode": "add"}, files={"file": file})
                if sent.ok and "/uploads/" in sent.url:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError("No machine takes the upload.")
            time.sleep(0.3)


class Sender(threading.Thread):
    """Sends an event of another user again and again; one that is not answered by 200, again."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(daemon=True)
        self.url, self.key, self.stopped = f"{url}/v1/track", key, threading.Event()
        self.taken: list[str] = []
        self.again = 0
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(0.05):
            user = f"player-{len(self.taken)}"
            event = {"type": "track", "userId": user, "event": "play", "messageId": user}
            event["timestamp"] = datetime.now(UTC).isoformat()
            while not self._send(event):
                self.again += 1
                time.sleep(0.2)
            self.taken.append(user)

    def _send(self, event) -> bool:
        with suppress(requests.RequestException):
            headers = {"Authorization": f"Bearer {self.key}"}
            return requests.post(self.url, json=event, headers=headers, timeout=10).status_code == 200
        return False

    def stop(self) -> None:
        self.stopped.set()
        self.join(60)


if __name__ == "__main__":
    main()
