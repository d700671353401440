import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from cohorts.choices import UploadMode, VersionState
from cohorts.csv_file import InvalidFile
from cohorts.importing import import_file
from cohorts.models import Cohort
from cohorts.refresh import RefreshError


class Command(BaseCommand):
    help = "Import the members of a cohort from a CSV file (UTF-8, plain or gzip)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the cohort's key")
        parser.add_argument("file", type=Path, help="one user id a line, or a named column")
        parser.add_argument("--mode", choices=UploadMode.values, default=UploadMode.REPLACE)
        parser.add_argument("--column", default="", help="the header of the column that holds the user ids")
        parser.add_argument(
            "--replace-held", action="store_true", help="refuse the version that is being held"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, key: str, file: Path, mode: str, column: str, **options: Any) -> None:
        cohort = Cohort.objects.filter(key=key).first()
        if cohort is None:
            raise CommandError(f"There is no cohort {key!r}.", returncode=2)
        hidden = options["json"] or not sys.stderr.isatty()
        bar = Progress(disable=hidden, console=Console(stderr=True), transient=True)
        try:
            with file.open("rb") as stream, bar:
                task = bar.add_task(f"{mode} {key}", total=1.0)
                version, ids = import_file(
                    cohort,
                    stream,
                    mode=mode,
                    column=column,
                    source=f"{mode}: {file.name}",
                    replace_held=options["replace_held"],
                    progress=lambda fraction: bar.update(task, completed=fraction),
                )
        except (InvalidFile, RefreshError, OSError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            said = {"cohort": key, "version": version.number, "state": version.state, "ids": ids}
            said |= {"size": version.size, "entered": version.entered, "left": version.left}
            self.stdout.write(json.dumps(said))
        else:
            self.stdout.write(
                f"{cohort.name}: {ids:,} ids read; version {version.number} "
                f"{version.get_state_display().lower()}, "
                f"{version.size:,} users, {version.entered:,} entered, {version.left:,} left."
            )
        if version.state == VersionState.HELD:
            raise CommandError(f"Held for approval: {version.reason}")
