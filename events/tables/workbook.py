"""Workbooks (.xlsx): one sheet, row by row."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from typing import IO, Any

from events.tables.errors import InvalidTable
from events.tables.packing import check_workbook
from events.tables.text import BLOCK, SAMPLE, Block, Page, heading_of, pages_of
from events.tables.understood import Hints

# From here on a number of a workbook is not the one that was meant: it keeps 15 digits.
EXACT = 10**15
Row = tuple[int, list[str]]


class Sheet:
    """The rows of a sheet as texts, as they come; blank ones are left out."""

    separator = ""

    def __init__(self, rows: Iterator[Row], hints: Hints, name: str, sheets: int) -> None:
        self.name, self.sheets = name, sheets
        self._rows = rows
        sample = list(islice(rows, SAMPLE))
        self.width = max((len(row) for _, row in sample), default=0)
        self._sample = sample
        self.rows: Sequence[Sequence[str]] = [self._padded(row) for _, row in sample]
        self.heading = bool(sample) and heading_of(self.rows, hints.heading, hints.column)

    def _padded(self, row: list[str]) -> list[str]:
        return row + [""] * (self.width - len(row))

    def numbered(self) -> Iterator[Row]:
        """Yield each row with its number in the sheet, the heading too."""
        for at, row in chain(self._sample, self._rows):
            if len(row) > self.width:
                raise InvalidTable(
                    f"Row {at:,} has {len(row)} columns; the first {SAMPLE:,} rows have {self.width}."
                )
            yield at, self._padded(row)

    def blocks(self, column: int) -> Iterator[Block]:
        rows = islice(self.numbered(), int(self.heading), None)
        while page := list(islice(rows, BLOCK)):
            yield Block([row[column] for _, row in page], [at for at, _ in page], "Row")

    def pages(self) -> Iterator[Page]:
        yield from pages_of(islice(self.numbered(), int(self.heading), None), "Row")


@contextmanager
def opened(file: IO[bytes], hints: Hints) -> Iterator[Sheet]:
    """Open a workbook's sheet. Raises InvalidTable."""
    # Only who brings a workbook pays for loading what reads it.
    import openpyxl

    check_workbook(file)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except Exception as error:  # noqa: BLE001  # the library raises whatever a broken part leads it to
        raise InvalidTable(f"The workbook cannot be read ({type(error).__name__}). Save it as CSV.") from None
    try:
        yield _sheet(book, hints)
    finally:
        book.close()


def _sheet(book: Any, hints: Hints) -> Sheet:
    names = [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"]
    if not names:
        raise InvalidTable("The workbook has no sheet with rows.")
    if hints.sheet and hints.sheet not in names:
        raise InvalidTable(f"The workbook has no sheet {hints.sheet!r}; it has: {', '.join(names[:20])}.")
    name = hints.sheet or names[0]
    sheet = book[name]
    # The size that a program wrote into the sheet may be wrong, and would cut rows off.
    sheet.reset_dimensions()
    return Sheet(_rows(sheet), hints, name, len(names))


def _rows(sheet: Any) -> Iterator[Row]:
    try:
        for at, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            row = [_text(cell) for cell in cells]
            while row and not row[-1]:
                row.pop()
            if row:
                yield at, row
    except InvalidTable:
        raise
    except Exception as error:  # noqa: BLE001  # the library raises whatever a broken part leads it to
        raise InvalidTable(f"The workbook cannot be read ({type(error).__name__}). Save it as CSV.") from None


def _text(cell: Any) -> str:
    """Return a cell as a text: whole numbers without decimals, those beyond 15 digits as Excel shows them."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, int | float):
        if abs(cell) >= EXACT:
            return f"{cell:.5E}"
        return str(int(cell)) if cell == int(cell) else repr(cell)
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return str(cell.total_seconds()) if isinstance(cell, timedelta) else str(cell)
