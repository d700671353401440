"""What stays known of runs: who was not delivered, who asked, how each try fared, what was not up to date."""

import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from rest_framework.test import APIClient

from cohorts.choices import SourceKind
from cohorts.models import Cohort
from cohortsite import dashboard
from syncs import lifecycle, reporting
from syncs.choices import RejectionKind, RunMode, RunState, Trigger
from syncs.delivery import drive
from syncs.models import Rejection, Run, Sync
from syncs.status.facts import states_of
from tests import world
from tests.partner import Call, Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner() -> Any:
    with Partner() as running:
        yield running


@pytest.fixture
def sync(partner: Partner) -> Sync:
    made = world.sync(world.cohort(world.users(10)), world.destination(partner.url, batch_size=2))
    assert world.run(made).state == RunState.SUCCEEDED
    return Sync.objects.get(pk=made.pk)


def state_of(sync: Sync) -> Any:
    fresh = Sync.objects.select_related("cohort", "destination__driver").get(pk=sync.pk)
    return states_of([fresh], timezone.now())[sync.pk]


def command(*arguments: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as left:
        return out.getvalue(), int(str(left.code or 0))
    return out.getvalue(), 0


# --- undelivered is not rejected ----------------------------------------------------------------


def unlucky(user_id: str, status: int) -> Any:
    def fault(call: Call) -> Fault | None:
        return Fault(status, {"error": "no"}) if user_id in call.users else None

    return fault


def test_users_for_whom_no_request_went_through__are_not_reported_as_rejected(
    partner: Partner, sync: Sync
) -> None:
    world.fill(sync.cohort, world.users(20))
    partner.fault = unlucky("u0000015", 503)
    said, code = command("sync", str(sync))
    run = Run.objects.latest("pk")
    assert (run.state, run.rejected, run.undelivered, code) == (RunState.PARTIAL, 0, 1, 3)
    assert "9 added, 0 removed, 1 not delivered" in said
    assert "rejected" not in said
    assert Rejection.objects.get().kind == RejectionKind.UNDELIVERED
    state = state_of(sync)
    assert "1 user not delivered" in state.sentence and "rejected" not in state.sentence
    [words] = [need.words for need in dashboard._needs(timezone.now())[0]]
    assert words == "user not delivered"
    client = APIClient()
    client.force_authenticate(User.objects.create_superuser("root"))
    row = client.get(f"/api/v1/runs/{run.pk}").json()
    assert (row["rejected"], row["undelivered"]) == (0, 1)
    row = client.get(f"/api/v1/syncs/{sync.pk}").json()
    assert (row["rejected"], row["undelivered"]) == (0, 1)


def test_users_whom_the_partner_refused__are_reported_as_rejected(partner: Partner, sync: Sync) -> None:
    world.fill(sync.cohort, world.users(20))
    partner.fault = unlucky("u0000015", 400)
    said, code = command("sync", str(sync))
    run = Run.objects.latest("pk")
    assert (run.state, run.rejected, run.undelivered, code) == (RunState.PARTIAL, 1, 0, 3)
    assert "1 rejected" in said and "not delivered" not in said
    assert "1 user rejected" in state_of(sync).sentence


# --- the latest version -------------------------------------------------------------------------


def interrupted(sync: Sync, users: list[str]) -> Run:
    """A run that was begun for these users, and whose process was killed."""
    world.fill(sync.cohort, users)
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    stop = threading.Event()
    drive.drive(sync.destination_id, stop=stop, report=lambda runs: stop.set())
    Run.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    return run


def test_sync_after_a_kill__ends_when_the_partner_has_the_latest_version(
    partner: Partner, sync: Sync
) -> None:
    run = interrupted(sync, world.users(40))
    world.fill(sync.cohort, world.users(5))
    said, code = command("sync", str(sync))
    assert code == 0
    assert partner.members(world.name_at_partner(sync)) == set(world.users(5))
    runs = list(Run.objects.filter(pk__gte=run.pk).order_by("pk"))
    assert [run.trigger for run in runs] == [Trigger.COMMAND, Trigger.CAUGHT_UP]
    assert "does not hold" not in said


def test_a_run_that_nobody_asked_for_again__is_not_followed_by_another(partner: Partner, sync: Sync) -> None:
    interrupted(sync, world.users(40))
    world.fill(sync.cohort, world.users(5))
    world.go(sync.destination)
    assert Run.objects.latest("pk").trigger == Trigger.COMMAND


def test_sync_says_plainly_that_the_partner_does_not_hold_the_latest_version(
    partner: Partner, sync: Sync
) -> None:
    world.fill(sync.cohort, world.users(20))
    partner.fault = lambda call: Fault(401, {})
    said, code = command("sync", str(sync))
    assert code == 1
    assert "the partner does not hold the cohort's latest version 2, but perhaps a part of what came" in said
    [row] = json.loads(command("sync", str(sync), "--json")[0])
    assert (row["held_version"], row["cohort_version"]) == (None, 2)


# --- who, and how each try fared ----------------------------------------------------------------


def test_who_cancelled_a_run__stands_on_the_run_and_on_its_sync(partner: Partner, sync: Sync) -> None:
    run = interrupted(sync, world.users(40))
    Run.objects.filter(pk=run.pk).update(state=RunState.PENDING)
    lifecycle.cancel(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.reason, run.cancelled_by) == (RunState.CANCELLED, "Cancelled by ann.", "ann")
    assert state_of(sync).sentence.startswith("The last run was cancelled by ann just now")


def test_a_run_that_failed_and_was_taken_up_again__keeps_how_it_fared(partner: Partner, sync: Sync) -> None:
    world.fill(sync.cohort, world.users(20))
    partner.fault = lambda call: Fault(401, {})
    failed = world.run(sync)
    assert failed.state == RunState.FAILED
    partner.fault = lambda call: None
    world.mend(sync.destination)
    run = world.run(sync)
    assert (run.pk, run.state, run.reason) == (failed.pk, RunState.SUCCEEDED, "")
    tried = run.tries.get()
    assert (tried.began_at, tried.ended_at) == (failed.started_at, failed.finished_at)
    assert tried.reason == failed.reason
    today = dashboard._days(timezone.now())[-1]
    assert (today.done, today.failed) == (2, 1), "the first run, this one; and its failed try"
    client = APIClient()
    client.force_authenticate(User.objects.create_superuser("root"))
    assert [row["reason"] for row in client.get(f"/api/v1/runs/{run.pk}").json()["failed_tries"]] == [
        failed.reason
    ]


# --- green means: calculated when it should have been -------------------------------------------


@pytest.fixture
def uncalculated(partner: Partner, sync: Sync, settings: Any, tmp_path: Path) -> Sync:
    """A sync whose cohort is to be calculated before each run, and cannot be."""
    # A folder of its own: what other tests left in the one of all would be taken in first.
    settings.EVENTS_DIR = tmp_path
    Cohort.objects.filter(pk=sync.cohort_id).update(
        source_kind=SourceKind.BEHAVIORAL,
        refresh_before_sync=True,
        definition={"version": 1, "where": {"cohort": "gone"}},
    )
    return Sync.objects.select_related("cohort", "destination").get(pk=sync.pk)


def test_a_run_before_which_its_cohort_could_not_be_calculated__is_not_plainly_green(
    uncalculated: Sync,
) -> None:
    said, code = command("sync", str(uncalculated))
    run = Run.objects.latest("pk")
    assert (run.state, code) == (RunState.SUCCEEDED, 3)
    assert "there is no cohort 'gone'" in run.cohort_error
    assert "Its cohort could not be calculated before, so an older version was sent" in said
    assert reporting.exit_code([run]) == 3


def test_a_run_that_empties__needs_no_calculation(uncalculated: Sync) -> None:
    command("sync", str(uncalculated))
    run = lifecycle.start(uncalculated, trigger=Trigger.PERSON, mode=RunMode.EMPTY, approved=True, by="ann")
    world.go(uncalculated.destination)
    run.refresh_from_db()
    assert (run.state, run.cohort_error) == (RunState.SUCCEEDED, "")


def test_a_sync_whose_cohort_could_not_be_calculated__is_not_equal(uncalculated: Sync) -> None:
    command("sync", str(uncalculated))
    state = state_of(uncalculated)
    assert (state.label, state.tone) == ("Cohort not calculated", "danger")
    assert "the partner holds version 1, 10 users" in state.sentence
    words = [need.words for need in dashboard._needs(timezone.now())[0]]
    assert words == ["sync whose cohort is not calculated"]


# --- guard by default ---------------------------------------------------------------------------


def test_a_run_that_takes_away_half_of_more_than_a_hundred__waits_for_a_person(partner: Partner) -> None:
    sync = world.sync(world.cohort(world.users(102)), world.destination(partner.url))
    Sync.objects.update(hold_if_halved=True)
    assert world.run(sync).state == RunState.SUCCEEDED
    world.fill(sync.cohort, world.users(51))
    run = world.run(sync)
    assert run.state == RunState.HELD
    assert run.reason.startswith("It would remove 51 of 102 users, half of them or more.")


def test_a_limit_of_ones_own__replaces_half(partner: Partner) -> None:
    sync = world.sync(world.cohort(world.users(102)), world.destination(partner.url))
    Sync.objects.update(hold_if_halved=True, guard_percent=80)
    world.run(sync)
    world.fill(sync.cohort, world.users(51))
    assert world.run(sync).state == RunState.SUCCEEDED


def test_a_hundred_users_are_no_list_to_ask_about(partner: Partner) -> None:
    sync = world.sync(world.cohort(world.users(100)), world.destination(partner.url))
    Sync.objects.update(hold_if_halved=True)
    world.run(sync)
    world.fill(sync.cohort, world.users(1))
    assert world.run(sync).state == RunState.SUCCEEDED
