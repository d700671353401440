from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError

from events.times import UnreadableTime, read_time
from people import suppression
from people.suppression import Said
from syncs.suppress_command import SuppressCommand


class Command(SuppressCommand):
    help = "Suppress people: they are left out of every cohort, and partners lose them with the next run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--reason", default="", help="for the list, such as: opted out by e-mail")
        parser.add_argument("--source", default="command", help="where it comes from")
        parser.add_argument("--since", help="when it begins; default: now")
        parser.add_argument("--until", help="when they may be sent again; default: never")

    def handle(self, **options: Any) -> None:
        said = Said(
            reason=options["reason"][:200],
            source=options["source"][:200],
            since=_moment(options["since"]),
            until=_moment(options["until"]),
            at_once=options["now"],
        )
        self.perform(lambda entries: suppression.add(entries, said), "new on the list", options)


def _moment(text: str | None) -> datetime | None:
    try:
        return read_time(text) if text else None
    except UnreadableTime as error:
        raise CommandError(str(error), returncode=2) from None
