import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events.tables import Hints, InvalidTable, Unsure
from events.tables.understood import ENCODINGS, KINDS, SEPARATOR_NAMES
from people import profiles
from people.profile_files import Found, Reading, import_file, look, mapped_argument


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Keep what a file says of people: e-mail addresses, telephone numbers, plans, consents … CSV, JSON "
        "lines, Parquet or .xlsx, plain or packed. What is not certain is refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workspace", help="whose users they are")
        parser.add_argument("file", type=Path, help="a table with a column of user ids")
        parser.add_argument(
            "--map",
            action="append",
            required=True,
            type=mapped_argument,
            metavar="FIELD=COLUMN",
            help="email=E-Mail; consent:boolean='May we write?'. Types: "
            f"{', '.join(profiles.TYPES)}; email and phone are known by their names. Two columns of one "
            "field are two values.",
        )
        parser.add_argument("--column", default="", help="of the user ids: a heading or a number")
        parser.add_argument("--separator", choices=SEPARATOR_NAMES)
        parser.add_argument("--encoding", choices=ENCODINGS, default="")
        parser.add_argument("--format", choices=KINDS, default="", dest="kind")
        parser.add_argument("--sheet", default="", help="of a workbook; default: the first")
        parser.add_argument("--skip-invalid", action="store_true", help="pass over values that are none")
        parser.add_argument("--dry-run", action="store_true", help="say what the file holds; keep nothing")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, workspace: str, file: Path, **options: Any) -> None:
        hints = Hints(
            column=options["column"],
            heading=True,
            separator=SEPARATOR_NAMES[options["separator"]] if options["separator"] else "",
            encoding=options["encoding"],
            kind=options["kind"],
            sheet=options["sheet"],
        )
        reading = Reading(options["map"], hints, options["skip_invalid"])
        if not profiles.store().knows(workspace):
            raise CommandError(f"There is no workspace {workspace!r}.", returncode=2)
        changed = None
        try:
            with file.open("rb") as stream:
                if options["dry_run"]:
                    found = look(stream, reading, name=file.name)
                else:
                    kept, found = import_file(workspace, stream, reading, name=file.name)
                    changed = kept.changed
        except Unsure as error:
            raise CommandError(f"{error} Say --{'format' if error.asks == 'kind' else error.asks}.") from None
        except (InvalidTable, profiles.Refused, OSError) as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(found.as_json() | {"changed": changed}))
        else:
            self.stdout.write(in_words(found, changed))
        if found.skipped:
            raise SystemExit(3)


def in_words(found: Found, changed: int | None) -> str:
    """Return what a file held, line by line. `changed`: how many values are new; None when none was kept."""
    lines = [found.understood.sentence().replace("one id a line", "one column") + "."]
    lines.append(f"{found.users:,} rows say something of a user.")
    for name, number in found.values.items():
        hashed = found.hashed[name]
        lines.append(f"  {name}: {number:,}" + (f", of them {hashed:,} taken as hashes" if hashed else ""))
    if found.skipped:
        lines.append(f"{found.skipped:,} values were passed over. {' '.join(found.sentences)}")
    lines.append("Nothing was kept." if changed is None else f"{changed:,} values are other than before.")
    return "\n".join(lines)
