"""Where is user X: cohorts, what destinations were sent, rejections, what partners sent."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from cohortsite.roles import grant
from destinations.models import Destination
from people.models import Suppression
from receiving import store
from receiving.models import List, Workspace
from syncs.choices import RejectionKind, RunState
from syncs.models import Rejection, Run, Sync
from syncs.suppressing import take_effect
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db
URL = "/admin/where/"


@pytest.fixture
def client():
    user = User.objects.create_user("ann", is_staff=True)
    grant()  # a test that truncated the tables may have run before
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db(transaction=True)
def test_what_a_destination_was_reported_follows_its_runs(client):
    with Partner() as partner:
        cohort = world.cohort(["a", "b"], name="Buyers")
        sync = world.sync(cohort, world.destination(partner.url))

        def sent(user_id):
            (mine,) = client.get(URL, {"user": user_id}).context["memberships"]
            (one,) = mine.sent
            return mine.is_in, one.sentence, one.batch_url

        assert sent("a") == (True, "was sent nothing yet", "")
        first = world.run(sync)
        assert sent("a")[:2] == (True, "has this user as of version 1")
        assert sent("a")[2].startswith(f"/admin/syncs/run/{first.pk}/batches/")
        assert client.get(sent("a")[2]).status_code == 200

        world.fill(cohort, ["b"])
        assert sent("a")[:2] == (
            False,
            "has this user as of version 1; the next run tells it what has changed since",
        )
        second = world.run(sync)
        assert sent("a")[:2] == (False, "was asked to remove this user as of version 2")
        assert sent("a")[2].startswith(f"/admin/syncs/run/{second.pk}/batches/")
        assert sent("b")[2].startswith(f"/admin/syncs/run/{first.pk}/batches/")


def test_a_rejected_user_was_not_taken(client):
    sync = world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9"))
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    run = Run.objects.create(
        sync=sync, trigger="person", from_version=0, to_version=1, state=RunState.PARTIAL
    )
    Rejection.objects.create(
        sync=sync, user_id="a", kind=RejectionKind.REJECTED, wanted=True, code="x",
        message="<b>no such user</b>",
        run=run, last_at=timezone.now(),
    )  # fmt: skip
    reply = client.get(URL, {"user": "a"})
    assert "was asked to add this user, and did not" in reply.context["memberships"][0].sent[0].sentence
    assert len(reply.context["rejections"]) == 1
    assert "<b>no such" not in reply.content.decode()


def test_a_user_who_left_and_came_back_is_in_since_then(client):
    cohort = world.cohort(["a", "b"])
    world.fill(cohort, ["b"])
    world.fill(cohort, ["a", "b"])
    (mine,) = client.get(URL, {"user": "a"}).context["memberships"]
    assert (mine.is_in, mine.since, mine.intervals) == (True, 3, [(1, 2), (3, None)])
    assert mine.since_at is not None


def test_what_partners_sent_is_shown_for_each_workspace(client):
    workspace = Workspace.objects.create(slug="partner")
    Workspace.objects.create(slug="other")
    made = store.create_list(workspace, "[Amplitude] Buyers: buyers")
    store.add_members(List.objects.get(pk=made.pk).member_set_id, ["a"])
    (held,) = client.get(URL, {"user": "a"}).context["holdings"]
    assert held["workspace"] == workspace
    assert [one["name"] for one in held["lists"]] == ["[Amplitude] Buyers: buyers"]


@pytest.mark.parametrize("asked", ["\0", "x" * 1025, " "])
def test_what_is_no_user_id_is_reported(client, asked):
    reply = client.get(URL, {"user": asked})
    assert reply.status_code == 200
    assert "The user id" in reply.context["problem"]


@pytest.mark.parametrize("asked", ["nobody", "<script>alert(1)</script>", "ü‮,", "%"])
def test_nobody_is_found_and_shown_as_text(client, asked):
    reply = client.get(URL, {"user": asked})
    assert reply.context["nothing"]
    assert "<script>alert" not in reply.content.decode()


def test_the_queries_do_not_grow_with_cohorts_and_syncs(client, django_assert_max_num_queries):
    for number in range(6):
        world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9", name=f"d{number}"))
    Sync.objects.update(settled_version=1)
    client.get(URL, {"user": "a"})
    with django_assert_max_num_queries(12):
        assert len(client.get(URL, {"user": "a"}).context["memberships"]) == 6


def test_without_a_role_there_is_no_search():
    client = Client()
    assert client.get(URL, {"user": "a"}).status_code == 302
    client.force_login(User.objects.create_user("stranger", is_staff=True))
    assert client.get(URL, {"user": "a"}).status_code == 403


def test_a_user_that_a_cohort_never_had_leads_to_the_reason(client):
    world.cohort(["a"], name="Mine")
    other = world.cohort(["b"], name="Theirs", source_kind="behavioral")
    world.cohort(["c"], name="Given")
    page = client.get(URL, {"user": "a"})
    assert [cohort.name for cohort, _ in page.context["outside"]] == ["Given", "Theirs"]
    assert f"/admin/cohorts/cohort/{other.pk}/why/?user=a" in page.content.decode()
    assert "its source does not name the user" in page.content.decode()


def test_blanks_around_an_id_are_noticed(client):
    world.cohort(["a"])
    assert client.get(URL, {"user": " a"}).context["trimmed"] == "a"
    assert 'href="?user=a"' in client.get(URL, {"user": " a"}).content.decode()
    assert client.get(URL, {"user": "a"}).context["trimmed"] == ""


# --- taking out, and forgetting ------------------------------------------------------------------


def as_operator():
    user = User.objects.create_user("olga", is_staff=True)
    grant()
    user.groups.add(Group.objects.get(name="operator"))
    client = Client()
    client.force_login(user)
    return client


def test_what_can_be_done_with_a_person_is_offered_by_right(client, admin_client):
    words = ("Take out everywhere", "Forget this person")
    for who, expected in ((client, [0, 0]), (as_operator(), [1, 0]), (admin_client, [1, 1])):
        page = who.get(URL, {"user": "a"}).content.decode()
        assert [page.count(word) for word in words] == expected
    for method in (client.get, client.post):
        assert method(f"{URL}take-out/?user=a", {"reason": "x"}).status_code == 403
    assert not Suppression.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_taking_out_says_how_many_partners_it_concerns_and_removes_at_once(client):
    with Partner() as partner:
        sync = world.sync(world.cohort(["a", "b"]), world.destination(partner.url))
        world.run(sync)
        never = world.sync(world.cohort(["b"]), world.destination(partner.url, name="other"))
        operator, url = as_operator(), f"{URL}take-out/?user=a"
        asked = operator.get(url)
        assert asked.context["partners"] == 1 and "1 partner may have them now" in " ".join(
            asked.content.decode().split()
        )
        assert [one.pk for one, _ in asked.context["holders"]] == [sync.pk]
        assert not Suppression.objects.exists(), "asked, not done"
        assert operator.post(url, {"reason": " "}).status_code == 200, "why is asked for"
        assert operator.post(url, {"reason": "phoned"}).url == f"{URL}?user=a"
        row = Suppression.objects.get()
        assert (row.kind, row.value, row.reason, row.source) == ("user_id", "a", "phoned", "browser by olga")
        assert [run.sync_id for run in take_effect()] == [sync.pk], never
        world.go(sync.destination)
        sync.refresh_from_db()
        assert world.members_at(sync, sync.settled_version) == {"b"}
        assert operator.get(url).context["partners"] == 0


def test_an_address_is_taken_out_by_its_hash_and_the_page_says_what_that_reaches(admin_client):
    url = f"{URL}take-out/?user=Ada@Example.com"
    page = " ".join(admin_client.get(url).content.decode().split())
    assert "Partners that know people by e-mail address lose whoever has this one" in page
    admin_client.post(url, {"reason": "opted out"})
    row = Suppression.objects.get()
    assert row.kind == "email" and "ada" not in row.value and row.hint == "a…@example.com"


def test_a_paused_partner_is_named_as_what_keeps_them(admin_client):
    sync = world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9"))
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    Destination.objects.pause(sync.destination_id, "Contract ended")
    assert (
        "its destination is paused: Contract ended"
        in admin_client.get(f"{URL}take-out/?user=a").content.decode()
    )


def test_who_is_no_user_is_not_taken_out(admin_client):
    assert admin_client.get(f"{URL}take-out/?user=").url == URL
    assert "User id" in admin_client.get(URL).content.decode()
