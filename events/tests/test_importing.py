"""Files of every kind come in whole, once, with their bad lines named."""

import csv
import gzip
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest
from django.core.management import CommandError, call_command

from events.catalogue import event_names, event_properties, unknown_events, user_properties
from events.folder import inbox, scan
from events.formats import UnreadableFile
from events.importing import Mapped, import_file
from events.merges import find_devices
from events.models import EventFile, ImportedFile
from events.store import Folders
from events.tests.conftest import Stored

pytestmark = pytest.mark.django_db

CSV = """who,what,when,price,note
u1,play,2024-05-01 10:00:00,1.5,"a
b"
00002,buy,2024-05-02T10:00:00+02:00,,x
"""
MAPPED = Mapped({"user_id": "who", "event": "what", "time": "when"})
ROWS = "SELECT user_id, event, time::VARCHAR FROM e ORDER BY ALL"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.mark.parametrize("packed", [False, True])
def test_csv_with_mapped_columns(tmp_path: Path, stored: Stored, packed: bool) -> None:
    content = gzip.compress(CSV.encode()) if packed else CSV.encode()
    path = written(tmp_path, "a.csv.gz" if packed else "a.csv", content)
    imported = import_file("default", path, MAPPED)
    assert (imported.rows, imported.bad_lines) == (2, 0)
    assert stored(ROWS) == [("00002", "buy", "2024-05-02 08:00:00"), ("u1", "play", "2024-05-01 10:00:00")]
    assert stored("SELECT s0_note, n1_price FROM e ORDER BY 1") == [("a\nb", 1.5), ("x", None)]


def test_json_lines_of_several_senders(tmp_path: Path, stored: Stored) -> None:
    path = written(
        tmp_path,
        "a.jsonl",
        jsonl(
            {"type": "track", "userId": "u1", "event": "a", "timestamp": "2024-05-01T00:00:00Z",
             "messageId": "m", "properties": {"x": 1}, "context": {"ip": "::1"}},
            {"user_id": 2, "event_type": "b", "time": 1714521600000, "event_properties": {"y": True},
             "user_properties": {"plan": "pro"}, "country": "DE", "insert_id": 7, "amplitude_id": 5},
            {"distinct_id": "u3", "event_name": "c", "time": 1714521600, "z": [1]},
            {"type": "identify", "userId": "u4", "timestamp": "2024-05-01T00:00:00Z", "traits": {"age": 3}},
        ),
    )  # fmt: skip
    imported = import_file("default", path)
    assert (imported.rows, imported.users, imported.problems) == (3, 2, [])
    assert stored(ROWS) == [(u, e, "2024-05-01 00:00:00") for u, e in (("2", "b"), ("u1", "a"), ("u3", "c"))]
    assert stored("SELECT insert_id FROM e WHERE event < 'c' ORDER BY event") == [("m",), ("7",)]
    assert [entry.property_name for entry in event_properties("default", "b")] == ["country", "y"]
    assert {entry.property_name: entry.type for entry in user_properties("default")} == {
        "age": "number",
        "plan": "string",
    }


def test_amplitudes_export_archive(tmp_path: Path, stored: Stored) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for hour in range(3):
            line: dict[str, Any] = {
                "user_id": "u",
                "event_type": "a",
                "event_time": f"2024-05-01 0{hour}:00:00.123000",
            }
            line |= {"event_properties": {}, "$insert_id": str(hour), "platform": "iOS"}
            archive.writestr(f"1/1_2024-05-01_{hour}#0.json.gz", gzip.compress(jsonl(line).encode()))
    assert import_file("default", path).rows == 3
    assert stored("SELECT max(time)::VARCHAR, min(s0_platform) FROM e") == [
        ("2024-05-01 02:00:00.123", "iOS")
    ]


def test_parquet(tmp_path: Path, stored: Stored) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'u' || i AS user_id, 'a' AS event, TIMESTAMPTZ '2024-05-01 12:00:00+02' AS time, "
            f"1.25::DECIMAL(9,2) AS price, [i] AS tags, NULL AS gone FROM range(3) AS r(i)) TO '{path}'"
        )
    assert import_file("default", path).rows == 3
    assert stored("SELECT time::VARCHAR, n0_price, s1_tags FROM e ORDER BY user_id LIMIT 1") == [
        ("2024-05-01 10:00:00", 1.25, "[0]")
    ]


