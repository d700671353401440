"""Text: its encoding, its lines, its separator, and its cells, in blocks."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from events.tables.errors import InvalidTable, Unsure
from events.tables.headings import KNOWN, is_known, is_number, looks_like_heading
from events.tables.understood import NO_SEPARATOR, SEPARATORS, Hints

LONGEST_LINE = 1 << 20
LONGEST_CELL = 131_072  # csv's own limit
MOST_LINES = 500_000_000
SAMPLE = 1_000
BLOCK = 50_000
# Whole rows at a time, which may be wide.
PAGE = 5_000
# A delimiter that no text has: a noncharacter. An id that held it would be refused, not cut.
NEVER = "\U0010fffe"
STRAY = (
    "Line {:,} ends in another way than the first. If it is a part of an id, put the id in quotes; otherwise "
    "let all lines end alike."
)
PRINTED = "The file is a table as a terminal prints it. Export the ids as CSV."
SEP_LINE = re.compile(r'"?sep=(.)"?')


class Block(NamedTuple):
    """Some rows' cells of one column, and where they stand: `Line 7`."""

    ids: Sequence[str]
    numbers: Sequence[int]
    word: str

    def position(self, index: int) -> str:
        return f"{self.word} {self.numbers[index]:,}"


class Page(NamedTuple):
    """Some rows with all their cells, and where they stand."""

    rows: Sequence[Sequence[str]]
    numbers: Sequence[int]
    word: str

    def position(self, index: int) -> str:
        return f"{self.word} {self.numbers[index]:,}"


def pages_of(numbered: Iterable[tuple[int, Sequence[str]]], word: str) -> Iterator[Page]:
    """Yield rows that know their numbers in pages."""
    rows = iter(numbered)
    while page := list(islice(rows, PAGE)):
        yield Page([row for _, row in page], [at for at, _ in page], word)


def encoding_of(head: bytes, said: str) -> tuple[str, bool]:
    """Return the codec of a text and whether it was guessed. A byte-order mark is believed before all."""
    for mark, codec in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16")):
        if head.startswith(mark):
            return codec, False
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16", False
    if said:
        return ("utf-16-le" if said == "utf-16" else said), False
    even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
    if len(head) >= 4 and max(even, odd) * 4 > len(head[:4096]) and not min(even, odd):
        return ("utf-16-le" if odd else "utf-16-be"), False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "windows-1252", True
    return "utf-8", False


def decoded(chunks: Iterable[bytes], codec: str, errors: str = "strict") -> Iterator[str]:
    """Yield a text in pieces of whole lines, the last one with or without its end.

    With other `errors` a bad byte or a NUL is for whoever reads its line.
    """
    decoder = codecs.getincrementaldecoder(codec)(errors)
    rest, line = "", 1
    for chunk in chain(chunks, (None,)):
        try:
            text = rest + decoder.decode(chunk or b"", final=chunk is None)
        except UnicodeDecodeError as error:
            at = line + rest.count("\n") + (error.object[: error.start].count(b"\n"))
            raise InvalidTable(
                f"Line {at:,}: the file is not valid {_name_of(codec)} ({error.reason}). Save it as UTF-8."
            ) from None
        cut = len(text) if chunk is None else _last_line_end(text)
        if len(text) - cut >= LONGEST_LINE:
            at = line + text.count("\n")
            raise InvalidTable(f"Line {at:,} is longer than {LONGEST_LINE:,} characters.")
        if cut:
            whole, rest = text[:cut], text[cut:]
            if errors == "strict" and "\x00" in whole:
                at = line + whole[: whole.index("\x00")].count("\n")
                raise InvalidTable(f"Line {at:,} contains a NUL character: this is not a text file.")
            line += whole.count("\n")
            if line > MOST_LINES:
                raise InvalidTable(f"The file has more than {MOST_LINES:,} lines. Bring it in parts.")
            yield whole
        else:
            rest = text


def _name_of(codec: str) -> str:
    return {"utf-8-sig": "UTF-8", "windows-1252": "Windows-1252"}.get(codec, codec.upper())


