"""Whether a partner is worth asking: after three batches whose retries were spent, it is left alone."""

from collections.abc import Callable

from syncs.delivery.ended import Ending
from syncs.delivery.outbox import Outbox
from syncs.models import Driver

SPENT_IN_A_ROW = 3
PROBE_AFTER = 5 * 60.0
PROBE_AT_MOST = 3600.0


class Breaker:
    """Kept in the driver's row, so that the next driver knows. `scale` multiplies the waits (1.0 in life)."""

    def __init__(self, row: Driver, outbox: Outbox, ending: Ending, scale: Callable[[], float]) -> None:
        self._row, self._outbox, self._ending, self._scale = row, outbox, ending, scale

    @property
    def is_open(self) -> bool:
        """Whether one request at a time is sent, until one goes through."""
        return bool(self._row.opened)

    @property
    def spent_in_a_row(self) -> int:
        return self._row.spent_in_a_row

    def alive(self) -> None:
        """The partner accepted something."""
        if self._row.spent_in_a_row or self._row.opened:
            self._row.spent_in_a_row = self._row.opened = 0
            self._outbox.write(self._save)

    def spent(self) -> None:
        """The retries of a batch are spent."""
        self._row.spent_in_a_row += 1
        self._outbox.write(self._save)

    def open(self, message: str) -> None:
        """Park the destination; its next driver sends one request at a time until one goes through."""
        if self._ending:
            return
        wait = min(PROBE_AFTER * 2**self._row.opened, PROBE_AT_MOST) * self._scale()
        self._row.opened = min(self._row.opened + 1, 20)
        self._outbox.write(self._save)
        self._ending.park(wait, f"The partner does not answer as it should: {message}")

    def _save(self) -> None:
        row = self._row
        Driver.objects.filter(pk=row.pk).update(spent_in_a_row=row.spent_in_a_row, opened=row.opened)
