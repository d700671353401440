"""Which events and properties there are: counted at publication, read by forms and by advice."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Max

from events.convert import Counted
from events.models import CatalogueEntry

# A sender that puts ids into names would otherwise fill the database with them.
MAX_ENTRIES = 20_000


@dataclass(frozen=True)
class Recount:
    """What some events, "" for users' properties, are counted as now; `events` None: everything there is."""

    events: tuple[str, ...] | None
    counts: tuple[Counted, ...]


def replace(workspace: str, recount: Recount) -> None:
    """Put new counts in the place of the old ones."""
    with transaction.atomic():
        stale = CatalogueEntry.objects.filter(workspace=workspace)
        if recount.events is not None:
            stale = stale.filter(event__in=recount.events)
        stale.delete()
        add(workspace, recount.counts)


def add(workspace: str, counts: Iterable[Counted]) -> None:
    """Add a file's counts. Runs in the transaction that lists the file, under the workspace's lock."""
    known = {(e.event, e.property_name): e for e in CatalogueEntry.objects.filter(workspace=workspace)}
    changed = []
    for counted in counts:
        key = (counted.event, counted.property or "")
        entry = known.get(key)
        if entry is None:
            if len(known) >= MAX_ENTRIES:
                continue
            entry = known[key] = CatalogueEntry(
                workspace=workspace, event=key[0], property_name=key[1], last_seen=counted.last_seen
            )
        entry.count += counted.count
        entry.numbers += counted.numbers
        entry.booleans += counted.booleans
        entry.last_seen = max(entry.last_seen, counted.last_seen)
        changed.append(entry)
    CatalogueEntry.objects.bulk_create(
        (CatalogueEntry(**values(entry)) for entry in changed),
        update_conflicts=True,
        unique_fields=["workspace", "event", "property_name"],
        update_fields=["count", "numbers", "booleans", "last_seen"],
        batch_size=500,
    )


def values(entry: CatalogueEntry) -> dict[str, object]:
    """An entry's fields without its id, with which an upsert would not find the conflict."""
    names = ("workspace", "event", "property_name", "count", "numbers", "booleans", "last_seen")
    return {name: getattr(entry, name) for name in names}


def event_names(workspace: str, containing: str = "", limit: int = 50) -> list[CatalogueEntry]:
    """Return events whose name contains a text, the most frequent first."""
    found = CatalogueEntry.objects.filter(workspace=workspace, property_name="", event__icontains=containing)
    return list(found.exclude(event="").order_by("-count", "event")[:limit])


def event_properties(
    workspace: str, event: str, containing: str = "", limit: int = 50
) -> list[CatalogueEntry]:
    """Return an event's properties; those of all events when `event` is "*"."""
    found = CatalogueEntry.objects.filter(workspace=workspace, property_name__icontains=containing)
    found = found.exclude(event="") if event == "*" else found.filter(event=event)
    return list(found.exclude(property_name="").order_by("-count", "property_name")[:limit])


def user_properties(workspace: str, containing: str = "", limit: int = 50) -> list[CatalogueEntry]:
    return event_properties(workspace, "", containing, limit)


def unknown_events(workspace: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that were never seen."""
    wanted = set(names)
    known = CatalogueEntry.objects.filter(workspace=workspace, property_name="", event__in=wanted)
    return sorted(wanted - set(known.values_list("event", flat=True)))


def last_event_at(workspace: str) -> datetime | None:
    """Return the time of the latest event; None while there is none."""
    events = CatalogueEntry.objects.filter(workspace=workspace, property_name="").exclude(event="")
    found: datetime | None = events.aggregate(last=Max("last_seen"))["last"]
    return found
