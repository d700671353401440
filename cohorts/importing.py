"""Bringing a file of user ids into a cohort: at once for a command, by the worker for the browser."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO

from cohorts import csv_file, refresh
from cohorts.choices import UploadMode, UploadState
from cohorts.models import Cohort, CohortVersion, Upload
from cohorts.sorting import sorted_distinct

Progress = Callable[[float], None]


def import_file(
    cohort: Cohort,
    file: IO[bytes],
    *,
    mode: str,
    column: str = "",
    source: str,
    replace_held: bool = False,
    progress: Progress = lambda fraction: None,
) -> tuple[CohortVersion, int]:
    """Bring the ids of a CSV file into a cohort; return the version and how many distinct ids there were.

    `mode`: an UploadMode. `progress` is told a fraction from 0 to 1. Raises csv_file.InvalidFile, with
    nothing changed, or refresh.RefreshError.
    """
    total = os.fstat(file.fileno()).st_size or 1
    counted = _Counted(
        sorted_distinct(
            csv_file.read_ids(file, column=column, progress=lambda position: progress(position / total / 2))
        )
    )
    expected = max(1, cohort.size)

    def compared(users: int) -> None:
        progress(0.5 + min(0.5, users / max(expected, counted.count) / 2))

    if mode == UploadMode.REPLACE:
        version = refresh.replace(
            cohort.pk, counted, source=source, replace_held=replace_held, wait=60, progress=compared
        )
    else:
        sides = {"add": counted} if mode == UploadMode.ADD else {"remove": counted}
        version = refresh.amend(cohort.pk, **sides, source=source, progress=compared)  # type: ignore[arg-type]
    return version, counted.count


def import_upload(upload: Upload) -> bool:
    """Import a file that was given in the browser; return whether it went well. The row says how it went."""
    if not Upload.objects.start(upload.pk):
        return False

    def progress(fraction: float) -> None:
        percent = int(fraction * 100)
        Upload.objects.filter(pk=upload.pk, percent__lt=percent).update(percent=percent)

    who = f" by {upload.created_by}" if upload.created_by else ""
    try:
        with upload.file.open("rb") as file:
            version, ids = import_file(
                upload.cohort,
                file,
                mode=upload.mode,
                column=upload.column,
                source=f"{upload.get_mode_display().split(':')[0]}: {upload.original_name}{who}",
                progress=progress,
            )
    except (csv_file.InvalidFile, refresh.RefreshError, OSError) as error:
        Upload.objects.fail(upload.pk, error=str(error))
        return False
    Upload.objects.finish(upload.pk, ids=ids, version=version.number)
    upload.file.delete(save=False)
    return True


def waiting_uploads(cohort_keys: Iterable[str] = ()) -> Iterator[Upload]:
    """Yield the uploads to import, oldest first; of one cohort in the order in which they were given.

    An upload that was being imported when its worker died is among them: importing it again is harmless.
    """
    uploads = Upload.objects.filter(state__in=[UploadState.WAITING, UploadState.IMPORTING])
    if keys := list(cohort_keys):
        uploads = uploads.filter(cohort__key__in=keys)
    yield from uploads.select_related("cohort", "created_by").order_by("pk")


class _Counted:
    """An iterator that knows how many items went through it."""

    def __init__(self, items: Iterator[str]) -> None:
        self._items = items
        self.count = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        item = next(self._items)
        self.count += 1
        return item
