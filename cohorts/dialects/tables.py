"""Events in a database's own tables, with the properties in one JSON column."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from cohorts.definitions.nested import Path, path_of
from cohorts.dialects.dialect import Dialect
from cohorts.dialects.expressions import call, integer, text
from events.engine import MissingTable
from events.names import AS_THEY_CAME, WorkspaceNames
from events.store import DEFAULT_WORKSPACE


@dataclass(frozen=True)
class Tables:
    """Where a database keeps events: tables, and their columns by the names that we use.

    events: user_id text, event text, time with time zone, properties a JSON object.
    users: one row a user: user_id text, properties a JSON object; None when there is no such table.
    merges: whose a device is: device text, user_id text, time; the first by time counts. With it, an event
    that has no user_id (NULL or empty) is of whoever its `device` belongs to.
    """

    events: str = "events"
    users: str | None = "users"
    merges: str | None = None
    user_id: str = "user_id"
    event: str = "event"
    time: str = "time"
    properties: str = "properties"
    device: str = "device"
    # The column that tells workspaces apart, in both tables; without one, all events are `default`'s.
    workspace: str | None = None


# Those that create_event_tables makes.
OWN = Tables(merges="merges", workspace="workspace")


class TableDialect(Dialect):
    """Events in a database's own tables, with the properties in one JSON column."""

    def __init__(
        self,
        tables: Tables | None = None,
        cohorts: Mapping[str, str] | None = None,
        user: str | None = None,
        workspace: str = DEFAULT_WORKSPACE,
        names: WorkspaceNames = AS_THEY_CAME,
    ) -> None:
        super().__init__(cohorts, user, names)
        self.tables = tables or Tables()
        self.workspace = workspace
        if self.tables.workspace is None and workspace != DEFAULT_WORKSPACE:
            raise MissingTable(
                f"The events at EVENTS_URL are those of the workspace {DEFAULT_WORKSPACE!r}, not of "
                f"{workspace!r}: name the column that tells them apart as `workspace` in EVENTS_TABLES."
            )

    @abstractmethod
    def json_text(self, *keys: str) -> exp.Expr:
        """What keys lead to in the properties, as text; NULL when missing or null."""

    @abstractmethod
    def each_text(self, path: Path) -> exp.Expr:
        """What a path leads to in each element of a list, as a list in JSON; NULL when in none."""

    def property_text(self, name: str) -> exp.Expr:
        path = path_of(name)
        if path is None:
            return self.json_text(name)
        found = self.each_text(path) if path.each else self.json_text(*path.keys)
        return exp.func("COALESCE", self.json_text(name), found)

    def column(self, name: str) -> exp.Column:
        return exp.column(name, quoted=True)

    def user_id(self) -> exp.Expr:
        return self.column(self.tables.user_id)

    def event_name(self) -> exp.Expr:
        return self.column(self.tables.event)

    def time(self) -> exp.Expr:
        return self.column(self.tables.time)

    def events(self) -> exp.Select:
        if self.tables.merges is None:
            return self.rows_of(self.tables.events)
        return self.narrowed(exp.Select().from_(self.of_people().subquery("people")), self.user_id())

    def of_people(self) -> exp.Query:
        """What users did, and what was done on devices that are theirs: those of nobody are left out."""
        tables = self.tables
        columns = [tables.event, tables.time, tables.properties]
        named = exp.not_(exp.Is(this=call("nullif", self.user_id(), text("")), expression=exp.null()))
        rows = self.rows_of(tables.events, narrow=False)
        own = rows.select(self.user_id(), *map(self.column, columns)).where(named)
        nobodys = rows.select(self.column(tables.device), *map(self.column, columns)).where(exp.not_(named))
        person = exp.alias_(exp.column("person", table="o"), tables.user_id, quoted=True)
        others = (exp.column(name, table="e", quoted=True) for name in columns)
        device = exp.column(tables.device, table="e", quoted=True)
        found = exp.select(person, *others).from_(nobodys.subquery("e"))
        found = found.join(self.owners().subquery("o"), on=device.eq(exp.column("owned", table="o")))
        return exp.union(own, found, distinct=False)

    def owners(self) -> exp.Select:
        """One row a device: `owned`, and the `person` whom it was said to be first, of two the greater."""
        tables = self.tables
        assert tables.merges is not None
        order = exp.Order(
            expressions=[
                exp.Ordered(this=self.time(), nulls_first=False),
                exp.Ordered(this=self.ordered(self.user_id()), desc=True, nulls_first=False),
            ]
        )
        number = exp.Window(this=exp.RowNumber(), partition_by=[self.column(tables.device)], order=order)
        rows = self.rows_of(tables.merges, narrow=False).select(
            exp.alias_(self.column(tables.device), "owned"),
            exp.alias_(self.user_id(), "person"),
            exp.alias_(number, "number"),
        )
        return (
            exp.select("owned", "person").from_(rows.subquery("m")).where(exp.column("number").eq(integer(1)))
        )

    def users(self) -> exp.Select:
        if self.tables.users is None:
            raise MissingTable("This needs a table of users, and none is configured for this database.")
        return self.rows_of(self.tables.users)

    def rows_of(self, name: str, narrow: bool = True) -> exp.Select:
        """The workspace's rows of a table; of the one user who is asked about, unless not to `narrow`."""
        rows = exp.Select().from_(table(name))
        rows = self.narrowed(rows, self.user_id()) if narrow else rows
        if self.tables.workspace is None:
            return rows
        return rows.where(self.column(self.tables.workspace).eq(text(self.workspace)))

    def users_with(self, names: Sequence[str]) -> exp.Select:
        return self.users()

    def known_users(self) -> exp.Select:
        return self.users().select(exp.alias_(self.user_id(), "user_id"))

    def sent_text(self, name: str) -> exp.Expr:
        return self.property_text(name)

    def sent_number(self, name: str) -> exp.Expr:
        return self.number(self.property_text(name))

    def users_text(self, name: str, among: Sequence[str]) -> exp.Expr:
        return self.property_text(name)

    def users_number(self, name: str, among: Sequence[str]) -> exp.Expr:
        return self.number(self.property_text(name))


def table(name: str) -> exp.Table:
    """A table by its name, which may have a schema in front: `public.events`."""
    *schema, last = name.split(".")
    return exp.table_(last, db=schema[0] if schema else None, quoted=True)
