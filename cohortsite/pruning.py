"""Deleting what is kept no longer, in every app: see docs/operations.md, Retention."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from cohorts.choices import UploadState
from cohorts.models import Preview, Upload
from events.engine_errors import EngineError
from events.workspace_folders import Refused
from people.models import ImportState, ProfileImport
from people.scrubbing import delete_files
from receiving import prune as receiving_prune
from syncs import prune as syncs_prune

# Of history, for prune_history, where HISTORY_DAYS is not set.
DAYS = 90.0


@dataclass(frozen=True)
class Pruned:
    """What went: rows of history, of the partners' side, files of uploads, events."""

    intervals: int
    runs: int
    receiving: dict[str, int]
    uploads: int
    previews: int
    events: int


def history_days() -> float:
    """Return how many days of history the next pruning leaves."""
    return float(settings.HISTORY_DAYS or DAYS)


def prune(now: datetime, days: float) -> Pruned:
    """Delete what is kept no longer: history of more than so many days, all else by its setting."""
    history = syncs_prune.prune(before=now - timedelta(days=days))
    received = receiving_prune.prune(now)
    before = now - timedelta(days=settings.UPLOADS_KEEP_DAYS)
    return Pruned(
        history.intervals,
        history.runs,
        received,
        sum(delete_files(rows.filter(created_at__lt=before)) for rows in failed_files()),
        Preview.objects.filter(created_at__lt=before).delete()[0],
        _forget_events(now),
    )


def failed_files() -> tuple[QuerySet[Upload], QuerySet[ProfileImport]]:
    """Files that failed are kept to be tried again."""
    return (
        Upload.objects.filter(state=UploadState.FAILED).exclude(file=""),
        ProfileImport.objects.filter(state=ImportState.FAILED).exclude(file=""),
    )


def _forget_events(now: datetime) -> int:
    """Delete events that are too old, of each workspace; one that cannot be corrected raises at the end."""
    if not settings.EVENTS_HISTORY_DAYS:
        return 0
    from events.correct import (  # here: the engine takes long to import
        NothingToCorrect,
        Wanted,
        delete_events,
    )
    from events.inserting import all_workspaces

    wanted, number = Wanted(until=now - timedelta(days=settings.EVENTS_HISTORY_DAYS)), 0
    failed: Exception | None = None
    for workspace in all_workspaces():
        try:
            number += delete_events(workspace, "EVENTS_HISTORY_DAYS", wanted).events
        except NothingToCorrect:
            continue
        except (EngineError, Refused, OSError) as error:
            failed = failed or error
    if failed:
        raise failed
    return number
