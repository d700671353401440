"""One driver per destination: a lease with a fence.

Every transaction of a driver begins with `renew`, a conditional UPDATE whose row count is checked: a
driver that was frozen past its lease finds another fence there, and writes nothing. Time is the
database's for who may take a lease, and this machine's clock that goes on while it sleeps for how
much is left of our own.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from django.db import DataError, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.db.models.sql import UpdateQuery
from django.utils.functional import cached_property

from cohorts import owner
from syncs.delivery import statements
from syncs.delivery.statements import Statement
from syncs.delivery.writing import writing
from syncs.models import Driver

# How much longer a lease is than a request may take: 90 s in all by default.
MARGIN = 60.0
DIVISION_BY_ZERO = "22012"  # SQLSTATE
# Time during which the machine is suspended counts; time.monotonic() leaves it out on Linux.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeaseLost(Exception):
    """Another driver took the destination over; this one must stop at once and write nothing."""


class NotSent(Exception):
    """A thread did not start its request: too little of the lease was left, or a stop came first."""


@dataclass
class Lease:
    """`row`: the driver's, as it was when the lease was taken. `expires` is by this machine's clock."""

    row: Driver
    seconds: float
    expires: float

    @property
    def destination_id(self) -> int:
        return self.row.destination_id

    @property
    def fence(self) -> int:
        return self.row.fence

    def remaining(self) -> float:
        """Return for how many seconds the lease is certainly still ours."""
        return self.expires - _now()

    def renew(self) -> None:
        """Renew the lease in the database; raise LeaseLost if it is another's. First in each transaction."""
        began = _now()
        statements.execute([self._renewal])
        self.expires = began + self.seconds

    def renew_and(self, more: Sequence[Statement]) -> None:
        """Renew the lease and execute more, as a transaction of its own; LeaseLost: nothing was written.

        PostgreSQL takes all of it in one round trip, in which nobody could look at the renewal before the
        commit: so a renewal of no row is an error there, which undoes the rest.
        """
        began = _now()
        if connection.vendor == "postgresql" and not connection.in_atomic_block:
            sql = f"WITH mine AS ({self._renewal.sql} RETURNING 1) SELECT 1 / COUNT(*) FROM mine"
            try:
                statements.execute_at_once([Statement(sql, self._renewal.params), *more])
            except DataError as error:
                if getattr(error.__cause__, "sqlstate", "") == DIVISION_BY_ZERO:
                    raise LeaseLost from None
                raise
        else:
            with writing():
                statements.execute([self._renewal, *more])
        self.expires = began + self.seconds

    def release(self, *, next_at: datetime | None = None, reason: str = "") -> None:
        """Give the destination back; with `next_at`, parked until then. Not ours any more: nothing."""
        self._mine().update(until=None, owner="", next_at=next_at, next_reason=reason)

    @cached_property
    def _renewal(self) -> Statement:
        """The statement, made once: it is executed with every few batches."""
        query = cast(UpdateQuery, self._mine().query.chain(UpdateQuery))
        query.add_update_values({"until": Now() + timedelta(seconds=self.seconds)})
        sql, params = query.get_compiler(connection=connection).as_sql()
        return Statement(sql, params, _is_ours)

    def _mine(self) -> QuerySet[Driver]:
        return Driver.objects.filter(
            destination_id=self.destination_id, fence=self.fence, until__isnull=False
        )


def _is_ours(cursor: CursorWrapper) -> None:
    """Raise LeaseLost unless the renewal found its row."""
    if cursor.rowcount != 1:
        raise LeaseLost


def take(destination_id: int, *, seconds: float) -> Lease | None:
    """Take the destination's lease for so long, or return None: another driver holds it, or it is parked."""
    with writing():
        driver, _ = Driver.objects.get_or_create(destination_id=destination_id)
        free = Q(until=None) | Q(until__lt=Now())
        if owner.is_dead(driver.owner):
            free |= Q(fence=driver.fence)
        began = _now()
        taken = (
            Driver.objects.to_be_driven()
            .filter(free, destination_id=destination_id)
            .update(
                fence=F("fence") + 1,
                until=Now() + timedelta(seconds=seconds),
                owner=owner.me(),
                next_at=None,
            )
        )
        row = Driver.objects.get(pk=destination_id) if taken else None
    return Lease(row, seconds, began + seconds) if row else None


def _now() -> float:
    return time.clock_gettime(_CLOCK)
