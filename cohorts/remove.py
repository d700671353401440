"""Deleting a cohort: the cohort at once, its members in short transactions afterwards.

Members have no foreign key in the database (see Member), and there may be millions of them. So the
row goes first: from then on nobody can read the cohort, and members whose cohort is gone are
deleted page by page, now or by whoever comes next if this process dies.
"""

import time
from collections.abc import Collection, Sequence
from functools import partial

from django.db import models, transaction

from cohorts import members, refresh
from cohorts.choices import SourceKind
from cohorts.models import Cohort, Upload
from cohorts.sources import references_of

# Rows deleted in one transaction.
ROWS = 5_000
# Of what needs a cohort, so many are named.
NAMED = 5


class CohortInUse(Exception):
    """Something else needs this cohort; the message names it and says what to do."""


def remove(cohort_id: int) -> None:
    """Delete a cohort, its versions and its uploaded files; its members are left to `drain`.

    Raises CohortInUse, or refresh.CohortBusy while the cohort is being refreshed.
    """
    with transaction.atomic():
        refresh.claim_for_good(cohort_id)
        files = [upload.file for upload in Upload.objects.filter(cohort_id=cohort_id) if upload.file]
        cohort = Cohort.objects.get(pk=cohort_id)
        if named_by := dependants(cohort):
            raise CohortInUse(_named_by(cohort, named_by))
        try:
            cohort.delete()
        except models.ProtectedError as error:
            raise CohortInUse(_who_needs(cohort, error.protected_objects)) from None
        except models.RestrictedError as error:
            raise CohortInUse(_who_needs(cohort, error.restricted_objects)) from None
        for file in files:
            transaction.on_commit(partial(file.delete, save=False), robust=True)


def dependants(cohort: Cohort) -> list[Cohort]:
    """Return the cohorts whose definition names this one: they could not be calculated without it."""
    others = Cohort.objects.filter(source_kind=SourceKind.BEHAVIORAL).exclude(pk=cohort.pk).order_by("name")
    return [other for other in others if cohort.key in references_of(other.definition)]


def drain(seconds: float = float("inf")) -> int:
    """Delete the members of cohorts that are gone, for about so many seconds; return the cohorts finished."""
    until = time.monotonic() + seconds
    finished = 0
    while (cohort_id := members.ownerless()) is not None:
        after: str | None = ""
        while after is not None:
            if time.monotonic() >= until:
                return finished
            began = time.monotonic()
            with transaction.atomic():
                after = members.drain_page(cohort_id, after, ROWS)
            refresh.rest_since(began)
        finished += 1
    return finished


def _named_by(cohort: Cohort, others: Sequence[Cohort]) -> str:
    names = ", ".join(f"{other.name} ({other.key})" for other in others[:NAMED])
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return f"The definition of {names}{more} names {cohort}. Take it out of there, or delete them, first."


def _who_needs(cohort: Cohort, others: Collection[models.Model]) -> str:
    names = sorted(f"{other._meta.verbose_name} {other}" for other in others)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{cohort} is used by {', '.join(names[:NAMED])}{more}. Delete them first."
