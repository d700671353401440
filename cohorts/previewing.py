"""Previews: what a source would give, calculated by a worker while the person looks or leaves."""

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from cohorts import behavioral, counting, query
from cohorts.calculate import FAILURES, published_members
from cohorts.choices import PreviewState, SourceKind
from cohorts.definitions import parse
from cohorts.models import Preview
from events.catalogue import last_event_at
from events.engine import Limits

# A worker that dies twice over the same preview will die again.
MOST_ATTEMPTS = 2
KEPT = timedelta(days=1)


def limits() -> Limits:
    """Return what a calculation may use for which a person waits."""
    return replace(Limits.configured(), seconds=settings.PREVIEW_SECONDS)


def run_waiting() -> list[Preview]:
    """Calculate the previews that wait, oldest first; return those that this process has ended."""
    Preview.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    ended = []
    for preview in Preview.objects.open().order_by("pk"):
        if Preview.objects.start(preview.pk):
            preview.refresh_from_db()
            _run(preview)
            ended.append(preview)
    return ended


def _run(preview: Preview) -> None:
    if preview.attempts > MOST_ATTEMPTS:
        said = "The worker ended twice while it calculated this; its log says more."
        Preview.objects.end(preview.pk, preview.attempts, PreviewState.FAILED, error=said)
        return
    try:
        found = _found(preview)
    except FAILURES as error:
        Preview.objects.end(preview.pk, preview.attempts, PreviewState.FAILED, error=str(error))
    except Exception as error:  # a preview's edge: the person is told, and the worker goes on
        said = f"{type(error).__name__}: {error}"
        Preview.objects.end(preview.pk, preview.attempts, PreviewState.FAILED, error=said)
        raise
    else:
        Preview.objects.end(preview.pk, preview.attempts, PreviewState.DONE, **found)


def _found(preview: Preview) -> dict[str, Any]:
    if preview.live:
        return _counted(preview)
    return _queried(preview) if preview.source_kind == SourceKind.QUERY else _performed(preview)


def _counted(preview: Preview) -> dict[str, Any]:
    found = counting.counts(
        preview.definition,
        preview.as_of or timezone.now(),
        cohorts=published_members,
        limits=limits(),
        workspace=preview.events_workspace,
    )
    return {"size": found.size, "counts": {"": found.everyone, **found.conditions}}


def _performed(preview: Preview) -> dict[str, Any]:
    return asdict(
        behavioral.preview(
            parse(preview.definition),
            preview.as_of or timezone.now(),
            cohorts=published_members,
            limits=limits(),
            workspace=preview.events_workspace,
        )
    )


def older_events(preview: Preview) -> datetime | None:
    """Return the instant just after the last event, if every event lies before the preview's longest window.

    Old data would otherwise look like a definition that nobody fits.
    """
    as_of = preview.as_of or preview.finished_at
    if preview.source_kind != SourceKind.BEHAVIORAL or as_of is None:
        return None
    last = last_before_window(preview.definition, preview.events_workspace, as_of)
    # A whole second, for the field in the form has no smaller ones.
    return last.replace(microsecond=0) + timedelta(seconds=1) if last else None


def last_before_window(definition: Any, workspace: str, as_of: datetime) -> datetime | None:
    """Return the time of the last event, if every event lies before the definition's longest window."""
    if settings.EVENTS_URL:
        return None
    longest, last = parse(definition).longest_window(), last_event_at(workspace)
    return last if longest is not None and last is not None and last < as_of - longest else None


def _queried(preview: Preview) -> dict[str, Any]:
    size = 0

    def counted() -> Iterator[str]:
        nonlocal size
        for user_id in query.members(preview.query_database, preview.query_sql, None, limits=limits()):
            size += 1
            yield user_id

    sample = heapq.nsmallest(behavioral.SAMPLE, counted(), key=lambda user_id: zlib.crc32(user_id.encode()))
    return {"size": size, "sample": sorted(sample), "sql": preview.query_sql}
