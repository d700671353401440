"""The search in the sidebar finds what people look for by any part of its name."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cohortsite import navigation
from destinations.models import Destination
from syncs.choices import RunState, Trigger
from syncs.models import Run, Sync
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture
def sync() -> Sync:
    cohort = world.cohort(["u1"], name="Recent buyers", key="buyers", description="Who bought in spring")
    return world.sync(cohort, world.destination("http://127.0.0.1:9", name="acme-eu", title="Acme <b>"))


def found(client: Client, typed: str) -> dict[str, str]:
    reply = client.get("/admin/search/", {"s": typed, "part": "1"})
    assert reply.status_code == 200
    return {item.title: item.link for item in reply.context["results"]} if reply.context else {}


def test_cohorts_destinations_syncs_runs_and_pages_are_found_by_a_part_of_their_name(admin_client, sync):
    run = Run.objects.create(
        sync=sync, state=RunState.FAILED, trigger=Trigger.PERSON, from_version=0, to_version=1,
        started_at=timezone.now(),
    )  # fmt: skip
    assert found(admin_client, "ent BUY") == {
        "Recent buyers → Acme <b>": f"/admin/syncs/sync/{sync.pk}/",
        "Recent buyers": f"/admin/cohorts/cohort/{sync.cohort_id}/",
        "Where is “ent BUY”?": "/admin/where/?user=ent+BUY",
        "Help on “ent BUY”": "/help/?q=ent+BUY",
    }
    assert "Recent buyers" in found(admin_client, "spring")
    assert found(admin_client, "eu")["Acme <b>"] == f"/admin/destinations/destination/{sync.destination_id}/"
    assert found(admin_client, f"run {run.pk}")[f"Run {run.pk}"] == f"/admin/syncs/run/{run.pk}/change/"
    assert found(admin_client, "token")["API tokens"] == "/admin/cohortsite/apitoken/"
    assert "Acme &lt;b&gt;" in admin_client.get("/admin/search/", {"s": "acme"}).content.decode()
    assert found(admin_client, "") == {} and found(admin_client, "\0 ") == {}
    assert list(found(admin_client, "9" * 40))[0] == f"Where is “{'9' * 40}”?"


def test_an_action_is_offered_on_what_is_found_and_nothing_is_done_by_looking(admin_client, sync):
    url = found(admin_client, "run buyers → acme")["Run now"]
    assert url == f"/admin/syncs/sync/{sync.pk}/do/run/"
    assert admin_client.get(url).status_code == 200 and not Run.objects.exists()
    Sync.objects.update(archived_at=timezone.now())
    assert "Run now" not in found(admin_client, "run buyers")


def test_nobody_finds_what_they_may_not_see(client, sync):
    person = User.objects.create(username="bob", is_staff=True)
    client.force_login(person)
    for typed in ("buyers", "users", "take u1 out"):
        assert not any(link.startswith("/admin/") for link in found(client, typed).values()), typed
    person.user_permissions.set(Permission.objects.filter(codename="view_destination"))
    assert [title for title in found(client, "acme") if "Help" not in title] == ["Acme <b>"]
    assert "Run now" not in found(client, "run acme")


def test_what_was_just_made_is_found_and_a_search_costs_the_same_however_much_there_is(admin_client, sync):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            found(admin_client, "buyers")
        return len(asked)

    few = queries()
    for number in range(7):
        world.sync(world.cohort(name=f"buyers {number}"), sync.destination)
    assert queries() == few
    assert "buyers 0" in found(admin_client, "buyers")


@pytest.mark.parametrize(
    ("typed", "who"),
    [
        ("take Ada out everywhere", "Ada"),
        ("forget Ada", "Ada"),
        ("why did u123 not get the e-mail?", "u123"),
        ("where is ada@example.com?", "ada@example.com"),
        ("ada@example.com", "ada@example.com"),
    ],
)
def test_a_person_who_is_meant_can_be_looked_for_taken_out_and_forgotten(admin_client, typed, who):
    links = found(admin_client, typed)
    assert links[f"Where is “{who}”?"] == f"/admin/where/?user={who.replace('@', '%40')}"
    for title in (f"Where is “{who}”?", f"Take “{who}” out everywhere", f"Forget “{who}”"):
        assert admin_client.get(links[title]).status_code == 200
    form = admin_client.get(links[f"Forget “{who}”"]).context["adminform"].form
    assert form["user_id"].value() == who


def test_nobody_is_taken_out_by_the_name_of_a_cohort(admin_client, sync):
    assert not [title for title in found(admin_client, "recent buyers") if "out everywhere" in title]


@pytest.mark.parametrize(
    ("typed", "title"),
    [
        ("slack", "Alert channels"),
        ("match rate", "Destinations"),
        ("failed last night", "Runs"),
        ("holdout", "Cohorts"),
    ],
)
def test_a_page_is_found_by_what_one_does_there(admin_client, typed, title):
    assert title in found(admin_client, typed)


def test_a_destination_is_paused_for_all_of_its_syncs_from_the_search(admin_client, sync):
    pk = sync.destination_id
    links = found(admin_client, "pause everything to acme until tomorrow")
    assert links["Pause until a time"] == f"/admin/destinations/destination/{pk}/do/pause-until/"
    assert "Resume" not in found(admin_client, "pause acme")
    Destination.objects.pause(pk, "x")
    assert (
        found(admin_client, "resume acme")["Resume, for all of its syncs"]
        == f"/admin/destinations/destination/{pk}/do/resume/"
    )


@pytest.mark.parametrize(
    ("typed", "title"),
    [
        ("send this file to mailchimp each morning", "New sync"),
        ("mailchimp", "New destination: Mailchimp"),
        ("added to a cart, did not buy in 7 days, holdout", "New cohort"),
        ("tell slack only about errors of the marketing team", "Alert channels"),
        ("who changed this destination address", "Destinations"),
        ("give a partner a key", "API keys"),
        ("which syncs failed last night and for how long", "Runs that failed in the last day"),
    ],
)
def test_what_one_wants_to_do_is_found_and_is_there(admin_client, sync, typed, title):
    match = next(link for name, link in found(admin_client, typed).items() if name.startswith(title))
    assert admin_client.get(match).status_code == 200


def test_other_words_are_of_pages_that_there_are():
    assert set(navigation.ALSO) <= {title for _, pages in navigation.GROUPS for title, *_ in pages}
