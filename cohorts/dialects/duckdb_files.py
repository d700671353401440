"""DuckDB over our own files."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from sqlglot import exp, parse_one

from cohorts.definitions.nested import Path, path_of
from cohorts.dialects.dialect import Dialect
from cohorts.dialects.expressions import SEPARATOR, call, integer, text
from events.devices import USERS, owners_in
from events.engine import MissingTable
from events.layout import NUMBER_PATTERN, Layout
from events.names import AS_THEY_CAME, WorkspaceNames


class DuckDB(Dialect):
    """Our own files: see `events/layout.py` for their columns."""

    name = "duckdb"
    semi_joins = True

    def __init__(
        self,
        layout: Layout,
        cohorts: Mapping[str, str] | None = None,
        user: str | None = None,
        names: WorkspaceNames = AS_THEY_CAME,
    ) -> None:
        super().__init__(cohorts, user, names)
        self.layout = layout
        self.has_events = bool(layout.events)

    def events(self) -> exp.Select:
        if not self.layout.events:
            raise MissingTable("No events have come in yet. Import some with import_events, or send them.")
        if not self.layout.has_devices:
            return self.narrowed(exp.Select().from_(parquet(self.layout.events)))
        return self.narrowed(exp.Select().from_(self.of_people().subquery("events")))

    def of_people(self) -> exp.Query:
        """What users did, and what was done on devices that are theirs: those of nobody are left out."""
        rows, first = parquet(self.layout.events), text(USERS)
        known = exp.select("*").from_(rows).where(exp.column("user_id") >= first)
        if not self.layout.owners:
            return known
        person = exp.alias_(exp.column("person", table="o"), "user_id")
        of_person = exp.Column(this=exp.Star(replace=[person]), table=exp.to_identifier("e"))
        owners = parse_one(owners_in(self.layout.owners), dialect=self.name)
        assert isinstance(owners, exp.Query)
        user_id = exp.column("user_id", table="e")
        found = exp.Select().select(of_person).from_(exp.alias_(rows.copy(), "e", table=True))
        found = found.join(owners.subquery("o"), on=user_id.eq(exp.column("device", table="o")))
        found = found.where(exp.column("person", table="o").neq(text("")))
        return exp.union(known, found.where(user_id.copy() < first.copy()), distinct=False)

    def rows(self, events: tuple[str, ...]) -> int:
        counts = self.layout.counts
        stored = {one for name in events for one in self.names.events.stored(name)}
        return sum(counts.get(name, 0) for name in stored) if events else sum(counts.values())

    def traits(self) -> exp.Select:
        if not self.layout.traits:
            raise MissingTable(
                "This needs a table of users, and no users' properties have come in yet. "
                "Import them with import_events --traits, or send identify calls."
            )
        rows = self.narrowed(exp.Select().from_(parquet(self.layout.traits)))
        return rows.where(exp.column("user_id") >= text(USERS)) if self.layout.owners else rows

    def users_with(self, names: Sequence[str]) -> exp.Select:
        """The latest value of each user; of two with one time the greater text, so that all agree.

        `p0`, `p1` … are those of the properties that the names are of and lead into.
        """
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
        newest = exp.ArgMax(this=last, expression=latest)
        read = properties_of(names)
        rows = self.traits().select("user_id")
        for number, name in enumerate(read):
            of = exp.Where(this=exp.column("name").eq(text(name)))
            one = exp.Filter(this=newest.copy(), expression=of) if len(read) > 1 else newest
            rows = rows.select(exp.alias_(one, f"p{number}"))
        rows = rows.where(exp.column("name").isin(*read))
        return exp.Select().from_(rows.group_by("user_id").subquery("u"))

    def known_users(self) -> exp.Select:
        return self.traits().select("user_id").where(exp.column("name").eq(text("")))

    def users_text(self, name: str, among: Sequence[str]) -> exp.Expr:
        read, path = properties_of(among), path_of(name)
        value = field(f"p{read.index(name)}", "s")
        if path is None:
            return value
        return exp.func("COALESCE", value, self.inside(field(f"p{read.index(path.keys[0])}", "s"), path))

    def users_number(self, name: str, among: Sequence[str]) -> exp.Expr:
        if path_of(name):
            return self.number(self.users_text(name, among))
        return field(f"p{properties_of(among).index(name)}", "n")

    def inside(self, value: exp.Expr, path: Path) -> exp.Expr:
        """What a path leads to in a text that is an object, or a list, in JSON."""
        opens = "[" if path.each and len(path.keys) == 1 else "{"
        is_json = exp.and_(self.starts_with(value.copy(), opens), call("json_valid", value.copy()))
        if path.each:
            found = call("to_json", call("json_extract", value.copy(), text(path.inside)))
            found = call("nullif", exp.cast(found, "VARCHAR"), text("[]"))
        else:
            found = call("json_extract_string", value.copy(), text(path.inside))
        return exp.case().when(is_json, found)

    def sent_text(self, name: str) -> exp.Expr:
        path = path_of(name)
        if path is None:
            return self.stored(name)
        return exp.func("COALESCE", self.stored(name), self.inside(self.stored(path.keys[0]), path))

    def stored(self, name: str) -> exp.Expr:
        column = self.layout.text_column(name)
        if column:
            return exp.column(column, quoted=True)
        if name in self.layout.columns or not self.layout.has_rest:
            return exp.cast(exp.null(), "VARCHAR")
        return call("map_extract_value", exp.column("rest"), text(name))

    def sent_number(self, name: str) -> exp.Expr:
        if path_of(name):
            return self.number(self.sent_text(name))
        column = self.layout.number_column(name)
        if column:
            return exp.column(column, quoted=True)
        if name in self.layout.columns or not self.layout.has_rest:
            return exp.cast(exp.null(), "DOUBLE")
        return self.number(self.sent_text(name))

    def number(self, value: exp.Expr) -> exp.Expr:
        numeric = call("regexp_full_match", value.copy(), text(NUMBER_PATTERN))
        return exp.TryCast(this=exp.case().when(numeric, value.copy()), to=exp.DataType.build("DOUBLE"))

    def ends_with(self, value: exp.Expr, part: str) -> exp.Expr:
        return call("ends_with", value.copy(), text(part))

    def lowered(self, value: exp.Expr) -> exp.Expr:
        return call("lower", value.copy())

    def matches(self, value: exp.Expr, pattern: str) -> exp.Expr:
        return call("regexp_matches", value.copy(), text(pattern))

    def extracted(self, value: exp.Expr, pattern: str) -> exp.Expr:
        return call("regexp_extract", value.copy(), text(pattern), integer(1))

    def whole(self, value: exp.Expr) -> exp.Expr:
        return exp.TryCast(this=value.copy(), to=exp.DataType.build("BIGINT"))

    def elements(self, value: exp.Expr) -> exp.Expr:
        return call("from_json", value.copy(), text('["VARCHAR"]'))

    def any_element(self, value: exp.Expr, held: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
        found = exp.Lambda(this=held(exp.column("x")), expressions=[exp.to_identifier("x")])
        return call("len", call("list_filter", self.elements(value), found)) > 0

    def list_text(self, value: exp.Expr) -> exp.Expr:
        return call("array_to_string", self.elements(value), text(SEPARATOR))

    def instant(self, moment: datetime) -> exp.Expr:
        return exp.cast(text(moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")), "TIMESTAMP")

    def micros(self) -> exp.Expr:
        return call("epoch_us", self.time())

    def month(self, day: exp.Expr) -> exp.Expr:
        date = call("date_add", exp.cast(text("1970-01-01"), "DATE"), exp.cast(day, "INT"))
        return call("year", date) * integer(12) + call("month", date.copy())

    def percentile(self, value: exp.Expr, percent: int | float) -> exp.Expr:
        return call("quantile_cont", value, exp.Literal.number(repr(percent / 100)))

    def distinct_days(self, day: exp.Expr, first: int | None, last: int) -> exp.Expr:
        # A mask of days costs a third of a set of days (docs/decisions.md).
        if first is None or last - first >= 62:
            return super().distinct_days(day, first, last)
        one = exp.cast(integer(1), "BIGINT")
        mask = exp.BitwiseLeftShift(this=one, expression=exp.paren(day - integer(first)))
        return call("bit_count", call("bit_or", mask))


def properties_of(names: Sequence[str]) -> list[str]:
    """The properties that names are of, and those that they lead into."""
    found: dict[str, None] = {}
    for name in names:
        path = path_of(name)
        found |= dict.fromkeys([name, path.keys[0]] if path else [name])
    return list(found)


def field(struct: str, name: str) -> exp.Expr:
    return exp.Dot(this=exp.column(struct), expression=exp.to_identifier(name))


def parquet(files: Iterable[str]) -> exp.Table:
    paths = exp.Array(expressions=[text(path) for path in files])
    by_name = exp.EQ(this=exp.column("union_by_name"), expression=exp.true())
    return exp.Table(this=exp.ReadParquet(expressions=[paths, by_name]))
