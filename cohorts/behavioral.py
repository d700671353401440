"""The members of a behavioral definition, and a preview of them."""

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings

from cohorts.compile import compile_members
from cohorts.databases import Database, Embedded, open_database
from cohorts.definitions import Definition
from cohorts.dialects import ClickHouse, Compiled, Dialect, DuckDB, PostgreSQL, Tables
from events.catalogue import unknown_events
from events.engine import Limits
from events.store import DEFAULT_WORKSPACE, Folders, read_layout

SAMPLE = 20
# A cohort's ids by its key; a preview and a refresh see the same published version.
Cohorts = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class Preview:
    """`unknown` names events that were never seen: a typing error, more often than not."""

    size: int
    sample: list[str]
    sentence: str
    sql: str
    unknown: list[str]


def members(
    definition: Definition,
    as_of: datetime,
    *,
    cohorts: Cohorts,
    limits: Limits | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> Iterator[str]:
    """Yield the members as of an instant: sorted by their bytes, distinct, in constant memory.

    Raises an EngineError (events/engine.py, cohorts/databases.py) before the first id; its `code` is one
    of too_large, timed_out, missing_table, query_failed, unavailable, invalid_ids.
    """
    source = Source.configured(workspace, definition)
    compiled = compile_members(definition, as_of, source.dialect)
    relations = {source.relations[key]: cohorts(key) for key in sorted(definition.cohort_keys())}
    with source.database.ids(compiled.sql, relations, limits or Limits.configured(), source.temp) as ids:
        yield from ids


def preview(
    definition: Definition,
    as_of: datetime,
    *,
    cohorts: Cohorts,
    limits: Limits | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> Preview:
    """Return the size, a sample that stays the same from one preview to the next, the sentence and the SQL.

    Raises as `members` does.
    """
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for user_id in members(definition, as_of, cohorts=cohorts, limits=limits, workspace=workspace):
            size += 1
            yield user_id

    sample = heapq.nsmallest(SAMPLE, counted(), key=lambda user_id: zlib.crc32(user_id.encode()))
    return Preview(
        size=size,
        sample=sorted(sample),
        sentence=definition.sentence(),
        sql=compiled_query(definition, as_of, workspace).pretty,
        unknown=[] if settings.EVENTS_URL else unknown_events(workspace, definition.event_names()),
    )


def compiled_query(definition: Definition, as_of: datetime, workspace: str = DEFAULT_WORKSPACE) -> Compiled:
    """Return the query of a definition, without running it."""
    return compile_members(definition, as_of, Source.configured(workspace, definition).dialect)


@dataclass(frozen=True)
class Source:
    """Where events are: the database, its dialect, and what other cohorts are called in its queries."""

    database: Database
    dialect: Dialect
    relations: dict[str, str]
    temp: Path

    @classmethod
    def configured(cls, workspace: str, definition: Definition, user: str | None = None) -> "Source":
        """Our own files, or the tables at EVENTS_URL. `user` narrows every condition to one user."""
        relations = {key: f"cohort_{n}" for n, key in enumerate(sorted(definition.cohort_keys()), start=1)}
        temp = Folders(workspace).make().temp
        if not settings.EVENTS_URL:
            return cls(Embedded(), DuckDB(read_layout(workspace), relations, user), relations, temp)
        database = open_database(settings.EVENTS_URL)
        dialect = {"postgres": PostgreSQL, "clickhouse": ClickHouse}[database.dialect]
        return cls(database, dialect(Tables(**settings.EVENTS_TABLES), relations, user), relations, temp)
