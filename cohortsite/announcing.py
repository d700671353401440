"""Announcing published versions of cohorts to VERSION_WEBHOOK_URL, so that who pulls changes need not poll.

Of several versions in a row the latest is announced. What does not arrive is tried again until it does,
with waits that double up to an hour. An announcement may come twice, never not at all.
"""

import logging
from datetime import datetime, timedelta

import orjson
from django.conf import settings
from django.db.models import F

from cohorts.models import Cohort
from cohortsite.models import Announcement
from destinations.errors import DeliveryError
from syncs.alerts import post_signed

log = logging.getLogger(__name__)

AT_ONCE = 20
# A version that waits goes before others when its wait is over; minutes.
LONGEST_WAIT = 60


def announce_published(now: datetime) -> int:
    """Post the versions that were not announced yet; return how many arrived."""
    if not settings.VERSION_WEBHOOK_URL:
        return 0
    known = Announcement.objects.values("cohort")
    new = Cohort.objects.filter(version__gt=0).exclude(pk__in=known)
    Announcement.objects.bulk_create(
        [Announcement(cohort=c, next_at=now) for c in new], ignore_conflicts=True
    )
    waiting = Announcement.objects.filter(version__lt=F("cohort__version"), next_at__lte=now)
    return sum(_announce(row, now) for row in waiting.select_related("cohort").order_by("next_at")[:AT_ONCE])


def _announce(row: Announcement, now: datetime) -> bool:
    if not _claimed(row, now):
        return False
    cohort = row.cohort
    body = {
        "cohort": cohort.key,
        "version": cohort.version,
        "size": cohort.size,
        "published_at": cohort.published_at,
    }
    try:
        post_signed(settings.VERSION_WEBHOOK_URL, orjson.dumps(body))
    except (OSError, DeliveryError) as error:
        log.warning("version %s of %s could not be announced: %s", cohort.version, cohort.key, error)
        return False
    mine = Announcement.objects.filter(pk=row.pk, version=row.version)
    return mine.update(version=cohort.version, tries=0, next_at=now) == 1


def _claimed(row: Announcement, now: datetime) -> bool:
    """Take one try, with growing distance; of several processes, one gets it."""
    later = now + timedelta(minutes=min(2**row.tries, LONGEST_WAIT))
    mine = Announcement.objects.filter(pk=row.pk, version=row.version, tries=row.tries)
    return mine.update(tries=min(row.tries + 1, 10), next_at=later) == 1
