"""Undoing and replacing imports comes to the same in our files and in our tables in PostgreSQL and
ClickHouse, also when a process is killed in between and the command is given again."""

import gzip
import json
import secrets
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

from events import correct, inserting
from events.compact import compact
from events.engine_errors import MissingTable
from events.event_tables import staged_name
from events.formats import UnreadableFile
from events.importing import Replaces, import_file
from events.merges import find_devices
from events.models import Correction, ImportedFile
from events.person import rows_of
from events.postgresql import PostgreSQL
from events.records import event_line
from events.spool import append
from receiving.models import Workspace
from tests.test_events_inserted import clickhouse, found, postgresql  # noqa: F401

pytestmark = [pytest.mark.once, pytest.mark.django_db(transaction=True)]
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture(params=["files", "postgresql", "clickhouse"])
def kept_in(request, settings, tmp_path):
    settings.EVENTS_DIR = tmp_path / "events"
    if request.param != "files":
        settings.EVENTS_URL, settings.EVENTS_INSERT = request.getfixturevalue(request.param), True
        call_command("create_event_tables", stdout=StringIO())
    yield request.param
    if request.param != "files":
        inserting.inserted().close()


@pytest.fixture
def workspace(kept_in):
    return Workspace.objects.create(slug=f"w{secrets.token_hex(4)}")


@pytest.fixture
def file(tmp_path, workspace):
    """Import a file of these lines, under a name."""

    def imported(name, lines, **options):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return import_file(workspace.slug, path, source="shop", by="ann", **options)

    return imported


def event(user, insert_id, value="1", *, days_ago=0, name="play"):
    at = (NOW - timedelta(days=days_ago)).isoformat()
    properties = {"value": value}
    return {"user_id": user, "event": name, "insert_id": insert_id, "time": at, "properties": properties}


def said(user, at=NOW, **traits):
    return {"type": "identify", "user_id": user, "traits": traits, "time": at.isoformat()}


def by_http(workspace, *lines):
    append(workspace.slug, lines)
    if not settings.EVENTS_INSERT:
        compact(workspace.slug)


def events_of(workspace, *users):
    """The events of users: of whom, id and value."""
    return {
        (user, row["insert_id"], row["properties"]["value"])
        for user in users
        for row in rows_of(workspace.slug, user)["events"]
    }


def last_word(workspace, user):
    """Of a user's properties, of which there is one; files have earlier words, too."""
    rows = [(row["time"], row["value"]) for row in rows_of(workspace.slug, user)["properties"]]
    return max(rows, default=(None, None))[1]


def has(workspace, **traits):
    ((name, value),) = traits.items()
    try:
        return found(workspace, {"user": {"property": name, "=": value}})
    except MissingTable:  # a file of properties that are all gone
        return []


def test_undoing_takes_what_the_import_brought_and_nothing_else(workspace, file):
    by_http(workspace, event("u1", "m0"))
    first = file("a.jsonl", [event("u1", "m0", "2"), event("u1", "m1"), event("u2", "m2")])
    file("b.jsonl", [event("u1", "m1", "3"), event("u1", "m3", days_ago=40)])
    assert (first.rows, len(first.key)) == (2 if first.repeats else 3, 32), "ClickHouse finds repeats later"
    done = correct.undo_import(workspace.slug, first.key, "ann")
    assert (done.events, done.traits) == (2, 0)
    assert events_of(workspace, "u1", "u2") == {("u1", "m0", "1"), ("u1", "m3", "1")}
    with pytest.raises(correct.NothingToCorrect, match="There is no import"):
        correct.undo_import(workspace.slug, first.key, "ann")
    again = file("a.jsonl", [event("u1", "m0", "2"), event("u1", "m1"), event("u2", "m2")])
    assert not again.known and again.key != first.key
    assert events_of(workspace, "u1", "u2") == {(u, m, "1") for u, m in (
        *(("u1", "m0"), ("u1", "m1")), *(("u1", "m3"), ("u2", "m2"))
    )}  # fmt: skip


