"""A site without a worker: what cron starts does all that has to be done, as docs/operations.md says it."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from cohorts.choices import ScheduleKind, SourceKind
from cohorts.models import Cohort
from events import arrivals, spool
from events.store import Folders
from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.models import Sync
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _settings(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.OUTBOUND_ALLOW_NETS = ["127.0.0.0/8"]


def arrives(user_id: str, event: str, workspace: str = "default") -> None:
    """An event comes by HTTP; nobody has taken it in yet."""
    time = (timezone.now() - timedelta(hours=1)).isoformat()
    spool.append(workspace, [{"user_id": user_id, "event": event, "time": time, "properties": {}}])


def behavioral(key: str, where: dict[str, Any], **values: Any) -> Cohort:
    fields = {"name": key, "definition": {"version": 1, "where": where}, "hold_if_emptied": False, **values}
    return Cohort.objects.create(key=key, source_kind=SourceKind.BEHAVIORAL, **fields)


def did(event: str) -> dict[str, Any]:
    return {"performed": {"event": event, "window": {"last": "7d"}}}


def members_of(key: str) -> set[str]:
    cohort = Cohort.objects.get(key=key)
    return world.members_at(Sync(cohort=cohort), cohort.version)


def call(*arguments: str) -> tuple[Any, int]:
    out = StringIO()
    try:
        call_command(*arguments, "--json", stdout=out)
        code = 0
    except SystemExit as left:
        code = int(str(left.code))
    return json.loads(out.getvalue()), code


def test_refresh_cohorts__takes_in_what_came_by_http() -> None:
    behavioral("carts", did("cart"))
    arrives("u1", "cart")
    call("refresh_cohorts")
    assert members_of("carts") == {"u1"}


def test_sync_due__takes_in_what_came_by_http_for_a_cohort_that_is_calculated_before_each_run() -> None:
    cohort = behavioral("carts", did("cart"), refresh_before_sync=True)
    arrives("u1", "cart")
    call("refresh_cohorts")
    arrives("u2", "cart")
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        Sync.objects.update(schedule_kind=ScheduleKind.HOURLY, next_due_at=timezone.now())
        _, code = call("sync_due")
        assert (code, partner.members(world.name_at_partner(sync))) == (0, {"u1", "u2"})


def test_sync__takes_in_what_came_by_http_for_a_cohort_that_is_calculated_before_each_run() -> None:
    cohort = behavioral("carts", did("cart"), refresh_before_sync=True)
    arrives("u1", "cart")
    call("refresh_cohorts")
    arrives("u2", "cart")
    with Partner() as partner:
        sync = world.sync(cohort, world.destination(partner.url))
        call("sync", str(sync))
        assert partner.members(world.name_at_partner(sync)) == {"u1", "u2"}


def test_sync_due__calculates_the_cohorts_whose_time_has_come() -> None:
    behavioral("carts", did("cart"), schedule_kind=ScheduleKind.HOURLY, next_due_at=timezone.now())
    arrives("u1", "cart")
    call("sync_due")
    assert members_of("carts") == {"u1"}


def test_a_workspace_whose_events_cannot_be_taken_in__is_said_and_keeps_no_other_from_its_own() -> None:
    behavioral("carts", did("cart"))
    arrives("u1", "cart", "aaa")
    # A folder where the lock's file should be: nobody can hold it.
    (Folders("aaa").root / "compact.lock").mkdir(parents=True)
    arrives("u2", "cart")
    assert not arrivals.take_in_all()
    with pytest.raises(Exception, match="could not be taken in"):
        call_command("refresh_cohorts", stdout=StringIO())
    assert members_of("carts") == {"u2"}


def test_what_a_cohort_names__is_calculated_before_it_and_once_for_all_runs_of_a_round() -> None:
    behavioral("base", did("cart"))
    for key, named in (("middle", "base"), ("top", "middle"), ("other", "base")):
        before = key in ("top", "other")
        behavioral(key, {"cohort": named}, refresh_before_sync=before)
    arrives("u1", "cart")
    call("refresh_cohorts")
    arrives("u2", "cart")
    with Partner() as partner:
        destination = world.destination(partner.url)
        syncs = [world.sync(Cohort.objects.get(key=key), destination) for key in ("top", "other")]
        Sync.objects.update(schedule_kind=ScheduleKind.HOURLY, next_due_at=timezone.now())
        rows, code = call("sync_due")
        assert (code, [row["state"] for row in rows]) == (0, ["succeeded"] * 2)
        for sync in syncs:
            sync.refresh_from_db()
            assert partner.members(sync.external_name) == {"u1", "u2"}
    assert Cohort.objects.get(key="base").versions.count() == 2


def test_a_cohort_whose_part_cannot_be_calculated__is_not_calculated_from_the_old_one() -> None:
    base = behavioral("base", did("cart"))
    top = behavioral("top", {"cohort": "base"}, refresh_before_sync=True)
    arrives("u1", "cart")
    call("refresh_cohorts")
    Cohort.objects.filter(pk=base.pk).update(definition={"version": 1, "where": {"nonsense": 1}})
    with Partner() as partner:
        sync = world.sync(top, world.destination(partner.url))
        run = lifecycle.start(sync, trigger=Trigger.COMMAND)
        world.go(sync.destination)
        run.refresh_from_db()
        assert run.state == RunState.SUCCEEDED
    top.refresh_from_db()
    assert top.versions.count() == 1
    assert top.calculation_error.startswith("It refers to base, which could not be calculated: ")


def test_sync_due__fails_when_a_cohort_that_was_due_could_not_be_calculated() -> None:
    behavioral("carts", {"cohort": "gone"}, schedule_kind=ScheduleKind.HOURLY, next_due_at=timezone.now())
    err = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("sync_due", stdout=StringIO(), stderr=err)
    assert left.value.code == 1
    assert "carts was not calculated: It refers to a cohort that is gone" in err.getvalue()


def test_sync_due__fails_when_events_could_not_be_taken_in() -> None:
    arrives("u1", "cart", "aaa")
    (Folders("aaa").root / "compact.lock").mkdir(parents=True)
    err = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("sync_due", stdout=StringIO(), stderr=err)
    assert (left.value.code, err.getvalue()) == (1, "Events that have arrived could not be taken in.\n")


def test_an_old_error_of_a_cohort_that_is_uploaded_now__keeps_nobody_from_being_calculated() -> None:
    world.cohort(["u1"], key="base", calculation_error="No such table.")
    behavioral("top", {"cohort": "base"})
    call("refresh_cohorts", "top")
    assert members_of("top") == {"u1"}
