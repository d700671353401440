"""A file becomes staged events and users' properties: in bulk where it can, line by line where it must.

In the folder, events-*.parquet and events-*.jsonl hold the events in the order of the file, traits-0.jsonl
the users' properties.
"""

import codecs
import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, cast

import duckdb

from events import bulk
from events.bulk import Fields
from events.compact import limits
from events.convert import Connection
from events.engine import connect
from events.formats import Bad, Progress, Record, damaged, parquet_lines, parsed, read, unpacked

Line = Record | Bad | None


@dataclass(frozen=True)
class Reader:
    """How the lines of a file are understood. `take` writes what a line says to the files of events and of
    users' properties, or counts it; `fields` says where lines with just these names have their fields, or
    None when they cannot be read in bulk."""

    take: Callable[[Record | Bad, IO[bytes], IO[bytes]], None]
    fields: Callable[[Sequence[str]], Fields | None]


@dataclass(frozen=True)
class Block:
    """Some lines of a file. `events` makes SQL of them, or None; `line` is the n-th as the reader takes it.
    Lines `alone` mean the same whatever stands before and behind them."""

    data: bytes
    count: int
    alone: bool
    events: Callable[[Connection, Path], str | None]
    line: Callable[[int], Line]


def stage(path: Path, folder: Path, temp: Path, reader: Reader, progress: Progress) -> None:
    """Stage a file. Memory does not grow with it. Raises UnreadableFile."""
    name = path.name.lower()
    with damaged(path), (folder / "traits-0.jsonl").open("wb") as traits:
        if name.endswith(".zip") or not (found := blocks(path, name, reader, progress)):
            stage_lines(read(path, progress), folder / "events-0.jsonl", reader, traits)
            return
        staged = 0
        with connect(limits(), temp) as connection:
            for number, block in enumerate(found):
                if not stage_block(connection, block, folder, number, reader, traits):
                    break
                staged += block.count
            else:
                return
        # A row of CSV that may go on in the next line: from here on the reader of lines knows best.
        rest = islice(read(path, progress), staged, None)
        stage_lines(rest, folder / "events-999999.jsonl", reader, traits)


def stage_lines(records: Iterator[Record | Bad], target: Path, reader: Reader, traits: IO[bytes]) -> None:
    with target.open("wb") as events:
        for record in records:
            reader.take(record, events, traits)


def stage_block(
    connection: Connection, block: Block, folder: Path, number: int, reader: Reader, traits: IO[bytes]
) -> bool:
    """Stage one block. Returns False, and nothing is staged, when its lines cannot be told apart."""
    lines, target = folder / "lines", folder / f"events-{number:06}.parquet"

    def others(numbers: Sequence[int]) -> None:
        with lines.open("wb") as events:
            for index in numbers:
                line = block.line(index)
                if line is not None:
                    reader.take(line, cast(IO[bytes], Numbered(events, index)), traits)

    events = None
    try:
        if bulk.is_simple(block.data) and bulk.raw_lines(connection, block.data, folder / "block"):
            events = block.events(connection, folder / "block")
        if events:
            connection.execute(f"CREATE OR REPLACE TEMP TABLE plain AS {events}")
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        events = None
    if events is None:
        if not block.alone:
            return False
        connection.execute(bulk.NOTHING_PLAIN)
    bulk.write_part(connection, block.count, others, lines, target)
    return True


class Numbered:
    """A file of staged events in which each bears the number of its line."""

    def __init__(self, file: IO[bytes], number: int) -> None:
        self.file, self.number = file, number

    def write(self, line: bytes) -> int:
        return self.file.write(b'{"r":%d,' % self.number + line[1:])


def blocks(path: Path, name: str, reader: Reader, progress: Progress) -> Iterator[Block] | None:
    """Return the blocks of a file; None when no part of it can be read in bulk."""
    if name.endswith(".parquet"):
        return json_blocks(parquet_lines(path, progress), "row", reader, 1)
    bare = name.removesuffix(".gz")
    if bare.endswith((".jsonl", ".ndjson", ".json")):
        return json_blocks(read_blocks(path, name, 0, progress), "line", reader, 1)
    if not bare.endswith(".csv") or not (header := simple_header(path, name)):
        return None
    fields = reader.fields(header)
    if fields is None or "properties" in fields.columns or "type" in header:
        return None
    return csv_blocks(read_blocks(path, name, 1, progress), header, fields)


def read_blocks(path: Path, name: str, skipped: int, progress: Progress) -> Iterator[bytes]:
    with path.open("rb") as raw:
        file = unpacked(name, raw)[1]
        for _ in range(skipped):
            file.readline()
        mark = b"" if skipped else codecs.BOM_UTF8
        for block in bulk.blocks(file):
            yield block.removeprefix(mark)
            mark = b""
            progress(raw.tell())


def json_blocks(found: Iterator[bytes], what: str, reader: Reader, first: int) -> Iterator[Block]:
    for data in found:
        lines = data.removesuffix(b"\n").split(b"\n")
        keys = keys_of(lines[0])
        fields = reader.fields(keys) if keys else None

        def line(index: int, lines: Sequence[bytes] = lines, first: int = first) -> Line:
            return parsed(f"{what} {first + index:,}", lines[index]) if lines[index].strip() else None

        def events(
            connection: Connection, path: Path, keys: Sequence[str] = keys, fields: Fields | None = fields
        ) -> str | None:
            return bulk.json_events(keys, fields) if fields else None

        yield Block(data, len(lines), True, events, line)
        first += len(lines)


def keys_of(line: bytes) -> list[str]:
    """Return the keys of a line; none when SQL could not name them."""
    record = parsed("", line)
    keys = list(record.fields) if isinstance(record, Record) else []
    return keys if all(map(is_nameable, keys)) else []


def is_nameable(key: str) -> bool:
    return key.isascii() and key.isprintable() and bool(key) and not set(key) & set("\"\\'*")


def simple_header(path: Path, name: str) -> list[str]:
    """Return the columns of a CSV file whose first line everybody reads alike; otherwise none."""
    with path.open("rb") as raw:
        file = unpacked(name, raw)[1]
        head = file.readline()
    if not bulk.is_simple(head) or b'"' in head or not head.endswith(b"\n"):
        return []
    header = head.decode()[:-1].split(",")
    return header if len(header) > 1 and len(set(header)) == len(header) and all(header) else []


def csv_blocks(found: Iterator[bytes], header: Sequence[str], fields: Fields) -> Iterator[Block]:
    first = 2
    for data in found:
        lines = data.removesuffix(b"\n").split(b"\n")

        def line(index: int, lines: Sequence[bytes] = lines, first: int = first) -> Line:
            row = next(csv.reader([lines[index].decode()], strict=True))
            where = f"line {first + index:,}"
            if len(row) != len(header):
                return Bad(where, f"has {len(row)} columns; the header has {len(header)}")
            return Record(where, {name: cell for name, cell in zip(header, row, strict=True) if cell != ""})

        def events(connection: Connection, path: Path, data: bytes = data) -> str | None:
            return bulk.csv_events(connection, data, path, header, fields)

        yield Block(data, len(lines), False, events, line)
        first += len(lines)
