"""What a person can do on a sync's page: each button is there when it makes sense, and asks with numbers."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from destinations.models import Destination
from syncs.choices import RunState, Trigger
from syncs.models import Driver, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create(username="ann", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def sync() -> Sync:
    """A sync whose partner, "Acme", holds three users, of a cohort that has five by now."""
    to = world.destination("http://127.0.0.1:9", name="acme", title="Acme")
    made = world.sync(world.cohort(["u1", "u2", "u3"]), to)
    Sync.objects.filter(pk=made.pk).update(settled_version=1, external_name="Buyers")
    world.fill(made.cohort, ["u1", "u2", "u3", "u4", "u5"])
    made.refresh_from_db()
    return made


def run_of(sync: Sync, state: RunState, **values: Any) -> Run:
    fields = {"trigger": Trigger.SCHEDULE, "from_version": 1, "to_version": 2, "started_at": timezone.now()}
    return Run.objects.create(sync=sync, state=state, **fields | values)


def address(sync: Sync, name: str) -> str:
    return reverse("admin:syncs_sync_do", args=[sync.pk, name])


def offered(admin: Client, sync: Sync) -> set[str]:
    page = admin.get(reverse("admin:syncs_sync_overview", args=[sync.pk]))
    return {offer["action"].name for offer in page.context["row_actions"]}


def asked(admin: Client, sync: Sync, name: str) -> str:
    action = admin.get(address(sync, name)).context["action"]
    return f"{action.question} {action.consequence}"


def done(admin: Client, sync: Sync, name: str) -> tuple[str, str]:
    """Press a button; return the level and the text of what is said."""
    page = admin.post(address(sync, name), follow=True)
    [message] = page.context["messages"]
    return message.level_tag, str(message)


def test_a_held_run__is_approved_and_refused_on_the_page_of_its_sync(admin: Client, sync: Sync) -> None:
    run = run_of(sync, RunState.HELD, planned_adds=2, planned_removes=1, reason="It would remove 1 of 3.")
    assert {"approve", "refuse"} <= offered(admin, sync)
    assert "run" not in offered(admin, sync), "which would send nothing"
    assert "It adds 2 users to Acme and removes 1 user of the 3 that are there now." in asked(
        admin, sync, "approve"
    )
    assert done(admin, sync, "approve") == ("success", "Approved: the worker sends it.")
    run.refresh_from_db()
    assert (run.state, run.approved_by) == (RunState.PENDING, "ann")
    Run.objects.update(state=RunState.HELD)
    done(admin, sync, "refuse")
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Refused by ann.")


def test_a_run_under_way__is_cancelled_on_the_page_of_its_sync(admin: Client, sync: Sync) -> None:
    run = run_of(sync, RunState.PENDING, planned_adds=2_000, planned_removes=0, added=500)
    assert f"Run {run.pk} has sent 500 of 2,000 users to Acme." in asked(admin, sync, "cancel")
    done(admin, sync, "cancel")
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Cancelled by ann.")
    assert "cancel" not in offered(admin, sync)


def test_pause__stops_the_run_that_goes_on(admin: Client, sync: Sync) -> None:
    Driver.objects.create(destination=sync.destination, until=timezone.now(), owner="m/b/n/1/1")
    run = run_of(sync, RunState.RUNNING, planned_adds=5_200, planned_removes=0, added=500)
    question = asked(admin, sync, "pause")
    assert "stop the run that is going on?" in question and "500 of 5,200 users to Acme" in question
    _, said = done(admin, sync, "pause")
    assert said == f"The sync is paused: its schedule starts nothing, and run {run.pk} is being stopped."
    run.refresh_from_db()
    sync.refresh_from_db()
    assert (sync.enabled, run.cancel_requested, run.cancelled_by) == (False, True, "ann")


def test_pause_without_a_run__asks_nothing(admin: Client, sync: Sync) -> None:
    assert asked(admin, sync, "pause").strip() == ""
    assert done(admin, sync, "pause")[1] == "The sync is paused: its schedule starts nothing."


def test_pause_by_rest__stops_the_run_that_goes_on_and_can_be_repeated(sync: Sync) -> None:
    run = run_of(sync, RunState.PENDING)
    client = APIClient()
    client.force_authenticate(User.objects.create_superuser("bob"))
    for _ in range(2):
        reply = client.post(f"/api/v1/syncs/{sync.pk}/pause")
        assert (reply.status_code, reply.json()["enabled"]) == (200, False)
    run.refresh_from_db()
    assert (run.state, run.cancelled_by) == (RunState.CANCELLED, "bob")


def test_run_now_of_a_paused_sync__asks_first(admin: Client, sync: Sync) -> None:
    Sync.objects.filter(pk=sync.pk).update(enabled=False)
    question = asked(admin, sync, "run")
    assert question.startswith("Run it although it is paused?")
    assert "version 2 of “Buyers”, 5 users" in question
    assert done(admin, sync, "run")[0] == "success"


def test_run_now_at_a_paused_destination__is_no_success(admin: Client, sync: Sync) -> None:
    Destination.objects.pause(sync.destination_id, "Bad key.")
    level, said = done(admin, sync, "run")
    assert (level, said.endswith("But its destination is paused: Bad key.")) == ("warning", True)


def test_a_parked_run__is_tried_again_on_the_page_of_its_sync(admin: Client, sync: Sync) -> None:
    Driver.objects.create(destination=sync.destination, next_at=timezone.now(), next_reason="429")
    run_of(sync, RunState.PARKED)
    assert done(admin, sync, "try-now") == ("success", "The wait is over: the worker goes on.")
    assert Driver.objects.get().next_at is None


@pytest.mark.parametrize("name", ["empty", "empty-and-archive", "reset", "rename"])
def test_the_most_dangerous_questions__name_the_number_and_the_partner(
    admin: Client, sync: Sync, name: str
) -> None:
    assert "the 3 users at Acme" in asked(admin, sync, name).replace("The 3", "the 3")


def test_a_full_resync__names_whom_it_sends_where(admin: Client, sync: Sync) -> None:
    assert "All 5 users of “Buyers” are sent to Acme again" in asked(admin, sync, "full")


def test_a_rename_where_nobody_is_there__promises_no_full_run(admin: Client, sync: Sync) -> None:
    Sync.objects.filter(pk=sync.pk).update(settled_version=0)
    assert "Nobody is at Acme: only the name is changed" in asked(admin, sync, "rename")


def test_a_new_schedule_begins_in_the_zone_of_the_pages(admin: Client, settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    timezone.activate("Europe/Berlin")
    try:
        form = (
            admin.get(reverse("admin:syncs_sync_add"), {"schedule_kind": "manual"}).context["adminform"].form
        )
        assert form.initial["timezone"] == timezone.get_current_timezone_name() == "Europe/Berlin"
    finally:
        timezone.deactivate()
