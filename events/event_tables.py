"""Our own tables of events in another database: their rows, and what is asked of each kind of database."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from events.workspace_folders import Refused

MISSING = "The tables at EVENTS_URL are not there, or others: manage.py create_event_tables makes them"


# What is to take the place of other rows waits under a workspace's name with this, which no workspace's has.
STAGED = "+"
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
    origin: str = ""  # the import that brought it first; none of what came by HTTP


class Trait(NamedTuple):
    workspace: str
    user_id: str
    name: str
    time: datetime
    value: str  # JSON; null takes the property away
    origin: str = ""  # what each import said is kept, so that it can be undone


class Merge(NamedTuple):
    workspace: str
    device: str
    user_id: str
    time: datetime
    origin: str = ""


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
    origins: Sequence[str] | None = None
    days: Sequence[str] | None = None  # ISO, UTC
    # That come again with what waits under a name, and are not of an import.
    repeats: tuple[str, str] | None = None


class Tables(ABC):
    """Our own tables in a database."""

    # Where the rows of events are.
    event_rows = "events"
    # After a table's name: without the rows that another one stands for.
    final = ""
    # The day of an event, in UTC.
    day = "CAST(time AT TIME ZONE 'UTC' AS date)"

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
    def held(self) -> list[str]:
        """Return the names under which something is there. Raises NotInserted."""

    @abstractmethod
    def swap_in(self, workspace: str, staged: str, gone: Sequence[Chosen], undone: Sequence[str]) -> int:
        """Delete the events that are `gone` and what the imports `undone` said of users, and give the
        workspace the events that wait under the name `staged`. Return how many events went. Raises
        NotInserted, Refused."""

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

    def workspaces(self) -> list[str]:
        """Return the workspaces that have something there. Raises NotInserted."""
        return sorted({name.partition(STAGED)[0] for name in self.held()})

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
        of = f"(workspace = {self.literal(workspace)} OR {self.staged_by(workspace)}) AND"
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

    def undo(self, workspace: str, origin: str, *, events_alone: bool = False) -> tuple[int, int]:
        """Delete what an import brought; return how many events and properties."""
        events = self.delete_events(workspace, Chosen(origins=[origin]))
        if events_alone:
            return events, 0
        of = self.of_imports(workspace, [origin])
        traits = self.delete("user_traits", of)
        self.delete("merges", of)
        return events, traits

    def left_of(self, workspace: str, origins: Sequence[str]) -> set[str]:
        """Return those of some imports of which something is there."""
        of = self.of_imports(workspace, origins)
        tables = ("events", "user_traits", "merges")
        query = " UNION DISTINCT ".join(f"SELECT DISTINCT origin FROM {table} WHERE {of}" for table in tables)
        return {row[0] for row in self.select(query)}

    def sayings(self, workspace: str) -> set[str]:
        """Return the imports that said something of users and devices, and '' for what came by HTTP."""
        of = f"WHERE workspace = {self.literal(workspace)}"
        query = " UNION DISTINCT ".join(
            f"SELECT DISTINCT origin FROM {table} {of}" for table in ("user_traits", "merges")
        )
        return {row[0] for row in self.select(query)}

    def settle(self, workspace: str, recent: Sequence[str], today: date) -> None:
        """Delete what is said again by others: of imports that are not `recent`, which can be undone with all
        they said. And what has been waiting to take the place of other rows since before yesterday."""
        of = f"workspace = {self.literal(workspace)}"
        of += f" AND NOT {self.among('origin', recent)}" if recent else ""
        for table, key, order in (
            (
                "user_traits",
                "workspace, user_id, name, origin",
                "user_id, name ORDER BY time DESC, value DESC",
            ),
            ("merges", "workspace, device, user_id, time, origin", "device, user_id ORDER BY time"),
        ):
            numbered = f"SELECT {key}, row_number() OVER (PARTITION BY {order}, origin) AS number"
            later = f"SELECT {key} FROM ({numbered} FROM {table}{self.final} WHERE {of}) AS numbered"
            self.delete(table, f"{of} AND ({key}) IN ({later} WHERE number > 1)")
        until = self.literal(staged_name(workspace, "", today - timedelta(days=1)))
        self.delete(self.event_rows, f"{self.staged_by(workspace)} AND workspace < {until}")

    def staged_by(self, workspace: str) -> str:
        first, after = self.literal(workspace + STAGED), self.literal(workspace + chr(ord(STAGED) + 1))
        return f"(workspace >= {first} AND workspace < {after})"

    def of_imports(self, workspace: str, origins: Sequence[str]) -> str:
        return f"workspace = {self.literal(workspace)} AND {self.among('origin', origins)}"

    def repeated_by(self, staged: str, but: str) -> str:
        ids = "user_id, device, message_id"
        new = f"SELECT {ids} FROM {self.event_rows} WHERE workspace = {self.literal(staged)}"
        return f"origin <> {self.literal(but)} AND ({ids}) IN ({new})"

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
        return [Event._make([*row[:5], utc(row[5]), row[6], ""]) for row in found]

    def traits_of(self, workspace: str, user_id: str) -> list[Trait]:
        """Return the last word of each of a user's properties, in the order of time."""
        found = self.select(
            f"SELECT workspace, user_id, name, time, CAST(value AS text) FROM user_traits{self.final} "
            f"WHERE workspace = {self.literal(workspace)} AND user_id = {self.literal(user_id)}"
        )
        traits = [Trait._make([*row[:3], utc(row[3]), row[4], ""]) for row in found]
        # What an import said is kept alongside what others said: the last word stays.
        last = {trait.name: trait for trait in sorted(traits, key=lambda trait: (trait.time, trait.value))}
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
        parts += [self.among("origin", chosen.origins)] if chosen.origins is not None else []
        parts += [self.among(self.day, chosen.days)] if chosen.days is not None else []
        parts += [self.repeated_by(*chosen.repeats)] if chosen.repeats is not None else []
        return " AND ".join(parts)

    def among(self, column: str, texts: Sequence[str]) -> str:
        return f"{column} IN ({', '.join(map(self.literal, texts))})"


def staged_name(workspace: str, origin: str, day: date) -> str:
    """Return the name under which an import's events wait on a day."""
    return f"{workspace}{STAGED}{day:%Y%m%d}{STAGED}{origin}"


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
