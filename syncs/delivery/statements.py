"""SQL that a driver executes with each few batches; by hand, since the ORM takes as long as a request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper


def _nothing(cursor: CursorWrapper) -> None:
    """Most statements have no result that anybody reads."""


@dataclass(frozen=True, slots=True)
class Statement:
    """`read` is given the cursor after the statement was executed: its row count, and its rows."""

    sql: str
    params: Sequence[Any]
    read: Callable[[CursorWrapper], None] = _nothing


def execute(statements: Sequence[Statement]) -> None:
    """Execute the statements one after another, within the caller's transaction."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.sql, statement.params)
            statement.read(cursor)


def execute_at_once(statements: Sequence[Statement]) -> None:
    """Execute the statements as a transaction of their own, in one round trip to PostgreSQL.

    Several statements in one text are one transaction there (a "simple query" of its protocol).
    What they return is read after the commit. With each round trip less, the threads that send are held up
    less, and the driver waits less often for its turn among them.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            ";\n".join(statement.sql for statement in statements),
            [value for statement in statements for value in statement.params],
        )
        for statement in statements:
            statement.read(cursor)
            cursor.nextset()
