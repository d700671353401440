"""The first page: its numbers, its links, why what does not run does not, and a bounded number of queries."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from cohorts.models import Cohort
from cohortsite.roles import grant
from destinations.models import Destination
from syncs.choices import RejectionKind, RunState
from syncs.models import Batch, Driver, Rejection, Run, Sync
from tests import world

pytestmark = pytest.mark.django_db
# Of the page 20; six that count what waits for a worker when there is none, three of files that failed; and
# four of the session, the user and permissions. One whether anybody is told: there may be alert channels.
QUERIES = 20 + 6 + 3 + 4 + 1


def page_of(role="viewer"):
    user = User.objects.create_user(role, is_staff=True)
    if role != "stranger":
        grant()  # a test that truncated the tables may have run before
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def made(number=1, **values):
    destination = world.destination("http://127.0.0.1:9", name=f"d{number}", title=f"Partner {number}")
    sync = world.sync(world.cohort(["a", "b"]), destination)
    Sync.objects.filter(pk=sync.pk).update(**values)
    return sync


def run_of(sync, state=RunState.SUCCEEDED, *, days=0, **values):
    ended = None if state in (RunState.RUNNING, RunState.HELD) else timezone.now() - timedelta(days=days)
    return Run.objects.create(
        sync=sync, trigger="person", from_version=0, to_version=1, state=state, finished_at=ended, **values
    )


def test_an_empty_installation_shows_three_steps_and_which_are_done():
    client = page_of("administrator")
    steps = client.get("/admin/").context["steps"]
    assert [step["done"] for step in steps] == [False, False, False]
    world.cohort(["a"])
    reply = client.get("/admin/")
    assert [step["done"] for step in reply.context["steps"]] == [False, True, False]
    assert "/admin/destinations/destination/add/" in reply.content.decode()
    made()
    assert "steps" not in client.get("/admin/").context


def test_who_has_no_role_sees_no_numbers():
    made()
    reply = page_of("stranger").get("/admin/")
    assert "You have no role yet" in reply.content.decode()
    assert "delivered_today" not in reply.context


def test_users_runs_and_latency_are_counted():
    sync = made()
    run = run_of(sync, added=1200, removed=34, rejected=5)
    run_of(sync, days=3, added=1000)
    run_of(sync, days=6, state=RunState.FAILED)
    run_of(sync, days=30, added=9_999_999)
    for number, ms in enumerate([10, 20, 30, 40, 1000, None], 1):
        Batch.objects.create(run=run, number=number, step="add", latency_ms=ms)
    context = page_of().get("/admin/").context
    assert (context["delivered_today"], context["delivered_week"]) == (1234, 2234)
    assert (context["success"], context["failed"], context["ended"]) == ("66.7 %", 1, 3)
    assert (context["p50"], context["p95"]) == (30, 1000)
    assert [day.delivered for day in context["days"]][-4:] == [1000, 0, 0, 1234]


def test_what_needs_attention_links_to_the_list_that_shows_it():
    client = page_of()
    failed = made(1)
    run = run_of(failed, RunState.FAILED)
    run_of(made(2), RunState.HELD)
    paused = made(3)
    Destination.objects.pause(paused.destination_id, "wrong key")
    Rejection.objects.create(
        sync=failed, user_id="a", kind=RejectionKind.REJECTED, wanted=True, code="x", message="y", run=run,
        last_at=timezone.now(),
    )  # fmt: skip
    needs = {need.words: need for need in client.get("/admin/").context["needs"]}
    assert set(needs) == {"sync failed", "run held for approval", "destination paused", "rejected user"}
    for words, shown in {"sync failed": "d1", "run held for approval": "d2"}.items():
        rows = client.get(needs[words].url).context["cl"].result_list
        assert [row.destination.name for row in rows] == [shown], words
    rows = client.get(needs["destination paused"].url).context["cl"].result_list
    assert [row.name for row in rows] == ["d3"]


def test_all_well_says_so():
    run_of(made())
    assert "Nothing waits for you" in page_of().get("/admin/").content.decode()


def test_what_does_not_run_says_why():
    now = timezone.now()
    off, due, passed, parked, well = made(1, enabled=False), made(2), made(3), made(4), made(5)
    Sync.objects.filter(pk=due.pk).update(next_due_at=now - timedelta(hours=1), schedule_kind="hourly")
    Sync.objects.filter(pk=passed.pk).update(schedule_kind="once", schedule_once_at=now - timedelta(days=1))
    Sync.objects.filter(pk=well.pk).update(next_due_at=now + timedelta(hours=1), schedule_kind="hourly")
    run_of(parked, RunState.PARKED)
    Driver.objects.create(
        destination=parked.destination,
        next_at=now + timedelta(minutes=5),
        next_reason="3 batches in a row",
        opened=1,
    )
    context = page_of().get("/admin/").context
    said = {row["url"]: row["sentence"] for row in context["stuck"]}
    assert set(said) == {f"/admin/syncs/sync/{s.pk}/" for s in (off, due, passed, parked)}
    texts = [said[f"/admin/syncs/sync/{s.pk}/"] for s in (off, due, passed, parked)]
    for text, part in zip(
        texts,
        ["schedule is paused", "no worker has taken it", "which has passed", "3 batches in a row"],
        strict=True,
    ):
        assert part in text
    assert [row["url"] for row in context["due"]] == [f"/admin/syncs/sync/{well.pk}/"]


def test_a_strip_holds_the_last_forty_runs_the_oldest_first():
    sync = made()
    Run.objects.bulk_create(
        Run(sync=sync, trigger="person", from_version=0, to_version=1, state=RunState.SUCCEEDED)
        for _ in range(45)
    )
    strip = page_of().get("/admin/").context["strips"][0]
    keys = [int(re.search(r"\d+", run["url"]).group()) for run in strip.runs]
    assert len(keys) == 40
    assert keys == sorted(keys)
    assert keys[-1] == Run.objects.latest("pk").pk


def test_the_number_of_queries_does_not_grow(django_assert_num_queries):
    client = page_of()
    for number in range(12):
        sync = made(number, next_due_at=timezone.now() + timedelta(hours=1))
        Batch.objects.create(run=run_of(sync, RunState.FAILED), number=1, step="add", latency_ms=5)
        if number in (0, 11):
            client.get("/admin/")  # quiet sources are looked for now and then
            with django_assert_num_queries(QUERIES):
                client.get("/admin/")


def test_names_are_shown_as_text():
    sync = made()
    Destination.objects.filter(pk=sync.destination_id).update(
        title="<script>alert(1)</script>", paused_at=timezone.now()
    )
    run_of(sync)
    text = page_of().get("/admin/").content.decode()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text


def test_a_sidebar_shows_what_a_role_may_see():
    made()
    viewer, operator = page_of("viewer").get("/admin/"), page_of("administrator").get("/admin/")
    assert "/admin/auth/user/" not in viewer.content.decode()
    assert "/admin/auth/user/" in operator.content.decode()


def test_cohorts_that_are_sent_nowhere_and_need_somebody__link_to_the_list_that_shows_them():
    made()
    wrong = Cohort.objects.create(
        key="wrong", name="Wrong", source_kind="behavioral", calculation_error="No events."
    )
    held = Cohort.objects.create(key="held", name="Held", held_number=1, last_number=1)
    client = page_of()
    needs = {need.words: need for need in client.get("/admin/").context["needs"]}
    for words, cohort in {
        "cohort could not be calculated": wrong,
        "cohort held for approval": held,
    }.items():
        rows = client.get(needs[words].url).context["cl"].result_list
        assert [row.pk for row in rows] == [cohort.pk], words
