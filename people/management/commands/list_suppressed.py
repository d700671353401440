import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from people.models import Suppression
from people.suppression import state_of


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "List the people who are sent nowhere, the latest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="those too who were taken off, or are over")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, **options: Any) -> None:
        rows = Suppression.objects.order_by("-pk")
        for row in (rows if options["all"] else rows.filter(active=True)).iterator():
            self.stdout.write(_as_json(row) if options["json"] else _as_text(row))


def _as_json(row: Suppression) -> str:
    said = {"kind": row.kind, "value": row.value, "hint": row.hint, "state": state_of(row)}
    said |= {"reason": row.reason, "source": row.source, "since": row.since.isoformat()}
    return json.dumps(said | {"until": row.until and row.until.isoformat()})


def _as_text(row: Suppression) -> str:
    until = f" until {row.until:%Y-%m-%d %H:%M}" if row.until else ""
    why = f": {row.reason}" if row.reason else ""
    return f"{row} ({row.get_kind_display()}): {state_of(row).lower()} since {row.since:%Y-%m-%d}{until}{why}"