def test_text_that_parquet_does_not_mark_as_text_is_text_and_other_bytes_are_nobodys_id(
    tmp_path: Path, stored: Stored
) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT encode('Zoë') AS user_id, encode('é') AS event, DATE '2024-05-01' AS time, "
            "'\\xFF'::BLOB AS key, NULL::BLOB AS gone UNION ALL "
            f"SELECT '\\xFF'::BLOB, encode('é'), DATE '2024-05-01', NULL, NULL) TO '{path}'"
        )
    imported = import_file("default", path)
    assert (imported.rows, imported.bad_lines) == (1, 1)
    assert "the user id is neither" in imported.problems[0]
    assert stored("SELECT user_id, event, s0_key FROM e") == [("Zoë", "é", '{"hex":"FF"}')]


def test_users_properties_from_a_file(tmp_path: Path, stored: Stored) -> None:
    path = written(tmp_path, "users.csv", "customer_id,plan\nu1,pro\nu2,free\n")
    assert import_file("default", path, Mapped(traits=True)).users == 2
    assert stored("SELECT user_id, s FROM t WHERE name = 'plan' ORDER BY 1") == [
        ("u1", "pro"),
        ("u2", "free"),
    ]


def test_a_bad_line_is_named_and_the_others_come_in(tmp_path: Path) -> None:
    lines = [
        '{"user_id": "u", "event": "a", "time": "2024-05-01"}',
        "{broken",
        '{"user_id": "", "event": "a", "time": "2024-05-01"}',
        "[1]",
        '{"user_id": "u", "event": "a", "time": "2024-13-01"}',
        '{"user_id": "u", "event": "a", "time": 1e30}',
        "",
    ]
    imported = import_file("default", written(tmp_path, "a.jsonl", "\n".join(lines)))
    assert (imported.rows, imported.bad_lines) == (1, 5)
    assert [problem.split(":")[0] for problem in imported.problems] == [f"line {n}" for n in range(2, 7)]
    assert imported.problems[1] == "line 3: the user id is blank"


def test_bad_lines_of_csv(tmp_path: Path) -> None:
    content = (
        b'user_id,event,time\nu,a,2024-05-01\nu,a\nu,\xff,2024-05-01\nu,"a"b,2024-05-01\nu,b,2024-05-01\n'
    )
    imported = import_file("default", written(tmp_path, "a.csv", content))
    assert imported.rows == 2
    assert [problem.split(":")[0] for problem in imported.problems] == ["line 3", "line 4", "line 5"]


def test_json_text_in_a_column_is_read_as_the_object_that_it_is(tmp_path: Path, stored: Stored) -> None:
    content = (
        "user_id,event,time,properties,user_properties,country\n"
        'u1,buy,2024-05-01,"{""sku"": ""a"", ""price"": 2.5}","{""plan"": ""pro""}",DE\n'
        "u2,buy,2024-05-01,,,FR\n"
        "u3,buy,2024-05-01,{broken,,\n"
        "u4,buy,2024-05-01,[1],,\n"
        "u5,buy,2024-05-01,null,,\n"
    )
    imported = import_file("default", written(tmp_path, "a.csv", content))
    assert [problem[:48] for problem in imported.problems] == [
        "line 4: the column 'properties' is not JSON: une",
        "line 5: the column 'properties' is not a JSON ob",
    ]
    columns = ", ".join(row[0] for row in stored("DESCRIBE e") if row[0].startswith(("s", "n")))
    assert columns == "s0_country, s1_price, n1_price, s2_sku"
    assert stored(f"SELECT user_id, {columns} FROM e ORDER BY 1") == [
        ("u1", "DE", "2.5", 2.5, "a"), ("u2", "FR", None, None, None), ("u5", None, None, None, None),
    ]  # fmt: skip
    assert stored("SELECT user_id, s FROM t WHERE name = 'plan'") == [("u1", "pro")]


