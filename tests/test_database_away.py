"""The database cuts its sessions for an instant, as in a failover: what goes on, and what is said."""

import logging

import pytest
from django.db import OperationalError, connection

from cohortsite import worker
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.delivery import drive
from syncs.delivery.ended import How
from syncs.models import Driver
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def cut_sessions() -> None:
    """End the database's other sessions, from the partner's thread."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()


def goes_on(sync, run, ended) -> None:
    assert ended.how == How.PARKED
    assert "database was away" in ended.reason and "error of this program" not in ended.reason
    driver = Driver.objects.get(destination=sync.destination)
    run.refresh_from_db()
    assert (driver.next_at - run.created_at).total_seconds() < 30
    Driver.objects.update(next_at=None)
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.SUCCEEDED, 100)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="Only PostgreSQL has sessions that can be cut.")
def test_a_run_whose_session_was_cut_goes_on_and_says_what_it_was(partner):
    sync = world.sync(world.cohort(world.users(100)), world.destination(partner.url, batch_size=10))
    run = lifecycle.start(sync, trigger=Trigger.PERSON)

    def fault(call):
        if len(partner.calls) == 5:
            cut_sessions()

    partner.fault = fault
    goes_on(sync, run, world.go(sync.destination))
    assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)


def test_a_database_that_stays_away_for_some_turns_gets_its_destination_back(partner, monkeypatch):
    sync = world.sync(world.cohort(world.users(100)), world.destination(partner.url, batch_size=10))
    run = lifecycle.start(sync, trigger=Trigger.PERSON)
    calls = []

    def away_for_some(real):
        def renew(self, *more):
            calls.append(1)
            if 4 <= len(calls) <= 7:
                raise OperationalError("server closed the connection unexpectedly")
            real(self, *more)

        return renew

    monkeypatch.setattr(drive, "ASK_EVERY", 0.01)
    for name in ("renew", "renew_and"):
        monkeypatch.setattr(drive.leases.Lease, name, away_for_some(getattr(drive.leases.Lease, name)))
    ended = world.go(sync.destination)
    assert len(calls) == 8, "it was tried until the database answered"
    goes_on(sync, run, ended)


def test_a_worker_says_once_that_the_database_is_away(monkeypatch, caplog):
    monkeypatch.setattr(worker, "_said_away", {})

    def turn():
        raise OperationalError("too many connections")

    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            worker._without_dying(turn)
    assert [record.getMessage() for record in caplog.records] == [
        "turn: the database does not answer: too many connections"
    ]
    assert not any(record.exc_info for record in caplog.records)
