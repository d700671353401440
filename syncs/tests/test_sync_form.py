"""What a sync's page shows before it is saved, and the chart of what its runs delivered."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from syncs.admin.chart import SLOTS, chart_of
from syncs.choices import RunState, Trigger
from syncs.models import Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
PLAN = reverse("admin:syncs_sync_plan")
ADD = reverse("admin:syncs_sync_add")


@pytest.fixture
def editor(client):
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_sync", "view_sync"]))
    client.force_login(user)
    return client


@pytest.fixture
def given():
    cohort = world.cohort(["u1", "u2"], name="<b>Buyers</b>")
    destination = world.destination("http://127.0.0.1:9")
    return {"cohort": cohort.pk, "destination": destination.pk, "schedule_kind": "manual", "timezone": "UTC"}


def test_the_plan_shows_the_first_request_and_saves_nothing(editor, given):
    text = editor.post(PLAN, given).content.decode()
    assert "adds 2 and removes 0 users" in text
    assert "POST /lists HTTP/1.1" in text
    assert "&lt;b&gt;Buyers&lt;/b&gt;" in text and "<b>Buyers" not in text
    assert not Sync.objects.exists()


def test_the_plan_says_the_next_five_times_in_the_chosen_zone(editor, given):
    given |= {"schedule_kind": "daily", "schedule_at": "09:30", "timezone": "Asia/Kathmandu"}
    text = editor.post(PLAN, given).content.decode()
    assert "The next times, Asia/Kathmandu:" in text
    assert text.count("09:30</li>") == 5


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"timezone": "Mars/Base"}, "There is no time zone"),
        ({"schedule_kind": "cron", "schedule_cron": "x"}, "five fields"),
        ({"guard_percent": "101"}, "A share is at most 100 percent."),
    ],
)
def test_the_plan_says_what_is_wrong_so_far(editor, given, more, problem):
    assert problem in editor.post(PLAN, given | more).content.decode()


def test_an_empty_form_is_not_blamed_for_being_empty(editor):
    text = editor.post(PLAN, {}).content.decode()
    assert "required" not in text
    assert "Choose a cohort and a destination" in text


def test_the_plan_is_for_who_may_add_syncs(editor, given):
    User.objects.get().user_permissions.set(Permission.objects.filter(codename="view_sync"))
    assert editor.post(PLAN, given).status_code == 403
    assert editor.get(PLAN).status_code == 405


def test_a_new_sync_begins_with_what_there_is_only_one_of(editor, given):
    initial = editor.get(f"{ADD}?schedule_kind=manual").context["adminform"].form.initial
    assert (initial["cohort"], initial["destination"]) == (given["cohort"], given["destination"])
    other = world.cohort()
    assert "cohort" not in editor.get(f"{ADD}?schedule_kind=manual").context["adminform"].form.initial
    assert editor.get(f"{ADD}?cohort={other.pk}").context["adminform"].form.initial["cohort"] == str(other.pk)


def run(number: int, **values) -> Run:
    ended = timezone.now() + timedelta(minutes=number)
    return Run(pk=number, state=RunState.SUCCEEDED, trigger=Trigger.PERSON, finished_at=ended, **values)


def test_a_chart_stands_the_numbers_of_a_run_upon_each_other():
    runs = [Run(pk=3, state=RunState.RUNNING), run(2, added=10, removed=30, rejected=10), run(1, added=100)]
    chart = chart_of(runs)
    assert chart
    assert (chart.most, chart.width, [bar.x for bar in chart.bars]) == (100, SLOTS, [0, 1])
    last = chart.bars[1]
    assert (last.added, last.removed_from, last.removed) == ("10.00", "10.00", "30.00")
    assert (last.rejected_from, last.rejected) == ("40.00", "10.00")
    assert last.label == "Run 2, Succeeded: 10 added, 30 removed, 10 rejected, 0 not delivered"


def test_one_run_is_no_chart_and_runs_that_sent_nothing_are_flat():
    assert chart_of([run(1, added=1)]) is None
    chart = chart_of([run(2), run(1)])
    assert chart and {bar.added for bar in chart.bars} == {"0.00"}
