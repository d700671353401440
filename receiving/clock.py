"""When the items of a call happened, by our clock: see events/times.py for how it is told."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from events.times import UnreadableTime, by_our_clock, read_time
from receiving.shapes import BadField

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """`sent_at` is when the client says that it sent the call, as it came; what is no time says nothing."""

    received_at: datetime
    sent_at: Any = None

    def time_of(self, field: str, said: Any, *, sent_at: Any = None, is_right: bool = False) -> datetime:
        """Return when an item happened; one that does not say it, when the call came. Raises BadField.

        A time that `is_right` was corrected before it came here.
        """
        if said is None:
            return self.received_at
        try:
            moment = read_time(said)
        except UnreadableTime as error:
            raise BadField(field, f"is refused: {error}") from None
        return by_our_clock(moment, None if is_right else self._sent(sent_at), self.received_at)

    def order(self, moment: datetime) -> datetime:
        """Return the time that decides between two values of a trait.

        Clients count in milliseconds. What two calls say of one millisecond is put in the order in which they
        came: by microseconds, which no client's time has.
        """
        if moment.microsecond % 1_000:
            return moment
        late = (self.received_at - moment) / MILLISECOND
        # A per cent later is later, from a millisecond to three hours.
        return moment + timedelta(microseconds=min(999, int(75 * math.log2(1 + late))))

    def _sent(self, of_item: Any) -> datetime | None:
        said = self.sent_at if of_item is None else of_item
        try:
            return None if said is None else read_time(said)
        except UnreadableTime:
            return None
