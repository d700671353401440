"""Files of events as people make them, at random: a line is taken exactly or named, or the file refused."""

import csv
import gzip
import io
import json
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from events.dry_run import look
from events.importing import Mapped
from events.tests.test_corpus import NASTY, OTHER_CELLS, plain
from events.tests.test_staging import understood
from events.times import micros

pytestmark = [pytest.mark.slow, pytest.mark.once, pytest.mark.django_db]

# Ways to write one moment, each exact.
EAST = timezone(timedelta(hours=5, minutes=30))
TIMES = [
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%SZ"),
    lambda t: t.strftime("%Y-%m-%d %H:%M:%S"),
    lambda t: t.strftime("%Y-%m-%d %H:%M:%S UTC"),
    lambda t: t.astimezone(EAST).isoformat(),
    lambda t: t.strftime("%Y-%m-%dT%H:%M:%S+0000"),
    lambda t: format_datetime(t),
    lambda t: str(int(t.timestamp())),
    lambda t: str(int(t.timestamp()) * 1_000),
    lambda t: str(int(t.timestamp()) * 1_000_000_000),
]
USERS = ("user_id", "userId", "distinct_id", "customer_id")
EVENTS = ("event", "event_name")
WHEN = ("time", "timestamp", "event_time", "originalTimestamp")
IDS = ("insert_id", "$insert_id", "messageId")
PROPERTIES = ["plan", "Preis", "a;b", "x,y", "first name", "ключ"]
VALUES = [*OTHER_CELLS, *NASTY[:20], "3.50", "true", "{}", "[1,2]"]

Event = tuple[str, str, int, str | None, dict[str, str]]


@dataclass(frozen=True)
class Made:
    content: bytes
    name: str
    events: list[Event]
    how: str


@st.composite
def histories(draw: Any) -> tuple[list[dict[str, str]], list[Event], list[str]]:
    """Rows by columns, what they mean, and the columns of properties."""
    user, event, when, insert = (draw(st.sampled_from(names)) for names in (USERS, EVENTS, WHEN, IDS))
    written_as = draw(st.sampled_from(TIMES))
    names = draw(st.lists(st.sampled_from(PROPERTIES), unique=True, max_size=3))
    has_id = draw(st.booleans())
    rows, meant = [], []
    for number in range(draw(st.integers(1, 8))):
        moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 10**7)))
        row = {
            user: draw(st.one_of(plain, st.sampled_from(NASTY))),
            event: draw(st.sampled_from(["play", "Order Completed", "a,b", "é;", '"', "Покупка"])),
            when: written_as(moment),
        }
        if has_id:
            row[insert] = draw(st.sampled_from([f"id-{number}", f"a;{number}", ""]))
        properties = {name: draw(st.sampled_from(VALUES)) for name in names}
        rows.append(row | properties)
        kept = {name: value for name, value in properties.items() if value}
        meant.append((row[user], row[event], micros(moment), row.get(insert) or None, kept))
    return rows, meant, names


def nested(row: dict[str, str], names: list[str]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in names} | {
        "properties": {name: row[name] for name in names if row[name]}
    }


