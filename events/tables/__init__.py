"""The one reader of tables, for members and events: what a file is, then its rows.

    with open_table(file, name="users.csv", hints=Hints()) as table:
        table.understood                # what it is, before anything is taken
        table.blocks(table.column_of_ids())

What is not certain is refused: Unsure says which of the Hints settles it. A file stays open, for it
belongs to whoever opened it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from events.tables import json_lines, parquet, workbook
from events.tables.errors import InvalidTable, NoSuchColumn, Unsure
from events.tables.headings import column_of_ids
from events.tables.packing import PARQUET, ZIP, Unpacked, unpacked
from events.tables.suspicious import Suspicions
from events.tables.text import Block, Page, Text, decoded, encoding_of, lines_of
from events.tables.understood import Hints, Understood

__all__ = [
    "Block",
    "Hints",
    "InvalidTable",
    "NoSuchColumn",
    "Page",
    "Suspicions",
    "Table",
    "Understood",
    "Unsure",
    "open_table",
]
SHOWN = 10


class Source(Protocol):
    """What each kind of table offers. `rows`: its first rows, with the heading."""

    separator: str
    heading: bool

    def blocks(self, column: int) -> Iterator[Block]: ...

    def pages(self) -> Iterator[Page]: ...


@dataclass(frozen=True, slots=True)
class Table:
    """A file that was understood. Its rows can be read once."""

    understood: Understood
    source: Source
    hints: Hints

    def column_of_ids(self) -> int:
        """Return the column with the user ids. Raises NoSuchColumn and Unsure."""
        known = self.understood
        first = known.columns if known.heading or not known.rows else known.rows[0]
        return column_of_ids(first, self.hints.column, heading=known.heading)

    def blocks(self, column: int) -> Iterator[Block]:
        """Yield the cells of one column, in the order of the file. Raises InvalidTable."""
        for block in self.source.blocks(column):
            if self.understood.guessed_encoding:
                _refuse_guessed_letters(block)
            if self.understood.maybe_json:
                _refuse_backslashes(block)
            yield block

    def column(self, name: str) -> int:
        """Return the column of this heading or number. Raises NoSuchColumn."""
        known = self.understood
        first = known.columns if known.heading or not known.rows else known.rows[0]
        return column_of_ids(first, name, heading=known.heading)

    def pages(self, columns: Sequence[int]) -> Iterator[Page]:
        """Yield rows, in the order of the file, with all their cells. Raises InvalidTable.

        Of a text whose letters were guessed, `columns` must be plain ASCII.
        """
        for page in self.source.pages():
            if self.understood.guessed_encoding:
                for column in columns:
                    _refuse_guessed_letters(
                        Block([row[column] for row in page.rows], page.numbers, page.word)
                    )
            yield page


def _refuse_guessed_letters(block: Block) -> None:
    for index, user_id in enumerate(block.ids):
        if not user_id.isascii():
            raise Unsure(
                f"{block.position(index)}: the file is not UTF-8, and {user_id[:50]!r} is right only if "
                "it is Windows-1252. Say the encoding, or save the file as UTF-8.",
                "encoding",
            )


def _refuse_backslashes(block: Block) -> None:
    for index, user_id in enumerate(block.ids):
        if "\\" in user_id:
            raise Unsure(
                f"{block.position(index)}: each line is a text in quotes, and {user_id[:50]!r} is one id as "
                "CSV and another as JSON lines. Say the format.",
                "kind",
            )


@contextmanager
def open_table(
    file: IO[bytes], *, name: str = "", hints: Hints | None = None, partial: bool = False
) -> Iterator[Table]:
    """Read the beginning of a file and understand it. Raises InvalidTable; among these Unsure.

    `name`: what the person calls it, whose ending counts where the content leaves it open.
    `partial`: the file is only the first part of one, for a look at it.
    """
    hints = hints or Hints()
    with ExitStack() as undo:
        brought = undo.enter_context(unpacked(file, name, partial=partial))
        if brought.head[:4] == PARQUET or hints.kind == "parquet":
            path = undo.enter_context(brought.on_disk())
            rows = undo.enter_context(parquet.opened(path))
            yield Table(_known("parquet", brought, rows, tuple(rows.columns), rows.rows), rows, hints)
        elif brought.head[:4] == ZIP:
            path = undo.enter_context(brought.on_disk())
            sheet = undo.enter_context(workbook.opened(undo.enter_context(Path(path).open("rb")), hints))
            names: dict[str, Any] = {"sheet": sheet.name, "sheets": sheet.sheets}
            known = _known("xlsx", brought, sheet, _columns(sheet), sheet.rows, **names)
            yield Table(known, sheet, hints)
        elif hints.kind == "xlsx":
            raise InvalidTable("The file is no workbook (.xlsx).")
        else:
            yield _text_table(brought, hints, partial)


def _text_table(brought: Unpacked, hints: Hints, partial: bool) -> Table:
    codec, guessed = encoding_of(brought.head, hints.encoding)
    texts = decoded(brought.chunks(), codec)
    if partial:
        texts = _whole_lines(texts)
    elif brought.whole:
        texts = iter(["".join(texts)])
    first = next(texts, "")
    texts = _again(first, texts)
    line = next((line for line in lines_of(first) if not line.isspace()), "")
    encoding = codec.removesuffix("-sig").removesuffix("-le").removesuffix("-be")
    if _is_json(brought.name, line, hints):
        lines = json_lines.Lines(texts)
        known = _known("jsonl", brought, lines, tuple(lines.columns), lines.rows, encoding=encoding)
        return Table(known, lines, hints)
    text = Text(texts, hints)
    found: dict[str, Any] = {"encoding": encoding, "guessed_encoding": guessed}
    found["maybe_json"] = not hints.kind and not brought.name.lower().endswith(".csv") and text.maybe_json
    return Table(_known("csv", brought, text, _columns(text), text.rows, **found), text, hints)


def _again(first: str, texts: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
        yield from texts


def _whole_lines(texts: Iterator[str]) -> Iterator[str]:
    """Yield the first piece without a last line that may be cut off."""
    first = next(texts, "")
    end = max(first.rfind("\n"), first.rfind("\r")) + 1
    yield first[:end] if end else first


def _is_json(name: str, line: str, hints: Hints) -> bool:
    if hints.kind:
        return hints.kind == "jsonl"
    return name.lower().endswith((".jsonl", ".ndjson", ".json")) or json_lines.looks_like_json(line)


def _columns(source: Text | workbook.Sheet) -> tuple[str, ...]:
    if source.heading:
        return tuple(source.rows[0])
    return tuple(f"column {number}" for number in range(1, source.width + 1))


def _known(
    kind: str,
    brought: Unpacked,
    source: Source,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[str]],
    **values: Any,
) -> Understood:
    first = int(source.heading and kind in ("csv", "xlsx"))
    return Understood(
        kind=kind,
        packed=brought.how,
        separator=source.separator,
        heading=source.heading,
        columns=columns,
        rows=tuple(tuple(row) for row in rows[first : first + SHOWN]),
        **values,
    )
