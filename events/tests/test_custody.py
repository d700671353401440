"""What was acknowledged stays, or is named as damaged, whatever happens to the database and the folder."""

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.core.management import CommandError, call_command

from events import compact as compaction
from events import site, spool
from events.adopt import adopt
from events.catalogue import event_names
from events.compact import compact
from events.correct import delete_people
from events.folder import inbox, scan
from events.importing import import_file
from events.models import (
    CatalogueEntry,
    Correction,
    EventFile,
    FileState,
    ImportedFile,
    PropertyColumn,
    Site,
)
from events.store import Folders, Incomplete, read_layout
from events.tests.conftest import Stored

pytestmark = pytest.mark.django_db(transaction=True)

MODELS = (EventFile, PropertyColumn, CatalogueEntry, ImportedFile, Correction, Site)
Dump = list[tuple[type[Any], list[Any]]]


def send(number: int, workspace: str = "default", **more: Any) -> None:
    base = {"user_id": f"u{number % 3}", "event": "play", "time": "2024-05-01T10:00:00Z"}
    spool.append(workspace, [base | {"properties": {"number": number}} | more])


def published(*numbers: int) -> None:
    for number in numbers:
        send(number)
    compact("default")


def numbers(stored: Stored) -> list[int]:
    column = read_layout("default").number_column("number")
    return [int(row[0]) for row in stored(f'SELECT "{column}" FROM e ORDER BY 1')]


def database() -> Dump:
    """A backup of the database."""
    return [(model, list(model._default_manager.all())) for model in MODELS]


def restore(dump: Dump) -> None:
    for model, _ in dump:
        model._default_manager.all().delete()
    for model, rows in dump:
        model._default_manager.bulk_create(rows)


def another_database() -> None:
    for model in MODELS:
        model._default_manager.all().delete()
    site._checked.clear()  # whoever has another database is another process


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def only_file() -> Path:
    [file] = EventFile.objects.live("default", "events")
    return Folders("default").files / file.name


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


# --- The database --------------------------------------------------------------------------


def test_another_database_neither_writes_nor_reads_until_it_adopts(stored: Stored) -> None:
    published(1, 2)
    before = sorted(path.name for path in Folders("default").files.iterdir())
    another_database()
    with pytest.raises(spool.Refused, match="belongs to another site"):
        send(3)
    with pytest.raises(CommandError, match="belongs to another site"):
        call_command("compact_events")
    with pytest.raises(Incomplete, match="belongs to another site"):
        read_layout("default")
    assert sorted(path.name for path in Folders("default").files.iterdir()) == before
    assert "1 files listed" in run("adopt_events")
    published(3)
    assert numbers(stored) == [1, 2, 3]
    assert [(e.event, e.count) for e in event_names("default")] == [("play", 3)]


def test_whoever_dies_while_it_adopts_lists_no_file_with_the_numbers_of_another_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A column's number is of the database: under another one's, a property would have another's values."""

    def append(number: int, **properties: Any) -> None:
        spool.append(
            "default",
            [{"user_id": f"u{number}", "event": "play", "time": "2024-05-01", "properties": properties}],
        )
        compact("default")

    def dies(*arguments: Any) -> None:
        raise KeyboardInterrupt

    append(1, a="of a", b="of b")
    another_database()
    Folders("default").files.rename(Folders("default").root / "aside")
    Folders("default").files.mkdir()
    adopt("default")
    append(2, b="of b")  # here, b has the number that a has in the first file
    for path in (Folders("default").root / "aside").iterdir():
        path.rename(Folders("default").files / path.name)
    with monkeypatch.context() as patched:
        patched.setattr("events.adopt.publish", dies)
        with pytest.raises(KeyboardInterrupt):
            adopt("default")
    with pytest.raises(Incomplete):
        read_layout("default")
    adopt("default")
    layout = read_layout("default")
    column = layout.text_column("b")
    with duckdb.connect() as connection:
        rows = f'SELECT DISTINCT "{column}" FROM read_parquet($1, union_by_name=true)'
        assert connection.execute(rows, [list(layout.events)]).fetchall() == [("of b",)]


def test_a_second_site_on_the_folder_is_refused_and_the_first_goes_on(stored: Stored) -> None:
    published(1)
    first = database()
    another_database()
    Site.objects.create(pk=1, key="the second site's")
    with pytest.raises(spool.Refused, match="belongs to another site"):
        send(9)
    another_database()
    restore(first)
    published(2)
    assert numbers(stored) == [1, 2]


def test_a_site_takes_an_empty_folder_that_another_one_made() -> None:
    read_layout("default")
    another_database()
    assert read_layout("default").events == ()


