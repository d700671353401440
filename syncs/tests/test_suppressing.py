"""Suppressed people leave partners: with the next run, or at once; dry runs, guards and runs that wait."""

import json
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from cohorts import refresh
from people.models import Suppression
from syncs import due, lifecycle
from syncs.choices import RunMode, RunState, Trigger
from syncs.models import Run
from syncs.preview import preview
from syncs.suppressing import take_effect
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner():
    with Partner() as running:
        yield running


@pytest.fixture
def sync(partner):
    cohort = world.cohort(["ada@example.com", "bob", "cleo", "dan"])
    made = world.sync(cohort, world.destination(partner.url))
    world.run(made)
    return made


def on_list(partner):
    [members] = partner.lists.values()
    return set(members)


def test_the_next_run_takes_them_out_and_a_later_file_does_not_bring_them_back(sync, partner):
    call_command("suppress", "bob", stdout=StringIO())
    call_command("suppress", " ADA@Example.com", "--by", "email", stdout=StringIO())
    world.run(sync)
    assert on_list(partner) == {"cleo", "dan"}
    world.fill(sync.cohort, ["ada@example.com", "bob", "cleo", "eve"])
    world.run(sync)
    assert on_list(partner) == {"cleo", "eve"}
    call_command("unsuppress", "bob", stdout=StringIO())
    world.run(sync)
    assert on_list(partner) == {"bob", "cleo", "eve"}


def test_a_run_takes_them_out_though_no_worker_looked_at_the_list(sync, partner):
    from people.suppression import Said, add, entry_of

    add([entry_of("user_id", "bob")], Said())
    world.run(sync)
    assert on_list(partner) == {"ada@example.com", "cleo", "dan"}


def test_a_guard_does_not_hold_what_the_list_takes_out(sync, partner):
    type(sync).objects.filter(pk=sync.pk).update(guard_users=0)
    call_command("suppress", "bob", "cleo", stdout=StringIO())
    assert world.run(sync).state == RunState.SUCCEEDED
    assert on_list(partner) == {"ada@example.com", "dan"}


def test_at_once_begins_the_runs_that_it_concerns_and_no_other(sync, partner):
    other = world.sync(world.cohort(["x"]), sync.destination)
    never_ran = world.sync(sync.cohort, world.destination(partner.url))
    out = StringIO()
    call_command("suppress", "bob", "--now", "--json", stdout=out)
    [run] = json.loads(out.getvalue())["runs"]
    assert Run.objects.get(pk=run).trigger == Trigger.SUPPRESSED
    assert not other.runs.exists()
    assert not never_ran.runs.exists()
    assert take_effect() == []
    world.go(sync.destination)
    assert on_list(partner) == {"ada@example.com", "cleo", "dan"}


def test_a_cohort_that_is_being_refreshed_is_asked_again(sync):
    type(sync.cohort).objects.take_claim(sync.cohort_id)
    call_command("suppress", "bob", "--now", stdout=StringIO())
    assert sync.runs.count() == 1
    sync.cohort.refresh_from_db()
    type(sync.cohort).objects.release_claim(sync.cohort_id, sync.cohort.claim_fence)
    assert len(take_effect()) == 1


def test_nobody_is_sent_while_suppressed_people_cannot_be_taken_out(sync):
    sync.cohort.guard_users = 0
    sync.cohort.save()
    held = refresh.replace(sync.cohort_id, ["bob"], source="test")
    call_command("suppress", "bob", stdout=StringIO())
    with pytest.raises(lifecycle.CannotRun, match="Suppressed people cannot be taken out of Buyers yet"):
        lifecycle.start(sync, trigger=Trigger.PERSON)
    assert lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.EMPTY)
    Run.objects.filter(sync=sync).exclude(state=RunState.SUCCEEDED).delete()
    refresh.refuse(sync.cohort_id, held.number, by="ann")
    assert lifecycle.start(sync, trigger=Trigger.PERSON).to_version > held.number


def test_a_schedule_waits_with_them(sync):
    from django.utils import timezone

    sync.cohort.guard_users = 0
    sync.cohort.save()
    refresh.replace(sync.cohort_id, ["bob"], source="test")
    call_command("suppress", "bob", stdout=StringIO())
    type(sync).objects.filter(pk=sync.pk).update(next_due_at=timezone.now(), schedule_kind="hourly")
    assert due.start_due(timezone.now()) == []


def test_a_dry_run_says_how_many_are_held_back(sync):
    call_command("suppress", "bob", "cleo", stdout=StringIO())
    sync.refresh_from_db()
    shown = preview(sync)
    assert (shown.removes, shown.held_back) == (2, 2)
    out = StringIO()
    call_command("sync", str(sync), "--dry-run", stdout=out)
    assert preview(sync, mode=RunMode.EMPTY).held_back == 0


