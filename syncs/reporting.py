"""What commands print about runs: a table, JSON, a progress bar, and the exit code that follows."""

import json
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from syncs.choices import DONE_RUNS, DifferenceKind, RunMode, RunState
from syncs.models import Comparison, Run, Sync

if TYPE_CHECKING:
    from rich.progress import Progress

# Users whom an answer about a comparison names.
SAMPLE = 20
FIELDS = (
    *("mode", "trigger", "from_version", "to_version", "state", "reason", "note", "cohort_error"),
    *("planned_adds", "planned_removes", "added", "removed", "rejected", "undelivered"),
    *("requests", "retries"),
)


def as_json(runs: list[Run]) -> str:
    """Return the runs as a JSON array, times in ISO 8601."""
    return json.dumps([_row(run) for run in runs])


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.pk, "sync": str(run.sync)} | {n: getattr(run, n) for n in FIELDS}
    sync = run.sync
    row["held_version"] = None if sync.dirty else sync.settled_version
    row["cohort_version"] = sync.cohort.version
    for name in ("created_at", "started_at", "finished_at"):
        moment = getattr(run, name)
        row[name] = moment.isoformat() if moment else None
    return row


def as_text(run: Run) -> str:
    """Return one line about a run for a terminal, or a log."""
    did = f"{run.added:,} added, {run.removed:,} removed"
    if run.not_taken:
        did += f", {run.not_taken}"
    if run.finished_at and run.started_at:
        did += f", {(run.finished_at - run.started_at).total_seconds():.1f} s"
    said = f"{run.sync}: {run.get_state_display()}, version {run.versions}: {did}, {run.requests:,} requests."
    return " ".join(part for part in (said, run.reason, run.note, not_calculated(run)) if part)


def lines(runs: list[Run]) -> Iterator[str]:
    """Yield what a command says of runs when they have ended, and of partners that are not up to date."""
    for run in runs:
        yield as_text(run)
        destination = run.sync.destination
        if destination.is_paused:
            yield f"  {destination.name} is paused: {destination.pause_reason}"
    for sync in {run.sync_id: run.sync for run in runs if run.mode != RunMode.EMPTY}.values():
        if said := behind(sync):
            yield said


def compared(comparison: Comparison) -> str:
    """Return what a comparison has found, in a sentence."""
    if comparison.by_digest:
        return f"Equal to version {comparison.version}: {comparison.there:,} users, by their digest."
    unknown = f" Of {comparison.unknown:,} it is not certain: rejected, or sent meanwhile." * bool(
        comparison.unknown
    )
    if not comparison.differs:
        return f"Equal to version {comparison.version}: {comparison.there:,} users, read one by one.{unknown}"
    odd = f", {comparison.odd:,} by no user id" * bool(comparison.odd)
    return (
        f"Not equal to version {comparison.version}: {comparison.missing:,} missing, "
        f"{comparison.strangers:,} strangers{odd}; the partner has {comparison.there:,} users.{unknown}"
    )


def samples_of(comparison: Comparison) -> dict[str, list[str]]:
    """Return the first users that differ, by kind."""
    found = comparison.differences.order_by("user_id")
    return {
        kind.value: list(found.filter(kind=kind).values_list("user_id", flat=True)[:SAMPLE])
        for kind in DifferenceKind
    }


def named_syncs(names: list[str]) -> list[Sync]:
    """Return the syncs of these names, each once; CommandError for a name that none has."""
    syncs = Sync.objects.filter(archived_at=None).select_related("cohort", "destination")
    known = {str(sync): sync for sync in syncs}
    if unknown := [name for name in names if name not in known]:
        some = ", ".join(list(known)[:20]) or "none"
        raise CommandError(f"There is no sync {unknown[0]!r}. Known: {some}.", returncode=2)
    return [known[name] for name in dict.fromkeys(names)]


def not_calculated(run: Run) -> str:
    """Return a sentence on a run before which its cohort could not be calculated, or ''."""
    if not run.cohort_error:
        return ""
    return f"Its cohort could not be calculated before, so an older version was sent: {run.cohort_error}"


def behind(sync: Sync) -> str:
    """Return a sentence that says that the partner does not hold the cohort's latest version, or ''."""
    version, _ = sync.aim(RunMode.CHANGES)
    if sync.settled_version == version and not sync.dirty:
        return ""
    if sync.dirty:
        held = f"perhaps a part of what came after version {sync.settled_version}"
    else:
        held = f"version {sync.settled_version}" if sync.settled_version else "nobody"
    which = "version" if sync.pinned_version else "latest version"
    return f"{sync}: the partner does not hold the cohort's {which} {version}, but {held}."


def exit_code(runs: list[Run]) -> int:
    """Return 0 when each sync's last run succeeded, 1 if one did not end well, 3 if it did in part.

    In part: users were rejected or not delivered, or the cohort could not be calculated before the run.
    """
    last = {run.sync_id: run for run in sorted(runs, key=lambda run: run.pk)}.values()
    states = {RunState.PARTIAL if run.cohort_error and run.state in DONE_RUNS else run.state for run in last}
    if states <= {RunState.SUCCEEDED}:
        return 0
    return 3 if states <= {RunState.SUCCEEDED, RunState.PARTIAL} else 1


def _progress() -> "Progress":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


class Bars:
    """A progress bar for each run, on a terminal only. `show` is called from the drivers' threads."""

    def __init__(self, *, quiet: bool) -> None:
        self._progress = None if quiet or not sys.stderr.isatty() else _progress()
        self._tasks: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Bars":
        if self._progress:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress:
            self._progress.stop()

    def show(self, runs: list[Run]) -> None:
        if not self._progress:
            return
        with self._lock:
            for run in runs:
                total = (run.planned_adds or 0) + (run.planned_removes or 0)
                if run.pk not in self._tasks:
                    self._tasks[run.pk] = self._progress.add_task(str(run.sync), total=total)
                self._progress.update(self._tasks[run.pk], completed=run.done, total=max(total, run.done))