def test_a_restored_database_misses_nothing_and_counts_nothing_twice(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    published(1)
    last_night = database()
    published(2)  # merged with the first
    published(3)
    restore(last_night)
    with pytest.raises(Incomplete, match="is not known to this database"):
        read_layout("default")
    published(4)
    with pytest.raises(Incomplete, match="is not known to this database"):
        read_layout("default")
    adopt("default")
    assert numbers(stored) == [1, 2, 3, 4]
    compact("default")
    assert numbers(stored) == [1, 2, 3, 4]
    assert adopt("default").listed == []


def test_a_restored_folder_says_what_it_lacks(stored: Stored, tmp_path: Path) -> None:
    published(1)
    shutil.copytree(Folders("default").root, tmp_path / "backup")
    published(2)
    shutil.rmtree(Folders("default").root)
    shutil.copytree(tmp_path / "backup", Folders("default").root)
    with pytest.raises(Incomplete, match="is missing"):
        read_layout("default")
    with pytest.raises(CommandError, match="1 of 2 files"):
        call_command("check_events")
    [lost] = EventFile.objects.troubled("default")
    run("check_events", "--give-up", lost.name)
    assert numbers(stored) == [1]
    published(3)
    assert numbers(stored) == [1, 3]


def test_a_restored_folder_brings_back_what_a_lost_file_was_made_of(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    published(1)
    send(2)
    shutil.copytree(Folders("default").root, tmp_path / "backup")
    compact("default")
    assert EventFile.objects.live("default", "events").count() == 1
    shutil.rmtree(Folders("default").root)
    shutil.copytree(tmp_path / "backup", Folders("default").root)
    adopt("default")
    with pytest.raises(Incomplete, match="is missing"):
        read_layout("default")
    assert EventFile.objects.live("default", "events").count() == 1


def test_another_database_gives_its_own_columns_to_the_properties(stored: Stored) -> None:
    send(1, properties={"number": 1, "Plan Type": "a b", "plan-type": "c"})
    compact("default")
    another_database()
    PropertyColumn.objects.create(workspace="default", name="other", number=0)
    PropertyColumn.objects.create(workspace="default", name="plan-type", number=1)
    adopt("default")
    layout = read_layout("default")
    columns = [layout.text_column(name) for name in ("number", "Plan Type", "plan-type")]
    assert stored(f"SELECT {', '.join(str(c) for c in columns)} FROM e") == [("1", "a b", "c")]
    assert set(PropertyColumn.objects.values_list("name", flat=True)) == {
        "other", "plan-type", "number", "Plan Type",
    }  # fmt: skip
    published(2)
    assert numbers(stored) == [1, 2]


def test_properties_without_a_column_in_the_other_database_are_kept(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(1, properties={"number": 1, "note": "x"})
    compact("default")
    another_database()
    monkeypatch.setattr(compaction, "MAX_COLUMNS", 2)
    PropertyColumn.objects.create(workspace="default", name="other", number=0)
    adopt("default")
    assert stored("SELECT s1_note, rest['number'] FROM e") == [("x", "1")]
    counted = CatalogueEntry.objects.filter(event="play").exclude(property_name="")
    assert sorted((e.property_name, e.type) for e in counted) == [("note", "string"), ("number", "number")]


def test_another_database_knows_what_was_imported(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user_id,event,time\nu,a,2024-05-01\n")
    import_file("default", path, source="shop", by="Ada")
    another_database()
    adopt("default")
    assert import_file("default", path).known
    [imported] = ImportedFile.objects.all()
    assert (imported.name, imported.source, imported.by, imported.rows) == ("a.csv", "shop", "Ada", 1)


def test_files_of_the_last_release_describe_themselves_before_they_are_needed(stored: Stored) -> None:
    published(1)
    EventFile.objects.update(sha256="")
    shutil.rmtree(Folders("default").manifest)
    published(2)
    another_database()
    adopt("default")
    assert numbers(stored) == [1, 2]


def test_files_without_a_description_are_adopted_by_their_columns(stored: Stored) -> None:
    published(1)
    another_database()
    shutil.rmtree(Folders("default").manifest)
    with pytest.raises(CommandError, match="has no description"):
        call_command("adopt_events")
    run("adopt_events", "--undescribed")
    assert numbers(stored) == [1]


def test_a_batch_from_a_backup_of_the_folder_is_published_although_its_file_was_listed(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    send(1)
    folders = Folders("default").make()
    compaction.seal(folders)
    shutil.copytree(folders.root, tmp_path / "backup")
    compact("default")
    shutil.rmtree(folders.root)
    shutil.copytree(tmp_path / "backup", folders.root)
    compact("default")
    assert numbers(stored) == [1]
    compact("default")
    assert numbers(stored) == [1]


def test_files_that_wait_in_the_inbox_stay_there_while_the_folder_is_another_sites() -> None:
    published(1)
    waiting = inbox("default") / "a.csv"
    waiting.parent.mkdir()
    waiting.write_text("user_id,event,time\nu,a,2024-05-01\n")
    os.utime(waiting, (1, 1))
    another_database()
    with pytest.raises(spool.Refused):
        scan("default")
    assert waiting.exists()
    adopt("default")
    assert [taken.error for taken in scan("default")] == [""]


# --- Damage --------------------------------------------------------------------------------


def test_any_flipped_bit_is_found_before_a_cohort_reads_it(stored: Stored) -> None:
    published(1, 2, 3)
    path = only_file()
    size = 8 * path.stat().st_size
    for bit in range(0, size, max(1, size // 60)):
        flip(path, bit)
        with pytest.raises(Incomplete, match="is damaged"):
            read_layout("default")
        flip(path, bit)
        call_command("check_events", stdout=io.StringIO())
        assert numbers(stored) == [1, 2, 3]


@pytest.mark.parametrize("harm", ["cut", "gone", "unreadable", "flipped"])
def test_a_file_that_is_damaged_is_set_aside_and_the_rest_goes_on(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    published(1)
    path = only_file()
    copy = shutil.copy2(path, tmp_path / "copy")
    if harm == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif harm == "flipped":
        flip(path, 99)
    else:
        path.unlink()
        if harm == "unreadable":
            path.mkdir()
    imported = tmp_path / "a.jsonl"
    imported.write_text(
        '{"user_id": "u", "event": "play", "time": "2024-05-01", "properties": {"number": 5}}\n'
    )
    assert import_file("default", imported).rows == 1
    published(2)
    said = io.StringIO()
    with pytest.raises(CommandError, match="1 of 3 files"):
        call_command("check_events", stdout=said)
    assert path.name in said.getvalue() and "backup" in said.getvalue()
    with pytest.raises(Incomplete, match=path.name):
        read_layout("default")
    if path.is_dir():
        path.rmdir()
    shutil.copy2(copy, path)
    assert "3 files are whole: 3 rows" in run("check_events")
    assert numbers(stored) == [1, 2, 5]


def test_a_damaged_file_is_not_merged_into_others(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    published(1)
    flip(only_file(), 400)
    monkeypatch.setattr(compaction, "FAN", 2)
    published(2)
    assert EventFile.objects.filter(state=FileState.DAMAGED).count() == 1
    published(3)
    assert EventFile.objects.live("default", "events").count() == 2


def test_a_merged_file_that_is_damaged_is_replaced_by_what_it_was_made_of(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    published(1)
    published(2)
    flip(only_file(), 400)
    assert len(adopt("default").listed) == 2
    assert numbers(stored) == [1, 2]


def test_replaced_files_stay_as_long_as_a_backup_may_name_them(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    published(1)
    published(2)
    assert len(list(Folders("default").files.iterdir())) == 3
    published(3)
    settings.EVENTS_KEEP_DAYS = 0
    EventFile.objects.filter(state=FileState.RETIRED).update(retired_at="2024-05-01T00:00Z")
    compact("default")
    assert len(list(Folders("default").files.iterdir())) == 1


def test_check_events_says_what_it_found_as_json() -> None:
    published(1)
    [found] = json.loads(run("check_events", "--json"))["files"]
    assert (found["state"], found["rows"], found["problem"]) == ("listed", 1, "")
    with pytest.raises(CommandError, match="is no damaged or missing file"):
        call_command("check_events", "--give-up", found["file"])


def test_a_description_that_is_damaged_is_reported_while_the_file_still_counts(stored: Stored) -> None:
    published(1)
    [description] = Folders("default").manifest.iterdir()
    flip(description, 700)
    with pytest.raises(CommandError, match="1 of 1 files"):
        call_command("check_events", stdout=io.StringIO())


def test_a_damaged_description_brings_nothing_back_that_was_taken_out(stored: Stored) -> None:
    published(1, 2, 4)  # users u1, u2, u1
    folders = Folders("default")
    before = set(folders.manifest.iterdir())
    delete_people("default", ["u2"], "Ada")
    [description] = set(folders.manifest.iterdir()) - before
    whole = description.read_bytes()
    flip(description, 700)
    another_database()
    assert [problem for problem in adopt("default").problems if "nothing is listed" in problem]
    with pytest.raises(Incomplete):
        read_layout("default")
    description.write_bytes(whole)
    assert adopt("default").problems == []
    assert numbers(stored) == [1, 4]
