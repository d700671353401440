"""Whether a sync needs a person: the one answer to it, as a value and as a query.

    RULES, the most urgent first ─▶ of(facts)          a sync's state, its page, alerts
                                 ─▶ with_need(syncs)   the list's filter, the overview, /metrics

Each rule is written twice, as a test of the facts and as a condition of the database, side by side: a test
draws syncs in all kinds of states, and asks both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, CharField, OuterRef, Q, QuerySet, Subquery, TextChoices, Value, When

from cohorts.choices import CALCULATED, ScheduleKind
from syncs.choices import OPEN_RUNS, UNDRIVEN, AlertKind, RunMode, RunState
from syncs.models import Run, Sync
from syncs.status import differing
from syncs.status.state import LATE, Attention, Facts, because, utc

# What begins this much after its time has missed it; a run that nobody takes up so long has no worker.
GRACE = LATE
# A run that waits for its partner this long after it was made needs somebody.
PATIENCE = timedelta(hours=6)


class Need(TextChoices):
    """What a sync needs a person for, in words for one sync and (below) for several."""

    PAUSED = "paused", "Destination paused"
    HELD = "held", "Held for approval"
    COHORT_HELD = "cohort_held", "Cohort held for approval"
    FAILED = "failed", "Failed"
    NOT_ANSWERING = "not_answering", "The partner does not answer"
    WAITING = "waiting", "Waits for hours"
    UNATTENDED = "unattended", "Waits for a worker"
    MISSED = "missed", "Not run when due"
    PASSED = "passed", "Its time has passed"
    COHORT_FAILED = "cohort_failed", "Cohort not calculated"
    COHORT_LATE = "cohort_late", "Cohort out of date"
    DIFFERS = "differs", "Partner differs"
    SET_BACK = "set_back", "Set back for days"


@dataclass(frozen=True)
class Rule:
    """`query` is over what `_annotated` gives. `alert`: what people are notified of by e-mail and webhook."""

    need: Need
    alert: AlertKind
    holds: Callable[[Facts], bool]
    query: Callable[[datetime], Q]
    sentence: Callable[[Facts], str]


def of(facts: Facts) -> Attention | None:
    """Return what the sync needs a person for, the most urgent; None when all is well."""
    if not _is_watched(facts):
        return None
    rule = next((rule for rule in RULES if rule.holds(facts)), None)
    return (
        Attention(rule.need.value, rule.need.label, rule.alert.value, rule.sentence(facts)) if rule else None
    )


def with_need(syncs: QuerySet[Sync], now: datetime) -> QuerySet[Sync]:
    """Annotate each sync with `need`: a Need, or '' when all is well."""
    rules = [When(_WATCHED & rule.query(now), then=Value(rule.need.value)) for rule in RULES]
    return _annotated(syncs).annotate(need=Case(*rules, default=Value(""), output_field=CharField()))


def needing(syncs: QuerySet[Sync], now: datetime) -> QuerySet[Sync]:
    """Return those of the syncs that need a person."""
    found: QuerySet[Any] = with_need(syncs, now)
    return found.exclude(need="")


def _annotated(syncs: QuerySet[Sync]) -> QuerySet[Sync]:
    runs = Run.objects.filter(sync=OuterRef("pk")).order_by("-pk")
    ended = runs.filter(finished_at__isnull=False).exclude(state=RunState.CANCELLED)

    def last(name: str, among: QuerySet[Run] = runs) -> Subquery:
        return Subquery(among.values(name)[:1])

    return syncs.annotate(
        last_state=last("state"),
        last_mode=last("mode"),
        last_made=last("created_at"),
        last_began=last("started_at"),
        last_again=last("reopened"),
        ended_state=last("state", ended),
        differs_at=differing.subqueries()["differs_at"],
    )


# --- the rules ----------------------------------------------------------------------------------


def _is_watched(facts: Facts) -> bool:
    """Of what is archived, people want to know only whether its partner is being emptied as they asked."""
    run = facts.run
    return not facts.archived or (
        run is not None and run.mode == RunMode.EMPTY and run.state in (*OPEN_RUNS, RunState.FAILED)
    )


_WATCHED = Q(archived_at=None) | Q(last_mode=RunMode.EMPTY, last_state__in=[*OPEN_RUNS, RunState.FAILED])


def _is_open(facts: Facts, *states: RunState) -> bool:
    return facts.run is not None and facts.run.state in (states or OPEN_RUNS)


def _waits_since(facts: Facts, states: list[RunState], age: timedelta) -> bool:
    run = facts.run
    return run is not None and run.state in states and run.made_at < facts.now - age


def _goes(facts: Facts) -> bool:
    return facts.enabled and not facts.archived


_GOES = Q(enabled=True, archived_at=None)


def _is_due(at: datetime | None, facts: Facts) -> bool:
    return at is not None and at < facts.now - GRACE


def _unattended(facts: Facts) -> bool:
    """Only of runs that were never begun: one that was interrupted is taken up when its worker is back."""
    free = facts.parked_until is None or facts.parked_until <= facts.now
    never_begun = facts.run is not None and not facts.run.begun
    return free and never_begun and not facts.driven and _waits_since(facts, [RunState.PENDING], GRACE)


def _unattended_query(now: datetime) -> Q:
    # Said so, and not by ~Q: a destination that was never driven has no row that could be compared.
    free = Q(destination__driver__next_at=None) | Q(destination__driver__next_at__lte=now)
    idle = Q(destination__driver__until=None) | Q(destination__driver__until__lte=now)
    return Q(last_state=RunState.PENDING, last_began=None, last_made__lt=now - GRACE) & free & idle


def _failed_sentence(facts: Facts) -> str:
    if facts.run and facts.run.state in OPEN_RUNS:
        return f"It is being tried again. {facts.failed_reason}".strip()
    return because(facts.failed_reason)


def _forgotten_after() -> timedelta:
    return timedelta(days=settings.SET_BACK_DAYS)


def _missed_sentence(facts: Facts) -> str:
    why = "no worker has taken it" if facts.version else "its cohort is not calculated yet"
    return f"It was due at {utc(facts.next_due_at)} and has not run: {why}."


def _failed(facts: Facts) -> bool:
    run = facts.run
    return facts.failed or (run is not None and run.reopened and run.state in OPEN_RUNS)


RULES: tuple[Rule, ...] = (
    Rule(
        Need.PAUSED,
        AlertKind.PAUSED,
        lambda facts: facts.paused is not None,
        lambda now: Q(destination__paused_at__isnull=False),
        lambda facts: facts.paused or "",
    ),
    Rule(
        Need.HELD,
        AlertKind.HELD,
        lambda facts: _is_open(facts, RunState.HELD),
        lambda now: Q(last_state=RunState.HELD),
        lambda facts: facts.run.reason if facts.run else "",
    ),
    Rule(
        Need.COHORT_HELD,
        AlertKind.HELD,
        lambda facts: facts.cohort_held is not None and not facts.archived,
        lambda now: Q(cohort__held_number__isnull=False, archived_at=None),
        lambda facts: f"Version {facts.cohort_held} of the cohort waits for approval.",
    ),
    Rule(
        Need.FAILED,
        AlertKind.FAILING,
        _failed,
        lambda now: Q(ended_state=RunState.FAILED) | Q(last_state__in=OPEN_RUNS, last_again=True),
        _failed_sentence,
    ),
    Rule(
        # A probe that is under way is no recovery.
        Need.NOT_ANSWERING,
        AlertKind.FAILING,
        lambda facts: facts.breaker_opened and _is_open(facts),
        lambda now: Q(destination__driver__opened__gt=0, last_state__in=OPEN_RUNS),
        lambda facts: facts.parked_reason or "The partner does not answer as it should.",
    ),
    Rule(
        Need.WAITING,
        AlertKind.FAILING,
        lambda facts: _waits_since(facts, UNDRIVEN, PATIENCE),
        lambda now: Q(last_state__in=UNDRIVEN, last_made__lt=now - PATIENCE),
        lambda facts: (
            f"Its run waits since {utc(facts.run.made_at)}. {facts.run.reason}".strip() if facts.run else ""
        ),
    ),
    Rule(
        Need.UNATTENDED,
        AlertKind.UNATTENDED,
        _unattended,
        _unattended_query,
        lambda facts: "Its run waits, and no worker takes it: start sync_worker, or call sync_due from cron.",
    ),
    Rule(
        Need.MISSED,
        AlertKind.MISSED,
        lambda facts: _goes(facts) and _is_due(facts.next_due_at, facts),
        lambda now: _GOES & Q(next_due_at__lt=now - GRACE),
        _missed_sentence,
    ),
    Rule(
        Need.PASSED,
        AlertKind.MISSED,
        lambda facts: _goes(facts) and facts.never_ran and facts.is_once and facts.next_due_at is None,
        lambda now: (
            _GOES
            & Q(schedule_kind=ScheduleKind.ONCE, next_due_at=None, last_state=None)
            & Q(runs_done=0, settled_version=0, dirty=False)
        ),
        lambda facts: "Its schedule names one time, which has passed: give it another, or run it by hand.",
    ),
    Rule(
        Need.COHORT_FAILED,
        AlertKind.COHORT,
        lambda facts: _goes(facts) and bool(facts.cohort_error),
        lambda now: _GOES & Q(cohort__source_kind__in=CALCULATED) & ~Q(cohort__calculation_error=""),
        lambda facts: f"Its cohort could not be calculated: {because(facts.cohort_error)}",
    ),
    Rule(
        Need.COHORT_LATE,
        AlertKind.COHORT,
        lambda facts: _goes(facts) and _is_due(facts.cohort_due_at, facts),
        lambda now: _GOES & Q(cohort__source_kind__in=CALCULATED, cohort__next_due_at__lt=now - GRACE),
        lambda facts: (
            f"Its cohort was to be calculated at {utc(facts.cohort_due_at)}, and nobody has: "
            "start sync_worker, or call sync_due from cron."
        ),
    ),
    Rule(
        Need.DIFFERS,
        AlertKind.DIFFERS,
        lambda facts: _goes(facts) and facts.differs_at is not None,
        lambda now: _GOES & Q(differs_at__isnull=False),
        lambda facts: (
            f"Read back at {utc(facts.differs_at)}, its partner lacked {facts.differs_missing:,} users and "
            f"had {facts.differs_strangers:,} strangers: look at the comparison, and repair it."
        ),
    ),
    Rule(
        Need.SET_BACK,
        AlertKind.SET_BACK,
        lambda facts: facts.pinned_at is not None and facts.pinned_at < facts.now - _forgotten_after(),
        lambda now: Q(pinned_at__lt=now - _forgotten_after()),
        lambda facts: (
            f"It is set to version {facts.pinned} since {utc(facts.pinned_at)}, and does not follow its "
            "cohort: let it go on, if that was forgotten."
        ),
    ),
)
