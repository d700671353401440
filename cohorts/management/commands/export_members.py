import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cohorts import csv_export, members
from cohorts.models import Cohort


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Write the user ids of a cohort to standard output, one a line under a heading, in byte order."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Our --version is a cohort's, not Django's.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the cohort's key")
        parser.add_argument("--version", type=int, help="the version to read; default: the latest")
        parser.add_argument("--json", action="store_true", help="each line is a JSON string, not CSV")

    def handle(self, *, key: str, version: int | None, **options: Any) -> None:
        cohort = Cohort.objects.filter(key=key).first()
        if cohort is None:
            raise CommandError(f"There is no cohort {key!r}.", returncode=2)
        if cohort.version == 0:
            raise CommandError(f"{cohort.name} is not calculated yet: it has no version.")
        number = cohort.version if version is None else version
        try:
            members.readable(cohort.pk, number)
        except members.UnreadableVersion as error:
            raise CommandError(str(error)) from None
        pages = members.pages_of_version(cohort.pk, number)
        for chunk in map(_as_json, pages) if options["json"] else csv_export.chunks(pages):
            self.stdout.write(chunk, ending="")


def _as_json(page: Sequence[str]) -> str:
    return "".join(f"{json.dumps(user_id, ensure_ascii=False)}\n" for user_id in page)
