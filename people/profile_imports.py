"""Files of profiles from the browser: a worker imports them, one after another.

Whoever dies at one is followed by the next worker, which begins again: what is said twice changes nothing.
"""

import logging
import time
from collections.abc import Iterator

from django.db import transaction

from events.tables import Hints, InvalidTable
from people import profiles
from people.models import ImportState, ProfileImport
from people.profile_files import Mapped, Reading, keep_file, numbers_of
from people.scrubbing import FORGOTTEN, delete_files

log = logging.getLogger(__name__)
# Seconds between two notes of how far it is.
NOTED_EVERY = 1.0


class Overtaken(Exception):
    """Another worker has the file."""


def import_waiting() -> Iterator[ProfileImport]:
    """Import what waits, in the order in which it came; yield each, as it is afterwards."""
    for waiting in ProfileImport.objects.open().order_by("pk"):
        if bring(waiting):
            waiting.refresh_from_db()
            yield waiting


def bring(waiting: ProfileImport) -> bool:
    """Import a file; return whether it was ours to import. The row says how it went."""
    with transaction.atomic():
        if not ProfileImport.objects.start(waiting.pk):
            return False
        waiting.refresh_from_db()
    noted = Noted(waiting)
    try:
        with waiting.file.open("rb") as file:
            found, changed = keep_file(
                waiting.workspace, file, reading_of(waiting), name=waiting.source, progress=noted
            )
    except Overtaken:
        return False
    except FileNotFoundError:
        fail(waiting, "The stored file is gone. Upload it again.")
    except (InvalidTable, profiles.Refused, OSError) as error:
        fail(waiting, str(error))
    except Exception as error:  # the edge of an import: the next must not wait for this one
        log.exception("The import %s of profiles failed.", waiting.pk)
        fail(waiting, f"Unexpected: {type(error).__name__}. The server's log says more.")
    else:
        numbers = numbers_of(found, changed)
        if ProfileImport.objects.end(waiting.pk, waiting.attempts, ImportState.DONE, percent=100, **numbers):
            delete_imported()
    return True


def delete_imported() -> None:
    """Delete the files that were imported, and those that an earlier import could not delete."""
    try:
        delete_files(ProfileImport.objects.filter(state=ImportState.DONE))
    except OSError as error:
        log.warning("A file of profiles that was imported was not deleted: %s", error)


def reading_of(waiting: ProfileImport) -> Reading:
    mapped = [Mapped(*one) for one in waiting.columns]
    return Reading(mapped, Hints(**waiting.said), waiting.skip_invalid)


def fail(waiting: ProfileImport, error: str) -> None:
    ProfileImport.objects.end(waiting.pk, waiting.attempts, ImportState.FAILED, error=error)


class Noted:
    """How far an import is, kept with it; it is the sign of life, too. Raises Overtaken."""

    def __init__(self, waiting: ProfileImport) -> None:
        self.waiting, self.at = waiting, time.monotonic()

    def __call__(self, fraction: float) -> None:
        if time.monotonic() - self.at < NOTED_EVERY:
            return
        self.at = time.monotonic()
        mine = ProfileImport.objects.renew(
            self.waiting.pk, self.waiting.attempts, percent=min(99, int(fraction * 100))
        )
        if not mine:
            raise Overtaken


def forget_files() -> int:
    """Delete failed files and what their errors quote, whoever is in them; return how many there were."""
    failed = ProfileImport.objects.filter(state=ImportState.FAILED)
    delete_files(failed)
    ProfileImport.objects.exclude(skipped_first=[]).update(skipped_first=[])
    return failed.exclude(error=FORGOTTEN).update(error=FORGOTTEN)
