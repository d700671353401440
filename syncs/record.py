"""What a driver writes for every batch: a row before it is sent, its outcome, its run's counts.

The statements are made once and not by the ORM for each batch: that takes 0.1 to 0.3 ms, as long as
a request, and holds up the threads that send.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from django.db import connection
from django.db.models import Field, Model

from syncs.models import Batch, Run

# What both databases take as it is, without asking the field.
PLAIN = {str, int, bool, type(None)}
Column: TypeAlias = "Field[Any, Any]"

PROGRESS = (
    *("state", "tries", "requests", "unknown_outcome", "delivered", "status", "latency_ms"),
    *("message", "request_head", "reply_head", "settled_at"),
)
COUNTS = ("added", "removed", "rejected", "requests", "retries", "note")


def begin(batches: Sequence[Batch]) -> None:
    """Insert the rows of batches that are about to be sent."""
    if not batches:
        return
    fields = [field for field in Batch._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(str(field.column) for field in fields)
    row = "(" + ", ".join(["%s"] * len(fields)) + ")"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {Batch._meta.db_table} ({columns}) VALUES {', '.join([row] * len(batches))} "
            "RETURNING run_id, number, id",
            [value for batch in batches for value in _values(batch, fields, add=True)],
        )
        keys = {(run, number): key for run, number, key in cursor.fetchall()}
    for batch in batches:
        batch.pk = keys[batch.run_id, batch.number]


def progress(batches: Sequence[Batch]) -> None:
    """Write how far batches are, or how they ended."""
    _save(Batch, PROGRESS, batches)


def counts(runs: Sequence[Run]) -> None:
    """Write what runs have done so far."""
    _save(Run, COUNTS, runs)


def _save(model: type[Model], names: tuple[str, ...], rows: Sequence[Model]) -> None:
    if rows:
        sql, fields = _update(model, names)
        with connection.cursor() as cursor:
            cursor.executemany(sql, [[*_values(row, fields, add=False), row.pk] for row in rows])


@lru_cache
def _update(model: type[Model], names: tuple[str, ...]) -> tuple[str, list[Column]]:
    by_name = {field.name: field for field in model._meta.concrete_fields}
    fields = [by_name[name] for name in names]
    columns = ", ".join(f"{field.column} = %s" for field in fields)
    return f"UPDATE {model._meta.db_table} SET {columns} WHERE id = %s", fields


def _values(row: Model, fields: Sequence[Column], *, add: bool) -> list[Any]:
    values = [field.pre_save(row, add) for field in fields]
    return [
        value if type(value) in PLAIN else field.get_db_prep_save(value, connection)
        for field, value in zip(fields, values, strict=True)
    ]
