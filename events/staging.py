"""A file becomes staged events and users' properties: in bulk where it can, line by line where it must.

In the folder, events-*.parquet hold the events, each with its order in the file, traits-0.jsonl and
traits-*.parquet the users' properties, and state.json how far it is: whoever finds the folder after its
process died goes on there.
"""

import codecs
import csv
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Protocol, cast

import duckdb
import orjson

from events import bulk
from events.bulk import Fields, Names, Rows
from events.bulk_amplitude import export_of, export_rows
from events.bulk_csv import csv_rows
from events.bulk_json import json_rows, shapes_of
from events.bulk_parquet import Table, opened_rows, parquet_rows, table_of
from events.compact import limits
from events.convert import Connection, quoted
from events.disk import write_durably
from events.engine import connect
from events.formats import (
    OF_LINES,
    Bad,
    Progress,
    Record,
    column_names,
    damaged,
    members,
    parquet_lines,
    parsed,
    read,
    rows_as_json,
    unpacked,
)  # fmt: skip
from events.records import MAX_NAME, MAX_PROPERTIES
from events.tables.packing import is_content

# To be raised when what is staged changes: what an earlier release left is then not gone on with.
FORMAT = 2
STATE = "state.json"
# Lines that are read one by one are staged so many at a time.
LINES = 200_000
# Rows of a Parquet file that are read at a time.
TABLE_ROWS = 500_000

Line = Record | Bad | None


class Tally(Protocol):
    """What is counted of a file."""

    bad_lines: int
    anonymous: int
    problems: list[str]


@dataclass(frozen=True)
class Reader:
    """How the lines of a file are understood. `take` writes what a line says to the files of events and of
    users' properties, or counts it; `fields` says where lines with just these names have their fields, or
    None when they cannot be read in bulk; `owner` makes the line that says whose a device is. `usual`: nobody
    said which field is where."""

    take: Callable[[Record | Bad, IO[bytes], IO[bytes]], None]
    fields: Callable[[Sequence[str]], Fields | None]
    owner: Callable[[str, str, int], bytes]
    usual: bool
    tally: Tally


@dataclass
class State:
    """How far a file is staged: `parts` files, `lines` of it, `position` in its unpacked bytes, `traits`
    bytes of users' properties, the `names` that have columns; and what was counted."""

    parts: int = 0
    lines: int = 0
    position: int = 0
    traits: int = 0
    names: list[str] = field(default_factory=list)
    bad_lines: int = 0
    anonymous: int = 0
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> "State":
        try:
            return cls(**orjson.loads((folder / STATE).read_bytes()))
        except FileNotFoundError:
            return cls()


@dataclass(frozen=True)
class Block:
    """Some lines of a file, which end at `position`. `rows` yields ways to read them in bulk; `line` is the
    n-th as the reader takes it. Lines `alone` mean the same whatever stands before and behind them."""

    count: int
    position: int
    alone: bool
    rows: Callable[[Connection, Path], Iterator[Rows]]
    lines: Callable[[Sequence[int]], Iterator[Line]]


