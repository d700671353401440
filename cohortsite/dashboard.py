"""The first page: is everything in sync, and if not, why? Twenty queries at most, however much there is.

Each number is bounded: runs are those that ended in the last 14 days (an index), latencies and strips come
from the latest rows by key, lists are cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Sum, When
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import CALCULATED
from cohorts.models import Cohort
from cohortsite import silence, tour
from cohortsite.models import Proposal, ProposalState
from destinations.models import Destination
from syncs.admin import columns
from syncs.choices import DONE_RUNS, RejectionKind, RunState
from syncs.models import Batch, Rejection, Run, Sync, Try
from syncs.status import attention
from syncs.status.facts import facts_of
from syncs.status.state import Facts, State, Tone, run_label, state_of

DAYS = 14
# Requests that the latencies are told of, and runs that the strips are cut from.
LATEST_BATCHES = 2_000
LATEST_RUNS = 4_000
STRIP = 40
ROWS = 8
UNDER_WAY = 4
DESTINATIONS = 20
# Counting more than this tells nobody more.
MOST_REJECTED = 10_000


@dataclass(slots=True)
class Day:
    """`delivered`, `rejected` and `undelivered` are users; the runs are those that ended on that day, and
    the times that one failed which was taken up again since.
    """

    date: date
    delivered: int = 0
    rejected: int = 0
    undelivered: int = 0
    done: int = 0
    failed: int = 0

    @property
    def bad(self) -> int:
        return self.rejected + self.undelivered

    @property
    def users(self) -> int:
        return self.delivered + self.bad


@dataclass(frozen=True, slots=True)
class Bar:
    """A day of the chart, in its units: heights of the two parts from the bottom up."""

    day: Day
    x: int
    delivered: float
    bad: float


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
    if request.user.has_perm("syncs.add_sync"):
        context["new_url"] = reverse("admin:syncs_sync_new")
    if not all(step["done"] for step in steps):
        context["steps"] = steps
        context["tour_offer"] = tour.offer(request)
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
            "url": reverse("admin:syncs_sync_new"),
            "done": Sync.objects.exists(),
        },
    ]


# --- numbers ------------------------------------------------------------------------------------


def _numbers(now: datetime) -> dict[str, Any]:
    days = _days(now)
    week = days[-7:]
    done, failed = sum(day.done for day in week), sum(day.failed for day in week)
    p50, p95 = latencies()
    needs, running = _needs(now)
    worries = silence.worries(now)
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
        "worries": worries,
        "notices": [worry.sentence for worry in worries] + silence.notes(),
        "under_way": _under_way(),
        "bars": _bars(days),
        "days": days,
        "most": max(day.users for day in days),
        "p50": p50,
        "p95": p95,
        "strips": _strips(now),
        "due": _due(now),
        "stuck": _stuck(now),
    }


def _days(now: datetime) -> list[Day]:
    """Return the last days, the oldest first. Two queries, by the indexes on the ends of runs and tries."""
    today = timezone.localdate(now)
    days = {today - timedelta(days=n): Day(today - timedelta(days=n)) for n in reversed(range(DAYS))}
    began = timezone.make_aware(datetime.combine(min(days), datetime.min.time()))
    ended = Run.objects.filter(finished_at__gte=began).order_by().annotate(day=TruncDate("finished_at"))
    for row in ended.values("day", "state").annotate(
        number=Count("pk"),
        delivered=Sum("added") + Sum("removed"),
        bad=Sum("rejected"),
        lacking=Sum("undelivered"),
    ):
        if day := days.get(row["day"]):
            day.delivered += row["delivered"]
            day.rejected += row["bad"]
            day.undelivered += row["lacking"]
            day.done += row["number"] if row["state"] in DONE_RUNS else 0
            day.failed += row["number"] if row["state"] == RunState.FAILED else 0
    tries = Try.objects.filter(ended_at__gte=began).order_by().annotate(day=TruncDate("ended_at"))
    for at, number in tries.values_list("day").annotate(number=Count("pk")):
        if day := days.get(at):
            day.failed += number
    return list(days.values())


def _bars(days: Sequence[Day]) -> list[Bar]:
    most = max(day.users for day in days) or 1
    return [
        Bar(day, x, round(100 * day.delivered / most, 2), round(100 * day.bad / most, 2))
        for x, day in enumerate(days)
    ]


def latencies() -> tuple[int | None, int | None]:
    """Return the median and the 95th percentile of the latest requests, in milliseconds. One query."""
    latest = Batch.objects.order_by("-pk").values_list("latency_ms", flat=True)[:LATEST_BATCHES]
    found = sorted(ms for ms in latest if ms is not None)
    if not found:
        return None, None
    return found[len(found) // 2], found[min(len(found) - 1, len(found) * 95 // 100)]


def _needs(now: datetime) -> tuple[list[Need], int]:
    """Return what a person should look at, each with its list, and how many runs go on. Five queries."""
    syncs: QuerySet[Any] = attention.with_need(Sync.objects.all(), now)
    counted = syncs.exclude(need="").order_by().values("need")
    rows = counted.annotate(syncs=Count("pk"), destinations=Count("destination", distinct=True))
    numbers = {row["need"]: row for row in rows}
    open_runs = Run.objects.filter(state=RunState.RUNNING).order_by()
    going = open_runs.aggregate(running=Count("pk"), tried=Count("pk", filter=~Q(trouble="")))
    found = [
        (words, numbers[need]["syncs"], _list("syncs_sync", f"state=attention-{need}"))
        for need, words in NEEDS.items()
        if need in numbers
    ]
    # One that is paused holds up all of its syncs, and is what a person has to do with.
    paused = numbers.get(attention.Need.PAUSED, {"destinations": 0})["destinations"]
    words = ("destination paused", "destinations paused")
    found.append((words, paused, _list("destinations_destination", "state=paused")))
    running = _list("syncs_run", f"state__exact={RunState.RUNNING}")
    found.append((("run is being tried again", "runs are being tried again"), going["tried"], running))
    found += _not_right()
    needs = [
        Need(words[number != 1], _at_most(number, MOST_REJECTED), url)
        for words, number, url in found
        if number
    ]
    return needs, going["running"]


def _under_way() -> list[dict[str, Any]]:
    """Return the runs that go on, with how far they are. One query."""
    runs = Run.objects.filter(state=RunState.RUNNING).select_related("sync__cohort", "sync__destination")
    return [
        {
            "pair": columns.pair(run.sync),
            "url": columns.run_url(run.pk),
            "share": f"{run.done:,}" + (f" of {planned:,}" if (planned := run.planned) else ""),
        }
        for run in runs.order_by("pk")[:UNDER_WAY]
    ]


# A need of syncs, for one and for several; PAUSED is told of the destinations.
NEEDS = {
    attention.Need.FAILED: ("sync failed", "syncs failed"),
    attention.Need.HELD: ("run held for approval", "runs held for approval"),
    attention.Need.COHORT_HELD: ("sync whose cohort is held", "syncs whose cohort is held"),
    attention.Need.NOT_ANSWERING: (
        "sync whose partner does not answer",
        "syncs whose partner does not answer",
    ),
    attention.Need.WAITING: ("sync waits for hours", "syncs wait for hours"),
    attention.Need.UNATTENDED: ("sync waits for a worker", "syncs wait for a worker"),
    attention.Need.MISSED: ("sync was not run when due", "syncs were not run when due"),
    attention.Need.PASSED: ("sync whose only time has passed", "syncs whose only time has passed"),
    attention.Need.COHORT_FAILED: (
        "sync whose cohort is not calculated",
        "syncs whose cohort is not calculated",
    ),
    attention.Need.COHORT_LATE: ("sync whose cohort is out of date", "syncs whose cohort is out of date"),
    attention.Need.DIFFERS: ("sync whose partner differs", "syncs whose partners differ"),
    attention.Need.SET_BACK: ("sync set back for days", "syncs set back for days"),
}


def _not_right() -> list[tuple[tuple[str, str], int, str]]:
    """Return what is not about a sync as a whole: users, cohorts that no sync may have, proposals.

    Four queries at most.
    """
    kinds = {
        RejectionKind.REJECTED: ("rejected user", "rejected users"),
        RejectionKind.UNDELIVERED: ("user not delivered", "users not delivered"),
    }
    found = []
    for kind, words in kinds.items():
        users = Rejection.objects.open().filter(kind=kind).order_by().values("pk")
        number = users[: MOST_REJECTED + 1].count()
        found.append((words, number, _list("syncs_rejection", f"kind__exact={kind}")))
    # Of a cohort that is sent somewhere, its syncs tell.
    sent = Sync.objects.filter(cohort=OuterRef("pk"), archived_at=None, enabled=True)
    cohorts = Cohort.objects.filter(~Exists(sent)).aggregate(
        held=Count("pk", filter=Q(held_number__isnull=False)),
        failed=Count("pk", filter=Q(source_kind__in=CALCULATED) & ~Q(calculation_error="")),
    )
    words = ("cohort held for approval", "cohorts held for approval")
    found.append((words, cohorts["held"], _list("cohorts_cohort", "needs=held")))
    words = ("cohort could not be calculated", "cohorts could not be calculated")
    found.append((words, cohorts["failed"], _list("cohorts_cohort", "needs=failed")))
    if settings.FOUR_EYES:
        words = ("change waits for a second person", "changes wait for a second person")
        waiting = Proposal.objects.waiting().count()
        found.append((words, waiting, _list("cohortsite_proposal", f"state__exact={ProposalState.WAITING}")))
    return found


def _at_most(number: int, most: int) -> str:
    return f"more than {most:,}" if number > most else f"{number:,}"


# --- strips and lists ---------------------------------------------------------------------------


def _strips(now: datetime) -> list[Strip]:
    """Return each destination's last runs, the oldest first. Two queries."""
    shown = Destination.objects.order_by("paused_at", "name")[:DESTINATIONS]
    strips = {d.pk: Strip(d, d.get_absolute_url()) for d in shown}
    # One look-up of the address for some hundreds of cells.
    pages = _list("syncs_run")
    latest = Run.objects.order_by("-pk").values_list(
        "pk", "state", "cohort_error", "sync__destination", "sync__cohort__name", "created_at"
    )
    for pk, state, error, destination, cohort, at in latest[:LATEST_RUNS]:
        strip = strips.get(destination)
        if strip and len(strip.runs) < STRIP:
            strip.runs.insert(0, _cell(f"{pages}{pk}/change/", run_label(state, error), cohort, at))
    return list(strips.values())


