"""kill -9 at random instants along a relay: does its last partner end equal, and never get half a list?

    python -m chaos.relay --kills 200 --users 2000 --database postgres
    python -m chaos.relay --kills 200 --kind replacement    # Mixpanel's pages, a whole list each round
    python -m chaos.relay --kind replacement --variant mark-first     # notes before it reads: must fail

Four processes stand in a row: a driver that sends a cohort as Amplitude does (or pages, as Mixpanel sends
them), gunicorn with our receiving side, a follower that makes versions of what came, and a driver that
brings them to a partner of the catalogue, which fails one call in ten. In each round the first cohort becomes
another one, and processes are killed, at random, and started again, while it comes in and while it goes on.
Then nobody is killed any more, and the partner must come to hold the cohort by itself.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import requests

from chaos import fixtures

# Kills while a cohort comes in, and as many while it goes on.
KILLS = 4
CALLS = 20
# Seconds between two kills, at most, and of patience with a server that starts.
BETWEEN, PATIENCE = 0.5, 120
FAILS = 0.1


def main() -> None:
    options = fixtures.arguments(
        __doc__.split("\n")[0],
        kills=200,
        users=2_000,
        database=fixtures.DATABASES,
        kind=("list", "replacement"),
        within=120,  # seconds in which it must be equal when nobody is killed any more
        variant=("none", "mark-first"),
    )
    # As long as a server takes to start, a driver must go on trying.
    with fixtures.prepared(options.database, RETRY_TIME_SCALE="0.1", WEB_CONCURRENCY="1"):
        passed, figures = _play(options)
    fixtures.finish({**vars(options), **figures}, passed=passed)


def _play(options):
    from destinations.partners.serve import served
    from syncs.models import Run

    chance = random.Random(options.seed)
    names = ["sender", "server", "follower", "forwarder"][options.kind == "replacement" :]
    kills = dict.fromkeys(names, 0)
    rounds = equal = in_the_middle = 0
    slowest = 0.0
    with served() as partner, ThreadPoolExecutor(1) as other:
        relay = Relay(options, partner, chance)
        try:
            relay.start(*names)
            while sum(kills.values()) < options.kills:
                sending = other.submit(relay.become, chance.sample(relay.everybody, options.users))
                for number in range(2 * KILLS):
                    if number == KILLS:
                        sending.result()
                    time.sleep(chance.uniform(0, BETWEEN))
                    name = "follower" if options.variant == "mark-first" else chance.choice(names)
                    relay.kill(name)
                    in_the_middle += relay.is_under_way()
                    relay.start(name)
                    kills[name] += 1
                began = time.monotonic()
                rounds += 1
                equal += relay.comes_to_be_equal()
                slowest = max(slowest, time.monotonic() - began)
                fixtures.progress(f"{kills}, equal {equal} of {rounds}")
        finally:
            relay.stop()
        half = relay.half_replacements()
    figures = {
        "killed": kills,
        "while_something_was_under_way": in_the_middle,
        "rounds": rounds,
        "equal": equal,
        "half_replacements": half,
        "versions": relay.cohort.versions.count(),
        "runs": Run.objects.filter(sync=relay.forwarded).count(),
        "slowest_recovery_seconds": round(slowest, 1),
    }
    return equal == rounds and not half, figures


class Relay:
    """The rows of a relay, and its processes by name."""

    def __init__(self, options, partner, chance):
        from cohorts.choices import ScheduleKind, SourceKind
        from destinations.partners.fake import Answer, FakePartner
        from destinations.presets import PRESETS
        from receiving.keys import create_key
        from receiving.models import List, Workspace
        from syncs.models import Sync
        from tests import world

        self.options, self.partner = options, partner
        self.everybody = world.users(options.users * 2)
        self.processes, self.wanted, self.whole = {}, set(), []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = create_key(Workspace.objects.create(slug="acme"), name="chaos")[1]
        self.start("server")
        fields = {"batch_size": max(options.users // CALLS, 1), "rate": None}
        if options.kind == "list":
            self.source = world.cohort(hold_if_halved=False)
            self.sent = world.sync(self.source, world.destination(self.url, credential=self.key, **fields))
        self.become(self.everybody[: options.users])
        if options.kind == "list":
            self._until(lambda: self._ping())
            assert world.run(self.sent).added == options.users
        self.cohort = world.cohort(
            source_kind=SourceKind.RECEIVED,
            received_workspace="acme",
            received_list=str(List.objects.get().pk),
            schedule_kind=ScheduleKind.CHANGES,
        )
        to = world.destination(partner.url, "iterable-list", **fields)
        partner.partner = FakePartner(to.endpoint(), PRESETS["iterable-list"].fake)
        partner.partner.fault = lambda name: Answer(503, {}) if chance.random() < FAILS else None
        self.forwarded = world.sync(self.cohort, to)
        Sync.objects.update(schedule_kind=ScheduleKind.CHANGES)

    # --- what is sent in

    def become(self, users):
        """Let the first in the row be these users: a new version to send, or pages that replace the list."""
        from tests import world

        self.wanted = set(users)
        if self.options.kind == "list":
            world.fill(self.source, users)
            return
        self.whole.append(self.wanted)
        size = max(self.options.users // CALLS, 1)
        pages = [users[start : start + size] for start in range(0, len(users), size)]
        for number, page in enumerate(pages, 1):
            document = {
                "action": "members",
                "parameters": {
                    "mixpanel_cohort_id": "7",
                    "mixpanel_cohort_name": "Mix",
                    "mixpanel_session_id": f"s{len(self.whole)}",
                    "page_info": {"total_pages": len(pages), "page_count": number},
                    "members": [{"mixpanel_distinct_id": user} for user in page],
                },
            }
            self._until(lambda document=document: self._post("/mixpanel", document))
            time.sleep(BETWEEN / CALLS)

    def _post(self, path, document):
        with suppress(requests.ConnectionError):
            reply = requests.post(f"{self.url}{path}", json=document, auth=(self.key, ""), timeout=30)
            return reply.status_code == 200
        return False

    def _ping(self):
        with suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/healthz", timeout=30).ok
        return False

    @staticmethod
    def _until(succeeds):
        deadline = time.monotonic() + PATIENCE
        while not succeeds():
            if time.monotonic() > deadline:
                raise TimeoutError("The server does not take what it is sent.")
            time.sleep(0.05)

    # --- processes

    def start(self, *names):
        from chaos import child

        for name in names:
            if name in self.processes:
                continue
            if name == "server":
                bind = f"127.0.0.1:{self.port}"
                command = ["gunicorn", "cohortsite.wsgi", "--bind", bind, "--log-level", "critical"]
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", *command], start_new_session=True
                )
                continue
            ways = {"sender": "sent", "forwarder": "forwarded"}
            target, given = child.follow_on, (self.options.variant,)
            if name in ways:
                target, given = child.drive_on, (getattr(self, ways[name]).destination_id,)
            self.processes[name] = fixtures.processes().Process(target=target, args=given)
            self.processes[name].start()

    def kill(self, name):
        process = self.processes.pop(name)
        if name == "server":
            os.killpg(process.pid, signal.SIGKILL)  # with its children
            process.wait()
        else:
            process.kill()
            process.join()

    def stop(self):
        for name in list(self.processes):
            self.kill(name)

    # --- what came of it

    def is_under_way(self):
        """Say whether a run is open, or the cohort is being read."""
        from syncs.choices import OPEN_RUNS
        from syncs.models import Run

        self.cohort.refresh_from_db()
        return bool(self.cohort.claim_owner) or Run.objects.filter(state__in=OPEN_RUNS).exists()

    def comes_to_be_equal(self):
        from tests import world

        deadline = time.monotonic() + self.options.within
        while time.monotonic() < deadline:
            self.forwarded.refresh_from_db()
            name = world.name_at_partner(self.forwarded)
            if not self.is_under_way() and self.partner.partner.members(name) == self.wanted:
                return True
            time.sleep(0.1)
        return False

    def half_replacements(self):
        """Count the published versions that are not one of the lists that were sent whole."""
        from cohorts.choices import VersionState
        from tests import world

        if self.options.kind == "list":
            return 0
        published = self.cohort.versions.filter(state=VersionState.PUBLISHED)
        members = (world.members_at(self.forwarded, version.number) for version in published)
        return sum(one not in self.whole for one in members)


if __name__ == "__main__":
    main()
