"""What the commands suppress and unsuppress share: whom they name, and that it takes effect."""

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.tables import Hints, InvalidTable
from people.files import Invalid, entries_of, use_file
from people.identifiers import Kind
from people.suppression import Entry, InvalidEntry
from syncs.suppressing import take_effect


class SuppressCommand(BaseCommand):
    requires_system_checks = ("settings",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "people", nargs="*", metavar="PERSON", help="user ids, addresses, numbers, or SHA-256 of these"
        )
        parser.add_argument("--by", choices=Kind.values, default=Kind.USER_ID, help="what names them")
        parser.add_argument("--file", type=Path, help="people, one a line, or a table with a column of them")
        parser.add_argument("--column", default="", help="of the file: a heading or a number")
        parser.add_argument("--skip-invalid", action="store_true", help="pass over what names nobody")
        parser.add_argument(
            "--now",
            action="store_true",
            help="let each sync that it concerns run; the worker drives it",
        )
        parser.add_argument("--json", action="store_true")

    def perform(self, use: Callable[[Iterable[Entry]], int], words: str, options: dict[str, Any]) -> None:
        """Hand the people to `use`, let it take effect on the cohorts, and say what came of it."""
        if bool(options["people"]) == bool(options["file"]):
            raise CommandError("Name people, or a --file of them; not both.", returncode=2)
        try:
            changed, invalid = self._used(use, options)
        except (InvalidEntry, InvalidTable, OSError) as error:
            raise CommandError(str(error)) from None
        runs = take_effect()
        if options["json"]:
            said = {"changed": changed, "skipped": invalid.count, "runs": [run.pk for run in runs]}
            self.stdout.write(json.dumps(said))
            return
        people = "person" if changed == 1 else "people"
        self.stdout.write(f"{changed:,} {people} {words}.")
        if invalid.count:
            self.stderr.write(f"{invalid.count:,} skipped. {invalid.sentence()}")
        for run in runs:
            self.stdout.write(f"{run.sync}: run {run.pk} waits for the worker, or for: sync {run.sync}")

    def _used(self, use: Callable[[Iterable[Entry]], int], options: dict[str, Any]) -> tuple[int, Invalid]:
        skip = options["skip_invalid"]
        if file := options["file"]:
            hints = Hints(column=options["column"])
            with file.open("rb") as stream:
                return use_file(
                    stream, use, kind=options["by"], name=file.name, hints=hints, skip_invalid=skip
                )
        invalid = Invalid()
        entries = list(entries_of(options["by"], options["people"], invalid))
        if invalid.count and not skip:
            raise InvalidEntry(f"{invalid.sentence()} Nothing was changed.")
        return use(entries), invalid
