"""Let a paused destination send again."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.models import Destination


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Resume a paused destination: its syncs go on at their next turn (`sync`, `sync_due` or a worker). "
        "Exit code 0: it is not paused; 2: no such destination."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The destination's name, a slug.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        row = Destination.objects.filter(name=options["name"]).first()
        if row is None:
            raise CommandError(f"No destination is named {options['name']!r}.", returncode=2)
        changed = Destination.objects.resume(row.pk)
        result = {"destination": row.name, "paused": False, "changed": changed}
        said = f"is resumed. It was paused: {row.pause_reason}" if changed else "was not paused."
        self.stdout.write(json.dumps(result) if options["json"] else f"{row.name} {said}")
