"""Dropping membership of versions that nobody will ask for again."""

import time
from datetime import datetime

from django.db import transaction

from cohorts import members
from cohorts.choices import VersionState
from cohorts.members import held_back_of
from cohorts.models import Cohort, CohortVersion
from cohorts.refresh import rest_since

ROWS = 5_000


def prune(cohort_id: int, *, floor: int, before: datetime) -> int:
    """Drop intervals that ended at or before version `floor`; return how many.

    Versions that were the latest at the time `before`, or later, are kept readable, whatever the
    floor. How far it went is recorded first: an older version is an error from then on, never an
    answer that lacks somebody.
    """
    floor = min(floor, _current_at(cohort_id, before))
    if not Cohort.every.forget_below(cohort_id, floor):
        return 0
    return _drop(cohort_id, floor) + _drop(held_back_of(cohort_id), floor)


def _drop(cohort_id: int, floor: int) -> int:
    dropped = 0
    while True:
        began = time.monotonic()
        with transaction.atomic():
            page = members.drop_ended_page(cohort_id, floor, ROWS)
        dropped += page
        if page < ROWS:
            return dropped
        rest_since(began)


def _current_at(cohort_id: int, moment: datetime) -> int:
    """Return the number of the version that was the latest at a moment; 0 when there was none."""
    published = CohortVersion.objects.filter(cohort_id=cohort_id, state=VersionState.PUBLISHED)
    latest = published.filter(finished_at__lte=moment).order_by("-number").first()
    return latest.number if latest else 0
