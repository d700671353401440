"""Pause a destination: its syncs send nothing until somebody resumes it."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from destinations.models import Destination


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Pause a destination: its syncs send nothing until it is resumed (`resume_destination`). Pausing a "
        "paused one keeps the first reason. Exit code 0: it is paused; 2: no such destination."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="The destination's name, a slug.")
        parser.add_argument("--reason", default="By the command", help="Shown wherever the destination is.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        row = Destination.objects.filter(name=options["name"]).first()
        if row is None:
            raise CommandError(f"No destination is named {options['name']!r}.", returncode=2)
        changed = Destination.objects.pause(row.pk, options["reason"])
        row.refresh_from_db()
        result = {"destination": row.name, "paused": True, "changed": changed, "reason": row.pause_reason}
        said = "is paused" if changed else "was paused already"
        self.stdout.write(json.dumps(result) if options["json"] else f"{row.name} {said}: {row.pause_reason}")
