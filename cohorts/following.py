"""Cohorts that follow what a workspace receives: when there is something to follow.

A cohort keeps a mark of what its source was when it was read last. When the mark of now differs, and nothing
has come for a moment, the cohort is due.
"""

import time
from datetime import datetime, timedelta

from cohorts import received, window
from cohorts.choices import ScheduleKind, SourceKind
from cohorts.models import Cohort

# A burst of calls makes one version: it is waited for until nothing has come for so long, …
QUIET = timedelta(seconds=2)
# … but no longer than this after its first call.
LONGEST_BURST = timedelta(seconds=15)
# After a calculation that failed nothing is tried for so long.
AFTER_FAILURE = timedelta(seconds=60)
# Without a newer call than at the last look, all are looked at again after so many seconds.
LOOK_ANYWAY = 10.0


class _Look:
    """When this process last looked and found nothing: only to spare questions, never to decide."""

    newest: object = None
    at = -LOOK_ANYWAY


def following(now: datetime) -> list[Cohort]:
    """Return the cohorts that follow what is received, and whose source has changed and rests now."""
    cohorts = Cohort.objects.filter(
        window.is_open(now),
        source_kind=SourceKind.RECEIVED,
        schedule_kind=ScheduleKind.CHANGES,
        held_number=None,
    )
    if received.offer is None or not cohorts.exists():
        return []
    newest = received.offer.newest()
    waits = newest == _Look.newest and time.monotonic() - _Look.at < LOOK_ANYWAY
    if waits:
        return []
    found, rest = [], True
    for cohort in cohorts:
        failed = cohort.calculation_failed_at
        if failed and now - failed < AFTER_FAILURE:
            continue
        try:
            news = received.offer.news(received.source_of(cohort), cohort.received_mark, now)
        except received.Unavailable:
            found.append(cohort)  # its calculation says why it comes to nothing
            continue
        if not news.changed:
            if news.mark != cohort.received_mark:
                # Only while it is still the mark that was asked about: a calculation keeps a newer one.
                same = Cohort.objects.filter(pk=cohort.pk, received_mark=cohort.received_mark)
                same.update(received_mark=news.mark)
        elif _rests(news, now):
            found.append(cohort)
        else:
            rest = False
    if rest and not found:
        _Look.newest, _Look.at = newest, time.monotonic()
    return found


def _rests(news: received.News, now: datetime) -> bool:
    if news.last_at is None or news.first_at is None or now - news.last_at >= QUIET:
        return True
    return now - news.first_at >= LONGEST_BURST