def test_properties_and_devices_are_what_they_were_before(workspace, file):
    file("a.jsonl", [said("u1", NOW - timedelta(days=2), plan="free"), said("u2", plan="pro")])
    wrong = file(
        "b.jsonl",
        [
            said("u1", NOW - timedelta(days=1), plan="pro"),
            said("u1", NOW, anonymous="yes"),
            {**event("u1", "m1"), "device_id": "d1"},
        ],
    )
    assert has(workspace, plan="pro") == ["u1", "u2"]
    assert [(one.device, one.user_id) for one in find_devices(workspace.slug)] == [("d1", "u1")]
    assert correct.undo_import(workspace.slug, wrong.key, "ann").events == 1
    assert has(workspace, plan="pro") == ["u2"]
    assert has(workspace, plan="free") == ["u1"]
    assert has(workspace, anonymous="yes") == []
    assert find_devices(workspace.slug) == []


def test_a_file_replaces_an_import(workspace, file):
    first = file("a.jsonl", [event("u1", "m1"), event("u1", "m2"), said("u1", plan="pro")])
    second = file("b.jsonl", [event("u1", "m2", "2"), event("u1", "m4")], replaces=Replaces([first.key]))
    assert (second.rows, second.replaced) == (2, 2)
    assert events_of(workspace, "u1") == {("u1", "m2", "2"), ("u1", "m4", "1")}
    assert has(workspace, plan="pro") == []
    standing = ImportedFile.objects.standing(workspace.slug)
    assert [(one.key, one.rows) for one in standing] == [(second.key, 2)]
    assert Correction.objects.get(workspace=workspace.slug).events == 2
    with pytest.raises(correct.NothingToCorrect):
        file("c.jsonl", [event("u1", "m5")], replaces=Replaces([first.key]))
    assert events_of(workspace, "u1") == {("u1", "m2", "2"), ("u1", "m4", "1")}


def test_a_source_delivers_days_again(workspace, file):
    by_http(workspace, event("u1", "m0", days_ago=1))
    file("a.jsonl", [event("u1", "m1", days_ago=1), event("u1", "m2", days_ago=2)])
    whole = file("b.jsonl", [event("u1", "m3", days_ago=1)])
    new = file("c.jsonl", [event("u1", "m4", days_ago=1)], replaces=Replaces(source_days=True))
    assert (new.rows, new.replaced) == (1, 2)
    assert {row[1] for row in events_of(workspace, "u1")} == {"m0", "m2", "m4"}
    assert ImportedFile.objects.filter(undone_at=None).count() == 2
    assert ImportedFile.objects.get(key=whole.key).undone_at, "nothing is left of it"


def test_repeated_ids_are_replaced(workspace, file):
    by_http(workspace, event("u1", "m0"), event("u2", "m0"))
    file("a.jsonl", [event("u1", "m1"), event("u1", "m2")])
    lines = [event("u1", "m0", "2"), event("u1", "m1", "2", name="pay"), event("u1", "m1", "3", name="pay")]
    new = file("b.jsonl", lines, replaces=Replaces(repeats=True))
    assert (new.rows, new.replaced, new.repeats) == (2, 2, 1)
    assert events_of(workspace, "u1", "u2") == {
        *(("u1", "m0", "2"), ("u2", "m0", "1"), ("u1", "m1", "2"), ("u1", "m2", "1")),
    }


def test_an_import_without_keys_of_before_cannot_be_undone(workspace, file, capsys):
    file("a.jsonl", [event("u1", "m1")])
    ImportedFile.objects.update(key=None)
    call_command("list_imports", workspace=workspace.slug)
    assert capsys.readouterr().out.startswith("not undoable  ")
    with pytest.raises(CommandError, match="begins no imports' keys"):
        call_command("undo_import", "abcdef12", workspace=workspace.slug)


def test_events_of_an_import_are_deleted_by_its_key(workspace, file):
    one = file("a.jsonl", [event("u1", "m1"), event("u2", "m2")])
    file("b.jsonl", [event("u1", "m1", "2"), event("u1", "m3")])
    wanted = correct.Wanted(import_key=one.key, user_id="u1")
    assert correct.count_events(workspace.slug, wanted) == (1, 1)
    assert correct.delete_events(workspace.slug, "ann", wanted).events == 1
    assert events_of(workspace, "u1", "u2") == {("u1", "m3", "1"), ("u2", "m2", "1")}


