"""What is due, and what can be driven: the questions of a worker, and of commands that cron starts."""

from contextlib import suppress
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from cohorts import asked, owner
from cohorts.choices import ScheduleKind
from cohorts.schedule import InvalidSchedule
from destinations.models import Destination
from pagekit import tracing
from syncs.choices import DRIVABLE_RUNS, RunMode, RunState, Trigger
from syncs.lifecycle import CannotRun, start
from syncs.models import Driver, Run, Sync


def start_due(now: datetime) -> list[Run]:
    """Make the runs of all syncs whose time has come; of several processes that try, one makes each.

    Destinations whose pause is over go on.
    """
    Destination.objects.resume_over(now)
    runs = []
    due = Sync.objects.filter(enabled=True, archived_at=None, next_due_at__lte=now, cohort__version__gt=0)
    for sync in due.select_related("cohort", "destination"):
        try:
            next_due_at = sync.schedule().next_after(now)
        except InvalidSchedule:  # a zone that the system no longer knows: people are told that it is late
            continue
        # In one transaction: a sync that runs once would never run if its time were taken without its run.
        # While it cannot run, its time stays: it runs as soon as it can, and people are told that it is late.
        with suppress(CannotRun), tracing.span("schedule", sync=sync.pk), transaction.atomic():
            if sync.come_due(next_due_at):
                runs.append(start(sync, trigger=Trigger.SCHEDULE))
    for sync in _behind_a_change():
        with suppress(CannotRun), tracing.span("schedule", sync=sync.pk), transaction.atomic():
            runs.append(start(sync, trigger=Trigger.SCHEDULE))
    return runs


def _behind_a_change() -> QuerySet[Sync]:
    """Return the syncs that follow their cohort, and have had no run since it was published last.

    A run that failed is not begun again until the next version, or by a person: as with any schedule, its
    turn is over.
    """
    since = Run.objects.filter(sync=OuterRef("pk"), created_at__gte=OuterRef("cohort__published_at"))
    under_way = Run.objects.filter(sync=OuterRef("pk"), finished_at=None)
    return (
        Sync.objects.filter(schedule_kind=ScheduleKind.CHANGES, enabled=True, archived_at=None)
        .filter(
            Q(projection=None, cohort__version__gt=F("settled_version"))
            | Q(projection__isnull=False, cohort__version__gt=F("projection__projected_version"))
        )
        .exclude(Exists(since))
        .exclude(Exists(under_way))
        .select_related("cohort", "destination")
    )


def wants_refresh(run: Run) -> bool:
    """Say whether the cohort is to be calculated before this run; it has not begun, nor was it approved."""
    cohort = run.sync.cohort
    if (
        run.reach
        or not cohort.refresh_before_sync
        or run.mode == RunMode.EMPTY
        or run.started_at
        or run.approved_by
    ):
        return False
    return not asked.was_calculated_since(cohort, run.created_at)


def drivable_destinations() -> list[int]:
    """Return the destinations that have something to drive and are neither paused nor parked.

    Those that wait for nothing come first: a hundred that fail, and come back again and again, do not
    stand before a healthy one.
    """
    waited = F("sync__destination__driver__next_at")
    found = (
        Run.objects.filter(state__in=DRIVABLE_RUNS)
        .filter(sync__destination__paused_at=None)
        .filter(
            Q(sync__destination__driver=None)
            | Q(sync__destination__driver__next_at=None)
            | Q(sync__destination__driver__next_at__lte=Now())
            | Q(sync__destination__driver__next_reason=Driver.PROCESSING, state=RunState.PENDING)
        )
        .order_by(waited.asc(nulls_first=True))
        .values_list("sync__destination", waited)
        .distinct()
    )
    return [destination for destination, _ in found]


def undriven(destinations: list[int]) -> list[int]:
    """Leave out those that a process drives, which stand before the others for a worker that has few slots.

    What a process of this machine held that has died is to be taken over at once.
    """
    leases = Driver.objects.filter(pk__in=destinations, until__gt=Now()).values_list("pk", "owner")
    driven = {pk for pk, process in leases if not owner.is_dead(process)}
    return [destination for destination in destinations if destination not in driven]
