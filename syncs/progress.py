"""How far a run is: values for its page and for the page's polling."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max, Min, Sum

from syncs.choices import OPEN_RUNS, BatchState, RunState
from syncs.models import Run
from syncs.status.state import Tone, run_label

# The pace is that of the last batches: the whole run's would count the time that it was parked.
RECENT = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` and `planned` are users; `rate` is users a second; `left` is in seconds. None: not known."""

    label: str
    tone: Tone
    is_open: bool
    added: int
    removed: int
    done: int
    planned: int | None
    percent: int
    rate: float | None
    left: float | None
    in_flight: int
    processing: int
    requests: int
    retries: int
    rejected: int
    undelivered: int
    trouble: str
    duration: float | None

    @classmethod
    def of(cls, run: Run, now: datetime) -> "Progress":
        """Return how far the run is at `now`. Three small queries for an open run, none for another."""
        state = RunState(run.state)
        is_open = state in OPEN_RUNS
        done, planned = run.done, run.planned
        ended = run.finished_at or now
        duration = (ended - run.started_at).total_seconds() if run.started_at else None
        rate = _recent_rate(run) if state == RunState.RUNNING else None
        if not is_open and duration and done:
            rate = done / duration
        label, tone = run_label(state, run.cohort_error)
        return cls(
            label=label,
            tone=tone,
            is_open=is_open,
            added=run.added,
            removed=run.removed,
            done=done,
            planned=planned,
            percent=_percent(done, planned, is_open),
            rate=rate,
            left=(planned - done) / rate if planned and rate and state == RunState.RUNNING else None,
            in_flight=run.batches.filter(state=BatchState.SENDING).count() if is_open else 0,
            processing=run.batches.filter(state=BatchState.PROCESSING).count() if is_open else 0,
            requests=run.requests,
            retries=run.retries,
            rejected=run.rejected,
            undelivered=run.undelivered,
            trouble=run.trouble if state == RunState.RUNNING else "",
            duration=duration,
        )

    def words(self) -> dict[str, str]:
        """Return what the page shows, by the name of its place."""
        # Users who are tried again were not planned: what is done may be more.
        planned = None if self.planned is None else max(self.planned, self.done)
        share = f"{self.done:,} of {planned:,}" if planned is not None else f"{self.done:,}"
        return {
            "done": share,
            "added": f"{self.added:,}",
            "removed": f"{self.removed:,}",
            "rate": "–" if self.rate is None else f"{self.rate:,.0f}",
            "left": "–" if self.left is None else span(max(self.left, 0)),
            "in_flight": f"{self.in_flight:,}",
            "processing": f"{self.processing:,}",
            "requests": f"{self.requests:,}",
            "retries": f"{self.retries:,}",
            "rejected": f"{self.rejected:,}",
            "undelivered": f"{self.undelivered:,}",
            "trouble": f"Being tried again: {self.trouble}" if self.trouble else "",
            "duration": "–" if self.duration is None else span(self.duration),
        }


def span(seconds: float) -> str:
    """Return a length of time as "0.8 s", "12 s", "3 min 12 s" or "2 h 5 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def _percent(done: int, planned: int | None, is_open: bool) -> int:
    if not planned:
        return 100 if planned == 0 and not is_open else 0
    # Users who are tried again were not planned: they may make it more than all.
    return min(100, done * 100 // planned)


def _recent_rate(run: Run) -> float | None:
    recent = list(run.batches.filter(settled_at__isnull=False).order_by("-number").values_list("pk")[:RECENT])
    found = run.batches.filter(pk__in=[pk for (pk,) in recent]).aggregate(
        users=Sum("delivered"), began=Min("created_at"), ended=Max("settled_at")
    )
    if not found["users"] or found["ended"] <= found["began"]:
        return None
    return float(found["users"] / (found["ended"] - found["began"]).total_seconds())
