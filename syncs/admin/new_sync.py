"""A new sync, step by step. What a step makes is there when one comes back; the address says the rest.

…/sync/new/                        who: a cohort, a file that becomes one, a definition begun here
…/sync/new/?cohort=1               where: a destination, or a partner of the gallery
…/destination/2/test-request/      how it answers, of one that was just made
…/sync/add/?cohort=1&destination=2 when; what it would send; start
"""

from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from cohorts.from_file import FromFileForm
from cohorts.models import Cohort
from destinations.forms import GalleryForm
from destinations.models import Destination
from pagekit.way import by_way_of
from syncs.models import Sync
from syncs.status.state import users

# Of each kind; the search finds the others.
SHOWN = 12
# What a link may set of the form that it leads to.
KEPT = ("schedule_kind",)


def new(admin: "ModelAdmin[Sync]", request: HttpRequest) -> HttpResponse:
    """Show the step that comes next: who, where; the form has the others."""
    if not request.user.has_perm("syncs.add_sync"):
        raise PermissionDenied
    cohort = _named(Cohort.objects.all(), request.GET.get("cohort", ""))
    destination = _named(Destination.objects.all(), request.GET.get("destination", ""))
    if cohort and destination:
        return HttpResponseRedirect(form_url(request, cohort, destination))
    known = admin.admin_site.each_context(request)
    known |= {"opts": admin.opts, "title": "New sync", "asked": request.GET.get("q", "")[:100]}
    known |= {"steps": steps(request, cohort, destination)}
    if cohort:
        return TemplateResponse(request, "syncs/new_where.html", known | _where(request, cohort))
    return TemplateResponse(request, "syncs/new_who.html", known | _who(request, destination))


def steps(
    request: HttpRequest, cohort: Cohort | None, destination: Destination | None
) -> list[dict[str, Any]]:
    """Return the steps, with what is chosen or missing, and where each is chosen anew."""
    current = 0 if cohort is None else 1 if destination is None else 2
    return [
        {
            "label": "Who",
            "said": f"{cohort.name}, {_members(cohort)}" if cohort else "a cohort, a file or a definition",
            "url": step_url(request, None, destination) if cohort else "",
            "current": current == 0,
        },
        {
            "label": "Where",
            "said": str(destination) if destination else "a destination, or a new one",
            "url": step_url(request, cohort, None) if destination and cohort else "",
            "current": current == 1,
        },
        {
            "label": "When, and start",
            "said": "its schedule, and what it would send",
            "url": "",
            "current": current == 2,
        },
    ]


def steps_of_form(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the steps as they stand above the form, which is the last of them; none if nothing is chosen."""
    cohort = _named(Cohort.objects.all(), request.GET.get("cohort", ""))
    destination = _named(Destination.objects.all(), request.GET.get("destination", ""))
    return steps(request, cohort, destination) if cohort and destination else []


def step_url(request: HttpRequest, cohort: Cohort | None, destination: Destination | None) -> str:
    """Return the address of the flow with this chosen."""
    chosen = {"cohort": cohort, "destination": destination}
    query = {name: row.pk for name, row in chosen.items() if row}
    kept = {name: request.GET[name] for name in KEPT if name in request.GET}
    url = reverse("admin:syncs_sync_new")
    return f"{url}?{urlencode(query | kept)}" if query or kept else url


def form_url(request: HttpRequest, cohort: Cohort, destination: Destination) -> str:
    query = step_url(request, cohort, destination).partition("?")[2]
    return f"{reverse('admin:syncs_sync_add')}?{query}"


def _named(rows: "QuerySet[Any]", key: str) -> Any:
    """Return the row of a key that an address gives, or None."""
    return rows.filter(pk=key).first() if key.isascii() and key.isdecimal() and len(key) < 18 else None


def _members(cohort: Cohort) -> str:
    return users(cohort.size) if cohort.version else "no members yet"


def _who(request: HttpRequest, destination: Destination | None) -> dict[str, Any]:
    """Return the cohorts to choose from: first those that go nowhere yet. One query."""
    live = Sync.objects.filter(cohort=OuterRef("pk"), archived_at=None)
    there = live.filter(destination=destination.pk if destination else 0)
    found = Cohort.objects.annotate(sent=Exists(live), there=Exists(there))
    words = request.GET.get("q", "").replace("\0", "").strip()[:100]
    found = found.filter(Q(name__icontains=words) | Q(key__icontains=words)) if words else found
    shown: list[Any] = list(found.order_by("sent", "name", "pk")[: SHOWN + 1])
    here = step_url(request, None, destination)
    make = f"{reverse('admin:cohorts_cohort_add')}?source_kind=behavioral"
    may_make = request.user.has_perm("cohorts.add_cohort")
    return {
        "choices": [
            {
                "title": cohort.name,
                "said": _members(cohort),
                "note": "goes there already" if cohort.there else "" if cohort.sent else "goes nowhere yet",
                "url": "" if cohort.there else step_url(request, cohort, destination),
            }
            for cohort in shown[:SHOWN]
        ],
        "more": len(shown) > SHOWN,
        "define_url": by_way_of(make, here) if may_make else "",
        "file_url": by_way_of(reverse("admin:cohorts_from_file"), here),
        "form": FromFileForm(may_keep=request.user.has_perm("people.add_profileimport"))
        if may_make and request.user.has_perm("cohorts.add_upload")
        else None,
    }


def _where(request: HttpRequest, cohort: Cohort) -> dict[str, Any]:
    """Return the destinations to choose from, and the partners for a new one. One query."""
    there = Sync.objects.filter(destination=OuterRef("pk"), cohort=cohort, archived_at=None)
    gallery = GalleryForm(request.GET)
    words = request.GET.get("q", "").replace("\0", "").strip()[:100]
    found = Destination.objects.annotate(there=Exists(there))
    found = found.filter(Q(name__icontains=words) | Q(title__icontains=words)) if words else found
    shown: list[Any] = list(found.order_by("there", "name")[: SHOWN + 1])
    new_one = by_way_of(reverse("admin:destinations_destination_add"), step_url(request, cohort, None))
    return {
        "cohort": cohort,
        "choices": [
            {
                "title": str(destination),
                "said": destination.host,
                "note": "goes there already"
                if destination.there
                else "paused"
                if destination.is_paused
                else "",
                "url": "" if destination.there else form_url(request, cohort, destination),
            }
            for destination in shown[:SHOWN]
        ],
        "more": len(shown) > SHOWN,
        "presets": gallery.matching() if request.user.has_perm("destinations.add_destination") else {},
        "add_url": new_one,
    }