def test_json_text_in_parquet_and_in_a_table_of_users(tmp_path: Path, stored: Stored) -> None:
    path, users = tmp_path / "a.parquet", tmp_path / "users.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'u' AS user_id, 'a' AS event, DATE '2024-05-01' AS time, "
            f"""'{{"x": 1}}' AS event_properties) TO '{path}'"""
        )
        connection.execute(f"""COPY (SELECT 'u' AS user_id, '{{"plan": "pro"}}' AS traits) TO '{users}'""")
    assert import_file("default", path).rows == 1 and import_file("default", users, Mapped(traits=True)).users
    assert stored("SELECT n0_x FROM e") == [(1.0,)]
    assert stored("SELECT name, s FROM t ORDER BY 1") == [("", ""), ("plan", "pro")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv.gz", gzip.compress(CSV.encode() * 500, mtime=0)[:-40], "damaged or cut off"),
        ("a.zip", b"PK\x03\x04 no archive", "damaged or cut off"),
        ("a.parquet", b"PAR1 nothing PAR1", "damaged or cut off"),
        ("a.xlsx", b"", "unknown kind of file"),
        ("a.csv", b"", "must name the columns"),
        ("a.csv", b"a,a\n1,2\n", "names the column 'a' twice"),
        (
            "a.csv",
            b"garbage\n",
            "one line, 'garbage', which is no heading: no column for user_id, event, time",
        ),
        ("a.csv.gz", gzip.compress(b"garbage", mtime=0), "one line, 'garbage', which is no heading"),
        ("a.csv", b"x,y\n1,2\n", "no line can be used. line 2: the user id is neither"),
    ],
)
def test_a_file_that_cannot_be_read_changes_nothing(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        import_file("default", written(tmp_path, name, content), MAPPED if name == "a.csv.gz" else None)
    assert not EventFile.objects.exists() and not ImportedFile.objects.exists()
    assert list(Folders("default").make().staging.iterdir()) == []


def test_the_same_content_is_imported_once_unless_asked(tmp_path: Path, stored: Stored) -> None:
    path = written(tmp_path, "a.csv", CSV)
    import_file("default", path, MAPPED)
    other = written(tmp_path, "b.csv", CSV)
    assert import_file("default", other, MAPPED).known
    assert len(stored(ROWS)) == 2
    assert import_file("default", other, MAPPED, again=True).rows == 2
    assert len(stored(ROWS)) == 4


def test_the_catalogue_counts_names_types_and_last_times(tmp_path: Path) -> None:
    def line(event: str, time: str, **properties: Any) -> dict[str, Any]:
        return {"user_id": "u", "event": event, "time": time, "properties": properties}

    first = [line("a", "2024-05-01", n=1, b=True, m="x"), line("a", "2024-05-03", n="2.5", m=1)]
    import_file("default", written(tmp_path, "1.jsonl", jsonl(*first)))
    import_file(
        "default", written(tmp_path, "2.jsonl", jsonl(line("b", "2024-05-02"), line("a", "2024-05-02", n=3)))
    )
    assert [(e.event, e.count, e.last_seen.day) for e in event_names("default")] == [("a", 3, 3), ("b", 1, 2)]
    found = [(p.property_name, p.type, p.count) for p in event_properties("default", "a")]
    assert found == [("n", "number", 3), ("m", "string", 2), ("b", "boolean", 1)]
    assert unknown_events("default", ["a", "songs"]) == ["songs"]


def test_the_watched_folder_takes_settled_files_and_says_what_failed(stored: Stored) -> None:
    folder = inbox("default")
    folder.mkdir(parents=True)
    names = {"good.jsonl": jsonl({"user_id": "u", "event": "a", "time": "2024-05-01"}), "bad.xlsx": "x"}
    names |= {"users.csv": "user_id,plan\nu,pro\n", "fresh.jsonl": "{"}
    for name, content in names.items():
        path = written(folder, name, content)
        if name != "fresh.jsonl":
            os.utime(path, (1, 1))
    taken = {one.file: one.error for one in scan("default")}
    assert list(taken) == ["bad.xlsx", "good.jsonl", "users.csv"] and "unknown kind" in taken["bad.xlsx"]
    assert sorted(path.name for path in folder.iterdir()) == ["done", "failed", "fresh.jsonl"]
    assert "unknown kind" in (folder / "failed" / "bad.xlsx.problems.txt").read_text()
    assert len(stored(ROWS)) == 1 and len(stored("SELECT 1 FROM t WHERE name = 'plan'")) == 1


def run(*arguments: str) -> tuple[str, int]:
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out, stderr=out)
    except SystemExit as exit_:
        return out.getvalue(), int(str(exit_.code))
    return out.getvalue(), 0


def test_commands_report_as_text_and_as_json(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "id,when\nu,2024-05-01\n,2024-05-01\n")
    arguments = ["import_events", str(path), "--map", "user_id=id", "time=when", "--set", "event=buy"]
    said, code = run(*arguments, "--json")
    assert code == 3
    [file] = json.loads(said)["files"]
    assert file["rows"] == 1 and file["problems"] == [
        "line 3: the user id is neither a string nor an integer"
    ]
    assert "imported before" in run(*arguments)[0]
    assert "buy: 1 times" in run("list_events")[0]
    assert json.loads(run("compact_events", "--json")[0])["events"] == 0


