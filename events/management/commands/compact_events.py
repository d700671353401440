import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.compact import compact
from events.engine import EngineError
from events.folder import scan
from events.store import Refused, workspaces


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Take in what lies in the inboxes and the spools, and merge small files. For cron, or by hand."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--workspace", help="only this one")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str | None, **options: Any) -> None:
        failed = []
        for name in [workspace] if workspace else workspaces():
            try:
                taken = scan(name)
                done = compact(name)
            except (EngineError, Refused, OSError, ValueError) as error:
                raise CommandError(f"{name}: {error}") from None
            failed += [f"{one.file}: {one.error}" for one in taken if one.error]
            self.report(name, asdict(done) | {"files": len(taken)}, options["json"])
        if failed:
            raise CommandError("; ".join(failed))

    def report(self, workspace: str, done: dict[str, int], as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"workspace": workspace} | done))
            return
        self.stdout.write(
            f"{workspace}: {done['files']} files taken in; {done['events']:,} events published from the "
            f"spool, {done['repeats']:,} repeats left out, {done['users']:,} users' properties, "
            f"{done['merged']} files merged."
        )
