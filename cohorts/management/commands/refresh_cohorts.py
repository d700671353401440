import json
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from cohorts import calculate, remove
from cohorts.choices import UploadState
from cohorts.importing import import_waiting
from cohorts.models import Cohort, Upload
from events import arrivals
from events.engine import EngineError

Row = dict[str, Any]


class Command(BaseCommand):
    requires_system_checks = ("settings",)
    help = "Bring cohorts up to date: calculate them, and import the files that were uploaded and wait."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="*", metavar="KEY", help="default: every cohort")
        parser.add_argument(
            "--as-of",
            type=_instant,
            help="calculate as of this instant (ISO 8601), not now",
        )
        parser.add_argument("--replace-held", action="store_true", help="refuse versions that are being held")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, keys: list[str], **options: Any) -> None:
        cohorts = _chosen(keys)
        remove.drain()
        taken_in = arrivals.take_in_all()
        rows = []
        for row in [*self._imported(keys), *self._calculated(cohorts, options)]:
            rows.append(row)
            if not options["json"]:
                self.stdout.write(_line(row))
        if options["json"]:
            self.stdout.write(json.dumps(rows))
        elif not rows:
            self.stdout.write("Nothing to do: no cohort is calculated, and no uploaded file waits.")
        if not taken_in:
            raise CommandError("Events that have arrived could not be taken in; the log says why.")
        if failed := sum(row["error"] != "" for row in rows):
            raise CommandError(f"{failed} of {len(rows)} refreshes came to nothing.")

    def _imported(self, keys: list[str]) -> Iterator[Row]:
        for upload in import_waiting(keys):
            yield {
                "cohort": upload.cohort.key,
                "original_name": upload.original_name,
                "state": upload.state,
                "version": upload.version,
                "ids": upload.ids,
                "error": "" if upload.state == UploadState.DONE else _why_not(upload),
            }

    def _calculated(self, cohorts: QuerySet[Cohort], options: dict[str, Any]) -> Iterator[Row]:
        try:
            ordered = calculate.in_order(cohorts)
        except EngineError as error:
            raise CommandError(str(error)) from None
        instant = options["as_of"] or timezone.now()
        how: Row = {"as_of": instant, "replace_held": options["replace_held"], "wait": 60.0}
        with calculate.together(ordered, instant) as rounds:
            for cohort in ordered:
                yield _calculated_row(cohort, how | {"rounds": rounds})


def _calculated_row(cohort: Cohort, how: Row) -> Row:
    row: Row = {"cohort": cohort.key, "version": None, "error": ""}
    try:
        version = calculate.calculate(cohort, **how)
    except calculate.FAILURES as error:
        return row | {"error": str(error)}
    names = ("state", "size", "entered", "left", "reason")
    return row | {"version": version.number} | {name: getattr(version, name) for name in names}


def _chosen(keys: list[str]) -> QuerySet[Cohort]:
    known = set(Cohort.objects.filter(key__in=keys).values_list("key", flat=True))
    if unknown := [key for key in keys if key not in known]:
        raise CommandError(f"There is no cohort {', '.join(map(repr, unknown))}.", returncode=2)
    return Cohort.objects.filter(key__in=keys) if keys else Cohort.objects.all()


def _line(row: Row) -> str:
    if row["error"]:
        return f"{row['cohort']}: {row['error']}"
    if "ids" in row:
        return f"{row['cohort']}: {row['original_name']}: version {row['version']}, {row['ids']:,} ids"
    moved = f"{row['size']:,} users, {row['entered']:,} entered, {row['left']:,} left"
    return f"{row['cohort']}: version {row['version']} {row['state']}: {moved}. {row['reason']}".rstrip()


def _why_not(upload: Upload) -> str:
    return upload.error or "passed over: the cohort is being refreshed by another process"


def _instant(text: str) -> datetime:
    try:
        day, moment = parse_date(text), parse_datetime(text)
    except ValueError:
        day = moment = None
    if moment is None and day is not None:
        moment = datetime(day.year, day.month, day.day)
    if moment is None:
        raise ArgumentTypeError(f"{text!r} is no time; say for example 1998-06-30 or 1998-06-30T12:00:00Z")
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=timezone.get_default_timezone())
