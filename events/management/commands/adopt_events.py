import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.adopt import adopt
from events.engine import EngineError
from events.store import workspaces
from events.workspace_folders import Refused


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Make the folder of events this site's, and list what it holds: after a change or a restore of the "
        "database, of the folder, or of both. Events that are listed already are not counted twice."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", help="only this one")
        parser.add_argument(
            "--undescribed",
            action="store_true",
            help="also files of a release that did not describe them; events of merged ones may count twice",
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str | None, **options: Any) -> None:
        problems = []
        for name in [workspace] if workspace else workspaces():
            try:
                done = adopt(name, undescribed=options["undescribed"])
            except (EngineError, Refused, OSError, ValueError) as error:
                raise CommandError(f"{name}: {error}") from None
            problems += [f"{name}: {problem}" for problem in done.problems]
            if options["json"]:
                self.stdout.write(json.dumps({"workspace": name} | asdict(done)))
            else:
                self.stdout.write(
                    f"{name}: {len(done.listed)} files listed, {len(done.retired)} taken off the list."
                )
        if problems:
            raise CommandError("\n".join(problems))
