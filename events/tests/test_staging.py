"""What is read in bulk is what the reader of lines reads: the same events and refusals, in the same order."""

import gzip
import json
import os
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events import bulk, convert, staging
from events.compact import RESUMABLE, compact
from events.correct import delete_people
from events.devices import PREFIX, SAID
from events.formats import UnreadableFile
from events.importing import Imported, Mapped, import_file, reader_of
from events.models import ImportedFile
from events.staging import stage
from events.store import read_layout
from events.workspace_folders import Folders

pytestmark = [pytest.mark.slow, pytest.mark.once]

USERS = st.sampled_from(
    ["u1", "00002", " u", "", "é", "u\u00a0", "a b", "\u3000", "x" * 1025, 7, -3, 2**70, None, True]
)
TIMES = st.sampled_from([
    "2024-05-01T10:00:00Z", "2024-05-01 10:00:00.123456", "2024-05-01", "2024-05-01T10:00:00+02:00", "soon",
    "2024-02-30T10:00:00Z", "2024-05-01T24:00:00Z", "2024-05-01T10:00:60Z", "1969-12-31T23:59:59Z",
    1714521600, 1714521600123, "1714521600", 1714521600.5, "2024-05-01T10:00:00+00:00", 5, None, True,
    "2300-01-01T00:00:00Z",
])  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
    st.sampled_from([
        1.5, 10.0, 0.05, 1e-7, 100.25, -0.0, 1e22, 0.00001, "true", "null", "-1", 'a"b', "a,b", "a\nb", "\\",
        "[", "{x", [1, 2], {"a": 1}, [], "3.50", "://x", "\x01", "\ud800", "nan", ["a b", "c", 0], [1.5, "x"],
            [None], "[1]", "1e5", 2**63, 10**18, ",}", [[1]], 0.1, -0.001, "inf",
    ]),
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "", "Ünï", "x" * 256, "a b", "null", "type", "A", "time", "distinct_id"])
# Microseconds since 1970 later than all of TIMES: what has no time is said now, at each reading.
NOW = 1_750_000_000_000_000
EVENTS = st.one_of(st.sampled_from(["play", "buy", "", " ", "é" * 255, "é" * 256, None, 3]))


def understood(path: Path, mapped: Mapped, *, in_bulk: bool) -> tuple[Any, ...]:
    """Return what a file is staged as: events, users' properties, and what is said of bad lines."""
    imported = Imported(path.name)
    reader = reader_of(mapped, imported)
    with tempfile.TemporaryDirectory() as name:
        folder, temp = Path(name) / "staging", Path(name) / "temp"
        folder.mkdir()
        temp.mkdir()
        blocks = staging.blocks
        try:
            if not in_bulk:
                staging.blocks = lambda *_: None
            names = stage(path, folder, temp, reader, lambda done: None)
        except UnreadableFile as error:
            return ("unreadable", str(error))
        finally:
            staging.blocks = blocks
        events = []
        if paths := convert.staged(folder, "events"):
            with duckdb.connect() as connection:
                spooled = convert.load_events(connection, paths, names)
                rows = f"SELECT u, e, t, i, {spooled.all_values()} FROM {spooled.relation} ORDER BY o"
                events = connection.execute(rows).fetchall()
        said = [json.loads(line) for line in (folder / "traits-0.jsonl").read_bytes().splitlines()]
        if parts := sorted(folder.glob("traits-*.parquet")):
            files = convert.listed([str(part) for part in parts])
            with duckdb.connect() as connection:
                found = connection.execute(f"SELECT u, t, p FROM read_parquet({files})").fetchall()
            said += [{"u": u, "t": t, "p": p} for u, t, p in found]
        users, owners = traits_of(said)
        return events, users, imported.bad_lines, imported.problems, owners, imported.anonymous


def traits_of(lines: list[Any]) -> tuple[list[Any], Any]:
    """Return what is said of users, in any order, since times decide; and of a device the earliest of what is
    said: the rest has no effect."""
    users: list[Any] = []
    owners: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["u"].startswith(PREFIX):
            key, at = (line["u"], line["p"][SAID]), min(line["t"], NOW)
            owners[key] = min(at, owners.get(key, at))
        else:
            users.append((line["u"], min(line["t"], NOW), sorted(line["p"].items())))
    return sorted(users, key=repr), owners


def same(path: Path, mapped: Mapped | None = None) -> None:
    mapped = mapped or Mapped()
    assert understood(path, mapped, in_bulk=True) == understood(path, mapped, in_bulk=False)


