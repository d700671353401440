"""What the form of a cohort asks while a person fills it in: is it right, which names are there, a preview.

Each takes the cohorts' admin and the request; `asked` has checked the permission. Answers are JSON, a
preview's is a part of a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_http_methods

from cohorts import query
from cohorts.choices import PreviewState, SourceKind
from cohorts.definitions import Definition, DefinitionError, parse
from cohorts.definitions.forbidden_names import why_not
from cohorts.models import Cohort, Preview
from cohorts.previewing import older_events
from cohorts.sources import USE_QUERY
from cohorts.suggesting import frequent_values
from events.catalogue import event_names, event_properties, user_properties
from events.engine import EngineError
from events.naming import read_names
from events.store import DEFAULT_WORKSPACE
from events.times import EPOCH as EARLIEST
from events.times import LATEST

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Admin = ModelAdmin[Cohort]

MOST_NAMES = 500
Answer = Callable[..., HttpResponseBase]


def asked(admin: Admin, view: Answer, methods: Sequence[str]) -> Answer:
    """Wrap one of the views below for the admin's addresses: for who may add or change cohorts."""

    @require_http_methods(methods)
    def wrapped(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        if not (
            request.user.has_perm("cohorts.add_cohort") or request.user.has_perm("cohorts.change_cohort")
        ):
            raise PermissionDenied
        return view(admin, request, **kwargs)

    checked: Answer = admin.admin_site.admin_view(wrapped)
    return checked


def check(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """Return the sentence of the definition in the body, or its problems as pairs of pointer and message."""
    try:
        definition = _parsed(request.body)
    except DefinitionError as error:
        return JsonResponse({"sentence": "", "problems": error.problems})
    known = set(Cohort.objects.filter(key__in=definition.cohort_keys()).values_list("key", flat=True))
    missing = sorted(definition.cohort_keys() - known)
    problems = [("/where", f'There is no cohort "{key}".') for key in missing]
    names = read_names(request.GET.get("workspace", "").replace("\0", "") or DEFAULT_WORKSPACE)
    problems += [("/where", said) for said in why_not(definition, names)]
    return JsonResponse({"sentence": definition.sentence(), "problems": problems})


def _parsed(body: bytes) -> Definition:
    try:
        return parse(json.loads(body))
    except (ValueError, RecursionError) as error:
        if isinstance(error, DefinitionError):
            raise
        raise DefinitionError([("", f"This is not JSON: {error}")]) from None


def names(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """Return the names that complete what is typed: events, an event's properties, users' properties."""
    workspace = request.GET.get("workspace", "") or DEFAULT_WORKSPACE
    event = request.GET.get("event", "").replace("\0", "")
    if event:
        found = event_properties(workspace.replace("\0", ""), event, limit=MOST_NAMES)
        return JsonResponse({"properties": [[e.property_name, e.type] for e in found]})
    events = event_names(workspace.replace("\0", ""), limit=MOST_NAMES)
    users = user_properties(workspace.replace("\0", ""), limit=MOST_NAMES)
    return JsonResponse(
        {
            "events": [[entry.event, f"{entry.count:,} times"] for entry in events],
            "users": [[entry.property_name, entry.type] for entry in users],
            "cohorts": list(Cohort.objects.order_by("name").values_list("key", "name")[:MOST_NAMES]),
            "defined": list(_defined().values_list("key", "name")[:MOST_NAMES]),
        }
    )


def _defined() -> QuerySet[Cohort]:
    return Cohort.objects.filter(source_kind=SourceKind.BEHAVIORAL, definition__isnull=False).order_by("name")


def values(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """Return the frequent values of a property, each with how often it came; of a user's without an event."""
    workspace, event, name = (
        request.GET.get(key, "").replace("\0", "") for key in ("workspace", "event", "property")
    )
    found = frequent_values(workspace or DEFAULT_WORKSPACE, event, name) if name else []
    return JsonResponse({"values": [[value, f"{count:,} times"] for value, count in found]})


def definition(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """Return the definition of a cohort, to begin another with."""
    found = get_object_or_404(_defined(), key=request.GET.get("cohort", "").replace("\0", ""))
    return JsonResponse({"definition": found.definition})


def preview(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """Let the worker calculate the source in the body; return where its preview is. 400: it is wrong."""
    try:
        wanted = json.loads(request.body)
        made = _wanted(request, wanted if isinstance(wanted, dict) else {})
    except (ValueError, RecursionError, EngineError) as error:
        return JsonResponse({"error": str(error)}, status=400)
    if made.live:
        # One at a time for each person: what waits is about what they have changed meanwhile.
        Preview.objects.filter(created_by=request.user.pk, live=True, state=PreviewState.WAITING).delete()
    made.save()
    shown = "counts" if made.live else "part"
    return JsonResponse({"url": reverse(f"admin:cohorts_preview_{shown}", args=[made.pk])}, status=201)


def _wanted(request: HttpRequest, wanted: dict[str, Any]) -> Preview:
    made = Preview(source_kind=wanted.get("source_kind", ""))
    made.created_by_id = request.user.pk or 0
    if made.source_kind == SourceKind.QUERY:
        if not request.user.has_perm(USE_QUERY):
            raise PermissionDenied
        made.query_database, made.query_sql = str(wanted.get("query_database")), str(wanted.get("query_sql"))
        query.check_query(made.query_database, made.query_sql, None)
    elif made.source_kind == SourceKind.BEHAVIORAL:
        made.definition = wanted.get("definition")
        parse(made.definition)
        made.events_workspace = str(wanted.get("events_workspace") or DEFAULT_WORKSPACE)[:50]
        made.as_of = _instant(wanted.get("as_of"))
        made.live = wanted.get("live") is True
    else:
        raise ValueError("Only what is calculated can be previewed.")
    return made


def _instant(text: Any) -> datetime | None:
    """Return what a field for date and time holds; empty is None. Without a zone it is in the site's."""
    if not text:
        return None
    try:
        found = parse_datetime(text) if isinstance(text, str) else None
    except ValueError:  # it looks like one, and there is no such day
        found = None
    if found is not None and timezone.is_naive(found):
        found = timezone.make_aware(found)
    if found is None or not EARLIEST <= found < LATEST:
        raise ValueError("As of: this is not a date and time between 1970 and 2199.")
    return found


def preview_part(admin: Admin, request: HttpRequest, preview_id: int) -> HttpResponseBase:
    """Show a preview as a part of a page: see preview.js."""
    return TemplateResponse(request, "cohorts/preview_part.html", _shown(request, preview_id))


def preview_counts(admin: Admin, request: HttpRequest, preview_id: int) -> HttpResponseBase:
    """Return how many pass each condition, for the form: see live.js. 404: a newer one took its place."""
    found = _of_person(request, preview_id)
    counts = dict(found.counts)
    return JsonResponse(
        {
            "open": _is_open(found),
            "waiting": found.state == PreviewState.WAITING,
            "error": found.error,
            "size": found.size,
            "everyone": counts.pop("", 0),
            "conditions": counts,
        }
    )


def preview_page(admin: Admin, request: HttpRequest, preview_id: int) -> HttpResponseBase:
    """Show a preview to who has left the form and comes back."""
    request.current_app = admin.admin_site.name
    known = {**admin.admin_site.each_context(request), "title": "Preview", "opts": Cohort._meta}
    return TemplateResponse(request, "cohorts/preview.html", {**known, **_shown(request, preview_id)})


def _shown(request: HttpRequest, preview_id: int) -> dict[str, Any]:
    found = _of_person(request, preview_id)
    older = older_events(found) if found.state == PreviewState.DONE else None
    return {"preview": found, "open": _is_open(found), "last_event": older}


def _of_person(request: HttpRequest, preview_id: int) -> Preview:
    return get_object_or_404(Preview, pk=preview_id, created_by=request.user.pk)


def _is_open(found: Preview) -> bool:
    return found.state in (PreviewState.WAITING, PreviewState.RUNNING)
