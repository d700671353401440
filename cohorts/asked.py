"""A calculation that somebody asked for: the worker does it, and whoever asked can see what became of it.

It is named by the instant at which it was asked for: what the worker then calculates is as of that instant
or later.
"""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from cohorts import following, refresh, window
from cohorts.choices import CALCULATED, CalculationState, VersionState
from cohorts.models import Cohort, CohortVersion

STATES = {
    VersionState.CALCULATING: CalculationState.CALCULATING,
    VersionState.PUBLISHED: CalculationState.PUBLISHED,
    VersionState.HELD: CalculationState.HELD,
    # Somebody has decided about it since, or a newer one took its place.
    VersionState.REFUSED: CalculationState.HELD,
    VersionState.REPLACED: CalculationState.HELD,
    VersionState.FAILED: CalculationState.FAILED,
}
OPEN = (CalculationState.WAITING, CalculationState.CALCULATING)


@dataclass(frozen=True)
class Calculation:
    cohort: str
    asked_at: datetime
    state: CalculationState
    version: CohortVersion | None = None
    error: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


def ask(cohort: Cohort) -> datetime | None:
    """Let the worker calculate the cohort now, and return the instant; None when it is not calculated at all.

    Its schedule goes on afterwards. Asking twice before the worker comes makes one calculation. Raises
    OutsideWindow.
    """
    now = timezone.now()
    if said := refresh.outside_of_window(cohort, now):
        raise refresh.OutsideWindow(said)
    asked = Cohort.objects.filter(pk=cohort.pk, source_kind__in=CALCULATED).update(next_due_at=now)
    return now if asked else None


def state_of(cohort: Cohort, asked_at: datetime) -> Calculation:
    """Return what has become of a calculation that was asked for at this instant, or of a later one."""
    version = cohort.versions.filter(as_of__gte=asked_at).order_by("-number").first()
    if version is not None:
        state = STATES[VersionState(version.state)]
        error = version.reason if state == CalculationState.FAILED else ""
        return Calculation(cohort.key, asked_at, state, version, error)
    # After the versions: a calculation that ends in between is found by the next question.
    cohort.refresh_from_db()
    if cohort.calculation_failed_at is not None and cohort.calculation_failed_at >= asked_at:
        return Calculation(cohort.key, asked_at, CalculationState.FAILED, error=cohort.calculation_error)
    waits = cohort.next_due_at is not None and cohort.next_due_at <= timezone.now()
    state = CalculationState.WAITING if waits else CalculationState.CALCULATING
    return Calculation(cohort.key, asked_at, state)


def was_calculated_since(cohort: Cohort, since: datetime) -> bool:
    """Say whether the cohort was calculated as of then or later, or whether that failed since."""
    if cohort.versions.filter(as_of__gte=since).exists():
        return True
    return Cohort.objects.filter(pk=cohort.pk, calculation_failed_at__gte=since).exists()


def any_due(now: datetime) -> bool:
    """Say whether there is a cohort to calculate: by its time, by request, or by what it follows."""
    due = Cohort.objects.filter(window.is_open(now), next_due_at__lte=now, source_kind__in=CALCULATED)
    return due.exists() or bool(following.following(now))
