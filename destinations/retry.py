"""When a failed request is tried again (`docs/protocol.md`, "What a sender does"). Pure: the caller waits."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from destinations.errors import DeliveryError, Temporary

RETRIES = 8
JITTER = 1.1
PARK_BEYOND = 15 * 60.0
PARK_AT_MOST = 24 * 3600.0


class Action(StrEnum):
    RETRY = "retry"
    GIVE_UP = "give up"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next; `wait` is in seconds, already scaled, and 0 when giving up.

    PARK: stop this run for `wait` seconds, and do not count the attempt as one of the tries.
    """

    action: Action
    wait: float = 0.0


def decide(
    attempt: int, error: DeliveryError, *, uniform: Callable[[float, float], float], scale: float
) -> Decision:
    """Say what follows the attempt of this number (1 is the first), which ended with this error.

    Waits are 2^(n-1) × U(1, 1.1) s for n = 1 … 8; `Retry-After` lengthens one, and beyond 15 minutes
    parks instead, for 24 hours at most. `scale` multiplies every wait (1.0; tests set less).
    """
    if not isinstance(error, Temporary):
        return Decision(Action.GIVE_UP)
    asked = error.retry_after or 0.0
    if asked > PARK_BEYOND:
        return Decision(Action.PARK, min(asked, PARK_AT_MOST) * scale)
    if attempt > RETRIES:
        return Decision(Action.GIVE_UP)
    backoff = 2.0 ** (attempt - 1) * uniform(1.0, JITTER)
    return Decision(Action.RETRY, max(backoff, asked) * scale)
