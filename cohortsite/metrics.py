"""`/metrics` for Prometheus: how it stands, read from the database at each call.

So every process of every server answers alike, and nothing is counted twice or lost at a restart. All are
gauges: history is pruned, and a total that falls is no counter. Labels are states, never names; queries go
by indexes, and what could grow is cut.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.db.models import Count, F, Min, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from cohorts.choices import CALCULATED, VersionState
from cohorts.models import Cohort, CohortVersion, Upload
from cohortsite import silence
from cohortsite.dashboard import LATEST_BATCHES, MOST_REJECTED, latencies
from cohortsite.heartbeat import last_beat
from cohortsite.retention import database_bytes
from cohortsite.tokens import TokenAuthentication
from destinations.models import Destination
from events.models import EventFile, FileState
from events.store import Folders, workspaces
from people.models import ProfileImport
from receiving.models import RequestLog
from syncs.choices import OPEN_RUNS, BatchState, RejectionKind, RunState
from syncs.models import Batch, Rejection, Run, Sync, Try
from syncs.status import attention
from syncs.status.facts import last_runs

DAY = timedelta(days=1)
# Calls of partners that are looked at: of the last minutes, and so many at most.
RECENT = timedelta(minutes=5)
LATEST_CALLS = 10_000
PERMISSION = "syncs.view_run"
OUTCOMES = ("added", "removed", "rejected", "undelivered")


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer who sends a token of the REST API whose user may see runs."""
    try:
        known = TokenAuthentication().authenticate(Request(request))
    except AuthenticationFailed:
        known = None
    if known is None:
        said = {"error": {"code": "not_authenticated", "message": "Send Authorization: Bearer cst_…"}}
        return JsonResponse(said, status=401, headers={"WWW-Authenticate": "Bearer"})
    if not known[0].has_perm(PERMISSION):  # type: ignore[attr-defined]
        said = {"error": {"code": "permission_denied", "message": "This token's user may not see runs."}}
        return JsonResponse(said, status=403)
    return HttpResponse(
        generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"}
    )


def gauge(
    name: str, text: str, values: Iterable[tuple[str, float | None]], label: str = ""
) -> GaugeMetricFamily:
    """Return a gauge with a value for each state of `label`, or with one and no label; None is left out."""
    family = GaugeMetricFamily(f"cohort_sync_{name}", text, labels=[label] if label else [])
    for state, value in values:
        if value is not None:
            family.add_metric([state] if label else [], value)
    return family


class SiteCollector(Collector):
    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = timezone.now()
        yield from runs(now)
        yield destinations(now)
        yield processing()
        yield from behind(now)
        yield needs(now)
        yield from cohorts(now)
        yield from requests()
        yield from calls(now)
        yield from waiting()
        yield heartbeat(now)
        yield from silences(now)
        yield from stored()


def stored() -> Iterator[GaugeMetricFamily]:
    """Tell of what grows: see the page Retention."""
    yield gauge("database_bytes", "Size of the database.", [("", database_bytes())])
    events = EventFile.objects.exclude(state=FileState.RETIRED).aggregate(size=Sum("size"))["size"]
    yield gauge("events_bytes", "Size of the files of events that count.", [("", events or 0)])


def runs(now: datetime) -> Iterator[GaugeMetricFamily]:
    counted = dict(
        Run.objects.filter(state__in=OPEN_RUNS).order_by().values_list("state").annotate(Count("pk"))
    )
    yield gauge(
        "runs_open", "Runs that have not ended.", ((s, counted.get(s, 0)) for s in OPEN_RUNS), "state"
    )
    ended = Run.objects.filter(finished_at__gte=now - DAY).order_by()
    rows = dict(ended.values_list("state").annotate(number=Count("pk")))
    sums = {name: total or 0 for name, total in ended.aggregate(**{n: Sum(n) for n in OUTCOMES}).items()}
    states = [state for state in RunState if state not in OPEN_RUNS]
    yield gauge(
        "runs_ended_last_day",
        "Runs that ended in the last 24 hours.",
        ((state, rows.get(state, 0)) for state in states),
        "state",
    )
    tries = Try.objects.filter(ended_at__gte=now - DAY).count()
    yield gauge(
        "run_tries_failed_last_day",
        "Times that a run failed in the last 24 hours and was taken up again since.",
        [("", tries)],
    )
    yield gauge(
        "users_last_day",
        "Users that these runs added or removed, that partners rejected, or that were not delivered.",
        sums.items(),
        "outcome",
    )