def dumped(value: Any, spaced: bool) -> str:
    return json.dumps(value, ensure_ascii=False, separators=None if spaced else (",", ":"))


RECORDS = st.fixed_dictionaries(
    {"user_id": USERS, "event": EVENTS, "time": TIMES},
    optional={
        "properties": st.one_of(st.none(), st.dictionaries(NAMES, VALUES, max_size=3), VALUES),
        "insert_id": st.sampled_from(["i", "", None, 5, "x" * 256, 1.5]),
        "type": st.sampled_from(["track", "identify", None, 3]),
        "a": VALUES,
        "traits": st.just({"plan": "pro"}),
        "device_id": st.sampled_from(["d1", "d2", "", None, 7, "\u00a0", "d" * 1024, 1.5]),
        "userId": st.just("u2"),
    },
)
START = '{"user_id":"u","event":"e","time":"2024-05-01T00:00:00Z","properties":'
ODD = [
    "", "", "", "{broken\n", "\n", "[1]\n", START + '{"a":1,"a":2}}\n', START + '{"a":1.50,"b":1e3,}}\n',
    START + '{"a":NaN}}\n', START + '{"a":1.50}}\n', START + '{"a":1e400}}\n', START + '{"a":[1,]}}\n',
    START + '{"a":1 , }}\n', START + '{"a":null,"a":1}}\n', START + '{"a":1,"a":null}}\n',
    START + '{"a":-0}}\n', START + '{"a":1}} {}\n', START + 'null,"x":1}\n', START + '[]}\n',
    START + '"text"}\n', START + '{"a":{"b":null}}}\n',
    START + '{"time":"x","distinct_id":"y"}}\n', START + '{"a":1},"type":"alias"}\n',
    '{"user_id":"$device:1","event":"e","time":"2024-05-01T00:00:00Z"}\n',
    '{"distinct_id":"$device:1","event":"e","time":"2024-05-01T00:00:00Z"}\n',
    '{"user_id":"u","event":"$merge","time":"2024-05-01T00:00:00Z","properties":{"$distinct_ids":["$device:1","u"]}}\n',
]  # fmt: skip
HEADERS = [
    "user_id,event,time,a,b", "userId,event,timestamp,insert_id,b", "user_id,event,time,properties,b",
    "user_id,event,time,device_id,b", "distinct_id,event,time,a,A",
    '"user_id",event,time,a,b', "user_id,event,time,a,a", "user_id,userId,event,time,b",
]  # fmt: skip
# A busy machine draws slowly.
BUSY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
WHOLE = settings(max_examples=60, deadline=None, suppress_health_check=BUSY)


@WHOLE
@given(
    records=st.lists(RECORDS, min_size=1, max_size=6),
    alike=st.booleans(),
    spaced=st.booleans(),
    odd=st.sampled_from(ODD),
    block=st.sampled_from([64, 1 << 20]),
)
def test_json_lines(
    tmp_path: Path, records: list[Any], alike: bool, spaced: bool, odd: str, block: int
) -> None:
    if alike:
        records = [record | {"properties": records[0].get("properties")} for record in records]
    text = "".join(dumped(record, spaced) + "\n" for record in records) + odd
    path = tmp_path / "a.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    before, bulk.BLOCK = bulk.BLOCK, block
    try:
        same(path)
    finally:
        bulk.BLOCK = before


@pytest.mark.parametrize("more", ['"amount":5', '"type":"track"'])
def test_other_fields_of_a_line_whose_properties_are_null_are_the_properties(
    tmp_path: Path, more: str
) -> None:
    path = tmp_path / "a.jsonl"
    text = '{"user_id":"u","event":"e","time":"2024-05-01T00:00:00Z","properties":null,%s}\n'
    path.write_text(text % more * 3)
    same(path)
    [events, *_] = understood(path, Mapped(), in_bulk=True)
    assert [len(properties) for *_, properties in events] == [1, 1, 1]


PLAIN = START + '{"a":"x","b":1}}\n'
# Beside plain lines, whose keys are counted: what counts as a key and is none, and keys that are not counted.
COUNTED = [
    PLAIN, START + '{"a":":x"}}\n', START + '{"a":":","c":1}}\n', START + '{"c" :1}}\n',
    START + '{"c"\t:1}}\n',
    START + '{"a":":x","c" :1}}\n', START + '{"a":1,"a":2}}\n', START + '{"a":1},"c":2}\n',
    START + '{"a":1},"c" :2}\n', START + '{"a":1},"user_id":"v"}\n', START + '{"a":" ,}","b":", ]"}}\n',
    START + '{"a":1,"b":null}}\n', START + '{"a":{"b":1}}}\n', START + '5}\n', START + '{}}\n', "{broken\n",
    '{"user_id":"u","event":"e","time":"2024-05-01T00:00:00Z"}\n', START + '{"a":1,},"c" :1}\n',
]  # fmt: skip


