"""What the latest runs of a sync delivered, as numbers for an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from syncs.models import Run

HEIGHT = 100.0
# A few runs leave room to the right, and do not fill it with bars as broad as a hand.
SLOTS = 20


@dataclass(frozen=True, slots=True)
class Bar:
    """One run; heights are of HEIGHT, from the bottom, and stand upon each other. None of all is 0."""

    x: int
    added: str
    removed: str
    rejected: str
    removed_from: str
    rejected_from: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from the oldest run to the newest; `most` is what the highest stands for; `width` is in bars."""

    bars: list[Bar]
    width: int
    most: int
    first: datetime
    last: datetime


def chart_of(runs: Sequence[Run]) -> Chart | None:
    """Return the chart of the runs that have ended (given newest first); None of fewer than two."""
    ended = [(run, run.finished_at) for run in reversed(runs) if run.finished_at]
    if len(ended) < 2:
        return None
    most = max(run.done for run, _ in ended)
    bars = [_bar(x, run, HEIGHT / (most or 1)) for x, (run, _) in enumerate(ended)]
    return Chart(bars, max(len(bars), SLOTS), most, ended[0][1], ended[-1][1])


def _bar(x: int, run: Run, scale: float) -> Bar:
    # Coordinates are texts: a template would write numbers with the separators of a language.
    bad = run.rejected + run.undelivered
    added, removed, rejected = (f"{n * scale:.2f}" for n in (run.added, run.removed, bad))
    return Bar(
        x,
        added,
        removed,
        rejected,
        removed_from=added,
        rejected_from=f"{(run.added + run.removed) * scale:.2f}",
        label=f"Run {run.pk}, {run.get_state_display()}: {run.added:,} added, {run.removed:,} removed, "
        f"{run.rejected:,} rejected, {run.undelivered:,} not delivered",
    )
