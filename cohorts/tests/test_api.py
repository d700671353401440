"""The REST API of cohorts, over DRF's client; whatever is sent, the answer is JSON and never a 5xx."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models import ProtectedError
from django.db.models.functions import Now
from rest_framework.test import APIClient

from cohorts import members, refresh
from cohorts.models import CLAIM_TIME, Cohort, CohortVersion
from cohorts.tests.ids import WEIRD, make_cohort

pytestmark = pytest.mark.django_db
URL = "/api/v1/cohorts/buyers/members"


def client_of(*permissions):
    user = User.objects.create_user("ann")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def client():
    return client_of("view_cohort", "add_cohort", "change_cohort", "delete_cohort", "add_upload")


@pytest.fixture
def cohort():
    return make_cohort(source_kind="api")


def put(client, body, content_type="application/json", url=URL):
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return client.put(url, data, content_type=content_type)


def members_of(cohort):
    cohort.refresh_from_db()
    return list(members.in_version(cohort.pk, cohort.version))


def test_members_are_replaced_read_in_pages_and_amended(client, cohort):
    reply = put(client, {"userIds": [*WEIRD, *WEIRD, 7]})
    assert reply.status_code == 200
    expected = sorted({*WEIRD, "7"})
    said = reply.json()
    assert (said["number"], said["state"], said["size"]) == (1, "published", len(expected))
    assert said["source"] == "REST API by ann"

    found, after = [], ""
    while after is not None:
        page = client.get(URL, {"after": after, "limit": 4}).json()
        assert (page["version"], page["size"]) == (1, len(expected))
        found += page["userIds"]
        after = page["next"]
    assert found == expected

    reply = client.patch(URL, {"add": ["new", "both"], "remove": ["7", "both", "nobody"]}, format="json")
    assert reply.status_code == 200
    assert (reply.json()["entered"], reply.json()["left"]) == (1, 1)
    assert members_of(cohort) == sorted({*WEIRD, "new"})
    assert client.get(URL, {"version": 1, "limit": 10_000}).json()["userIds"] == expected


def test_a_final_slash_changes_nothing(client, cohort):
    assert put(client, {"userIds": ["a"]}, url=URL + "/").status_code == 200
    assert client.get("/api/v1/cohorts/").json() == client.get("/api/v1/cohorts").json()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("user_id\nb\n😀\nb\n", "text/csv"),
        ("b\n😀\n", "text/csv; charset=utf-8"),
        ('"b"\n"\\ud83d\\ude00"\n\n"b"\n', "application/x-ndjson"),
    ],
)
def test_large_lists_come_as_a_stream(client, cohort, body, kind):
    reply = put(client, body.encode(), kind)
    assert reply.status_code == 200, reply.content
    assert members_of(cohort) == ["b", "😀"]


def test_a_stream_may_name_its_column(client, cohort):
    reply = put(client, b"name,id\nAnn,7\n", "text/csv", URL + "?column=id")
    assert reply.status_code == 200
    assert members_of(cohort) == ["7"]


BAD_BODIES = {
    "no JSON": (b"{", 400, "parse_error", None),
    "not UTF-8": (b'{"userIds": ["\xff"]}', 400, "parse_error", None),
    "deep": (b"[" * 100_000, 400, "parse_error", None),
    "deep in an object": (b'{"userIds":' + b"[" * 100_000, 400, "parse_error", None),
    "a long number": (b'{"userIds": [' + b"9" * 10_000 + b"]}", 400, "parse_error", None),
    "NaN": (b'{"userIds": [NaN]}', 400, "parse_error", None),
    "empty": (b"", 400, "required", "userIds"),
    "null for all": (b"null", 400, "invalid", None),
    "a list": (b'["a"]', 400, "invalid", None),
    "a string": (b'"a"', 400, "invalid", None),
    "no userIds": ({}, 400, "required", "userIds"),
    "another field": ({"userIds": ["a"], "user_ids": []}, 400, "unknown_field", "user_ids"),
    "no list": ({"userIds": "a"}, 400, "not_a_list", "userIds"),
    "null for a list": ({"userIds": None}, 400, "not_a_list", "userIds"),
    "null": ({"userIds": ["a", None]}, 400, "invalid_user_id", "userIds[1]"),
    "true": ({"userIds": [True]}, 400, "invalid_user_id", "userIds[0]"),
    "a float": ({"userIds": ["a", "b", 1.5]}, 400, "invalid_user_id", "userIds[2]"),
    "an object": ({"userIds": [{}]}, 400, "invalid_user_id", "userIds[0]"),
    "blank": ({"userIds": [" "]}, 400, "invalid_user_id", "userIds[0]"),
    "NUL": ({"userIds": ["a\0b"]}, 400, "invalid_user_id", "userIds[0]"),
    "a lone surrogate": (b'{"userIds": ["\\ud800"]}', 400, "invalid_user_id", "userIds[0]"),
    "1,025 bytes": ({"userIds": ["x" * 1025]}, 400, "invalid_user_id", "userIds[0]"),
    "beyond 64 bits": ({"userIds": [2**64]}, 400, "invalid_user_id", "userIds[0]"),
    "too many": ({"userIds": ["a"] * 100_001}, 413, "too_large", None),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_refused_whole(client, cohort, name):
    body, status, code, field = BAD_BODIES[name]
    put(client, {"userIds": ["before"]})
    reply = put(client, body)
    assert reply.status_code == status, reply.content
    error = reply.json()["error"]
    assert (error["code"], error.get("field")) == (code, field)
    assert error["message"]
    assert members_of(cohort) == ["before"] and cohort.version == 1


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        (b"", "text/csv", "The file holds no user ids."),
        (b"a\n\nb\0\n", "text/csv", "Line 3 contains a NUL character: this is not a text file."),
        (b"\n", "application/x-ndjson", "The file holds no user ids."),
        (b'"a"\n1.5', "application/x-ndjson", "Line 2: the user id is neither a string nor an integer."),
        (b'"\\ud800"', "application/x-ndjson", "Line 1: the user id contains a lone surrogate."),
        (b"[" * 10_000, "application/x-ndjson", "Line 1: the JSON is nested too deep."),
        (
            b'["a"]',
            "application/x-ndjson",
            "The file is one JSON array. Write one value a line (JSON lines).",
        ),
    ],
)
def test_a_bad_stream_is_refused_whole(client, cohort, body, kind, message):
    reply = put(client, body, kind)
    assert reply.status_code == 400
    assert reply.json() == {"error": {"code": "invalid_file", "message": message}}
    assert not CohortVersion.objects.exists()


@pytest.mark.parametrize(
    ("body", "query", "message"),
    [
        (
            b"a,b\n",
            "",
            "The file has 2 columns, of which none is known to hold user ids: a, b. Name the one "
            "with the ids. Send column=NAME in the query.",
        ),
        (
            b"Kundennummer\n1\n2\n",
            "",
            "Is the first line, 'Kundennummer', a heading or a user id? Say which. "
            "Send heading=true or heading=false in the query.",
        ),
        (b"a\n", "?heading=perhaps", "Send one of true, false."),
    ],
)
def test_a_stream_that_can_be_understood_in_two_ways_is_refused_with_what_settles_it(
    client, cohort, body, query, message
):
    reply = put(client, body, "text/csv", URL + query)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, message)
    assert not CohortVersion.objects.exists()


def test_what_is_said_about_a_stream_counts_and_suspicious_ids_are_reported(client, cohort):
    reply = put(client, b"Kundennummer;x\n1;\nnull;\n", "text/csv", URL + "?heading=true&column=1")
    assert reply.status_code == 200, reply.content
    assert members_of(cohort) == ["1", "null"]
    found = {"kind": "nothing", "words": "a word for nothing", "count": 1, "samples": ["null"]}
    assert reply.json()["suspicious"] == [found]
    assert put(client, {"userIds": ["null"]}).json()["suspicious"] == [found]
    refused = put(client, b"null\n", "text/csv", URL + "?refuse_suspicious=true")
    assert refused.json()["error"]["message"] == (
        "The file holds suspicious ids: 1 with a word for nothing ('null')."
    )
    assert members_of(cohort) == ["null"]


def test_a_body_or_stream_beyond_its_limit_is_a_413(client, cohort, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = settings.MAX_UPLOAD_BYTES = 1000
    for kind, body in [
        ("application/json", json.dumps({"userIds": ["x" * 1000]})),
        ("text/csv", "x\n" * 501),
    ]:
        reply = put(client, body, kind)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_another_kind_of_body_is_a_415(client, cohort):
    for method, kind in [(client.put, "text/xml"), (client.patch, "text/csv")]:
        reply = method(URL, b"a", content_type=kind)
        assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"add": [], "remove": []}, None),
        ({"add": ["a", ""]}, "add[1]"),
        ({"remove": [None]}, "remove[0]"),
    ],
)
def test_a_bad_amendment_is_refused_whole(client, cohort, body, field):
    reply = client.patch(URL, body, format="json")
    assert reply.status_code == 400
    assert reply.json()["error"].get("field") == field
    assert not CohortVersion.objects.exists()


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"limit": "0"}, 400, "limit"),
        ({"limit": "10001"}, 400, "limit"),
        ({"limit": "١"}, 400, "limit"),
        ({"limit": "9" * 5000}, 400, "limit"),
        ({"version": "-1"}, 400, "version"),
        ({"version": "x"}, 400, "version"),
        ({"version": str(2**31 - 1)}, 404, None),
        ({"after": "a\0"}, 400, "after"),
    ],
)
def test_a_bad_question_about_members_is_refused(client, cohort, query, status, field):
    put(client, {"userIds": ["a"]})
    reply = client.get(URL, query)
    assert reply.status_code == status
    assert reply.json()["error"].get("field") == field


def test_a_cohort_without_a_version_is_not_an_empty_list(client, cohort):
    reply = client.get(URL)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "not_calculated")


def test_a_cohort_from_elsewhere_says_so(client):
    make_cohort()
    for reply in (put(client, {"userIds": ["a"]}), client.patch(URL, {"add": ["a"]}, format="json")):
        assert reply.status_code == 409
        assert reply.json()["error"] == {
            "code": "wrong_source",
            "message": "The members of buyers come from its source, Uploaded file. "
            "To use this way, change the cohort's source to REST API.",
        }


def test_a_cohort_being_refreshed_asks_to_come_back(client, cohort, monkeypatch):
    monkeypatch.setattr("cohorts.api.WAIT", 0)
    Cohort.objects.update(claim_until=Now() + CLAIM_TIME)
    reply = put(client, {"userIds": ["a"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "busy")
    assert reply.headers["Retry-After"] == "5"


def test_a_held_version_is_a_202_and_then_a_409(client, cohort):
    put(client, {"userIds": ["a", "b"]})
    reply = put(client, {"userIds": []})
    assert (reply.status_code, reply.json()["state"]) == (202, "held")
    assert reply.json()["reason"] == "It would empty the cohort: all 2 users would leave."
    reply = client.patch(URL, {"add": ["c"]}, format="json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "held")
    assert reply.headers["Retry-After"] == "300"
    assert members_of(cohort) == ["a", "b"]
    assert client.get(URL, {"version": 2}).json()["userIds"] == []


def test_cohorts_are_made_listed_read_and_changed(client):
    made = client.post(
        "/api/v1/cohorts", {"key": "carts", "name": "Left a cart", "source_kind": "api"}, format="json"
    )
    assert made.status_code == 201
    assert made.json()["version"] == 0
    assert client.get("/api/v1/cohorts").json()["results"] == [made.json()]
    reply = client.patch("/api/v1/cohorts/carts", {"guard_percent": 20}, format="json")
    assert reply.status_code == 200
    assert client.get("/api/v1/cohorts/carts").json()["guard_percent"] == 20


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"key": "buyers"}, "key", "unique"),
        ({"key": "a b"}, "key", "invalid"),
        ({"key": "x" * 101}, "key", "max_length"),
        ({"name": "a\0"}, "name", "invalid"),
        ({"name": "\ud800"}, "name", "surrogate_characters_not_allowed"),
        ({"name": ""}, "name", "blank"),
        ({"name": ["a"]}, "name", "invalid"),
        ({"source_kind": "moon"}, "source_kind", "invalid_choice"),
        ({"guard_percent": 0}, "guard_percent", "min_value"),
        ({"guard_percent": 101}, "guard_percent", "max_value"),
        ({"guard_users": 2**70}, "guard_users", "max_value"),
        ({"guard_users": -1}, "guard_users", "min_value"),
        ({"gaurd_percent": 5}, "gaurd_percent", "unknown_field"),
    ],
)
def test_a_bad_cohort_is_refused(client, cohort, change, field, code):
    body = json.dumps({"key": "new", "name": "New"} | change)
    reply = client.post("/api/v1/cohorts", body, content_type="application/json")
    assert reply.status_code == 400, reply.content
    assert (reply.json()["error"]["field"], reply.json()["error"]["code"]) == (field, code)
    assert Cohort.objects.count() == 1


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'{"name": ' + b"[" * 100_000])
def test_a_cohort_that_is_no_object_is_refused(client, body):
    reply = client.post("/api/v1/cohorts", body, content_type="application/json")
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_the_key_of_a_cohort_stays(client, cohort):
    reply = client.patch("/api/v1/cohorts/buyers", {"key": "others"}, format="json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unchangeable")


def test_a_cohort_is_deleted_with_its_members(client, cohort):
    put(client, {"userIds": ["a"]})
    assert client.delete("/api/v1/cohorts/buyers").status_code == 204
    assert client.get(URL).status_code == 404
    assert members.ownerless() is None


def test_a_cohort_in_use_is_not_deleted(client, cohort, monkeypatch):
    def protected(self):
        raise ProtectedError("in use", {make_cohort("other")})

    put(client, {"userIds": ["a"]})
    monkeypatch.setattr(Cohort, "delete", protected)
    reply = client.delete("/api/v1/cohorts/buyers")
    assert reply.status_code == 409
    assert reply.json()["error"] == {
        "code": "in_use",
        "message": "Buyers is used by cohort Other. Delete them first.",
    }
    assert members_of(cohort) == ["a"]


def test_permissions_count_for_reading_too(cohort):
    stranger = client_of()
    assert stranger.get("/api/v1/cohorts").status_code == 403
    assert stranger.get(URL).status_code == 403
    User.objects.all().delete()
    viewer = client_of("view_cohort")
    assert viewer.get("/api/v1/cohorts").status_code == 200
    reply = put(viewer, {"userIds": ["a"]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "permission_denied")
    assert viewer.patch(URL, {"add": ["a"]}, format="json").status_code == 403
    assert viewer.delete("/api/v1/cohorts/buyers").status_code == 403
    assert viewer.post("/api/v1/cohorts", {"key": "x", "name": "x"}, format="json").status_code == 403


def test_who_is_not_known_gets_a_401_in_json(cohort):
    client = APIClient()
    for headers in ({}, {"Authorization": "Token nothing"}):
        reply = client.get("/api/v1/cohorts", headers=headers)
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] in ("not_authenticated", "authentication_failed")


def test_a_cohort_that_is_not_there_is_a_404(client):
    for reply in (client.get(URL), put(client, {"userIds": []}), client.get("/api/v1/cohorts/buyers")):
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")


def test_a_refused_version_can_be_read_no_more(client, cohort):
    put(client, {"userIds": ["a"]})
    put(client, {"userIds": []})
    refresh.refuse(cohort.pk, 2, by="ann")
    assert client.get(URL, {"version": 2}).status_code == 404


# --- calculated cohorts -------------------------------------------------------------------------

CARTS = {"version": 1, "where": {"performed": {"event": "cart", "window": {"last": "7d"}}}}
COHORTS = "/api/v1/cohorts"


def made(client, **values):
    return client.post(COHORTS, {"key": "carts", "name": "Carts", **values}, format="json")


def test_a_definition_is_checked_kept_and_scheduled(client):
    reply = made(client, source_kind="behavioral", definition=CARTS, schedule_kind="hourly")
    assert reply.status_code == 201, reply.content
    said = client.get(f"{COHORTS}/carts").json()
    assert (said["definition"], said["events_workspace"], said["schedule_kind"]) == (
        CARTS,
        "default",
        "hourly",
    )
    assert said["next_due_at"] is not None
    wrong = {"version": 1, "where": {"preformed": {"event": "cart"}}}
    reply = client.patch(f"{COHORTS}/carts", {"definition": wrong}, format="json")
    assert reply.status_code == 400
    assert "/where/preformed: unknown condition" in reply.content.decode()
    assert client.get(f"{COHORTS}/carts").json()["definition"] == CARTS


def test_a_schedule_is_checked_and_a_change_makes_it_due_anew(client):
    assert made(client, source_kind="behavioral", definition=CARTS).json()["next_due_at"] is None
    reply = client.patch(f"{COHORTS}/carts", {"schedule_kind": "daily"}, format="json")
    assert (reply.status_code, "Say at what time" in reply.content.decode()) == (400, True)
    values = {"schedule_kind": "daily", "schedule_at": "06:30"}
    reply = client.patch(f"{COHORTS}/carts", values, format="json")
    assert reply.json()["next_due_at"] is not None


def test_a_change_writes_only_what_it_names(client, cohort):
    refresh.replace(cohort.pk, ["u1"], source="a test")
    assert client.patch(f"{COHORTS}/{cohort.key}", {"name": "New"}, format="json").status_code == 200
    cohort.refresh_from_db()
    assert (cohort.name, cohort.version, cohort.size) == ("New", 1, 1)


def test_a_query_needs_a_right_of_its_own(client, settings, tmp_path):
    (tmp_path / "orders.csv").write_text("user_id\nu1\n")
    settings.QUERY_DATABASES = {"shop": f"duckdb://{tmp_path}"}
    sql = {"query_database": "shop", "query_sql": "SELECT user_id FROM orders"}
    reply = made(client, source_kind="query", **sql)
    assert (reply.status_code, "right" in reply.content.decode()) == (403, True)
    Cohort.objects.create(key="carts", name="Carts", source_kind="query", **sql)
    change = {"query_sql": "SELECT user_id FROM orders LIMIT 1"}
    assert client.patch(f"{COHORTS}/carts", change, format="json").status_code == 403
    assert client.patch(f"{COHORTS}/carts", {"name": "C"}, format="json").status_code == 200
    user = User.objects.get(username="ann")
    user.user_permissions.add(Permission.objects.get(codename="use_query_source"))
    client.force_authenticate(User.objects.get(pk=user.pk))
    assert client.patch(f"{COHORTS}/carts", change, format="json").status_code == 200
    reply = client.patch(f"{COHORTS}/carts", {"query_sql": "DROP TABLE orders"}, format="json")
    assert (reply.status_code, "A query is a SELECT" in reply.content.decode()) == (400, True)


@pytest.mark.parametrize("kind", ["upload", "behavioral"])
@pytest.mark.parametrize("name", ["query_sql", "query_database"])
def test_a_text_of_a_query_needs_the_right_in_a_cohort_of_any_source(client, settings, tmp_path, kind, name):
    """It is what the cohort runs as soon as its source is changed."""
    settings.QUERY_DATABASES = {"shop": f"duckdb://{tmp_path}"}
    definition = {"version": 1, "where": {"performed": {"event": "a"}}} if kind == "behavioral" else None
    row = Cohort.objects.create(key="carts", name="Carts", source_kind=kind, definition=definition)
    text = {"query_sql": "SELECT user_id FROM orders", "query_database": "shop"}[name]
    reply = client.patch(f"{COHORTS}/carts", {name: text}, format="json")
    assert (reply.status_code, "right" in reply.content.decode()) == (403, True)
    assert made(client, key="new", source_kind="upload", **{name: text}).status_code == 403
    row.refresh_from_db()
    assert (row.query_sql, row.query_database) == ("", "")
    assert client.patch(f"{COHORTS}/carts", {name: ""}, format="json").status_code == 200
