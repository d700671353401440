"""What hangs on a cohort or a destination: its syncs and how they stand, on its page."""

from typing import Any

from django.db.models import Count, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from cohorts.models import Cohort
from destinations.models import Destination
from pagekit import panels
from syncs.admin import columns
from syncs.admin.chart import chart_of
from syncs.choices import RunState
from syncs.models import Batch, Driver, Run, Sync
from syncs.status.facts import facts_of, held_there
from syncs.status.state import state_of

# So many are shown; all are in the list of syncs.
MOST = 20
# From which a destination's health is told.
LATEST_RUNS, LATEST_BATCHES = 40, 500


def syncs_of(request: HttpRequest, row: Cohort | Destination) -> tuple[str, dict[str, Any]] | None:
    if not request.user.has_perm("syncs.view_sync"):
        return None
    field = "cohort" if isinstance(row, Cohort) else "destination"
    live = Sync.objects.filter(**{field: row.pk, "archived_at": None})
    found = list(live.select_related("cohort", "destination__driver").order_by("pk")[: MOST + 1])
    now = timezone.now()
    facts = facts_of(found[:MOST], now)
    rows = []
    for sync in found[:MOST]:
        state = state_of(facts[sync.pk])
        rows.append(
            {
                "name": sync.destination if field == "cohort" else sync.cohort.name,
                "url": columns.sync_url(sync.pk),
                "state": columns.state_label(state),
                "next": columns.when(facts[sync.pk].next_due_at, now),
                "held": f"{facts[sync.pk].held:,}",
            }
        )
    add = reverse("admin:syncs_sync_new")
    return "syncs/hanging.html", {
        "rows": rows,
        "title": "Where it goes" if field == "cohort" else "Its syncs",
        "heading": "Destination" if field == "cohort" else "Cohort",
        "all_url": f"{reverse('admin:syncs_sync_changelist')}?{field}__id__exact={row.pk}",
        "more": len(found) > MOST,
        "add_words": "Send it to a destination" if field == "cohort" else "Send a cohort to it",
        "add_url": f"{add}?{field}={row.pk}" if request.user.has_perm("syncs.add_sync") else "",
    }


def sending_of(request: HttpRequest, row: Destination) -> tuple[str, dict[str, Any]] | None:
    """How sending to it stands; nothing while it is as it should be."""
    driver = Driver.objects.filter(pk=row.pk).first()
    parked = driver is not None and driver.next_at is not None and driver.next_at > timezone.now()
    if not row.is_paused and not parked:
        return None
    return "syncs/sending.html", {
        "destination": row,
        "paused_at": columns.when(row.paused_at),
        "driver": driver,
        "until": columns.when(driver.next_at) if driver else "",
    }


def health_of(request: HttpRequest, row: Destination) -> tuple[str, dict[str, Any]] | None:
    """How its latest runs fared, how quickly it answers, whom it holds. Three queries."""
    if not request.user.has_perm("syncs.view_run"):
        return None
    live = Sync.objects.filter(destination=row, archived_at=None).annotate(held=held_there())
    there = live.aggregate(syncs=Count("pk"), users=Sum("held"))
    runs = list(Run.objects.filter(sync__destination=row).order_by("-pk")[:LATEST_RUNS])
    failed = [run for run in runs if run.state == RunState.FAILED]
    ended = [run for run in runs if run.finished_at]
    return "syncs/health.html", {
        "there": there,
        "runs": len(ended),
        "failed": len(failed),
        "last_failed": failed[0] if failed else None,
        "latencies": latencies_of([run.pk for run in runs]),
        "chart": chart_of(runs),
    }


def latencies_of(runs: list[int]) -> tuple[int, int] | None:
    """Return the median and the 95th percentile of the runs' latest requests, in milliseconds. One query."""
    latest = Batch.objects.filter(run__in=runs).order_by("-pk").values_list("latency_ms", flat=True)
    found = sorted(ms for ms in latest[:LATEST_BATCHES] if ms is not None)
    return (found[len(found) // 2], found[len(found) * 95 // 100]) if found else None


panels.add(Destination, sending_of)
panels.add(Destination, health_of)
panels.add(Destination, syncs_of)
panels.add(Cohort, syncs_of)
