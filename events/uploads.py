"""Files of events from the browser: looked at, and imported when a person has seen what was understood.

The worker does both, one file of a workspace at a time. Whoever dies at it is followed by the next worker,
which begins again: a look changes nothing, and a content is imported once.
"""

import logging
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils import timezone

from events.dry_run import Look, look
from events.engine import EngineError
from events.event_tables import Unreachable
from events.formats import UnreadableFile
from events.importing import Imported, Mapped, Replaces, import_file
from events.locks import locked
from events.models import EventUpload, UploadState
from events.workspace_folders import Folders, Refused, check_taken

log = logging.getLogger(__name__)
# Smaller files are looked at while the browser waits.
AT_ONCE = 4 * 1024 * 1024
CHUNK = 1024 * 1024


def keep(workspace: str, name: str, chunks: Iterable[bytes], **fields: Any) -> EventUpload:
    """Store a file, and look at it at once if it is small. Raises Refused, OSError."""
    check_taken()
    upload = EventUpload(workspace=workspace, key=uuid.uuid4().hex, name=name, **fields)
    Folders(workspace).make()
    path = _local(upload)
    path.parent.mkdir(parents=True)
    try:
        with path.open("wb") as file:
            file.writelines(chunks)
        size = path.stat().st_size
        if settings.FILES_URL:
            with path.open("rb") as file:
                default_storage.save(_stored(upload), File(file))
        # From here on a worker of another machine may find it.
        upload.save()
    except OSError:
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
    if size <= AT_ONCE:
        work_at(upload)
        upload.refresh_from_db()
    elif settings.FILES_URL:
        shutil.rmtree(path.parent, ignore_errors=True)
    return upload


def path_of(upload: EventUpload) -> Path:
    """Return where the file is on this machine, to which it is brought if need be. Raises OSError."""
    path = _local(upload)
    if settings.FILES_URL and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with default_storage.open(_stored(upload)) as stored, path.open("wb") as file:
            shutil.copyfileobj(stored, file, CHUNK)
    return path


def _local(upload: EventUpload) -> Path:
    return Folders(upload.workspace).uploads / upload.key / upload.name


def _stored(upload: EventUpload) -> str:
    return f"events/{upload.key}"


def work_off(workspace: str) -> None:
    """Look at and import what waits, in its order, unless another worker is at it."""
    folders = Folders(workspace)
    if not EventUpload.objects.waiting(workspace).exists():
        return
    with locked(folders.make().root / "uploads.lock", wait=False) as mine:
        while mine and (upload := EventUpload.objects.waiting(workspace).first()):
            work_at(upload)


def work_at(upload: EventUpload) -> None:
    """Do what is to be done with an upload; whatever becomes of it is kept with it."""
    before = UploadState(upload.state)
    EventUpload.objects.filter(pk=upload.pk).update(started_at=timezone.now())
    try:
        work = look_at if before == UploadState.LOOKING else bring
        work(upload)
    except Unreachable as error:
        # Nothing is wrong with the file: it is imported when the database answers.
        EventUpload.objects.filter(pk=upload.pk).update(said=str(error))
        raise
    except FileNotFoundError:
        end(upload, before, "The stored file is gone. Upload it again.")
    except (UnreadableFile, EngineError, Refused, OSError) as error:
        end(upload, before, str(error))
    except Exception as error:  # an upload's edge: the next must not wait for this one
        log.exception("The upload %s failed.", upload)
        end(upload, before, f"Unexpected: {type(error).__name__}. The server's log says more.")
    finally:
        if settings.FILES_URL:  # whoever goes on may be on another machine
            shutil.rmtree(_local(upload).parent, ignore_errors=True)


def look_at(upload: EventUpload) -> None:
    found = look(upload.workspace, path_of(upload), mapping_of(upload), Percent(upload))
    EventUpload.objects.turn(upload.pk, UploadState.LOOKING, UploadState.LOOKED, look=found.as_json())


def bring(upload: EventUpload) -> None:
    imported = import_file(
        upload.workspace,
        path_of(upload),
        mapping_of(upload),
        source=upload.source,
        by=upload.by,
        replaces=Replaces(
            imports=[upload.replaces_import] if upload.replaces_import else (),
            repeats=upload.replaces_repeats,
        ),
        progress=Percent(upload),
    )
    end(upload, UploadState.IMPORTING, sentence_of(imported), imported)


def end(upload: EventUpload, before: UploadState, said: str, imported: Imported | None = None) -> None:
    after = UploadState.DONE if imported else UploadState.FAILED
    key = imported.key if imported else ""
    if EventUpload.objects.turn(upload.pk, before, after, said=said, import_key=key):
        forget_file(upload)


def confirm(upload: EventUpload) -> bool:
    """Have the worker import an upload. Returns whether it was still waiting for a person."""
    return EventUpload.objects.turn(upload.pk, UploadState.LOOKED, UploadState.IMPORTING)


def discard(upload: EventUpload) -> bool:
    """Take an upload away that was not imported. Returns whether it was still waiting for a person."""
    waiting = EventUpload.objects.filter(pk=upload.pk, state=UploadState.LOOKED)
    if not waiting.delete()[0]:
        return False
    forget_file(upload)
    return True


def forget_file(upload: EventUpload) -> None:
    shutil.rmtree(_local(upload).parent, ignore_errors=True)
    if settings.FILES_URL:
        try:
            default_storage.delete(_stored(upload))
        except OSError as error:
            log.warning("The file %s was not deleted: %s", _stored(upload), error)


def mapping_of(upload: EventUpload) -> Mapped:
    return Mapped(**upload.mapped)


def look_of(upload: EventUpload) -> Look | None:
    return Look(**upload.look) if upload.look else None


def sentence_of(imported: Imported) -> str:
    if imported.known:
        return "This content was imported before: nothing was done."
    return (
        f"{imported.rows:,} events and {imported.users:,} users' properties were imported, "
        f"{imported.repeats:,} repeats left out, {imported.replaced:,} events replaced; "
        f"{imported.bad_lines:,} lines were bad."
    )


class Percent:
    """Progress of a file's reading, kept with its upload, a statement for each hundredth."""

    def __init__(self, upload: EventUpload) -> None:
        self.upload, self.shown = upload, 0
        self.size = max(path_of(upload).stat().st_size, 1)

    def __call__(self, done: int) -> None:
        percent = min(99, 100 * done // self.size)
        if percent > self.shown:
            self.shown = percent
            EventUpload.objects.filter(pk=self.upload.pk).update(percent=percent)
