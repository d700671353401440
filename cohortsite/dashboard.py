"""The first page: is everything in sync, and if not, why? Fourteen queries at most, however much there is.

Each number is bounded: runs are those that ended in the last 14 days (an index), latencies and strips come
from the latest rows by key, lists are cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import ScheduleKind
from cohorts.models import Cohort
from destinations.models import Destination
from syncs.admin import columns
from syncs.alerts import GRACE
from syncs.choices import DONE_RUNS, RunState
from syncs.models import Batch, Rejection, Run, Sync
from syncs.status.facts import last_runs, states_of
from syncs.status.state import RUN_TONES, Tone

DAYS = 14
# Requests that the latencies are told of, and runs that the strips are cut from.
LATEST_BATCHES = 2_000
LATEST_RUNS = 4_000
STRIP = 40
ROWS = 8
DESTINATIONS = 20
# Counting more than this tells nobody more.
MOST_REJECTED = 10_000


@dataclass(slots=True)
class Day:
    """`delivered` and `rejected` are users; the runs are those that ended on that day."""

    date: date
    delivered: int = 0
    rejected: int = 0
    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart, in its units: heights of the two parts from the bottom up."""

    day: Day
    x: int
    delivered: float
    rejected: float


@dataclass(frozen=True, slots=True)
class Need:
    words: str
    number: str
    url: str


@dataclass(slots=True)
class Strip:
    destination: Destination
    url: str
    runs: list[dict[str, Any]] = field(default_factory=list)


