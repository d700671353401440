"""The admin's pages about one cohort: upload, members, the difference of two versions, decisions.

Each takes the cohorts' admin, the request and the cohort's primary key; `page` has checked the permission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from cohorts import calculate, csv_export, importing, members, previewing
from cohorts.charts import charts_of
from cohorts.choices import CALCULATED, SourceKind, UploadState
from cohorts.definitions import parse
from cohorts.explain import explain
from cohorts.models import Cohort, Upload
from cohorts.schedule import InvalidSchedule
from cohorts.upload_form import UploadForm
from events.table_forms import LOOKED_AT
from events.user_ids import InvalidUserId, check_user_id
from people.column_forms import ColumnsLookForm

if TYPE_CHECKING:
    from pagekit.overview import OverviewAdmin

    Admin = OverviewAdmin

PAGE = 100
# Versions on the overview's charts, in its table, and on a page of all of them.
CHARTED, LATEST, LISTED = 30, 5, 50
# Changes read to show a difference; of more, the numbers come from the versions, or are "at least".
MOST_MOVES = 10_000

Page = Callable[..., HttpResponseBase]
# Pages that are within another one's tab.
TABS = {"difference": "versions", "upload_state": "versions"}


def page(admin: Admin, view: Page, permission: str, methods: Sequence[str]) -> Page:
    """Wrap one of the pages below for the admin's addresses."""

    @require_http_methods(methods)
    def wrapped(request: HttpRequest, pk: int, **kwargs: Any) -> HttpResponseBase:
        if not request.user.has_perm(f"cohorts.{permission}"):
            raise PermissionDenied
        return view(admin, request, get_object_or_404(Cohort, pk=pk), **kwargs)

    checked: Page = admin.admin_site.admin_view(wrapped)
    return checked


# --- uploads ------------------------------------------------------------------------------------


