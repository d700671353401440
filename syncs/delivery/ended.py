"""Why a driver leaves its destination, decided once, by whoever finds the reason first."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial

from django.utils import timezone

from destinations.models import Destination
from syncs.delivery.outbox import Outbox


class How(Enum):
    DONE = "done"
    BUSY = "busy"
    PARKED = "parked"
    PAUSED = "paused"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    """`next_at`: when somebody should come back, of a destination that is parked."""

    how: How
    reason: str = ""
    next_at: datetime | None = None


class Ending:
    """`ended` is None while the driver goes on; from then on nothing new is sent."""

    def __init__(self, destination_id: int, outbox: Outbox) -> None:
        self._destination_id, self._outbox = destination_id, outbox
        self.ended: Ended | None = None

    def __bool__(self) -> bool:
        return self.ended is not None

    @property
    def how(self) -> How | None:
        return self.ended.how if self.ended else None

    def because(self, how: How, reason: str = "") -> None:
        """Leave for this reason, unless there is one already."""
        self.ended = self.ended or Ended(how, reason)

    def park(self, seconds: float, reason: str) -> None:
        """Leave the destination for a while; its runs go on afterwards. A pause stays a pause."""
        if self.how != How.PAUSED:
            self.ended = Ended(How.PARKED, reason, timezone.now() + timedelta(seconds=seconds))

    def begin_anew(self) -> None:
        """Leave at once: whoever drives next goes by the destination's new key, address or rate."""
        self.park(0.0, "The destination was changed.")

    def pause(self, reason: str) -> None:
        """Stop sending to this destination until a person resumes it."""
        self.ended = Ended(How.PAUSED, reason)
        self._outbox.write(partial(Destination.objects.pause, self._destination_id, reason))
