import json
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from cohorts.choices import UploadMode, VersionState
from cohorts.importing import Imported, import_file
from cohorts.models import Cohort
from cohorts.refresh import RefreshError
from events import file_of_ids
from events.tables import Hints, InvalidTable, Unsure
from events.tables.suspicious import in_words
from events.tables.understood import ENCODINGS, KINDS, SEPARATOR_NAMES
from people import profile_files, profiles
from people.profile_files import Fields, Reading, mapped_argument
from people.profiles import Refused

# The options that settle what a file leaves open, by the field of Hints.
SETTLED_BY = {
    "heading": "Say --heading or --no-heading.",
    "column": "Say --column with its heading, or --no-heading and --column with its number; "
    "or, when each line is one id as it stands, --separator none.",
    "separator": f"Say --separator with {', '.join(SEPARATOR_NAMES)}.",
    "encoding": "Say --encoding windows-1252.",
    "kind": "Say --format csv or --format jsonl.",
}


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = (
        "Import the members of a cohort from a file: CSV, JSON lines, Parquet or .xlsx, plain or packed. "
        "What is not certain is refused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("key", help="the cohort's key")
        parser.add_argument("file", type=Path, help="one user id a line, or a table with a column of them")
        parser.add_argument("--mode", choices=UploadMode.values, default=UploadMode.REPLACE)
        parser.add_argument(
            "--column",
            default="",
            help="the heading of the column that holds the user ids, or its number; default: a known one",
        )
        parser.add_argument(
            "--heading", action=BooleanOptionalAction, help="whether the first line is a heading"
        )
        parser.add_argument("--separator", choices=SEPARATOR_NAMES, help="none: each line is one id")
        parser.add_argument("--encoding", choices=ENCODINGS, default="")
        parser.add_argument("--format", choices=KINDS, default="", dest="kind")
        parser.add_argument("--sheet", default="", help="of a workbook; default: the first")
        parser.add_argument(
            "--refuse-suspicious", action="store_true", help="refuse ids such as null, 8.2E+17 or #N/A"
        )
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            type=mapped_argument,
            metavar="FIELD=COLUMN",
            help="keep a further column as a field of these people's profiles: email=E-Mail; "
            "consent:boolean='May we write?'. See import_profiles",
        )
        parser.add_argument(
            "--workspace", default="", help="whose profiles, with --map; default: that of the cohort's events"
        )
        parser.add_argument(
            "--skip-invalid", action="store_true", help="with --map: pass over values that are none"
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="say what the file is, and what is odd in it; import nothing",
        )
        parser.add_argument(
            "--replace-held", action="store_true", help="refuse the version that is being held"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *, key: str, file: Path, **options: Any) -> None:
        cohort = Cohort.objects.filter(key=key).first()
        if cohort is None:
            raise CommandError(f"There is no cohort {key!r}.", returncode=2)
        options["fields"] = _fields(cohort, options)
        try:
            with file.open("rb") as stream:
                if options["dry_run"]:
                    self._look(stream, file.name, options)
                    return
                imported = _imported(cohort, stream, file.name, options)
        except Unsure as error:
            raise CommandError(f"{error} {SETTLED_BY[error.asks]}") from None
        except (InvalidTable, Refused, RefreshError, OSError) as error:
            raise CommandError(str(error)) from None
        self._say(cohort, imported, as_json=options["json"])
        if imported.version.state == VersionState.HELD:
            raise CommandError(f"Held for approval: {imported.version.reason}")
        if imported.people and imported.people.skipped:
            raise SystemExit(3)

    def _look(self, stream: IO[bytes], name: str, options: dict[str, Any]) -> None:
        """Read the whole file, and say what it is: nothing is imported."""
        with file_of_ids.opened(stream, name=name, hints=_hints(options)) as opened:
            ids = sum(map(len, opened.blocks(refuse_suspicious=options["refuse_suspicious"])))
        people = None
        if fields := options["fields"]:
            stream.seek(0)
            reading = Reading(fields.mapped, _hints(options), fields.skip_invalid)
            people = profile_files.look(stream, reading, name=name)
        known, column = opened.understood, opened.understood.columns[opened.column]
        suspicious = opened.suspicions.as_json()
        if options["json"]:
            said = {**known.as_json(), "column": column, "ids": ids, "suspicious": suspicious}
            said |= {"profiles": people.of_people()} if people else {}
            self.stdout.write(json.dumps(said))
            return
        self.stdout.write(f"{known.sentence()}.\nUser ids: {column}, {ids:,} of them.")
        for row in known.rows:
            self.stdout.write("    " + " | ".join(cell[:50] for cell in row))
        self.stdout.write(_odd(suspicious))
        if people:
            self.stdout.write(profile_files.in_a_sentence(people, None))

    def _say(self, cohort: Cohort, imported: Imported, *, as_json: bool) -> None:
        version = imported.version
        if as_json:
            said: dict[str, Any] = {"cohort": cohort.key, "version": version.number, "state": version.state}
            said |= {"ids": imported.ids, "size": version.size}
            said |= {"entered": version.entered, "left": version.left, "suspicious": imported.suspicious}
            if imported.people:
                said |= {"profiles": imported.people.of_people() | {"changed": imported.changed}}
            self.stdout.write(json.dumps(said | {"understood": imported.understood.as_json()}))
            return
        self.stdout.write(
            f"{cohort.name}: {imported.ids:,} ids read; version {version.number} "
            f"{version.get_state_display().lower()}, "
            f"{version.size:,} users, {version.entered:,} entered, {version.left:,} left."
        )
        if imported.suspicious:
            self.stdout.write(_odd(imported.suspicious))
        if imported.people:
            self.stdout.write(profile_files.in_a_sentence(imported.people, imported.changed))


def _imported(cohort: Cohort, stream: IO[bytes], name: str, options: dict[str, Any]) -> Imported:
    hidden = options["json"] or not sys.stderr.isatty()
    mode = options["mode"]
    with Progress(disable=hidden, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{mode} {cohort.key}", total=1.0)
        return import_file(
            cohort,
            stream,
            mode=mode,
            name=name,
            hints=_hints(options),
            refuse_suspicious=options["refuse_suspicious"],
            source=f"{mode}: {name}",
            replace_held=options["replace_held"],
            fields=options["fields"],
            progress=lambda fraction: bar.update(task, completed=fraction),
        )


def _fields(cohort: Cohort, options: dict[str, Any]) -> Fields | None:
    if not options["map"]:
        return None
    workspace = options["workspace"] or cohort.events_workspace
    if not profiles.store().knows(workspace):
        known = profiles.store().workspaces()
        there = f"Say --workspace with one of {', '.join(known)}." if known else "There is none yet."
        raise CommandError(f"There is no workspace {workspace!r}. {there}", returncode=2)
    return Fields(workspace, options["map"], options["skip_invalid"])


def _hints(options: dict[str, Any]) -> Hints:
    return Hints(
        column=options["column"],
        heading=options["heading"],
        separator=SEPARATOR_NAMES[options["separator"]] if options["separator"] else "",
        encoding=options["encoding"],
        kind=options["kind"],
        sheet=options["sheet"],
    )


def _odd(suspicious: list[dict[str, Any]]) -> str:
    return f"Suspicious ids: {in_words(suspicious)}." if suspicious else "No suspicious ids."
