"""The columns of our Parquet files, and how a property's value becomes a column's.

events, sorted by (event, user_id, time):
    event, user_id   text; of a device, of which nobody has said whose it is, see devices.py
    time             timestamp, UTC, microseconds
    insert_id        text or NULL
    origin           key of the import that the row is of, or NULL; only in files of imports
    s7_category      text of the property that has number 7; NULL when missing
    n7_category      the same as a number, when it is one; only in files where one is
    rest             map of texts: every property, in files that have one without a number
traits, sorted by (name, user_id): name, user_id, time, s, n, perhaps origin; the empty name
stands for the user itself

A property gets a number when it is first seen, until MAX_COLUMNS have one: a column of its own reads
many times faster than a map, and thousands of columns would make each file slow to open. The number
stands in front of the name because the engine takes `Plan` and `plan` for one column.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from events.devices import OF_DEVICES

MAX_COLUMNS = 200
# A number as JSON writes it: "007" and "1,5" are texts.
# Bounded, so that every engine's double holds it.
NUMBER_PATTERN = r"-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?([eE][-+]?[0-9]{1,2})?"


def text_of(value: object) -> str | None:
    """Return a JSON value as the text that is stored; None for null."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def column_stem(number: int, name: str) -> str:
    """Return what follows the `s` or `n` of a property's columns: `7_category`."""
    return f"{number}_{re.sub(r'[^a-z0-9]+', '_', name.lower())[:40]}"


@dataclass(frozen=True)
class Layout:
    """What a query reads: files, and which columns they have.

    `owners` are the files that say whose devices are, which may be among `traits`. `columns` gives the
    number of each property that has one; `present` the columns that at least one file has; `has_rest` whether
    any file has properties without a number; `counts` how many events of each name came in, which decides
    what is computed first and nothing else.
    """

    events: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    columns: Mapping[str, int] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    has_rest: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    owners: tuple[str, ...] = ()

    @property
    def has_devices(self) -> bool:
        """Whether events are of devices, of which nobody knew whose they are when they came."""
        return OF_DEVICES in self.present

    def text_column(self, name: str) -> str | None:
        return self._column("s", name)

    def number_column(self, name: str) -> str | None:
        return self._column("n", name)

    def _column(self, kind: str, name: str) -> str | None:
        if name not in self.columns:
            return None
        column = kind + column_stem(self.columns[name], name)
        return column if column in self.present else None
