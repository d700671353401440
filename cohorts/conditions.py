"""One condition as the set of users for whom it holds."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlglot import exp

from cohorts.definitions.grammar import Compare, Measure, Performed, Property
from cohorts.dialects import Dialect, text
from cohorts.properties import Comparison, compared, number_literal, same_text
from cohorts.zones import local_day, local_days


class Conditions:
    """The parts of a query over events and users, as of an instant."""

    def __init__(
        self, dialect: Dialect, as_of: datetime, zone: ZoneInfo, among: exp.Query | None = None
    ) -> None:
        """With `among`, a set of users, only their events are read."""
        self.dialect, self.as_of, self.zone, self.among = dialect, as_of, zone, among

    def narrowed(self, among: exp.Query) -> "Conditions":
        return Conditions(self.dialect, self.as_of, self.zone, among)

    # --- Rows -------------------------------------------------------------------------------

    def events(self) -> exp.Select:
        rows = self.dialect.events()
        return rows if self.among is None else rows.where(self.dialect.user_id().isin(query=self.among))

    def ids(self, rows: exp.Select) -> exp.Select:
        return rows.select(exp.alias_(self.dialect.user_id(), "user_id"))

    def before(self, end: datetime) -> exp.Expr:
        return self.dialect.time() < self.dialect.instant(end)

    def matching(self, events: tuple[str, ...], where: tuple[Property, ...]) -> list[exp.Expr]:
        return [*self.named(events), *(self.of_event(prop) for prop in where)]

    def named(self, events: Iterable[str]) -> list[exp.Expr]:
        """One name as an equality: the engine prunes files by it."""
        names = sorted(events)
        if len(names) == 1:
            return [self.dialect.event_name().eq(text(names[0]))]
        return [self.dialect.event_name().isin(*names)] if names else []

    # --- Properties -------------------------------------------------------------------------

    def user(self, prop: Property) -> exp.Query:
        value = self.dialect.user_text(prop.name)
        number = self.dialect.user_number(prop.name)
        rows = self.ids(self.dialect.users_with(prop.name))
        return rows.where(self.holds(prop.positive, value, number)).distinct()

    def of_event(self, prop: Property) -> exp.Expr:
        value, number = self.dialect.event_text(prop.name), self.dialect.event_number(prop.name)
        held = self.holds(prop.positive, value, number)
        return exp.not_(exp.func("COALESCE", held, exp.false())) if prop.negative else held

    def holds(self, prop: Property, value: exp.Expr, number: exp.Expr) -> exp.Expr:
        return Comparison(prop, self.dialect, self.as_of).holds(value, number)

    # --- Performed --------------------------------------------------------------------------

    def counted(self, node: Performed) -> exp.Select:
        """The events that a condition counts: a SELECT without columns."""
        start, end = node.window.bounds(self.as_of, self.zone)
        rows = self.events().where(*self.matching(node.events, node.where), self.before(end))
        return rows.where(self.dialect.time() >= self.dialect.instant(start)) if start else rows

    def performed(self, node: Performed) -> exp.Query:
        start, end = node.window.bounds(self.as_of, self.zone)
        rows = self.ids(self.counted(node))
        if node.measure is None:
            return rows.distinct()
        rows = rows.group_by(self.dialect.user_id())
        held = self.measured(node.measure, start, end)
        if node.or_never:
            return rows.having(exp.not_(exp.func("COALESCE", held, exp.false())))
        return rows.having(held)

    def measured(self, measure: Measure, start: datetime | None, end: datetime) -> exp.Expr:
        if measure.kind in ("first", "last"):
            return self.moment(measure)
        assert measure.compare is not None
        return against(self.amount(measure, start, end), measure.compare)

    def moment(self, measure: Measure) -> exp.Expr:
        assert measure.window is not None
        start, end = measure.window.bounds(self.as_of, self.zone)
        kind = exp.Min if measure.kind == "first" else exp.Max
        when = kind(this=self.dialect.time())
        before = when < self.dialect.instant(end)
        return before if start is None else exp.and_(when.copy() >= self.dialect.instant(start), before)

    def amount(self, measure: Measure, start: datetime | None, end: datetime) -> exp.Expr:
        if measure.kind == "count":
            return exp.Count(this=exp.Star())
        if measure.kind == "days":
            return self.days(start, end)
        assert measure.property is not None
        if measure.kind == "distinct":
            return exp.Count(this=exp.Distinct(expressions=[self.same(measure.property)]))
        number = self.dialect.event_number(measure.property)
        if measure.kind in ("min", "max"):
            return exp.Min(this=number) if measure.kind == "min" else exp.Max(this=number)
        mean = exp.Sum(this=number) if measure.kind == "sum" else exp.Avg(this=number)
        return self.dialect.rounded(mean)

    def same(self, name: str) -> exp.Expr:
        return same_text(self.dialect.event_text(name), self.dialect.event_number(name), self.dialect)

    def days(self, start: datetime | None, end: datetime) -> exp.Expr:
        """Distinct days in the cohort's zone, from the zone's own offsets: one rule on every engine."""
        day = local_days(self.zone, start, end, self.dialect)
        first = None if start is None else local_day(start, self.zone)
        return self.dialect.distinct_days(day, first, local_day(end, self.zone))


def against(amount: exp.Expr, compare: Compare) -> exp.Expr:
    return compared(amount, compare.op, [number_literal(value) for value in compare.values])
