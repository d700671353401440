"""Several workers on one database share its destinations: without a broker, and with one, it is the same."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import connection

from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Driver, Run
from tests import world
from tests.brokers import Process, RabbitMQ, Redis, celery, rabbitmq_listens, until
from tests.partner import Fault, Partner

DESTINATIONS, SLOTS = 6, 3


@contextmanager
def two_workers(kind, folder):
    """Yield two workers of so many slots; with a broker, they send, and another one finds what is due."""
    if kind == "sync_worker":
        command = ["manage.py", "sync_worker", f"--slots={SLOTS}"]
        yield [Process(folder, name, command) for name in ("one", "two")]
        return
    broker = Redis(folder) if kind == "redis" else RabbitMQ()
    finder = celery(folder, "due", broker.url, "worker", "--beat", "--queues=due", "--hostname=due@%h")
    try:
        options = ["--queues=sending", f"--concurrency={SLOTS}"]
        yield [
            celery(folder, pool, broker.url, "worker", *options, f"--hostname={pool}@%h", f"--pool={pool}")
            for pool in ("threads", "prefork")
        ]
    finally:
        finder.kill()
        broker.kill()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["sync_worker", "redis", "rabbitmq"])
def test_two_workers_share_the_destinations_and_each_run_is_made_once(kind, tmp_path: Path):
    if kind == "rabbitmq" and not rabbitmq_listens():
        pytest.skip("No RabbitMQ listens on this machine.")
    if kind == "rabbitmq" and connection.vendor == "postgresql":
        pytest.skip("The tests on SQLite, which run at the same time, have its queues.")
    ids = [f"user-{n}" for n in range(50)]
    opened = threading.Event()
    with Partner() as partner:
        # The first requests wait until each destination has its driver: neither worker can take them all.
        partner.fault = lambda call: None if opened.wait(120) else Fault(status=503)
        cohort = world.cohort(ids)
        syncs = [world.sync(cohort, world.destination(partner.url)) for _ in range(DESTINATIONS)]
        runs = [lifecycle.start(sync, trigger=Trigger.SCHEDULE) for sync in syncs]
        with two_workers(kind, tmp_path) as workers:
            try:
                owners = until(lambda: _owners() if len(_owners()) == DESTINATIONS else None)
                opened.set()
                until(lambda: not Run.objects.exclude(state=RunState.SUCCEEDED).exists())
                until(lambda: sum(len(worker.ended_runs()) for worker in workers) >= DESTINATIONS)
                assert [worker.leave() for worker in workers] == [0, 0]
            finally:
                opened.set()
                for worker in workers:
                    worker.kill()
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
