"""Bringing a file of user ids into a cohort: at once for a command, by the worker for the browser."""

import logging
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice
from typing import IO, Any, NamedTuple

from django.db import transaction

from cohorts import owner, refresh
from cohorts.choices import SourceKind, UploadMode, UploadState
from cohorts.models import Cohort, CohortVersion, Upload
from cohorts.sorting import sorted_distinct
from events import file_of_ids
from events.tables import Hints, InvalidTable, Understood
from events.tables.packing import size_of
from people import profile_files, profiles
from people.profile_files import Fields, Found, Progress, Reading
from people.scrubbing import delete_files

# Seconds to wait for a refresh of the same cohort.
WAIT = 60.0
logger = logging.getLogger(__name__)


class WrongSource(refresh.RefreshError):
    """The members of this cohort come from somewhere else."""


def check_source(cohort: Cohort, kind: SourceKind) -> None:
    """Raise WrongSource unless the members of the cohort come from there.

    Two sources would undo each other's work.
    """
    if cohort.source_kind != kind:
        raise WrongSource(
            f"The members of {cohort.key} come from its source, {cohort.get_source_kind_display()}. "
            f"To use this way, change the cohort's source to {kind.label}."
        )


def check_not_held(cohort: Cohort) -> None:
    """Raise VersionHeld before anything of a file is kept that a refresh would refuse."""
    if cohort.held_number:
        raise refresh.VersionHeld(
            f"Version {cohort.held_number} of {cohort.key} is held: approve or refuse it first."
        )


class Imported(NamedTuple):
    """What became of a file: `ids` are distinct; `suspicious` as `Suspicions.as_json` gives them; `people`:
    what it said of them, if that was kept, and `changed`: how many values were new."""

    version: CohortVersion
    ids: int
    understood: Understood
    suspicious: list[dict[str, Any]]
    people: Found | None = None
    changed: int = 0


def import_file(
    cohort: Cohort,
    file: IO[bytes],
    *,
    mode: str,
    source: str,
    name: str = "",
    hints: Hints | None = None,
    refuse_suspicious: bool = False,
    replace_held: bool = False,
    fields: Fields | None = None,
    by: str = "",
    progress: Progress = lambda fraction: None,
) -> Imported:
    """Bring the ids of a file into a cohort.

    `mode`: an UploadMode. `name`: what the person calls the file. `fields`: further columns that are kept as
    fields of these people's profiles, in the name of `by`. `progress` is told a fraction from 0 to 1. Raises
    InvalidTable, with nothing changed, profiles.Refused, or refresh.RefreshError; among these WrongSource.
    """
    check_source(cohort, SourceKind.UPLOAD)
    if fields and not replace_held:
        check_not_held(cohort)
    total = size_of(file) or 1
    # One half is reading the ids and keeping what is said of people, the other comparing.
    read = 0.25 if fields else 0.5
    with file_of_ids.opened(file, name=name, hints=hints) as opened:

        def step() -> None:
            progress(min(1.0, file.tell() / total) * read if total > 1 else 0)

        def keep(fraction: float) -> None:
            progress(read + fraction * (0.5 - read))

        blocks = opened.blocks(refuse_suspicious=refuse_suspicious, step=step)
        counted = _Counted(sorted_distinct(blocks))
        keeping = Keeping(file, fields, hints or Hints(), name=name, by=by, progress=keep)
        ids = chain.from_iterable(keeping.before(iter(counted)))
        expected = max(1, cohort.size)

        def compared(users: int) -> None:
            progress(0.5 + min(0.5, users / max(expected, counted.count) / 2))

        if mode == UploadMode.REPLACE:
            version = refresh.replace(
                cohort.pk, ids, source=source, replace_held=replace_held, wait=WAIT, progress=compared
            )
        else:
            add, remove = (ids, ()) if mode == UploadMode.ADD else ((), ids)
            version = refresh.amend(
                cohort.pk, add=add, remove=remove, source=source, wait=WAIT, progress=compared
            )
        found = opened.suspicions.as_json()
        return Imported(version, counted.count, opened.understood, found, keeping.found, keeping.changed)


class Keeping:
    """Keeps further columns of a file of members as fields of people's profiles.

    It does so when all ids are read and right, and before there is a version: a sync that follows the version
    knows people by what the file says of them.
    """

    def __init__(
        self,
        file: IO[bytes],
        fields: Fields | None,
        hints: Hints,
        *,
        name: str,
        by: str,
        progress: Progress = lambda fraction: None,
    ) -> None:
        self.file, self.fields, self.hints, self.name, self.by = file, fields, hints, name, by
        self.progress = progress
        self.found: Found | None = None
        self.changed = 0

    def before(self, blocks: Iterator[Sequence[str]]) -> Iterator[Sequence[str]]:
        """Return the blocks, once the columns are kept. Raises InvalidTable and profiles.Refused."""
        if self.fields is None:
            return blocks
        first = list(islice(blocks, 1))  # all of them are read by then
        self.file.seek(0)
        reading = Reading(self.fields.mapped, self.hints, self.fields.skip_invalid)
        kept, self.found = profile_files.import_file(
            self.fields.workspace, self.file, reading, name=self.name, by=self.by, progress=self.progress
        )
        self.changed = kept.changed
        return chain(first, blocks)