def test_an_import_is_refused_where_cohorts_read_another_database(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_URL = "postgres://127.0.0.1:1/events"
    with pytest.raises(CommandError, match=r"Nothing of a.csv was imported: .* EVENTS_URL"):
        call_command("import_events", str(written(tmp_path, "a.csv", CSV)))


def test_a_heading_without_lines_is_an_import_of_nothing(tmp_path: Path) -> None:
    for number, heading in enumerate(
        ("user_id,event,time", "anonymousId,event,time", "Customer ID;event;time")
    ):
        imported = import_file("default", written(tmp_path, f"{number}.csv", f"{heading}\n"))
        assert (imported.rows, imported.known) == (0, False)
    path = written(tmp_path, "mapped.csv", "who\n")
    assert import_file("default", path, Mapped({"user_id": "who"})).rows == 0
    assert import_file("default", written(tmp_path, "empty.jsonl", "")).rows == 0


def test_it_is_said_which_workspace_has_no_events(tmp_path: Path) -> None:
    assert "No events have come in yet" in run("list_events")[0]
    import_file("default", written(tmp_path, "a.csv", CSV), MAPPED)
    said = run("list_events", "--workspace", "defautl")[0]
    assert said == "No events have come in for the workspace 'defautl'. There are events of: default.\n"
    with pytest.raises(CommandError, match=r"'\.\./x' is not a workspace's name") as refused:
        call_command("list_events", workspace="../x")
    assert refused.value.returncode == 2


def test_commands_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", CSV)
    with pytest.raises(CommandError, match="'who=x' is no|'who'"):
        call_command("import_events", str(path), "--map", "who=x")
    with pytest.raises(CommandError, match=r"Nothing of none.csv was imported"):
        call_command("import_events", str(tmp_path / "none.csv"))


def test_rows_without_an_insert_id_are_reported_by_their_uuid(tmp_path: Path, stored: Stored) -> None:
    """Two exports of Amplitude overlap by an hour; `$insert_id` is null in both."""
    rows = [
        {"user_id": "u", "event_type": "play", "event_time": f"2024-05-01 1{hour}:00:00", "$insert_id": none,
         "uuid": f"id-{hour}"}
        for hour, none in enumerate([None, None, "", ""])
    ]  # fmt: skip
    import_file("default", written(tmp_path, "a.jsonl", jsonl(*rows[:3])))
    again = import_file("default", written(tmp_path, "b.jsonl", jsonl(*rows[1:])))
    assert (again.rows, again.repeats) == (1, 2)
    assert stored("SELECT insert_id FROM e ORDER BY 1") == [(f"id-{n}",) for n in range(4)]


def test_times_in_a_file_are_read_or_their_lines_are_named(tmp_path: Path, stored: Stored) -> None:
    said = [1577836800, "1577836800000", "1577836800000000", 1577836800000000000,
            "2020-01-01 00:00:00 UTC", "2020-01-01T00:00:00+0000",
            "Wed, 01 Jan 2020 00:00:00 GMT"]  # fmt: skip
    lines = [
        {"userId": "u", "event": "e", "timestamp": when, "messageId": str(n)} for n, when in enumerate(said)
    ]
    lines.append({"userId": "u", "event": "e", "timestamp": "soon", "messageId": "bad"})
    imported = import_file("default", written(tmp_path, "a.jsonl", jsonl(*lines)))
    assert imported.problems == ["line 8: the time 'soon' cannot be read"]
    assert stored("SELECT DISTINCT time::VARCHAR FROM e") == [("2020-01-01 00:00:00",)]


# --- tables as people export them -----------------------------------------------------------------


def events_of(stored: Stored, path: Path) -> list[tuple[str, str]]:
    import_file("default", path)
    return [(row[0], row[1]) for row in stored("SELECT user_id, event FROM e ORDER BY ALL")]


ROWS_OF_A_TABLE = [
    ["user_id", "event", "time", "note"],
    ["u1", "buy", "2024-05-01", "a, b"],
    ["é2", "see", "2024-05-02", ""],
]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_events_in_any_separator_and_encoding(
    tmp_path: Path, stored: Stored, separator: str, encoding: str
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows(ROWS_OF_A_TABLE)
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert events_of(stored, path) == [("u1", "buy"), ("é2", "see")]


def test_events_in_a_workbook(tmp_path: Path, stored: Stored) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in ROWS_OF_A_TABLE:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert events_of(stored, tmp_path / "a.xlsx") == [("u1", "buy"), ("é2", "see")]


@pytest.mark.parametrize("heading", ["User ID", "USER-ID", "Person.id", "external_id", "Customer Id"])
def test_a_known_heading_of_user_ids_is_read_for_events_too(
    tmp_path: Path, stored: Stored, heading: str
) -> None:
    path = written(tmp_path, "a.csv", f"{heading},device_id,event,time\nu1,d1,buy,2024-05-01\n")
    assert events_of(stored, path) == [("u1", "buy")]


def test_a_device_is_no_user(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "device_id,uuid,email,event,time\nd1,x,a@b,buy,2024-05-01\n")
    assert import_file("default", path).anonymous == 1
    assert find_devices("default") == [] and event_names("default")[0].count == 1
    identify = written(tmp_path, "a.jsonl", '{"type": "identify", "anonymousId": "d", "traits": {"a": 1}}\n')
    with pytest.raises(UnreadableFile, match="say something of devices without a user"):
        import_file("default", identify)


def test_an_archive_that_a_mac_packed_again_is_read(tmp_path: Path, stored: Stored) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/events.csv", "user_id,event,time\nu1,buy,2024-05-01\n")
        archive.writestr("__MACOSX/a/._events.csv", b"\0\5\x16\7")
        archive.writestr("a/.DS_Store", b"\0")
    assert events_of(stored, path) == [("u1", "buy")]


@pytest.mark.once
def test_events_that_inflate_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    row = b"u1,a,2026-01-02T03:04:05Z," + b"x" * 999 + b"\n"
    path.write_bytes(gzip.compress(b"user_id,event,time,note\n" + row * 80_000))
    with pytest.raises(UnreadableFile, match="a.csv.gz: The file unpacks to more than"):
        import_file("default", path)
    assert not ImportedFile.objects.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "export.json",
            '{"user_id": "u1", "event_type": "a", "event_time": "2026-01-02 03:04:05", "device_id": "d1"}\n'
            '{"user_id": null, "event_type": "a", "event_time": "2026-01-02 03:04:05", "device_id": "d2"}\n'
            '{"user_id": "", "event_type": "a", "event_time": "2026-01-02 03:04:05", "device_id": "d3"}\n',
        ),
        (
            "events.csv",
            "user_id,event,time,device_id\nu1,a,2026-01-02T03:04:05Z,d1\n,a,2026-01-02T03:04:05Z,d2\n"
            ",a,2026-01-02T03:04:05Z,d3\n",
        ),
    ],
)
def test_lines_of_a_device_alone_are_kept_and_counted_apart(tmp_path, name, text):
    """A third of a real export is of people who have not logged in: no fault of the file."""
    path = tmp_path / name
    path.write_text(text)
    imported = import_file("default", path)
    assert (imported.rows, imported.anonymous, imported.bad_lines) == (3, 2, 0)


