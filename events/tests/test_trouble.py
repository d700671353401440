"""Disk full, permission gone, nobody who reads: a sentence and an exit code, and nothing is lost."""

import gzip
import io
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from chaos import migrated
from events import convert, importing, spool
from events.importing import import_file
from events.models import ImportedFile
from events.store import Folders, read_layout
from events.tests.conftest import Stored

ROWS = 3_000
COMMANDS = (
    ["adopt_events"],
    ["check_events"],
    ["compact_events"],
    ["delete_events", "--event", "a"],
    ["import_events", "FILE"],
    ["list_events"],
    ["list_imports"],
    ["undo_import", "abcdef"],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "events.csv"
    lines = [f"u{n},a,2024-05-01,{n * 7919 % 10_007:x}{n:x}\n" for n in range(ROWS)]
    path.write_text("user_id,event,time,value\n" + "".join(lines))
    return path


def event(number: int) -> dict[str, Any]:
    properties = {"number": number, "text": f"{number * 7919:x}" * 9}
    return {"user_id": f"u{number}", "event": "a", "time": "2024-05-01", "properties": properties}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a context in which no file of events becomes larger than some bytes. SQLite's may: for it, the
    limit is off but while events are written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        def limiting(function: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **keywords: Any) -> Any:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
                try:
                    return function(*arguments, **keywords)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, before)

            return run

        with monkeypatch.context() as patched:
            for module, name in ((convert, "copy"), (importing, "stage"), (spool.Segment, "write")):
                patched.setattr(module, name, limiting(getattr(module, name)))
            yield

    return limited


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_stops_an_import_with_a_sentence_and_nothing_of_it_is_there(
    stored: Stored, file: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    spool.append("default", [event(1)])
    call_command("compact_events", stdout=io.StringIO())
    with full_disk(9_000), pytest.raises(CommandError, match="Nothing of events.csv was imported"):
        call_command("import_events", str(file))
    assert not ImportedFile.objects.exists() and stored("SELECT count(*) FROM e") == [(1,)]
    assert list(Folders("default").staging.iterdir()) == []
    assert import_file("default", file).rows == ROWS


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_stops_a_compaction_with_a_sentence_and_the_spool_stays(
    stored: Stored, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    spool.append("default", [event(number) for number in range(2_000)])
    with full_disk(9_000), pytest.raises(CommandError, match="default: "):
        call_command("compact_events")
    call_command("compact_events", stdout=io.StringIO())
    assert stored("SELECT count(*) FROM e") == [(2_000,)]


@pytest.mark.django_db(transaction=True)
def test_a_full_disk_refuses_what_comes_in_and_half_a_write_leaves_nothing(
    stored: Stored, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    spool.append("default", [event(1)])
    with full_disk(2_000), pytest.raises(OSError, match="could not be stored"):
        spool.append("default", [event(number) for number in range(100)])
    spool.append("default", [event(2)])
    call_command("compact_events", stdout=io.StringIO())
    assert stored("SELECT n0_number FROM e ORDER BY 1") == [(1,), (2,)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_folder_that_cannot_be_used_is_a_sentence_in_every_command(
    command: list[str], file: Path, settings: Any, tmp_path: Path
) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.EVENTS_DIR.mkdir()
    # Nobody may enter: for whoever is root, too.
    (settings.EVENTS_DIR / "default").write_text("a file")
    (settings.EVENTS_DIR / "site.json").mkdir()
    arguments = [str(file) if word == "FILE" else word for word in command]
    if command[0] in ("list_events", "list_imports"):
        call_command(*arguments, stdout=io.StringIO())
        return
    with pytest.raises(CommandError):
        call_command(*arguments, "--workspace", "default", stdout=io.StringIO())


@pytest.mark.django_db(transaction=True)
def test_columns_that_differ_only_by_case_are_kept(stored: Stored, tmp_path: Path) -> None:
    parquet, csv = tmp_path / "a.parquet", tmp_path / "a.csv"
    columns = "'u' AS user_id, 'a' AS event, '2024-05-01' AS time, 1 AS x, 2 AS y, {a: 1} AS s"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {columns}) TO '{parquet}' (FORMAT parquet)")
    # DuckDB writes no such file, others do: the names are as long as before.
    content = parquet.read_bytes().replace(b"\x01x", b"\x01X").replace(b"\x01y", b"\x01x")
    parquet.write_bytes(content)
    csv.write_text("user_id,event,time,X,x\nu,a,2024-05-01,1,2\n")
    assert [import_file("default", path).rows for path in (parquet, csv)] == [1, 1]
    layout = read_layout("default")
    both = f'"{layout.text_column("X")}", "{layout.text_column("x")}"'
    assert stored(f"SELECT {both} FROM e") == [("1", "2"), ("1", "2")]


MANAGE = [sys.executable, str(django_settings.BASE_DIR / "manage.py")]


def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "VAR_DIR": str(tmp_path),
        "EVENTS_DIR": str(tmp_path / "events"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }


def test_a_command_whose_reader_has_seen_enough_is_quiet(tmp_path: Path) -> None:
    migrated.migrate(environment(tmp_path))
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["list_events"], ["check_events"], ["import_events", "--help"]):
        done = subprocess.run(
            [*MANAGE, *arguments],
            env=environment(tmp_path),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode in (0, 141) and done.stderr == "", arguments
    os.close(writing)


def test_a_database_without_tables_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MANAGE, "list_imports"], env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "The database cannot be used: no such table" in done.stderr and "migrate" in done.stderr


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
@pytest.mark.django_db
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, options: list[str]) -> None:
    path = tmp_path / "events.csv"
    os.mkfifo(path)
    with pytest.raises(CommandError, match=r"events\.csv is no plain file\. What comes by a pipe"):
        call_command("import_events", path, *options)
    with pytest.raises(CommandError, match="is no plain file"):
        call_command("import_events", tmp_path, *options)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the first line is empty"),
        ("a.csv", b"user_id,event,time,a,a\nu,e,2024-05-01,1,2\n", "names the column 'a' twice"),
        ("a.csv", gzip.compress(b"user_id,event,time\nu,e,2024\n", mtime=0), "its name must end in .gz"),
        ("a.csv", b"<!doctype html><p>Log in", "The file is a web page"),
        ("a.csv", "user_id,event,time\nu,é,2024-05-01\n".encode("latin-1"), "save the file as UTF-8"),
        ("a.json", b'[{"user_id":"u"}]', "each line must be a JSON object of its own"),
    ],
)
@pytest.mark.django_db
def test_a_file_that_cannot_be_used_says_what_to_do(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CommandError, match=said):
        call_command("import_events", path)
    assert not ImportedFile.objects.exists()
