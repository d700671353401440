"""Files of events, whatever their format, as records with their places.

CSV, JSON lines, Parquet, and Amplitude's export (a zip of .json.gz); each but Parquet may be gzipped.
A line that cannot be read becomes a `Bad`; a file that is cut off or of no known kind raises UnreadableFile.
"""

import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import duckdb
import orjson

KINDS = ".csv, .jsonl, .json, .parquet or .zip; .gz after any of the first three"


class UnreadableFile(Exception):
    """The whole file is of no use; nothing of it is imported."""


@dataclass(frozen=True)
class Record:
    place: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Bad:
    place: str
    reason: str


Progress = Callable[[int], None]


def read(path: Path, progress: Progress = lambda done: None) -> Iterator[Record | Bad]:
    """Yield a file's records in its order. `progress` gets the number of bytes read of the file."""
    name = path.name.lower()
    try:
        if name.endswith(".parquet"):
            yield from parquet(path)
        elif name.endswith(".zip"):
            yield from archive(path, progress)
        else:
            with path.open("rb") as file:
                yield from stream(name, file, "", lambda: progress(file.tell()))
    except (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, duckdb.Error) as error:
        raise UnreadableFile(f"{path.name} is damaged or cut off: {error}") from None


def stream(name: str, file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    if name.endswith(".gz"):
        name, file = name[:-3], cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if name.endswith(".csv"):
        return rows(file, where, step)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return lines(file, where, step)
    raise UnreadableFile(f"{name}: unknown kind of file; use {KINDS}")


def archive(path: Path, progress: Progress) -> Iterator[Record | Bad]:
    with zipfile.ZipFile(path) as archived:
        done = 0
        members = [info for info in archived.infolist() if not info.is_dir()]
        if not members:
            raise UnreadableFile(f"{path.name} is an empty archive")
        for info in members:
            with archived.open(info) as file:
                yield from stream(info.filename.lower(), file, f"{info.filename} ", lambda: None)
            done += info.compress_size
            progress(done)


def lines(file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        if number % 5_000 == 0:
            step()
        yield parsed(f"{where}line {number:,}", line)


def parsed(place: str, line: bytes | str) -> Record | Bad:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Bad(place, f"is not JSON: {error}")
    return Record(place, value) if isinstance(value, dict) else Bad(place, "is not a JSON object")


def rows(file: IO[bytes], where: str, step: Callable[[], None]) -> Iterator[Record | Bad]:
    # A byte that is not UTF-8 becomes a lone surrogate, which makes one line bad and not the file.
    with io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        header = header_of(reader, where)
        while True:
            place = f"{where}line {reader.line_num + 1:,}"
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Bad(place, f"is not CSV: {error}")
                continue
            if reader.line_num % 5_000 == 0:
                step()
            if len(row) == len(header):
                filled = zip(header, row, strict=True)
                yield Record(place, {name: value for name, value in filled if value != ""})
            elif row:
                yield Bad(place, f"has {len(row)} columns; the header has {len(header)}")


def header_of(reader: Iterator[list[str]], where: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"{where}the header cannot be read: {error}") from None
    if not header or len(set(header)) < len(header):
        raise UnreadableFile(f"{where}the first line must name the columns, each once")
    return header


def parquet(path: Path) -> Iterator[Record | Bad]:
    """Rows as the engine's JSON: times become texts in UTC, exact decimals numbers."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        result = connection.execute("SELECT to_json(r) FROM read_parquet($1) AS r", [str(path)])
        number = 0
        while batch := result.fetchmany(5_000):
            for (row,) in batch:
                number += 1
                yield parsed(f"row {number:,}", row)