def callback(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK: add what templates/admin/index.html shows."""
    context["title"] = "Overview"
    if not request.user.has_perm("syncs.view_sync"):
        return context
    context["may_see"] = True
    steps = _steps()
    if not all(step["done"] for step in steps):
        context["steps"] = steps
        return context
    return context | _numbers(timezone.now())


# --- an empty installation ----------------------------------------------------------------------


def _steps() -> list[dict[str, Any]]:
    """Return the steps to a first sync, and which of them are done. Three queries."""
    return [
        {
            "title": "Add a destination",
            "text": "Where to send: choose a preset, enter the address and the key, send a test request.",
            "url": reverse("admin:destinations_destination_add"),
            "done": Destination.objects.exists(),
        },
        {
            "title": "Make a cohort",
            "text": "Whom to send: upload a file of user ids, send them by REST, or define them by events.",
            "url": reverse("admin:cohorts_cohort_add"),
            "done": Cohort.objects.exists(),
        },
        {
            "title": "Tie them together",
            "text": "A sync sends one cohort to one destination, by hand or on a schedule.",
            "url": reverse("admin:syncs_sync_add"),
            "done": Sync.objects.exists(),
        },
    ]


# --- numbers ------------------------------------------------------------------------------------


def _numbers(now: datetime) -> dict[str, Any]:
    days = _days(now)
    week = days[-7:]
    done, failed = sum(day.done for day in week), sum(day.failed for day in week)
    p50, p95 = latencies()
    needs, running = _needs()
    return {
        "delivered_today": days[-1].delivered,
        "delivered_week": sum(day.delivered for day in week),
        "success": f"{100 * done / (done + failed):.1f} %" if done + failed else "–",
        "ended": done + failed,
        "failed": failed,
        "running": running,
        "running_url": _list("syncs_run", f"state__exact={RunState.RUNNING}"),
        "runs_url": _list("syncs_run"),
        "needs": needs,
        "bars": _bars(days),
        "days": days,
        "most": max(day.delivered + day.rejected for day in days),
        "p50": p50,
        "p95": p95,
        "strips": _strips(now),
        "due": _due(now),
        "stuck": _stuck(now),
    }


def _days(now: datetime) -> list[Day]:
    """Return the last days, the oldest first. One query, by the index on the end of runs."""
    today = timezone.localdate(now)
    days = {today - timedelta(days=n): Day(today - timedelta(days=n)) for n in reversed(range(DAYS))}
    began = timezone.make_aware(datetime.combine(min(days), datetime.min.time()))
    ended = Run.objects.filter(finished_at__gte=began).order_by().annotate(day=TruncDate("finished_at"))
    for row in ended.values("day", "state").annotate(
        number=Count("pk"), delivered=Sum("added") + Sum("removed"), bad=Sum("rejected")
    ):
        if day := days.get(row["day"]):
            day.delivered += row["delivered"]
            day.rejected += row["bad"]
            day.done += row["number"] if row["state"] in DONE_RUNS else 0
            day.failed += row["number"] if row["state"] == RunState.FAILED else 0
    return list(days.values())


def _bars(days: Sequence[Day]) -> list[Bar]:
    most = max(day.delivered + day.rejected for day in days) or 1
    return [
        Bar(day, x, round(100 * day.delivered / most, 2), round(100 * day.rejected / most, 2))
        for x, day in enumerate(days)
    ]


def latencies() -> tuple[int | None, int | None]:
    """Return the median and the 95th percentile of the latest requests, in milliseconds. One query."""
    latest = Batch.objects.order_by("-pk").values_list("latency_ms", flat=True)[:LATEST_BATCHES]
    found = sorted(ms for ms in latest if ms is not None)
    if not found:
        return None, None
    return found[len(found) // 2], found[min(len(found) - 1, len(found) * 95 // 100)]


def _needs() -> tuple[list[Need], int]:
    """Return what a person should look at, each with its list, and how many runs go on. Three queries."""
    numbers = (
        Sync.objects.filter(archived_at=None)
        .order_by()
        .annotate(last_state=Subquery(last_runs().values("state")[:1]))
        .aggregate(
            failed=Count("pk", filter=Q(last_state=RunState.FAILED)),
            held=Count("pk", filter=Q(last_state=RunState.HELD)),
            parked=Count("pk", filter=Q(last_state=RunState.PARKED)),
            paused=Count("destination", filter=Q(destination__paused_at__isnull=False), distinct=True),
            running=Count("pk", filter=Q(last_state=RunState.RUNNING)),
        )
    )
    rejected = Rejection.objects.open().order_by().values("pk")[: MOST_REJECTED + 1].count()
    waiting = Cohort.objects.filter(held_number__isnull=False).count()
    found = [
        (("sync failed", "syncs failed"), numbers["failed"], _list("syncs_sync", "state=failed")),
        (
            ("run held for approval", "runs held for approval"),
            numbers["held"],
            _list("syncs_sync", "state=held"),
        ),
        (("run parked", "runs parked"), numbers["parked"], _list("syncs_sync", "state=parked")),
        (
            ("destination paused", "destinations paused"),
            numbers["paused"],
            _list("destinations_destination", "state=paused"),
        ),
        (("cohort held for approval", "cohorts held for approval"), waiting, _list("cohorts_cohort")),
        (("rejected user", "rejected users"), rejected, _list("syncs_rejection")),
    ]
    needs = [
        Need(words[number != 1], _at_most(number, MOST_REJECTED), url)
        for words, number, url in found
        if number
    ]
    return needs, numbers["running"]


def _at_most(number: int, most: int) -> str:
    return f"more than {most:,}" if number > most else f"{number:,}"


# --- strips and lists ---------------------------------------------------------------------------


def _strips(now: datetime) -> list[Strip]:
    """Return each destination's last runs, the oldest first. Two queries."""
    shown = Destination.objects.order_by("paused_at", "name")[:DESTINATIONS]
    strips = {d.pk: Strip(d, columns.destination_url(d)) for d in shown}
    # One look-up of the address for some hundreds of cells.
    pages = _list("syncs_run")
    latest = Run.objects.order_by("-pk").values_list(
        "pk", "state", "sync__destination", "sync__cohort__name", "created_at"
    )
    for pk, state, destination, cohort, at in latest[:LATEST_RUNS]:
        strip = strips.get(destination)
        if strip and len(strip.runs) < STRIP:
            strip.runs.insert(0, _cell(f"{pages}{pk}/change/", RunState(state), cohort, at))
    return list(strips.values())


def _cell(url: str, state: RunState, cohort: str, at: datetime) -> dict[str, Any]:
    when = timezone.localtime(at)
    return {
        "url": url,
        "tone": RUN_TONES[state].value,
        "title": f"{cohort}, {when:%Y-%m-%d %H:%M}: {state.label}",
    }


def _due(now: datetime) -> list[dict[str, Any]]:
    """Return the next runs due, the soonest first. One query."""
    due = _live().filter(enabled=True, next_due_at__gt=now, destination__paused_at=None)
    return [
        {
            "pair": columns.pair(sync),
            "url": columns.sync_url(sync.pk),
            "when": columns.when(sync.next_due_at, now),
        }
        for sync in due.order_by("next_due_at")[:ROWS]
    ]


def _stuck(now: datetime) -> list[dict[str, Any]]:
    """Return syncs that do not run, and why not. Three queries."""
    past = Q(schedule_kind=ScheduleKind.ONCE, next_due_at=None) & ~Exists(
        Run.objects.filter(sync=OuterRef("pk"))
    )
    why = (
        Q(enabled=False)
        | Q(destination__paused_at__isnull=False)
        | Q(destination__driver__next_at__gt=now)
        | Q(last_state__in=[RunState.FAILED, RunState.HELD, RunState.PARKED])
        | Q(next_due_at__lt=now - GRACE)
        | past
    )
    found = _live().annotate(last_state=Subquery(last_runs().values("state")[:1])).filter(why)
    syncs = list(found.order_by("-destination__paused_at", "pk")[:ROWS])
    states = states_of(syncs, now)
    return [
        {
            "pair": columns.pair(sync),
            "url": columns.sync_url(sync.pk),
            "label": columns.label(*_why(sync, states[sync.pk].label, states[sync.pk].tone, now)),
            "sentence": _late(sync, now) or states[sync.pk].sentence,
        }
        for sync in syncs
    ]


def _why(sync: Sync, label: str, tone: Tone, now: datetime) -> tuple[str, Tone]:
    return ("Not running", Tone.BAD) if _late(sync, now) else (label, tone)


def _late(sync: Sync, now: datetime) -> str:
    """Return why a sync that nothing else holds up does not run, or ''."""
    if not sync.enabled or sync.destination.is_paused:
        return ""
    if sync.next_due_at and sync.next_due_at < now - GRACE:
        return "It was due, and no worker has taken it: start sync_worker, or call sync_due from cron."
    if sync.schedule_kind == ScheduleKind.ONCE and sync.next_due_at is None and not _last_state(sync):
        return "Its schedule names one time, which has passed: give it another, or run it by hand."
    return ""


def _last_state(sync: Sync) -> str | None:
    state: str | None = vars(sync)["last_state"]
    return state


def _live() -> QuerySet[Sync]:
    return Sync.objects.filter(archived_at=None).select_related("cohort", "destination__driver")


def _list(name: str, query: str = "") -> str:
    url = reverse(f"admin:{name}_changelist")
    return f"{url}?{query}" if query else url