def import_upload(upload: Upload) -> bool:
    """Import a file that was given in the browser; return whether it went well. The row says how it went.

    One that another worker is importing is left to it. One whose cohort is being refreshed by somebody
    else goes on waiting.
    """
    attempt = _started(upload)
    if attempt is None:
        return False

    def renew(fraction: float) -> None:
        # The last call comes when all is written and nothing is published: whoever lost the upload
        # meanwhile publishes nothing.
        if not Upload.objects.renew(upload.pk, attempt, percent=int(fraction * 100)):
            raise refresh.ClaimLost("Another worker took this upload over.")

    try:
        with upload.file.open("rb") as file:
            imported = import_file(
                upload.cohort,
                file,
                mode=upload.mode,
                name=upload.original_name,
                hints=upload.hints(),
                refuse_suspicious=upload.refuse_suspicious,
                source=_in_words(upload),
                fields=upload.kept_fields(),
                by=upload.created_by.get_username() if upload.created_by else "",
                progress=renew,
            )
    except refresh.CohortBusy:
        Upload.objects.postpone(upload.pk, attempt)
        return False
    except FileNotFoundError:
        Upload.objects.fail(upload.pk, attempt, error="The stored file is gone. Upload it again.")
        return False
    except (InvalidTable, profiles.Refused, refresh.RefreshError, OSError) as error:
        Upload.objects.fail(upload.pk, attempt, error=str(error))
        return False
    except Exception as error:  # noqa: BLE001  # the edge of a run: the next upload must not wait for this one
        logger.exception("Upload %s of %s failed", upload.pk, upload.cohort.key)
        said = f"Unexpected: {type(error).__name__}. The server's log says more."
        Upload.objects.fail(upload.pk, attempt, error=said)
        return False
    found = {"understood": imported.understood.sentence(), "suspicious": imported.suspicious}
    if imported.people:
        found["said_of_people"] = profile_files.in_a_sentence(imported.people, imported.changed)
    version = imported.version.number
    if Upload.objects.finish(upload.pk, attempt, ids=imported.ids, version=version, **found):
        _delete_imported(upload.cohort_id)
    return True


def _delete_imported(cohort: int) -> None:
    """Delete the cohort's files that were imported, and those that an earlier import could not delete."""
    try:
        delete_files(Upload.objects.filter(cohort=cohort, state=UploadState.DONE))
    except OSError as error:
        logger.warning("An imported file of the cohort %s was not deleted: %s", cohort, error)


def _started(upload: Upload) -> int | None:
    """Claim the upload; return the attempt, or None when another worker has it."""
    dead = upload.attempts if owner.is_dead(upload.claim_owner) else None
    with transaction.atomic():
        if not Upload.objects.start(upload.pk, dead_attempt=dead):
            return None
        return Upload.objects.values_list("attempts", flat=True).get(pk=upload.pk)


def _in_words(upload: Upload) -> str:
    """Return what is remembered of an upload as the source of a version."""
    who = f" by {upload.created_by}" if upload.created_by else ""
    return f"{upload.get_mode_display().split(':')[0]}: {upload.original_name[:120]}{who}"


def next_upload(cohort_keys: Collection[str] = (), *, not_among: Collection[int] = ()) -> Upload | None:
    """Return the oldest upload to import: the files of a cohort count in the order in which they came.

    An upload that was being imported when its worker died is among them: importing it again is
    harmless. `not_among`: cohorts' primary keys to pass over.
    """
    uploads = Upload.objects.open().exclude(cohort__in=not_among)
    if cohort_keys:
        uploads = uploads.filter(cohort__key__in=cohort_keys)
    return uploads.select_related("cohort", "created_by").order_by("pk").first()


def import_waiting(cohort_keys: Collection[str] = ()) -> Iterator[Upload]:
    """Import what waits, each cohort's files in order; yield each upload, as it is afterwards.

    A cohort whose file another worker has, or that is being refreshed, is passed over.
    """
    passed_over: set[int] = set()
    while upload := next_upload(cohort_keys, not_among=passed_over):
        import_upload(upload)
        upload.refresh_from_db()
        if upload.state in (UploadState.WAITING, UploadState.IMPORTING):
            passed_over.add(upload.cohort_id)
        yield upload


class _Counted:
    """Blocks of ids, and how many ids went by."""

    def __init__(self, blocks: Iterator[Sequence[str]]) -> None:
        self._blocks = blocks
        self.count = 0

    def __iter__(self) -> Iterator[Sequence[str]]:
        for block in self._blocks:
            self.count += len(block)
            yield block