def upload(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """The form; what it takes is stored for the worker."""
    try:
        importing.check_source(cohort, SourceKind.UPLOAD)
    except importing.WrongSource as error:
        messages.error(request, str(error))
        return _to(cohort)
    may_keep = request.user.has_perm("people.add_profileimport")
    form = UploadForm(cohort, request.POST or None, request.FILES or None, may_keep=may_keep)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            stored = Upload.objects.create(
                cohort=cohort,
                file=data["file"],
                original_name=data["file"].name[:255],
                mode=data["mode"],
                column=data["column"],
                said=form.said(),
                refuse_suspicious=data["refuse_suspicious"],
                fields=Upload.kept(form.kept_fields()),
                created_by_id=request.user.pk,
            )
        except OSError as error:
            form.add_error("file", f"The file could not be stored: {error}")
        else:
            return HttpResponseRedirect(reverse("admin:cohorts_upload_state", args=[cohort.pk, stored.pk]))
    return _render(admin, request, cohort, "upload", f"Upload users: {cohort.name}", form=form)


def upload_look(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    return look(admin, request)


def look(admin: Admin, request: HttpRequest) -> HttpResponseBase:
    """A part of the page: what the file that was chosen is, before it is sent."""
    form = ColumnsLookForm(request.POST, request.FILES)
    if not form.is_valid() or (form.cleaned_data["file"].size or 0) > LOOKED_AT:
        return HttpResponse("The beginning of a file is missing.", status=400)
    return TemplateResponse(request, "pagekit/upload_look.html", form.look())


def upload_state(admin: Admin, request: HttpRequest, cohort: Cohort, upload_id: int) -> HttpResponseBase:
    """What becomes of an upload; the page asks `upload_json` and may be left."""
    stored = get_object_or_404(Upload, pk=upload_id, cohort=cohort)
    may_upload = request.user.has_perm("cohorts.add_upload")
    can_retry = may_upload and stored.state == UploadState.FAILED and bool(stored.file)
    return _render(
        admin,
        request,
        cohort,
        "upload_state",
        stored.original_name,
        upload=stored,
        can_retry=can_retry,
        may_upload=may_upload,
        cohort_id=str(cohort.pk),
        open=stored.state in (UploadState.WAITING, UploadState.IMPORTING),
    )


def upload_json(admin: Admin, request: HttpRequest, cohort: Cohort, upload_id: int) -> HttpResponseBase:
    stored = get_object_or_404(Upload, pk=upload_id, cohort=cohort)
    return JsonResponse(
        {
            "open": stored.state in (UploadState.WAITING, UploadState.IMPORTING),
            "words": f"{stored.get_state_display()}, {stored.percent} %",
            "percent": stored.percent,
        }
    )


def upload_again(admin: Admin, request: HttpRequest, cohort: Cohort, upload_id: int) -> HttpResponseBase:
    if not Upload.objects.filter(cohort=cohort).try_again(upload_id):
        messages.warning(request, "This upload did not fail, or somebody is trying it again already.")
    return HttpResponseRedirect(reverse("admin:cohorts_upload_state", args=[cohort.pk, upload_id]))


# --- members ------------------------------------------------------------------------------------


def members_page(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """Members of a version, in the order of their bytes, those that begin with `q`, page by page."""
    version = _version(request, "version", cohort, default=cohort.version)
    wanted, after = (request.GET.get(name, "").replace("\0", "") for name in ("q", "after"))
    found = _beginning(cohort, version, wanted, after)
    more = ""
    if len(found) > PAGE:
        found = found[:PAGE]
        more = urlencode({"q": wanted, "version": version, "after": found[-1]})
    since = members.since(cohort.pk, version, found)
    versions = {v.number: v for v in cohort.versions.filter(number__in=set(since.values()))}
    return _render(
        admin,
        request,
        cohort,
        "members",
        f"Members: {cohort.name}",
        version=version,
        wanted=wanted,
        after=after,
        rows=[(user_id, since.get(user_id), versions.get(since.get(user_id, 0))) for user_id in found],
        size=members.size_of(cohort.pk, version),
        more=more,
    )


def _beginning(cohort: Cohort, version: int, wanted: str, after: str) -> list[str]:
    """Return up to PAGE + 1 members that begin with `wanted`; the first may be `wanted` itself."""
    exact = [] if after or not wanted else list(members.is_in_version(cohort.pk, version, [wanted]))
    following = members.in_version_page(cohort.pk, version, max(after, wanted), PAGE + 1 - len(exact))
    return exact + list(takewhile(lambda user_id: user_id.startswith(wanted), following))


def export(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """The members of a version as a CSV file, as a stream."""
    version = _version(request, "version", cohort, default=cohort.version)
    pages = members.pages_of_version(cohort.pk, version)
    chunks = csv_export.chunks(pages, for_spreadsheet="spreadsheet" in request.GET)
    return _download(chunks, f"{cohort.key}-v{version}.csv")


# --- why ----------------------------------------------------------------------------------------


def why(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """Each condition of the definition with its truth for one user, as of a version or of now."""
    version = cohort.versions.filter(number=cohort.version, as_of__isnull=False).first()
    when = "version" if version and request.GET.get("when") != "now" else "now"
    as_of = version.as_of if version and version.as_of and when == "version" else timezone.now()
    given = version.definition if version and when == "version" else cohort.definition
    user_id = request.GET.get("user", "")
    found, error, stored = None, "", False
    if user_id:
        try:
            user_id = check_user_id(user_id)
            found = explain(
                parse(given),
                user_id,
                as_of,
                in_cohort=lambda key: _has(Cohort.objects.filter(key=key).first(), user_id),
                limits=previewing.limits(),
                workspace=cohort.events_workspace,
            )
            stored = _has(cohort, user_id)
        except InvalidUserId as problem:
            error = f"The user id {problem}."
        except calculate.FAILURES as problem:
            error = str(problem)
    shown = {"found": found, "error": error, "stored": stored, "when": when, "as_of": as_of}
    title = f"Why a user is in or not: {cohort.name}"
    return _render(admin, request, cohort, "why", title, user_id=user_id, version=version, **shown)


def _has(cohort: Cohort | None, user_id: str) -> bool:
    if cohort is None or cohort.version == 0:
        return False
    return bool(list(members.is_in_version(cohort.pk, cohort.version, [user_id])))


# --- versions -----------------------------------------------------------------------------------


def versions_page(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """Every version, the newest first, page by page; and the files that were uploaded."""
    before = request.GET.get("before", "")
    found = cohort.versions.order_by("-number")
    if before.isascii() and before.isdecimal() and len(before) < 10:
        found = found.filter(number__lt=int(before))
    shown = list(found[: LISTED + 1])
    return _render(
        admin,
        request,
        cohort,
        "versions",
        f"Versions: {cohort.name}",
        versions=shown[:LISTED],
        older=shown[LISTED - 1].number if len(shown) > LISTED else None,
        uploads=cohort.uploads.select_related("created_by")[:LISTED],
    )


def difference(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """Who entered and left between two versions: how many, and the first of them."""
    b = _version(request, "to", cohort, default=cohort.held_number or cohort.version)
    a = _version(request, "from", cohort, default=_before(cohort, b))
    if a > b:
        a, b = b, a
    moves = members.moves_page(cohort.pk, a, b, "", MOST_MOVES)
    whole = len(moves) < MOST_MOVES
    entered = [move.user_id for move in moves if move.now and not move.was]
    left = [move.user_id for move in moves if move.was and not move.now]
    counts = _counts(cohort, a, b) or (len(entered), len(left))
    held = cohort.versions.filter(number=b).first() if b == cohort.held_number else None
    return _render(
        admin,
        request,
        cohort,
        "difference",
        f"Version {a} to version {b}: {cohort.name}",
        a=a,
        b=b,
        entered=counts[0],
        left=counts[1],
        at_least=not whole and _counts(cohort, a, b) is None,
        whole=whole,
        first_entered=entered[:PAGE],
        first_left=left[:PAGE],
        size_a=members.size_of(cohort.pk, a),
        size_b=members.size_of(cohort.pk, b),
        held=held,
        can_decide=request.user.has_perm("cohorts.change_cohortversion"),
    )


def difference_export(admin: Admin, request: HttpRequest, cohort: Cohort) -> HttpResponseBase:
    """The whole difference of two versions as CSV, as a stream."""
    a = _version(request, "from", cohort, default=0)
    b = _version(request, "to", cohort, default=cohort.version)
    for_spreadsheet = "spreadsheet" in request.GET

    def lines() -> Iterator[str]:
        yield "user_id,change\n"
        after = ""
        while moves := members.moves_page(cohort.pk, a, b, after, members.PAGE):
            yield "".join(
                f"{csv_export.cell(move.user_id, for_spreadsheet=for_spreadsheet)},"
                f"{'entered' if move.now else 'left'}\n"
                for move in moves
                if move.was != move.now
            )
            after = moves[-1].user_id

    return _download(lines(), f"{cohort.key}-v{a}-to-v{b}.csv")


def _counts(cohort: Cohort, a: int, b: int) -> tuple[int, int] | None:
    """Return how many entered and left, if the version itself tells: b follows a."""
    version = cohort.versions.filter(number=b).first()
    if version is None or a != _before(cohort, b):
        return None
    return version.entered, version.left


def _before(cohort: Cohort, number: int) -> int:
    """Return the version that was the latest before this one; 0 before the first."""
    earlier = cohort.versions.filter(number__lt=number, state="published", number__gte=cohort.readable_from)
    return earlier.order_by("-number").values_list("number", flat=True).first() or 0


def _version(request: HttpRequest, name: str, cohort: Cohort, *, default: int) -> int:
    """Return the version that the address names; 404 unless it can be read."""
    text = request.GET.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Http404("A version is a number.")
    try:
        members.readable(cohort.pk, int(text))
    except members.UnreadableVersion as error:
        raise Http404(str(error)) from None
    return int(text)


def _download(chunks: Iterator[str], name: str) -> HttpResponseBase:
    response = StreamingHttpResponse(chunks, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _to(cohort: Cohort) -> HttpResponse:
    return HttpResponseRedirect(cohort.get_absolute_url())


def _render(
    admin: Admin, request: HttpRequest, cohort: Cohort, name: str, title: str, **context: Any
) -> TemplateResponse:
    request.current_app = admin.admin_site.name
    known = admin.admin_site.each_context(request) | admin.around(request, cohort, TABS.get(name, name))
    return TemplateResponse(
        request, f"cohorts/{name}.html", {**known, "title": title, "cohort": cohort, **context}
    )


def about(cohort: Cohort) -> dict[str, Any]:
    """Return what the cohort's overview shows below its state. Two queries."""
    versions = list(cohort.versions.order_by("-number")[:CHARTED])
    return {
        "cohort": cohort,
        "last": next((version for version in versions if version.number == cohort.version), None),
        "versions": versions[:LATEST],
        "charts": charts_of(versions),
        "calculated": cohort.source_kind in CALCULATED,
        "schedule_words": _schedule_words(cohort),
        "uploads": cohort.uploads.select_related("created_by")[:LATEST],
    }


def _schedule_words(cohort: Cohort) -> str:
    try:
        return cohort.schedule().describe()
    except InvalidSchedule as error:
        return f"Not valid: {error.message}"