def test_commands_refuse_what_they_cannot_do(sync, tmp_path):
    with pytest.raises(CommandError, match="not both"):
        call_command("suppress")
    with pytest.raises(CommandError, match="'bob' has no @"):
        call_command("suppress", "bob", "--by", "email")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("suppress", "bob", "--until", "soon")
    with pytest.raises(CommandError, match="end before it begins"):
        call_command("suppress", "bob", "--until", "2020-01-01")
    assert not Suppression.objects.exists()
    file = tmp_path / "out.csv"
    file.write_text("mail\nada@example.com\nbob\n")
    out, err = StringIO(), StringIO()
    call_command("suppress", file=file, column="mail", by="email", skip_invalid=True, stdout=out, stderr=err)
    assert out.getvalue() == "1 person new on the list.\n"
    assert "1 skipped" in err.getvalue()
    listed = StringIO()
    call_command("list_suppressed", "--json", stdout=listed)
    assert json.loads(listed.getvalue())["hint"] == "a…@example.com"


@pytest.fixture
def api(client: Client):
    client.force_login(User.objects.create_superuser("ann"))

    def call(path, body=None):
        address = f"/api/v1/suppressions{path}"
        if body is None:
            return client.get(address)
        return client.post(address, json.dumps(body), content_type="application/json")

    return call


def test_the_rest_api_puts_on_lists_and_takes_off(sync, api):
    said = {"people": ["bob", "nobody"], "reason": "opted out", "until": "2999-01-01T00:00:00Z"}
    reply = api("", said)
    assert (reply.status_code, reply.json()) == (201, {"changed": 2})
    [found] = api("?value=bob").json()["results"]
    assert (found["state"], found["reason"]) == ("Suppressed", "opted out")
    assert found["source"] == "REST API by ann"
    assert api("/lift", {"people": ["bob"]}).json() == {"changed": 1}
    assert [row["value"] for row in api("?active=true").json()["results"]] == ["nobody"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"people": []},
        {"people": [None]},
        {"people": [""]},
        {"people": ["a\0b"]},
        {"people": ["\ud800"]},
        {"people": ["x" * 6_000]},
        {"people": ["bob"], "kind": "email"},
        {"people": ["030 1"], "kind": "phone"},
        {"people": ["bob"], "kind": "device"},
        {"people": ["bob"], "until": "2020-01-01T00:00:00Z"},
        {"people": ["bob"], "since": "soon"},
        ["bob"],
    ],
)
def test_bad_calls_are_refused_and_change_nothing(api, body):
    assert api("", body).status_code == 400
    assert not Suppression.objects.exists()


def test_the_admin_puts_people_on_the_list_finds_them_and_takes_them_off(sync, client):
    client.force_login(User.objects.create_superuser("ann"))
    page = reverse("admin:people_suppression_add")
    assert client.get(page).status_code == 200
    wrong = client.post(page, {"kind": "email", "people": "ada@example.com\nbob"}).content.decode()
    assert "has no @" in wrong
    assert not Suppression.objects.exists()
    assert "not both" in client.post(page, {"kind": "email"}).content.decode()
    done = client.post(page, {"kind": "email", "people": "ada@example.com\r\n", "at_once": "on"}, follow=True)
    assert "1 person is new on the list" in done.content.decode()
    rows = reverse("admin:people_suppression_changelist")
    assert "a…@example.com" in client.get(rows, {"q": "ADA@example.com"}).content.decode()
    assert "a…@example.com" not in client.get(rows, {"q": "eve@example.com"}).content.decode()
    for state in ("active", "later", "over", "lifted"):
        assert client.get(rows, {"state": state}).status_code == 200
    row = Suppression.objects.get()
    taken = client.post(rows, {"action": "take_off", "_selected_action": [row.pk]}, follow=True)
    assert "1 person was taken off the list" in taken.content.decode()
    row.refresh_from_db()
    assert row.lifted_at


def test_who_may_only_look_changes_nothing(client):
    viewer = User.objects.create_user("vic", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_suppression"))
    client.force_login(viewer)
    assert client.get(reverse("admin:people_suppression_changelist")).status_code == 200
    assert client.get(reverse("admin:people_suppression_add")).status_code == 403
    call = {"data": json.dumps({"people": ["bob"]}), "content_type": "application/json"}
    assert client.post("/api/v1/suppressions", **call).status_code == 403
    assert client.post("/api/v1/suppressions/lift", **call).status_code == 403
