"""Events into the database at EVENTS_URL, where our own tables are (EVENTS_INSERT): see docs/behavioral.md.

What was inserted is durable when `insert` returns, and harmless when it comes again: an event is known by
its user, or device, and its message id; a property by its user and name, of which the last word counts; and
whose a device is by both.
"""

import itertools
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from events.devices import PREFIX
from events.event_tables import Event, Merge, Rows, Tables, Trait
from events.times import from_micros
from events.workspace_folders import workspaces

Row = TypeVar("Row")
# NUL in JSON, which PostgreSQL has not: \u0000 after no backslash, or an even number of them.
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def insert(
    workspace: str,
    events: bytes,
    traits: bytes,
    unnamed: Iterator[str] | None = None,
    origin: str = "",
    staged: str = "",
) -> int:
    """Insert lines of the spool (records.py), and return how many events are new. `unnamed` gives message
    ids to those that have none, `origin` is the import that they are of, `staged` the name under which events
    wait. Raises NotInserted, and Refused when the tables are missing."""
    unnamed = unnamed or (uuid.uuid4().hex for _ in itertools.count())
    rows = rows_of(workspace, events.split(b"\n")[:-1], traits.split(b"\n")[:-1], unnamed, origin)
    if staged:
        rows = rows._replace(events=[event._replace(workspace=staged) for event in rows.events])
    return inserted().insert(rows)


def all_workspaces() -> list[str]:
    """Return the workspaces that have a folder, or something in our tables. Raises NotInserted, Refused."""
    return sorted({*workspaces(), *(inserted().workspaces() if settings.EVENTS_INSERT else ())})


def inserted() -> Tables:
    """Return our tables at EVENTS_URL."""
    return own_tables(settings.EVENTS_URL)


@lru_cache(maxsize=4)
def own_tables(url: str) -> Tables:
    """Return the tables at an address, postgres://… or clickhouse://…"""
    # The drivers are slow to import, and a process that inserts needs one of them.
    if urlsplit(url).scheme.startswith("clickhouse"):
        from events.clickhouse import ClickHouse

        return ClickHouse(url)
    from events.postgresql import PostgreSQL

    return PostgreSQL(url)


# --- From lines to rows -------------------------------------------------------------------------


def rows_of(
    workspace: str,
    events: Iterable[bytes],
    traits: Iterable[bytes],
    unnamed: Iterator[str],
    origin: str = "",
) -> Rows:
    """Return what lines say, each kind sorted and without repeats: two inserts of the same rows then wait for
    each other in one order, and a statement meets each key once."""
    found: dict[tuple[str, ...], Event] = {}
    for line in events:
        event = _event(workspace, orjson.loads(line), unnamed, origin)
        found.setdefault(event[:4], event)
    last: dict[tuple[str, ...], Trait] = {}
    merges: dict[tuple[str, ...], Merge] = {}
    for line in traits:
        record = orjson.loads(line)
        at = from_micros(record["t"])
        for name, text in record["p"].items():
            if record["u"].startswith(PREFIX):
                merge = Merge(workspace, record["u"].removeprefix(PREFIX), text, at, origin)
                merges[merge[:3]] = min(merge, merges.get(merge[:3], merge))
            else:
                trait = Trait(workspace, record["u"], name, at, value_of(text), origin)
                last[trait[:3]] = max(trait, last.get(trait[:3], trait))
    return Rows(_sorted(found), _sorted(last), _sorted(merges))


def _sorted(rows: Mapping[tuple[str, ...], Row]) -> list[Row]:
    return [rows[key] for key in sorted(rows)]


def _event(workspace: str, record: dict[str, Any], unnamed: Iterator[str], origin: str) -> Event:
    who, of_device = record["u"].removeprefix(PREFIX), record["u"].startswith(PREFIX)
    properties = ",".join(f"{_json(name)}:{value_of(text)}" for name, text in record["p"].items())
    return Event(
        workspace,
        "" if of_device else who,
        who if of_device else "",
        (record["i"] or "").replace("\0", "") or next(unnamed),
        record["e"],
        from_micros(record["t"]),
        f"{{{properties}}}",
        origin,
    )


def value_of(text: str | None) -> str:
    """Return a property's value as JSON: a text, as it is in our files, but for lists and objects, of which
    conditions ask for parts."""
    if text is None:
        return "null"
    if text[:1] in ("[", "{"):
        try:
            return NUL.sub(r"\1", orjson.dumps(orjson.loads(text)).decode())
        except orjson.JSONDecodeError:
            pass
    return _json(text)


def _json(text: str) -> str:
    # PostgreSQL's JSON has no NUL.
    return orjson.dumps(text.replace("\0", "")).decode()
