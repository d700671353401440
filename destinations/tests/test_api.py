"""The REST API of destinations: the credential stays in, moves are agreed to, bad input is told."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from rest_framework.test import APIClient

from destinations.models import Destination
from destinations.tests.partner import answer, partner, says

pytestmark = pytest.mark.django_db
URL = "/api/v1/destinations"
SECRET = "s3cret-key-0123"
NEW = {"name": "acme", "preset": "amplitude-list", "base_url": "http://127.0.0.1:9/api", "credential": SECRET}
ALL = ("view_destination", "add_destination", "change_destination", "delete_destination")


def client_of(*permissions, name="ann"):
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def client():
    return client_of(*ALL)


@pytest.fixture
def acme(client):
    assert client.post(URL, NEW, format="json").status_code == 201
    return Destination.objects.get(name="acme")


def test_a_destination_is_made_from_its_preset_and_never_shows_its_credential(client):
    made = client.post(URL, NEW | {"batch_size": 500}, format="json")
    assert made.status_code == 201, made.content
    said = made.json()
    assert (said["credential_set"], said["auth_mode"], said["batch_size"]) == (True, "key", 500)
    stored = Destination.objects.get(name="acme")
    assert stored.credential.reveal() == SECRET
    for reply in (made, client.get(URL), client.get(f"{URL}/acme"), client.get(f"{URL}/acme/")):
        assert SECRET not in reply.content.decode()
        assert stored.credential.token not in reply.content.decode()
        assert '"credential":' not in reply.content.decode()


def test_a_preset_that_knows_its_address_needs_none(client):
    body = {"name": "segment", "preset": "segment", "credential": SECRET}
    made = client.post(URL, body, format="json")
    assert made.status_code == 201, made.content
    assert made.json()["base_url"] == "https://api.segment.io"
    assert made.json()["max_bytes"] == 500_000


def test_a_change_keeps_the_credential_and_the_rest(client, acme):
    reply = client.patch(f"{URL}/acme", {"title": "Acme & co", "rate": 2.5}, format="json")
    assert reply.status_code == 200, reply.content
    acme.refresh_from_db()
    assert (acme.title, acme.rate, acme.credential.reveal()) == ("Acme & co", 2.5, SECRET)


def test_a_template_is_taken_as_json_or_as_text(client, acme):
    template = {"ids": "$items"}
    for sent in (template, json.dumps(template)):
        reply = client.patch(f"{URL}/acme", {"add_template": sent}, format="json")
        assert reply.status_code == 200, reply.content
        assert json.loads(reply.json()["add_template"]) == template


@pytest.mark.parametrize(
    "change",
    [{"base_url": "http://127.0.0.1:9/other"}, {"kind": "property"}, {"add_path": "/elsewhere/$list_id"}],
)
def test_moving_a_destination_must_be_confirmed(client, acme, change):
    refused = client.patch(f"{URL}/acme", change, format="json")
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["field"]) == ("move_not_confirmed", "confirm_move")
    acme.refresh_from_db()
    fingerprint = acme.fingerprint
    assert acme.accepted_fingerprint == ""

    agreed = client.patch(f"{URL}/acme", change | {"confirm_move": True}, format="json")
    assert agreed.status_code == 200, agreed.content
    acme.refresh_from_db()
    assert acme.fingerprint != fingerprint
    assert acme.accepted_fingerprint == acme.fingerprint


BAD: dict[str, tuple[dict[str, object], str, str | None]] = {
    "name taken": ({"name": "acme"}, "name", "unique"),
    "name": ({"name": "a b"}, "name", "invalid"),
    "unknown field": ({"treads": 4}, "treads", "unknown_field"),
    "credential shown as a field": ({"credential_set": True, "x": 1}, "x", "unknown_field"),
    "preset": ({"preset": "moon"}, "preset", "invalid_choice"),
    "preset of another type": ({"preset": ["moon"]}, "preset", "invalid_choice"),
    "no address": ({"base_url": ""}, "base_url", "blank"),
    "an address that is none": ({"base_url": "ftp://x"}, "base_url", "invalid"),
    "an unknown variable": ({"add_template": {"ids": "$itemz"}}, "add_template", "invalid"),
    "no items": ({"add_template": {"ids": []}}, "add_template", "invalid"),
    "a template that is no JSON": ({"add_template": "{"}, "add_template", "invalid"),
    "a template that is a number": ({"add_template": 3.5}, "add_template", "invalid"),
    "NUL": ({"title": "a\0b"}, "title", "invalid"),
    "a lone surrogate": ({"title": "\ud800"}, "title", "invalid"),
    "NUL in a header": ({"extra_headers": {"X-A": "\0"}}, "extra_headers", "invalid"),
    "a header that is a list": ({"extra_headers": ["X"]}, "extra_headers", "invalid"),
    "NUL in rules": (
        {"rules": [{"status": 400, "then": "retry", "reason": "\0", "message": ""}]},
        "rules",
        None,
    ),
    "rules of another type": ({"rules": {"status": 400}}, "rules", "invalid"),
    "batch size": ({"batch_size": 0}, "batch_size", "min_value"),
    "a huge number": ({"batch_size": 10**90}, "batch_size", "max_value"),
    "a huge rate": ({"rate": 10**90}, "rate", "max_value"),
    "a rate beyond floats": ({"rate": "1e999"}, "rate", "invalid"),
    "a rate that is a list": ({"rate": [1]}, "rate", "invalid"),
    "no rate": ({"rate": -1}, "rate", "min_value"),
    "a key with a colon": ({"credential": "a:b"}, "credential", "invalid"),
    "no credential": ({"credential": ""}, "credential", "invalid"),
    "a lone surrogate for a credential": ({"credential": "\udfff"}, "credential", None),
    "Basic without a name": ({"auth_mode": "basic", "credential": ""}, "auth_username", "invalid"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_destination_is_refused(client, acme, name):
    change, field, code = BAD[name]
    body = json.dumps(NEW | {"name": "new"} | change)
    reply = client.post(URL, body, content_type="application/json")
    assert reply.status_code == 400, reply.content
    error = reply.json()["error"]
    assert error["field"] == field
    assert error["message"]
    assert code is None or error["code"] == code
    assert Destination.objects.count() == 1


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b"3", b'{"rate": 1e999}', b'{"rate": ' + b"9" * 400 + b"}"]
)
def test_a_body_that_is_no_object_is_refused(client, acme, body):
    for method, url in ((client.post, URL), (client.patch, f"{URL}/acme")):
        reply = method(url, body, content_type="application/json")
        assert reply.status_code == 400, reply.content
        assert reply.json()["error"]["message"]


def test_lists_are_filtered_and_a_bad_filter_is_an_error(client, acme):
    assert len(client.get(URL, {"kind": "list"}).json()["results"]) == 1
    assert client.get(URL, {"kind": "property"}).json()["results"] == []
    for query in ({"kind": "moon"}, {"name": "a\0"}, {"name": "x" * 51}):
        reply = client.get(URL, query)
        assert (reply.status_code, reply.json()["error"]["field"]) == (400, next(iter(query)))
    assert client.get(URL, {"limit": "x", "offset": "9" * 40}).status_code == 200


def test_a_destination_is_paused_and_resumed_by_who_may(acme):
    operator = client_of("view_destination", "pause_destination", name="op")
    assert operator.post(f"{URL}/acme/pause", {}, format="json").status_code == 400
    reply = operator.post(f"{URL}/acme/pause", {"reason": "audit"}, format="json")
    assert (reply.status_code, reply.json()["pause_reason"]) == (200, "audit (op)")
    assert operator.post(f"{URL}/acme/resume").json()["paused_at"] is None
    until = {"reason": "audit", "until": "2100-05-01T09:00:00Z"}
    assert operator.post(f"{URL}/acme/pause", until, format="json").json()["paused_until"] == until["until"]
    assert operator.post(f"{URL}/acme/resume").json()["paused_until"] is None
    assert operator.patch(f"{URL}/acme", {"title": "x"}, format="json").status_code == 403
    viewer = client_of("view_destination", name="viewer")
    assert viewer.post(f"{URL}/acme/pause", {"reason": "x"}, format="json").status_code == 403


def test_a_destination_is_deleted_or_in_use(client, acme, monkeypatch):
    assert client.delete(f"{URL}/nobody").status_code == 404
    assert client.delete(f"{URL}/acme").status_code == 204
    assert not Destination.objects.exists()


def test_a_put_is_not_offered(client, acme):
    """It would set what it leaves out to defaults, and forget the credential."""
    reply = client.put(f"{URL}/acme", NEW, format="json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_allowed")


def test_another_host_asks_for_the_credential_again(client):
    client.post(URL, NEW, format="json")
    move = {"base_url": "http://127.0.0.2:9/api", "confirm_move": True}
    refused = client.patch(f"{URL}/acme", move, format="json")
    assert refused.status_code == 400 and "credential" in refused.content.decode()
    # Nor by way of a mode that needs none, under which the stored one would stay.
    refused = client.patch(f"{URL}/acme", {**move, "auth_mode": "none"}, format="json")
    assert refused.status_code == 400
    moved = client.patch(f"{URL}/acme", {**move, "credential": SECRET}, format="json")
    assert moved.status_code == 200


def test_named_secrets_go_in_and_only_their_names_come_out(client):
    made = client.post(URL, {**NEW, "secrets": {"second": "s3cond"}}, format="json")
    assert made.json()["secrets_set"] == ["second"]
    more = client.patch(f"{URL}/acme", {"secrets": {"third": "3", "second": ""}}, format="json")
    assert more.json()["secrets_set"] == ["third"] and "s3cond" not in made.content.decode()
    bad = client.patch(f"{URL}/acme", {"secrets": {"No Name": "x"}}, format="json")
    assert bad.status_code == 400


def test_a_new_destination_is_shown_alongside_what_it_sends(client):
    body = {
        "destination": {"name": "x", "preset": "iterable-list", "credential": SECRET},
        "user_id": 'u"1',
        "list_id": "55",
    }
    reply = client.post(f"{URL}/preview", json.dumps(body), content_type="application/json")
    assert reply.status_code == 200, reply.content
    shown = {one["operation"]: one for one in reply.json()}
    assert shown["add"]["inputs"] == {"$items": '[u"1]', "$list_id": "55", "$user_id": 'u"1'}
    assert shown["add"]["output"].endswith('{"listId":55,"subscribers":[{"userId":"u\\"1"}]}')
    assert "Api-Key: •••" in shown["add"]["output"] and SECRET not in reply.content.decode()
    assert not Destination.objects.filter(name="x").exists()


def test_a_saved_destination_is_shown_with_the_changes_and_stays_as_it_is(client, acme):
    body = json.dumps({"destination": {"add_template": {"ids": "$items"}}, "user_id": "u 9"})
    reply = client.post(f"{URL}/acme/preview", body, content_type="application/json")
    assert '{"ids":["u 9"]}' in {one["operation"]: one["output"] for one in reply.json()}["add"]
    assert "ids" not in Destination.objects.get(name="acme").add_template
    bad = json.dumps({"destination": {"add_template": {"userId": "$items"}}})
    assert client.post(f"{URL}/acme/preview", bad, content_type="application/json").status_code == 400


def test_the_test_call_by_rest_says_what_came_of_it(client, acme):
    assert client.post(f"{URL}/acme/test").status_code == 400
    Destination.objects.filter(name="acme").update(test_path="/me", test_proves="The key is accepted.")
    with partner(says(answer(body=b'{"account": "a"}'))) as server:
        Destination.objects.filter(name="acme").update(base_url=server.url)
        said = client.post(f"{URL}/acme/test").json()
    assert (said["ok"], said["status"], said["proves"]) == (True, 200, "The key is accepted.")
    with partner(says(answer("403 Forbidden"))) as server:
        Destination.objects.filter(name="acme").update(base_url=server.url)
        said = client.post(f"{URL}/acme/test").json()
    assert (said["ok"], said["status"], said["proves"]) == (False, 403, "") and "credential" in said[
        "problem"
    ]