@pytest.mark.parametrize("odd", COUNTED)
@pytest.mark.parametrize(
    "shape", [PLAIN, '{"user_id":"u","event":"e","time":"2024-05-01T00:00:00Z","a":1}\n']
)
def test_a_line_unlike_the_others_is_found_by_the_count_of_keys(
    tmp_path: Path, odd: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    # So many that the odd one is not among those that are looked at for their keys.
    path.write_text(shape * 40 + odd + shape * 40)
    monkeypatch.setattr("events.bulk_json.LOOKED_AT", 10)
    same(path)


def test_lines_with_just_the_known_keys_are_not_asked_for_them_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(PLAIN * 3)
    monkeypatch.setattr("events.bulk_json.keys_in", lambda shapes: "error('asked') AS k")
    events, *_ = understood(path, Mapped(), in_bulk=True)
    assert len(events) == 3


CELLS = st.sampled_from([
    "u1", "play", "2024-05-01T10:00:00Z", "", '"a"', '"a,b"', '"a""b"', 'a"b', '"a"b', '"a\nb"', "x" * 300,
    "é", " ", "1.50", "2024-05-01", "1714521600", '"', " a", "NULL", "null", "a\rb", "\x01", '""',
    "$device:7", "$merge",
])  # fmt: skip
ROWS = st.one_of(
    st.tuples(st.just("u1"), st.just("play"), st.just("2024-05-01T10:00:00Z"), CELLS, CELLS).map(",".join),
    st.lists(CELLS, max_size=6).map(",".join),
)


@WHOLE
@given(
    rows=st.lists(ROWS, min_size=1, max_size=6),
    header=st.sampled_from(HEADERS),
    end=st.sampled_from(["\n", "\n", "\r\n"]),
    last=st.booleans(),
    block=st.sampled_from([40, 1 << 20]),
)
def test_csv(tmp_path: Path, rows: list[str], header: str, end: str, last: bool, block: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes((end.join([header, *rows]) + (end if last else "")).encode())
    before, bulk.BLOCK = bulk.BLOCK, block
    try:
        same(path)
    finally:
        bulk.BLOCK = before


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'u' || i AS user_id, 'a' AS event, TIMESTAMPTZ '2024-05-01 12:00:00+02' AS time, "
            "(i / 4)::DECIMAL(9, 2) AS price, i / 3 AS share, [i] AS tags, NULL AS gone, i % 2 = 0 AS even, "
            f"CASE WHEN i % 3 = 0 THEN 'x' END AS note FROM range(40) AS r(i)) TO '{path}'"
        )
    same(path)


def test_plain_lines_are_read_in_bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or all of this would be the reader of lines, twice."""
    path = tmp_path / "a.jsonl"
    record = {
        "user_id": "u",
        "event": "e",
        "time": "2024-05-01T10:00:00Z",
        "properties": {"a": "x", "n": 1.5},
    }
    path.write_text(json.dumps(record) + "\n")
    (tmp_path / "a.csv").write_text(
        'user_id,event,time,a,b\nu,e,2024-05-01T10:00:00Z,1,\nu,e,2024-05-01T10:00:00Z,"1,2",\n'
    )
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM read_json('{path}')) TO '{tmp_path / 'a.parquet'}'")
    monkeypatch.setattr("events.importing.stage_record", None)
    for name, count in (("a.jsonl", 1), ("a.csv", 2), ("a.parquet", 1)):
        events, _, bad, *_ = understood(tmp_path / name, Mapped(), in_bulk=True)
        assert (len(events), bad) == (count, 0)


def test_mapped_columns_and_constants(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("who,when,note\nu1,2024-05-01T10:00:00Z,x\n,2024-05-01T10:00:00Z,y\nu2,,z\n")
    same(path, Mapped({"user_id": "who", "time": "when"}, {"event": "it's"}))


def test_parquet_of_all_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        columns = [
            "CASE WHEN i % 7 > 0 THEN 'u' || i END AS user_id",
            "CASE WHEN i % 5 > 0 THEN 'd' || i % 3 END AS device_id",
            "CASE WHEN i % 11 = 0 THEN '' ELSE 'a' || chr(i % 40) END AS event",
            "TIMESTAMP '2024-05-01 12:00:00' + INTERVAL (i) HOUR AS time",
            "i::FLOAT / 3 AS f",
            "(i - 30) / 7 * power(10, i % 24 - 8) AS g",
            "(i / 4)::DECIMAL(15, 4) AS h",
            "i::DECIMAL(9, 0) AS j",
            "CASE i WHEN 4 THEN 'nan'::DOUBLE WHEN 5 THEN 'inf'::DOUBLE WHEN 6 THEN -0.0 ELSE i END AS n",
            "(i * -7)::SMALLINT AS s",
            "i % 2 = 0 AS even",
            "DATE '2024-05-01' + i::INT AS day",
            "CASE i WHEN 9 THEN 'infinity'::TIMESTAMP ELSE TIMESTAMP '2024-05-01 12:00:00.5' END AS at",
            "TIMESTAMPTZ '2024-05-01 12:00:00+02' AS zoned",
            "'x' || chr(i % 50) || '\"' AS text",
            "18446744073709551615::UBIGINT - i::UBIGINT AS big",
        ]
        connection.execute("CREATE TABLE rows AS SELECT unnest(range(80))::INT AS i")
        connection.execute(f"COPY (SELECT {', '.join(columns)} FROM rows) TO '{path}'")
    same(path)
    [events, *_] = understood(path, Mapped(), in_bulk=True)
    assert 0 < len(events) < 80


@given(
    st.one_of(
        st.tuples(st.lists(st.floats(), min_size=1, max_size=50), st.just("DOUBLE")),
        st.tuples(st.lists(st.floats(width=32), min_size=1, max_size=50), st.just("FLOAT")),
    )
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_of_parquet(tmp_path: Path, made: tuple[list[float], str]) -> None:
    path, (numbers, kind) = tmp_path / "a.parquet", made
    with duckdb.connect() as connection:
        rows = f"SELECT 'u' AS user_id, 'e' AS event, '2024-05-01' AS time, unnest($1)::{kind} AS x"
        connection.execute(f"COPY ({rows}) TO '{path}'", [numbers])
    same(path)


class Killed(BaseException):
    """As if the process ended."""


FILES = {
    "a.csv": ("user_id,event,time,n\n", "u{0},e,2024-05-01T10:00:{1:02}Z,{0}\n"),
    "a.jsonl": ("", '{{"user_id":"u{0}","event":"e","time":"2024-05-01T10:00:{1:02}Z","n":{0}}}\n'),
    "a.csv.gz": ("user_id,event,time,n\n", "u{0},e,2024-05-01T10:00:{1:02}Z,{0}\n"),
    "a.tsv": ("user_id\tevent\ttime\tn\n", "u{0}\te\t2024-05-01T10:00:{1:02}Z\t{0}\n"),
    "a.parquet": ("user_id,event,time,n\n", "u{0},e,2024-05-01T10:00:{1:02}Z,{0}\n"),
    "a.zip": ("", '{{"user_id":"u{0}","event":"e","time":"2024-05-01T10:00:{1:02}Z","n":{0}}}\n'),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.django_db
def test_an_import_that_was_killed_goes_on_where_it_was(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is staged once, bad lines and devices are counted once, and all of it is imported."""
    head, line = FILES[name]
    bad = line.format(99, 0).replace("2024-05-01", "yesterday")
    text = head + "".join(line.format(number, number % 60) for number in range(40)) + bad
    path = tmp_path / name
    path.write_text(text)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    if name.endswith(".zip"):
        half = text.index("\n", len(text) // 2) + 1
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.json", text[:half])
            archive.writestr("b.json.gz", gzip.compress(text[half:].encode()))
    if name.endswith(".parquet"):
        (tmp_path / "b.csv").write_text(text)
        with duckdb.connect() as connection:
            rows = f"SELECT * FROM read_csv('{tmp_path / 'b.csv'}', all_varchar=true)"
            connection.execute(f"COPY ({rows}) TO '{path}'")
    monkeypatch.setattr(bulk, "BLOCK", 300)
    monkeypatch.setattr(staging, "TABLE_ROWS", 7)
    monkeypatch.setattr(staging, "LINES", 7)
    parts: list[int] = []
    save = staging.Staging.save

    def dying(self: Any, traits: Any, lines: int, position: int) -> None:
        if len(parts) in (1, 3) and parts[-1] > 0:
            parts.append(0)
            raise Killed
        save(self, traits, lines, position)
        parts.append(lines)

    monkeypatch.setattr(staging.Staging, "save", dying)
    for _ in range(2):
        with pytest.raises(Killed):
            import_file("default", path)
        assert not ImportedFile.objects.exists()
    imported = import_file("default", path)
    assert (imported.rows, imported.bad_lines, imported.anonymous) == (40, 1, 0)
    assert len(imported.problems) == 1
    assert sum(parts) == 41
    assert list(Folders("default").staging.iterdir()) == []
    [file] = read_layout("default").events
    with duckdb.connect() as connection:
        written = connection.execute(f"SELECT event, user_id, time FROM '{file}'").fetchall()
    assert written == sorted(written) and len(written) == 40


@pytest.mark.django_db
def test_what_a_stopped_import_left_goes_after_a_day_or_with_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("user_id,event,time\nu1,e,2024-05-01\n")
    import_file("default", path)

    def die(*_: Any) -> None:
        raise Killed

    folders = Folders("default")
    with monkeypatch.context() as dying:
        dying.setattr("events.importing.publish", die)
        for _ in range(2):
            with pytest.raises(Killed):
                import_file("default", path, again=True)
    [left] = folders.staging.iterdir()
    compact("default")
    assert left.exists()
    hours_ago = time.time() - 2 * 3600
    os.utime(left, (hours_ago, hours_ago))
    compact("default")
    assert left.exists()
    delete_people("default", ["u1"], "ann")
    assert not left.exists()
    left.mkdir()
    os.utime(left, (hours_ago - RESUMABLE, hours_ago - RESUMABLE))
    compact("default")
    assert not left.exists()


# As warehouses export properties: JSON in a column of text.
TEXTS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=3).map(lambda value: dumped(value, False)),
    st.dictionaries(st.sampled_from(["a", "b", "note"]), VALUES, max_size=3).map(lambda v: dumped(v, True)),
    st.sampled_from([
        '{"a":1}', '{"a":1,"b":"x"}', "", " ", "{}", "null", "[]", '["a"]', "5", '"a"', "{broken",
        '{"a":NaN}',
        '{"a":1e400}', '{"a":1,"a":2}', '{"a":1,"a":null}', '{"a":null,"b":1}', '{"a":1,}', '{"a":[1,]}',
        '{"a":1} {}', ' {"a":1}', '{"a":1.50}', '{"a":-0}', '{"a":{"b":[1]}}', '{"a":18446744073709551616}',
        '{"a":"\\ud800"}', '{"a":"\\u0000"}', '{"a":"x\ty"}', '{"a" :1}', '{"note":"inner"}', '{"A":1}',
        '{"":1}',
    ]),
).map(lambda text: text.encode("utf-8", "replace").decode())  # fmt: skip
TABLE = st.lists(st.tuples(USERS.filter(lambda u: isinstance(u, str)), TEXTS), min_size=1, max_size=6)