class Staging:
    """One file on its way into a folder."""

    def __init__(self, path: Path, folder: Path, reader: Reader, connection: Connection) -> None:
        self.path, self.folder, self.reader, self.connection = path, folder, reader, connection
        self.state = State.of(folder)
        self.names = Names(self.state.names)
        tally = reader.tally
        tally.bad_lines, tally.anonymous = self.state.bad_lines, self.state.anonymous
        tally.problems[:] = self.state.problems

    def part(self) -> Path:
        return self.folder / f"events-{self.state.parts:06}.parquet"

    def save(self, traits: IO[bytes], lines: int, position: int) -> None:
        """Keep how far it is: what was staged until here is not staged again."""
        traits.flush()
        tally, state = self.reader.tally, self.state
        state.parts, state.lines, state.position = state.parts + 1, state.lines + lines, position
        state.traits, state.names = traits.tell(), self.names.known
        state.bad_lines, state.anonymous, state.problems = tally.bad_lines, tally.anonymous, tally.problems
        write_durably(self.folder / STATE, orjson.dumps(asdict(state)))

    def run(self, progress: Progress) -> None:
        traits_file = self.folder / "traits-0.jsonl"
        traits_file.touch()
        with traits_file.open("r+b") as traits:
            traits.truncate(self.state.traits)
            traits.seek(self.state.traits)
            found = blocks(self.path, self.reader, self.connection, self.state, progress)
            # A row of CSV may go on in the next line: from there on the reader of lines knows best.
            if found is not None and all(self.take_block(block, traits) for block in found):
                return
            records = islice(read(self.path, progress), self.state.lines, None)
            while page := list(islice(records, LINES)):
                self.take_records(page, traits)

    def take_records(self, records: Sequence[Record | Bad], traits: IO[bytes]) -> None:
        lines = self.folder / "lines"
        with lines.open("wb") as events:
            for number, record in enumerate(records):
                self.reader.take(record, cast(IO[bytes], Numbered(events, number)), traits)
        if lines.stat().st_size:
            rows = bulk.of_lines(lines, self.state.lines)
            self.connection.execute(f"COPY ({rows}) TO {quoted(str(self.part()))} (FORMAT parquet)")
        self.save(traits, len(records), self.state.position)

    def take_block(self, block: Block, traits: IO[bytes]) -> bool:
        """Stage one block. Returns False, and nothing is staged, when its lines cannot be told apart."""
        if not self.make_plain(block):
            if not block.alone:
                return False
            bulk.nothing_plain(self.connection, block.count)
        lines = self.folder / "lines"

        def others(numbers: Sequence[int]) -> None:
            with lines.open("wb") as events:
                for number, line in zip(numbers, block.lines(numbers), strict=True):
                    if line is not None:
                        self.reader.take(line, cast(IO[bytes], Numbered(events, number)), traits)

        self.reader.tally.anonymous += bulk.count_anonymous(self.connection)
        for device, user_id, at in bulk.owners(self.connection):
            traits.write(self.reader.owner(device, user_id, at))
        bulk.write_part(self.connection, self.state.lines, others, lines, self.part())
        bulk.write_traits(self.connection, self.folder / f"traits-{self.state.parts:06}.parquet")
        self.save(traits, block.count, block.position)
        return True

    def make_plain(self, block: Block) -> bool:
        ways = block.rows(self.connection, self.folder / "block")
        while True:
            try:
                rows = next(ways, None)
                if rows is None:
                    return False
                if bulk.make_plain(self.connection, rows, self.names) == block.count:
                    return True
            except duckdb.OutOfMemoryException:
                raise
            except duckdb.Error:
                continue


def stage(path: Path, folder: Path, temp: Path, reader: Reader, progress: Progress) -> list[str]:
    """Stage a file, from where the folder has it on. Memory does not grow with it. Returns the properties
    that have a column in the staged files. Raises UnreadableFile."""
    with damaged(path), connect(limits(), temp) as connection:
        # Texts of times are those of formats.parquet.
        connection.execute("SET TimeZone = 'UTC'")
        staging = Staging(path, folder, reader, connection)
        staging.run(progress)
        return staging.names.known


class Numbered:
    """A file of staged events in which each bears the number of its line."""

    def __init__(self, file: IO[bytes], number: int) -> None:
        self.file, self.number = file, number

    def write(self, line: bytes) -> int:
        return self.file.write(b'{"r":%d,' % self.number + line[1:])


def blocks(
    path: Path, reader: Reader, connection: Connection, state: State, progress: Progress
) -> Iterator[Block] | None:
    """Return the blocks of a file that are not staged yet; None when none of it can be read in bulk."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        names = column_names(connection, path)
        fields, table = reader.fields(names), table_of(connection, path, names)
        if fields and table and "type" not in names and parquet_rows(table, fields, 0, 1):
            return table_blocks(table, fields, state, progress)
        return json_blocks(positions(parquet_lines(path, state.lines, progress)), "row", reader, state)
    if name.endswith(".zip") and all_of_lines(path):
        return archive_blocks(path, reader, state, progress)
    bare = name.removesuffix(".gz")
    if bare.endswith(OF_LINES):
        return json_blocks(read_blocks(path, name, 0, state, progress), "line", reader, state)
    if not bare.endswith(".csv") or not (header := simple_header(path, name)):
        return None
    fields = reader.fields(header)
    if fields is None or "type" in header:
        return None
    return csv_blocks(read_blocks(path, name, 1, state, progress), header, fields, state)


def all_of_lines(path: Path) -> bool:
    """Whether an archive has nothing but files of JSON lines."""
    with zipfile.ZipFile(path) as archived:
        names = [info.filename.lower() for info in archived.infolist() if is_content(info)]
    return all(name.removesuffix(".gz").endswith(OF_LINES) for name in names)


Positioned = Iterator[tuple[bytes, int]]


def read_blocks(path: Path, name: str, skipped: int, state: State, progress: Progress) -> Positioned:
    """Yield blocks of whole lines, and where each ends in the unpacked file."""
    with path.open("rb") as raw:
        file = unpacked(name, raw)[1]
        position = state.position
        skip(file, position)
        if not position:
            position = sum(len(file.readline()) for _ in range(skipped))
        mark = b"" if skipped or state.position else codecs.BOM_UTF8
        for block in bulk.blocks(file):
            position += len(block)
            yield block.removeprefix(mark), position
            mark = b""
            progress(raw.tell())


def archive_blocks(path: Path, reader: Reader, state: State, progress: Progress) -> Iterator[Block]:
    """Yield the blocks of an archive's files, one file after the other; what is staged is passed over."""
    position, done, staged = 0, 0, state.position
    for info, file in members(path):
        number, mark = 0, codecs.BOM_UTF8
        for data in bulk.blocks(file):
            position += len(data)
            count = bulk.count_lines(data)
            if position > staged:
                yield json_block(data.removeprefix(mark), position, f"{info.filename} line", number, reader)
            number, mark = number + count, b""
        done += info.compress_size
        progress(done)


