"""A broker that dies, comes back empty, and delivers again and again: nothing is lost, or sent twice."""

import threading
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import Client

from cohortsite import heartbeat
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Run
from tests import world
from tests.brokers import Process, Redis, celery, tasks_on, until
from tests.partner import Partner

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
USERS = [f"user-{n:03}" for n in range(100)]


class AtOnce:
    """How many requests a partner has begun to answer, and when it may go on."""

    def __init__(self):
        self.open = threading.Event()
        self.lock = threading.Lock()
        self.now = self.all = 0

    def __call__(self, call):
        with self.lock:
            self.all += 1
            self.now += 1
        self.open.wait(60)
        with self.lock:
            self.now -= 1


def start(sync):
    return lifecycle.start(sync, trigger=Trigger.PERSON)


def test_a_broker_that_dies_and_comes_back_empty_loses_nothing(settings, tmp_path: Path):
    broker = Redis(tmp_path)
    partner_waits = AtOnce()
    processes: list[Process] = []
    with Partner() as partner:
        partner.fault = partner_waits
        # One thread at a time: whatever is answered at once is from two drivers.
        first, second = (
            world.sync(world.cohort(USERS), world.destination(partner.url, threads=1, batch_size=20))
            for _ in range(2)
        )
        run = start(first)
        try:
            processes += [
                celery(tmp_path, "beat", broker.url, "beat"),
                celery(tmp_path, "worker", broker.url, "worker", "--concurrency=8"),
            ]
            until(lambda: partner_waits.now == 1)
            # The same message five times, while the first of them is at work.
            tasks = tasks_on("memory://")
            with tasks.app.connection_for_write(broker.url) as connection:
                for _ in range(5):
                    tasks.drive.apply_async((first.destination_id,), connection=connection)
            until(lambda: processes[1].log.read_text().count("busy") >= 5)
            broker.kill()
            partner_waits.open.set()
            until(lambda: Run.objects.get(pk=run.pk).state == RunState.SUCCEEDED)
            assert partner.most_in_flight == 1
            # While it is away, work is written down as ever, and the site says what it waits for.
            later = start(second)
            settings.CELERY_BROKER_URL = broker.url
            cache.delete(heartbeat.KEY)
            assert Client().get("/healthz").json()["status"] == "no broker"
            assert Run.objects.get(pk=later.pk).state == RunState.PENDING
            assert [process.popen.poll() for process in processes] == [None, None]
            broker.start()
            # What lost its connection tries again at growing distances.
            until(lambda: Run.objects.get(pk=later.pk).state == RunState.SUCCEEDED, seconds=200)
            cache.delete("broker")
            assert Client().get("/healthz").json() == {
                "status": "ok",
                "database": "ok",
                "pending_migrations": 0,
                "broker": "ok",
            }
            assert processes[1].leave() == 0
        finally:
            partner_waits.open.set()
            for process in processes:
                process.kill()
            broker.kill()
            cache.clear()
        assert sorted(partner.sent("add")) == sorted(USERS * 2)
    # Of what was found out again and again, a line was written now and then.
    assert len(processes[0].log.read_text().splitlines()) < 30


def test_a_worker_that_is_asked_to_end_leaves_its_runs_to_the_next(tmp_path: Path):
    broker = Redis(tmp_path)
    partner_waits = AtOnce()
    processes: list[Process] = []
    with Partner() as partner:
        partner.fault = partner_waits
        sync = world.sync(world.cohort(USERS), world.destination(partner.url, threads=1, batch_size=10))
        run = start(sync)
        options = ("worker", "--beat", "--pool=prefork", "--concurrency=4")
        try:
            processes.append(celery(tmp_path, "first", broker.url, *options))
            until(lambda: partner_waits.now == 1)
            leaving = threading.Timer(0.5, partner_waits.open.set)
            leaving.start()
            assert processes[0].leave() == 0
            leaving.join()
            assert Run.objects.get(pk=run.pk).state in (RunState.RUNNING, RunState.PENDING)
            assert partner_waits.all < 5
            processes.append(celery(tmp_path, "second", broker.url, *options))
            until(lambda: Run.objects.get(pk=run.pk).state == RunState.SUCCEEDED)
        finally:
            partner_waits.open.set()
            for process in processes:
                process.kill()
            broker.kill()
            cache.clear()
        assert sorted(partner.sent("add")) == USERS