def test_a_line_without_user_or_device_is_a_bad_one(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("user_id,event,time,device_id\nu1,a,2026-01-02T03:04:05Z,d1\n,a,2026-01-02T03:04:05Z,\n")
    imported = import_file("default", path)
    assert (imported.rows, imported.anonymous, imported.bad_lines) == (1, 0, 1)


def test_json_lines_with_a_byte_order_mark_lose_no_line(tmp_path: Path, stored: Stored) -> None:
    record = {"user_id": "u1", "event": "play", "time": "2024-05-01T10:00:00Z"}
    path = written(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + jsonl(record, {**record, "user_id": "u2"}).encode())
    imported = import_file("default", path)
    assert (imported.rows, imported.bad_lines) == (2, 0)
    assert [row[0] for row in stored(ROWS)] == ["u1", "u2"]


def test_a_line_that_a_carriage_return_tears_in_two_is_no_event(tmp_path: Path, stored: Stored) -> None:
    text = "user_id,event,time,note\nu1,play,2024-05-01,a\rb\nu2,play,2024-05-01,c\n"
    imported = import_file("default", written(tmp_path, "a.csv", text))
    assert (imported.rows, imported.bad_lines) == (1, 2)
    assert "line 2: ends, or the one before it, in another way" in imported.problems[0]
    assert stored("SELECT user_id, s0_note FROM e") == [("u2", "c")]
