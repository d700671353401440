import json as json_module
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.catalogue import event_names, event_properties, user_properties
from events.models import CatalogueEntry
from events.store import DEFAULT_WORKSPACE, Folders


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "List the events that have come in, with their properties, counts and types."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str, json: bool, **options: Any) -> None:
        try:
            Folders(workspace)
        except ValueError as error:
            raise CommandError(str(error), returncode=2) from None
        events = event_names(workspace, limit=1_000)
        found = [
            (event.event, event, event_properties(workspace, event.event, limit=200)) for event in events
        ]
        users = user_properties(workspace, limit=200)
        if json:
            said = {name: described(event) | {"properties": listed(below)} for name, event, below in found}
            self.stdout.write(json_module.dumps({"events": said, "users": listed(users)}))
            return
        for name, event, below in found:
            self.stdout.write(f"{name}: {event.count:,} times, last on {event.last_seen:%Y-%m-%d %H:%M} UTC")
            self.show(below)
        if users:
            self.stdout.write("users:")
            self.show(users)
        if not events and not users:
            self.stdout.write(nothing(workspace))

    def show(self, entries: list[CatalogueEntry]) -> None:
        for entry in entries:
            self.stdout.write(f"    {entry.property_name} ({entry.type}): {entry.count:,}")


def nothing(workspace: str) -> str:
    known = CatalogueEntry.objects.order_by("workspace").values_list("workspace", flat=True).distinct()
    if others := ", ".join(known):
        return f"No events have come in for the workspace {workspace!r}. There are events of: {others}."
    return "No events have come in yet. Import some with import_events, or send them."


def described(entry: CatalogueEntry) -> dict[str, Any]:
    return {"count": entry.count, "type": entry.type, "last_seen": entry.last_seen.isoformat()}


def listed(entries: list[CatalogueEntry]) -> dict[str, dict[str, Any]]:
    return {entry.property_name: described(entry) for entry in entries}
