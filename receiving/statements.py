"""How this app runs SQL that it has written out."""

from collections.abc import Sequence
from typing import Any

from django.db import connection


def run(sql: str, parameters: Sequence[Any]) -> int:
    """Run a statement; return how many rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def run_in_order(sql: str, parameters: Sequence[Any]) -> int:
    """Run a statement that joins a table to given rows; it meets the table's rows in the order of those.

    PostgreSQL could also join by hashing, and then locks rows as they lie: two plans at once, and there is a
    deadlock. It also could take that for the quicker way while it has no statistics of a table just filled.
    """
    if connection.vendor != "postgresql":
        return run(sql, parameters)
    assert connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off; {sql}", parameters
        )
        cursor.nextset()
        cursor.nextset()
        return int(cursor.rowcount)


def column(sql: str, parameters: Sequence[Any]) -> list[Any]:
    """Return the first column of a query."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [row[0] for row in cursor.fetchall()]


def run_unsynced(sql: str, parameters: Sequence[Any] | dict[str, Any], *, returning: bool = False) -> Any:
    """Run a statement and commit it without waiting for the disk; return its first row, if it returns any.

    For what is about a call and not the call's own: after a power failure, the last counts of a rate limit or
    the last log entries may be missing. In a transaction that is open it is like any other statement.
    """
    if connection.in_atomic_block:
        return _first(sql, parameters, returning)
    if connection.vendor == "postgresql":
        return _first(f"SET LOCAL synchronous_commit TO OFF; {sql}", parameters, returning, results=2)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = NORMAL")
        try:
            return _first(sql, parameters, returning)
        finally:
            cursor.execute("PRAGMA synchronous = FULL")


def _first(sql: str, parameters: Any, returning: bool, results: int = 1) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        for _ in range(results - 1):
            cursor.nextset()
        return cursor.fetchone() if returning else None


# Locks of this app among PostgreSQL's advisory locks: any number beyond those of the lists will do.
LIST_LOCKS = 0x5EC1 << 48


def locked_column(list_number: int, sql: str, parameters: Sequence[Any], *, alone: bool) -> list[Any]:
    """Return the first column of a query that is made while a list is held, until the transaction ends.

    It is held together with other adds and removes, or alone. The query sees what was committed before.

    An advisory lock and no row lock, which would write to the row, so that even a call that changes nothing
    had to wait for the disk. SQLite has one writer at a time: a transaction here is one from its beginning.
    """
    assert connection.in_atomic_block
    if connection.vendor != "postgresql":
        return column(sql, parameters)
    lock = f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}(%s)"
    with connection.cursor() as cursor:
        # Two statements, so that the second has a view of its own, in one message to the server.
        cursor.execute(f"{lock}; {sql}", [LIST_LOCKS + list_number, *parameters])
        cursor.nextset()
        return [row[0] for row in cursor.fetchall()]
