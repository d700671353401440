"""A whole list in several requests: a *session*. A leaf; pure.

A partner that takes a list so is told in each request which session it belongs to, its number in it, whether
it is the last one, and how many users there are in all. The list is the partner's only with the last one.
"""

import secrets
from dataclasses import dataclass

from destinations.endpoint import Endpoint
from destinations.templates import SESSION, variables

# JSON's readers that know no whole numbers beyond 2^53 take these as they are.
DIGITS = 15


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a session. `session` is digits; `sequence` begins with 1; `total` counts users."""

    session: str
    sequence: int
    is_last: bool
    total: int

    @property
    def values(self) -> dict[str, str]:
        """Return what the variables of templates are."""
        return {
            "session": self.session,
            "sequence": str(self.sequence),
            "is_last": "true" if self.is_last else "false",
            "total": str(self.total),
        }


# Of a part's templates, what takes the most bytes.
WIDEST = Part("9" * DIGITS, 10**9, False, 10**9)


def alone(total: int) -> Part:
    """Return the part that is a session of its own, to look at."""
    return Part("1".ljust(DIGITS, "0"), 1, True, total)


def new_number() -> str:
    """Return the number of a session that no other one has."""
    return str(10 ** (DIGITS - 1) + secrets.randbelow(9 * 10 ** (DIGITS - 1)))


def has_parts(endpoint: Endpoint) -> bool:
    """Say whether whole lists travel in several requests: the request says which one it is."""
    texts = (endpoint.add_path, endpoint.add_template) if endpoint.replaces_lists else ()
    return any(SESSION & set(variables(text)) for text in texts)
