"""What should not be there goes, wherever merges have put it, and stays gone; who did it is kept."""

import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from events import compact as compaction
from events import spool
from events.adopt import adopt
from events.catalogue import event_names, event_properties, user_properties
from events.compact import compact
from events.correct import (
    NothingToCorrect,
    Wanted,
    delete_events,
    delete_people,
    is_in_replaced_files,
    undo_import,
)
from events.custody import read_description
from events.engine import EngineError
from events.importing import Imported, Replaces, import_file
from events.models import Correction, EventFile, FileKind, FileState, ImportedFile
from events.naming import NameKind, decide
from events.store import Folders, read_layout
from events.tests.conftest import Stored
from events.tests.test_custody import another_database, database, flip, only_file, restore
from events.verify import give_up

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ROWS = "SELECT user_id, event, s0_n FROM e ORDER BY ALL"


def line(
    user: str, n: int, event: str = "play", day: int = 1, insert_id: str | None = None
) -> dict[str, Any]:
    return {
        "user_id": user, "event": event, "time": f"2024-05-{day:02}", "properties": {"n": n},
        "insert_id": insert_id,
    }  # fmt: skip


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def imported(folder: Path, *records: dict[str, Any], **options: Any) -> Imported:
    return import_file("default", written(folder, *records), by="Ada", **options)


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_an_import_is_undone_wherever_merges_have_put_it(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    spool.append("default", [line("u1", 1)])
    wrong = imported(tmp_path, line("u1", 2), line("u2", 3, "buy"))
    compact("default")
    spool.append("default", [line("u3", 4)])
    compact("default")
    assert len(stored(ROWS)) == 4
    done = undo_import("default", wrong.key, "Ada")
    assert (done.events, done.traits) == (2, 0)
    assert stored(ROWS) == [("u1", "play", "1"), ("u3", "play", "4")]
    assert [(e.event, e.count) for e in event_names("default")] == [("play", 2)]
    assert [(p.property_name, p.count) for p in event_properties("default", "play")] == [("n", 2)]
    [correction] = Correction.objects.all()
    assert correction.by == "Ada" and "the import of" in correction.what
    with pytest.raises(NothingToCorrect):
        undo_import("default", wrong.key, "Ada")


def test_what_was_undone_can_be_imported_again(tmp_path: Path, stored: Stored) -> None:
    first = imported(tmp_path, line("u", 1))
    undo_import("default", first.key, "Ada")
    assert read_layout("default").events == ()
    path = tmp_path / "0.jsonl"
    assert import_file("default", path).rows == 1
    assert import_file("default", path).known


def test_users_properties_are_what_they_were_before_an_import_that_is_undone(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    spool.append_traits("default", [{"user_id": "u", "time": "2024-05-01", "traits": {"plan": "free"}}])
    compact("default")
    wrong = imported(
        tmp_path, {"type": "identify", "user_id": "u", "time": "2024-05-02", "traits": {"plan": "pro"}}
    )
    compact("default")
    latest = "SELECT arg_max(s, time) FROM t WHERE name = 'plan'"
    assert stored(latest) == [("pro",)]
    undo_import("default", wrong.key, "Ada")
    assert stored(latest) == [("free",)]
    assert [(p.property_name, p.count) for p in user_properties("default")] == [("plan", 1)]


def test_an_import_replaces_another_in_one_step(tmp_path: Path, stored: Stored) -> None:
    first = imported(tmp_path, line("u1", 1, insert_id="a"), line("u2", 2))
    second = imported(tmp_path, line("u1", 10, insert_id="a"), replaces=Replaces([first.key]))
    assert (second.rows, second.repeats, second.replaced) == (1, 0, 2)
    assert stored(ROWS) == [("u1", "play", "10")]
    assert [(e.event, e.count) for e in event_names("default")] == [("play", 1)]
    assert set(ImportedFile.objects.standing("default").values_list("key", flat=True)) == {second.key}


def test_an_import_replaces_its_sources_days(tmp_path: Path, stored: Stored) -> None:
    imported(tmp_path, line("u1", 1, day=1), line("u1", 2, day=2), source="shop")
    imported(tmp_path, line("u1", 3, day=2), source="app")
    imported(tmp_path, line("u1", 4, day=2), source="shop", replaces=Replaces(source_days=True))
    assert [row[2] for row in stored(ROWS)] == ["1", "3", "4"]


def test_what_was_replaced_whole_may_be_imported_again(tmp_path: Path, stored: Stored) -> None:
    first = written(tmp_path, line("u1", 1, day=1))
    second = written(tmp_path, line("u1", 2, day=1), line("u1", 3, day=2))
    third = written(tmp_path, line("u1", 4, day=1))
    for file in (first, second):
        import_file("default", file, source="shop")
    compact("default")
    days = Replaces(source_days=True)
    assert import_file("default", third, source="shop", replaces=days).replaced == 2
    assert stored("SELECT s0_n FROM e ORDER BY ALL") == [("3",), ("4",)]
    assert import_file("default", second, source="shop").known, "some of it is left"
    again = import_file("default", first, source="shop", replaces=days)
    assert (again.known, again.rows, again.replaced) == (False, 1, 1)
    assert stored("SELECT s0_n FROM e ORDER BY ALL") == [("1",), ("3",)]
    standing = dict(ImportedFile.objects.standing("default").values_list("key", "name"))
    assert sorted(standing.values()) == sorted([first.name, second.name])
    # The files say the same, to a database that adopts them.
    files = EventFile.objects.live("default", FileKind.EVENTS)
    descriptions = [read_description(Folders("default"), file.name) for file in files]
    assert {one["key"] for about in descriptions if about for one in about.imports} == set(standing)


@pytest.mark.parametrize(("repeats", "kept"), [(False, ["1", "2", "4"]), (True, ["10", "2", "4"])])
def test_events_that_come_again_are_kept_or_replaced(
    tmp_path: Path, stored: Stored, repeats: bool, kept: list[str]
) -> None:
    spool.append("default", [line("u1", 1, insert_id="a"), line("u2", 2, insert_id="a")])
    compact("default")
    done = imported(
        tmp_path, line("u1", 10, insert_id="a"), line("u1", 4), replaces=Replaces(repeats=repeats)
    )
    assert (done.rows, done.repeats, done.replaced) == ((2, 0, 1) if repeats else (1, 1, 0))
    assert sorted(row[2] for row in stored(ROWS)) == sorted(kept)


def test_an_event_is_deleted_by_everything_that_is_named(stored: Stored) -> None:
    spool.append("default", [line("u1", 1), line("u1", 2, "test"), line("u2", 3, "test", day=2)])
    delete_events("default", "Ada", Wanted(event="test", user_id="u1"))
    assert [row[2] for row in stored(ROWS)] == ["1", "3"]
    assert "1 events" in run("delete_events", "--since", "2024-05-02", "--until", "2024-05-03", "--by", "Ada")
    assert [row[2] for row in stored(ROWS)] == ["1"]
    with pytest.raises(CommandError, match="not everything"):
        call_command("delete_events")
    with pytest.raises(CommandError, match="nothing was changed"):
        call_command("delete_events", "--event", "nothing")


def test_a_person_is_erased_and_the_files_that_held_them_soon(
    stored: Stored, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    for number in (1, 2):
        spool.append("default", [line("lovelace", number), line("u2", number)])
        spool.append_traits(
            "default", [{"user_id": "lovelace", "time": "2024-05-01", "traits": {"a": number}}]
        )
        compact("default")
    last_night = database()
    done = delete_people("default", ["lovelace"], "Grace")
    assert (done.events, done.traits) == (2, 2)
    assert stored("SELECT DISTINCT user_id FROM e") == [("u2",)]
    assert read_layout("default").traits == ()
    [correction] = Correction.objects.all()
    assert "lovelace" not in correction.what
    settings.EVENTS_KEEP_DAYS = 6.98  # as if half an hour had passed
    compact("default")
    content = b"".join(path.read_bytes() for path in Folders("default").root.rglob("*") if path.is_file())
    assert b"lovelace" not in content
    restore(last_night)
    adopt("default")
    assert stored("SELECT DISTINCT user_id FROM e") == [("u2",)]


@pytest.mark.parametrize("database_is", ["restored", "another"])
def test_what_was_taken_out_stays_out_whatever_database_comes(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch, database_is: str
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    wrong = imported(tmp_path, line("u1", 1))
    spool.append("default", [line("u2", 2)])
    compact("default")
    last_night = database()
    undo_import("default", wrong.key, "Ada")
    spool.append("default", [line("u3", 3)])
    compact("default")
    another_database()
    if database_is == "restored":
        restore(last_night)
    adopt("default")
    assert [row[2] for row in stored(ROWS)] == ["2", "3"]
    assert not ImportedFile.objects.standing("default").exists()


def test_a_damaged_correction_does_not_bring_back_what_was_taken_out(tmp_path: Path, stored: Stored) -> None:
    wrong = imported(tmp_path, line("u1", 1), line("u2", 2))
    delete_events("default", "Ada", Wanted(user_id="u1"))
    flip(only_file(), 300)
    assert any("taken out" in problem for problem in adopt("default").problems)
    assert EventFile.objects.live("default", "events").count() == 0
    assert EventFile.objects.filter(state=FileState.DAMAGED).count() == 1
    assert wrong.key


def test_nothing_is_corrected_while_a_file_is_set_aside(tmp_path: Path) -> None:
    imported(tmp_path, line("u1", 1))
    path = only_file()
    copy = shutil.copy2(path, tmp_path / "copy")
    flip(path, 300)
    with pytest.raises(EngineError, match="is damaged"):
        delete_people("default", ["u1"], "Ada")
    shutil.copy2(copy, path)
    call_command("check_events", stdout=io.StringIO())
    assert delete_people("default", ["u1"], "Ada").events == 1


def test_an_import_replaces_nothing_in_a_restored_database_before_newer_files_are_adopted(
    tmp_path: Path, stored: Stored
) -> None:
    """The file that is listed again holds who was erased since; the one in its place is not known."""
    wrong = imported(tmp_path, line("u1", 1), line("u2", 2), line("u3", 3))
    last_night = database()
    delete_people("default", ["u1"], "Ada")
    restore(last_night)
    with pytest.raises(EngineError, match="set aside"):
        imported(tmp_path, line("u2", 20), replaces=Replaces(source_days=False, imports=[wrong.key]))
    with pytest.raises(EngineError, match="set aside"):
        imported(tmp_path, line("u2", 2, insert_id="i"), replaces=Replaces(repeats=True))
    adopt("default")
    assert [row[0] for row in stored(ROWS)] == ["u2", "u3"]


def test_an_erasure_is_not_stopped_by_a_damaged_file_that_was_given_up(
    tmp_path: Path, stored: Stored
) -> None:
    """It cannot be asked whom it holds: it goes, as if it were them."""
    imported(tmp_path, line("u1", 1))
    damaged = only_file()
    imported(tmp_path, line("u1", 2), line("u2", 3))
    damaged.write_bytes(b"PAR1 nothing of use PAR1")
    with pytest.raises(CommandError, match="1 of 2 files"):
        call_command("check_events", stdout=io.StringIO())
    assert give_up("default", damaged.name)
    assert delete_people("default", ["u1"], "Ada").events == 1
    assert is_in_replaced_files("default", "u1")
    EventFile.objects.filter(name=damaged.name).update(retired_at=LONG_AGO)
    compact("default")
    assert not damaged.exists() and stored("SELECT user_id FROM e") == [("u2",)]


def test_commands_list_undo_and_replace(tmp_path: Path, stored: Stored) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(line("u1", 1)) + "\n")
    said = run("import_events", str(path), "--source", "shop", "--by", "Ada")
    key = said.split("Its key is ")[1].strip(" .\n")
    assert f"{key}  " in run("list_imports") and "from shop" in run("list_imports")
    path.write_text(json.dumps(line("u1", 2)) + "\n")
    assert "1 events replaced" in run("import_events", str(path), "--replace", key)
    assert [row[2] for row in stored(ROWS)] == ["2"]
    [new] = [one for one in json.loads(run("list_imports", "--json"))["imports"] if not one["undone_at"]]
    assert "1 events and 0 users' properties were taken out" in run(
        "undo_import", new["key"][:8], "--by", "Ada"
    )
    with pytest.raises(CommandError, match="begins no imports' keys"):
        call_command("undo_import", new["key"])
    with pytest.raises(CommandError, match="needs --source"):
        call_command("import_events", str(path), "--replace-days")


def test_an_event_is_deleted_by_the_name_that_it_has_now(tmp_path: Path, stored: Stored) -> None:
    imported(tmp_path, line("u1", 1, "play"), line("u2", 2, "watch"), line("u3", 3, "other"))
    decide("default", NameKind.EVENT, "play", "Ada", renamed_to="watch")
    assert json.loads(run("delete_events", "--event", "watch", "--json"))["events"] == 2
    assert stored(ROWS) == [("u3", "other", "3")]
    imported(tmp_path, line("u4", 4, "play"), line("u5", 5, "watch"))
    assert json.loads(run("delete_events", "--event", "play", "--json"))["events"] == 1
    assert stored(ROWS) == [("u3", "other", "3"), ("u5", "watch", "5")]
