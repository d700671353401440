"""What a driver is about to write, and the one transaction that writes it, which begins with the lease."""

import logging
import time
from collections.abc import Callable

from django.db import OperationalError, connection

from syncs.delivery import record, statements
from syncs.delivery.lease import Lease
from syncs.delivery.writing import writing
from syncs.models import Batch, Run

log = logging.getLogger(__name__)

RENEW_EVERY = 15.0
# With less of the lease left than this, a locked database is not waited for again.
LEASE_LEFT = 10.0


class Outbox:
    """Rows that changed and other writes, until `commit`. Only the driver's own thread uses it.

    `committed` is called after each transaction.
    """

    def __init__(self, lease: Lease, committed: Callable[[], None]) -> None:
        self.lease, self.committed = lease, committed
        self.batches: list[Batch] = []
        self.writes: list[Callable[[], object]] = []
        self._runs: dict[int, Run] = {}
        self._durable = False
        self._renewed = time.monotonic()  # the lease was taken a moment ago
        self._relaxed: object = None

    def batch(self, batch: Batch, *, durable: bool = False) -> None:
        """Write a batch's row as it will be then; `durable`: onto the disk before anything else happens."""
        self.batches.append(batch)
        self._durable |= durable

    def write(self, write: Callable[[], object]) -> None:
        """Call this within the transaction, after the rows of batches and runs."""
        self.writes.append(write)

    def count(self, run: Run) -> None:
        """Write what the run has done so far."""
        self._runs[run.pk] = run

    def commit(self) -> None:
        """Write everything, if there is anything. Raises LeaseLost, and writes nothing then."""
        now = time.monotonic()
        if not (self.batches or self.writes or self._runs) and now - self._renewed < RENEW_EVERY:
            return
        if self._durable:
            relax_durability(False)
        elif connection.connection is not self._relaxed:
            self.relax()  # the connection was given up while this driver rested
        while True:
            try:
                self._write()
                break
            except OperationalError as error:
                if "locked" not in str(error) or self.lease.remaining() < LEASE_LEFT:
                    raise
                about = {"destination": self.lease.destination_id}
                log.warning("The database is locked; trying again.", extra=about)
        self.drop()
        if self._durable:
            self.relax()
        self._durable = False
        self._renewed = now
        self.committed()

    def _write(self) -> None:
        rows = [*record.batches(self.batches), *record.counts(self._runs.values())]
        if not self.writes:
            self.lease.renew_and(rows)
            return
        with writing():
            self.lease.renew()
            statements.execute(rows)
            for write in self.writes:
                write()

    def drop(self) -> None:
        """Forget what was to be written. A run's counts go with the batches that they count."""
        self.batches, self.writes, self._runs = [], [], {}

    def relax(self) -> None:
        """From now on commits of this connection do not wait for the disk."""
        relax_durability(True)
        self._relaxed = connection.connection


def relax_durability(relaxed: bool) -> None:
    """Choose whether a commit of this connection waits for the disk.

    What a power cut may take from a driver's batches is only progress, which is sent again; a run's
    beginning and a rejected user's retry must be on the disk before their request leaves.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SET synchronous_commit TO {'off' if relaxed else 'on'}")
        else:
            cursor.execute(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")
