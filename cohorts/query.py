"""Members by a query of a person's own: one SELECT on a configured database, read-only.

Guarded twice. The parser lets through one SELECT of tables, by functions of a list (query_guard.py). The
connection is read-only, cannot reach files and is stopped when time is over; on PostgreSQL, its role must be
one that can do nothing else (query_role.py).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from sqlglot import exp

from cohorts.databases import Database, FileFolder, PostgreSQLServer, checked, open_database
from cohorts.query_columns import calls_by_a_dot
from cohorts.query_guard import RefusedQuery, guard
from cohorts.query_role import check_role
from events.engine import EngineError, Limits
from events.tables import InvalidTable
from events.user_ids import MAX_BYTES
from people import profiles
from people.profile_files import Fields, in_a_sentence
from people.profile_rows import Row, keep_rows
from people.profiles import MAX_TEXT

__all__ = ["RefusedQuery", "check_query", "compile_query", "configured", "guard", "members", "members_kept"]


class NotKept(EngineError):
    """What the query says of people cannot be kept."""

    code = "not_kept"


def members(
    database: str, sql: str, columns: Sequence[str] | None = (), *, limits: Limits | None = None
) -> Iterator[str]:
    """Yield the ids that a query returns as `user_id`: sorted, distinct, without NULL.

    `database` is a name of QUERY_DATABASES. Raises RefusedQuery and the EngineErrors of databases.py
    before the first id. `columns`: None lets it return others, which are not looked at.
    """
    source, compiled = _compiled(database, sql, columns)
    with source.ids(compiled, {}, limits or Limits.configured(), _temp()) as ids:
        yield from ids


@contextmanager
def members_kept(
    database: str, sql: str, fields: Fields, at: datetime
) -> Iterator[tuple[Iterator[str], str]]:
    """Keep further columns as fields of these people's profiles, as of `at`.

    Yields the ids as `members` does, and what was kept in a sentence. When one of the errors of `members`, or
    NotKept, is raised before, nothing was kept.
    """
    columns = list(dict.fromkeys(one.column for one in fields.mapped))
    source, compiled = _compiled(database, sql, columns)
    indexes = [columns.index(one.column) for one in fields.mapped]
    with source.answer(compiled, Limits.configured(), _temp()) as read:

        def rows() -> Iterator[Row]:
            for user_id, *cells in read():
                yield Row(checked(user_id), [cells[index] for index in indexes])

        try:
            kept, changed = keep_rows(fields, rows, at)
        except (InvalidTable, profiles.Refused) as error:
            raise NotKept(str(error)) from None
        yield (user_id for user_id, _ in groupby(row[0] for row in read())), in_a_sentence(kept, changed)


def _compiled(database: str, sql: str, columns: Sequence[str] | None) -> tuple[Database, str]:
    """Return a database, and a query that may run there."""
    source = configured(database)
    compiled = compile_query(sql, source, columns)
    if isinstance(source, PostgreSQLServer):
        check_on_postgresql(source, guard(sql, "postgres", columns=columns))
    return source, compiled


def _temp() -> Path:
    temp = Path(settings.EVENTS_DIR) / "temp"
    temp.mkdir(parents=True, exist_ok=True)
    return temp


def check_query(database: str, sql: str, columns: Sequence[str] | None = ()) -> None:
    """Raise RefusedQuery unless the database is configured and the query one that may run.

    `columns`: those that become fields; None: any.
    """
    compile_query(sql, configured(database), columns)


def check_on_postgresql(server: PostgreSQLServer, query: exp.Query) -> None:
    """Raise UnsafeRole or RefusedQuery: what the parser cannot know, the database is asked for."""
    with server.connected() as connection:
        check_role(connection)
        called = calls_by_a_dot(query, lambda table: columns_of(connection, table))
    if called:
        raise RefusedQuery(f"{called} is not plainly a column, and PostgreSQL might call a function by it.")


def columns_of(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Return a table's columns in their order, and the system's after them."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND NOT attisdropped "
        "ORDER BY attnum < 0, attnum",
        [table],
    )
    return [row[0] for row in rows]


def configured(name: str) -> Database:
    if name not in settings.QUERY_DATABASES:
        known = ", ".join(sorted(settings.QUERY_DATABASES)) or "none is configured"
        raise RefusedQuery(f"There is no database {name!r} in QUERY_DATABASES ({known}).")
    return open_database(settings.QUERY_DATABASES[name])


def compile_query(sql: str, database: Database, columns: Sequence[str] | None = ()) -> str:
    """Return the guarded query, wrapped so that rows of ids and `columns` come out sorted and distinct."""
    tables = database.tables() if isinstance(database, FileFolder) else None
    guarded = guard(sql, database.dialect, tables, columns)
    name_casts(guarded)
    named = {one.alias_or_name: one for one in guarded.selects}
    values = [exp.alias_(as_text(exp.column("user_id", table="q"), MAX_BYTES), "user_id")]
    for number, name in enumerate(columns or ()):  # none of those that are not looked at
        column = exp.column(name_of(named[name]), table="q")
        values.append(exp.alias_(as_text(column, 4 * MAX_TEXT), f"column_{number}"))
    rows = exp.select(*values).from_(guarded.subquery("q")).distinct()
    rows = rows.where(exp.not_(exp.Is(this=exp.column("user_id", table="q"), expression=exp.null())))
    order: exp.Expr = exp.column("user_id")
    if database.dialect == "postgres":
        order = exp.Collate(this=order, expression=exp.to_identifier("C", quoted=True))
    ordered = exp.Ordered(this=order, nulls_first=True)
    # The order is outside: PostgreSQL takes only plain columns into the order of a DISTINCT.
    returned = [exp.column(value.alias) for value in values]
    whole = exp.select(*returned).from_(rows.subquery("ids")).order_by(ordered)
    # Without the comments: no two parsers agree about what is inside of one.
    return whole.sql(database.dialect, comments=False)


def as_text(column: exp.Column, most: int) -> exp.Expr:
    """Return a column as text. One that is too long stays too long; its gigabytes stay where they are.

    Engines count characters, or bytes: a character has four at most.
    """
    text = exp.cast(column, "TEXT")
    return exp.Substring(this=text, start=exp.Literal.number(1), length=exp.Literal.number(most + 1))


def name_casts(query: exp.Query) -> None:
    """Name each selected cast by its column, email::text email: engines name it each in their own way."""
    for selected in query.selects:
        named = isinstance(selected, (exp.Column, exp.Star)) or selected.args.get("alias")
        if selected.alias_or_name and not named:
            selected.replace(exp.alias_(selected.copy(), selected.alias_or_name, quoted=True))


def name_of(selected: exp.Expr) -> exp.Identifier:
    """Return what a selected column is called, quoted as it is there."""
    found = selected.args["alias"] if isinstance(selected, exp.Alias) else selected.this
    assert isinstance(found, exp.Identifier)
    return found.copy()
