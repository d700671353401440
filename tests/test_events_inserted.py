"""Events where they are computed: what comes in is inserted into our tables in PostgreSQL or ClickHouse,
counted once whatever comes twice, and read from there."""

import json
import os
import secrets
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.test import Client

from cohorts import behavioral
from cohorts.definitions import parse
from cohorts.explain import explain
from events import catalogue, inserting
from events.models import CatalogueEntry, ImportedFile
from events.records import event_line
from receiving.keys import create_key
from receiving.models import Workspace
from tests.clickhouse import ClickHouse

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def postgresql():
    server = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    name = f"events_{secrets.token_hex(4)}"
    try:
        connection = psycopg.connect(server, dbname="postgres", autocommit=True)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at TEST_POSTGRES_URL: {error}")
    connection.execute(f"CREATE DATABASE {name}".encode())
    yield server.rpartition("/")[0] + f"/{name}"
    connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
    connection.close()


@pytest.fixture(scope="module")
def clickhouse():
    engine = ClickHouse()
    yield engine.url
    engine.kill()


@pytest.fixture(params=["postgresql", "clickhouse"])
def database(request, settings, tmp_path):
    """A site that keeps its events there, each test in a workspace of its own."""
    settings.EVENTS_URL, settings.EVENTS_INSERT = request.getfixturevalue(request.param), True
    settings.EVENTS_DIR = tmp_path / "events"
    call_command("create_event_tables")
    yield request.param
    inserting.own_tables(request.getfixturevalue(request.param)).close()


@pytest.fixture
def workspace(database):
    return Workspace.objects.create(slug=f"w{secrets.token_hex(4)}")


@pytest.fixture
def send(workspace):
    key = create_key(workspace)[1]

    def sent(*items, path="/v1/batch"):
        body = json.dumps({"batch": items}).encode()
        headers = {"Authorization": f"Bearer {key}"}
        return Client().post(path, body, content_type="application/json", headers=headers)

    return sent


def track(event, message_id, *, at=NOW, **who):
    return {"type": "track", "event": event, "messageId": message_id, "timestamp": at.isoformat(), **who}


def identify(user, at=NOW, **traits):
    return {"type": "identify", "userId": user, "traits": traits, "timestamp": at.isoformat()}


def played(count=1):
    return {"performed": {"event": "play", "count": {">=": count}, "window": {"last": "7d"}}}


def found(workspace, where):
    definition = parse({"version": 1, "where": where})
    as_of = NOW + timedelta(minutes=1)
    return list(behavioral.members(definition, as_of, cohorts=lambda key: (), workspace=workspace.slug))


def test_a_call_that_comes_twice_counts_once(workspace, send):
    call = (
        track("play", "m1", userId="u1"),
        track("play", "m2", userId="u2"),
        track("play", "m3", userId="u2"),
    )
    for _ in range(2):
        assert send(*call).status_code == 200
    # An id names an event of its user, and the first word counts.
    assert send(track("play", "m1", userId="u1", at=NOW - timedelta(days=1))).status_code == 200
    assert found(workspace, played()) == ["u1", "u2"]
    assert found(workspace, played(2)) == ["u2"]
    assert found(workspace, played(3)) == []


def test_what_a_device_did_counts_for_whom_it_turns_out_to_be(workspace, send):
    send(track("play", "m1", anonymousId="d1"))
    assert found(workspace, played()) == []
    send(track("pay", "m2", userId="u1", anonymousId="d1"))
    assert found(workspace, played()) == ["u1"]


def test_a_property_is_what_was_said_last_and_null_takes_it_away(workspace, send):
    first, earlier = NOW - timedelta(minutes=10), NOW - timedelta(hours=1)
    send(identify("u1", first, plan="pro", seats=3), identify("u2", first, plan="pro"))
    send(identify("u1", earlier, plan="free"))
    of_pro = {"user": {"property": "plan", "=": "pro"}}
    assert found(workspace, of_pro) == ["u1", "u2"]
    assert found(workspace, {"user": {"property": "seats", ">=": 3}}) == ["u1"]
    send(identify("u2", plan=None))
    assert found(workspace, of_pro) == ["u1"]


def test_lists_and_objects_are_asked_for_by_their_parts(workspace, send):
    properties = {"tags": ["a", "b"], "shop": {"city": "Köln"}, "price": 12.5, "text": "{no json"}
    send({**track("play", "m1", userId="u1"), "properties": properties})
    for name, op, value in (
        ("tags", "=", "b"),
        ("shop.city", "=", "Köln"),
        ("price", ">", 12),
        ("text", "=", "{no json"),
    ):
        where = {"performed": {"event": "play", "where": [{"property": name, op: value}]}}
        assert found(workspace, where) == ["u1"], name