def _last_line_end(text: str) -> int:
    """Return where the last whole line ends. A carriage return at the very end may be half an end."""
    return (text.rfind("\n") + 1) or text.rfind("\r", 0, max(0, len(text) - 1)) + 1


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines with their ends, be they \\n, \\r\\n or \\r."""
    return iter(io.StringIO(text, newline=""))


def separator_of(lines: Sequence[str], said: str) -> str:
    """Return what separates the columns of these first lines; '' for one id a line. Raises Unsure."""
    if said:
        return said
    known: list[str] = []
    alike: list[str] = []
    others: list[str] = []
    for separator in SEPARATORS:
        rows = _rows(lines, separator)
        width = len(rows[0]) if rows else 0
        share = sum(len(row) == width for row in rows) / len(rows) if rows else 0.0
        if width > 1 and any(map(is_known, rows[0])):
            known.append(separator)
        elif width > 1 and share >= 0.5:
            (alike if share == 1 else others).append(separator)
    if not (found := known or alike or others):
        _refuse_a_line_above_the_heading(lines)
        return ""
    if len(found) > 1:
        both = " or ".join(SEPARATORS[separator] for separator in found)
        raise Unsure(f"The columns may be separated by {both}. Say which.", "separator")
    return found[0]


def _is_rule(row: Sequence[str]) -> bool:
    """Say whether a row is one of those with which terminals frame a table and its heading."""
    return all(re.fullmatch(r"\s*(?:\+[-=+]+\+|-{4,}(?:[ +]-+)*)\s*", cell) for cell in row)


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the rows of some first lines; none when they are no such CSV. The last may be cut off."""
    try:
        return [row for row in csv.reader(lines, delimiter=separator, strict=True) if row]
    except csv.Error as error:
        if "unexpected end" not in str(error):
            return []
        return [row for row in csv.reader(lines, delimiter=separator) if row][:-1]


def _refuse_a_line_above_the_heading(lines: Sequence[str]) -> None:
    """Refuse what is one column in its first line and several, all alike, in the lines after it."""
    for separator, words in SEPARATORS.items():
        rows = _rows(lines, separator)
        widths = {len(row) for row in rows[1:]}
        # Ids of some login services hold a pipe, each of them.
        if separator == "|" and rows and is_known(rows[0][0], KNOWN):
            continue
        if len(rows) > 1 and len(widths) == 1 and min(widths) > 1:
            raise Unsure(
                f"The first line has one column, the lines after it have {min(widths)}, separated by "
                f"{words}. Remove what stands above the heading, or say that nothing separates columns.",
                "separator",
            )


def heading_of(rows: Sequence[Sequence[str]], said: bool | None, column: str) -> bool:
    """Say whether the first of these rows is a heading. Raises Unsure."""
    first = rows[0]
    if said is not None:
        return said
    if any(map(is_known, first)):
        return True
    if column and not is_number(column, len(first)):
        return True  # a column that has a name has a heading
    if len(first) > 1 and column and column not in first:
        shown = ", ".join(cell[:50] for cell in first[:20])
        raise Unsure(
            f"Is the first line ({shown}) a heading, or does it hold a user id? Say which.", "heading"
        )
    if len(first) == 1 and looks_like_heading(first[0], [row[0] for row in rows[1:] if row]):
        raise Unsure(f"Is the first line, {first[0][:100]!r}, a heading or a user id? Say which.", "heading")
    return False