@st.composite
def texts(draw: Any) -> Made:
    rows, meant, names = draw(histories())
    if draw(st.booleans()):  # as warehouses export it
        rows = [nested(row, names) for row in rows]
        rows = [row | {"properties": json.dumps(row["properties"])} for row in rows]
    columns = draw(st.permutations(list(rows[0])))
    separator = draw(st.sampled_from([",", ";", "\t", "|"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    written = io.StringIO(newline="")
    if draw(st.integers(0, 4)) == 0:
        written.write(f"sep={separator}{end}")
    writer = csv.DictWriter(written, columns, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    text = written.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(end)
    encoding = draw(
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "windows-1252"])
    )
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        assume(False)
    name = draw(st.sampled_from(["a.csv", "a.tsv", "a.txt", "A.CSV"]))
    return Made(content, name, meant, f"{separator!r} {end!r} {quoting} {encoding}: {text!r}")


@st.composite
def documents(draw: Any) -> Made:
    """JSON lines, properties beside the rest or within."""
    rows, meant, names = draw(histories())
    within = draw(st.booleans())
    found: list[Any] = [nested(row, names) for row in rows] if within else list(rows)
    if not within:  # an empty text is a value there
        meant = [
            (user, event, time, insert, {name: row[name] for name in names})
            for row, (user, event, time, insert, _) in zip(rows, meant, strict=True)
        ]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    ascii_only = draw(st.booleans())
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in found)
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig"]))
    name = draw(st.sampled_from(["a.jsonl", "a.ndjson", "a.json"]))
    return Made(text.encode(encoding), name, meant, text)


@st.composite
def sheets(draw: Any) -> Made:
    """Workbooks and Parquet."""
    rows, meant, names = draw(histories())
    columns = list(rows[0])
    if draw(st.booleans()):
        book = openpyxl.Workbook()
        try:
            for row in [columns, *([row[column] for column in columns] for row in rows)]:
                book.active.append(row)
        except openpyxl.utils.exceptions.IllegalCharacterError:
            assume(False)
        for cells in book.active.iter_rows():
            for cell in cells:
                cell.data_type = "s" if cell.value else cell.data_type
        stored = io.BytesIO()
        book.save(stored)
        assume("\r" not in json.dumps(rows).replace("\\r", "\r"))
        return Made(stored.getvalue(), "a.xlsx", meant, f"workbook {rows!r}")
    meant = [
        (user, event, time, insert, {name: row[name] for name in names})
        for row, (user, event, time, insert, _) in zip(rows, meant, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        path = Path(folder) / "a.parquet"
        quoted = ", ".join('"{}" VARCHAR'.format(column.replace('"', '""')) for column in columns)
        connection.execute(f"CREATE TABLE t ({quoted})")
        marks = ", ".join("?" * len(columns))
        for row in rows:
            connection.execute(f"INSERT INTO t VALUES ({marks})", [row[column] for column in columns])
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
        return Made(path.read_bytes(), "a.parquet", meant, f"parquet {rows!r}")


@st.composite
def files(draw: Any) -> Made:
    made = draw(st.one_of(texts(), texts(), documents(), sheets()))
    packing = draw(st.sampled_from(["", "", "gzip", "zip", "mac zip", "cut gzip", "cut"]))
    content, name = made.content, made.name
    is_text = not name.endswith((".xlsx", ".parquet"))
    if "gzip" in packing and is_text:
        content, name = gzip.compress(content), f"{name}.gz"
    elif "zip" in packing and is_text:
        stored = io.BytesIO()
        with zipfile.ZipFile(stored, "w") as archive:
            archive.writestr(f"export/{name}", content)
            if packing == "mac zip":
                archive.writestr(f"__MACOSX/export/._{name}", b"\0")
                archive.writestr("export/.DS_Store", b"\0\0")
        content, name = stored.getvalue(), "a.zip"
    if packing == "cut gzip" and is_text or packing == "cut" and not is_text:
        content = content[: len(content) * draw(st.integers(50, 99)) // 100]
    return Made(content, name, made.events, f"{packing} {name} {made.how}")


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=files())
def test_a_line_is_taken_exactly_or_named__or_the_file_is_refused_with_a_sentence(
    made: Made, tmp_path: Path
) -> None:
    path = tmp_path / made.name
    path.write_bytes(made.content)
    staged = understood(path, Mapped(), in_bulk=True)
    if staged[0] == "unreadable":
        assert staged[1].rstrip().endswith((".", "…", ")")) or ":" in staged[1], made.how
        return
    taken, users, bad, problems, *_ = staged
    taken = [(u, e, t, i, dict(p)) for u, e, t, i, p in taken]
    waiting = iter(made.events)
    assert all(any(event == meant for meant in waiting) for event in taken), made.how
    # A line that is torn in two is two bad ones.
    assert len(taken) + bad >= len(made.events), made.how
    assert len(problems) == min(bad, 20) and not users
    looked = look("default", path)
    assert (looked.rows, looked.bad_lines) == (len(taken), bad), made.how
