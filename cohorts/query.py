"""Members by a query of a person's own: one SELECT on a configured database, read-only.

Guarded twice. The parser lets through one SELECT of tables, by functions of a list (query_guard.py). The
connection is read-only, cannot reach files and is stopped when time is over; on PostgreSQL, its role must be
one that can do nothing else (query_role.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from sqlglot import exp

from cohorts.databases import Database, FileFolder, PostgreSQLServer, open_database
from cohorts.query_columns import calls_by_a_dot
from cohorts.query_guard import RefusedQuery, guard
from cohorts.query_role import check_role
from events.engine import Limits
from events.user_ids import MAX_BYTES

__all__ = ["RefusedQuery", "check_query", "compile_query", "configured", "guard", "members"]


def members(database: str, sql: str, *, limits: Limits | None = None) -> Iterator[str]:
    """Yield the ids that a query returns in its one column, `user_id`: sorted, distinct, without NULL.

    `database` is a name of QUERY_DATABASES. Raises RefusedQuery and the EngineErrors of databases.py
    before the first id.
    """
    source = configured(database)
    compiled = compile_query(sql, source)
    if isinstance(source, PostgreSQLServer):
        check_on_postgresql(source, guard(sql, "postgres"))
    temp = Path(settings.EVENTS_DIR) / "temp"
    temp.mkdir(parents=True, exist_ok=True)
    with source.ids(compiled, {}, limits or Limits.configured(), temp) as ids:
        yield from ids


def check_query(database: str, sql: str) -> None:
    """Raise RefusedQuery unless the database is configured and the query one that may run."""
    compile_query(sql, configured(database))


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


def compile_query(sql: str, database: Database) -> str:
    """Return the guarded query, wrapped so that its ids come out sorted and distinct."""
    tables = database.tables() if isinstance(database, FileFolder) else None
    checked = guard(sql, database.dialect, tables)
    # A text that is too long stays too long; its gigabytes stay where they are.
    text = exp.cast(exp.column("user_id", table="q"), "TEXT")
    value = exp.Substring(this=text, start=exp.Literal.number(1), length=exp.Literal.number(MAX_BYTES + 1))
    rows = exp.select(exp.alias_(value, "user_id")).from_(checked.subquery("q")).distinct()
    rows = rows.where(exp.not_(exp.Is(this=exp.column("user_id", table="q"), expression=exp.null())))
    order: exp.Expr = exp.column("user_id")
    if database.dialect == "postgres":
        order = exp.Collate(this=order, expression=exp.to_identifier("C", quoted=True))
    ordered = exp.Ordered(this=order, nulls_first=True)
    # The order is outside: PostgreSQL takes only plain columns into the order of a DISTINCT.
    whole = exp.select("user_id").from_(rows.subquery("ids")).order_by(ordered)
    # Without the comments: no two parsers agree about what is inside of one.
    return whole.sql(database.dialect, comments=False)
