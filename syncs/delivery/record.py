"""What a driver writes in each transaction: the batches that it begins or judges, and their runs' counts.

The statements are made here and not by the ORM, which takes 0.1 to 0.3 ms for each, as long as a request,
and holds up the threads that send; and there is one for all batches.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models import Field
from django.utils import timezone

from syncs.delivery.statements import Statement
from syncs.models import Batch, Run

PROGRESS = (
    *("state", "tries", "requests", "unknown_outcome", "delivered", "status", "latency_ms"),
    *("message", "request_head", "reply_head", "settled_at", "job_id", "job_since", "job_polls", "job_due"),
)
COUNTS = ("added", "removed", "rejected", "undelivered", "requests", "retries", "note", "trouble")
# What both databases take as it is, without asking the field.
PLAIN = {str, int, bool, type(None)}


def batches(changed: Iterable[Batch]) -> list[Statement]:
    """Return what writes batches as they are now: a row for those about to be sent, else progress."""
    rows = {(batch.run_id, batch.number): batch for batch in changed}
    if not rows:
        return []
    fields, read, columns, marks, update = _upsert()
    values = [value for batch in rows.values() for value in _values(batch, fields, read)]

    def note_keys(cursor: CursorWrapper) -> None:
        for run, number, key in cursor.fetchall():
            rows[run, number].pk = key

    sql = (
        f"INSERT INTO {Batch._meta.db_table} ({columns}) VALUES {', '.join([marks] * len(rows))} "
        f"ON CONFLICT (run_id, number) DO UPDATE SET {update} RETURNING run_id, number, id"
    )
    return [Statement(sql, values, note_keys)]


def counts(runs: Iterable[Run]) -> Iterator[Statement]:
    """Yield what writes down what runs have done so far."""
    columns = ", ".join(f"{name} = %s" for name in COUNTS)
    for run in runs:
        values = [*(getattr(run, name) for name in COUNTS), run.pk]
        yield Statement(f"UPDATE {Run._meta.db_table} SET {columns} WHERE id = %s", values)


@cache
def _upsert() -> tuple[list["Field[Any, Any]"], Callable[[Batch], tuple[Any, ...]], str, str, str]:
    fields = [field for field in Batch._meta.concrete_fields if not field.primary_key]
    columns = ", ".join(str(field.column) for field in fields)
    marks = ", ".join(["%s"] * len(fields))
    read = attrgetter(*(field.attname for field in fields))
    return fields, read, columns, f"({marks})", ", ".join(f"{name} = excluded.{name}" for name in PROGRESS)


def _values(
    batch: Batch, fields: Sequence["Field[Any, Any]"], read: Callable[[Batch], tuple[Any, ...]]
) -> Iterator[Any]:
    batch.created_at = batch.created_at or timezone.now()  # of a new row
    for field, value in zip(fields, read(batch), strict=True):
        if type(value) in PLAIN:
            yield value
        elif isinstance(value, str):  # a state, an operation
            yield str(value)
        else:
            yield field.get_db_prep_save(value, connection)