def _cell(url: str, label: tuple[str, Tone], cohort: str, at: datetime) -> dict[str, Any]:
    when = timezone.localtime(at)
    words, tone = label
    return {"url": url, "tone": tone.value, "title": f"{cohort}, {when:%Y-%m-%d %H:%M}: {words}"}


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
    """Return syncs that need somebody or do not run, and why. Three queries."""
    syncs: QuerySet[Any] = attention.with_need(Sync.objects.all(), now)
    stopped = Q(archived_at=None) & (Q(enabled=False) | Q(destination__driver__next_at__gt=now))
    # Those that need somebody come first: `need` is '' for the others.
    found = syncs.filter(~Q(need="") | stopped).select_related("cohort", "destination__driver")
    shown = list(found.order_by(Case(When(need="", then=1), default=0), "pk")[:ROWS])
    return [_stuck_row(sync, facts) for sync, facts in zip(shown, _facts(shown, now), strict=True)]


def _facts(syncs: list[Sync], now: datetime) -> list[Facts]:
    facts = facts_of(syncs, now)
    return [facts[sync.pk] for sync in syncs]


def _stuck_row(sync: Sync, facts: Facts) -> dict[str, Any]:
    """What it needs somebody for is said, else how it stands."""
    needed, state = attention.of(facts), state_of(facts)
    if needed and state.tone not in (Tone.CARE, Tone.BAD):
        state = State(needed.label, Tone.BAD, needed.sentence)
    return {
        "pair": columns.pair(sync),
        "url": columns.sync_url(sync.pk),
        "label": columns.label(state.label, state.tone),
        "sentence": state.sentence,
    }


def _live() -> QuerySet[Sync]:
    return Sync.objects.filter(archived_at=None).select_related("cohort", "destination__driver")


def _list(name: str, query: str = "") -> str:
    url = reverse(f"admin:{name}_changelist")
    return f"{url}?{query}" if query else url
