"""The rate limit: so many calls of a key in a window, exact across threads, processes and machines."""

import math
import time

from receiving.errors import RateLimited
from receiving.models import ApiKey
from receiving.statements import run_unsynced

# One statement counts or refuses, and is committed by itself: a call that fails later has been counted,
# and no call waits for another's write. A window begins with the first call after the last one's end.
COUNT = """
UPDATE receiving_apikey SET
    window_calls = CASE WHEN window_began <= %(ended)s THEN 1 ELSE window_calls + 1 END,
    window_began = CASE WHEN window_began <= %(ended)s THEN %(now)s ELSE window_began END
WHERE id = %(key)s AND (window_began <= %(ended)s OR window_calls < %(limit)s)
RETURNING window_calls, window_began
"""


def count_call(key: ApiKey, now: float | None = None) -> dict[str, str]:
    """Count a call and return the headers that say what is left; none when there is no limit.

    `now` is in seconds since 1970. Raises RateLimited.
    """
    limit = key.workspace.rate_limit
    if limit is None:
        return {}
    now = time.time() if now is None else now
    window = key.workspace.rate_window_seconds
    row = run_unsynced(
        COUNT, {"ended": now - window, "now": now, "key": key.pk, "limit": limit}, returning=True
    )
    if row is None:
        # Not into the key: other threads may have the same one.
        began = ApiKey.objects.values_list("window_began", flat=True).get(pk=key.pk)
        reset = max(1, math.ceil(began + window - now))
        raise RateLimited(reset, _headers(limit, 0, reset))
    calls, began = row
    return _headers(limit, limit - calls, max(0, math.ceil(began + window - now)))


def _headers(limit: int, remaining: int, reset: int) -> dict[str, str]:
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(reset),
    }
