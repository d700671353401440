"""Erasing a person from cohorts: every version, whoever was held back, uploads and previews."""

from django.db import transaction
from django.db.models import F

from cohorts import members, refresh
from cohorts.choices import PreviewState, UploadState
from cohorts.models import Cohort, CohortVersion, Member, Preview, Upload
from people.scrubbing import FORGOTTEN, Scrubber, delete_files


def cohorts_of(user_id: str) -> list[Cohort]:
    """Return the cohorts that have, or had, or hold back the user."""
    keys = Cohort.every.order_by().values_list("pk", flat=True)
    both = [number for pk in keys for number in (pk, members.held_back_of(pk))]
    found = Member.objects.filter(cohort__in=both, user_id=user_id).values_list("cohort_id", flat=True)
    return list(Cohort.every.filter(pk__in={abs(number) for number in found}).order_by("key"))


def waits_for(user_id: str) -> list[str]:
    """Return, in sentences, what keeps the user from being erased here; nothing when they left everywhere."""
    waits = []
    for cohort in cohorts_of(user_id):
        if cohort.projection_of_id:
            continue  # its sync's next run takes them out, and its sync waits for that
        if cohort.held_number:
            waits.append(f"Version {cohort.held_number} of {cohort.key} is held: approve or refuse it.")
        elif members.is_in_version(cohort.pk, cohort.version, [user_id]):
            waits.append(f"{cohort.key} has them still: the worker takes them out.")
    if Upload.objects.open().exists():
        waits.append("Uploaded files wait to be imported; they may name them.")
    return waits


def erase(user_id: str) -> dict[str, int]:
    """Erase the user; return how much of what there was. Raises refresh.CohortBusy: ask again later.

    They must have left every published version, and must be suppressed or have a tombstone.
    """
    rows = 0
    for cohort in cohorts_of(user_id):
        held = members.held_back_of(cohort.pk)
        with transaction.atomic(), refresh.claimed(cohort.pk):
            mine = Member.objects.filter(cohort__in=[cohort.pk, held], user_id=user_id)
            held_now = mine.filter(cohort=held, left_version=None, entered_version__lte=cohort.version)
            if held_now.exists():
                Cohort.every.filter(pk=cohort.pk).update(held_back=F("held_back") - 1)
            rows += members.erase(cohort.pk, user_id) + members.erase(held, user_id)
    return {"intervals of membership": rows, **_uploads(), **_texts(user_id)}


def _uploads() -> dict[str, int]:
    """Delete the files of uploads that failed, and previews: who is in them is not looked up."""
    failed = Upload.objects.filter(state=UploadState.FAILED)
    files = delete_files(failed)
    # An error about a field quotes its value, which may be anybody's.
    failed.exclude(fields={}).update(error=FORGOTTEN)
    over = [PreviewState.DONE, PreviewState.FAILED]
    return {"files of failed uploads": files, "previews": Preview.objects.filter(state__in=over).delete()[0]}


def _texts(user_id: str) -> dict[str, int]:
    scrubber, changed = Scrubber(user_id), 0
    changed += scrubber.rows(Upload.objects.order_by(), "error", "understood")
    changed += scrubber.rows(CohortVersion.objects.order_by(), "reason")
    changed += scrubber.rows(Cohort.objects.order_by(), "calculation_error")
    # As in the error of an upload: a value is quoted, which may be anybody's.
    failed = Cohort.objects.exclude(query_fields=[]).exclude(calculation_error__in=["", FORGOTTEN])
    changed += failed.update(calculation_error=FORGOTTEN)
    for upload in Upload.objects.exclude(suspicious=[]):
        if (suspicious := scrubber.value(upload.suspicious)) != upload.suspicious:
            changed += Upload.objects.filter(pk=upload.pk).update(suspicious=suspicious)
    return {"texts": changed}
