"""What hangs on a cohort or a destination: its syncs and how they stand, on its page."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from cohorts.models import Cohort
from destinations.models import Destination
from pagekit import panels
from syncs.admin import columns
from syncs.models import Driver, Sync
from syncs.status.facts import facts_of
from syncs.status.state import state_of

# So many are shown; all are in the list of syncs.
MOST = 20


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
    add = reverse("admin:syncs_sync_add")
    return "syncs/hanging.html", {
        "rows": rows,
        "title": "Where it goes" if field == "cohort" else "Its syncs",
        "heading": "Destination" if field == "cohort" else "Cohort",
        "all_url": f"{reverse('admin:syncs_sync_changelist')}?{field}__id__exact={row.pk}",
        "more": len(found) > MOST,
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


panels.add(Destination, sending_of)
panels.add(Destination, syncs_of)
panels.add(Cohort, syncs_of)
