"""Whom a partner held at a moment, since when, and by which batch: read from the runs that are kept.

A partner holds what its last run that ended well has brought it to; while a run was under way then, or after
one that did not end well, `certain` is False: it may have held anything in between. Users who were rejected
are members here, as they were meant to be; the batch that names them says how it ended.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cohorts import members
from syncs.choices import ADDING, DONE_RUNS, RunMode
from syncs.lifecycle import CannotRun
from syncs.models import Batch, Run, Sync

PAGE, LARGEST_PAGE = 1_000, 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """`version`: 0 for nobody. `run` brought the partner there."""

    version: int
    size: int
    run: Run | None
    certain: bool


@dataclass(frozen=True, slots=True)
class Row:
    """`run` and `batch`: those that brought the user there; None where that was pruned, or cannot be told."""

    user_id: str
    since: datetime | None
    run: int | None
    batch: int | None


def at(sync: Sync, moment: datetime) -> Held:
    """Return what the partner of a sync held at a moment. CannotRun when that is not known any more."""
    ended = sync.runs.filter(state__in=DONE_RUNS, finished_at__lte=moment).exclude(mode=RunMode.REPAIR)
    last = ended.order_by("-finished_at", "-pk").first()
    began = sync.runs.filter(started_at__lte=moment).exclude(mode=RunMode.REPAIR)
    unsure = began.filter(started_at__gt=last.finished_at) if last else began
    if last is None and sync.runs_done > sync.runs.filter(state__in=DONE_RUNS).count():
        raise CannotRun(
            "The runs of that time were pruned: what the partner held then is not known any more."
        )
    version = last.to_version if last and last.mode != RunMode.EMPTY else 0
    try:
        members.readable(sync.sent_id, version)
    except members.UnreadableVersion as error:
        raise CannotRun(str(error)) from None
    return Held(version, members.size_of(sync.sent_id, version), last, not unsure.exists())


def page(sync: Sync, held: Held, after: str, limit: int) -> list[Row]:
    """Return up to `limit` users whom the partner held, who follow `after`, in the order of their ids."""
    if held.run is None or held.version == 0:
        return []
    users = members.in_version_page(sync.sent_id, held.version, after, limit)
    entered = members.since(sync.sent_id, held.version, users)
    runs = _runs_until(sync, held.run)
    brought = {user: _first_with(runs, entered[user]) for user in users}
    batches = _batches({run.pk for run in brought.values() if run}, users)
    rows = []
    for user in users:
        run = brought[user]
        batch = batches[run.pk].of(user) if run else None
        if run is None:
            rows.append(Row(user, None, None, None))
        elif batch is None:
            rows.append(Row(user, run.finished_at, run.pk, None))
        else:
            rows.append(Row(user, batch.settled_at, run.pk, batch.number))
    return rows


def pages(sync: Sync, held: Held) -> Iterator[list[Row]]:
    after = ""
    while rows := page(sync, held, after, LARGEST_PAGE):
        yield rows
        after = rows[-1].user_id


def _runs_until(sync: Sync, last: Run) -> list[Run]:
    """Return the runs that ended well up to this one, since the partner last held nobody, oldest first."""
    ended = sync.runs.filter(state__in=DONE_RUNS, finished_at__lte=last.finished_at, pk__lte=last.pk)
    runs = list(ended.exclude(mode=RunMode.REPAIR).order_by("pk"))
    emptied = [index for index, run in enumerate(runs) if run.mode == RunMode.EMPTY]
    return runs[emptied[-1] + 1 :] if emptied else runs


def _first_with(runs: list[Run], entered: int) -> Run | None:
    """Return the first of the last runs in a row whose versions all had a user who entered at a version.

    A partner that was set back to a version before that lost the user in between.
    """
    found = None
    for run in reversed(runs):
        if run.to_version < entered:
            break
        found = run
    return found


def _batches(runs: set[int], users: list[str]) -> dict[int, "_Batches"]:
    """Return, by run, the batches that added some of these users, who are in order; in one query."""
    added = Batch.objects.filter(run__in=runs, step__in=ADDING)
    within = added.filter(last_user__gte=users[0], first_user__lte=users[-1]) if users else added.none()
    found: dict[int, list[Batch]] = {run: [] for run in runs}
    for batch in within.order_by("run", "number").defer("message", "request_head", "reply_head"):
        found[batch.run_id].append(batch)
    return {run: _Batches(batches) for run, batches in found.items()}


class _Batches:
    """Batches of one run, in their order."""

    def __init__(self, batches: list[Batch]) -> None:
        planned = [batch for batch in batches if batch.user_ids is None]
        self._planned = sorted(planned, key=lambda batch: batch.last_user)
        self._ends = [batch.last_user for batch in self._planned]
        self._named = {user: batch for batch in batches for user in batch.user_ids or ()}

    def of(self, user: str) -> Batch | None:
        if user in self._named:
            return self._named[user]
        index = bisect_left(self._ends, user)
        if index < len(self._planned) and self._planned[index].first_user <= user:
            return self._planned[index]
        return None
