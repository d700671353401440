import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from receiving.prune import prune as prune_receiving
from syncs.prune import prune


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Delete old runs and alerts, membership of versions that no sync has to be compared with any more, "
        "and of the partners' side what is beyond its workspace's own limits (the request log, message ids)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=_days, default=90, help="keep this many days (default: 90)")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, days: int, **options: Any) -> None:
        pruned = prune(before=timezone.now() - timedelta(days=days))
        received = prune_receiving()
        if options["json"]:
            self.stdout.write(json.dumps(asdict(pruned) | {"receiving": received}))
        else:
            self.stdout.write(
                f"{pruned.runs:,} runs and {pruned.intervals:,} intervals of membership that are older "
                f"than {days} days were deleted."
            )
            rows = ", ".join(f"{number:,} {what}" for what, number in received.items())
            self.stdout.write(f"receiving: {rows} were deleted, by the limits that are set there.")


def _days(text: str) -> int:
    days = int(text)
    if days < 0:
        raise ValueError
    return days
