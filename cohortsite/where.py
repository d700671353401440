"""One search for a user: their cohorts, what each destination was sent, rejections, what partners sent us.

What a destination was sent is read from the versions: whoever is in a sync's settled version was added,
whoever left by it was removed, but for the rejected ones. Nothing is kept for each user; the batch is
found again by its range.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Case, F, IntegerField, OuterRef, Q, Subquery, Value, When
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from cohorts.choices import SourceKind
from cohorts.models import Cohort, CohortVersion, Member
from cohortsite import taking_out
from events.user_ids import InvalidUserId, check_user_id
from people import suppression
from receiving import reading
from receiving.errors import NotFound
from receiving.models import Workspace
from syncs import links
from syncs.admin import columns
from syncs.choices import DONE_RUNS, MOVING
from syncs.models import Batch, Rejection, Sync
from syncs.status.facts import last_runs

# Of each kind, this many are shown.
MOST = 100
WORKSPACES = 20
# Cohorts that a user is not in: there may be thousands.
OTHERS = 20


@dataclass(slots=True)
class Sent:
    """What a destination was sent of the user; `when` is the end of the run that sent it."""

    sync: Sync
    sentence: str
    tone: str
    url: str
    when: datetime | None = None
    batch_url: str = ""


@dataclass(slots=True)
class Membership:
    """The user's time in a cohort; versions, and when these were published."""

    cohort: Cohort
    intervals: list[tuple[int, int | None]]
    url: str
    is_in: bool = False
    since: int = 0
    since_at: datetime | None = None
    left: int | None = None
    left_at: datetime | None = None
    sent: list[Sent] = field(default_factory=list)


def page(request: HttpRequest) -> HttpResponse:
    """GET /admin/where/?user=ID."""
    if not request.user.has_perm("cohorts.view_cohort"):
        raise PermissionDenied
    asked = request.GET.get("user", "")
    context = {**admin.site.each_context(request), "title": "Where is user X?", "asked": asked}
    if asked:
        try:
            context |= _found(check_user_id(asked), request)
        except InvalidUserId as error:
            context["problem"] = f"The user id {error}."
    return TemplateResponse(request, "cohortsite/where.html", context)


def _found(user_id: str, request: HttpRequest) -> dict[str, Any]:
    memberships = memberships_of(user_id)
    rejections = list(rejections_of(user_id)) if request.user.has_perm("syncs.view_rejection") else []
    if request.user.has_perm("syncs.view_sync"):
        tell(user_id, memberships, {rejection.sync_id: rejection for rejection in rejections})
    held = list(holdings(user_id)) if request.user.has_perm("receiving.view_list") else []
    return {
        "user_id": user_id,
        "memberships": memberships,
        "rejections": [
            (
                rejection,
                columns.pair(rejection.sync),
                reverse("admin:syncs_rejection_change", args=[rejection.pk]),
            )
            for rejection in rejections
        ],
        "holdings": held,
        "found": True,
        "may_download": request.user.has_perm("people.read_person"),
        **taking_out.offered(request, user_id),
        "suppressed": bool(suppression.among([user_id])),
        "nothing": not (memberships or rejections or held),
        "trimmed": user_id.strip() if user_id != user_id.strip() else "",
        "outside": outside(user_id, memberships),
    }


def memberships_of(user_id: str) -> list[Membership]:
    """Return the cohorts that the user is or was in. Two queries: one look-up by key for each cohort."""
    rows = (
        Member.objects.filter(cohort__in=Cohort.objects.order_by().values("pk"), user_id=user_id)
        .filter(entered_version__lte=F("cohort__version"))
        .select_related("cohort")
        .order_by("cohort__name", "cohort_id", "entered_version")
    )
    found: dict[int, Membership] = {}
    for row in rows[:MOST]:
        url = reverse("admin:cohorts_cohort_overview", args=[row.cohort_id])
        mine = found.setdefault(row.cohort_id, Membership(row.cohort, [], url))
        mine.intervals.append((row.entered_version, row.left_version))
    for membership in found.values():
        _stand(membership)
    _date(found.values())
    return list(found.values())


def outside(user_id: str, memberships: list[Membership]) -> list[tuple[Cohort, str]]:
    """Return cohorts that the user never was in, each with the page that says why not, or ''. One query."""
    query = urlencode({"user": user_id})
    others = Cohort.objects.exclude(pk__in=[mine.cohort.pk for mine in memberships]).order_by("name", "pk")
    return [
        (
            cohort,
            f"{reverse('admin:cohorts_why', args=[cohort.pk])}?{query}"
            if cohort.source_kind == SourceKind.BEHAVIORAL
            else "",
        )
        for cohort in others[:OTHERS]
    ]


def _stand(mine: Membership) -> None:
    mine.since, left = mine.intervals[-1]
    mine.is_in = left is None or left > mine.cohort.version
    mine.left = None if mine.is_in else left


def _date(memberships: Iterable[Membership]) -> None:
    """Say when each entered or left. One query."""
    pairs = [(m.cohort.pk, number) for m in memberships for number in (m.since, m.left) if number]
    wanted = Q(pk=None)
    for cohort, number in pairs:
        wanted |= Q(cohort=cohort, number=number)
    at = {(v.cohort_id, v.number): v.finished_at for v in CohortVersion.objects.filter(wanted)}
    for mine in memberships:
        mine.since_at = at.get((mine.cohort.pk, mine.since))
        mine.left_at = at.get((mine.cohort.pk, mine.left or 0))