def destinations(now: datetime) -> GaugeMetricFamily:
    parked, sending = Q(driver__next_at__gt=now), Q(driver__until__gt=now)
    going = Q(paused_at=None)
    states = Destination.objects.aggregate(
        paused=Count("pk", filter=~going),
        parked=Count("pk", filter=going & parked),
        sending=Count("pk", filter=going & sending),
        all=Count("pk"),
    )
    return gauge("destinations", "Destinations: all, and those in a state.", states.items(), "state")


def processing() -> GaugeMetricFamily:
    found = Batch.objects.filter(state=BatchState.PROCESSING).count()
    return gauge("batches_processing", "Batches that partners have accepted, and work on.", [("", found)])


def behind(now: datetime) -> Iterator[GaugeMetricFamily]:
    """Tell of syncs whose partner holds less than the cohort's latest version, by their last run's state."""
    missed = CohortVersion.objects.filter(
        cohort=OuterRef("cohort"), number__gt=OuterRef("settled_version"), state=VersionState.PUBLISHED
    )
    syncs = (
        Sync.objects.filter(archived_at=None)
        .filter(Q(dirty=True) | Q(settled_version__lt=F("cohort__version")))
        .order_by()
        .annotate(
            last=Coalesce(Subquery(last_runs().values("state")[:1]), Value("none")),
            since=Subquery(missed.order_by("number").values("finished_at")[:1]),
        )
    )
    rows = {
        row["last"]: row for row in syncs.values("last").annotate(number=Count("pk"), oldest=Min("since"))
    }
    states = ["none", *RunState]
    yield gauge(
        "syncs_behind",
        "Syncs whose partner does not hold the cohort's latest version, by the state of their last run.",
        ((state, rows[state]["number"] if state in rows else 0) for state in states),
        "last_run",
    )
    yield gauge(
        "syncs_behind_seconds",
        "Since when the one that is longest behind lacks a version, by the state of its last run.",
        ((state, _age(now, rows[state]["oldest"])) for state in states if state in rows),
        "last_run",
    )


def needs(now: datetime) -> GaugeMetricFamily:
    syncs: QuerySet[Any] = attention.with_need(Sync.objects.all(), now)
    counted = dict(syncs.exclude(need="").order_by().values_list("need").annotate(number=Count("pk")))
    return gauge(
        "syncs_needing_attention",
        "Syncs that need a person, by what for; a sync counts once, for the most urgent.",
        ((need.value, counted.get(need.value, 0)) for need in attention.Need),
        "need",
    )


def cohorts(now: datetime) -> Iterator[GaugeMetricFamily]:
    calculated = Q(source_kind__in=CALCULATED)
    late = Cohort.objects.filter(calculated, next_due_at__lt=now)
    found = Cohort.objects.aggregate(
        all=Count("pk"),
        held=Count("pk", filter=Q(held_number__isnull=False)),
        failed=Count("pk", filter=calculated & ~Q(calculation_error="")),
        late=Count("pk", filter=calculated & Q(next_due_at__lt=now - attention.GRACE)),
    )
    yield gauge("cohorts", "Cohorts: all, and those in a state.", found.items(), "state")
    yield gauge(
        "cohort_late_seconds",
        "How long the cohort that is longest overdue should have been calculated.",
        [("", _age(now, late.aggregate(oldest=Min("next_due_at"))["oldest"]) or 0)],
    )


