from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from cohortsite.worker import work
from syncs import reporting
from syncs.delivery.slots import SLOTS
from syncs.models import Run
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Stay, and do what comes: scheduled and requested runs, and files uploaded in the browser."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--slots", type=int, default=SLOTS, help="destinations at a time")
        parser.add_argument(
            "--json", action="store_true", help="a JSON line of the runs under way, at each step"
        )

    def handle(self, *, slots: int, **options: Any) -> None:
        stop = stop_on_signals()
        work(stop=stop, slots=slots, report=self._report if options["json"] else lambda runs: None)

    def _report(self, runs: list[Run]) -> None:
        self.stdout.write(reporting.as_json(runs))
        self.stdout.flush()
