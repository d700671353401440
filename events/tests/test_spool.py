"""What `append` acknowledged is published once, whatever dies and whenever."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.conf import settings as django_settings

from chaos import migrated
from events import compact as compaction
from events import publish as publishing
from events import spool
from events.compact import compact
from events.models import EventFile
from events.store import Folders
from events.tests.conftest import Stored

pytestmark = pytest.mark.django_db(transaction=True)


def event(number: int, **more: Any) -> dict[str, Any]:
    base = {"user_id": f"u{number % 7}", "event": "play", "time": "2024-05-01T10:00:00.000001Z"}
    return base | {"properties": {"number": number}, "insert_id": None} | more


def numbers(stored: Stored) -> list[int]:
    return [int(row[0]) for row in stored("SELECT n0_number FROM e ORDER BY 1")]


def test_events_are_published_with_their_time_and_properties(stored: Stored) -> None:
    spool.append(
        "default", [event(1, properties={"Plan": "pro", "plan": 3, "on": True, "none": None, "l": [1]})]
    )
    compact("default")
    [row] = stored('SELECT event, user_id, time::VARCHAR, "s3_plan", "n3_plan" FROM e')
    columns = [row[0] for row in stored("DESCRIBE e")]
    assert row[:3] == ("play", "u1", "2024-05-01 10:00:00.000001")
    assert columns == [
        "event", "user_id", "time", "insert_id", "s0_plan", "s1_l", "s2_on", "s3_plan", "n3_plan",
    ]  # fmt: skip
    assert stored("SELECT s0_plan, s1_l, s2_on, s3_plan, n3_plan FROM e") == [
        ("pro", "[1]", "true", "3", 3.0)
    ]


def test_rows_are_sorted_by_event_user_and_time(stored: Stored) -> None:
    for number in (5, 3, 9, 3):
        spool.append("default", [event(number, time=f"2024-05-0{number}"), event(number, event="login")])
    compact("default")
    rows = stored("SELECT event, user_id, time FROM e")
    assert rows == sorted(rows) and len(rows) == 8


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"user_id": " "}, "item 1: the user id is blank"),
        ({"event": ""}, "item 1: the event's name is missing"),
        ({"event": "a\x00"}, "item 1: the event's name is longer than 255 characters or contains NUL"),
        ({"time": "yesterday"}, "item 1: the time 'yesterday' cannot be read"),
        ({"time": "1969-12-31T23:59:59Z"}, "item 1: the time 1969-12-31T23:59:59+00:00 is not between"),
        ({"time": None}, "item 1: the time is missing"),
        ({"properties": ["a"]}, "item 1: the properties are not an object"),
        ({"properties": {"a": "\ud800"}}, "item 1: has text that is not UTF-8"),
        ({"properties": {"a": "x" * 1_100_000}}, "item 1: is larger than"),
        ({"insert_id": 3}, "item 1: the insert id is not a string"),
    ],
)
def test_an_invalid_event_is_named_and_nothing_of_its_call_is_stored(
    wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(spool.InvalidRecord) as error:
        spool.append("default", [event(1), event(2) | wrong])
    assert reason in str(error.value)
    assert compact("default").events == 0


def test_a_name_that_is_no_slug_cannot_leave_the_folder() -> None:
    with pytest.raises(ValueError, match="not a workspace's name"):
        spool.append("../other", [event(1)])


def test_an_insert_id_counts_once_for_a_user_in_one_batch_and_across_batches(stored: Stored) -> None:
    spool.append("default", [event(1, insert_id="a"), event(2, insert_id="a", user_id="u1"), event(3)])
    first = compact("default")
    spool.append("default", [event(4, insert_id="a", user_id="u1"), event(5, insert_id="a", user_id="other")])
    second = compact("default")
    assert (first.repeats, second.repeats) == (1, 1)
    assert numbers(stored) == [1, 3, 5]


def test_workspaces_do_not_see_each_other(stored: Stored) -> None:
    spool.append("one", [event(1, insert_id="a")])
    spool.append("two", [event(1, insert_id="a"), event(2)])
    compact("one")
    compact("two")
    assert [len(stored("SELECT 1 FROM e", name)) for name in ("one", "two")] == [1, 2]


def test_users_latest_values_win_and_null_unsets(stored: Stored) -> None:
    def traits(time: str, **values: Any) -> None:
        spool.append_traits("default", [{"user_id": "u1", "time": time, "traits": values}])

    traits("2024-05-02", plan="pro", age=30)
    traits("2024-05-01", plan="free", city="Rome")
    compact("default")
    traits("2024-05-03", city=None)
    compact("default")
    rows = stored("SELECT name, arg_max({s: s, n: n}, time) FROM t GROUP BY name ORDER BY name")
    found = {name: (value["s"], value["n"]) for name, value in rows}
    assert found == {"": ("", None), "age": ("30", 30.0), "city": (None, None), "plan": ("pro", None)}


def test_threads_that_write_at_once_lose_nothing_and_share_their_flushes(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[int] = []
    fsync = os.fsync

    def slow_fsync(descriptor: int) -> None:
        flushes.append(descriptor)
        time.sleep(0.02)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow_fsync)

    def write(start: int) -> None:
        for number in range(start, start + 20):
            spool.append("default", [event(number)])

    threads = [threading.Thread(target=write, args=(start,)) for start in range(0, 400, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(flushes) < 400, "one for each call: nothing was shared"
    compact("default")
    assert numbers(stored) == list(range(400))


def test_a_full_disk_is_an_error_and_leaves_no_half_line(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append("default", [event(1)])
    write = os.write

    def half(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="could not be stored: No space left"):
        spool.append("default", [event(2)])
    monkeypatch.undo()
    spool.append("default", [event(3)])
    compact("default")
    assert numbers(stored) == [1, 3]


def test_a_line_cut_off_by_a_death_is_dropped(stored: Stored) -> None:
    spool.append("default", [event(1)])
    [segment] = Folders("default").spool.iterdir()
    with segment.open("ab") as file:
        file.write(b'{"u":"u9","e":"play","t":17')
    compact("default")
    assert numbers(stored) == [1]


class Killed(BaseException):
    """Stands for the death of the process at one point."""


@pytest.mark.parametrize(
    ("module", "function", "after"),
    [
        (compaction, "seal", True),
        (compaction, "prepare", False),
        (compaction, "prepare", True),
        (publishing, "write_description", True),
        (publishing, "move_in", False),
        (publishing, "move_in", True),
        (publishing, "list_file", True),
        (publishing, "record", True),
        (compaction, "publish", True),
        (shutil, "rmtree", False),
        (compaction, "merge_files", True),
    ],
)
def test_a_compaction_that_dies_anywhere_is_finished_by_the_next(
    stored: Stored, monkeypatch: pytest.MonkeyPatch, module: Any, function: str, after: bool
) -> None:
    monkeypatch.setattr(compaction, "FAN", 2)
    spool.append("default", [event(1)])
    compact("default")
    spool.append("default", [event(2), event(3)])
    original = getattr(module, function)

    def dies(*arguments: Any, **keywords: Any) -> None:
        if after:
            original(*arguments, **keywords)
        raise Killed

    monkeypatch.setattr(module, function, dies)
    with pytest.raises(Killed):
        compact("default")
        spool.append("default", [event(4)])
        compact("default")
    monkeypatch.setattr(module, function, original)
    compact("default")
    assert [n for n in numbers(stored) if n != 4] == [1, 2, 3]
    folders = Folders("default")
    assert list(folders.sealed.iterdir()) == [] and list(folders.temp.glob("*.parquet")) == []
    listed = set(EventFile.objects.values_list("name", flat=True))
    compact("default")
    assert {path.name for path in folders.files.iterdir()} == listed


def test_a_file_that_the_database_does_not_know_is_left_alone(stored: Stored) -> None:
    """As after a switch from SQLite to PostgreSQL, or when last night's database was restored."""
    spool.append("default", [event(1)])
    compact("default")
    [path] = Folders("default").files.iterdir()
    content = path.read_bytes()
    EventFile.objects.all().delete()
    spool.append("default", [event(2)])
    compact("default")
    assert path.read_bytes() == content


