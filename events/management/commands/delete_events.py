import json
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.correct import Corrected, Wanted, delete_events, delete_people, find_import, person
from events.engine import EngineError
from events.store import DEFAULT_WORKSPACE, Refused
from events.times import UnreadableTime, read_time


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Delete events, those of which everything named holds; or, with --erase, all that is known of some "
        "people: their events and their properties."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--event",
            help="events of this name, and those that were renamed to it; an old name: what came with it",
        )
        parser.add_argument("--user", help="events of this user")
        parser.add_argument("--insert-id", help="the event with this insert id")
        parser.add_argument("--since", help="events since this time")
        parser.add_argument("--until", help="events before this time")
        parser.add_argument("--import", dest="key", help="events of this import, see list_imports")
        parser.add_argument(
            "--erase", nargs="+", default=[], metavar="USER", help="everything about these users"
        )
        parser.add_argument("--erase-file", type=Path, help="the same for a file of user ids, one a line")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--by", default="", help="who does it, for the record")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str, by: str, **options: Any) -> None:
        try:
            done = self.correct(workspace, person(by), options)
        except (EngineError, Refused, OSError, ValueError, UnreadableTime) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(json.dumps(asdict(done)) if options["json"] else done.sentence)

    def correct(self, workspace: str, by: str, options: dict[str, Any]) -> Corrected:
        people = list(options["erase"])
        if options["erase_file"]:
            people += options["erase_file"].read_text().splitlines()
        if people:
            return delete_people(workspace, [user_id for user_id in people if user_id], by)
        wanted = Wanted(
            event=options["event"],
            user_id=options["user"],
            insert_id=options["insert_id"],
            since=moment(options["since"]),
            until=moment(options["until"]),
            import_key=find_import(workspace, options["key"]) if options["key"] else None,
        )
        return delete_events(workspace, by, wanted)


def moment(text: str | None) -> datetime | None:
    return read_time(text) if text else None