class Text:
    """The rows of a text as they come: in blocks of one column, or one by one."""

    def __init__(self, texts: Iterator[str], hints: Hints) -> None:
        first = next(texts, "")
        if mark := SEP_LINE.fullmatch(next(lines_of(first), "").rstrip("\r\n")):
            # Spreadsheets write their separator into a first line of its own.
            hints = Hints(hints.column, hints.heading, hints.separator or mark[1], hints.encoding)
            self.skipped = 1
        else:
            self.skipped = 0
        self._texts = chain([first], texts)
        end = re.search("\r\n|\n|\r", first)
        # What may stand in a quoted cell, and nowhere else.
        self._stray = "\n" if end and end[0] == "\r" else "\r"
        sample = list(islice(lines_of(first), self.skipped, SAMPLE + self.skipped))
        written = [line for line in sample if line.strip("\r\n")]
        separator = separator_of(written, hints.separator)
        self.separator = "" if separator == NO_SEPARATOR else separator
        self.delimiter = NEVER if separator == NO_SEPARATOR else separator or ","
        rows = _rows(written, self.delimiter)
        self.rows = [row for row in rows if row != [""]]
        if hints.heading is None and any(map(_is_rule, self.rows[:2])):
            raise InvalidTable(PRINTED)
        if first and not written and len(first) > LONGEST_LINE // 8:
            raise InvalidTable("The file begins with nothing but blank lines. Remove them.")
        self.heading = bool(self.rows) and heading_of(self.rows, hints.heading, hints.column)
        # Where the first row cannot be read, reading it again says why.
        self.width = len(self.rows[0]) if self.rows else int(bool(written))
        quoted = all(line.startswith('"') and line.rstrip("\r\n").endswith('"') for line in written)
        self.maybe_json = quoted and self.width == 1 and not self.heading

    def lines(self) -> Iterator[str]:
        """Yield all lines, the heading too, for whoever names bad ones himself; `delimiter` splits them."""
        return islice(chain.from_iterable(map(lines_of, self._texts)), self.skipped, None)

    def ends_otherwise(self, line: str) -> bool:
        """Say whether a line ends in another way than the first, and may be a part of one."""
        return line.endswith(self._stray) and not line.endswith("\r\n")

    def blocks(self, column: int) -> Iterator[Block]:
        """Yield the cells of a column. Raises InvalidTable at the line that does not fit."""
        if self.width > 1:
            yield from self._by_csv(self._texts, column, 1)
            return
        number = 1
        for text in self._texts:
            if '"' in text or (self.delimiter in text):
                # A quoted cell may go on in the next piece: from here on csv reads them.
                yield from self._by_csv(chain([text], self._texts), column, number)
                return
            if "\r" in text:
                text = self._in_one_way(text, number)
            block = _plain_block(text, number)
            yield self._without_head(block) if number == 1 else block
            number += text.count("\n")

    def _in_one_way(self, text: str, number: int) -> str:
        """Return a text whose lines end in \\n."""
        text = text.replace("\r\n", "\n")
        if self._stray in text:
            at = re.compile(r"[\r\n]").split(text[: text.index(self._stray)])
            raise InvalidTable(STRAY.format(number + len(at) - 1))
        return text.replace("\r", "\n")

    def _without_head(self, block: Block) -> Block:
        """Leave out the line that names the separator, and the heading."""
        ids, numbers = block.ids, block.numbers
        cut = sum(number <= self.skipped for number in numbers[:1]) + self.heading
        return Block(ids[cut:], numbers[cut:], block.word)

    def pages(self) -> Iterator[Page]:
        """Yield whole rows. Raises InvalidTable at the line that does not fit."""
        rows = self.numbered()
        if self.heading:
            next(rows, None)
        yield from pages_of(self._fitting(rows), "Line")

    def _fitting(self, rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
        for at, row in rows:
            if len(row) != self.width:
                raise InvalidTable(self._misfit(at, row))
            yield at, row

    def _by_csv(self, texts: Iterable[str], column: int, number: int) -> Iterator[Block]:
        rows = self.numbered(texts, number)
        if number == 1 and self.heading:
            next(rows, None)
        while page := list(islice(self._fitting(rows), BLOCK)):
            yield Block([row[column] for _, row in page], [at for at, _ in page], "Line")

    def numbered(
        self, texts: Iterable[str] | None = None, number: int = 1
    ) -> Iterator[tuple[int, list[str]]]:
        """Yield each row that is not blank with the number of its (last) line."""
        line = ""

        def noted() -> Iterator[str]:
            nonlocal line
            pieces = self._texts if texts is None else texts
            skipped = self.skipped if number == 1 else 0
            lines = islice(chain.from_iterable(map(lines_of, pieces)), skipped, None)
            while line := next(lines, ""):
                yield line

        # strict: a quote that is never closed would swallow the rest of the file as one cell.
        reader = csv.reader(noted(), delimiter=self.delimiter, strict=True)
        before = number - 1 + (self.skipped if number == 1 else 0)
        try:
            for row in reader:
                if self.ends_otherwise(line):
                    raise InvalidTable(STRAY.format(before + reader.line_num))
                if row and row != [""]:
                    yield before + reader.line_num, row
        except csv.Error as error:
            raise InvalidTable(f"Line {before + reader.line_num:,}: {_in_words(str(error))}.") from None

    def _misfit(self, at: int, row: Sequence[str]) -> str:
        if self.width == 1:
            return f"Line {at:,} has {len(row)} columns; name the one with the ids."
        heads = "the heading" if self.heading else "the first line"
        columns = "column" if len(row) == 1 else "columns"
        return f"Line {at:,} has {len(row)} {columns}; {heads} has {self.width}."


def _plain_block(text: str, number: int) -> Block:
    ids = text.split("\n")
    if not ids[-1]:
        ids.pop()
    numbers: Sequence[int] = range(number, number + len(ids))
    if not all(ids):
        numbers = [at for at, user_id in zip(numbers, ids, strict=True) if user_id]
        ids = [user_id for user_id in ids if user_id]
    return Block(ids, numbers, "Line")


def _in_words(error: str) -> str:
    if "field limit" in error:
        return f"a cell is longer than {LONGEST_CELL:,} characters"
    if "unexpected end" in error:
        return "a quoted cell has no closing quote"
    return 'a closing quote is followed by more text; write a quote inside a cell twice ("")'
