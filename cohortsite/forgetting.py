"""Forgetting a person: removed at every partner, then erased from every app, with a certificate of it.

    asked (suppressed at once) ─▶ every partner has let go ─▶ tombstone ─▶ erased, app by app ─▶ done

Each step may be repeated: whoever is killed in between is followed by the next worker. What was found is
written down after each step, and before the first.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Now
from django.utils import timezone

from cohorts import erase as cohorts_erase
from cohorts import refresh
from events.engine_errors import EngineError
from events.models import KEPT, Correction, EventUpload
from events.workspace_folders import Refused
from people.erasing import forget_suppressions, keep_suppressed
from people.models import Erasure, ErasureState, ProfileImport, Tombstone
from people.profile_imports import forget_files
from people.scrubbing import Scrubber
from receiving import erase as receiving_erase
from syncs import erase as syncs_erase
from syncs.choices import DRIVABLE_RUNS
from syncs.models import Run
from syncs.suppressing import take_effect

log = logging.getLogger(__name__)

# An erasure that waits is looked at again after this.
AGAIN = timedelta(minutes=1)
REPLACED = "Files of events that were replaced are removed when no query can be reading them any more."
ELSEWHERE = "Events are in the database at EVENTS_URL: erase them there."
Part = Callable[[Erasure], dict[str, object]]


class Waits(Exception):
    """The erasure cannot go on now; the arguments say why, in sentences."""


def go_on() -> list[Erasure]:
    """Take every erasure whose turn it is as far as it goes; return those that were finished."""
    done = []
    for erasure in Erasure.objects.filter(state=ErasureState.WAITING, next_at__lte=timezone.now()):
        # Of several workers one has it; when it dies, it is another's turn after a while.
        mine = Erasure.objects.filter(pk=erasure.pk, next_at=erasure.next_at, state=ErasureState.WAITING)
        if mine.update(next_at=Now() + 10 * AGAIN) and forget(erasure):
            done.append(erasure)
    return done


def drive_partners(stop: threading.Event) -> None:
    """Let partners lose all who wait to be forgotten now, as far as they are neither paused nor away."""
    from syncs.delivery.slots import drive_runs  # here: no run, nothing to load

    take_effect()
    people = Erasure.objects.filter(state=ErasureState.WAITING).exclude(user_id="")
    syncs = {sync.pk for erasure in people for sync, _ in syncs_erase.syncs_of(erasure.user_id)}
    runs = Run.objects.filter(
        sync__in=syncs, state__in=DRIVABLE_RUNS, sync__destination__paused_at=None
    ).select_related("sync__cohort", "sync__destination")
    if runs:
        drive_runs(list(runs), stop=stop)


def forget(erasure: Erasure) -> bool:
    """Take an erasure as far as it goes now; return whether it is done. The row says what it waits for."""
    try:
        if erasure.user_id:
            _erase(erasure, erasure.user_id)
            erasure.user_id, erasure.waits = "", []
            erasure.save(update_fields=["user_id", "waits"])
        _overwrite()
    except Waits as waits:
        erasure.waits, erasure.next_at = list(waits.args), timezone.now() + AGAIN
        erasure.save(update_fields=["waits", "next_at"])
        return False
    erasure.state, erasure.finished_at = ErasureState.DONE, timezone.now()
    erasure.save(update_fields=["state", "finished_at"])
    log.info("Erasure %s is done.", erasure.pk)
    return True


def _erase(erasure: Erasure, user_id: str) -> None:
    if not erasure.held:
        _keep(erasure, held=_held(user_id))
    if "partners" not in erasure.parts:
        keep_suppressed(erasure)
        if waits := [*cohorts_erase.waits_for(user_id), *syncs_erase.waits_for(user_id), *_uploaded()]:
            raise Waits(*waits)
        _keep(erasure, parts={**erasure.parts, "partners": syncs_erase.evidence(user_id)})
    # Before anything is gone: from now on no refresh brings them back.
    Tombstone.objects.get_or_create(digest=erasure.digest)
    try:
        for name, part in PARTS.items():
            if found := part(erasure):
                found = _sum(erasure.parts.get(name, {}), found)
                _keep(erasure, parts={**erasure.parts, name: found})
    except refresh.CohortBusy as error:
        raise Waits(str(error)) from None
    except (EngineError, Refused, OSError) as error:
        raise Waits(f"Events could not be deleted: {error}") from None
    if _is_in_replaced_files(user_id):
        raise Waits(REPLACED)


def _keep(erasure: Erasure, **values: object) -> None:
    for name, value in values.items():
        setattr(erasure, name, value)
    erasure.save(update_fields=list(values))


def _sum(before: dict[str, object], now: dict[str, object]) -> dict[str, object]:
    """What was found now and when this part was done before: a part may be done again."""
    return {
        name: found + old if isinstance(found, int) and isinstance(old := before.get(name, 0), int) else found
        for name, found in now.items()
    }


def _held(user_id: str) -> dict[str, object]:
    cohorts = [one.key for one in cohorts_erase.cohorts_of(user_id) if one.projection_of_id is None]
    return {"cohorts": cohorts, "syncs": [str(sync) for sync, _ in syncs_erase.syncs_of(user_id)]}


def _uploaded() -> list[str]:
    """Return what files of events and of profiles that were not imported yet keep an erasure waiting for."""
    waits = []
    if EventUpload.objects.filter(state__in=KEPT).exists():
        waits.append("Uploaded files of events are not imported; they may name them: import or discard them.")
    if ProfileImport.objects.open().exists():
        waits.append("Uploaded files of profiles wait to be imported; they may name them.")
    return waits


def _scrub_uploads(user_id: str) -> int:
    """Forget what was understood of files that name the user: the other columns of a line are theirs, too."""
    scrubber = Scrubber(user_id)
    changed = scrubber.rows(EventUpload.objects.order_by(), "said")
    for upload in EventUpload.objects.exclude(look={}):
        if scrubber.is_in(json.dumps(upload.look, ensure_ascii=False)):
            changed += EventUpload.objects.filter(pk=upload.pk).update(look={})
    return changed


def _events(erasure: Erasure) -> dict[str, object]:
    from events.correct import delete_people_in_files  # here: the engine takes long to import
    from events.workspace_folders import workspaces

    gone = _deleted(delete_people_in_files, workspaces(), erasure, "events")
    return gone | {"uploads": _scrub_uploads(erasure.user_id)}


def _events_inserted(erasure: Erasure) -> dict[str, object]:
    """Empty where events are in files alone."""
    from django.conf import settings

    from events.correct import delete_people_inserted
    from events.inserting import inserted

    if settings.EVENTS_INSERT:
        return _deleted(delete_people_inserted, inserted().workspaces(), erasure, "events at EVENTS_URL")
    return {"elsewhere": ELSEWHERE} if settings.EVENTS_URL else {}


def _deleted(
    delete: Callable[..., Any], workspaces: Iterable[str], erasure: Erasure, name: str
) -> dict[str, object]:
    """Delete, and return what is gone and was not written down yet. The corrections know of what somebody
    deleted who was killed before that."""
    from events.correct import NothingToCorrect

    by = f"erasure {erasure.pk}: {name}"
    for workspace in workspaces:
        with suppress(NothingToCorrect):
            delete(workspace, [erasure.user_id], by)
    gone = Correction.objects.filter(by=by).aggregate(
        events=Sum("events", default=0), properties=Sum("traits", default=0)
    )
    known = erasure.parts.get(name, {})
    return {what: number - known.get(what, 0) for what, number in gone.items()}


def _is_in_replaced_files(user_id: str) -> bool:
    from events.compact import compact
    from events.correct import is_in_replaced_files
    from events.workspace_folders import workspaces

    for workspace in workspaces():
        try:
            compact(workspace)
        except (EngineError, OSError) as error:
            raise Waits(f"Events could not be cleaned up: {error}") from None
        if is_in_replaced_files(workspace, user_id):
            return True
    return False


def _admin_log(erasure: Erasure) -> dict[str, object]:
    scrubber = Scrubber(erasure.user_id)
    rows = LogEntry.objects.order_by()
    return {"entries": scrubber.rows(rows, "object_repr", "change_message")}


def _overwrite() -> None:
    """On SQLite, write the file anew: what was deleted stands in it until then. It is locked meanwhile.

    PostgreSQL's autovacuum gives the room of dead rows away by itself.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


PARTS: dict[str, Part] = {
    "cohorts": lambda erasure: dict(cohorts_erase.erase(erasure.user_id)),
    "syncs": lambda erasure: dict(syncs_erase.erase(erasure.user_id)),
    "received": lambda erasure: dict(receiving_erase.erase(erasure.user_id)),
    "events": _events,
    "events at EVENTS_URL": _events_inserted,
    "log of the admin": _admin_log,
    "files of profiles": lambda erasure: {"failed": forget_files()},
    "suppressed people": lambda erasure: dict(forget_suppressions(erasure.user_id)),
}
