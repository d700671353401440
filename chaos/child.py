"""What the chaos scripts run in processes of their own. Importing this sets Django up."""

import threading
import time
from datetime import timedelta

from chaos import fixtures

fixtures.set_up()

from django.db import connections  # noqa: E402
from django.utils import timezone  # noqa: E402

from cohorts import calculate, following, received  # noqa: E402
from syncs import due  # noqa: E402
from syncs.choices import BatchState  # noqa: E402
from syncs.delivery import drive, lease, outbox, record  # noqa: E402

# A driver's lease in these processes, in seconds beyond a request's deadline; None: as it is.
Margin = float | None


def drive_once(destination_id: int, variant: str = "", margin: Margin = None) -> None:
    """Drive a destination until its driver leaves. `variant`: a known mistake, made on purpose."""
    if variant == "record-first":
        _record_first()
    if margin is not None:
        lease.MARGIN, outbox.RENEW_EVERY = margin, margin / 4
    try:
        drive.drive(destination_id, stop=threading.Event())
    finally:
        connections.close_all()


def drive_on(destination_id: int) -> None:
    """Make the runs that are due and drive this destination, again and again, as a worker does."""
    while True:
        due.start_due(timezone.now())
        if destination_id in due.drivable_destinations():
            drive.drive(destination_id, stop=threading.Event())
        time.sleep(0.05)


def follow_on(variant: str = "") -> None:
    """Make versions of what is received, again and again, as a worker does, and with less patience."""
    if variant == "mark-first":
        calculate._follow = _mark_first
    following.QUIET, following.AFTER_FAILURE = timedelta(seconds=0.3), timedelta(seconds=1)
    following.LOOK_ANYWAY = 1.0
    while True:
        calculate.calculate_due(timezone.now())
        time.sleep(0.05)


def _mark_first(cohort, replace):
    """Note what has been read before it is read, and take long, so that a kill comes in between."""
    news = received.offered().news(received.source_of(cohort), {}, timezone.now())
    type(cohort).objects.filter(pk=cohort.pk).update(received_mark=news.mark)
    time.sleep(0.5)
    return replace()


def _record_first() -> None:
    """Write batches down as delivered before they are sent."""
    write = record.batches

    def delivered_already(changed):
        changed = list(changed)
        for batch in changed:
            batch.state = BatchState.DELIVERED
        return write(changed)

    record.batches = delivered_already