# --- what destinations were sent ----------------------------------------------------------------


def tell(user_id: str, memberships: list[Membership], rejected: dict[int, Rejection]) -> None:
    """Add to each membership what the destinations of its cohort were told. Two queries."""
    by_cohort = {mine.cohort.pk: mine for mine in memberships}
    found = Sync.objects.filter(cohort__in=by_cohort).select_related("cohort", "destination")
    syncs = list(found.order_by("destination__name")[:MOST])
    keys = links.intervals_of(user_id) if any(sync.projection_id for sync in syncs) else {}
    sent_as = {sync.pk: _as_sent(sync, by_cohort[sync.cohort_id], keys) for sync in syncs}
    runs = _runs({sync.pk: _boundary(sync, sent_as[sync.pk]) for sync in syncs})
    batches = _batches(user_id, [run for run, _ in runs.values()])
    for sync in syncs:
        run, ended = runs.get(sync.pk, (0, None))
        sent = _sent(sync, sent_as[sync.pk], rejected.get(sync.pk))
        if sync.pk not in rejected and run:
            sent.when, sent.batch_url = ended, batches.get(run, columns.run_url(run))
        by_cohort[sync.cohort_id].sent.append(sent)


def _as_sent(sync: Sync, mine: Membership, keys: dict[int, dict[str, list[links.Interval]]]) -> Membership:
    """Return when the user was in what the destination is sent: the cohort, or its projection."""
    if sync.projection_id is None:
        return mine
    pairs = [pair for known in keys.get(sync.projection_id, {}).values() for pair in known]
    return replace(mine, intervals=sorted(pairs, key=lambda pair: pair[0]))


def _boundary(sync: Sync, mine: Membership) -> int:
    """Return the version that says what the destination was sent last of the user; 0 when nothing was."""
    numbers = [number for pair in mine.intervals for number in pair if number]
    return max((number for number in numbers if number <= sync.settled_version), default=0)


def _runs(boundaries: dict[int, int]) -> dict[int, tuple[int, datetime | None]]:
    """Return, of each sync, the first run that ended well at or after a version: key and end."""
    known = {pk: version for pk, version in boundaries.items() if version}
    if not known:
        return {}
    cases = [When(pk=pk, then=Value(version)) for pk, version in known.items()]
    least = Case(*cases, output_field=IntegerField())
    first = last_runs().filter(state__in=DONE_RUNS).order_by("pk")
    syncs = Sync.objects.filter(pk__in=known).order_by().annotate(least=least)
    first = first.filter(to_version__gte=OuterRef("least"))
    rows = syncs.annotate(
        run=Subquery(first.values("pk")[:1]), ended=Subquery(first.values("finished_at")[:1])
    )
    return {pk: (run, ended) for pk, run, ended in rows.values_list("pk", "run", "ended") if run}


def _batches(user_id: str, runs: list[int]) -> dict[int, str]:
    """Return the address of each run's batch whose range holds the user."""
    found = Batch.objects.filter(run__in=runs, first_user__lte=user_id, last_user__gte=user_id)
    found = found.filter(step__in=MOVING).order_by("pk")
    return {
        run: reverse("admin:syncs_run_batch", args=[run, number])
        for run, number in found.values_list("run", "number")[:MOST]
    }


def _sent(sync: Sync, mine: Membership, rejection: Rejection | None) -> Sent:
    settled = sync.settled_version
    url = columns.sync_url(sync.pk)
    if rejection:
        wanted = "add" if rejection.wanted else "remove"
        return Sent(sync, f"was asked to {wanted} this user, and did not: {rejection.message}", "danger", url)
    if settled == 0:
        return Sent(sync, "was sent nothing yet", "default", url)
    held = any(entered <= settled and (left is None or left > settled) for entered, left in mine.intervals)
    was = any(entered <= settled for entered, _ in mine.intervals)
    words = "has this user" if held else "was asked to remove this user" if was else "never had this user"
    if sync.dirty:
        return Sent(
            sync, f"{words} as of version {settled}; a run since then has not finished", "warning", url
        )
    late = "" if held == mine.is_in else "; the next run tells it what has changed since"
    tone = "warning" if late else "success" if held else "default"
    return Sent(sync, f"{words} as of version {settled}{late}", tone, url)


def rejections_of(user_id: str) -> Iterable[Rejection]:
    """Return the user's rejections; by way of the syncs, whose index has the users in order."""
    found = Rejection.objects.filter(sync__in=Sync.objects.order_by().values("pk"), user_id=user_id)
    return found.select_related("sync__cohort", "sync__destination").order_by("sync")[:MOST]


def holdings(user_id: str) -> Iterable[dict[str, Any]]:
    """Yield, of each workspace that knows the user, the lists and traits that partners sent."""
    for workspace in Workspace.objects.order_by("slug")[:WORKSPACES]:
        try:
            yield {"workspace": workspace, **reading.describe_user(workspace, user_id)}
        except NotFound:
            continue
