import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cohorts.naming import with_cohorts
from events.correct import person
from events.models import NameKind
from events.naming import InvalidName, decide
from events.store import DEFAULT_WORKSPACE


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Decide what the name of an event or a property means, for all definitions: rename it, hide it where "
        "names are suggested, or forbid to use it. No file is rewritten."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME", help="as it comes in")
        parser.add_argument("--kind", choices=NameKind.values, default=NameKind.EVENT.value)
        parser.add_argument(
            "--rename-to", metavar="NEW", help='what it is called from now on; "": as it came'
        )
        shown = parser.add_mutually_exclusive_group()
        shown.add_argument("--hide", action="store_true", default=None, help="it is not suggested")
        shown.add_argument("--show", dest="hide", action="store_false", default=None)
        usable = parser.add_mutually_exclusive_group()
        usable.add_argument(
            "--forbid", metavar="REASON", help="definitions that name it are refused with this reason"
        )
        usable.add_argument("--allow", dest="forbid", action="store_const", const="")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--by", default="", help="who does it, for the record")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, name: str, kind: str, workspace: str, **options: Any) -> None:
        try:
            rule = decide(
                workspace,
                NameKind(kind),
                name,
                person(options["by"]),
                renamed_to=options["rename_to"],
                hidden=options["hide"],
                forbidden=options["forbid"],
            )
        except InvalidName as error:
            raise CommandError(str(error)) from None
        found = with_cohorts(rule)
        if options["json"]:
            self.stdout.write(json.dumps(found))
            return
        self.stdout.write(f"“{name}”: {rule.sentence or 'as it came'}".rstrip(".") + ".")
        self.stdout.write(f"Cohorts that name it: {', '.join(found['cohorts']) or 'none'}.")
