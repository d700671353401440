import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.correct import person
from events.engine import EngineError
from events.merges import decide
from events.records import InvalidRecord
from events.store import DEFAULT_WORKSPACE, Refused


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Decide whose devices are: what was and will be done on them by nobody known counts for the user, or "
        "with --take-back for nobody, whatever calls and files say."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("devices", metavar="DEVICE", nargs="+", help="device or anonymous ids")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--into", metavar="USER", help="the user whose they are")
        which.add_argument("--take-back", action="store_true", help="they are nobody's")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--by", default="", help="who does it, for the record")
        parser.add_argument("--json", action="store_true")

    def handle(
        self, *, devices: list[str], into: str | None, workspace: str, by: str, **options: Any
    ) -> None:
        try:
            done = [decide(workspace, device, into or "", person(by)) for device in devices]
        except (EngineError, Refused, OSError, ValueError, InvalidRecord) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps([one.as_json() for one in done]))
            return
        for one in done:
            self.stdout.write(f"{one.device} is {one.user_id or 'nobody'}'s.")
