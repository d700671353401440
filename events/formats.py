"""Files of events, whatever their format, as records with their places.

CSV, JSON lines, Parquet, workbooks, and Amplitude's export (a zip of .json.gz); text may be gzipped. What a
text is (encoding, separator) is found by `events.tables`, as for files of members.
A line that cannot be read becomes a `Bad`; a file that is cut off or of no known kind raises UnreadableFile.
"""

import codecs
import csv
import gzip
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import duckdb
import orjson

from events.convert import quoted
from events.engine_errors import Unreadable
from events.tables import Hints, InvalidTable
from events.tables import workbook as workbooks
from events.tables.packing import (
    CHUNK,
    GZIP,
    HEAD,
    ZIP,
    Counted,
    is_content,
    limited,
    refuse_what_is_no_table,
)
from events.tables.text import Text, decoded, encoding_of

KINDS = ".csv, .tsv, .jsonl, .json, .parquet, .xlsx or .zip; .gz after any of the first four"
TEXTS = (".csv", ".tsv", ".txt")
OF_LINES = (".jsonl", ".ndjson", ".json")
PARQUET_ROWS = 100_000


class UnreadableFile(Exception):
    """The whole file is of no use; nothing of it is imported."""


@dataclass(frozen=True)
class Record:
    position: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Bad:
    position: str
    reason: str


Progress = Callable[[int], None]


def read(path: Path, progress: Progress = lambda done: None) -> Iterator[Record | Bad]:
    """Yield a file's records in its order. `progress` gets the number of bytes read of the file."""
    name = path.name.lower()
    with damaged(path):
        if name.endswith(".parquet"):
            yield from parquet(path)
        elif name.endswith(".xlsx"):
            yield from workbook(path)
        elif name.endswith(".zip"):
            yield from archive(path, progress)
        else:
            with path.open("rb") as file:
                yield from stream(name, file, "", lambda: progress(file.tell()))


def check_plain(path: Path) -> None:
    """Raise UnreadableFile for a pipe, a directory or a device: a file is read more than once; or OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableFile(
            f"{path.name} is no plain file. What comes by a pipe must be written to one first"
        )


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Raise UnreadableFile in place of the errors of a file that is damaged."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, duckdb.Error, Unreadable) as error:
        raise UnreadableFile(f"{path.name} is damaged or cut off: {error}") from None
    except InvalidTable as error:
        raise UnreadableFile(f"{path.name}: {error}") from None


def stream(name: str, file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    name, file = unpacked(name, file)
    if name.endswith(TEXTS):
        return rows(file, where, step)
    if name.endswith(OF_LINES):
        return lines(file, where, step)
    raise UnreadableFile(f"{name}: unknown kind of file; use {KINDS}")


def unpacked(name: str, file: IO[bytes]) -> tuple[str, IO[bytes]]:
    """Return what is in a gzip file, which may not inflate without end, and its name; any other as it is."""
    if not name.endswith(".gz"):
        return name, file
    packed = Counted(file)
    unpacking = gzip.GzipFile(fileobj=cast(IO[bytes], packed))
    return name[:-3], limited(cast(IO[bytes], unpacking), lambda: packed.count)


def archive(path: Path, progress: Progress) -> Iterator[Record | Bad]:
    done = 0
    for info, file in members(path, unpack=False):
        yield from stream(info.filename.lower(), file, f"{info.filename} ", lambda: None)
        done += info.compress_size
        progress(done)


def members(path: Path, *, unpack: bool = True) -> Iterator[tuple[zipfile.ZipInfo, IO[bytes]]]:
    """Yield the files of an archive, each open until the next; `unpack` those that are gzipped, too."""
    with zipfile.ZipFile(path) as archived:
        found = [info for info in archived.infolist() if is_content(info)]
        if not found:
            raise UnreadableFile(f"{path.name} is an empty archive")
        if any(info.flag_bits & 1 for info in found):
            raise UnreadableFile(f"{path.name} is encrypted; pack it without a password")
        for info in found:
            with archived.open(info) as packed:
                file = limited(packed, lambda size=info.compress_size: size)  # type: ignore[misc]
                yield info, unpacked(info.filename.lower(), file)[1] if unpack else file


def lines(file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    for number, line in enumerate(file, start=1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        if number % 5_000 == 0:
            step()
        yield parsed(f"{where}line {number:,}", line)


def parsed(position: str, line: bytes | str) -> Record | Bad:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Bad(position, f"is not JSON: {error}")
    if isinstance(value, list):
        return Bad(position, "is a list: each line must be a JSON object of its own")
    return Record(position, value) if isinstance(value, dict) else Bad(position, "is not a JSON object")


def rows(file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    text, last = text_of(file, step), ""
    written = text.lines()

    def noted() -> Iterator[str]:
        nonlocal last
        while last := next(written, ""):
            yield last

    reader = csv.reader(noted(), delimiter=text.delimiter, strict=True)
    header = header_of(reader, where)
    while True:
        position = f"{where}line {reader.line_num + text.skipped + 1:,}"
        torn = text.ends_otherwise(last)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Bad(position, f"is not CSV: {error}")
            continue
        if row and (torn or text.ends_otherwise(last)):
            yield Bad(
                position,
                "ends, or the one before it, in another way than the first: put such a cell in quotes",
            )
        elif len(row) == len(header):
            filled = zip(header, row, strict=True)
            yield Record(position, {name: value for name, value in filled if value != ""})
        elif row:
            yield Bad(position, f"has {len(row)} columns; the header has {len(header)}")


def text_of(file: IO[bytes], step: Callable[[], None]) -> Text:
    """Understand a text whose first line is a heading."""

    def chunks() -> Iterator[bytes]:
        yield head
        while chunk := file.read(CHUNK):
            step()
            yield chunk

    head = file.read(HEAD)
    if head[:2] == GZIP:
        raise InvalidTable("The file is packed with gzip: its name must end in .gz.")
    refuse_what_is_no_table(head)
    codec, guessed = encoding_of(head, "")
    # A byte that is not UTF-8 becomes a lone surrogate, which makes one line bad and not the file.
    errors = "replace" if codec.startswith("utf-16") else "surrogateescape"
    return Text(decoded(chunks(), "utf-8" if guessed else codec, errors), Hints(heading=True))


def workbook(path: Path) -> Iterator[Record | Bad]:
    """Rows of the first sheet; its first row names the columns."""
    with path.open("rb") as file:
        if file.read(4) != ZIP:
            raise UnreadableFile(f"{path.name}: unknown kind of file, and no workbook; use {KINDS}")
        file.seek(0)
        with workbooks.opened(file, Hints(heading=True)) as sheet:
            numbered = sheet.numbered()
            header = header_of((row for _, row in numbered), "")
            for at, row in numbered:
                filled = zip(header, row, strict=True)
                yield Record(f"row {at:,}", {name: value for name, value in filled if value != ""})


def heading_of(path: Path) -> list[str] | None:
    """Return the first line of a text of columns; None of a file of another kind."""
    with path.open("rb") as opened, damaged(path):
        name, file = unpacked(path.name.lower(), opened)
        if not name.endswith(TEXTS):
            return None
        text = text_of(file, lambda: None)
        return header_of(csv.reader(text.lines(), delimiter=text.delimiter, strict=True), "")


def header_of(reader: Iterator[list[str]], where: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"{where}the header cannot be read: {error}") from None
    if not header:
        raise UnreadableFile(f"{where}the first line is empty: it must name the columns")
    if twice := [name for number, name in enumerate(header) if name in header[:number]]:
        raise UnreadableFile(f"{where}the first line names the column {twice[0]!r} twice")
    return header


def parquet_lines(path: Path, first: int, progress: Progress) -> Iterator[bytes]:
    """Rows, from the row `first` on, as blocks of lines of JSON, as `parquet` reads them."""
    size = path.stat().st_size
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        counted = connection.execute("SELECT count(*) FROM read_parquet($1)", [str(path)])
        [(total,)] = counted.fetchall()
        rows = rows_as_json(connection, path, first, total)
        result = connection.execute(f"SELECT r::VARCHAR FROM ({rows})")
        done = first
        while batch := result.fetchmany(PARQUET_ROWS):
            yield b"".join([row.encode() + b"\n" for (row,) in batch])
            done += len(batch)
            progress(size * done // total)


def parquet(path: Path) -> Iterator[Record | Bad]:
    """Rows as the engine's JSON: times become texts in UTC, exact decimals numbers."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        result = connection.execute(rows_as_json(connection, path))
        number = 0
        while batch := result.fetchmany(5_000):
            for (row,) in batch:
                number += 1
                yield parsed(f"row {number:,}", row)


