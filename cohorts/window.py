"""A cohort's active window: outside of it nothing makes a version; at its end the cohort may be emptied."""

from datetime import datetime

from django.db.models import Q

from cohorts import refresh
from cohorts.choices import WhenOver
from cohorts.models import Cohort

SOURCE = "The end of the cohort's active window"


def is_open(now: datetime) -> Q:
    """Return which cohorts are within their window, or have none."""
    begun = Q(active_from=None) | Q(active_from__lte=now)
    return begun & (Q(active_to=None) | Q(active_to__gt=now))


def empty_ended(now: datetime) -> list[Cohort]:
    """Empty the cohorts whose window is over and that wish it; return them. What is busy comes again.

    Whoever set the window decided it: no guard holds this version, nor the runs that follow.
    """
    ended = Cohort.objects.filter(active_to__lte=now, when_over=WhenOver.EMPTY)
    emptied = []
    for cohort in ended.filter(Q(size__gt=0) | Q(held_back__gt=0) | Q(held_number__isnull=False)):
        try:
            refresh.empty(cohort.pk, source=SOURCE, decided_by="window")
        except refresh.RefreshError:
            continue
        emptied.append(cohort)
    return emptied
