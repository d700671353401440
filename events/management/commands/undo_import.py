import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.correct import find_import, person, undo_import
from events.engine import EngineError
from events.store import DEFAULT_WORKSPACE, Refused


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Take out the events and users' properties that an import brought, wherever merges have put them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", metavar="IMPORT", help="how its key begins, see list_imports")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--by", default="", help="who does it, for the record")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, key: str, workspace: str, by: str, **options: Any) -> None:
        try:
            done = undo_import(workspace, find_import(workspace, key), person(by))
        except (EngineError, Refused, OSError, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps(asdict(done)) if options["json"] else done.sentence)
