"""Rows of a query, whose further columns are kept as fields of people's profiles.

Rows of one user are one word: what they say of a field are its values, in no order. NULL in all of them
unsets the field, an empty text says nothing. Only what differs from what is known is written, so that a
cohort that is calculated every hour does not write everybody every hour.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import Any, NamedTuple

import orjson

from events.tables import InvalidTable
from people import profiles
from people.profile_files import PAGE, Fields, Kept, fields_of, not_erased
from people.profiles import MOST_VALUES, Said
from people.tombstones import Tombstones


class Row(NamedTuple):
    """A user, and a cell for each of the columns that are asked for."""

    user_id: str
    cells: Sequence[str | None]


def keep_rows(fields: Fields, rows: Callable[[], Iterator[Row]], at: datetime) -> tuple[Kept, int]:
    """Keep what rows in the order of user ids say, as of `at`; return what, and how many values are new.

    They are read twice, so that what is wrong is found before anything is kept: raises InvalidTable for a
    value that is none, and profiles.Refused.
    """
    found = Kept()
    for _ in _people(fields, rows(), at, found):
        pass
    if not fields.skip_invalid:
        found.refuse_invalid()
    kept, changed, tombstones = Kept(), 0, Tombstones()
    names = sorted({one.field for one in fields.mapped})
    people = _people(fields, rows(), at, kept)
    while page := list(islice(people, PAGE)):
        known = profiles.store().values_of(fields.workspace, names, [said.user_id for said in page])
        news = [news for said in page if (news := _news(said, known.get(said.user_id, {}))).fields]
        changed += profiles.write(fields.workspace, not_erased(news, tombstones)) if news else 0
    return kept, changed


def _people(fields: Fields, rows: Iterator[Row], at: datetime, kept: Kept) -> Iterator[Said]:
    """Yield what is said of each user, with None for what is unset."""
    for user_id, mine in groupby(rows, key=lambda row: row.user_id):
        columns = _cells(user_id, mine, len(fields.mapped))
        cells = (
            (mapped, cell)
            for mapped, column in zip(fields.mapped, columns, strict=True)
            for cell in sorted(column - {None, ""}, key=str)
            if cell and cell.strip()
        )
        said = dict(fields_of(cells, f"User {user_id}", kept))
        kept.users += bool(said)
        not_null = {
            mapped.field for mapped, column in zip(fields.mapped, columns, strict=True) if column != {None}
        }
        unset = {mapped.field: None for mapped in fields.mapped if mapped.field not in not_null}
        yield Said(user_id, said | unset, at)


def _cells(user_id: str, rows: Iterator[Row], width: int) -> list[set[str | None]]:
    """Return the distinct cells of each column in a user's rows."""
    columns: list[set[str | None]] = [set() for _ in range(width)]
    for row in rows:
        for column, cell in zip(columns, row.cells, strict=True):
            column.add(cell)
            if len(column) > MOST_VALUES:
                raise InvalidTable(f"User {user_id} has more than {MOST_VALUES} values of one column.")
    return columns


def _news(said: Said, known: Mapping[str, Any]) -> Said:
    """Return what is said without what is known already; as JSON, where 1 and true are two values."""
    fields = {
        name: value
        for name, value in said.fields.items()
        if orjson.dumps(value) != orjson.dumps(known.get(name))
    }
    return said._replace(fields=fields)
