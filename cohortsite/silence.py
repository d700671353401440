"""What nobody says by itself: there is no worker, events are not taken in, a source went quiet,
a token ends.

    worries(now)  ─▶ the overview, /healthz, /metrics, and alerts (notified once, and once when it is over)

A quiet source is a hint, learned from when it brought something before: QUIET_SOURCES=false switches it off.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from cohorts.choices import CALCULATED, ScheduleKind, SourceKind, UploadState
from cohorts.definitions import DefinitionError, parse
from cohorts.models import Cohort, Upload
from cohortsite import broker
from cohortsite.heartbeat import EVERY, last_beat
from cohortsite.models import EXPIRES_SOON, ApiToken, Proposal
from events.arrivals import arrivals_inserted, known_workspaces, oldest_arrival
from events.models import WORKED_AT, CatalogueEntry, EventFile, EventUpload, NameKind, NameRule
from events.models import UploadState as FileState
from events.naming import read_names
from events.workspace_folders import workspaces
from pagekit.times import ago
from people.models import ImportState, ProfileImport
from receiving.models import Workspace
from syncs import alerts
from syncs.alerts.routing import channels_of
from syncs.choices import CompareState, RunState
from syncs.models import Comparison, Run
from syncs.status.attention import GRACE

# A worker gives a sign of life each 10 seconds.
DEAD = timedelta(seconds=120)
# After so long without one it is asked whether the broker is away.
QUIET = timedelta(seconds=3 * EVERY)
# What waits for a worker so long is not just about to be taken.
WAITS = timedelta(seconds=60)
# Events that came by HTTP are taken in within seconds.
SPOOLED = GRACE
# Quiet sources and tokens that end are looked for so often: it takes some queries.
LOOK_EVERY = 300
# Of a source, so many arrivals are learned from, and so few are not enough.
MOST, FEWEST = 200, 8
# Cohorts and workspaces that are looked at.
SOURCES = 50
WEEK = timedelta(days=7)
# A token that was used within this time is in use.
IN_USE = timedelta(days=30)
# A clock may be wrong by this much.
AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Worry:
    """`key` is the same as long as it is the same worry, and ends with what it is about; `kind` is what
    /metrics calls it."""

    kind: str
    key: str
    sentence: str


KINDS = ("broker", "worker", "spool", "upload", "source", "window", "token")


def worries(now: datetime) -> list[Worry]:
    """Return what a person should know of the site as a whole."""
    return [*_worker(now), *_spool(now), *_uploads(now), *_sources(now)]


def about(row: Cohort | Workspace, now: datetime) -> list[str]:
    """Return what was found, when it was looked for last, of a cohort or of the workspace of its events."""
    keys = {f"{what} {row.key}" for what in ("cohort", "window")} if isinstance(row, Cohort) else set()
    slug = row.slug if isinstance(row, Workspace) else row.events_workspace
    by_events = isinstance(row, Workspace) or row.source_kind == SourceKind.BEHAVIORAL
    if by_events:
        keys |= {f"{what} {slug}" for what in ("events", "future")}
    found = [*(_spooled(slug, now) if by_events else []), *(cache.get("silence.sources") or [])]
    return [worry.sentence for worry in found if worry.kind == "spool" or worry.key in keys]


def notes() -> list[str]:
    """Return what is no worry, and better known."""
    if channels_of():
        return []
    return ["Nobody is notified when something is wrong: add an alert channel under Operations."]


def tell() -> None:
    """Write an alert for each worry that is new, and for each that is over. For the worker, and for cron."""
    if not cache.add("silence.tell", 1, timeout=WAITS.total_seconds()):
        return
    alerts.tell_of_site({worry.key: worry.sentence for worry in worries(timezone.now())}, _proposed())


def _proposed() -> dict[str, str]:
    """Return what waits for a second person, by what it is about."""
    return {
        f"proposal {proposal.pk}, {proposal}"[
            :200
        ]: f"{proposal}: {proposal.proposer} proposes it, and another person has to approve it."
        for proposal in Proposal.objects.waiting().order_by("pk")[:SOURCES]
    }


# --- the worker ---------------------------------------------------------------------------------


def waiting_for_worker(now: datetime) -> str:
    """Return what waits for a worker while there is none, in words; or ''."""
    return "" if _lives(last_beat(), now) else _waiting(now)


def _lives(beat: datetime | None, now: datetime) -> bool:
    return beat is not None and now - beat < DEAD


def _waiting(now: datetime) -> str:
    before = now - WAITS
    pending = Run.objects.filter(
        state=RunState.PENDING, created_at__lt=before, sync__destination__paused_at=None
    )
    uploads = Upload.objects.filter(state=UploadState.WAITING, created_at__lt=before)
    of_events = EventUpload.objects.filter(state__in=WORKED_AT, created_at__lt=before)
    of_profiles = ProfileImport.objects.open().filter(created_at__lt=before)
    comparisons = Comparison.objects.filter(state=CompareState.WAITING, created_at__lt=before)
    due = Cohort.objects.filter(source_kind__in=CALCULATED, next_due_at__lt=now - GRACE)
    found = (
        (pending.count(), "run"),
        (uploads.count() + of_events.count() + of_profiles.count(), "upload"),
        (comparisons.count(), "comparison"),
        (due.count(), "calculation"),
    )
    return ", ".join(f"{number:,} {word}{'s' * (number != 1)}" for number, word in found if number)


def broker_away(now: datetime) -> str:
    """Return why the broker of the workers cannot be used, or ''. Not asked while they give signs of life."""
    if not settings.CELERY_BROKER_URL:
        return ""
    beat = last_beat()
    return "" if beat is not None and now - beat < QUIET else broker.why_away()


def _worker(now: datetime) -> Iterator[Worry]:
    if away := broker_away(now):
        said = f"The broker that CELERY_BROKER_URL names cannot be used: {away.rstrip('.')}."
        yield Worry("broker", "broker", f"{said} What waits is kept, and is done when it is back.")
        return
    beat = last_beat()
    if not _lives(beat, now) and (waits := _waiting(now)):
        since = f"The last sign of a worker was {ago(beat, now)}" if beat else "There is no worker"
        celery = "Start celery -A cohortsite worker, for the queue due, too, and celery -A cohortsite beat."
        remedy = celery if settings.CELERY_BROKER_URL else "Start sync_worker, or let cron call sync_due."
        yield Worry("worker", "worker", f"{since}, and there wait: {waits}. {remedy}")


# --- events that are not taken in ---------------------------------------------------------------


def oldest_spooled(now: datetime) -> timedelta:
    """Return how long the oldest event that came by HTTP has waited to be taken in."""
    found = [at for workspace in workspaces() if (at := oldest_arrival(workspace)) is not None]
    return max(now - datetime.fromtimestamp(min(found), UTC), timedelta()) if found else timedelta()


def _spool(now: datetime) -> Iterator[Worry]:
    for workspace in workspaces():
        yield from _spooled(workspace, now)


def _spooled(workspace: str, now: datetime) -> Iterator[Worry]:
    at = oldest_arrival(workspace)
    if at is not None and now - datetime.fromtimestamp(at, UTC) > SPOOLED:
        since = ago(datetime.fromtimestamp(at, UTC), now)
        yield Worry(
            "spool",
            f"spool {workspace}",
            f"Events of “{workspace}” that came {since} are not taken in yet: no cohort counts them. "
            "The log of the worker says why; without one, let cron call refresh_cohorts.",
        )


# --- files that were not imported ---------------------------------------------------------------


ITS_PAGE = "its page says why."


def _uploads(now: datetime) -> Iterator[Worry]:
    """Yield the cohorts whose last file failed, until they get members in another way, or for a week; and
    the workspaces whose last file of events did.
    """
    later = Upload.objects.filter(cohort=OuterRef("cohort"), pk__gt=OuterRef("pk"))
    failed = Upload.objects.filter(~Exists(later), state=UploadState.FAILED, finished_at__gt=now - WEEK)
    still = failed.exclude(cohort__published_at__gt=F("finished_at")).select_related("cohort")
    for upload in still.order_by("-pk")[:SOURCES]:
        yield Worry(
            "upload",
            f"upload {upload.cohort.key}",
            f"The file {upload.original_name[:100]} for “{upload.cohort.name}” was not imported: "
            # What is said of a field quotes somebody's address or number.
            + (ITS_PAGE if upload.fields else upload.error[:300]),
        )
    newer = EventUpload.objects.filter(workspace=OuterRef("workspace"), pk__gt=OuterRef("pk"))
    files = EventUpload.objects.filter(~Exists(newer), state=FileState.FAILED, started_at__gt=now - WEEK)
    for of_events in files.order_by("-pk")[:SOURCES]:
        yield Worry(
            "upload",
            f"file {of_events.workspace}",
            f"The file of events {of_events.name[:100]} for “{of_events.workspace}” was not imported: "
            f"{of_events.said[:300]}",
        )
    after = ProfileImport.objects.filter(workspace=OuterRef("workspace"), pk__gt=OuterRef("pk"))
    profiles = ProfileImport.objects.filter(
        ~Exists(after), state=ImportState.FAILED, finished_at__gt=now - WEEK
    )
    for one in profiles.order_by("-pk")[:SOURCES]:
        yield Worry(
            "upload",
            f"profiles {one.workspace}",
            f"The file of profiles {one.source[:100]} for “{one.workspace}” was not imported: {ITS_PAGE}",
        )


# --- API tokens that end ------------------------------------------------------------------------


def _tokens(now: datetime) -> Iterator[Worry]:
    """Yield the tokens that end soon, or did within a week, and were in use: scripts stop then."""
    ending = ApiToken.objects.filter(
        expires_at__gt=now - WEEK,
        expires_at__lt=now + EXPIRES_SOON,
        last_used_at__gt=now - IN_USE,
        revoked_at=None,
        user__is_active=True,
        user__is_staff=True,
    )
    for token in ending.select_related("user").order_by("expires_at")[:SOURCES]:
        assert token.expires_at
        ends = "expires" if token.expires_at > now else "expired"
        yield Worry(
            "token",
            f"token {token.prefix}… {token.pk}",
            f"The API token “{token.name}” ({token.prefix}…) of {token.user.get_username()}, which is in "
            f"use, {ends} on {token.expires_at:%Y-%m-%d %H:%M} UTC. Make another for what uses it, then "
            "revoke this one.",
        )


# --- sources that went quiet --------------------------------------------------------------------


def limit_of(times: Sequence[datetime]) -> timedelta | None:
    """Return after how long without an arrival a source is unusually quiet; None when that is not known.

    `times`: of its arrivals, in order. Three times the longest pause that there was, six hours at least;
    a day at least for a source that is known for less than a week, whose nights and Sundays we may not
    have seen.
    """
    if len(times) < FEWEST:
        return None
    longest = max(later - earlier for earlier, later in itertools.pairwise(times))
    known = times[-1] - times[0]
    return max(3 * longest, timedelta(hours=6) if known >= WEEK else timedelta(days=1))


def look_again() -> None:
    """Look anew for what is looked for once in a while only: somebody has done something about it."""
    cache.delete("silence.sources")


def _sources(now: datetime) -> list[Worry]:
    if not settings.QUIET_SOURCES:
        return [*_tokens(now)]
    found: list[Worry] | None = cache.get("silence.sources")
    if found is None:
        quiet = (*_quiet_cohorts(now), *_quiet_workspaces(now), *_outside_windows(now))
        found = [*quiet, *_tokens(now)]
        cache.set("silence.sources", found, timeout=LOOK_EVERY)
    return found


def _quiet_cohorts(now: datetime) -> Iterator[Worry]:
    """Yield the cohorts that are given their members, and have got none for unusually long."""
    given = Cohort.objects.exclude(source_kind__in=CALCULATED).filter(
        published_at__lt=now - timedelta(hours=6), published_at__gt=now - timedelta(days=90)
    )
    for cohort in given.order_by("-published_at")[:SOURCES]:
        latest = cohort.versions.order_by("-number").values_list("started_at", flat=True)[:MOST]
        if sentence := _quiet(list(latest), now):
            name = f"The cohort “{cohort.name}” has got no members {sentence}"
            yield Worry("source", f"cohort {cohort.key}", name)


def _quiet_workspaces(now: datetime) -> Iterator[Worry]:
    for workspace in known_workspaces()[:SOURCES]:
        files = EventFile.objects.filter(workspace=workspace).order_by("-pk")
        times = list(files.values_list("created_at", flat=True)[:MOST])
        if settings.EVENTS_INSERT:
            times = sorted([*times, *arrivals_inserted(workspace)], reverse=True)[:MOST]
        if sentence := _quiet(times, now):
            yield Worry("source", f"events {workspace}", f"“{workspace}” has got no events {sentence}")


def _quiet(latest: list[datetime], now: datetime) -> str:
    """Return since when a source is quiet, if it is unusual; `latest` are its arrivals, the last first."""
    times = sorted(latest)
    limit = limit_of(times)
    if limit is None or now - times[-1] <= limit:
        return ""
    hint = "It usually does sooner. (QUIET_SOURCES=false switches this hint off.)"
    return f"since {times[-1]:%Y-%m-%d %H:%M} UTC. {hint}"


# --- events that no window reaches --------------------------------------------------------------


def _outside_windows(now: datetime) -> Iterator[Worry]:
    """Yield cohorts whose events all lie before their windows, and workspaces with events of the future.

    Only of cohorts that are calculated by themselves: others may be meant as of another time.
    """
    newest = _newest()
    for workspace in sorted({workspace for workspace, _ in newest}):
        latest = max(at for (of, _), at in newest.items() if of == workspace)
        if latest > now + AHEAD:
            said = f"“{workspace}” has events of the future, up to {latest:%Y-%m-%d}: no cohort counts them."
            yield Worry("window", f"future {workspace}", said)
    by_itself = Q(refresh_before_sync=True) | ~Q(schedule_kind=ScheduleKind.MANUAL)
    behavioral = Cohort.objects.filter(by_itself, source_kind=SourceKind.BEHAVIORAL)
    for cohort in behavioral.order_by("pk")[:SOURCES]:
        if at := _newest_before_window(cohort, newest, now):
            last = f"the last is of {at:%Y-%m-%d}"
            said = f"All events that “{cohort.name}” counts lie before its windows; {last}."
            yield Worry("window", f"window {cohort.key}", said)


def _newest() -> dict[tuple[str, str], datetime]:
    """Return when each event was last, by its workspace and each name that it has and had."""
    came: dict[str, dict[str, datetime]] = defaultdict(dict)
    events = CatalogueEntry.objects.filter(property_name="").exclude(event="")
    for workspace, event, at in events.values_list("workspace", "event", "last_seen"):
        came[workspace][event] = at
    renamed = NameRule.objects.filter(kind=NameKind.EVENT).exclude(renamed_to="")
    for workspace in set(renamed.values_list("workspace", flat=True)) & set(came):
        names, mine = read_names(workspace).events, came[workspace]
        for name in {one for pair in names.renamed.items() for one in pair}:
            if times := [mine[one] for one in names.stored(name) if one in mine]:
                mine[name] = max(times)
    return {(workspace, event): at for workspace, mine in came.items() for event, at in mine.items()}


def _newest_before_window(
    cohort: Cohort, newest: Mapping[tuple[str, str], datetime], now: datetime
) -> datetime | None:
    """Return the newest event that a cohort counts if even that one lies before its longest window."""
    try:
        definition = parse(cohort.definition)
    except DefinitionError:  # said where it is calculated
        return None
    longest = definition.longest_window()
    times = [
        newest[cohort.events_workspace, name]
        for name in definition.event_names()
        if (cohort.events_workspace, name) in newest
    ]
    if longest is None or not times or max(times) >= now - longest:
        return None
    return max(times)
