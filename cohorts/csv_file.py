"""Reading user ids from a CSV file: one id a line, or a named column; plain or gzip; UTF-8."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast

from events.user_ids import InvalidUserId, check_user_id

# A first line that says one of these is a header, when no column was named.
HEADERS = {"user_id", "userid", "user id", "user", "id", "ids", "user_ids", "userids", "customer_id"}
LONGEST_CELL = 131_072  # csv's own limit
LONGEST_LINE = 1 << 20


class InvalidFile(ValueError):
    """What is wrong with the file, where, and what to do: a sentence for the person who brought it."""


class NoSuchColumn(InvalidFile):
    """The column that was named is not there once."""


def read_ids(
    file: IO[bytes], *, column: str = "", progress: Callable[[int], None] = lambda position: None
) -> Iterator[str]:
    """Yield the user ids of a file as they stand in it; blank lines are skipped.

    `column`: the header of the column with the ids; empty when the file has one id a line (a first
    line such as `user_id` is then taken for a header). `progress` is told the position in the file,
    in bytes, now and then. Raises InvalidFile, at the latest after the last line.
    """
    found = False
    try:
        with _opened(file) as text:
            for number, user_id in _cells(text, column, lambda: progress(file.tell())):
                try:
                    yield check_user_id(user_id)
                except InvalidUserId as error:
                    raise InvalidFile(f"Line {number:,}: the user id {error}.") from None
                found = True
    except UnicodeDecodeError as error:
        raise InvalidFile(f"The file is not valid UTF-8 ({error.reason}). Save it as UTF-8.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidFile(f"The file cannot be unpacked: {error}.") from None
    if not found:
        raise InvalidFile("The file holds no user ids.")


def _cells(text: IO[str], column: str, progress: Callable[[], None]) -> Iterator[tuple[int, str]]:
    # strict: a quote that is never closed would swallow the rest of the file as one user id.
    rows = csv.reader(_lines(text), strict=True)
    try:
        index = None
        for row in rows:
            if not row or row == [""]:
                continue
            if index is None:
                index, is_header = _header(row, column)
                if is_header:
                    continue
            elif index >= len(row):
                raise InvalidFile(f"Line {rows.line_num:,} has no column {index + 1}.")
            if not column and len(row) > 1:
                raise InvalidFile(
                    f"Line {rows.line_num:,} has {len(row)} columns; name the one with the ids."
                )
            if rows.line_num % 10_000 == 0:
                progress()
            yield rows.line_num, row[index]
    except csv.Error as error:
        raise InvalidFile(f"Line {rows.line_num:,}: {_in_words(str(error))}.") from None


def _in_words(error: str) -> str:
    if "field limit" in error:
        return f"a cell is longer than {LONGEST_CELL:,} characters"
    if "unexpected end" in error:
        return "a quoted cell has no closing quote"
    return 'a closing quote is followed by more text; write a quote inside a cell twice ("")'


def _header(row: list[str], column: str) -> tuple[int, bool]:
    """Return which column holds the ids, and whether this first row is a header."""
    if column:
        if row.count(column) != 1:
            known = ", ".join(name[:50] for name in row[:20])
            what = "several columns" if column in row else "no column"
            raise NoSuchColumn(f"The file has {what} named {column!r}; its first line says: {known}.")
        return row.index(column), True
    return 0, len(row) == 1 and row[0].strip().lower() in HEADERS


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[IO[str]]:
    """Read a file as text, unpacked; it stays open, for it belongs to the caller."""
    with ExitStack() as undo:
        data: Any = io.BufferedReader(cast("io.RawIOBase", file), 1 << 18)
        undo.callback(data.detach)
        if data.peek(2)[:2] == b"\x1f\x8b":
            data = undo.enter_context(gzip.GzipFile(fileobj=data))
        head = data.peek(4)[:4]
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise InvalidFile("The file is UTF-16. Save it as UTF-8 (in a spreadsheet: CSV UTF-8).")
        if head == b"PK\x03\x04":
            raise InvalidFile("The file is a zip archive or a spreadsheet. Export it as CSV.")
        text = io.TextIOWrapper(data, encoding="utf-8-sig", newline="")
        undo.callback(text.detach)
        yield text


def _lines(text: IO[str]) -> Iterator[str]:
    """Yield the lines; one without an end is refused before it fills the memory.

    A NUL is named here, since csv's own words for it differ by Python version.
    """
    number = 0
    while line := text.readline(LONGEST_LINE):
        number += 1
        if "\x00" in line:
            raise InvalidFile(f"Line {number:,} contains a NUL character: this is not a text file.")
        if len(line) == LONGEST_LINE:
            raise InvalidFile(f"Line {number:,} is longer than {LONGEST_LINE:,} characters.")
        yield line
