"""A cohort that is calculated before each of its runs, and a partner who gets the result over HTTP."""

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from cohorts import calculate
from cohorts.choices import SourceKind
from cohorts.models import Cohort
from events import spool
from events.compact import compact
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.delivery.ended import How
from syncs.delivery.slots import drive_runs
from syncs.models import Run, Sync
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.OUTBOUND_ALLOW_NETS = ["127.0.0.0/8"]


def did(user_id: str, event: str) -> None:
    time = (timezone.now() - timedelta(hours=1)).isoformat()
    spool.append("default", [{"user_id": user_id, "event": event, "time": time, "properties": {}}])
    compact("default")


def carts(**values: Any) -> Cohort:
    where = {
        "all": [
            {"performed": {"event": "cart", "window": {"last": "7d"}}},
            {"not": {"performed": {"event": "buy", "window": {"last": "7d"}}}},
        ]
    }
    definition = {"version": 1, "where": where}
    return world.cohort(
        ["u1"], name="Carts", source_kind=SourceKind.BEHAVIORAL, definition=definition, **values
    )


def run(sync: Sync) -> str:
    [ended] = drive_runs([lifecycle.start(sync, trigger=Trigger.COMMAND)], stop=threading.Event())
    sync.refresh_from_db()
    return ended.state


def test_members_move_at_the_partner_as_people_do_things() -> None:
    cohort = carts(refresh_before_sync=True)
    did("u1", "cart")
    did("u2", "cart")
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        assert run(sync) == RunState.SUCCEEDED
        assert partner.members(world.name_at_partner(sync)) == {"u1", "u2"}
        did("u1", "buy")
        did("u3", "cart")
        assert run(sync) == RunState.SUCCEEDED
        assert partner.members(world.name_at_partner(sync)) == {"u2", "u3"}
        assert (partner.sent("remove"), sorted(partner.sent("add"))) == (["u1"], ["u1", "u2", "u3"])


def test_a_destination_that_is_being_driven__goes_on_while_a_cohort_is_calculated(monkeypatch: Any) -> None:
    """The run that asks for a calculation comes while its destination is driven, and gets the new version."""
    did("u2", "cart")
    calculating, sent = threading.Event(), threading.Event()
    real = calculate.try_calculate

    def slow(cohort: Cohort, **how: Any) -> Any:
        calculating.set()
        assert sent.wait(20), "nothing was sent meanwhile"
        return real(cohort, **how)

    monkeypatch.setattr(calculate, "try_calculate", slow)
    with Partner() as partner:
        other = world.sync(world.cohort(world.users(300)), world.destination(partner.url, batch_size=1))
        sync = world.sync(carts(refresh_before_sync=True), other.destination)
        runs = [lifecycle.start(other, trigger=Trigger.COMMAND)]

        def fault(call: Any) -> None:
            if len(partner.calls) == 20:
                lifecycle.start(sync, trigger=Trigger.COMMAND)
                connection.close()
            time.sleep(0.005)
            if calculating.is_set() and len(partner.calls) > 100:
                sent.set()

        partner.fault = fault
        assert world.go(other.destination).how == How.DONE
        assert calculating.is_set()
        assert {run.state for run in Run.objects.all()} == {RunState.SUCCEEDED}
        assert len(runs) + 1 == Run.objects.count()
        sync.refresh_from_db()
        assert partner.members(world.name_at_partner(sync)) == {"u2"}


def test_without_it_a_run_sends_the_version_that_there_is() -> None:
    cohort = carts()
    did("u2", "cart")
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        assert run(sync) == RunState.SUCCEEDED
        assert partner.members(world.name_at_partner(sync)) == {"u1"}


def test_a_calculation_that_fails_is_reported_and_the_last_version_is_sent() -> None:
    cohort = carts(refresh_before_sync=True)  # no event has come in: nothing to calculate from
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        assert run(sync) == RunState.SUCCEEDED
        assert partner.members(world.name_at_partner(sync)) == {"u1"}
    cohort.refresh_from_db()
    assert "No events have come in yet" in cohort.calculation_error
