"""Charts of a cohort's versions as numbers for an SVG: sizes over time, and who entered and left."""

from collections.abc import Sequence
from dataclasses import dataclass

from cohorts.choices import VersionState
from cohorts.models import CohortVersion

WIDTH, HEIGHT = 600.0, 120.0
MOST = 50


@dataclass(frozen=True)
class Dot:
    x: str
    y: str
    label: str


@dataclass(frozen=True)
class Bar:
    """`up` and `down` are heights from the middle line."""

    x: str
    width: str
    entered_y: str
    up: str
    down: str
    label: str


@dataclass(frozen=True)
class Charts:
    """Coordinates are texts: a template would write numbers with the separators of a language."""

    line: str
    dots: list[Dot]
    bars: list[Bar]
    largest: int
    most_moved: int
    first: CohortVersion
    last: CohortVersion


def charts_of(versions: Sequence[CohortVersion]) -> Charts | None:
    """Return the charts of the published ones among the versions (newest first); None of fewer than two."""
    shown = [v for v in versions if v.state == VersionState.PUBLISHED and v.finished_at][:MOST][::-1]
    if len(shown) < 2:
        return None
    largest = max(v.size for v in shown)
    # The first version is everybody, and would press the others flat.
    moves = shown[1:] if shown[0].number == 1 else shown
    most = max(max(v.entered, v.left) for v in moves)
    dots = [
        Dot(_text(x), _text(HEIGHT * (1 - v.size / (largest or 1))), f"Version {v.number}: {v.size:,} users")
        for v, x in zip(shown, _times(shown), strict=True)
    ]
    line = " ".join(f"{dot.x},{dot.y}" for dot in dots)
    return Charts(line, dots, _bars(moves, most), largest, most, shown[0], shown[-1])


def _times(versions: list[CohortVersion]) -> list[float]:
    moments = [v.finished_at.timestamp() for v in versions if v.finished_at]
    span = moments[-1] - moments[0]
    return [WIDTH * (moment - moments[0]) / span if span > 0 else 0.0 for moment in moments]


def _bars(versions: list[CohortVersion], most: int) -> list[Bar]:
    step = WIDTH / len(versions)
    width, half = min(step * 0.8, 40.0), HEIGHT / 2
    bars = []
    for number, v in enumerate(versions):
        up, down = (half * count / (most or 1) for count in (v.entered, v.left))
        label = f"Version {v.number}: {v.entered:,} entered, {v.left:,} left"
        bars.append(Bar(_text(step * number), _text(width), _text(half - up), _text(up), _text(down), label))
    return bars


def _text(number: float) -> str:
    return f"{number:.1f}"
