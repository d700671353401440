import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.engine import EngineError
from events.merges import find_devices
from events.records import InvalidRecord
from events.store import DEFAULT_WORKSPACE, Refused


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "List whose devices are: those of a user, or one, or all of which anything was said."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", help="those of this user")
        parser.add_argument("--device", help="this one")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--limit", type=int, default=1_000)
        parser.add_argument("--json", action="store_true")

    def handle(
        self, *, user: str | None, device: str | None, workspace: str, limit: int, **options: Any
    ) -> None:
        try:
            found = find_devices(workspace, user_ids=[user] if user else [], device=device, limit=limit)
        except (EngineError, Refused, OSError, ValueError, InvalidRecord) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps([one.as_json() for one in found]))
            return
        for one in found:
            how = "decided" if one.decided else "said"
            self.stdout.write(f"{one.device}  {one.user_id or '(nobody)'}  {how} {one.since:%Y-%m-%d %H:%M}")