def skip(file: IO[bytes], count: int) -> None:
    """Go on behind so many bytes, of a packed file, too."""
    while count and (passed := len(file.read(min(count, bulk.BLOCK)))):
        count -= passed


def positions(found: Iterator[bytes]) -> Positioned:
    return ((block, 0) for block in found)


def json_blocks(found: Positioned, what: str, reader: Reader, state: State) -> Iterator[Block]:
    for data, position in found:
        yield json_block(data, position, what, state.lines, reader)


def json_block(data: bytes, position: int, what: str, before: int, reader: Reader) -> Block:
    """Return lines of JSON as a block; so many are `before` it in their file."""

    def lines(numbers: Sequence[int]) -> Iterator[Line]:
        found = data.removesuffix(b"\n").split(b"\n")
        for index in numbers:
            there = found[index].strip()
            yield parsed(f"{what} {before + index + 1:,}", found[index]) if there else None

    def rows(connection: Connection, path: Path) -> Iterator[Rows]:
        if not bulk.is_simple(data):
            return
        path.write_bytes(data)
        if reader.usual and (export := export_of(data)):
            yield from export_rows(path, export)
        elif shapes := shapes_of(data, reader.fields):
            yield from json_rows(data, path, shapes)

    return Block(bulk.count_lines(data), position, True, rows, lines)


def csv_blocks(found: Positioned, header: Sequence[str], fields: Fields, state: State) -> Iterator[Block]:
    for data, position in found:
        count, first = bulk.count_lines(data), 2 + state.lines

        def lines(numbers: Sequence[int], data: bytes = data, first: int = first) -> Iterator[Line]:
            found = data.removesuffix(b"\n").split(b"\n")
            for index in numbers:
                yield csv_line(found[index], f"line {first + index:,}", header)

        def rows(
            connection: Connection, path: Path, data: bytes = data, count: int = count
        ) -> Iterator[Rows]:
            if bulk.is_simple(data):
                path.write_bytes(data)
                yield from csv_rows(connection, data, path, header, fields)

        yield Block(count, position, False, rows, lines)


def csv_line(line: bytes, where: str, header: Sequence[str]) -> Line:
    row = next(csv.reader([line.decode()], strict=True))
    if len(row) != len(header):
        return Bad(where, f"has {len(row)} columns; the header has {len(header)}")
    return Record(where, {name: cell for name, cell in zip(header, row, strict=True) if cell != ""})


def table_blocks(table: Table, fields: Fields, state: State, progress: Progress) -> Iterator[Block]:
    size = table.path.stat().st_size
    for first in range(state.lines, table.rows, TABLE_ROWS):
        count = min(TABLE_ROWS, table.rows - first)

        def rows(connection: Connection, _: Path, first: int = first, count: int = count) -> Iterator[Rows]:
            if found := opened_rows(connection, table, fields, first, count):
                yield found

        def lines(numbers: Sequence[int], first: int = first, count: int = count) -> Iterator[Line]:
            yield from parquet_records(table.path, first, count, numbers)

        yield Block(count, 0, True, rows, lines)
        progress(size * (first + count) // table.rows)


def parquet_records(path: Path, first: int, count: int, numbers: Sequence[int]) -> Iterator[Line]:
    wanted = iter(numbers)
    number = next(wanted, None)
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        result = connection.execute(rows_as_json(connection, path, first, count))
        index = 0
        while number is not None and (batch := result.fetchmany(5_000)):
            for (row,) in batch:
                if index == number:
                    yield parsed(f"row {first + index + 1:,}", row)
                    number = next(wanted, None)
                index += 1


def simple_header(path: Path, name: str) -> list[str]:
    """Return the columns of a CSV file whose first line everybody reads alike; otherwise none."""
    with path.open("rb") as raw:
        file = unpacked(name, raw)[1]
        head = file.readline()
    if not bulk.is_simple(head) or b'"' in head or not head.endswith(b"\n"):
        return []
    header = head.decode()[:-1].split(",")
    usable = len(header) > 1 and len(set(header)) == len(header) <= MAX_PROPERTIES
    return header if usable and all(0 < len(name) <= MAX_NAME for name in header) else []
