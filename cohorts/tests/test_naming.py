"""Names of events and properties: two for one thing, hidden ones, and those that are not to be used."""

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from cohorts.behavioral import members, preview
from cohorts.definitions import parse
from cohorts.explain import explain
from cohorts.models import Cohort
from cohorts.suggesting import frequent_values
from events.catalogue import event_names, event_properties, unknown_events, user_properties
from events.importing import import_file
from events.models import CatalogueEntry, Correction, NameKind, NameRule
from events.naming import InvalidName, decide, keep, wanted

pytestmark = pytest.mark.django_db

AS_OF = datetime(2024, 6, 1, tzinfo=UTC)
LINES: list[dict[str, Any]] = [
    {"user_id": "old", "event": "song_play", "properties": {"genre": "jazz", "cart": {"total": 5}}},
    {"user_id": "both", "event": "song_play", "properties": {"genre": "rock", "style": "jazz"}},
    {"user_id": "new", "event": "play", "properties": {"style": "jazz", "basket": {"total": 7}}},
    {"user_id": "other", "event": "pause"},
]
TRAITS = [("old", {"plan": "pro"}), ("both", {"plan": "pro", "tier": "free"}), ("new", {"tier": "pro"})]


@pytest.fixture(autouse=True)
def came(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Suggestions that take longer are none: here the machine may be busy.
    monkeypatch.setattr("cohorts.suggesting.SECONDS", 60.0)
    settings.EVENTS_DIR = tmp_path / "events"
    path = tmp_path / "a.jsonl"
    lines = [line | {"time": "2024-05-01"} for line in LINES]
    lines += [{"type": "identify", "user_id": user, "traits": traits} for user, traits in TRAITS]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file("default", path)


def who(**condition: Any) -> list[str]:
    definition = parse({"version": 1, "where": condition})
    return list(members(definition, AS_OF, cohorts=lambda key: []))


def names(entries: list[CatalogueEntry]) -> dict[str, int]:
    return {entry.name: entry.count for entry in entries}


def rename(kind: NameKind, old: str, new: str) -> None:
    decide("default", kind, old, "anna", renamed_to=new)


def test_an_event_is_one_under_both_its_names_and_its_files_stay_as_they_are() -> None:
    rename(NameKind.EVENT, "song_play", "play")
    for name in ("play", "song_play"):
        assert who(performed={"event": name}) == ["both", "new", "old"]
        steps = [{"event": name}, {"event": "pause", "absent": True}]
        assert who(sequence={"steps": steps, "within": "1h"}) == ["both", "new", "old"]
        more = {"first": {"event": name}, "than": {"event": "pause"}}
        assert who(more=more) == ["both", "new", "old"]
    assert names(event_names("default")) == {"play": 3, "pause": 1}
    assert names(event_names("default", "LAY")) == {"play": 3}
    assert unknown_events("default", ["play", "song_play", "paly"]) == ["paly"]
    definition = parse({"version": 1, "where": {"performed": {"event": "play"}}})
    found = explain(definition, "old", AS_OF, in_cohort=lambda key: False)
    assert found.member and found.root.facts.startswith("1 time, last on 2024-05-01")
    assert preview(definition, AS_OF, cohorts=lambda key: []).size == 3
    said = Correction.objects.get(what__contains="song_play")
    assert (said.sentence, said.by) == ("The event “song_play” is called “play”.", "anna")
    decide("default", NameKind.EVENT, "song_play", "anna", renamed_to="")
    assert who(performed={"event": "play"}) == ["new"] and not NameRule.objects.exists()


def test_a_property_has_the_value_of_its_new_name_before_that_of_its_old_one() -> None:
    rename(NameKind.PROPERTY, "genre", "style")
    rename(NameKind.PROPERTY, "cart", "basket")
    for name in ("style", "genre"):
        assert who(performed={"event": "*", "where": [{"property": name, "=": "jazz"}]}) == [
            "both",
            "new",
            "old",
        ]
        assert frequent_values("default", "song_play", name) == [("jazz", 2)]
    for name in ("basket.total", "cart.total"):
        assert who(performed={"event": "*", "sum": {"property": name, ">": 4}}) == ["new", "old"]
    assert names(event_properties("default", "song_play")) == {"style": 3, "basket": 1}
    assert names(event_properties("default", "*")) == {"style": 4, "basket": 2}


def test_a_property_of_users_is_renamed_apart_from_one_of_events() -> None:
    rename(NameKind.USER_PROPERTY, "plan", "tier")
    for name in ("tier", "plan"):
        assert who(user={"property": name, "=": "pro"}) == ["new", "old"]
    assert names(user_properties("default")) == {"tier": 4}
    assert frequent_values("default", "", "tier") == [("pro", 2), ("free", 1)]


@pytest.mark.parametrize(
    ("name", "new", "why"),
    [
        ("play", "play", "is its name already"),
        ("play", "song_play", "“song_play” is called “play” now"),
        ("pause", "song_play", "“song_play” is called “play” now"),
        ("play", "listen", "“song_play” is called “play”: rename that one"),
        ("*", "all", "stands for any event"),
        ("play", " ", "1 to 255 characters"),
        ("", "play", "1 to 255 characters"),
    ],
)
def test_a_name_that_leads_to_another_rename_is_refused(name: str, new: str, why: str) -> None:
    rename(NameKind.EVENT, "song_play", "play")
    with pytest.raises(InvalidName, match=why.replace("*", r"\*")):
        rename(NameKind.EVENT, name, new)
    assert NameRule.objects.count() == 1


def test_what_is_hidden_is_not_offered_and_counts() -> None:
    decide("default", NameKind.EVENT, "play", "anna", hidden=True)
    decide("default", NameKind.PROPERTY, "genre", "anna", hidden=True)
    assert names(event_names("default")) == {"song_play": 2, "pause": 1}
    assert names(event_properties("default", "song_play")) == {"style": 1, "cart": 1}
    assert who(performed={"event": "play"}) == ["new"]
    decide("default", NameKind.EVENT, "play", "anna", hidden=False)
    assert "play" in names(event_names("default"))


def cohort(definition: dict[str, Any], **more: Any) -> Cohort:
    values = {"key": "c", "name": "C", "source_kind": "behavioral"} | more
    return Cohort(**values, definition={"version": 1, "where": definition})


PERFORMED = [
    {"performed": {"event": "play", "where": [{"property": "style.kind", "is_set": True}]}},
    {"performed": {"event": "x", "nth": {"n": 1, "where": [{"any": [{"property": "style", "=": "a"}]}]}}},
    {"performed": {"event": "x", "sum": {"property": "style", ">": 1}}},
    {"sequence": {"steps": [{"event": "x"}, {"event": "y"}], "same": "style"}},
    {"more": {"first": {"event": "x", "where": [{"property": "style", "=": "a"}]}, "than": {"event": "y"}}},
    {
        "performed": {
            "event": "x",
            "after_first": {"event": "y", "within": "1d", "where": [{"property": "style", "=": "a"}]},
        }
    },
]


@pytest.mark.parametrize("definition", PERFORMED)
def test_a_definition_that_names_what_is_not_to_be_used_is_refused_with_the_reason(
    definition: dict[str, Any],
) -> None:
    decide("default", NameKind.PROPERTY, "style", "anna", forbidden="Broken in May.")
    with pytest.raises(ValidationError, match="“style” is not to be used: Broken in May"):
        cohort({"all": [definition, {"user": {"property": "tier", "=": "a"}}]}).clean()
    cohort({"user": {"property": "style", "=": "a"}}).clean()
    cohort(definition, events_workspace="shop").clean()


def test_the_old_name_of_what_is_not_to_be_used_is_refused_too_and_its_own_may_be() -> None:
    rename(NameKind.EVENT, "song_play", "play")
    decide("default", NameKind.EVENT, "play", "anna", forbidden="Gone.")
    with pytest.raises(ValidationError, match="“song_play” is not to be used: Gone"):
        cohort({"performed": {"event": "song_play"}}).clean()
    decide("default", NameKind.EVENT, "play", "anna", forbidden="")
    decide("default", NameKind.EVENT, "song_play", "anna", forbidden="Say play.")
    cohort({"performed": {"event": "play"}}).clean()
    with pytest.raises(ValidationError, match="Say play"):
        cohort({"performed": {"event": "song_play"}}).clean()


def test_a_cohort_that_names_it_already_goes_on_says_so_and_can_be_changed_elsewhere(
    admin_client: Client,
) -> None:
    made = cohort({"performed": {"event": "play"}})
    made.save()
    out = StringIO()
    call_command("decide_name", "play", "--forbid", "Sent twice.", "--by", "anna", stdout=out)
    assert "“play”: not to be used: Sent twice.\nCohorts that name it: c." in out.getvalue()
    page = admin_client.get(f"/admin/cohorts/cohort/{made.pk}/").content.decode()
    assert "The event “play” is not to be used: Sent twice." in page
    api, url = client_of("change_cohort"), "/api/v1/cohorts/c"
    assert api.patch(url, {"description": "x"}, format="json").status_code == 200
    changed = {"definition": {"version": 1, "where": {"performed": {"event": "play", "count": {">": 2}}}}}
    refused = api.patch(url, changed, format="json")
    assert refused.status_code == 400 and "Sent twice" in refused.content.decode()
    assert who(performed={"event": "play"}) == ["new"]
    entry = CatalogueEntry.objects.get(event="play", property_name="")
    shown = admin_client.get(f"/admin/events/catalogueentry/{entry.pk}/change/").content.decode()
    assert "not to be used: Sent twice." in shown and f'href="/admin/cohorts/cohort/{made.pk}/"' in shown


def test_the_form_says_what_is_not_to_be_used_while_one_types(admin_client: Client) -> None:
    decide("default", NameKind.EVENT, "play", "anna", forbidden="Sent twice.")
    body = json.dumps({"version": 1, "where": {"performed": {"event": "play"}}})

    def problems(query: str) -> Any:
        url = f"/admin/cohorts/cohort/check/{query}"
        return admin_client.post(url, body, content_type="application/json").json()["problems"]

    assert problems("") == [["/where", "The event “play” is not to be used: Sent twice."]]
    assert problems("?workspace=shop") == []


def test_the_command_says_what_holds_and_refuses_what_makes_no_sense() -> None:
    out = StringIO()
    call_command(
        "decide_name", "plan", "--kind", "user_property", "--rename-to", "tier", "--json", stdout=out
    )
    assert json.loads(out.getvalue()) == {
        "workspace": "default", "kind": "user_property", "name": "plan", "renamed_to": "tier",
        "hidden": False, "forbidden": "", "cohorts": [],
    }  # fmt: skip
    with pytest.raises(CommandError, match="is its name already"):
        call_command("decide_name", "tier", "--rename-to", "tier")


def client_of(*permissions: str) -> APIClient:
    user = User.objects.create_user("bea")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient()
    client.force_authenticate(user)
    return client


def test_names_are_decided_over_rest() -> None:
    api, url = client_of("view_namerule", "add_namerule"), "/api/v1/event-names"
    cohort({"performed": {"event": "play"}}).save()
    done = api.post(url, {"name": "song_play", "renamed_to": "play", "hidden": True}, format="json")
    assert done.status_code == 201 and done.json() == {
        "workspace": "default", "kind": "event", "name": "song_play", "renamed_to": "play", "hidden": True,
        "forbidden": "", "cohorts": ["c"],
    }  # fmt: skip
    [rule] = api.get(url, {"workspace": "default"}).json()["results"]
    assert (rule["name"], rule["renamed_to"]) == ("song_play", "play")
    assert api.get(url, {"workspace": "other"}).json()["results"] == []
    assert Correction.objects.get(what__contains="“play”").by == "bea"
    for wrong in (
        {},
        {"name": "play", "renamed_to": "song_play"},
        {"name": "a", "kind": "x"},
        {"name": "\0"},
    ):
        assert api.post(url, wrong, format="json").status_code == 400


def test_who_may_only_look_decides_nothing() -> None:
    api = client_of("view_namerule")
    assert api.post("/api/v1/event-names", {"name": "play", "hidden": True}, format="json").status_code == 403
    assert not NameRule.objects.exists()


def test_names_are_decided_in_the_admin_with_who_and_when(admin_client: Client) -> None:
    entry = CatalogueEntry.objects.get(event="song_play", property_name="")
    page = f"/admin/events/catalogueentry/{entry.pk}"
    assert "What is it called from now on?" in admin_client.get(f"{page}/do/rename/").content.decode()
    admin_client.post(f"{page}/do/rename/", {"seen": "", "text": "play"})
    assert names(event_names("default")) == {"play": 3, "pause": 1}
    listed = admin_client.get("/admin/events/catalogueentry/").content.decode()
    assert "called “play”" in listed
    with CaptureQueriesContext(connection) as asked:
        assert "Take the new name back" in admin_client.get(f"{page}/change/").content.decode()
    assert sum("events_namerule" in query["sql"] for query in asked) == 2, "with the row, and for the cohorts"
    wrong = admin_client.post(f"{page}/do/rename/", {"seen": "", "text": "song_play"}, follow=True)
    assert "is its name already" in wrong.content.decode()
    empty = admin_client.post(f"{page}/do/rename/", {"seen": "", "text": ""}, follow=True)
    assert "Give a line" in empty.content.decode()
    admin_client.post(f"{page}/do/hide/", {"seen": ""})
    admin_client.post(f"{page}/do/as-it-came/", {"seen": ""})
    rule = NameRule.objects.get()
    assert (rule.renamed_to, rule.hidden) == ("", True)
    assert {said.by for said in Correction.objects.all()} == {"admin"} and Correction.objects.count() == 3


def test_a_name_that_never_came_is_decided_in_a_form_and_taken_back_there(admin_client: Client) -> None:
    url = "/admin/events/namerule/add/"
    given = {"workspace": "default", "kind": "event", "name": "checkout", "renamed_to": "", "forbidden": ""}
    assert "Say what it is called" in admin_client.post(url, given).content.decode()
    wrong = admin_client.post(url, given | {"renamed_to": "checkout"}).content.decode()
    assert "is its name already" in wrong
    rename(NameKind.EVENT, "song_play", "play")
    leads = admin_client.post(url, given | {"renamed_to": "song_play"}).content.decode()
    assert "“song_play” is called “play” now" in leads
    done = admin_client.post(url, given | {"forbidden": "Sent by nobody."})
    assert done.status_code == 302, done.context["errors"]
    with pytest.raises(ValidationError, match="Sent by nobody"):
        cohort({"performed": {"event": "checkout"}}).clean()
    rule = NameRule.objects.get(name="checkout")
    assert Correction.objects.filter(what__contains="checkout").get().by == "admin"
    cohort({"performed": {"event": "checkout"}}).save()
    assert 'href="/admin/cohorts/cohort/' in admin_client.get(rule.get_absolute_url()).content.decode()
    taken = admin_client.post(rule.get_absolute_url(), {"renamed_to": "", "forbidden": ""})
    assert taken.status_code == 302 and not NameRule.objects.filter(name="checkout").exists()
    assert Correction.objects.filter(what__contains="may be used").get().by == "admin"


def test_of_two_who_decide_about_a_name_at_once_the_later_one_decides() -> None:
    first = wanted("default", NameKind.EVENT, "play", hidden=True)
    later = wanted("default", NameKind.EVENT, "play", forbidden="Gone.")
    for rule in (first, later):
        keep(rule, "anna")
    assert NameRule.objects.get().sentence == "not to be used: Gone."


def test_the_form_of_a_cohort_offers_workspaces_whose_events_are_in_a_database(admin_client: Client) -> None:
    CatalogueEntry.objects.create(workspace="elsewhere", event="play", count=1, last_seen=AS_OF)
    page = admin_client.get("/admin/cohorts/cohort/add/").content.decode()
    assert '<option value="elsewhere">' in page and '<option value="default">' in page
