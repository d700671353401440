"""Events where they are computed: what comes in is inserted into our tables in PostgreSQL or ClickHouse,
counted once whatever comes twice, and read from there."""

import json
import os
import secrets
import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.utils import timezone

from cohorts import behavioral
from cohorts.definitions import parse
from cohorts.explain import explain
from cohortsite import pruning
from events import catalogue, correct, folder, inserting, uploads
from events.compact import compact
from events.event_tables import Unreachable
from events.merges import find_devices
from events.models import CatalogueEntry, Correction, ImportedFile, UploadState
from events.naming import NameKind, decide
from events.person import rows_of
from events.postgresql import PostgreSQL
from events.records import event_line, owner_line
from people.erasing import certificate_of
from people.models import Erasure, ErasureState
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
        assert "1 bad lines. Its key is " in capsys.readouterr().out
    with pytest.raises(CommandError, match="is not a workspace's name"):
        call_command("import_events", str(file), workspace="../x")
    assert "../x" not in inserting.all_workspaces()
    assert found(workspace, played(2)) == ["u0", "u1", "u2"]
    assert found(workspace, played(3)) == []
    assert list(ImportedFile.objects.values_list("bad_lines", flat=True)) == [1, 1]
    assert len(set(ImportedFile.objects.values_list("key", flat=True)) - {None}) == 2
    file.with_name("garbage.csv").write_text("garbage\n")
    with pytest.raises(CommandError, match="which is no heading"):
        call_command("import_events", str(file.with_name("garbage.csv")), workspace=workspace.slug)


def test_a_file_waits_for_the_database(settings, workspace, tmp_path):
    """In the watched folder, and from the browser: nothing is wrong with it."""
    line = json.dumps({"user_id": "u1", "event": "play", "time": NOW.isoformat()}).encode() + b"\n"
    upload = uploads.keep(workspace.slug, "a.jsonl", [line])
    assert uploads.confirm(upload)
    inbox = folder.inbox(workspace.slug)
    inbox.mkdir()
    (inbox / "b.jsonl").write_bytes(line.replace(b"u1", b"u2"))
    later = time.time() + 60
    there = settings.EVENTS_URL
    settings.EVENTS_URL = f"{there.partition('://')[0]}://127.0.0.1:1/away"
    with pytest.raises(Unreachable):
        uploads.work_off(workspace.slug)
    with pytest.raises(Unreachable):
        folder.scan(workspace.slug, later)
    upload.refresh_from_db()
    assert upload.state == UploadState.IMPORTING and upload.said.startswith("The database of events")
    settings.EVENTS_URL = there
    uploads.work_off(workspace.slug)
    assert [taken.error for taken in folder.scan(workspace.slug, later)] == [""]
    upload.refresh_from_db()
    assert upload.state == UploadState.DONE
    assert found(workspace, played()) == ["u1", "u2"]


