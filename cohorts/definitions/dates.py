"""How the text of a property is read as a date. The compiler reads by the same patterns, on every engine.

`2024-09-30`, with a time, seconds and a fraction if need be; without a zone it is in UTC. Whole numbers are
seconds, milliseconds or microseconds since 1970, told apart by their length.
"""

import re
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
DAY = f"{YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?"
ZONE = " ?(?:Z|z|UTC|[+-](?:0[0-9]|1[0-9]):?[0-5][0-9])"
DATE = f"^{DAY}(?:[T ]{CLOCK}(?:{ZONE})?)?$"
SINCE_1970 = "^[1-9](?:[0-9]{8,9}|[0-9]{11,12}|[0-9]{14,15})$"
# What is found by one group each, in a text that matches DATE; the groups of a fixed place are cut out.
FRACTION = "[.]([0-9]{1,6})"
OFFSET = "([+-])[0-9]{2}:?[0-9]{2}$"
OFFSET_HOURS = "[+-]([0-9]{2}):?[0-9]{2}$"
OFFSET_MINUTES = "[+-][0-9]{2}:?([0-9]{2})$"


def instant_of(text: str) -> int | None:
    """Return the microseconds since 1970 of a date's text; None when it is none."""
    if re.fullmatch(SINCE_1970, text, re.ASCII):
        return int(text) * {3: 1_000_000, 4: 1_000, 5: 1}[len(text) // 3]
    if not re.fullmatch(DATE, text, re.ASCII):
        return None
    try:
        day = date(int(text[:4]), int(text[5:7]), int(text[8:10]))
    except ValueError:
        return None
    since = timedelta(days=day.toordinal() - EPOCH.toordinal()) + clock(text[11:]) - offset(text)
    return since // timedelta(microseconds=1)


def clock(text: str) -> timedelta:
    if not text:
        return timedelta()
    seconds = int(text[6:8]) if text[5:6] == ":" else 0
    fraction = re.search(FRACTION, text)
    micros = int(fraction[1].ljust(6, "0")) if fraction else 0
    return timedelta(hours=int(text[:2]), minutes=int(text[3:5]), seconds=seconds, microseconds=micros)


def offset(text: str) -> timedelta:
    sign = re.search(OFFSET, text)
    if sign is None:
        return timedelta()
    hours, minutes = int(_found(OFFSET_HOURS, text)), int(_found(OFFSET_MINUTES, text))
    found = timedelta(hours=hours, minutes=minutes)
    return -found if sign[1] == "-" else found


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None
    return match[1]
