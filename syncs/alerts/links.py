"""Which page a message about alerts links to."""

from collections.abc import Sequence

from django.conf import settings
from django.urls import reverse

from syncs.choices import AlertKind
from syncs.models import Alert


def link_to(alerts: Sequence[Alert]) -> str:
    """Return the address of the page of what they are about; '' without SITE_URL.

    All are of one destination, or of the site: as a message gathers them.
    """
    if not settings.SITE_URL:
        return ""
    first = alerts[0]
    if first.sync is None:
        proposed = AlertKind.PROPOSED in (first.kind, first.was)
        page = reverse("admin:cohortsite_proposal_changelist" if proposed else "admin:index")
    elif len(alerts) > 1:
        page = first.sync.destination.get_absolute_url()
    else:
        page = reverse("admin:syncs_sync_overview", args=[first.sync_id])
    return f"{settings.SITE_URL}{page}"


def overview() -> str:
    return f"{settings.SITE_URL}{reverse('admin:index')}" if settings.SITE_URL else ""
