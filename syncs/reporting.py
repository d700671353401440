"""What commands print about runs: a table, JSON, a progress bar, and the exit code that follows."""

import json
import sys
import threading
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from syncs.choices import RunState
from syncs.models import Run

FIELDS = (
    *("mode", "trigger", "from_version", "to_version", "state", "reason", "note"),
    *("planned_adds", "planned_removes", "added", "removed", "rejected", "requests", "retries"),
)


def as_json(runs: list[Run]) -> str:
    """Return the runs as a JSON array, times in ISO 8601."""
    return json.dumps([_row(run) for run in runs])


def _row(run: Run) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run.pk, "sync": str(run.sync)} | {n: getattr(run, n) for n in FIELDS}
    for name in ("created_at", "started_at", "finished_at"):
        moment = getattr(run, name)
        row[name] = moment.isoformat() if moment else None
    return row


def as_text(run: Run) -> str:
    """Return one line about a run for a terminal."""
    did = f"{run.added:,} added, {run.removed:,} removed"
    if run.rejected:
        did += f", {run.rejected:,} rejected"
    if run.finished_at and run.started_at:
        did += f", {(run.finished_at - run.started_at).total_seconds():.1f} s"
    said = f"{run.sync}: {run.get_state_display()}, version {run.versions}: {did}, {run.requests:,} requests."
    return f"{said} {run.reason}".strip()


def exit_code(runs: list[Run]) -> int:
    """Return 0 when each sync's last run succeeded, 3 if users were rejected, 1 if it did not end well."""
    states = {run.sync_id: run.state for run in sorted(runs, key=lambda run: run.pk)}.values()
    if set(states) <= {RunState.SUCCEEDED}:
        return 0
    return 3 if set(states) <= {RunState.SUCCEEDED, RunState.PARTIAL} else 1


class Bars:
    """A progress bar for each run, on a terminal only. `show` is called from the drivers' threads."""

    def __init__(self, *, quiet: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            disable=quiet or not sys.stderr.isatty(),
        )
        self._tasks: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def show(self, runs: list[Run]) -> None:
        if self._progress.disable:
            return
        with self._lock:
            for run in runs:
                total = (run.planned_adds or 0) + (run.planned_removes or 0)
                if run.pk not in self._tasks:
                    self._tasks[run.pk] = self._progress.add_task(str(run.sync), total=total)
                done = run.added + run.removed + run.rejected
                self._progress.update(self._tasks[run.pk], completed=done, total=max(total, done))
