import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cohortsite.apply import Change, apply
from cohortsite.config_file import InvalidConfig, load


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Apply a configuration file (YAML): whole or not at all; deletes nothing. Prints what changes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a path, or - for standard input")
        parser.add_argument("--dry-run", action="store_true", help="say what would change; change nothing")
        parser.add_argument(
            "--reset", action="store_true", help="let the syncs of a destination that moves begin anew"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.", returncode=2) from None
        try:
            changes = apply(load(text), dry_run=dry_run, reset_moved=options["reset"])
        except InvalidConfig as error:
            if options["json"]:
                self.stdout.write(json.dumps({"dry_run": dry_run, "errors": error.errors}))
            raise CommandError(f"Nothing was changed.\n{error}") from None
        self._tell(changes, dry_run, options["json"])

    def _tell(self, changes: list[Change], dry_run: bool, as_json: bool) -> None:
        if as_json:
            said = {"dry_run": dry_run, "changes": [asdict(change) for change in changes]}
            self.stdout.write(json.dumps(said, ensure_ascii=False))
            return
        for line in (line for change in changes for line in change.lines()):
            self.stdout.write(line)
        created, changed, same = (sum(c.action == a for c in changes) for a in ("create", "update", "none"))
        would = "would be " if dry_run else ""
        self.stdout.write(f"{created} {would}created, {changed} {would}changed, {same} left as they were.")
