import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.engine import EngineError
from events.models import FileState
from events.store import workspaces
from events.verify import Finding, check, give_up
from events.workspace_folders import Refused


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Verify every file of events: is it there, has it the bytes and rows that were written, does it "
        "describe itself. What is not whole is set aside, and cohorts over it are not calculated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", help="only this one")
        parser.add_argument(
            "--give-up", nargs="+", default=[], metavar="NAME", help="accept that a file's events are lost"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str | None, **options: Any) -> None:
        try:
            names = [workspace] if workspace else workspaces()
            for file in options["give_up"]:
                self.give_up(names, file)
            found = [one for name in names for one in check(name)]
        except (EngineError, Refused, OSError, ValueError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({"files": [asdict(one) for one in found]}))
        else:
            self.report(found)
        if wrong := [one for one in found if one.problem]:
            raise CommandError(f"{len(wrong)} of {len(found)} files are not as they should be.")

    def give_up(self, names: list[str], file: str) -> None:
        if not [name for name in names if give_up(name, file)]:
            raise CommandError(f"{file} is no damaged or missing file.", returncode=2)

    def report(self, found: list[Finding]) -> None:
        for one in found:
            if one.problem:
                self.stdout.write(one.sentence)
        whole = [one for one in found if one.state == FileState.LISTED]
        rows, size = sum(one.rows for one in whole), sum(one.size for one in whole)
        self.stdout.write(f"{len(whole)} files are whole: {rows:,} rows, {size:,} bytes.")
