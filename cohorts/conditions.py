"""One condition as the set of users for whom it holds."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlglot import exp

from cohorts.definitions.grammar import (
    ALL_TIME,
    Compare,
    Measure,
    More,
    Nth,
    OneOf,
    Performed,
    Periods,
    Property,
    Since,
    Where,
    Window,
)
from cohorts.dialects import Dialect, integer, text
from cohorts.properties import Comparison, compared, number_literal, same_text
from cohorts.zones import BIAS_DAYS, local_day, local_days, micros_of

# Added to the number of a local day, so that a division by seven ends weeks on Sunday.
TO_MONDAY = 2


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

    def matching(self, events: tuple[str, ...], where: Where) -> list[exp.Expr]:
        return [*self.named(events), *(self.asked(one) for one in where)]

    def asked(self, one: Property | OneOf) -> exp.Expr:
        if isinstance(one, Property):
            return self.of_event(one)
        return exp.or_(*(self.of_event(prop) for prop in one.properties))

    def named(self, events: Iterable[str]) -> list[exp.Expr]:
        """One name as an equality: the engine prunes files by it."""
        names = sorted({stored for name in events for stored in self.dialect.names.events.stored(name)})
        if len(names) == 1:
            return [self.dialect.event_name().eq(text(names[0]))]
        return [self.dialect.event_name().isin(*names)] if names else []

    # --- Properties -------------------------------------------------------------------------

    def user(self, prop: Property) -> exp.Query:
        value = self.dialect.user_text(prop.name)
        number = self.dialect.user_number(prop.name)
        rows = self.ids(self.dialect.users_called(prop.name))
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
        rows = self.events().where(*self.these(node.events, node.where, node.window))
        return self.after_first(rows, node.since) if node.since else rows

    def after_first(self, rows: exp.Select, since: Since) -> exp.Select:
        """Of these events, those from each user's first one of `since` on, for so long."""
        begun = self.ids(self.events().where(*self.these(since.events, since.where, ALL_TIME)))
        begun = exp.select(
            exp.alias_(exp.column("user_id"), "begun_by"), exp.alias_(exp.Min(this=exp.column("t")), "begun")
        ).from_(begun.select(exp.alias_(self.dialect.micros(), "t")).subquery("f"))
        at = exp.column("begun")
        return rows.join(
            begun.group_by("user_id").subquery("b"), on=self.dialect.user_id().eq(exp.column("begun_by"))
        ).where(
            self.dialect.micros() >= at,
            self.dialect.micros() < at.copy() + integer(micros_of(since.within.delta)),
        )

    def these(self, events: tuple[str, ...], where: Where, window: Window) -> list[exp.Expr]:
        """What an event must be: of these names, with these properties, in this time."""
        start, end = window.bounds(self.as_of, self.zone)
        found = [*self.matching(events, where), self.before(end)]
        return [*found, self.dialect.time() >= self.dialect.instant(start)] if start else found

    def more(self, node: More) -> exp.Query:
        """One pass over the events of both: how many are of the first, how many of the second."""
        first, second = (
            exp.and_(*self.these(of.events, of.where, of.window)) for of in (node.first, node.second)
        )
        rows = self.ids(self.events().where(exp.or_(first, second))).group_by(self.dialect.user_id())
        often = exp.Sum(this=one_if(second)) * number_literal(node.times)
        return rows.having(exp.Sum(this=one_if(first)) > often)

    def performed(self, node: Performed) -> exp.Query:
        start, end = node.window.bounds(self.as_of, self.zone)
        rows = self.ids(self.counted(node))
        if node.measure is None:
            return rows.distinct()
        if node.measure.periods:
            rows, held = self.periods(node.measure, node.measure.periods, rows, start, end)
        elif node.measure.nth:
            rows, held = self.nth(node.measure, node.measure.nth, rows)
        else:
            rows, held = rows.group_by(self.dialect.user_id()), self.measured(node.measure, start, end)
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
        if measure.kind in ("days", "weeks"):
            return self.days(start, end) if measure.kind == "days" else self.weeks(start, end)
        assert measure.property is not None
        if measure.kind == "distinct":
            return exp.Count(this=exp.Distinct(expressions=[self.same(measure.property)]))
        number = self.dialect.event_number(measure.property)
        if measure.kind in ("min", "max"):
            return exp.Min(this=number) if measure.kind == "min" else exp.Max(this=number)
        if measure.kind in ("median", "percentile"):
            return self.dialect.rounded(self.dialect.percentile(number, measure.percent))
        mean = exp.Sum(this=number) if measure.kind == "sum" else exp.Avg(this=number)
        return self.dialect.rounded(mean)

    def periods(
        self, measure: Measure, of: Periods, rows: exp.Select, start: datetime | None, end: datetime
    ) -> tuple[exp.Select, exp.Expr]:
        """Count the days, weeks or months that have enough events, or the longest run of them."""
        day = local_days(self.zone, start, end, self.dialect)
        if of.unit == "week":
            day = self.dialect.divided(day + integer(TO_MONDAY), 7)
        elif of.unit == "month":
            day = self.dialect.month(exp.paren(day) - integer(BIAS_DAYS))
        assert measure.compare is not None
        each = exp.select("user_id", "p").from_(rows.select(exp.alias_(day, "p")).subquery("e"))
        each = each.group_by("user_id", "p")
        if of.times:
            each = each.having(against(exp.Count(this=exp.Star()), of.times))
        amount: exp.Expr = exp.Count(this=exp.Star())
        if of.in_a_row:
            # What follows one after the other keeps its distance to its number in the list.
            number = exp.Window(
                this=exp.RowNumber(), partition_by=[exp.column("user_id")], order=ordered("p")
            )
            runs = exp.select("user_id", exp.alias_(exp.column("p") - number, "run")).from_(
                each.subquery("o")
            )
            runs = exp.select("user_id", exp.alias_(amount, "long")).from_(runs.subquery("r"))
            each, amount = runs.group_by("user_id", "run"), exp.Max(this=exp.column("long"))
        of_user = exp.select("user_id").from_(each.subquery("d")).group_by("user_id")
        return of_user, against(amount, measure.compare)

    def nth(self, measure: Measure, nth: Nth, rows: exp.Select) -> tuple[exp.Select, exp.Expr]:
        """Number each user's events by their time; those of one instant have all the places they fill."""
        asked = [self.asked(one) for one in nth.where]
        if measure.window:
            asked += self.these((), (), measure.window)
        rows = rows.select(
            exp.alias_(self.dialect.micros(), "t"), exp.alias_(one_if(exp.and_(*asked)), "held")
        )
        by = ordered("t", last=nth.n < 0)
        user = exp.column("user_id")
        before = exp.Window(this=exp.Anonymous(this="rank", expressions=[]), partition_by=[user], order=by)
        until = exp.Window(this=exp.Count(this=exp.Star()), partition_by=[user.copy()], order=by.copy())
        placed = exp.select("user_id", "held", exp.alias_(before, "r"), exp.alias_(until, "c"))
        position = integer(abs(nth.n))
        is_it = exp.and_(
            exp.column("r") <= position, exp.column("c") >= position.copy(), exp.column("held").eq(1)
        )
        of_user = exp.select("user_id").from_(placed.from_(rows.subquery("e")).subquery("n"))
        return of_user.group_by("user_id"), exp.Max(this=one_if(is_it)).eq(1)

    def same(self, name: str) -> exp.Expr:
        return same_text(self.dialect.event_text(name), self.dialect.event_number(name), self.dialect)

    def days(self, start: datetime | None, end: datetime) -> exp.Expr:
        """Distinct days in the cohort's zone, from the zone's own offsets: one rule on every engine."""
        day = local_days(self.zone, start, end, self.dialect)
        first = None if start is None else local_day(start, self.zone)
        return self.dialect.distinct_days(day, first, local_day(end, self.zone))

    def weeks(self, start: datetime | None, end: datetime) -> exp.Expr:
        """Distinct weeks, from Monday to Sunday in the cohort's zone."""
        day = local_days(self.zone, start, end, self.dialect)
        week = self.dialect.divided(day + integer(TO_MONDAY), 7)
        return exp.Count(this=exp.Distinct(expressions=[week]))


def ordered(name: str, last: bool = False) -> exp.Order:
    return exp.Order(expressions=[exp.Ordered(this=exp.column(name), desc=last, nulls_first=not last)])


def one_if(held: exp.Expr) -> exp.Expr:
    return exp.case().when(held, integer(1)).else_(integer(0))


def against(amount: exp.Expr, compare: Compare) -> exp.Expr:
    return compared(amount, compare.op, [number_literal(value) for value in compare.values])
