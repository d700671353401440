"""What a workspace receives as a source of cohorts: the interface of whoever offers it.

What others send to this site's partner's side is not this app's business: the site ties the two together by
`offer` (`cohortsite.apps`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from django.core.exceptions import ValidationError

from events.engine_errors import EngineError

if TYPE_CHECKING:
    from cohorts.models import Cohort


class Source(NamedTuple):
    """What of a workspace is followed: a list, or the users whose trait has a value."""

    workspace: str
    list_id: str = ""
    trait: str = ""
    equals: Any = True


class News(NamedTuple):
    """What has come since a mark; `mark` is to be kept if the members are read after this."""

    mark: dict[str, Any]
    changed: bool
    first_at: datetime | None = None
    last_at: datetime | None = None


class Unavailable(EngineError):
    """The source cannot be read now; the message is for a person."""

    code = "unavailable"


class Exchanged(Unavailable):
    """The list was replaced while it was read: what was read may be a part of it."""

    code = "exchanged"


class Offer(Protocol):
    """What a part of the site offers as a source of cohorts."""

    def check(self, source: Source) -> None:
        """Raise Unavailable if there is no such workspace or list."""

    def choices(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        """Return for a form: the workspaces, and their newest lists as (workspace, id, name)."""

    def describe(self, source: Source) -> str:
        """Return where the members come from, in words."""

    def members(self, source: Source) -> Iterator[str]:
        """Yield the user ids, sorted by bytes and distinct.

        Raises Exchanged at its end if what was read was replaced by something else meanwhile.
        """

    def news(self, source: Source, mark: dict[str, Any], now: datetime) -> News:
        """Return what has come since the mark ({}: since ever); whatever is in doubt has changed."""

    def newest(self) -> object:
        """Return something cheap to ask for that usually differs when anything has come."""


# Set by the site; None where nothing is received.
offer: Offer | None = None


def offered() -> Offer:
    if offer is None:
        raise Unavailable("This site receives nothing from others.")
    return offer


def source_of(cohort: Cohort) -> Source:
    return Source(
        cohort.received_workspace, cohort.received_list, cohort.received_trait, cohort.received_equals
    )


def check(cohort: Cohort) -> None:
    """Raise ValidationError, keyed by field, unless the cohort says what it follows, and it is there."""
    if not cohort.received_workspace:
        raise ValidationError({"received_workspace": "Say which workspace receives it."})
    if bool(cohort.received_list) == bool(cohort.received_trait):
        raise ValidationError({"received_list": "Say either a list or a trait."})
    if cohort.received_trait and isinstance(cohort.received_equals, dict | list):
        raise ValidationError({"received_equals": "Compare a trait with a text, a number, true or false."})
    try:
        offered().check(source_of(cohort))
    except Unavailable as error:
        field = "received_list" if cohort.received_list else "received_workspace"
        raise ValidationError({field: str(error)}) from None
