"""What has arrived becomes events that count: files of the watched folder, and what came by HTTP.

The worker asks again and again, commands that cron starts ask once; with nothing there, that costs a look
at some folders, and DuckDB is not even loaded.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from django.conf import settings
from django.core.cache import cache
from django.db.models import Sum
from django.utils import timezone

from events.engine_errors import EngineError
from events.models import WORKED_AT, CatalogueEntry, EventFile, EventUpload
from events.workspace_folders import Folders, Refused, workspaces

log = logging.getLogger(__name__)
# Seconds.
RECOUNT_EVERY = 3600
# Of what is inserted, so many arrivals are remembered.
MOST_ARRIVALS = 200
SETTLE_EVERY = 24 * 3600


def take_in_all(stopped: Callable[[], bool] = lambda: False, *, among: Iterable[str] | None = None) -> bool:
    """Take in what has arrived for each workspace, or for those of `among`; return whether all went well.

    What fails for one workspace is logged, and keeps no other from its events: it is tried again next time.
    """
    well = True
    for workspace in with_arrivals() if among is None else among:
        if stopped():
            break
        try:
            take_in(workspace)
        except (EngineError, Refused, OSError) as error:
            log.error("%s: what has arrived was not taken in: %s", workspace, error)
            well = False
        except Exception:  # a workspace's edge
            log.exception("%s: what has arrived was not taken in.", workspace)
            well = False
    return well


def recount_if_due() -> None:
    """Once an hour count the events at EVENTS_URL, for the names that forms offer."""
    if not settings.EVENTS_INSERT or not cache.add("events.recounted", 1, timeout=RECOUNT_EVERY):
        return
    # Here and not above: as DuckDB below.
    from events import catalogue
    from events.event_tables import NotInserted
    from events.inserting import own_tables

    try:
        for workspace in own_tables(settings.EVENTS_URL).workspaces():
            before = _events_counted(workspace)
            catalogue.recount_inserted(workspace)
            if _events_counted(workspace) > before:
                times = [timezone.now(), *arrivals_inserted(workspace)][:MOST_ARRIVALS]
                cache.set(_key(workspace), times, timeout=None)
    except (NotInserted, Refused) as error:
        log.warning("The events at EVENTS_URL were not counted: %s", error)


def arrivals_inserted(workspace: str) -> list[datetime]:
    """Return when a count of our tables at EVENTS_URL found more events than the one before, the last first.
    They are in the cache alone: what is lost delays a hint."""
    found: list[datetime] = cache.get(_key(workspace), [])
    return found


def _key(workspace: str) -> str:
    return f"events.arrivals.{workspace}"


def _events_counted(workspace: str) -> int:
    events = CatalogueEntry.objects.filter(workspace=workspace, property_name="")
    return int(events.aggregate(all=Sum("count"))["all"] or 0)


def known_workspaces() -> list[str]:
    """Return the workspaces that have a folder, or events that were counted, wherever these are kept."""
    counted = CatalogueEntry.objects.order_by().values_list("workspace", flat=True).distinct()
    return sorted({*workspaces(), *counted})


def settle_if_due() -> None:
    """Once a day delete, of what was said of users and devices at EVENTS_URL, what later words stand for."""
    if not settings.EVENTS_INSERT or not cache.add("events.settled", 1, timeout=SETTLE_EVERY):
        return
    # Here and not above: as DuckDB below.
    from events.correct import settle
    from events.event_tables import NotInserted

    try:
        settle()
    except (NotInserted, Refused) as error:
        log.warning("What is settled at EVENTS_URL was not deleted: %s", error)


def with_arrivals() -> list[str]:
    """Return the workspaces with a folder here, and those of files that another machine took."""
    elsewhere = EventUpload.objects.filter(state__in=WORKED_AT).values_list("workspace", flat=True)
    return sorted({*workspaces(), *elsewhere})


def take_in(workspace: str) -> None:
    """Import what lies in the workspace's watched folder, and publish what came by HTTP.

    Waits for another process that is at it. Raises what a compaction raises: EngineError, OSError.
    """
    if not waits(workspace):
        return
    # Here and not above: a command that finds nothing has no use for DuckDB.
    from events import compact, folder, uploads

    uploads.work_off(workspace)
    for taken in folder.scan(workspace):
        log.info("%s: %s", workspace, taken)
    compact.compact(workspace)


def waits(workspace: str) -> bool:
    """Say whether something waits to be taken in, or files that nobody reads any more to be removed."""
    folders = Folders(workspace)
    inbox = folders.root / "inbox"
    arrived = any(path.is_file() for path in inbox.iterdir()) if inbox.is_dir() else False
    arrived = arrived or EventUpload.objects.waiting(workspace).exists()
    return arrived or oldest_arrival(workspace) is not None or EventFile.objects.removable(workspace).exists()


def oldest_arrival(workspace: str) -> float | None:
    """Return since when something that came by HTTP waits to be taken in, in Unix seconds; or None."""
    folders = Folders(workspace)
    found = []
    for folder in (folders.spool, folders.sealed):
        for path in folder.rglob("*.jsonl"):
            try:
                found.append(path.stat().st_mtime)
            except FileNotFoundError:  # just taken in
                found.append(time.time())
    return min(found, default=None)
