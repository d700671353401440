"""The one reader of times, for every way that events and traits come in by.

A time is ISO 8601 in its usual spellings, RFC 2822, a browser's `Date`, or a number of seconds,
milliseconds, microseconds or nanoseconds since 1970, told apart by their size. What cannot be read raises
UnreadableTime: it is never taken for another time, and least of all for now. A time without a zone is UTC.

What a client says by its own clock is set right by `by_our_clock`.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Below this (the spring of 1973, in seconds), a number is more likely a day written as 20200101, or a count.
LEAST_NUMBER = 10**8
# From which size on a number counts milliseconds, microseconds, nanoseconds.
UNITS = ((10**17, 1_000_000_000), (10**14, 1_000_000), (10**11, 1_000))
# So much between a client's sending and our receiving is the network, or one try again: no wrong clock.
NETWORK = timedelta(minutes=1)
SHOWN = 60

NUMBER = re.compile(r"[0-9]{9,19}(\.[0-9]{1,12})?")
ISO = re.compile(
    r"(?P<date>\d{4}[-/]\d{2}[-/]\d{2}|\d{8}|\d{4}-?W\d{2}-?\d)"
    r"(?:[Tt ]+(?P<time>\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d{1,12})?)?)?))?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2}(?::?\d{2})?)?(?: (?:UTC|GMT|\+0000))?)?"
)
DAY, MONTH = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
# Only zones that the reader of mail knows: it takes any other word for UTC.
RFC_2822 = re.compile(
    rf"(?:{DAY}, )?\d{{1,2}}[ -]{MONTH}[ -]\d{{4}} \d{{2}}:\d{{2}}(?::\d{{2}})? "
    r"(?:[+-]\d{4}|GMT|UTC?|Z|[ECMP][SD]T)(?: \([^()]*\))?",
    re.IGNORECASE,
)
# What a JavaScript Date becomes when it is joined to a text.
BROWSER = re.compile(
    rf"{DAY} (?P<month>{MONTH}) (?P<day>\d{{2}}) (?P<year>\d{{4}}) (?P<time>\d{{2}}:\d{{2}}:\d{{2}}) "
    r"(?:GMT|UTC)(?P<zone>[+-]\d{4})?(?: \([^()]*\))?"
)


class UnreadableTime(ValueError):
    """The message says what is wrong, as a phrase: "the time 'yesterday' cannot be read"."""


def read_time(value: object) -> datetime:
    """Return the moment, in UTC. Raises UnreadableTime; the moment is between 1970 and 2199."""
    try:
        moment = _read(value)
    except (ValueError, OverflowError):
        raise UnreadableTime(f"the time {_shown(value)} cannot be read") from None
    if not EPOCH <= moment < LATEST:
        raise UnreadableTime(f"the time {moment.isoformat()} is not between 1970 and 2199")
    return moment


def micros(moment: datetime) -> int:
    """Return microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def from_micros(number: int) -> datetime:
    return EPOCH + number * MICROSECOND


def by_our_clock(moment: datetime, sent_at: datetime | None, received_at: datetime) -> datetime:
    """Return when something happened, of a client that sent it at `sent_at` by its own clock.

    What the client's clock is wrong by is taken off: no call is sent after it came, so a clock ahead is wrong
    by all of the difference; one behind, by what is more than a network takes. Nothing is later than
    its arrival.
    """
    if sent_at is not None:
        late = received_at - sent_at
        if late < timedelta(0) or late > NETWORK:
            moment += late
    return max(EPOCH, min(moment, received_at))


def _read(value: object) -> datetime:
    if isinstance(value, datetime):
        return _in_utc(value)
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _of_number(value)
    raise ValueError


def _of_number(value: int | float) -> datetime:
    if not value >= LEAST_NUMBER:
        raise ValueError
    unit = next((unit for least, unit in UNITS if value >= least), 1)
    if isinstance(value, float):
        return EPOCH + timedelta(microseconds=round(value * (1_000_000 / unit)))
    return EPOCH + timedelta(microseconds=value * 1_000_000 // unit)


def _of_text(text: str) -> datetime:
    if not text.isascii():
        raise ValueError
    if NUMBER.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    if found := ISO.fullmatch(text):
        return _of_iso(found)
    if RFC_2822.fullmatch(text):
        return _in_utc(parsedate_to_datetime(text))
    if found := BROWSER.fullmatch(text):
        said = f"{found['day']} {found['month']} {found['year']} {found['time']} {found['zone'] or '+0000'}"
        return _in_utc(parsedate_to_datetime(said))
    raise ValueError


def _of_iso(found: re.Match[str]) -> datetime:
    """Put what was found as Python reads it: a T, a zone of figures."""
    zone = (found["zone"] or "").split(" ")[0].upper()
    if zone in ("Z", "UTC", "GMT"):
        zone = "+00:00"
    if found["time"] is None:
        if zone not in ("", "+00:00"):
            raise ValueError
        return _in_utc(datetime.fromisoformat(found["date"].replace("/", "-")))
    return _in_utc(datetime.fromisoformat(f"{found['date'].replace('/', '-')}T{found['time']}{zone}"))


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
