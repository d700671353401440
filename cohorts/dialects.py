"""What differs between the engines: where events lie, how a property is read, how time is counted.

Every method returns a sqlglot expression. The compiler (`compile.py`) knows no engine.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlglot import exp

from events.engine import MissingTable
from events.layout import NUMBER_PATTERN, Layout
from events.store import DEFAULT_WORKSPACE

USER = exp.column("user_id")
DAY = 86_400_000_000


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A function that sqlglot must not translate: each dialect names its engine's own."""
    return exp.Anonymous(this=name, expressions=list(arguments))


def text(value: str) -> exp.Literal:
    return exp.Literal.string(value)


def integer(value: int) -> exp.Expr:
    return exp.Literal.number(value) if value >= 0 else exp.Neg(this=exp.Literal.number(-value))


@dataclass(frozen=True)
class Tables:
    """Where a database keeps events: tables, and their columns by the names that we use.

    events: user_id text, event text, time with time zone, properties a JSON object.
    users: one row a user: user_id text, properties a JSON object; None when there is no such table.
    """

    events: str = "events"
    users: str | None = "users"
    user_id: str = "user_id"
    event: str = "event"
    time: str = "time"
    properties: str = "properties"
    # The column that tells workspaces apart, in both tables; without one, all events are `default`'s.
    workspace: str | None = None


class Dialect(ABC):
    """One engine. `user` narrows every condition to one user, for an explanation."""

    name: str
    has_events = True
    # Whether the engine has SEMI and ANTI JOIN, and they are faster than INTERSECT and EXCEPT.
    semi_joins = False

    def __init__(self, cohorts: Mapping[str, str] | None = None, user: str | None = None) -> None:
        """`cohorts` gives, for each key a definition refers to, the relation that holds its ids."""
        self.cohorts = cohorts or {}
        self.user = user

    # --- Data -------------------------------------------------------------------------------

    @abstractmethod
    def events(self) -> exp.Select:
        """All events: a SELECT without columns."""

    @abstractmethod
    def users_with(self, name: str) -> exp.Select:
        """Users and their property `name`: a SELECT without columns over rows that have `text_of` it."""

    @abstractmethod
    def known_users(self) -> exp.Select:
        """The ids of the users table, one column."""

    @abstractmethod
    def event_text(self, name: str) -> exp.Expr:
        """A property of an event as text; NULL when missing."""

    @abstractmethod
    def event_number(self, name: str) -> exp.Expr:
        """The same as a number; NULL when it is not one."""

    @abstractmethod
    def user_text(self, name: str) -> exp.Expr: ...

    @abstractmethod
    def user_number(self, name: str) -> exp.Expr: ...

    def rows(self, events: tuple[str, ...]) -> int:
        """Roughly how many events of these names there are, of all names if none; 0: not known."""
        return 0

    def event_name(self) -> exp.Expr:
        return exp.column("event")

    def user_id(self) -> exp.Expr:
        return USER

    def time(self) -> exp.Expr:
        return exp.column("time")

    def members(self, key: str) -> exp.Select:
        """The ids of another cohort."""
        return self.narrowed(exp.select("user_id").from_(exp.to_identifier(self.cohorts[key], quoted=True)))

    def narrowed(self, select: exp.Select, column: exp.Expr = USER) -> exp.Select:
        return select if self.user is None else select.where(column.copy().eq(text(self.user)))

    # --- Operations -------------------------------------------------------------------------

    @abstractmethod
    def instant(self, moment: datetime) -> exp.Expr: ...

    @abstractmethod
    def micros(self) -> exp.Expr:
        """The event's time as whole microseconds since 1970 in UTC."""

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        """Whole division of a positive integer."""
        return exp.IntDiv(this=exp.paren(value), expression=integer(by))

    def distinct_days(self, day: exp.Expr, first: int | None, last: int) -> exp.Expr:
        """The number of distinct values of `day`, which lies between first and last."""
        return exp.Count(this=exp.Distinct(expressions=[day]))

    def rounded(self, value: exp.Expr) -> exp.Expr:
        """A sum or mean to a millionth, so that the order of adding cannot decide a comparison."""
        return exp.Round(this=value, decimals=integer(6))

    def ordered(self, value: exp.Expr) -> exp.Expr:
        """Text whose order is that of its UTF-8 bytes."""
        return value

    def contains(self, value: exp.Expr, part: str) -> exp.Expr:
        return exp.StrPosition(this=value, substr=text(part)) > 0

    def starts_with(self, value: exp.Expr, part: str) -> exp.Expr:
        return exp.StartsWith(this=value, expression=text(part))

    def sql(self, query: exp.Expr, pretty: bool = False) -> str:
        return query.sql(self.name, pretty=pretty)


