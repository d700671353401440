"""Which events and properties there are: counted at publication, read by forms and by advice."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, QuerySet, Sum

from events.convert import Counted
from events.inserting import own_tables
from events.models import CatalogueEntry
from events.names import Names
from events.naming import read_names

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


def recount_inserted(workspace: str) -> None:
    """Count what is in our tables at EVENTS_URL. Raises NotInserted, Refused."""
    found = own_tables(settings.EVENTS_URL).counts(workspace)
    counts = tuple(Counted(event, name or None, *rest) for event, name, *rest in found)
    replace(workspace, Recount(None, counts))


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
    """Return events whose name contains a text, by the names that they have now, the most frequent first.
    What is hidden or not to be used is left out."""
    found = CatalogueEntry.objects.filter(workspace=workspace, property_name="").exclude(event="")
    return listed(found, "event", read_names(workspace).events, containing, limit)


def event_properties(
    workspace: str, event: str, containing: str = "", limit: int = 50
) -> list[CatalogueEntry]:
    """Return an event's properties, as `event_names` does; those of all events when `event` is "*"."""
    found, names = CatalogueEntry.objects.filter(workspace=workspace), read_names(workspace)
    found = found.exclude(event="") if event == "*" else found.filter(event__in=names.events.stored(event))
    of = names.properties if event else names.user_properties
    return listed(found.exclude(property_name=""), "property_name", of, containing, limit)


def user_properties(workspace: str, containing: str = "", limit: int = 50) -> list[CatalogueEntry]:
    return event_properties(workspace, "", containing, limit)


def listed(
    entries: QuerySet[CatalogueEntry], by: str, names: Names, containing: str, limit: int
) -> list[CatalogueEntry]:
    """Return one entry for each name that there is now, its counts those of all names that it stands for."""
    counts = {f"all_{name}": Sum(name) for name in ("count", "numbers", "booleans")}
    # The stubs make a type of these names alone.
    counted: Any = entries.order_by().values(called=F(by)).annotate(**counts, seen=Max("last_seen"))
    decided = [*names.renamed, *names.renamed.values(), *names.hidden, *names.forbidden]
    others = counted.exclude(called__in=decided).filter(called__icontains=containing)
    found = {row["called"]: row for row in others.order_by("-all_count", "called")[:limit]}
    for row in counted.filter(called__in=decided) if decided else ():
        name = names.current(row["called"])
        if names.is_offered(name) and containing.lower() in name.lower():
            before = found.get(name)
            found[name] = together(before, row) if before else row
    made = [entry_of(by, name, row) for name, row in found.items()]
    return sorted(made, key=lambda one: (-one.count, getattr(one, by)))[:limit]


def together(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    counts = ("all_count", "all_numbers", "all_booleans")
    return {name: one[name] + other[name] for name in counts} | {"seen": max(one["seen"], other["seen"])}


def entry_of(by: str, name: str, row: dict[str, Any]) -> CatalogueEntry:
    return CatalogueEntry(
        **{by: name},
        count=row["all_count"],
        numbers=row["all_numbers"],
        booleans=row["all_booleans"],
        last_seen=row["seen"],
    )


def unknown_events(workspace: str, names: Iterable[str]) -> list[str]:
    """Return those of the names that were never seen, by whatever name they stand for."""
    events = read_names(workspace).events
    wanted = {name: events.stored(name) for name in names}
    asked = {stored for all_of_it in wanted.values() for stored in all_of_it}
    known = CatalogueEntry.objects.filter(workspace=workspace, property_name="", event__in=asked)
    seen = set(known.values_list("event", flat=True))
    return sorted(name for name, all_of_it in wanted.items() if seen.isdisjoint(all_of_it))


def last_event_at(workspace: str) -> datetime | None:
    """Return the time of the latest event; None while there is none."""
    events = CatalogueEntry.objects.filter(workspace=workspace, property_name="").exclude(event="")
    found: datetime | None = events.aggregate(last=Max("last_seen"))["last"]
    return found
