"""When the database is away: one line at once, then one a minute, whoever finds it out and however often.

A worker asks it many times a second, and a server at each call; a traceback each time would fill the disk,
and hide what else there is to read.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

SECONDS = 60.0
# What SQLite calls operational and is no outage, but a mistake of ours.
OUR_MISTAKES = ("no such table", "no such column", "has no column named", "syntax error")


class OneLineAMinute(logging.Filter):
    """Lets through one record a minute of those about a database that cannot be used, as a line."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at: float | None = None
        self._left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = _outage(record.exc_info[1] if record.exc_info else None)
        if error is None:
            return True
        with self._lock:
            now = self._clock()
            if self._said_at is not None and now - self._said_at < SECONDS:
                self._left_out += 1
                return False
            left_out, self._left_out, self._said_at = self._left_out, 0, now
        more = f" It was found out {left_out:,} times more since the last line." if left_out else ""
        first = str(error).strip().splitlines() or [type(error).__name__]
        record.msg, record.args = f"The database cannot be used: {first[0]}.{more}", ()
        record.exc_info = record.exc_text = None
        return True


def _outage(error: BaseException | None) -> BaseException | None:
    """Return what the database's driver said, if that is what this error comes from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OperationalError | InterfaceError):
            return None if any(words in str(error) for words in OUR_MISTAKES) else error
        error = error.__cause__ or error.__context__
    return None