def test_what_postgresql_has_no_character_for_is_left_out(workspace):
    """A body with NUL is refused before; a file may bring it."""
    odd = {"list": ["a\0b", "c\\u0000"], "text": "x\0y", "path": "[\\u0000"}
    event = {"user_id": "u1", "event": "play", "time": NOW.isoformat(), "insert_id": "m\0", "properties": odd}
    inserting.insert(workspace.slug, event_line(event), b"")
    for name, value in (("list", "ab"), ("list", "c\\u0000"), ("text", "xy"), ("path", "[\\u0000")):
        where = {"performed": {"event": "play", "where": [{"property": name, "=": value}]}}
        assert found(workspace, where) == ["u1"], (name, value)


def test_a_membership_is_explained_from_there(workspace, send):
    send(track("play", "m1", userId="u1"))
    definition = parse({"version": 1, "where": played(2)})
    said = explain(
        definition, "u1", NOW + timedelta(minutes=1), in_cohort=lambda key: False, workspace=workspace.slug
    )
    assert (said.member, said.root.true) == (False, False)
    assert "1" in said.root.facts


def test_a_file_is_imported_once_whatever_is_repeated(workspace, tmp_path, capsys):
    file = tmp_path / "events.jsonl"
    lines = [{"user_id": f"u{n % 3}", "event": "play", "time": NOW.isoformat()} for n in range(6)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "play"}\n')
    for options in ({}, {"again": True}):
        with pytest.raises(SystemExit) as ended:
            call_command("import_events", str(file), workspace=workspace.slug, **options)
        assert ended.value.code == 3, "a line was bad"
    assert found(workspace, played(2)) == ["u0", "u1", "u2"]
    assert found(workspace, played(3)) == []
    assert set(ImportedFile.objects.values_list("key", "bad_lines")) == {(None, 1)}
    with pytest.raises(CommandError, match="not replaced from here"):
        call_command(
            "import_events", str(file), workspace=workspace.slug, again=True, source="s", replace_days=True
        )


def test_the_catalogue_is_counted_there(workspace, send):
    send(
        {**track("play", "m1", userId="u1"), "properties": {"price": 3, "late": True}},
        track("play", "m2", userId="u2"),
        identify("u1", plan="pro"),
    )
    for _ in range(2):
        catalogue.recount_inserted(workspace.slug)
    entries = CatalogueEntry.objects.filter(workspace=workspace.slug)
    assert sorted(entries.values_list("event", "property_name", "count", "numbers", "booleans")) == [
        ("", "plan", 1, 0, 0),
        ("play", "", 2, 0, 0),
        ("play", "late", 1, 0, 1),
        ("play", "price", 1, 1, 0),
    ]
    assert abs(catalogue.last_event_at(workspace.slug) - NOW) < timedelta(seconds=1)


def test_while_the_database_is_away_nothing_is_said_to_be_kept(database, settings, workspace, send):
    there = settings.EVENTS_URL
    scheme = there.partition("://")[0]
    settings.EVENTS_URL = f"{scheme}://127.0.0.1:1/away"
    refused = send(track("play", "m1", userId="u1"), identify("u1", plan="pro"))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
    settings.EVENTS_URL = there
    assert found(workspace, played()) == []
    assert send(track("play", "m1", userId="u1"), identify("u1", plan="pro")).status_code == 200
    assert found(workspace, played()) == ["u1"]


def test_without_the_tables_it_is_said_what_makes_them(database, settings, workspace, send):
    if database == "clickhouse":
        inserting.own_tables(settings.EVENTS_URL).post("DROP TABLE event_rows")
    else:
        with psycopg.connect(settings.EVENTS_URL) as connection:
            connection.execute("DROP TABLE events")
    refused = send(track("play", "m1", userId="u1"))
    assert refused.status_code == 501
    assert "create_event_tables" in refused.json()["error"]["message"]


def test_a_session_that_was_cut_is_opened_anew(postgresql, settings):
    settings.EVENTS_URL, settings.EVENTS_INSERT = postgresql, True
    call_command("create_event_tables")
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    line = b'{"u":"u1","e":"play","t":1,"i":"m1","p":{}}\n'
    assert [inserting.insert("cut", line, b"") for _ in range(2)] == [1, 0]
    inserting.own_tables(postgresql).close()


def test_what_is_already_ours_is_left_alone_and_tables_of_others_are_not_written(database, settings):
    call_command("create_event_tables")
    settings.EVENTS_TABLES = {"events": "app.events"}
    with pytest.raises(SystemCheckError, match="our own tables alone"):
        call_command("check", tags=["settings"])


def test_it_must_be_said_where_to_insert(settings):
    settings.EVENTS_URL, settings.EVENTS_INSERT = "", True
    with pytest.raises(SystemCheckError, match="EVENTS_URL is empty"):
        call_command("check", tags=["settings"])
