"""When the database or the broker is away: one line, then one a minute, whoever finds it out, however often.

A worker asks it many times a second, and a server at each call; a traceback each time would fill the disk,
and hide what else there is to read.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

SECONDS = 60.0
# What SQLite calls operational and is no outage, but a mistake of ours.
OUR_MISTAKES = ("no such table", "no such column", "has no column named", "syntax error")

# By its name, since most processes have no Celery.
BROKERS_ERROR = "kombu.exceptions.OperationalError"


class OneLineAMinute(logging.Filter):
    """Lets through one line a minute about a database, and one about a broker, that cannot be used."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}
        self._left_out = Counter[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        found = _outage(record.exc_info[1] if record.exc_info else None)
        if found is None:
            return True
        what, error = found
        with self._lock:
            now = self._clock()
            if now - self._said_at.get(what, -SECONDS) < SECONDS:
                self._left_out[what] += 1
                return False
            self._said_at[what] = now
            left_out = self._left_out.pop(what, 0)
        more = f" It was found out {left_out:,} times more since the last line." if left_out else ""
        first = str(error).strip().splitlines() or [type(error).__name__]
        record.msg, record.args = f"The {what} cannot be used: {first[0]}.{more}", ()
        record.exc_info = record.exc_text = None
        return True


def _outage(error: BaseException | None) -> tuple[str, BaseException] | None:
    """Return what is away and what its driver said, if that is what this error comes from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OperationalError | InterfaceError):
            ours = any(words in str(error) for words in OUR_MISTAKES)
            return None if ours else ("database", error)
        if BROKERS_ERROR in {f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__}:
            return "broker", error
        error = error.__cause__ or error.__context__
    return None
