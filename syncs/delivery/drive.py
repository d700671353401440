"""One driver per destination: takes its lease, drives it, and gives it back, whatever happens."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from django.db import Error, InterfaceError, OperationalError, connection
from django.utils import timezone

from destinations.models import Destination
from destinations.secrets import SecretUnreadable
from syncs.delivery import lease as leases
from syncs.delivery.ended import Ended, How
from syncs.delivery.loop import Loop
from syncs.delivery.outbox import relax_durability
from syncs.delivery.turns import Turns, alone
from syncs.models import Driver, Run

log = logging.getLogger(__name__)

# Seconds for which a destination is parked after the database cut its connections (a failover, a restart): it
# is there again, or soon.
DATABASE_AFTER = 1.0
# How often a database that is away is asked whether it is back, in seconds.
ASK_EVERY = 0.5


def drive(
    destination_id: int,
    *,
    stop: threading.Event,
    report: Callable[[list[Run]], None] = lambda runs: None,
    turns: Turns | None = None,
) -> Ended:
    """Drive all open runs of a destination until none is left, or something stands in the way.

    `stop`: when set, nothing new is sent; what is in flight is recorded. `report` is given the active
    runs after each transaction. `turns`: of a process that has other drivers; this one has the turn.
    Returns how it ended; what became of a run is in its row.
    """
    destination = Destination.objects.get(pk=destination_id)
    if destination.is_paused:
        return Ended(How.PAUSED, destination.pause_reason)
    lease = leases.take(destination_id, seconds=destination.deadline + leases.MARGIN)
    if lease is None:
        return _why_not(destination_id)
    try:
        endpoint = destination.endpoint()
    except SecretUnreadable as error:
        Destination.objects.pause(destination_id, str(error))
        lease.release()
        return Ended(How.PAUSED, str(error))
    loop = Loop(lease, destination, endpoint, stop, report, turns or alone())
    try:
        loop.outbox.relax()
        return loop.run()
    except leases.LeaseLost:
        loop.sender.transport.interrupt()
        return Ended(How.LOST, "Another driver took over.")
    except (OperationalError, InterfaceError) as error:
        loop.sender.transport.interrupt()
        return _database_was_away(loop, error)
    except Exception as error:  # a run's edge: recorded, and tried again later rather than at once
        log.exception("Driving %s failed.", destination, extra={"destination": destination_id})
        loop.sender.transport.interrupt()
        # A connection that the database has cut is no use for saying so.
        connection.close_if_unusable_or_obsolete()
        try:
            return loop.recover(f"An error of this program: {type(error).__name__}: {error}")
        except leases.LeaseLost:
            return Ended(How.LOST, "Another driver took over.")
    finally:
        loop.close()
        with suppress(Error):  # a connection that was cut begins durable, when it is made anew
            relax_durability(False)


def _database_was_away(loop: Loop, error: Error) -> Ended:
    """Give the destination back as soon as the database answers again; its runs go on within seconds."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    reason = f"The database was away for a moment: {said}"
    log.warning("%s", reason, extra={"destination": loop.destination.pk})
    while True:
        connection.close()
        try:
            return loop.recover(reason, after=DATABASE_AFTER)
        except leases.LeaseLost:
            return Ended(How.LOST, "Another driver took over.")
        except (OperationalError, InterfaceError):
            # When the lease has run out, anybody may go on; until then only this driver can.
            if loop.lease.remaining() <= 0 or loop.stop.wait(ASK_EVERY):
                return Ended(How.LOST, reason)


def _why_not(destination_id: int) -> Ended:
    driver = Driver.objects.get(pk=destination_id)
    if driver.next_at and driver.next_at > timezone.now():
        return Ended(How.PARKED, driver.next_reason, driver.next_at)
    return Ended(How.BUSY, "Another process is driving this destination.")
