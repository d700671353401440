import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from destinations.payloads import TemplateError
from destinations.secrets import SecretUnreadable
from pagekit.times import moment_of
from syncs import lifecycle, reporting
from syncs.choices import Trigger
from syncs.delivery.slots import drive_runs
from syncs.management.commands.sync import show_previews
from syncs.models import Sync
from syncs.preview import preview
from syncs.stopping import stop_on_signals


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Set a sync to an older version of its cohort, and bring its partner there. It stays there until "
        "--go-on. --dry-run says first what would be sent."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sync", metavar="SYNC", help="cohort-key:destination-name")
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--to-version", type=int, metavar="N")
        where.add_argument("--as-of", metavar="TIME", help="2026-11-26 09:00, or with a zone: …+01:00")
        where.add_argument("--go-on", action="store_true", help="follow the cohort again")
        parser.add_argument("--dry-run", action="store_true", help="say what would be sent; change nothing")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, sync: str, **options: Any) -> None:
        chosen = reporting.named_syncs([sync])[0]
        try:
            version = _version(chosen, options)
            if options["dry_run"]:
                show_previews(self.stdout, [preview(chosen, version=version)], options["json"])
                return
            if not options["go_on"]:
                run = lifecycle.go_back(chosen, version, trigger=Trigger.COMMAND)
            else:
                run = lifecycle.go_on(chosen, trigger=Trigger.COMMAND)
        except (lifecycle.CannotRun, TemplateError, SecretUnreadable) as error:
            raise CommandError(str(error)) from None
        with reporting.Bars(quiet=options["json"]) as bars:
            runs = drive_runs([run], stop=stop_on_signals(), report=bars.show)
        self.stdout.write(reporting.as_json(runs) if options["json"] else "\n".join(reporting.lines(runs)))
        sys.exit(reporting.exit_code(runs))


def _version(sync: Sync, options: dict[str, Any]) -> int:
    """Return the version that is meant; 0 for the latest, whichever it will be."""
    if options["go_on"]:
        return 0
    if options["as_of"] is None:
        return int(options["to_version"])
    try:
        return lifecycle.version_at(sync, moment_of(options["as_of"]))
    except ValueError as error:
        raise CommandError(str(error), returncode=2) from None
