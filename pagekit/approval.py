"""Whether a change of configuration needs a second person. Apps ask before they save; the site says.

A change that does is raised, and becomes a proposal where the request ends: an app need not know of those.
"""

from collections.abc import Callable
from typing import Any

from django.db.models import Model

# Given the row as it would be, saved or new, and who wants it.
Needed = Callable[[Model, Any], bool]


class NeedsApproval(Exception):
    """`row` as it would be; it is not saved."""

    def __init__(self, row: Any) -> None:
        super().__init__(f"{row} needs a second person.")
        self.row = row


def _never(row: Model, user: Any) -> bool:
    return False


_needed: Needed = _never


def ask(needed: Needed) -> None:
    """Have `needed` say it from now on."""
    global _needed
    _needed = needed


def check(row: Model, user: Any) -> None:
    """Raise NeedsApproval when the row may not be saved by this person alone."""
    if _needed(row, user):
        raise NeedsApproval(row)
