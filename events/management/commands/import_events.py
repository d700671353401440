import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from events import dry_run
from events.correct import find_import, person
from events.engine import EngineError
from events.formats import KINDS, UnreadableFile
from events.importing import GUESSES, Imported, Mapped, Replaces, import_file
from events.store import DEFAULT_WORKSPACE, Refused

PARTLY = 3


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = f"Import files of events or of users' properties: {KINDS}. Each file whole or not at all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument(
            "--map",
            nargs="+",
            default=[],
            metavar="FIELD=COLUMN",
            help=f"where a field is, when it is not found by its usual names; fields: {', '.join(GUESSES)}",
        )
        parser.add_argument(
            "--set",
            nargs="+",
            default=[],
            metavar="FIELD=VALUE",
            help="one value for all lines: --set event=purchase",
        )
        parser.add_argument(
            "--traits", action="store_true", help="the files hold users' properties, not events"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what each file is and would bring; import nothing"
        )
        parser.add_argument("--again", action="store_true", help="import even what was imported before")
        parser.add_argument("--source", default="", help="a name for where these events come from")
        parser.add_argument(
            "--replace",
            nargs="+",
            default=[],
            metavar="IMPORT",
            help="imports that this one takes the place of, by their keys (list_imports)",
        )
        parser.add_argument(
            "--replace-days",
            action="store_true",
            help="take the place of what the same --source brought on the days (UTC) of the file's events",
        )
        parser.add_argument(
            "--on-repeat",
            choices=["keep", "replace"],
            default="keep",
            help="of an event whose user and insert id are there already: keep the old one (default) or not",
        )
        parser.add_argument("--by", default="", help="who does it, for the record")
        parser.add_argument("--workspace", default=DEFAULT_WORKSPACE)
        parser.add_argument("--json", action="store_true")

    def handle(self, *, files: list[Path], workspace: str, **options: Any) -> None:
        if options["replace_days"] and not options["source"]:
            raise CommandError("--replace-days needs --source: whose days?", returncode=2)
        if options["replace"] and len(files) > 1:
            raise CommandError("--replace takes one file: which of them is the new one?", returncode=2)
        mapped = Mapped(pairs(options["map"]), pairs(options["set"]), options["traits"])
        if options["dry_run"]:
            self.look(workspace, files, mapped, as_json=options["json"])
            return
        done = [self.take(workspace, path, mapped, options) for path in files]
        if options["json"]:
            self.stdout.write(json.dumps({"files": [asdict(imported) for imported in done]}))
        if any(imported.bad_lines for imported in done):
            sys.exit(PARTLY)

    def take(self, workspace: str, path: Path, mapped: Mapped, options: dict[str, Any]) -> Imported:
        bar = bar_of(as_json=options["json"])
        try:
            with bar:
                task = bar.add_task(path.name, total=path.stat().st_size)
                imported = import_file(
                    workspace,
                    path,
                    mapped,
                    again=options["again"],
                    source=options["source"],
                    by=person(options["by"]),
                    replaces=Replaces(
                        [find_import(workspace, key) for key in options["replace"]],
                        options["replace_days"],
                        options["on_repeat"] == "replace",
                    ),
                    progress=lambda done: bar.update(task, completed=done),
                )
        except (UnreadableFile, EngineError, Refused, OSError, ValueError) as error:
            raise CommandError(f"Nothing of {path.name} was imported: {error}") from None
        if not options["json"]:
            self.report(imported)
        return imported

    def look(self, workspace: str, files: list[Path], mapped: Mapped, *, as_json: bool) -> None:
        looks = []
        for path in files:
            looks.append(look_at(workspace, path, mapped, bar_of(as_json=as_json)))
            if not as_json:
                self.stdout.write("\n".join(looks[-1].lines()))
        if as_json:
            self.stdout.write(json.dumps({"files": [looked.as_json() for looked in looks]}))
        if unusable := [looked.file for looked in looks if not looked.rows + looked.users]:
            raise CommandError(f"{unusable[0]} could not be imported: no line can be used.")
        if any(looked.bad_lines for looked in looks):
            sys.exit(PARTLY)

    def report(self, imported: Imported) -> None:
        if imported.known:
            self.stdout.write(f"{imported.file}: imported before; nothing done (use --again to repeat).")
            return
        self.stdout.write(
            f"{imported.file}: {imported.rows:,} events, {imported.users:,} users' properties, "
            f"{imported.repeats:,} repeats left out, {imported.replaced:,} events replaced, "
            f"{imported.bad_lines:,} bad lines. "
            + (f"Its key is {imported.key[:12]}." if imported.key else "It cannot be undone.")
        )
        if imported.anonymous:
            said = "lines name a device and no user: they count when it is known whose it is."
            self.stdout.write(f"  {imported.anonymous:,} {said}")
        for problem in imported.problems:
            self.stderr.write(f"  {problem}")


def look_at(workspace: str, path: Path, mapped: Mapped, bar: Progress) -> dry_run.Look:
    try:
        with bar:
            task = bar.add_task(path.name, total=path.stat().st_size)
            return dry_run.look(workspace, path, mapped, lambda done: bar.update(task, completed=done))
    except (UnreadableFile, EngineError, Refused, OSError, ValueError) as error:
        raise CommandError(f"{path.name} could not be imported: {error}") from None


def bar_of(*, as_json: bool) -> Progress:
    return Progress(disable=as_json or not sys.stderr.isatty(), console=Console(stderr=True), transient=True)


def pairs(texts: list[str]) -> dict[str, str]:
    """Parse FIELD=VALUE arguments."""
    found = dict(text.partition("=")[::2] for text in texts)
    unknown = sorted(field for field, value in found.items() if field not in GUESSES or not value)
    if unknown:
        raise CommandError(
            f"{unknown[0]!r} is no FIELD=VALUE with one of these fields: {', '.join(GUESSES)}", returncode=2
        )
    return found