def test_one_insert_has_events_of_many_years(workspace):
    months = [datetime(2000 + n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(150)]
    event = {"user_id": "u1", "event": "play"}
    inserting.insert(
        workspace.slug, b"".join(event_line(event | {"time": m.isoformat()}) for m in months), b""
    )
    assert person_rows(workspace, "u1")["events"] == 150


def test_a_locked_table_is_waited_for_once(postgresql, settings, monkeypatch):
    monkeypatch.setattr("events.postgresql.PATIENCE", 1)
    tables = PostgreSQL(postgresql)
    tables.create()
    with psycopg.connect(postgresql) as connection:
        connection.execute("LOCK TABLE events")
        began = time.monotonic()
        with pytest.raises(Unreachable, match="statement timeout"):
            tables.select("SELECT 1 FROM events")
    assert time.monotonic() - began < 1.9
    tables.close()


def test_the_catalogue_is_counted_there(workspace, send):
    send(
        {**track("play", "m1", userId="u1"), "properties": {"price": 3, "late": True}},
        track("play", "m2", userId="u2"),
        identify("u1", plan="pro"),
    )
    numbers = track("007", "m3", userId="u2"), track("²", "m4", userId="u2")
    assert send(*({**one, "properties": {"1": "x"}} for one in numbers)).status_code == 200
    for _ in range(2):
        catalogue.recount_inserted(workspace.slug)
    entries = CatalogueEntry.objects.filter(workspace=workspace.slug)
    assert sorted(entries.values_list("event", "property_name", "count", "numbers", "booleans")) == [
        ("", "plan", 1, 0, 0),
        ("007", "", 1, 0, 0),
        ("007", "1", 1, 0, 0),
        ("play", "", 2, 0, 0),
        ("play", "late", 1, 0, 1),
        ("play", "price", 1, 1, 0),
        ("²", "", 1, 0, 0),
        ("²", "1", 1, 0, 0),
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


def person_rows(workspace, user="ada"):
    return {kind: len(rows) for kind, rows in rows_of(workspace.slug, user).items()}


def identified(send):
    """Ada, on two devices, and Bob; one device was Bob's before she used it."""
    early = NOW - timedelta(hours=1)
    assert (
        send(
            track("play", "m1", userId="ada"),
            track("play", "m2", anonymousId="ada-phone", at=early),
            track("pay", "m3", userId="ada", anonymousId="ada-phone"),
            track("play", "m4", userId="bob", anonymousId="bob-tv", at=early),
            track("play", "m5", userId="ada", anonymousId="bob-tv"),
            track("play", "m6", anonymousId="bob-tv"),
            identify("ada", plan="gold", email=None),
            identify("bob", plan="free"),
        ).status_code
        == 200
    )


def everything(settings):
    """All that stands in our tables, in clear."""
    tables = inserting.own_tables(settings.EVENTS_URL)
    return str(
        [tables.select(f"SELECT * FROM {table}") for table in (tables.event_rows, "user_traits", "merges")]
    )


def test_nothing_is_left_there_of_a_person_who_is_forgotten(database, settings, workspace, send):
    identified(send)
    other = Workspace.objects.create(slug=f"x{secrets.token_hex(4)}")
    inserting.insert(other.slug, b"", owner_line("ada-watch", "ada", NOW))
    before = everything(settings)
    assert all(text in before for text in ("ada-phone", "ada-watch"))
    call_command("forget_user", "ada", stdout=StringIO())
    erasure = Erasure.objects.get()
    assert erasure.state == ErasureState.DONE, erasure.waits
    left = everything(settings)
    assert "ada" not in left
    assert person_rows(workspace, "bob") == {"events": 2, "properties": 1}
    assert certificate_of(erasure)["done"]["events at EVENTS_URL"] == {"events": 4, "properties": 2}


@pytest.mark.parametrize("dies_after", ["event_rows", "user_traits", "merges"])
def test_whoever_is_killed_while_deleting_is_followed_by_the_next(
    settings, workspace, send, monkeypatch, dies_after
):
    identified(send)
    tables = inserting.inserted()
    delete, dies_after = tables.delete, getattr(tables, dies_after, dies_after)

    def die(table, condition):
        done = delete(table, condition)
        if table == dies_after:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as killed:
        killed.setattr(tables, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            call_command("forget_user", "ada", stdout=StringIO())
    assert "ada" in everything(settings) or dies_after == "merges"
    call_command("forget_user", stdout=StringIO())
    assert Erasure.objects.get().state == ErasureState.DONE
    left = everything(settings)
    assert "ada" not in left


def test_an_erasure_waits_for_the_database_and_for_its_tables(settings, workspace, send):
    identified(send)
    there = settings.EVENTS_URL
    settings.EVENTS_URL = f"{there.partition('://')[0]}://127.0.0.1:1/away"
    call_command("forget_user", "ada", stdout=StringIO())
    erasure = Erasure.objects.get()
    assert erasure.state == ErasureState.WAITING
    assert "Events could not be deleted: The database of events" in erasure.waits[0]
    settings.EVENTS_URL = there
    call_command("forget_user", stdout=StringIO())
    assert "ada" not in everything(settings)


def test_what_is_known_of_a_person_contains_what_is_there(workspace, send, client):
    identified(send)
    client.force_login(User.objects.create_superuser("ann"))
    known = client.get("/admin/where/download/", {"user": "ada"}).json()["events"][workspace.slug]
    events = {event["insert_id"]: (event.get("device"), event["event"]) for event in known["events"]}
    assert events == {
        "m1": (None, "play"),
        "m2": ("ada-phone", "play"),
        "m3": (None, "pay"),
        "m5": (None, "play"),
    }
    assert known["events"][0]["insert_id"] == "m2", "in the order of time"
    assert {p["name"]: p["value"] for p in known["properties"]} == {"plan": "gold", "email": None}
    nobody = client.get("/admin/where/download/", {"user": "nobody"}).json()["events"][workspace.slug]
    assert nobody == {"events": [], "properties": []}


HOSTILE = ("a'b", 'a"b', "a\\", "a\\' OR 1=1 --", "%(of)s", "{of:String}", "${x}", "Zoë\u2028\t")


def test_odd_ids_are_deleted_and_nobody_else(workspace, send):
    for number, user in enumerate((*HOSTILE, "bob")):
        assert send(track("play", f"m{number}", userId=user), identify(user, plan="x")).status_code == 200
    for user in HOSTILE:
        assert person_rows(workspace, user) == {"events": 1, "properties": 1}, user
        done = correct.delete_people(workspace.slug, [user], "test")
        assert (done.events, done.traits) == (1, 1), user
        with pytest.raises(correct.NothingToCorrect):
            correct.delete_people(workspace.slug, [user], "test")
    assert person_rows(workspace, "bob") == {"events": 1, "properties": 1}


def test_many_people_are_erased_at_once(workspace):
    lines = b"".join(
        event_line({"user_id": f"u{n}", "event": "play", "time": NOW.isoformat()}) for n in range(250)
    )
    inserting.insert(workspace.slug, lines, b"")
    done = correct.delete_people(workspace.slug, [f"u{n}" for n in range(249)], "test")
    assert (done.events, done.traits) == (249, 0)
    assert found(workspace, played()) == ["u249"]


def deleted(workspace, **named):
    out = StringIO()
    call_command("delete_events", workspace=workspace.slug, json=True, stdout=out, **named)
    return json.loads(out.getvalue())["events"]


def test_events_are_deleted_by_what_is_named(workspace, send):
    identified(send)
    hour = (NOW - timedelta(minutes=30)).isoformat()
    wanted = correct.Wanted(user_id="ada", event="play")
    assert correct.count_events(workspace.slug, wanted) == (3, 2)
    assert deleted(workspace, user="ada", event="pay") == 1
    assert deleted(workspace, insert_id="m4") == 1
    assert deleted(workspace, until=hour) == 1
    with pytest.raises(CommandError, match="nothing was changed"):
        deleted(workspace, until=hour)
    decide(workspace.slug, NameKind.EVENT, "play", "ann", renamed_to="watch")
    assert deleted(workspace, event="watch", user="bob") == 1
    assert deleted(workspace, event="play") == 2
    assert [c.by for c in Correction.objects.filter(events__gt=0)] == [correct.person()] * 5


def test_events_that_are_too_old_go_there_too(settings, workspace, send):
    send(track("play", "m1", userId="u1", at=NOW - timedelta(days=40)), track("play", "m2", userId="u1"))
    settings.EVENTS_HISTORY_DAYS = 30
    assert pruning.prune(timezone.now(), 90).events >= 1, "and what other tests left"
    assert Correction.objects.get(workspace=workspace.slug).events == 1
    assert person_rows(workspace, "u1")["events"] == 1


def test_owners_of_devices_are_read_from_there(workspace, send):
    identified(send)
    said = [(one.device, one.user_id, one.decided) for one in find_devices(workspace.slug)]
    assert said == [("ada-phone", "ada", False), ("bob-tv", "bob", False)]
    assert [one.device for one in find_devices(workspace.slug, user_ids=["ada"])] == ["ada-phone"]
    assert [one.user_id for one in find_devices(workspace.slug, device="bob-tv")] == ["bob"]


def test_files_of_before_are_read_and_erased_with_the_tables(settings, workspace, send):
    settings.EVENTS_URL, there, settings.EVENTS_INSERT = "", settings.EVENTS_URL, False
    settings.EVENTS_KEEP_DAYS = 0
    identified(send)
    compact(workspace.slug)
    settings.EVENTS_URL, settings.EVENTS_INSERT = there, True
    send(track("late", "m9", userId="ada"))
    assert person_rows(workspace, "ada") == {"events": 5, "properties": 2}
    done = correct.delete_people(workspace.slug, ["ada"], "test")
    assert (done.events, person_rows(workspace, "ada")["events"]) == (5, 0)


def test_browser_and_rest_delete_there(settings, workspace, send, client):
    identified(send)
    assert not (settings.EVENTS_DIR / workspace.slug).exists()
    client.force_login(User.objects.create_superuser("ann"))
    page, asked = "/admin/events/correction/add/", {"workspace": workspace.slug, "event": "pay"}
    assert "Delete 1 event" in client.post(page, asked).content.decode()
    assert client.post(page, {**asked, "seen": "1"}).status_code == 302
    devices = client.get("/admin/events/correction/devices/", {"workspace": workspace.slug, "user_id": "ada"})
    assert "ada-phone" in devices.content.decode()

    def correct_by_rest(**body):
        body |= {"workspace": body.get("workspace", workspace.slug)}
        return client.post("/api/v1/event-corrections", json.dumps(body), content_type="application/json")

    assert correct_by_rest(erase=["ada"]).json()["events"] == 3
    assert correct_by_rest(erase=["ada"]).status_code == 404
    assert correct_by_rest(workspace="none-such", erase=["bob"]).status_code == 404
    assert correct_by_rest(import_key="abcdef12").status_code == 404
    assert "begins no imports" in client.post(page, {**asked, "import_key": "abcdef"}).content.decode()
