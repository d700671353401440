"""Our own tables of events in another database: their rows, and what is asked of each kind of database."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from events.workspace_folders import Refused

MISSING = "The tables at EVENTS_URL are not there, or others: manage.py create_event_tables makes them"


# So many ids stand in one statement.
MOST_IDS = 100


class NotInserted(OSError):
    """The database does not take it now: nothing was said to be kept, and to send it again is harmless. The
    same of what is asked and deleted there."""


class Unreachable(NotInserted):
    """It does not answer, or takes nothing from anybody for the moment: what waits is tried again."""


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


class Owner(NamedTuple):
    """Whose a device is, and since when that was said."""

    device: str
    user_id: str
    since: datetime


class Chosen(NamedTuple):
    """Events of which everything given holds; None: whatever it is."""

    names: Sequence[str] | None = None
    user_id: str | None = None  # with their devices
    message_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None  # not in it


class Tables(ABC):
    """Our own tables in a database."""

    # Where the rows of events are.
    event_rows = "events"

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

    @abstractmethod
    def literal(self, value: str | datetime) -> str:
        """Return a value as it stands in a statement."""

    @abstractmethod
    def select(self, query: str) -> list[Sequence[Any]]:
        """Return the rows of a query. Raises NotInserted, Refused."""

    @abstractmethod
    def delete(self, table: str, condition: str) -> int:
        """Delete rows, and return how many, when they are gone. Raises NotInserted, Refused."""

    def owners(
        self,
        workspace: str,
        user_ids: Sequence[str] = (),
        device: str | None = None,
        limit: int | None = None,
    ) -> list[Owner]:
        """Return whose devices are, in their order: those of some users, or one, or all."""
        asked, of = [], f"workspace = {self.literal(workspace)}"
        if user_ids:
            asked.append(self.among("user_id", user_ids))
            of += f" AND device IN (SELECT device FROM merges WHERE {of} AND {asked[0]})"
        if device is not None:
            asked.append(f"device = {self.literal(device)}")
        # The first word counts, of two of one time the greater user: as cohorts read it.
        numbered = (
            "SELECT device, user_id, time, "
            "row_number() OVER (PARTITION BY device ORDER BY time, user_id DESC) AS number "
            f"FROM merges WHERE {of}"
        )
        first = f"SELECT device, user_id, time FROM ({numbered}) AS numbered WHERE number = 1"
        most = f" LIMIT {limit}" if limit else ""
        found = self.select(f"{' AND '.join([first, *asked])} ORDER BY device{most}")
        return [Owner(row[0], row[1], utc(row[2])) for row in found]

    def erase(self, workspace: str, user_ids: Sequence[str]) -> tuple[int, int]:
        """Delete what there is of some users, and of their devices; return how many events and properties.

        Whose a device is goes last: whoever is interrupted before finds what is left.
        """
        events = traits = 0
        of = f"workspace = {self.literal(workspace)} AND"
        for users in in_parts(user_ids):
            owned = [owner.device for owner in self.owners(workspace, users)]
            theirs = self.among("user_id", users)
            for devices in in_parts(owned):
                condition = f"user_id = '' AND {self.among('device', devices)}"
                events += self.delete(self.event_rows, f"{of} {condition}")
            events += self.delete(self.event_rows, f"{of} {theirs}")
            traits += self.delete("user_traits", f"{of} {theirs}")
            for devices in in_parts(owned):
                self.delete("merges", f"{of} {self.among('device', devices)}")
            self.delete("merges", f"{of} {theirs}")
        return events, traits

    def delete_events(self, workspace: str, chosen: Chosen) -> int:
        return self.delete(self.event_rows, self.condition(workspace, chosen))

    def count_events(self, workspace: str, chosen: Chosen) -> tuple[int, int]:
        """Return how many events are chosen, and of how many users and devices they are."""
        condition = self.condition(workspace, chosen)
        [(events, users)] = self.select(
            f"SELECT count(*), count(DISTINCT concat(user_id, '/', device)) FROM events WHERE {condition}"
        )
        return int(events), int(users)

    def events_of(self, workspace: str, user_id: str) -> list[Event]:
        """Return the events of a user and of their devices, in the order of time."""
        condition = self.condition(workspace, Chosen(user_id=user_id))
        found = self.select(
            "SELECT workspace, user_id, device, message_id, event, time, CAST(properties AS text) "
            f"FROM events WHERE {condition} ORDER BY time, message_id"
        )
        return [Event._make([*row[:5], utc(row[5]), row[6]]) for row in found]

    def traits_of(self, workspace: str, user_id: str) -> list[Trait]:
        """Return the last word of each of a user's properties, in the order of time."""
        found = self.select(
            "SELECT workspace, user_id, name, time, CAST(value AS text) FROM user_traits "
            f"WHERE workspace = {self.literal(workspace)} AND user_id = {self.literal(user_id)}"
        )
        traits = [Trait._make([*row[:3], utc(row[3]), row[4]]) for row in found]
        # What is not merged yet in ClickHouse has earlier words, too: the last one stays.
        last = {trait.name: trait for trait in sorted(traits, key=lambda trait: trait.time)}
        return sorted(last.values(), key=lambda trait: (trait.time, trait.name))

    def condition(self, workspace: str, chosen: Chosen) -> str:
        parts = [f"workspace = {self.literal(workspace)}"]
        if chosen.names is not None:
            parts.append(self.among("event", chosen.names))
        if chosen.message_id is not None:
            parts.append(f"message_id = {self.literal(chosen.message_id)}")
        if chosen.user_id is not None:
            devices = [owner.device for owner in self.owners(workspace, [chosen.user_id])]
            theirs = [f"user_id = {self.literal(chosen.user_id)}"]
            theirs += [f"(user_id = '' AND {self.among('device', some)})" for some in in_parts(devices)]
            parts.append(f"({' OR '.join(theirs)})")
        parts += [f"time >= {self.literal(chosen.since)}"] if chosen.since else []
        parts += [f"time < {self.literal(chosen.until)}"] if chosen.until else []
        return " AND ".join(parts)

    def among(self, column: str, texts: Sequence[str]) -> str:
        return f"{column} IN ({', '.join(map(self.literal, texts))})"


def in_parts(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[start : start + MOST_IDS] for start in range(0, len(texts), MOST_IDS))


def utc(moment: datetime | str) -> datetime:
    """ClickHouse's times come as texts, in UTC."""
    if isinstance(moment, str):
        return datetime.fromisoformat(moment).replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def missing(said: object) -> Refused:
    return Refused(f"{MISSING}. ({str(said).strip().splitlines()[0][:200]})")


def columns_of(rows: Sequence[tuple[Any, ...]], of: type[NamedTuple]) -> dict[str, list[Any]]:
    """Return the rows as columns by their names."""
    return dict(zip(of._fields, map(list, zip(*rows, strict=True)), strict=True))
