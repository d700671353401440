"""What the site keeps, for how long, and what the next pruning takes: one page.

Counts stop at MOST, and each line takes a fixed number of statements, however much there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from cohorts.choices import VersionState
from cohorts.models import CohortVersion, Member, Preview, Upload
from cohortsite.pruning import failed_files, history_days
from events.models import EventFile, EventUpload, FileKind, FileState
from people.models import ProfileImport, Suppression, Tombstone
from receiving import prune as receiving_prune
from receiving.models import RequestLog, SeenMessage, UserTrait, Workspace
from syncs import prune as syncs_prune
from syncs.models import Alert, Comparison, Rejection, Run

# Rows beyond this are not counted: "more than" is enough to know.
MOST = 1_000_000
PERMISSION = "syncs.view_run"


@dataclass(frozen=True, slots=True)
class Kept:
    """One kind of what is kept. `takes`: what the next pruning deletes of it, in words; '' for nothing."""

    what: str
    holds: str
    rule: str
    oldest: datetime | None = None
    takes: str = ""
    url: str = ""


# --- the page ------------------------------------------------------------------------------------


def page(request: HttpRequest) -> HttpResponse:
    """GET /admin/retention/."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    context = admin.site.each_context(request) | {"title": "Retention", "kept": list(kept(timezone.now()))}
    return TemplateResponse(request, "cohortsite/retention.html", context | {"database": database_bytes()})


def kept(now: datetime) -> Iterator[Kept]:
    yield from _events(now)
    yield _requests(now)
    yield _messages(now)
    yield from _history(now - timedelta(days=history_days()))
    yield _uploads(now - timedelta(days=settings.UPLOADS_KEEP_DAYS))
    yield from _people()
    yield _changes()


def _events(now: datetime) -> Iterator[Kept]:
    files = EventFile.objects.aggregate(
        number=Sum("rows", filter=Q(state=FileState.LISTED, kind=FileKind.EVENTS)),
        files=Count("pk", filter=Q(state=FileState.LISTED)),
        stored=Sum("size", filter=Q(state=FileState.LISTED)),
        oldest=Min("created_at", filter=Q(state=FileState.LISTED)),
        replaced=Count("pk", filter=Q(state=FileState.RETIRED)),
        replaced_size=Sum("size", filter=Q(state=FileState.RETIRED)),
        replaced_oldest=Min("retired_at", filter=Q(state=FileState.RETIRED)),
        due=Count(
            "pk",
            filter=Q(state=FileState.RETIRED, retired_at__lt=now - timedelta(days=settings.EVENTS_KEEP_DAYS)),
        ),
    )
    days = settings.EVENTS_HISTORY_DAYS
    yield Kept(
        "Events",
        f"{files['number'] or 0:,} events, {_bytes(files['stored'])} in {_some(files['files'], 'file')}",
        f"Events older than {days:g} days are deleted (EVENTS_HISTORY_DAYS)."
        if days
        else "All are kept (EVENTS_HISTORY_DAYS is 0).",
        files["oldest"],
        f"Those before {now - timedelta(days=days):%Y-%m-%d}." if days and files["number"] else "",
        reverse("admin:events_catalogueentry_changelist"),
    )
    yield Kept(
        "Replaced files of events",
        f"{_some(files['replaced'], 'file')}, {_bytes(files['replaced_size'])}",
        f"Kept for {settings.EVENTS_KEEP_DAYS:g} days after a merge or correction (EVENTS_KEEP_DAYS).",
        files["replaced_oldest"],
        f"{_some(files['due'], 'file')}." if files["due"] else "",
    )


def _requests(now: datetime) -> Kept:
    """Each workspace has limits of its own; those who have the same days are asked about together."""
    too_old = Q(workspace=None, received_at__lt=now - timedelta(days=receiving_prune.NOBODYS_DAYS))
    for days in Workspace.objects.order_by().values_list("log_days", flat=True).distinct():
        too_old |= Q(workspace__log_days=days, received_at__lt=now - timedelta(days=days))
    latest = RequestLog.objects.order_by("-pk").values("pk")[:MOST]
    found = RequestLog.objects.filter(pk__in=latest).aggregate(
        entries=Count("pk"),
        size=Sum("stored_bytes"),
        oldest=Min("received_at"),
        old=Count("pk", filter=too_old),
    )
    return Kept(
        "Request log",
        f"{_counted(found['entries'], 'call')}, bodies of {_bytes(found['size'])}",
        "Each workspace has its own days and bytes; what is beyond is deleted, by calls as they come, too.",
        found["oldest"],
        f"{_some(found['old'], 'call')} beyond the days." if found["old"] else "",
        reverse("admin:receiving_workspace_changelist"),
    )


def _messages(now: datetime) -> Kept:
    before = now - receiving_prune.KEEP_MESSAGES
    old = _count(SeenMessage.objects.filter(seen_at__lt=before))
    return Kept(
        "Message ids",
        _counted(_count(SeenMessage.objects.all()), "id"),
        f"Kept for {receiving_prune.KEEP_MESSAGES.days} days, so that a repeated call changes nothing.",
        SeenMessage.objects.aggregate(at=Min("seen_at"))["at"],
        f"{_counted(old, 'id')}." if old else "",
    )