def test_events_are_refused_where_cohorts_read_another_database(settings: Any) -> None:
    settings.EVENTS_URL = "clickhouse://127.0.0.1:1/events"
    with pytest.raises(spool.Refused, match="EVENTS_URL: nothing was stored"):
        spool.append("default", [event(1)])
    assert not Folders("default").root.exists()


def test_small_files_are_merged_and_stay_readable_for_running_queries(stored: Stored) -> None:
    for number in range(8):
        spool.append("default", [event(number, properties={"number": number, f"p{number}": "x"})])
        spool.append_traits(
            "default", [{"user_id": "u", "time": f"2024-05-0{number + 1}", "traits": {"n": number}}]
        )
        compact("default")
    assert EventFile.objects.live("default", "events").count() == 1
    assert EventFile.objects.live("default", "traits").count() == 1
    assert len(list(Folders("default").files.iterdir())) == 18
    assert numbers(stored) == list(range(8))
    assert stored("SELECT s FROM t WHERE name = 'n'") == [("7",)]
    EventFile.objects.exclude(retired_at=None).update(retired_at="2020-01-01T00:00Z")
    compact("default")
    assert len(list(Folders("default").files.iterdir())) == 2


def test_properties_beyond_the_columns_are_kept_in_a_map(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MAX_COLUMNS", 2)
    spool.append(
        "default", [event(1, properties={"a": 1, "b": 2, "c": 3}), event(2, properties={"a": 1, "b": 4})]
    )
    compact("default")
    spool.append("default", [event(3, properties={"d": "x", "a": 7})])
    compact("default")
    rows = stored("SELECT n0_a, s1_b, rest['c'], rest['d'] FROM e ORDER BY user_id")
    assert rows == [(1.0, "2", "3", None), (1.0, "4", None, None), (7.0, None, None, "x")]


WRITER = """
import sys, itertools, django
django.setup()
from events.spool import append
for n in itertools.count():
    number = int(sys.argv[1]) * 1_000_000 + n
    event = {"user_id": f"u{n % 50}", "event": "play", "time": "2024-05-01"}
    append("default", [event | {"properties": {"number": number}}])
    print(number, flush=True)
"""
COMPACTOR = """
import django
django.setup()
from events.compact import compact
while True:
    compact("default")
    print("done", flush=True)
"""


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9_of_writers_and_compactors(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cohortsite.settings",
        "VAR_DIR": str(tmp_path),
        "EVENTS_DIR": str(tmp_path / "events"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "PYTHONPATH": str(django_settings.BASE_DIR),
    }

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )

    def manage(*arguments: str) -> str:
        command = [sys.executable, str(django_settings.BASE_DIR / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    migrated.migrate(environment)
    acknowledged: list[int] = []
    for round_ in range(2):
        writers = [start(WRITER, str(2 * round_ + n)) for n in range(2)]
        compactor = start(COMPACTOR)
        assert compactor.stdout
        for _ in range(3):
            compactor.stdout.readline()
        # In the midst of the next compaction, wherever that is.
        time.sleep(0.05 + 0.1 * round_)
        for process in (compactor, *writers):
            process.send_signal(signal.SIGKILL)
        for writer in writers:
            printed = writer.communicate()[0].splitlines()
            acknowledged += [int(line) for line in printed]
        compactor.communicate()
    manage("compact_events")
    counted = json.loads(manage("list_events", "--json"))["events"]["play"]["count"]
    found = numbers_of(tmp_path / "events" / "default" / "files", tmp_path / "db.sqlite3")
    assert len(found) == len(set(found)) == counted
    assert len(acknowledged) > 50 and set(acknowledged) <= set(found)
    assert len(found) <= len(acknowledged) + 4


def numbers_of(folder: Path, database: Path) -> list[int]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute(
            "SELECT name FROM events_eventfile WHERE kind = 'events' AND retired_at IS NULL"
        ).fetchall()
    connection.close()
    paths = [str(folder / row[0]) for row in rows]
    with duckdb.connect() as reader:
        sql = "SELECT n0_number FROM read_parquet($1, union_by_name=true)"
        return [int(row[0]) for row in reader.execute(sql, [paths]).fetchall()]
