"""Housekeeping: the request log within its bounds, old message ids, what replacements left behind."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Sum, Window
from django.utils import timezone

from receiving.models import MemberSet, Replacement, RequestLog, SeenMessage, Workspace
from receiving.store import empty_set

# A sender repeats a call within minutes, Segment's clients within a day.
KEEP_MESSAGES = timedelta(days=7)
# A session of pages that was not finished by then never will be.
KEEP_REPLACEMENTS = timedelta(days=1)
# What a call dropped it empties itself; a set that is still there after this was left by a crash.
EMPTY_AFTER = timedelta(minutes=10)
# Entries of unknown keys belong to no workspace.
NOBODYS_DAYS, NOBODYS_BYTES = 14, 16 * 1024 * 1024
ROWS = 1_000
# A workspace's log is looked after by the calls that fill it, whatever their answer: by one in so many of a
# process, and when a process has added such a part of what may be kept.
CALLS_BETWEEN, PARTS = 500, 10
_calls = count(1)
_added: dict[int, int] = {}


def prune(now: datetime | None = None) -> dict[str, int]:
    """Delete what is too old or too much; return how many rows of each kind went."""
    now = now or timezone.now()
    gone = sum(prune_log(workspace, now) for workspace in [None, *Workspace.objects.all()])
    return {
        "requests": gone,
        "messages": _prune_messages(now),
        "replacements": _prune_replacements(now),
        "members": _empty_dropped_sets(now),
    }


def prune_in_turn(workspace: Workspace, added: int) -> None:
    """Prune the log of the workspace that was called and `added` bytes, if it is this call's turn to."""
    _added[workspace.pk] = _added.get(workspace.pk, 0) + added
    if next(_calls) % CALLS_BETWEEN == 0 or _added[workspace.pk] * PARTS > workspace.log_max_bytes:
        _added[workspace.pk] = 0
        prune_log(workspace, timezone.now())


def prune_log(workspace: Workspace | None, now: datetime) -> int:
    """Delete a workspace's entries that are too old, and the oldest until the log is small enough."""
    days = workspace.log_days if workspace else NOBODYS_DAYS
    most = workspace.log_max_bytes if workspace else NOBODYS_BYTES
    mine = RequestLog.objects.filter(workspace=workspace)
    too_old = mine.filter(received_at__lt=now - timedelta(days=days)).order_by("-received_at")
    newest_first = Window(Sum("stored_bytes"), order_by=F("id").desc())
    too_much = mine.annotate(up_to_here=newest_first).filter(up_to_here__gt=most).order_by("-id")
    last = max(
        (entry for query in (too_old, too_much) for entry in query.values_list("id", flat=True)[:1]),
        default=0,
    )
    return _in_steps(lambda: _delete_some(workspace, last))


def _delete_some(workspace: Workspace | None, last: int) -> int:
    some = RequestLog.objects.filter(workspace=workspace, pk__lte=last).order_by("pk")[:ROWS]
    return RequestLog.objects.filter(pk__in=list(some.values_list("pk", flat=True))).delete()[0]


def _in_steps(step: Callable[[], int]) -> int:
    """Repeat a short transaction until it finds less than a step's rows."""
    gone = 0
    while True:
        with transaction.atomic():
            number = step()
        gone += number
        if number < ROWS:
            return gone


def _prune_messages(now: datetime) -> int:
    table = SeenMessage._meta.db_table
    before = now - KEEP_MESSAGES

    def step() -> int:
        """By a range of time: a bounded DELETE over a composite key is not to be had on SQLite."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT seen_at FROM {table} WHERE seen_at < %s ORDER BY seen_at LIMIT 1 OFFSET %s",
                [before, ROWS - 1],
            )
            row: Any = cursor.fetchone()
            if row is None:
                cursor.execute(f"DELETE FROM {table} WHERE seen_at < %s", [before])
            else:
                cursor.execute(f"DELETE FROM {table} WHERE seen_at <= %s", [row[0]])
            return int(cursor.rowcount)

    return _in_steps(step)


def _prune_replacements(now: datetime) -> int:
    old = Replacement.objects.filter(created_at__lt=now - KEEP_REPLACEMENTS)
    with transaction.atomic():
        gathered = list(old.exclude(member_set=None).values_list("member_set_id", flat=True))
        number = old.delete()[1].get("receiving.Replacement", 0)
        # Dropped as of long ago, so that they are emptied right after this.
        MemberSet.objects.filter(pk__in=gathered).update(dropped_at=now - EMPTY_AFTER)
    return number


def _empty_dropped_sets(now: datetime) -> int:
    left = MemberSet.objects.filter(dropped_at__lte=now - EMPTY_AFTER)
    return sum(empty_set(number) for number in list(left.values_list("pk", flat=True)))
