import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from cohortsite.pruning import history_days, prune
from events.engine_errors import EngineError


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Delete what is kept no longer: old runs, alerts and comparisons, membership of versions that no "
        "sync has to be compared with any more, files that could not be imported, previews, events beyond "
        "EVENTS_HISTORY_DAYS, and of the partners' side what is beyond its workspace's own limits (the "
        "request log, message ids)."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--days", type=_days, help="of history to keep (default: HISTORY_DAYS, or 90 where it is not set)"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, days: int | None, **options: Any) -> None:
        kept = history_days() if days is None else days
        try:
            pruned = prune(timezone.now(), kept)
        except (EngineError, OSError) as error:
            raise CommandError(f"All but events was pruned. {error}") from None
        if options["json"]:
            self.stdout.write(json.dumps(asdict(pruned)))
            return
        self.stdout.write(
            f"{pruned.runs:,} runs and {pruned.intervals:,} intervals of membership that are older "
            f"than {kept:g} days were deleted."
        )
        rows = ", ".join(f"{number:,} {what}" for what, number in pruned.receiving.items())
        self.stdout.write(f"receiving: {rows} were deleted, by the limits that are set there.")
        self.stdout.write(
            f"{pruned.uploads:,} failed files, {pruned.previews:,} previews and {pruned.events:,} events "
            "were deleted."
        )


def _days(text: str) -> int:
    days = int(text)
    if days < 0:
        raise ValueError
    return days
