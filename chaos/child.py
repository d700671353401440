"""What the chaos scripts run in processes of their own. Importing this sets Django up."""

import threading

from chaos import fixtures

fixtures.set_up()

from django.db import connections  # noqa: E402

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


def _record_first() -> None:
    """Write batches down as delivered before they are sent."""
    write = record.batches

    def delivered_already(changed):
        changed = list(changed)
        for batch in changed:
            batch.state = BatchState.DELIVERED
        return write(changed)

    record.batches = delivered_already
