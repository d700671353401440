"""Rejected users, users who differ, and users who were held, as CSV that is safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from cohorts.csv_export import FORMULA
from syncs.choices import DifferenceKind, RejectionKind, RejectionState
from syncs.held import Row
from syncs.models import Comparison, Rejection

# A spreadsheet takes a cell that begins with one of these for a formula, which may call programs.
COLUMNS = ("user_id", "sync", "wanted", "kind", "state", "code", "message", "tries", "first_at", "last_at")
PAGE = 2_000


class _HandsOn:
    """What csv writes to: hands the line on."""

    def write(self, line: str) -> str:
        return line


def lines(rejections: QuerySet[Rejection]) -> Iterator[str]:
    """Yield the file's lines, beginning with a byte order mark, without which Excel takes it for Latin-1."""
    writer = csv.writer(_HandsOn())
    yield "\ufeff" + writer.writerow(COLUMNS)
    rows = rejections.select_related("sync__cohort", "sync__destination").iterator(chunk_size=PAGE)
    for rejection in rows:
        yield writer.writerow([safe(value) for value in _row(rejection)])


def lines_of_differences(comparison: Comparison) -> Iterator[str]:
    """Yield the lines of a file of who differs, beginning with a byte order mark."""
    writer = csv.writer(_HandsOn())
    yield "\ufeff" + writer.writerow(("user_id", "what"))
    for row in comparison.differences.order_by("kind", "user_id").iterator(chunk_size=PAGE):
        yield writer.writerow((safe(row.user_id), DifferenceKind(row.kind).label))


def lines_of_held(pages: Iterable[list[Row]]) -> Iterator[str]:
    """Yield the lines of a file of whom a partner held, beginning with a byte order mark."""
    writer = csv.writer(_HandsOn())
    yield "\ufeff" + writer.writerow(("user_id", "since", "run", "batch"))
    for row in (row for page in pages for row in page):
        since = row.since.isoformat() if row.since else ""
        yield writer.writerow((safe(row.user_id), since, row.run or "", row.batch or ""))


def safe(value: object) -> str:
    """Return a cell that a spreadsheet takes for text."""
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _row(rejection: Rejection) -> tuple[Any, ...]:
    return (
        rejection.user_id,
        rejection.sync,
        "in" if rejection.wanted else "out",
        RejectionKind(rejection.kind).label,
        RejectionState(rejection.state).label,
        rejection.code,
        rejection.message,
        rejection.tries,
        rejection.first_at.isoformat(),
        rejection.last_at.isoformat(),
    )
