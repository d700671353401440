import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console

from destinations.payloads import TemplateError
from destinations.secrets import SecretUnreadable
from syncs import reporting
from syncs.choices import RunMode, Trigger
from syncs.delivery.slots import drive_runs
from syncs.lifecycle import CannotRun, start
from syncs.models import Run, Sync
from syncs.preview import Preview, preview
from syncs.projecting import CannotProject, before_a_look
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Run syncs now: in full the first time, then only what changed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("syncs", nargs="*", metavar="SYNC", help="cohort-key:destination-name")
        parser.add_argument("--all", action="store_true", help="every sync that is switched on")
        parser.add_argument("--full", action="store_true", help="send everybody, not only who moved")
        parser.add_argument("--dry-run", action="store_true", help="say what would be sent; send nothing")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, syncs: list[str], **options: Any) -> None:
        chosen = _chosen(syncs, options["all"])
        mode = RunMode.FULL if options["full"] else RunMode.CHANGES
        if options["dry_run"]:
            self._preview(chosen, mode, options["json"])
            return
        runs = self._start(chosen, mode, skip=options["all"])
        stop = stop_on_signals()
        with reporting.Bars(quiet=options["json"]) as bars:
            runs = drive_runs(runs, stop=stop, report=bars.show)
        self._tell(runs, options["json"])
        sys.exit(reporting.exit_code(runs))

    def _start(self, syncs: list[Sync], mode: str, *, skip: bool) -> list[Run]:
        """Make the runs; a sync that cannot run is an error when it was named, else said and skipped."""
        runs = []
        for sync in syncs:
            try:
                runs.append(start(sync, trigger=Trigger.COMMAND, mode=mode))
            except CannotRun as error:
                if not skip:
                    raise CommandError(str(error)) from None
                self.stderr.write(f"{sync}: skipped. {error}")
        return runs

    def _tell(self, runs: list[Run], as_json: bool) -> None:
        if as_json:
            self.stdout.write(reporting.as_json(runs))
            return
        for line in reporting.lines(runs):
            self.stdout.write(line)

    def _preview(self, syncs: list[Sync], mode: str, as_json: bool) -> None:
        try:
            for sync in syncs:
                before_a_look(sync)
            previews = [preview(sync, mode=mode) for sync in syncs]
        except (CannotRun, CannotProject, TemplateError, SecretUnreadable) as error:
            raise CommandError(str(error)) from None
        show_previews(self.stdout, previews, as_json)


def _chosen(names: list[str], every: bool) -> list[Sync]:
    if every == bool(names):
        raise CommandError("Name syncs (cohort-key:destination-name), or say --all.", returncode=2)
    if every:
        live = Sync.objects.filter(archived_at=None, enabled=True)
        return list(live.select_related("cohort", "destination"))
    return reporting.named_syncs(names)


def show_previews(out: Any, previews: list[Preview], as_json: bool) -> None:
    """Print what would be sent."""
    if as_json:
        out.write(json.dumps([shown.as_json() for shown in previews]))
    for shown in [] if as_json else previews:
        _show(shown)


def _show(shown: Preview) -> None:
    console = Console(highlight=False)
    retries = f", {shown.retries:,} rejected users tried again" if shown.retries else ""
    held_back = f" {shown.held_back:,} suppressed users are held back." if shown.held_back else ""
    if shown.not_sendable:
        held_back += f" Not sendable: {shown.not_sendable:,}; the sync's page lists why."
    if shown.repeat_from is not None:
        again = f"who moved since version {shown.repeat_from} is sent once more."
        held_back += f" A request had got no answer: {again}"
    console.print(
        f"{shown.sync}: version {shown.from_version} → {shown.to_version}, "
        f"{shown.adds:,} adds, {shown.removes:,} removes{retries}.{held_back} Nothing was sent.",
        markup=False,
    )
    if shown.whole_list is not None:
        requests = shown.whole_list_requests
        number = "one request" if requests == 1 else f"{requests:,} requests"
        console.print(f"  the whole list is sent, in {number}: {shown.whole_list:,} users", markup=False)
    for what, sample in (("adds", shown.sample_adds), ("removes", shown.sample_removes)):
        if sample:
            console.print(f"  {what}: {', '.join(sample)}", markup=False)
    if shown.first_request:
        console.print(f"  The first request:\n{shown.first_request}", markup=False)
