import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from cohorts import remove
from cohorts.choices import UploadState
from cohorts.importing import import_waiting
from cohorts.models import Cohort, Upload


class Command(BaseCommand):
    help = "Bring cohorts up to date: import the files that were uploaded for them and wait."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("keys", nargs="*", metavar="KEY", help="default: every cohort")
        parser.add_argument("--json", action="store_true")

    def handle(self, *, keys: list[str], **options: Any) -> None:
        known = set(Cohort.objects.filter(key__in=keys).values_list("key", flat=True))
        if unknown := [key for key in keys if key not in known]:
            raise CommandError(f"There is no cohort {', '.join(map(repr, unknown))}.")
        remove.drain()
        done = []
        for upload in import_waiting(keys):
            done.append(upload)
            if not options["json"]:
                self.stdout.write(f"{upload.cohort.name}: {upload.original_name}: {_outcome(upload)}")
        if options["json"]:
            names = ("original_name", "state", "version", "ids", "error")
            self.stdout.write(
                json.dumps([{"cohort": u.cohort.key} | {n: getattr(u, n) for n in names} for u in done])
            )
        elif not done:
            self.stdout.write("Nothing to do: no uploaded file waits.")
        if failed := sum(upload.state != UploadState.DONE for upload in done):
            raise CommandError(f"{failed} of {len(done)} files were not imported.")


def _outcome(upload: Upload) -> str:
    if upload.state == UploadState.DONE:
        return f"version {upload.version}, {upload.ids:,} ids"
    return upload.error or "passed over: the cohort is being refreshed by another process"
