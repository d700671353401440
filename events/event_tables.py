"""Our own tables of events in another database: their rows, and what is asked of each kind of database."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from events.workspace_folders import Refused

MISSING = "The tables at EVENTS_URL are not there, or others: manage.py create_event_tables makes them"


class NotInserted(OSError):
    """The database does not take it now: nothing was said to be kept, and to send it again is harmless."""


class Event(NamedTuple):
    workspace: str
    user_id: str
    device: str
    message_id: str
    event: str
    time: datetime
    properties: str


class Trait(NamedTuple):
    workspace: str
    user_id: str
    name: str
    time: datetime
    value: str  # JSON; null takes the property away


class Merge(NamedTuple):
    workspace: str
    device: str
    user_id: str
    time: datetime


class Rows(NamedTuple):
    events: list[Event]
    traits: list[Trait]
    merges: list[Merge]


class Tables(ABC):
    """Our own tables in a database."""

    @abstractmethod
    def close(self) -> None:
        """Close what this thread keeps open."""

    @abstractmethod
    def create(self) -> list[str]:
        """Make the tables that are missing; return the statements. Raises NotInserted."""

    @abstractmethod
    def insert(self, rows: Rows) -> int:
        """Return how many events are new, as far as the database says so. Raises NotInserted, and Refused
        when the tables are missing."""

    @abstractmethod
    def workspaces(self) -> list[str]:
        """Return the workspaces that have something there. Raises NotInserted."""

    @abstractmethod
    def counts(self, workspace: str) -> Iterable[tuple[Any, ...]]:
        """Yield event, property or '', count, numbers, booleans, last time; of users' properties the event is
        ''. Raises NotInserted."""


def missing(said: object) -> Refused:
    return Refused(f"{MISSING}. ({str(said).strip().splitlines()[0][:200]})")


def columns_of(rows: Sequence[tuple[Any, ...]], of: type[NamedTuple]) -> dict[str, list[Any]]:
    """Return the rows as columns by their names."""
    return dict(zip(of._fields, map(list, zip(*rows, strict=True)), strict=True))
