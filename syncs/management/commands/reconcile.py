import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from syncs import rejected_csv, reporting
from syncs.choices import CompareState, DifferenceKind, Trigger
from syncs.lifecycle import CannotRun
from syncs.models import Comparison, Run
from syncs.reporting import named_syncs
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Read back whom the partner of a sync has, and compare. Exit code 0: equal, or put right; 3: not, or "
        "strangers stay; 1: it could not be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sync", metavar="SYNC", help="cohort-key:destination-name")
        parser.add_argument("--repair", action="store_true", help="add who is missing")
        parser.add_argument(
            "--remove-strangers", action="store_true", help="with --repair: remove who should not be there"
        )
        parser.add_argument("--csv", metavar="FILE", help="write who differs to a file; - for the output")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, sync: str, **options: Any) -> None:
        from syncs import comparing  # here: it imports all that asks a partner

        if options["remove_strangers"] and not options["repair"]:
            raise CommandError("--remove-strangers says what --repair does: give both.", returncode=2)
        stop = stop_on_signals()
        try:
            asked = comparing.ask(named_syncs([sync])[0], trigger=Trigger.COMMAND)
            done = comparing.run_one(asked, stop.is_set)
        except CannotRun as error:
            raise CommandError(str(error)) from None
        if done is None:
            raise CommandError("It was stopped, or another process compares this sync now: ask again.")
        if done.state == CompareState.FAILED:
            raise CommandError(f"The partner could not be read: {done.error}")
        if options["csv"]:
            self._write_csv(done, options["csv"])
        runs = self._repair(done, options["remove_strangers"], stop) if options["repair"] else []
        self._tell(done, runs, options["json"], quiet=options["csv"] == "-")
        if runs and (code := reporting.exit_code(runs)):
            sys.exit(code)
        stay = not runs or (done.strangers and not options["remove_strangers"])
        sys.exit(3 if done.differs and stay else 0)

    def _repair(self, done: Comparison, remove_strangers: bool, stop: Any) -> list[Run]:
        from syncs import comparing
        from syncs.delivery.slots import drive_runs

        try:
            run = comparing.repair(done, trigger=Trigger.COMMAND, remove_strangers=remove_strangers)
        except CannotRun as error:
            raise CommandError(str(error)) from None
        return drive_runs([run], stop=stop, report=lambda runs: None) if run else []

    def _write_csv(self, done: Comparison, path: str) -> None:
        lines = rejected_csv.lines_of_differences(done)
        if path == "-":
            self.stdout.write("".join(lines), ending="")
            return
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)

    def _tell(self, done: Comparison, runs: list[Run], as_json: bool, *, quiet: bool) -> None:
        samples = reporting.samples_of(done)
        if as_json:
            names = ("version", "by_digest", "expected", "there", "missing", "strangers", "unknown", "odd")
            said = {"sync": str(done.sync)} | {name: getattr(done, name) for name in names}
            said |= {"samples": samples, "runs": json.loads(reporting.as_json(runs))}
            self.stdout.write(json.dumps(said))
        elif not quiet:
            self.stdout.write(f"{done.sync}: {reporting.compared(done)}")
            for kind, users in samples.items():
                if users:
                    self.stdout.write(f"  {DifferenceKind(kind).label}: {', '.join(users)}")
            for line in reporting.lines(runs):
                self.stdout.write(line)
