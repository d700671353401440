"""A calculation that is asked for over REST, and what is told of it until it has ended."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone
from rest_framework.test import APIClient

from cohorts import calculate, refresh
from cohorts.models import Cohort
from events import spool
from events.compact import compact

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("groups")]
URL = "/api/v1/cohorts/carts/calculation"
CARTS = {"version": 1, "where": {"performed": {"event": "cart", "window": {"last": "7d"}}}}


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def member_of(group: str) -> APIClient:
    user = User.objects.create_user(group)
    user.groups.add(Group.objects.get(name=group))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def operator() -> APIClient:
    return member_of("operator")


@pytest.fixture
def cohort() -> Cohort:
    return Cohort.objects.create(key="carts", name="Carts", source_kind="behavioral", definition=CARTS)


def did(user_id: str, *, days: float = 0.1) -> None:
    time = (timezone.now() - timedelta(days=days)).isoformat()
    spool.append("default", [{"user_id": user_id, "event": "cart", "time": time, "properties": {}}])
    compact("default")


def work() -> None:
    """What the worker does at its next turn."""
    calculate.calculate_due(timezone.now())


def poll(client: APIClient, asked: Any) -> Any:
    reply = client.get(f"{URL}?asked_at={quote(asked['asked_at'])}")
    assert reply.status_code == 200, reply.content
    return reply.json()


def test_a_calculation_is_asked_for_and_polled_until_it_is_published(operator: APIClient, cohort: Cohort):
    did("u1")
    calculate.calculate(cohort)  # an earlier one, which is not the answer
    did("u2")
    reply = operator.post(URL)
    asked = reply.json()
    assert (reply.status_code, asked["state"], asked["is_open"]) == (202, "waiting", True)
    assert poll(operator, asked) == asked
    work()
    said = poll(operator, asked)
    assert (said["state"], said["is_open"], said["error"]) == ("published", False, "")
    assert (said["version"]["number"], said["version"]["size"], said["version"]["entered"]) == (2, 2, 1)


def test_a_version_that_is_held_has_ended_and_a_later_decision_does_not_open_it(
    operator: APIClient, cohort: Cohort
):
    did("u1", days=100)
    refresh.replace(cohort.pk, ["u1"], source="a test")
    asked = operator.post(URL).json()
    work()
    said = poll(operator, asked)
    assert (said["state"], said["is_open"]) == ("held", False)
    assert "empty the cohort" in said["version"]["reason"]
    refresh.refuse(cohort.pk, said["version"]["number"], by="ann")
    assert poll(operator, asked)["is_open"] is False


def test_a_calculation_that_fails_says_why_and_the_next_one_is_another(operator: APIClient, cohort: Cohort):
    did("u1")
    Cohort.objects.update(definition={"version": 1, "where": {"cohort": "gone"}})
    asked = operator.post(URL).json()
    work()
    said = poll(operator, asked)
    assert (said["state"], said["version"]) == ("failed", None)
    assert "there is no cohort 'gone'" in said["error"]
    Cohort.objects.update(definition=CARTS)
    again = operator.post(URL).json()
    assert poll(operator, again)["state"] == "waiting"
    work()
    assert poll(operator, again)["state"] == "published"


def test_while_it_is_calculated_it_is_open(operator: APIClient, cohort: Cohort):
    asked = operator.post(URL).json()
    Cohort.objects.update(next_due_at=None)  # the worker has taken it, and computes its members
    assert poll(operator, asked)["state"] == "calculating"


def test_asking_twice_makes_one_calculation_that_answers_both(operator: APIClient, cohort: Cohort):
    did("u1")
    both = [operator.post(URL).json() for _ in range(2)]
    work()
    work()
    assert [poll(operator, asked)["version"]["number"] for asked in both] == [1, 1]


def test_a_cohort_whose_members_are_given_to_it_is_not_calculated(operator: APIClient):
    Cohort.objects.create(key="carts", name="Carts", source_kind="upload")
    reply = operator.post(URL)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "wrong_source")
    assert Cohort.objects.get().next_due_at is None


def test_a_viewer_may_look_but_not_ask(cohort: Cohort):
    viewer = member_of("viewer")
    assert viewer.post(URL).status_code == 403
    assert viewer.get(f"{URL}?asked_at=2026-01-01T00:00:00Z").status_code == 200
    assert APIClient().post(URL).status_code == 401
    assert Cohort.objects.get().next_due_at is None


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "%00", "1"])
def test_an_instant_that_is_none_is_a_400(operator: APIClient, cohort: Cohort, text: str):
    reply = operator.get(f"{URL}?asked_at={text}")
    assert (reply.status_code, reply.json()["error"]["field"]) == (400, "asked_at")
    assert operator.get("/api/v1/cohorts/nobody/calculation?asked_at=2026-01-01T00:00:00Z").status_code == 404