class DuckDB(Dialect):
    """Our own files: see `events/layout.py` for their columns."""

    name = "duckdb"
    semi_joins = True

    def __init__(
        self, layout: Layout, cohorts: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        super().__init__(cohorts, user)
        self.layout = layout
        self.has_events = bool(layout.events)

    def events(self) -> exp.Select:
        if not self.layout.events:
            raise MissingTable("No events have come in yet. Import some with import_events, or send them.")
        return self.narrowed(exp.Select().from_(parquet(self.layout.events)))

    def rows(self, events: tuple[str, ...]) -> int:
        counts = self.layout.counts
        return sum(counts.get(name, 0) for name in events) if events else sum(counts.values())

    def traits(self) -> exp.Select:
        if not self.layout.traits:
            raise MissingTable(
                "This needs a table of users, and no users' properties have come in yet. "
                "Import them with import_events --traits, or send identify calls."
            )
        return self.narrowed(exp.Select().from_(parquet(self.layout.traits)))

    def users_with(self, name: str) -> exp.Select:
        """The latest value of each user; of two with one time the greater text, so that all agree."""
        latest = exp.Struct(
            expressions=[
                exp.PropertyEQ(this=exp.to_identifier(key), expression=value)
                for key, value in (("time", exp.column("time")), ("s", exp.func("COALESCE", "s", "''")))
            ]
        )
        last = exp.Struct(
            expressions=[
                exp.PropertyEQ(this=exp.to_identifier(key), expression=exp.column(key)) for key in ("s", "n")
            ]
        )
        rows = self.traits().select("user_id", exp.alias_(exp.ArgMax(this=last, expression=latest), "last"))
        rows = rows.where(exp.column("name").eq(text(name))).group_by("user_id")
        return exp.Select().from_(rows.subquery("u"))

    def known_users(self) -> exp.Select:
        return self.traits().select("user_id").where(exp.column("name").eq(text("")))

    def user_text(self, name: str) -> exp.Expr:
        return exp.Dot(this=exp.column("last"), expression=exp.to_identifier("s"))

    def user_number(self, name: str) -> exp.Expr:
        return exp.Dot(this=exp.column("last"), expression=exp.to_identifier("n"))

    def event_text(self, name: str) -> exp.Expr:
        column = self.layout.text_column(name)
        if column:
            return exp.column(column, quoted=True)
        if name in self.layout.columns or not self.layout.has_rest:
            return exp.cast(exp.null(), "VARCHAR")
        return call("map_extract_value", exp.column("rest"), text(name))

    def event_number(self, name: str) -> exp.Expr:
        column = self.layout.number_column(name)
        if column:
            return exp.column(column, quoted=True)
        if name in self.layout.columns or not self.layout.has_rest:
            return exp.cast(exp.null(), "DOUBLE")
        value = self.event_text(name)
        numeric = call("regexp_full_match", value, text(NUMBER_PATTERN))
        return exp.TryCast(this=exp.case().when(numeric, value.copy()), to=exp.DataType.build("DOUBLE"))

    def instant(self, moment: datetime) -> exp.Expr:
        return exp.cast(text(moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")), "TIMESTAMP")

    def micros(self) -> exp.Expr:
        return call("epoch_us", self.time())

    def distinct_days(self, day: exp.Expr, first: int | None, last: int) -> exp.Expr:
        # A mask of days costs a third of a set of days (docs/decisions.md).
        if first is None or last - first >= 62:
            return super().distinct_days(day, first, last)
        one = exp.cast(integer(1), "BIGINT")
        mask = exp.BitwiseLeftShift(this=one, expression=exp.paren(day - integer(first)))
        return call("bit_count", call("bit_or", mask))


def parquet(files: Iterable[str]) -> exp.Table:
    paths = exp.Array(expressions=[text(path) for path in files])
    by_name = exp.EQ(this=exp.column("union_by_name"), expression=exp.true())
    return exp.Table(this=exp.ReadParquet(expressions=[paths, by_name]))


class TableDialect(Dialect):
    """Events in a database's own tables, with the properties in one JSON column."""

    def __init__(
        self,
        tables: Tables | None = None,
        cohorts: Mapping[str, str] | None = None,
        user: str | None = None,
        workspace: str = DEFAULT_WORKSPACE,
    ) -> None:
        super().__init__(cohorts, user)
        self.tables = tables or Tables()
        self.workspace = workspace
        if self.tables.workspace is None and workspace != DEFAULT_WORKSPACE:
            raise MissingTable(
                f"The events at EVENTS_URL are those of the workspace {DEFAULT_WORKSPACE!r}, not of "
                f"{workspace!r}: name the column that tells them apart as `workspace` in EVENTS_TABLES."
            )

    @abstractmethod
    def json_text(self, name: str) -> exp.Expr: ...

    @abstractmethod
    def number(self, value: exp.Expr) -> exp.Expr: ...

    def column(self, name: str) -> exp.Column:
        return exp.column(name, quoted=True)

    def user_id(self) -> exp.Expr:
        return self.column(self.tables.user_id)

    def event_name(self) -> exp.Expr:
        return self.column(self.tables.event)

    def time(self) -> exp.Expr:
        return self.column(self.tables.time)

    def events(self) -> exp.Select:
        return self.rows_of(self.tables.events)

    def users(self) -> exp.Select:
        if self.tables.users is None:
            raise MissingTable("This needs a table of users, and none is configured for this database.")
        return self.rows_of(self.tables.users)

    def rows_of(self, name: str) -> exp.Select:
        """The workspace's rows of a table."""
        rows = self.narrowed(exp.Select().from_(table(name)), self.user_id())
        if self.tables.workspace is None:
            return rows
        return rows.where(self.column(self.tables.workspace).eq(text(self.workspace)))

    def users_with(self, name: str) -> exp.Select:
        return self.users()

    def known_users(self) -> exp.Select:
        return self.users().select(exp.alias_(self.user_id(), "user_id"))

    def event_text(self, name: str) -> exp.Expr:
        return self.json_text(name)

    def event_number(self, name: str) -> exp.Expr:
        return self.number(self.json_text(name))

    def user_text(self, name: str) -> exp.Expr:
        return self.json_text(name)

    def user_number(self, name: str) -> exp.Expr:
        return self.number(self.json_text(name))


def table(name: str) -> exp.Table:
    """A table by its name, which may have a schema in front: `public.events`."""
    *schema, last = name.split(".")
    return exp.table_(last, db=schema[0] if schema else None, quoted=True)


class PostgreSQL(TableDialect):
    name = "postgres"

    def json_text(self, name: str) -> exp.Expr:
        return call("jsonb_extract_path_text", self.column(self.tables.properties), text(name))

    def number(self, value: exp.Expr) -> exp.Expr:
        numeric = exp.RegexpLike(this=value, expression=text(f"^{NUMBER_PATTERN}$"))
        return exp.case().when(numeric, exp.cast(value.copy(), "DOUBLE PRECISION"))

    def instant(self, moment: datetime) -> exp.Expr:
        return exp.cast(text(moment.astimezone(UTC).isoformat()), "TIMESTAMPTZ")

    def micros(self) -> exp.Expr:
        seconds = exp.Extract(this=exp.var("EPOCH"), expression=self.time())
        return exp.cast(seconds * integer(1_000_000), "BIGINT")

    def rounded(self, value: exp.Expr) -> exp.Expr:
        return super().rounded(exp.cast(value, "DECIMAL"))

    def ordered(self, value: exp.Expr) -> exp.Expr:
        return exp.Collate(this=value, expression=exp.to_identifier("C", quoted=True))

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        return exp.Div(this=exp.paren(value), expression=integer(by), typed=True)


class ClickHouse(TableDialect):
    name = "clickhouse"

    def json_text(self, name: str) -> exp.Expr:
        properties = self.column(self.tables.properties)
        kind = call("JSONType", properties, text(name))
        string = call("JSONExtractString", properties.copy(), text(name))
        raw = call("JSONExtractRaw", properties.copy(), text(name))
        return (
            exp.case()
            .when(kind.eq(text("String")), string)
            .when(kind.copy().neq(text("Null")), raw)
            .else_(exp.null())
        )

    def number(self, value: exp.Expr) -> exp.Expr:
        numeric = call("match", call("ifNull", value, text("")), text(f"^{NUMBER_PATTERN}$"))
        return exp.case().when(numeric, call("toFloat64OrNull", value.copy())).else_(exp.null())

    def instant(self, moment: datetime) -> exp.Expr:
        shown = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return call("toDateTime64", text(shown), integer(6), text("UTC"))

    def micros(self) -> exp.Expr:
        return call("toUnixTimestamp64Micro", call("toDateTime64", self.time(), integer(6)))

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        return call("intDiv", value, integer(by))


@dataclass(frozen=True)
class Compiled:
    """A query whose only column, `user_id`, is sorted and distinct, and what it was made for."""

    query: exp.Query
    dialect: Dialect = field(repr=False)

    @property
    def sql(self) -> str:
        return self.dialect.sql(self.query)

    @property
    def pretty(self) -> str:
        return self.dialect.sql(self.query, pretty=True)