def test_a_file_that_ends_in_the_middle_leaves_nothing(kept_in, workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("events.importing.INSERTED_BYTES", 1000)
    events = (event("u1", secrets.token_hex(8)) for _ in range(3000))
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in events)
    path = tmp_path / "cut.jsonl.gz"
    path.write_bytes(gzip.compress(lines)[:-2000])
    for replaces in (Replaces(), Replaces(repeats=True)):
        with pytest.raises(UnreadableFile):
            import_file(workspace.slug, path, replaces=replaces)
        assert events_of(workspace, "u1") == set()
    assert not ImportedFile.objects.exists()
    assert kept_in == "files" or [n for n in inserting.inserted().held() if workspace.slug in n] == []


# --- Whoever is killed is followed by the next --------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def dying(monkeypatch, at):
    """Let the process die after so many statements that change something at EVENTS_URL."""
    left = [at]

    def counted(act):
        def acted(*given, **named):
            done = act(*given, **named)
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return done

        return acted

    tables = inserting.inserted()
    monkeypatch.setattr(tables, "insert", counted(tables.insert))
    monkeypatch.setattr(tables, "delete", counted(tables.delete))
    monkeypatch.setattr(tables, "swap_in", counted(tables.swap_in))
    if isinstance(tables, PostgreSQL):
        return left
    monkeypatch.setattr(tables, "post", counted(tables.post))
    return left


ACTS = ("import", "again", "undo", "replace", "repeats", "http")
USERS, IDS = ("u1", "u2"), ("m1", "m2", "m3")


@with_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_sequence_comes_to_what_plain_python_says(kept_in, tmp_path, data):
    """Of an event the first word counts, also as to which import brought it; of a property, the last."""
    workspace = Workspace.objects.create(slug=f"w{secrets.token_hex(4)}")
    events, words, standing = {}, {}, []
    for number in range(data.draw(st.integers(2, 6))):
        act = data.draw(st.sampled_from(ACTS))
        keys = st.tuples(st.sampled_from(USERS), st.sampled_from(IDS))
        chosen = data.draw(st.lists(keys, min_size=1, max_size=4, unique=True))
        lines = [event(user, insert_id, str(number)) for user, insert_id in chosen]
        if act == "http":
            by_http(workspace, *lines)
            for key in chosen:
                events.setdefault(key, (str(number), None))
            continue
        old = data.draw(st.sampled_from(standing)) if standing else None
        if act in ("undo", "replace"):
            if old is None:
                continue
            standing.remove(old)
            events = {key: held for key, held in events.items() if held[1] != old[1]}
            words.pop(old[1])
        if act == "undo":
            killed_first(kept_in, data, lambda key=old[0]: correct.undo_import(workspace.slug, key, "ann"))
            continue
        replaces = {"replace": Replaces([old[0]] if old else []), "repeats": Replaces(repeats=True)}.get(act)
        path = tmp_path / f"{workspace.slug}-{number}.jsonl"
        at = NOW + timedelta(minutes=data.draw(st.integers(0, 59)))
        lines.append(said(chosen[0][0], at, plan=str(number)))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        imported = killed_first(
            kept_in, data, lambda path=path, r=replaces: import_file(workspace.slug, path, replaces=r)
        )
        if act == "repeats":
            events = {key: held for key, held in events.items() if key not in chosen}
        for key in chosen:
            events.setdefault(key, (str(number), number))
        words[number] = (at, str(number), chosen[0][0])
        standing.append((imported.key, number))
    assert events_of(workspace, *USERS) == {(*key, value) for key, (value, _) in events.items()}
    for user in USERS:
        said_of_user = [word[:2] for word in words.values() if word[2] == user]
        assert last_word(workspace, user) == max(said_of_user, default=(None, None))[1]
    if kept_in != "files":
        assert {n for n in inserting.inserted().held() if n.startswith(workspace.slug)} <= {workspace.slug}


