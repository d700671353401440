"""The members of a behavioral definition, and a preview of them."""

import heapq
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from sqlglot import exp

from cohorts.compile import compile_condition, compile_members
from cohorts.databases import Database, Embedded, open_database
from cohorts.definitions import Definition
from cohorts.definitions.grammar import CohortReference, Condition
from cohorts.dialects import OWN, ClickHouse, Compiled, Dialect, DuckDB, PostgreSQL, Tables, parquet
from cohorts.engine_process import EngineProcess, Job
from events.catalogue import unknown_events
from events.convert import quoted
from events.engine import Limits
from events.locks import own_folder
from events.naming import read_names
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
    with Round([definition], as_of, limits=limits, workspace=workspace) as alone:
        yield from alone.members(definition, cohorts=cohorts)


class Round(AbstractContextManager["Round"]):
    """Several definitions calculated as of one instant: a condition that they share is computed once.

    A shared set is kept in a file while the round lasts. Where events are in another database, that
    database computes each definition whole.
    """

    def __init__(
        self,
        definitions: Sequence[Definition],
        as_of: datetime,
        *,
        limits: Limits | None = None,
        workspace: str = DEFAULT_WORKSPACE,
    ) -> None:
        self.as_of, self.workspace, self.limits = as_of, workspace, limits or Limits.configured()
        # A condition with days or dates means something else in another zone.
        found = Counter((c, d.timezone) for d in definitions for c in dict.fromkeys(d.conditions()))
        self.shared = set() if settings.EVENTS_URL else {key for key, count in found.items() if count > 1}
        self.files: dict[tuple[Condition, str], Path] = {}
        self.folder = ExitStack()

    def __enter__(self) -> "Round":
        self.temp = self.folder.enter_context(own_folder(Folders(self.workspace).make().temp))
        self.engine = self.folder.enter_context(EngineProcess(self.limits, self.temp))
        return self

    def __exit__(self, *error: object) -> None:
        self.folder.close()

    def members(self, definition: Definition, *, cohorts: Cohorts) -> Iterator[str]:
        """Yield a definition's members, as the function `members` does."""
        source = Source.configured(self.workspace, definition, engine=self.engine)
        computed: dict[Condition, exp.Query] = {
            condition: exp.select("user_id").from_(parquet([str(self.file(condition, definition, source))]))
            for condition in definition.conditions()
            if (condition, definition.timezone) in self.shared and not isinstance(condition, CohortReference)
        }
        compiled = compile_members(definition, self.as_of, source.dialect, computed)
        relations = {source.relations[key]: cohorts(key) for key in sorted(definition.cohort_keys())}
        with source.database.ids(compiled.sql, relations, self.limits, self.temp) as ids:
            yield from ids

    def file(self, condition: Condition, definition: Definition, source: "Source") -> Path:
        """Return the file of a condition's set, written when it is first asked for."""
        key = (condition, definition.timezone)
        if key not in self.files:
            path = self.temp / f"shared-{len(self.files)}.parquet"
            compiled = compile_condition(condition, definition, self.as_of, source.dialect)
            self.engine.run(Job(f"COPY ({compiled.sql}) TO {quoted(str(path))} (FORMAT parquet)"))
            self.files[key] = path
        return self.files[key]


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
    def configured(
        cls,
        workspace: str,
        definition: Definition,
        user: str | None = None,
        engine: EngineProcess | None = None,
    ) -> "Source":
        """Our own files, or the tables at EVENTS_URL. `user` narrows every condition to one user."""
        relations = {key: f"cohort_{n}" for n, key in enumerate(sorted(definition.cohort_keys()), start=1)}
        temp, names = Folders(workspace).make().temp, read_names(workspace)
        if not settings.EVENTS_URL:
            files = DuckDB(read_layout(workspace), relations, user, names)
            return cls(Embedded(engine), files, relations, temp)
        database = open_database(settings.EVENTS_URL)
        dialect = {"postgres": PostgreSQL, "clickhouse": ClickHouse}[database.dialect]
        tables = OWN if settings.EVENTS_INSERT else Tables(**settings.EVENTS_TABLES)
        return cls(database, dialect(tables, relations, user, workspace, names), relations, temp)
