"""Several workers on one database share its destinations: many machines, without a broker."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Driver, Run
from tests import world
from tests.partner import Fault, Partner

DESTINATIONS, SLOTS = 6, 3


def database_url():
    """Return the test's own database, for other processes."""
    given = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{given['NAME']}"
    login = f"{given['USER']}:{given['PASSWORD']}".rstrip(":")
    return f"postgres://{login}@{given['HOST']}:{given['PORT']}/{given['NAME']}"


class Worker:
    """A `sync_worker` of its own, and what it logs."""

    def __init__(self, folder, name):
        self.log = folder / f"{name}.log"
        environ = os.environ | {
            "DATABASE_URL": database_url(), "VAR_DIR": str(folder), "LOG_FORMAT": "json",
        }  # fmt: skip
        command = [sys.executable, "manage.py", "sync_worker", f"--slots={SLOTS}"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=environ, stderr=log, cwd=settings.BASE_DIR)

    def lines(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def ended_runs(self):
        return [line["run"] for line in self.lines() if "run" in line]

    def leave(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def until(fact, seconds=90):
    """Ask again and again; return what was true at last."""
    deadline = time.monotonic() + seconds
    while not (found := fact()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_workers_share_the_destinations_and_each_run_is_made_once(tmp_path: Path):
    ids = [f"user-{n}" for n in range(50)]
    opened = threading.Event()
    with Partner() as partner:
        # The first requests wait until each destination has its driver: neither worker can take them all.
        partner.fault = lambda call: None if opened.wait(120) else Fault(status=503)
        cohort = world.cohort(ids)
        syncs = [world.sync(cohort, world.destination(partner.url)) for _ in range(DESTINATIONS)]
        runs = [lifecycle.start(sync, trigger=Trigger.SCHEDULE) for sync in syncs]
        workers = [Worker(tmp_path, name) for name in ("one", "two")]
        try:
            owners = until(lambda: _owners() if len(_owners()) == DESTINATIONS else None)
            opened.set()
            until(lambda: not Run.objects.exclude(state=RunState.SUCCEEDED).exists())
            until(lambda: sum(len(worker.ended_runs()) for worker in workers) >= DESTINATIONS)
            assert [worker.leave() for worker in workers] == [0, 0]
        finally:
            opened.set()
            for worker in workers:
                worker.process.kill()
                worker.process.wait()
            cache.clear()  # the workers' signs of life: no model's table, so that nothing else empties it
    assert sorted(owners.count(owner) for owner in set(owners)) == [SLOTS, SLOTS]
    assert sorted(run for worker in workers for run in worker.ended_runs()) == [run.pk for run in runs]
    assert [len(worker.ended_runs()) for worker in workers] == [SLOTS, SLOTS]
    assert Run.objects.count() == DESTINATIONS
    # To the partner, too: each list was made once, and each user added to it once.
    assert len(partner.lists) == DESTINATIONS
    assert all(members == set(ids) for members in partner.lists.values())
    assert sorted(partner.sent("add")) == sorted(ids * DESTINATIONS)


def _owners():
    return list(Driver.objects.exclude(owner="").values_list("owner", flat=True))
