"""The calls of the contract and their replies, over HTTP, against both servers."""

import base64
import hashlib
import subprocess
from typing import Any

import pytest
import requests

from receiving.tests.conftest import Partner, Site

CONTEXT = {"integration": {"name": "Amplitude Cohort Sync", "version": "1.0.0"}}
TRAIT = "[Amplitude] buyers: 1"


def identify(user_id: Any, value: Any = True, **more: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user_id, "traits": {TRAIT: value}, "context": CONTEXT, **more}


def test_create_answers_with_the_list_id_in_all_four_spellings(partner: Partner):
    reply = partner.post("/lists", {"name": TRAIT, "context": CONTEXT})
    made = reply.json()["listId"]
    assert reply.status_code == 200
    assert isinstance(made, int)
    assert reply.json() == {
        "listId": made,
        "list_id": made,
        "response": {"listId": made, "list_id": made},
    }


def test_two_lists_of_one_name_are_two_lists(partner: Partner):
    assert partner.make_list("same") != partner.make_list("same")


@pytest.mark.parametrize("key", ["userIds", "user_ids"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_add_and_remove_have_set_semantics(partner: Partner, key, slash):
    number = partner.make_list()
    add, remove = f"/lists/{number}/add{slash}", f"/lists/{number}/remove{slash}"
    assert partner.post(add, {key: ["b", "a", "a"], "context": CONTEXT}).json() == {
        "received": 2,
        "changed": 2,
    }
    assert partner.post(add, {key: ["a", "c"]}).json() == {"received": 2, "changed": 1}
    assert partner.members(number) == ["a", "b", "c"]
    assert partner.post(remove, {key: ["a", "nobody"]}).json() == {"received": 2, "changed": 1}
    assert partner.post(remove, {key: ["a"]}).json() == {"received": 1, "changed": 0}
    assert partner.members(number) == ["b", "c"]


def test_ids_are_kept_byte_for_byte(partner: Partner):
    ids = [
        "A",
        "a",
        "é",
        "e\u0301",
        "__proto__",
        " a ",
        "x" * 1024,
        "é" * 512,
        'a/b,c"d\n',
        "🙂",
        7,
        2**64 - 1,
        -(2**63),
    ]
    number = partner.make_list()
    assert partner.post(f"/lists/{number}/add", {"userIds": ids}).json()["changed"] == len(ids)
    assert partner.members(number) == sorted(map(str, ids))


@pytest.mark.parametrize(
    "path", ["/identify", "/v1/identify", "/batch", "/v1/batch", "/identify/", "/v1/batch/"]
)
def test_identify_bodies_are_taken_on_all_their_paths(partner: Partner, path):
    assert partner.post(path, identify("single")).status_code == 200
    reply = partner.post(path, {"batch": [identify("one"), identify("two", False)]})
    assert reply.status_code == 200
    assert reply.json()["identified"] == 2
    assert partner.traits("single") == {TRAIT: True}
    assert partner.traits("one") == {TRAIT: True}
    assert partner.traits("two") == {TRAIT: False}


@pytest.mark.parametrize("operation", ["add", "remove"])
@pytest.mark.parametrize("list_id", ["own", "999999999", "no-number"])
def test_identify_bodies_are_taken_by_shape_on_the_list_paths(partner: Partner, operation, list_id):
    number = partner.make_list() if list_id == "own" else list_id
    path = f"/lists/{number}/{operation}"
    assert partner.post(path, identify("u1")).status_code == 200
    assert partner.post(path, {"batch": [identify("u2", False)]}).status_code == 200
    assert (partner.traits("u1"), partner.traits("u2")) == ({TRAIT: True}, {TRAIT: False})


def test_the_last_word_counts_within_a_batch_and_across_calls(partner: Partner):
    partner.post("/batch", {"batch": [identify("u", True), identify("u", False)]})
    assert partner.traits("u") == {TRAIT: False}
    assert partner.post("/batch", {"batch": [identify("u", True)]}).json()["changed"] == 1
    assert partner.post("/batch", {"batch": [identify("u", True)]}).json()["changed"] == 0
    assert partner.traits("u") == {TRAIT: True}


def test_trait_keys_and_values_are_stored_as_they_came(partner: Partner):
    traits = {
        "[Amplitude] n: 1": True,
        "n (1)": False,
        "n:1": None,
        "é": [1, {"a": "b"}],
        "f": 1.5,
        "s": "true",
    }
    partner.post("/identify", {"type": "identify", "userId": "u", "traits": traits})
    assert partner.traits("u") == traits


def test_other_types_and_anonymous_identifies_are_counted_as_ignored(partner: Partner):
    reply = partner.post(
        "/v1/batch",
        {
            "batch": [
                identify("u"),
                {"type": "metrics", "userId": "u"},
                {"type": "identify", "anonymousId": "x", "traits": {"a": 1}},
            ]
        },
    )
    assert reply.json() == {
        "success": True, "received": 3, "identified": 1, "repeated": 0, "changed": 1, "ignored": 2,
    }  # fmt: skip


@pytest.mark.parametrize("path", ["/batch", "/identify"])
def test_a_batch_is_applied_whole_or_not_at_all(partner: Partner, path):
    reply = partner.post(path, {"batch": [identify("good"), identify(None)]})
    assert reply.status_code == 400
    assert "batch[1].userId" in reply.json()["error"]["message"]
    assert partner.traits("good") is None


# --- repeats -------------------------------------------------------------------------------


def test_a_repeated_message_id_changes_nothing(partner: Partner):
    partner.post("/batch", {"batch": [identify("u", True, messageId="m1")]})
    partner.post("/batch", {"batch": [identify("u", False, messageId="m2")]})
    reply = partner.post("/batch", {"batch": [identify("u", True, messageId="m1")]})
    assert (reply.status_code, reply.json()["repeated"], reply.json()["changed"]) == (200, 1, 0)
    assert partner.traits("u") == {TRAIT: False}


def test_a_refused_batch_does_not_use_up_its_message_ids(site: Site):
    partner = site.partner(known_users_only=True)
    body = {"batch": [identify("u", messageId="m1")]}
    assert partner.post("/batch", body).status_code == 404
    partner.post("/users", {"userIds": ["u"]})
    assert partner.post("/batch", body).json()["identified"] == 1


def test_an_idempotency_key_makes_repeats_harmless(partner: Partner):
    first = partner.post("/lists", {"name": "n"}, headers={"Idempotency-Key": "k1"}).json()
    assert partner.post("/lists", {"name": "n"}, headers={"Idempotency-Key": "k1"}).json() == first
    assert partner.post("/lists", {"name": "n"}, headers={"Idempotency-Key": "k2"}).json() != first
    number = first["listId"]
    add = {"Idempotency-Key": "k3"}
    partner.post(f"/lists/{number}/add", {"userIds": ["u"]}, headers=dict(add))
    partner.post(f"/lists/{number}/remove", {"userIds": ["u"]}, headers={"Idempotency-Key": "k4"})
    repeat = partner.post(f"/lists/{number}/add", {"userIds": ["u"]}, headers=dict(add))
    assert (repeat.status_code, repeat.json()["changed"]) == (200, 0)
    assert partner.members(number) == []


# --- who may call --------------------------------------------------------------------------


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_every_form_of_the_key_is_taken(partner: Partner):
    key = partner.key
    forms = [
        basic(f"{key}:"), basic(f":{key}"), basic(f"mixpanel:{key}"), {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key}"}, {"api_key": key}, {"X-API-Key": key},
        {"api_key": key, "app_id": "any"},
    ]  # fmt: skip
    for form in forms:
        assert partner.get("/lists", headers=dict(form), auth=lambda request: request).status_code == 200, (
            form
        )


def test_what_is_not_a_key_is_a_401(site: Site):
    partner = site.partner()
    key = partner.key
    bad: list[dict[str, Any]] = [
        {}, {"Authorization": ""}, {"Authorization": "Basic"}, {"Authorization": "Basic !!!"},
        {"Authorization": "Basic " + base64.b64encode(key.encode()).decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe:").decode()},
        {"Authorization": "Digest x"}, {"Authorization": f"Bearer {key}x"}, {"Authorization": "Bearer "},
        {"Authorization": f"Token {key}"}, basic(f"{key}x:"), basic(":"), {"api_key": ""}, {"api_key": "x"},
        {"Authorization": b"Bearer \xff\xfe"}, {"Authorization": "Bearer " + "a" * 8000},
    ]  # fmt: skip
    for headers in bad:
        reply = requests.post(f"{partner.url}/lists", headers=headers, json={"name": "n"}, timeout=10)
        assert reply.status_code == 401, headers
        assert reply.headers["WWW-Authenticate"].startswith("Basic")
        assert reply.json()["error"]["code"] == "unauthorized"
    assert partner.get("/lists").json()["lists"] == []


def test_two_authorization_headers_are_a_401(site: Site):
    from http.client import HTTPConnection

    partner = site.partner()
    connection = HTTPConnection(partner.url.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", "/lists")
    for _ in range(2):
        connection.putheader("Authorization", f"Bearer {partner.key}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_key_ends_when_it_is_revoked_or_expires(site: Site):
    from datetime import timedelta

    from django.utils import timezone

    partner = site.partner()
    now = timezone.now()
    for fields in ({"revoked_at": now}, {"expires_at": now - timedelta(seconds=1)}):
        partner.key = site.another_key(partner.workspace, **fields)
        assert partner.get("/lists").status_code == 401
    partner.key = site.another_key(partner.workspace, expires_at=now + timedelta(hours=1))
    assert partner.get("/lists").status_code == 200


def test_an_app_id_must_be_the_keys(site: Site):
    partner = site.partner()
    key = site.another_key(partner.workspace, app_id="APP")
    for app_id, status in (("APP", 200), ("other", 401)):
        headers = {"api_key": key, "app_id": app_id}
        assert partner.get("/lists", headers=headers, auth=lambda r: r).status_code == status


def test_the_printed_curl_works(partner: Partner):
    done = subprocess.run(
        ["curl", "-sS", "-w", " %{http_code}", "-X", "POST", f"{partner.url}/identify",
         "--header", f"api_key: {partner.key}", "--header", "app_id: APP",
         "--header", "Content-Type: application/json",
         "--data-raw", '{"traits": {"cohort name:123": true}, "type": "identify", "userId": "u1"}'],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.endswith(" 200"), done.stdout + done.stderr
    assert partner.traits("u1") == {"cohort name:123": True}


def test_other_underscore_headers_stay_dropped(partner: Partner):
    """A `content_encoding` that got in would make this body gzip."""
    headers = {"content_encoding": "gzip", "Idempotency_Key": "k", "x_forwarded_host": "evil"}
    assert partner.post("/lists", {"name": "n"}, headers=dict(headers)).status_code == 200
    again = partner.post("/lists", {"name": "n"}, headers=dict(headers))
    assert len(partner.get("/lists").json()["lists"]) == 2, again.text


def test_another_workspaces_list_is_not_found(site: Site):
    mine, other = site.partner(), site.partner()
    number = mine.make_list()
    mine.post(f"/lists/{number}/add", {"userIds": ["u"]})
    for method, path, body in [
        ("POST", "add", {"userIds": ["x"]}), ("POST", "remove", {"userIds": ["u"]}),
        ("GET", "members", None), ("GET", "digest", None), ("GET", "", None), ("DELETE", "", None),
    ]:  # fmt: skip
        reply = other.call(method, f"/lists/{number}/{path}".rstrip("/"), body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "list_not_found"), path
    assert other.get("/users?userId=u").status_code == 404
    assert mine.members(number) == ["u"]


# --- known users only ----------------------------------------------------------------------


def test_unknown_users_are_named_and_nothing_is_applied(site: Site):
    partner = site.partner(known_users_only=True)
    assert partner.post("/users", {"userIds": ["a", "b", "b"]}).json() == {"received": 2, "changed": 2}
    number = partner.make_list()
    reply = partner.post(f"/lists/{number}/add", {"userIds": ["a", "x", "y"]})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "invalid_user_id"
    assert sorted(reply.json()["invalidUserIds"]) == ["x", "y"]
    assert partner.members(number) == []
    assert partner.post(f"/lists/{number}/add", {"userIds": ["a", "b"]}).status_code == 200
    reply = partner.post("/batch", {"batch": [identify("a"), identify("z")]})
    assert (reply.status_code, reply.json()["invalidUserIds"]) == (404, ["z"])
    assert partner.traits("a") == {}
    assert partner.post(f"/lists/{number}/remove", {"userIds": ["x", "a"]}).json()["changed"] == 1


# --- reading back --------------------------------------------------------------------------


def test_members_are_paged_and_streamed(partner: Partner):
    number = partner.make_list()
    ids = sorted(f"u{n}" for n in range(2500)) + ['z"quoted",\n']
    partner.post(f"/lists/{number}/add", {"userIds": ids[::-1]})
    read, after = [], ""
    while after is not None:
        page = partner.get(f"/lists/{number}/members", params={"after": after, "limit": 1000}).json()
        read += page["userIds"]
        after = page["next"]
    assert read == ids
    csv = partner.get(f"/lists/{number}/members?format=csv")
    assert csv.headers["Content-Type"].startswith("text/csv")
    assert csv.text.startswith('userId\r\n"u0"\r\n') and csv.text.endswith('"z""quoted"",\n"\r\n')
    lines = partner.get(f"/lists/{number}/members?format=ndjson").text.splitlines()
    assert len(lines) == len(ids) and lines[0] == '{"userId":"u0"}'


def expected_digest(ids) -> str:
    total = sum(int.from_bytes(hashlib.sha256(user.encode()).digest(), "big") for user in ids)
    return f"{total % 2**256:064x}"


def test_the_digest_needs_no_order(partner: Partner):
    number = partner.make_list()
    assert partner.get(f"/lists/{number}/digest").json() == {"count": 0, "digest": "0" * 64}
    ids = ["é", "b", "a", "10", "9"]
    for one in ids:
        partner.post(f"/lists/{number}/add", {"userIds": [one]})
    assert partner.get(f"/lists/{number}/digest").json() == {"count": 5, "digest": expected_digest(ids)}


def test_a_property_is_read_like_a_list(partner: Partner):
    values = {"a": True, "b": False, "c": True, "d": "true", "e": 1}
    partner.post("/batch", {"batch": [identify(user, value) for user, value in values.items()]})
    query = {"name": TRAIT}
    assert partner.get("/traits", params=query).json() == {"name": TRAIT, "size": 2}
    assert partner.get("/traits/members", params=query).json() == {"userIds": ["a", "c"], "next": None}
    assert partner.get("/traits/digest", params=query).json() == {
        "count": 2,
        "digest": expected_digest(["a", "c"]),
    }
    assert partner.get("/traits").json() == {"traits": [TRAIT], "next": None}
    assert partner.get("/traits/members", params={"name": "other"}).status_code == 404
    assert partner.get("/traits/members").status_code == 400


def test_lists_and_a_users_lists_are_read(partner: Partner):
    numbers = [partner.make_list(name) for name in "abc"]
    for number in numbers[:2]:
        partner.post(f"/lists/{number}/add", {"userIds": ["u", str(number)]})
    page = partner.get("/lists?limit=2").json()
    assert [(one["name"], one["size"]) for one in page["lists"]] == [("a", 2), ("b", 2)]
    rest = partner.get("/lists", params={"after": page["next"]}).json()
    assert [one["name"] for one in rest["lists"]] == ["c"] and rest["next"] is None
    assert partner.get(f"/lists/{numbers[0]}").json()["size"] == 2
    assert partner.get("/users?userId=u").json() == {
        "userId": "u",
        "known": False,
        "lists": [{"listId": numbers[0], "name": "a"}, {"listId": numbers[1], "name": "b"}],
        "traits": {},
    }
    assert partner.get("/users?userId=nobody").status_code == 404


def test_deleting_a_list_drains_it(partner: Partner):
    number = partner.make_list()
    ids = [f"u{n}" for n in range(25_000)]
    partner.post(f"/lists/{number}/add", {"userIds": ids})
    assert partner.call("DELETE", f"/lists/{number}").json() == {"removed": 25_000}
    assert partner.get(f"/lists/{number}").status_code == 404
    assert partner.post(f"/lists/{number}/add", {"userIds": ["u"]}).status_code == 404
    assert partner.get("/users?userId=u1").status_code == 404