def requests() -> Iterator[GaugeMetricFamily]:
    p50, p95 = latencies()
    found = [("0.5", p50), ("0.95", p95)]
    yield gauge(
        "request_seconds",
        f"How long the latest {LATEST_BATCHES:,} requests to partners took.",
        ((quantile, None if ms is None else ms / 1000) for quantile, ms in found),
        "quantile",
    )


def calls(now: datetime) -> Iterator[GaugeMetricFamily]:
    outcomes = ("received", "changed", "ignored", "refused")
    latest: QuerySet[RequestLog] = RequestLog.objects.order_by("-pk").only(
        "pk", "status", "received_at", *outcomes
    )
    recent = Q(received_at__gte=now - RECENT)
    kinds = {
        "2xx": Q(status__lt=300),
        "429": Q(status=429),
        "4xx": Q(status__gte=400, status__lt=500) & ~Q(status=429),
        "5xx": Q(status__gte=500),
    }
    found = latest[:LATEST_CALLS].aggregate(
        **{f"status_{kind}": Count("pk", filter=recent & wanted) for kind, wanted in kinds.items()},
        **{f"sum_{one}": Sum(one, filter=recent & kinds["2xx"]) for one in outcomes},
    )
    yield gauge(
        "receiving_calls_last_5_minutes",
        f"Calls of partners, of the latest {LATEST_CALLS:,} at most, by status.",
        ((kind, found[f"status_{kind}"]) for kind in kinds),
        "status",
    )
    yield gauge(
        "receiving_items_last_5_minutes",
        "Users and items in those calls that were answered with 200, and what became of them.",
        ((one, found[f"sum_{one}"] or 0) for one in outcomes),
        "outcome",
    )


def waiting() -> Iterator[GaugeMetricFamily]:
    files = [path for workspace in workspaces() for path in _spooled(workspace)]
    sizes = [size for path in files if (size := _size(path)) is not None]
    yield gauge("spool_bytes", "Events that wait to be put into files.", [("", sum(sizes))])
    uploads = Upload.objects.open().count() + ProfileImport.objects.open().count()
    yield gauge("uploads_waiting", "Uploaded files that wait for the worker.", [("", uploads)])
    for kind, name, text in USERS_NOT_RIGHT:
        users = Rejection.objects.open().filter(kind=kind).order_by().values("pk")
        counted = f"{text}; not counted beyond {MOST_REJECTED:,}."
        yield gauge(name, counted, [("", users[:MOST_REJECTED].count())])


USERS_NOT_RIGHT = (
    (RejectionKind.REJECTED, "rejected_users", "Users whom a partner rejected"),
    (RejectionKind.UNDELIVERED, "undelivered_users", "Users for whom no request to the partner went through"),
)


def heartbeat(now: datetime) -> GaugeMetricFamily:
    """Left out when there never was a worker: cron may do its work."""
    return gauge(
        "worker_seconds", "Since the latest sign of life of a sync_worker.", [("", _age(now, last_beat()))]
    )


def silences(now: datetime) -> Iterator[GaugeMetricFamily]:
    counted = Counter(worry.kind for worry in silence.worries(now))
    yield gauge(
        "silences",
        "What nobody says by itself: work without worker, events not taken in, sources gone quiet, …",
        ((kind, counted[kind]) for kind in silence.KINDS),
        "what",
    )
    oldest = silence.oldest_spooled(now).total_seconds()
    yield gauge("spool_oldest_seconds", "How long the oldest event waits to be taken in.", [("", oldest)])


def _age(now: datetime, then: datetime | None) -> float | None:
    return None if then is None else max(0.0, (now - then).total_seconds())


def _spooled(workspace: str) -> Iterator[Path]:
    folders = Folders(workspace)
    for folder in (folders.spool, folders.sealed):
        yield from folder.rglob("*.jsonl")


def _size(path: Path) -> int | None:
    """None when a compaction has just taken the file away."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


REGISTRY = CollectorRegistry()
REGISTRY.register(SiteCollector())
