"""Gathers what a sync's state is told from, for any number of syncs in a fixed number of queries."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from cohorts.choices import CALCULATED, ScheduleKind
from cohorts.models import CohortVersion
from syncs.choices import RejectionKind, RunState
from syncs.models import Driver, Rejection, Run, Sync
from syncs.status import differing
from syncs.status.state import Facts, LastRun, State, state_of


def states_of(syncs: Iterable[Sync], now: datetime) -> dict[int, State]:
    """Return the state of each sync, by key."""
    return {pk: state_of(facts) for pk, facts in facts_of(syncs, now).items()}


def facts_of(syncs: Iterable[Sync], now: datetime) -> dict[int, Facts]:
    """Return the facts of each sync, by key. Two queries, if cohort and destination__driver are selected.

    Runs are read before what they settle: one that ends meanwhile is told as still running, which the next
    look corrects, and never as ended with the partner not equal, which would be an alarm about nothing.
    """
    by_key = {sync.pk: sync for sync in syncs}
    chosen = Sync.objects.filter(pk__in=by_key)
    last = chosen.order_by().annotate(last_run=Subquery(last_runs().values("pk")[:1])).values("last_run")
    runs = {run.sync_id: run for run in Run.objects.filter(pk__in=last)}
    return {row["pk"]: _facts(by_key[row["pk"]], runs.get(row["pk"]), row, now) for row in _numbers(chosen)}


def last_runs() -> QuerySet[Run]:
    """Return, for a subquery, the latest run of the outer sync."""
    return Run.objects.filter(sync=OuterRef("pk")).order_by("-pk")


def held_there() -> Coalesce:
    """Return, for an annotation of syncs, how many users the partner holds."""
    settled = CohortVersion.objects.filter(
        cohort=Coalesce(OuterRef("projection"), OuterRef("cohort")), number=OuterRef("settled_version")
    )
    return Coalesce(Subquery(settled.values("size")[:1]), 0)


def _numbers(syncs: QuerySet[Sync]) -> QuerySet[Any, Any]:
    ended = last_runs().filter(finished_at__isnull=False).exclude(state=RunState.CANCELLED)
    numbers: QuerySet[Any, Any] = (
        syncs.order_by()
        .annotate(
            held=held_there(),
            rejected=_number_of(Rejection.objects.open().filter(kind=RejectionKind.REJECTED)),
            undelivered=_number_of(Rejection.objects.open().filter(kind=RejectionKind.UNDELIVERED)),
            ended_state=Subquery(ended.values("state")[:1]),
            ended_reason=Subquery(ended.values("reason")[:1]),
            **differing.subqueries(),
            maybe_held=_number_of(
                Rejection.objects.open().maybe_held().filter(sync__settled_version=0, sync__dirty=False)
            ),
        )
        .values(
            *("pk", "cohort__version", "cohort__size", "settled_version", "dirty", "full_owed", "runs_done"),
            *("projection", "projection__version", "projection__size", "projection__projected_version"),
            *("held", "rejected", "undelivered", "maybe_held", "ended_state", "ended_reason"),
            *("differs_at", "differs_missing", "differs_strangers"),
        )
    )
    return numbers


def _number_of(rejections: QuerySet[Rejection]) -> Coalesce:
    of_sync = rejections.filter(sync=OuterRef("pk")).order_by().values("sync")
    number = of_sync.annotate(number=Count("pk")).values("number")
    return Coalesce(Subquery(number), 0, output_field=IntegerField())


def _facts(sync: Sync, run: Run | None, numbers: dict[str, Any], now: datetime) -> Facts:
    destination, cohort = sync.destination, sync.cohort
    calculated = cohort.source_kind in CALCULATED
    driver: Driver | None = getattr(destination, "driver", None)
    version, size = numbers["cohort__version"], numbers["cohort__size"]
    if numbers["projection"]:
        # What the next run sends is a version that is not made yet, if the cohort has gone on.
        behind = numbers["projection__projected_version"] < version
        version, size = numbers["projection__version"] + behind, numbers["projection__size"]
    return Facts(
        now=now,
        version=version,
        size=size,
        settled=numbers["settled_version"],
        held=numbers["held"],
        dirty=numbers["dirty"],
        full_owed=numbers["full_owed"],
        rejected=numbers["rejected"],
        undelivered=numbers["undelivered"],
        maybe_held=numbers["maybe_held"],
        enabled=sync.enabled,
        archived=sync.archived_at is not None,
        pinned=sync.pinned_version,
        pinned_at=sync.pinned_at,
        pinned_by=sync.pinned_by,
        next_due_at=sync.next_due_at if sync.enabled else None,
        paused=destination.pause_reason if destination.is_paused else None,
        parked_until=driver.next_at if driver else None,
        parked_reason=driver.next_reason if driver else "",
        breaker_opened=bool(driver and driver.opened),
        driven=bool(driver and driver.until and driver.until > now),
        run=_last_run(run) if run else None,
        failed=numbers["ended_state"] == RunState.FAILED,
        failed_reason=(numbers["ended_reason"] or "") if numbers["ended_state"] == RunState.FAILED else "",
        never_ran=run is None
        and not (numbers["runs_done"] or numbers["settled_version"] or numbers["dirty"]),
        is_once=sync.schedule_kind == ScheduleKind.ONCE,
        cohort_held=cohort.held_number,
        cohort_error=cohort.calculation_error if calculated else "",
        cohort_failed_at=cohort.calculation_failed_at if calculated else None,
        cohort_due_at=cohort.next_due_at if calculated else None,
        differs_at=numbers["differs_at"],
        differs_missing=numbers["differs_missing"] or 0,
        differs_strangers=numbers["differs_strangers"] or 0,
    )


def _last_run(run: Run) -> LastRun:
    return LastRun(
        state=RunState(run.state),
        at=run.finished_at or run.started_at or run.created_at,
        mode=run.mode,
        reason=run.reason,
        target=run.to_version,
        done=run.done,
        planned=run.planned,
        cancelling=run.cancel_requested,
        cancelled_by=run.cancelled_by,
        made_at=run.created_at,
        begun=run.started_at is not None,
        reopened=run.reopened,
        trouble=run.trouble,
        cohort_error=run.cohort_error,
    )
