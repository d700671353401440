"""Local days by the time zone's own offsets, so that every engine counts days by one rule: Python's."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlglot import exp

from cohorts.dialects import DAY, Dialect, integer

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Added to a time before it is divided into days: divisions of negative numbers differ between engines.
BIAS_DAYS = 1_000_000
BIAS = BIAS_DAYS * DAY


def micros_of(delta: timedelta) -> int:
    return delta // timedelta(microseconds=1)


def local_days(zone: ZoneInfo, start: datetime | None, end: datetime, dialect: Dialect) -> exp.Expr:
    """The number of the local day of an event that lies in [start, end)."""
    shifted = dialect.micros() + integer(BIAS) + offset(zone, start, end, dialect)
    return dialect.divided(shifted, DAY)


@lru_cache(maxsize=256)
def changes(zone: ZoneInfo, first: datetime, last: datetime) -> list[tuple[datetime, timedelta]]:
    """Return the instants of (first, last] at which the zone's offset changes, with the new offset."""
    found: list[tuple[datetime, timedelta]] = []
    day, offset_before = first, zone.utcoffset(first.astimezone(zone))
    while day < last:
        next_day = min(day + timedelta(days=1), last)
        offset_after = next_day.astimezone(zone).utcoffset()
        if offset_after != offset_before and offset_after is not None:
            found.append((instant_of_change(zone, day, next_day), offset_after))
            offset_before = offset_after
        day = next_day
    return found


def instant_of_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Halve the interval until its ends are a second apart: clocks change on whole seconds."""
    low = low.replace(microsecond=0)
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def local_day(moment: datetime, zone: ZoneInfo) -> int:
    """The number of a local day, as the compiled division numbers it."""
    local = moment.astimezone(zone).replace(tzinfo=UTC)
    return (micros_of(local - EPOCH) + BIAS) // DAY


def offset(zone: ZoneInfo, start: datetime | None, end: datetime, dialect: Dialect) -> exp.Expr:
    """The zone's offset at an event's time, in microseconds: newest first, where most events are."""
    first = start or EPOCH
    at_first = first.astimezone(zone).utcoffset() or timedelta()
    # Whole days, so that the list is computed once a day and not once a refresh.
    low, high = first.replace(hour=0, minute=0, second=0, microsecond=0), end + timedelta(days=1)
    high = high.replace(hour=0, minute=0, second=0, microsecond=0)
    found = [(when, by) for when, by in changes(zone, low, high) if first < when < end]
    if not found:
        return integer(micros_of(at_first))
    cases = exp.case()
    for when, by in reversed(found):
        cases = cases.when(dialect.time() >= dialect.instant(when), integer(micros_of(by)))
    return exp.paren(cases.else_(integer(micros_of(at_first))))