def rows_as_json(
    connection: duckdb.DuckDBPyConnection, path: Path, first: int = 0, count: int | None = None
) -> str:
    """Return SQL for a Parquet file's rows as JSON objects, r, with its columns' own names: DuckDB takes
    `Amount` and `amount` for one, and calls the second `amount_1`. `count` of them from the row `first`
    on, or all."""
    file = quoted(str(path))
    names = column_names(connection, path)
    kinds = [row[1] for row in connection.execute(f"DESCRIBE FROM read_parquet({file})").fetchall()]
    rows = f"read_parquet({file})"
    if count is not None:
        number = "file_row_number"
        chosen = f"{number} >= {first} AND {number} < {first + count}"
        rows = f"(SELECT * EXCLUDE ({number}) FROM read_parquet({file}, {number} = true) WHERE {chosen})"
    if len({name.lower() for name in names}) == len(names) and "BLOB" not in kinds:
        return f"SELECT to_json(t) AS r FROM {rows} AS t"
    # Some writers mark no column as text. What is none is an object, and so no user's id.
    as_text = "CASE WHEN {0} IS NOT NULL THEN coalesce(to_json(TRY(decode({0}))), {{hex: hex({0})}}) END"
    values = [as_text.format(f"c{n}") if kind == "BLOB" else f"c{n}" for n, kind in enumerate(kinds)]
    pairs = ", ".join(f"{quoted(name)}, {value}" for name, value in zip(names, values, strict=True))
    columns = ", ".join(f"c{number}" for number in range(len(names)))
    return f"SELECT json_object({pairs}) AS r FROM {rows} AS t({columns})"


def column_names(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    """Return the names of a Parquet file's columns, as they are written there."""
    found = connection.execute(
        f"SELECT name, coalesce(num_children, 0) FROM parquet_schema({quoted(str(path))})"
    )
    schema = iter(found.fetchall())
    return [skip_children(next(schema), schema) for _ in range(next(schema)[1])]


def skip_children(entry: tuple[str, int], schema: Iterator[tuple[str, int]]) -> str:
    """Return the name of a column of a Parquet schema, which lists what is nested in it behind it."""
    name, children = entry
    for _ in range(children):
        skip_children(next(schema), schema)
    return name