def _history(before: datetime) -> Iterator[Kept]:
    rule = f"Kept for {history_days():g} days (HISTORY_DAYS)"
    old = _count(syncs_prune.prunable_runs(before))
    yield Kept(
        "Runs and batches",
        _counted(_count(Run.objects.all()), "run"),
        f"{rule}, and the last of each sync, and those that rejected users name.",
        _oldest(Run, "created_at"),
        f"{_counted(old, 'run')} with their batches." if old else "",
        reverse("admin:syncs_run_changelist"),
    )
    ended = Member.objects.filter(left_version__isnull=False)
    number = _count(ended)
    due = _count(ended.filter(left_version__lte=Subquery(_current_at(before))))
    yield Kept(
        "Old versions of cohorts",
        f"{_counted(number, 'interval')} of membership that ended",
        f"{rule}, and longer where a sync or a run needs them.",
        CohortVersion.objects.aggregate(at=Min("started_at"))["at"],
        f"At most {_counted(due, 'interval')}." if due else "",
        reverse("admin:cohorts_cohort_changelist"),
    )
    compared = _count(syncs_prune.prunable_comparisons(before))
    yield Kept(
        "Comparisons with partners",
        _counted(_count(Comparison.objects.all()), "comparison"),
        f"{rule}, and the last of each sync.",
        _oldest(Comparison, "created_at"),
        f"{_counted(compared, 'comparison')} with the users that differed." if compared else "",
    )
    alerts = _count(Alert.objects.filter(created_at__lt=before))
    yield Kept(
        "Alerts",
        _counted(_count(Alert.objects.all()), "alert"),
        f"{rule}.",
        _oldest(Alert, "created_at"),
        f"{_counted(alerts, 'alert')}." if alerts else "",
        reverse("admin:syncs_alert_changelist"),
    )


def _current_at(before: datetime) -> QuerySet[CohortVersion, Any]:
    """The version that was a cohort's latest at a moment, as cohorts.prune asks for it."""
    published = CohortVersion.objects.filter(
        cohort=OuterRef("cohort_id"), state=VersionState.PUBLISHED, finished_at__lte=before
    )
    return published.order_by("-number").values("number")[:1]


def _uploads(before: datetime) -> Kept:
    failed = failed_files()
    waiting = (
        Upload.objects.open().count()
        + ProfileImport.objects.open().count()
        + EventUpload.objects.exclude(state__in=["done", "failed"]).count()
    )
    due = [rows.filter(created_at__lt=before).count() for rows in failed]
    oldest = [rows.aggregate(at=Min("created_at"))["at"] for rows in failed]
    previews = Preview.objects.filter(created_at__lt=before).count()
    number = sum(rows.count() for rows in failed)
    takes = [_some(sum(due), "failed file")] * (sum(due) > 0) + [_some(previews, "preview")] * (previews > 0)
    return Kept(
        "Uploaded files",
        f"{_some(waiting, 'file')} that wait, {_some(number, 'file')} that failed",
        "Deleted when they are imported. Those that failed, and previews of cohorts, are kept for "
        f"{settings.UPLOADS_KEEP_DAYS:g} days (UPLOADS_KEEP_DAYS).",
        min((at for at in oldest if at), default=None),
        ", ".join(takes) + "." * bool(takes),
    )


def _people() -> Iterator[Kept]:
    rejected = Rejection.objects.all()
    yield Kept(
        "Rejected users",
        _counted(_count(rejected), "user"),
        "Kept until the partner takes them, they leave, or somebody dismisses them.",
        _oldest(Rejection, "first_at"),
        url=reverse("admin:syncs_rejection_changelist"),
    )
    yield Kept(
        "Profiles",
        _counted(_count(UserTrait.objects.all()), "value"),
        "Kept until they are unset, or the person is erased.",
        url=reverse("admin:people_profileimport_changelist"),
    )
    suppressed, erased = _count(Suppression.objects.all()), _count(Tombstone.objects.all())
    yield Kept(
        "Suppressed and erased people",
        f"{_counted(suppressed, 'person', 'people')} on the list or once on it, "
        f"{_counted(erased, 'keyed hash', 'keyed hashes')} of people who were erased",
        "Kept: they keep old files from bringing somebody back.",
        url=reverse("admin:people_suppression_changelist"),
    )


def _changes() -> Kept:
    models: list[Any] = [LogEntry, *apps.get_app_config("cohortsite").get_models()]
    records = (model for model in models if model is LogEntry or hasattr(model, "history_date"))
    number = sum(_count(model.objects.all()) for model in records)
    return Kept(
        "Changes of the configuration",
        _counted(number, "record"),
        "Kept: who changed what is asked for long afterwards.",
        LogEntry.objects.aggregate(at=Min("action_time"))["at"],
    )


def database_bytes() -> int:
    """Return the size of the database."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_database_size(current_database())")
        else:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
        return int(cursor.fetchone()[0])


def _count(rows: QuerySet[Any]) -> int:
    """Count rows, MOST + 1 at most."""
    return rows.order_by()[: MOST + 1].count()


def _oldest(model: Any, field: str) -> datetime | None:
    """Return the time of the first row, whose key is the lowest."""
    found: datetime | None = model.objects.order_by("pk").values_list(field, flat=True).first()
    return found


def _some(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"more than {_some(MOST, one, many)}" if number > MOST else _some(number, one, many)


def _bytes(number: int | None) -> str:
    return filesizeformat(number or 0).replace("\xa0", " ")
