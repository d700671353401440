import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from events.models import Correction, ImportedFile
from events.store import DEFAULT_WORKSPACE


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "List the imports of events, the newest first, and what was taken out again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--limit", type=int, default=100)
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str, limit: int, **options: Any) -> None:
        imports = ImportedFile.objects.filter(workspace=workspace).order_by("-imported_at", "-id")[:limit]
        corrections = Correction.objects.filter(workspace=workspace).order_by("-at", "-id")[:limit]
        if options["json"]:
            said = {
                "imports": [imported.as_json() for imported in imports],
                "corrections": [correction.as_json() for correction in corrections],
            }
            self.stdout.write(json.dumps(said))
            return
        for imported in imports:
            key = (imported.key or "not undoable")[:12]
            state = f"undone {imported.undone_at:%Y-%m-%d %H:%M}" if imported.undone_at else ""
            source = f" from {imported.source}" if imported.source else ""
            line = f"{key}  {imported.imported_at:%Y-%m-%d %H:%M}  {imported.rows:,} rows  {imported.name}"
            self.stdout.write(f"{line}{source}  {state}".rstrip())
        for correction in corrections:
            self.stdout.write(f"{correction.at:%Y-%m-%d %H:%M}  {correction.by}  {correction.sentence}")
