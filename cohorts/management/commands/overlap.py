import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cohorts.models import Cohort
from cohorts.overlap import CannotCompare, overlap_of


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Count how many users are in each combination of two to five cohorts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="+", metavar="KEY")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, keys: list[str], **options: Any) -> None:
        known = {cohort.key: cohort for cohort in Cohort.objects.filter(key__in=keys)}
        if unknown := [key for key in keys if key not in known]:
            raise CommandError(f"There is no cohort {unknown[0]!r}.", returncode=2)
        try:
            found = overlap_of([known[key] for key in keys], seconds=None)
        except CannotCompare as error:
            raise CommandError(str(error), returncode=2) from None
        if options["json"]:
            parts = [{"cohorts": list(part.inside), "count": part.count} for part in found.parts]
            said = {"anybody": found.anybody, "everywhere": found.everywhere, "parts": parts}
            self.stdout.write(json.dumps(said))
            return
        for part in found.parts:
            self.stdout.write(f"{part.count:>12,}  {' & '.join(part.inside)}")
        self.stdout.write(f"{found.anybody:>12,}  in one of them at least")