def killed_first(kept_in, data, act):
    """Do it, after it was killed somewhere on the way, where events are in tables."""
    if kept_in != "files" and (at := data.draw(st.integers(0, 12))):
        with pytest.MonkeyPatch.context() as patched:
            left = dying(patched, at)
            try:
                act_before = act()
            except Killed:
                pass
            else:
                left[0] = 0
                return act_before
    return act()


# --- What else there is to tables ----------------------------------------------------------------


def test_what_was_said_again_is_deleted_once_it_is_settled(kept_in, settings, workspace, file):
    if kept_in == "files":
        pytest.skip("files are merged")
    old = file("a.jsonl", [said("u1", NOW - timedelta(days=3), plan="free"), said("u2", plan="free")])
    older = file("b.jsonl", [said("u1", NOW - timedelta(days=2), plan="basic")])
    new = file("c.jsonl", [said("u1", NOW - timedelta(days=1), plan="pro")])
    tables = inserting.inserted()
    past = timezone.now() - timedelta(days=settings.EVENTS_KEEP_DAYS + 1)
    ImportedFile.objects.filter(key__in=[old.key, older.key]).update(imported_at=past)
    staged = staged_name(workspace.slug, "ab", timezone.now().date() - timedelta(days=2))
    inserting.insert(workspace.slug, event_line(event("u9", "m9")), b"", origin="ab", staged=staged)
    correct.settle()
    words = "SELECT user_id, value FROM user_traits WHERE name = 'plan' AND workspace = "
    rows = tables.select(words + tables.literal(workspace.slug))
    assert sorted((row[0], str(row[1]).strip('"')) for row in rows) == [
        *(("u1", "basic"), ("u1", "pro"), ("u2", "free")),
    ]
    assert workspace.slug not in " ".join(name for name in tables.held() if "+" in name)
    correct.undo_import(workspace.slug, new.key, "ann")
    assert has(workspace, plan="basic") == ["u1"]
    correct.undo_import(workspace.slug, older.key, "ann")
    assert has(workspace, plan="basic") == ["u1"], "it is settled"


def test_what_waits_to_replace_is_read_by_nobody_and_erased(kept_in, workspace):
    if kept_in == "files":
        pytest.skip("files are published whole")
    staged = staged_name(workspace.slug, "ab", timezone.now().date())
    inserting.insert(workspace.slug, event_line(event("u1", "m1")), b"", origin="ab", staged=staged)
    assert events_of(workspace, "u1") == set()
    assert workspace.slug in inserting.all_workspaces()
    assert not [name for name in inserting.all_workspaces() if "+" in name]
    correct.delete_people(workspace.slug, ["u1"], "ann")
    assert not [name for name in inserting.inserted().held() if name.startswith(workspace.slug)]


def test_tables_of_before_get_the_import_of_their_rows(request, settings, tmp_path):
    url = request.getfixturevalue("postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS events, user_traits, merges CASCADE")
        for made in (
            "CREATE TABLE events (workspace text, user_id text, device text, message_id text, event text, "
            "time timestamptz, properties jsonb, "
            "PRIMARY KEY (workspace, user_id, device, message_id))",
            "CREATE TABLE user_traits (workspace text, user_id text, name text, "
            "time timestamptz, value jsonb, PRIMARY KEY (workspace, user_id, name))",
            "CREATE TABLE merges (workspace text, device text, user_id text, time timestamptz, "
            "PRIMARY KEY (workspace, device, user_id))",
            "INSERT INTO user_traits VALUES ('w', 'u1', 'plan', '2026-11-01', '\"free\"')",
        ):
            connection.execute(made.encode())
    tables = PostgreSQL(url)
    for _ in range(2):
        tables.create()
    settings.EVENTS_URL, settings.EVENTS_INSERT = url, True
    settings.EVENTS_DIR = tmp_path
    workspace = Workspace.objects.create(slug="w")
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(said("u1", plan="pro")) + "\n")
    imported = import_file("w", path)
    assert has(workspace, plan="pro") == ["u1"]
    correct.undo_import("w", imported.key, "ann")
    assert has(workspace, plan="free") == ["u1"]
    tables.close()
    inserting.inserted().close()