def table_of(path: Path, rows: list[tuple[str, str]], note: bool) -> None:
    header = ["user_id", "event", "time", "properties", *(["note"] if note else [])]
    cells = [[user, "e", "2024-05-01T10:00:00Z", text, *(["x"] if note else [])] for user, text in rows]
    with duckdb.connect() as connection:
        columns = ", ".join(f"r[{number + 1}] AS {name}" for number, name in enumerate(header))
        options = "FORMAT parquet" if path.suffix == ".parquet" else "HEADER"
        connection.execute(
            f"COPY (SELECT {columns} FROM (SELECT unnest($1::VARCHAR[][]) AS r)) TO '{path}' ({options})",
            [cells],
        )


@WHOLE
@given(rows=TABLE, note=st.booleans(), kind=st.sampled_from(["csv", "parquet"]))
def test_json_texts_of_properties(tmp_path: Path, rows: list[tuple[str, str]], note: bool, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    table_of(path, rows, note)
    same(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_plain_json_texts_of_properties_are_read_in_bulk(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{kind}"
    table_of(path, [("u1", '{"a":1.5,"b":"x, y"}'), ("u2", ""), ("u3", '{"b":null}')], note=True)
    monkeypatch.setattr("events.importing.stage_record", None)
    events, _, bad, *_ = understood(path, Mapped(), in_bulk=True)
    found = {user: properties for user, _, _, _, properties in events}
    assert found == {"u1": {"note": "x", "a": "1.5", "b": "x, y"}, "u2": {"note": "x"}, "u3": {"note": "x"}}
    assert bad == 0


# Lines of Amplitude's export, with what its API's lines have in their place, too.
KEPT_OUTSIDE = st.one_of(VALUES, st.sampled_from(["iOS", "DE", "", 9.5]))
KEPT_WITHIN = st.one_of(NAMES, st.sampled_from(["platform", "$price", "price", "Platform"]))
OF_EVENTS = st.dictionaries(KEPT_WITHIN, VALUES, max_size=3)
AMPLITUDE = {
    "user_id": USERS,
    "event_type": EVENTS,
    "event_time": TIMES,
    "event_properties": st.one_of(OF_EVENTS, st.sampled_from([None, {}, [], "text", '{"a":1}'])),
    "user_properties": st.one_of(OF_EVENTS, st.sampled_from([None, [], 5])),
    "device_id": st.sampled_from(["d1", "d2", "", None, 7, "d" * 1024]),
    "$insert_id": st.sampled_from([None, "", "i1", 5, "x" * 256]),
    "uuid": st.sampled_from(["uu1", None, 1.5]),
    "insert_id": st.sampled_from([None, "ii"]),
    "platform": KEPT_OUTSIDE,
    "device_model": KEPT_OUTSIDE,
    "product_id": KEPT_OUTSIDE,
    "country": KEPT_OUTSIDE,
    "groups": VALUES,
    "time": st.just(1714521600123),
    "type": st.sampled_from(["identify", "alias", None]),
    "event": st.just("other"),
    "properties": st.just({"distinct_id": "x", "time": 1714521600}),
    "traits": st.just({"plan": "free"}),
    "anonymousId": st.just("d9"),
}
# A field or two unlike the others: a line that is odd all over would hide what is read otherwise.
UNLIKE = st.lists(
    st.sampled_from(sorted(AMPLITUDE)).flatmap(lambda name: st.tuples(st.just(name), AMPLITUDE[name])),
    max_size=2,
).map(dict)
EXPORTED = {
    "$insert_id": "i1", "app": 1, "city": None, "country": "DE", "data": {"path": "/x"}, "device_id": "d1",
    "event_properties": {"genre": "jazz", "$price": 9.5, "tags": ["a", 1]},
    "event_time": "2024-05-01 10:00:00.123000", "event_type": "play", "groups": {},
    "platform": "iOS", "price": None, "user_id": "u1", "uuid": "uu1",
    "user_properties": {"plan": "pro", "gone": None},
}  # fmt: skip


@WHOLE
@given(
    unlike=st.lists(UNLIKE, min_size=1, max_size=6),
    odd=st.sampled_from(ODD),
    block=st.sampled_from([64, 1 << 20]),
    kind=st.sampled_from(["a.json", "a.zip"]),
)
@example(unlike=[{"event_properties": {"platform": None, "$price": 1}}], odd="", block=1 << 20, kind="a.json")
@example(unlike=[{"user_properties": {"a": None}}, {"uuid": None}], odd="", block=1 << 20, kind="a.zip")
def test_amplitudes_export(tmp_path: Path, unlike: list[Any], odd: str, block: int, kind: str) -> None:
    lines = [dumped(EXPORTED | fields, False) + "\n" for fields in unlike]
    data = ("".join(lines) + odd).encode("utf-8", "surrogatepass")
    path = tmp_path / kind
    if kind == "a.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1/a.json.gz", gzip.compress(data))
            archive.writestr("1/b.json", b"\xef\xbb\xbf" + data[:-1])
    else:
        path.write_bytes(data)
    before, bulk.BLOCK = bulk.BLOCK, block
    try:
        same(path)
    finally:
        bulk.BLOCK = before


def test_plain_lines_of_amplitudes_export_are_read_in_bulk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.json.gz", "b.json.gz"):
            archive.writestr(name, gzip.compress((json.dumps(EXPORTED) + "\n").encode() * 2))
    monkeypatch.setattr("events.importing.stage_record", None)
    events, users, bad, _, owners, _ = understood(path, Mapped(), in_bulk=True)
    [(user, event, _, insert_id, properties), *more] = events
    assert (user, event, insert_id, len(more), bad) == ("u1", "play", "i1", 3, 0)
    assert properties == {
        "genre": "jazz", "$price": "9.5", "tags": '["a",1]', "platform": "iOS", "country": "DE",
        "price": "9.5",
    }  # fmt: skip
    assert [said for _, _, said in users] == [[("gone", None), ("plan", "pro")]] * 4
    assert list(owners) == [(f"{PREFIX}d1", "u1")]
