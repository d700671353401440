"""The memory that a process spends on bodies at a time: what is beyond it is asked to come again.

A body costs its bytes, and what it becomes in Python: up to thirty times as much, where it is nothing but
small values. So what it may become is counted before it is read, by the characters that part values.
"""

import threading

from receiving.errors import ApiError, TooLarge

MEGABYTE = 1024 * 1024
# For all threads of a process together. One body alone is taken even if it costs more.
BUDGET = 256 * MEGABYTE
BYTES_A_VALUE = 80
# Values for each item that a call may have; real senders have a dozen.
VALUES_AN_ITEM = 40
RETRY_AFTER = 1
_lock = threading.Lock()
_spent = 0


def values_in(raw: bytes) -> int:
    """Return how many values the body has at most; characters within strings count as well."""
    return raw.count(b",") + raw.count(b"{") + raw.count(b"[") + 1


def check_values(raw: bytes, max_items: int) -> None:
    """Raise TooLarge for a body with more values than any call of so many items has."""
    if values_in(raw) > VALUES_AN_ITEM * max(max_items, 25_000):
        raise TooLarge(
            f"The body holds more values than {max_items:,} items can need.",
            code="too_many_items",
            limit=max_items,
        )


def reserve(raw: bytes) -> int:
    """Return the bytes that are set aside for reading a body. Raises ApiError when there is no room."""
    global _spent
    cost = len(raw) + BYTES_A_VALUE * values_in(raw)
    with _lock:
        if _spent and _spent + cost > BUDGET:
            raise ApiError(
                "Too much is being read at this moment: send the call again.",
                code="busy",
                status=503,
                headers={"Retry-After": str(RETRY_AFTER)},
            )
        _spent += cost
    return cost


def release(cost: int) -> None:
    global _spent
    with _lock:
        _spent -= cost
