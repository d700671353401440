"""From a definition to one query, by set operations: one set of users for each condition.

A condition is a set of users, or, when it holds for someone without events ("did not", "or never",
"is not"), the complement of one. Groups join sets by INTERSECT, UNION and EXCEPT, and complements by
De Morgan. What is a complement in the end needs to know all users.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlglot import exp

from cohorts.definitions import Definition
from cohorts.definitions.grammar import (
    All,
    AnyOf,
    Compare,
    Condition,
    Measure,
    Node,
    Not,
    Performed,
    Property,
    Sequence,
    Step,
    UserProperty,
    Value,
    conditions,
)
from cohorts.dialects import DAY, Compiled, Dialect, integer, text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Added to a time before it is divided into days: divisions of negative numbers differ between engines.
BIAS = 1_000_000 * DAY


def compile_members(definition: Definition, as_of: datetime, dialect: Dialect) -> Compiled:
    """Return the query for the definition's members as of an instant: sorted, distinct `user_id`.

    Raises MissingTable when the definition needs events or users that the dialect does not have.
    """
    compiler = Compiler(definition, as_of, dialect)
    users = compiler.users(definition.where)
    if users.complement:
        users = Users(minus(compiler.everyone(), users.query))
    ordered = exp.Ordered(this=dialect.ordered(exp.column("user_id")), nulls_first=True)
    query = compiler.with_shared(exp.select("user_id").from_(users.query.subquery("members")))
    return Compiled(query.order_by(ordered), dialect)


def compile_condition(
    condition: Condition, definition: Definition, as_of: datetime, dialect: Dialect
) -> Compiled:
    """Return the query of one condition's set; the condition is its complement if `is_complement`."""
    return Compiled(Compiler(definition, as_of, dialect).condition(condition), dialect)


def compile_facts(
    condition: Performed, definition: Definition, as_of: datetime, dialect: Dialect
) -> Compiled:
    """Return the query of the events that a condition counts: microseconds since 1970, `t`."""
    rows = Compiler(definition, as_of, dialect).counted(condition)
    return Compiled(rows.select(exp.alias_(dialect.micros(), "t")), dialect)


def is_complement(condition: Condition) -> bool:
    """Whether a condition holds for someone without events and properties."""
    if isinstance(condition, Performed):
        return condition.or_never
    return isinstance(condition, UserProperty) and condition.property.negative


@dataclass(frozen=True)
class Users:
    query: exp.Query
    complement: bool = False


def union(queries: list[exp.Query]) -> exp.Query:
    return join(exp.union, queries)


def intersection(queries: list[exp.Query]) -> exp.Query:
    return join(exp.intersect, queries)


def minus(left: exp.Query, right: exp.Query) -> exp.Query:
    return join(exp.except_, [left, right])


def join(operation: Callable[..., exp.Query], queries: list[exp.Query]) -> exp.Query:
    result = queries[0]
    for query in queries[1:]:
        result = operation(alone(result), alone(query), distinct=True, copy=False)
    return result


def alone(query: exp.Query) -> exp.Query:
    """A set operation as an operand: INTERSECT binds tighter than the others, so it gets brackets."""
    if isinstance(query, exp.SetOperation):
        return exp.select("user_id").from_(query.subquery("s"))
    return query


class Compiler:
    def __init__(self, definition: Definition, as_of: datetime, dialect: Dialect) -> None:
        self.as_of, self.zone, self.dialect = as_of, definition.zone, dialect
        all_conditions = list(conditions(definition.where))
        self.repeated = {c for c in all_conditions if all_conditions.count(c) > 1}
        self.shared: dict[Condition, exp.Query] = {}

    # --- The tree ---------------------------------------------------------------------------

    def users(self, node: Node) -> Users:
        if isinstance(node, Not):
            inner = self.users(node.node)
            return Users(inner.query, not inner.complement)
        if isinstance(node, (All, AnyOf)):
            return self.group([self.users(child) for child in node.nodes], isinstance(node, All))
        return Users(self.once(node, self.condition(node)), is_complement(node))

    def group(self, sets: list[Users], everything: bool) -> Users:
        """all: (∩ plain) − (∪ complemented). any: the complement of (∩ complemented) − (∪ plain)."""
        plain = [s.query for s in sets if not s.complement]
        complemented = [s.query for s in sets if s.complement]
        if everything:
            inside, outside, combined = plain, complemented, False
        else:
            inside, outside, combined = complemented, plain, True
        if not inside:
            return Users(union(outside), not combined)
        result = intersection(inside)
        return Users(minus(result, union(outside)) if outside else result, combined)

    def once(self, node: Condition, query: exp.Query) -> exp.Query:
        """A condition that stands more than once in the definition is computed once."""
        if node not in self.repeated:
            return query
        self.shared.setdefault(node, query)
        return exp.select("user_id").from_(f"shared{list(self.shared).index(node) + 1}")

    def with_shared(self, query: exp.Select) -> exp.Select:
        for number, shared in enumerate(self.shared.values(), start=1):
            query = query.with_(f"shared{number}", as_=shared)
        return query

    def everyone(self) -> exp.Query:
        """The users table, and whoever has an event before the instant."""
        known = self.dialect.known_users()
        if not self.dialect.has_events:
            return known
        active = self.ids(self.dialect.events().where(self.before(self.as_of))).distinct()
        return union([known, active])

    def condition(self, node: Condition) -> exp.Query:
        """The users for whom a condition holds; those for whom it does not, if it is a complement."""
        if isinstance(node, Performed):
            return self.performed(node)
        if isinstance(node, Sequence):
            return self.sequence(node)
        if isinstance(node, UserProperty):
            return self.user(node.property)
        return self.dialect.members(node.key)

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
        """A positive comparison; NULL or false when the property is missing or of another kind."""
        if prop.op == "is_set":
            return exp.not_(exp.Is(this=value, expression=exp.null()))
        if prop.op == "contains":
            return self.dialect.contains(value, str(prop.values[0]))
        if prop.op == "starts_with":
            return self.dialect.starts_with(value, str(prop.values[0]))
        operand = number if prop.type == "number" else value
        values = [literal(v) for v in prop.values]
        if prop.op == "in":
            return exp.In(this=operand, expressions=values)
        if prop.op != "=" and prop.type == "string":
            operand = self.dialect.ordered(operand)
        return compared(operand, prop.op, values)

    # --- Performed --------------------------------------------------------------------------

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

    def counted(self, node: Performed) -> exp.Select:
        """The events that a condition counts: a SELECT without columns."""
        start, end = node.window.bounds(self.as_of, self.zone)
        rows = self.dialect.events().where(*self.matching(node.events, node.where), self.before(end))
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
            return exp.Count(this=exp.Distinct(expressions=[self.dialect.event_text(measure.property)]))
        number = self.dialect.event_number(measure.property)
        if measure.kind in ("min", "max"):
            return exp.Min(this=number) if measure.kind == "min" else exp.Max(this=number)
        mean = exp.Sum(this=number) if measure.kind == "sum" else exp.Avg(this=number)
        return self.dialect.rounded(mean)

    def days(self, start: datetime | None, end: datetime) -> exp.Expr:
        """Distinct days in the cohort's zone, from the zone's own offsets: one rule on every engine."""
        day = self.dialect.divided(
            self.dialect.micros() + integer(BIAS) + offset(self.zone, start, end, self.dialect), DAY
        )
        first = None if start is None else local_day(start, self.zone)
        return self.dialect.distinct_days(day, first, local_day(end, self.zone))

    # --- Sequences --------------------------------------------------------------------------

    def sequence(self, node: Sequence) -> exp.Query:
        present = [step for step in node.steps if not step.absent]
        gaps = absent_after(node.steps)
        rows = self.moments(node, present, gaps)
        if not gaps[-1]:
            return self.arrived(rows, node, len(present), gaps)
        if len(present) == 1:
            return self.not_followed(rows, node)
        return self.arrived_and_stopped(rows, node, len(present), gaps)

    def moments(self, node: Sequence, present: list[Step], gaps: list[list[Step]]) -> exp.Select:
        """One row for each user and instant: which steps happened then (m1…), and which absent ones (x1…).

        Events of one instant are in one row, so that none of them is before or after another.
        """
        start, end = node.window.bounds(self.as_of, self.zone)
        within = node.within.delta if node.within else None
        rows = self.ids(self.dialect.events()).select(exp.alias_(self.dialect.micros(), "t"))
        first = [*self.matching(present[0].events, present[0].where), self.before(end)]
        flags: list[tuple[str, exp.Expr]] = [("m1", exp.and_(*first))]
        flags += [(f"m{i}", self.step([step])) for i, step in enumerate(present[1:], start=2)]
        flags += [(f"x{i}", self.step(steps)) for i, steps in enumerate(gaps, start=1) if steps]
        for name, flag in flags:
            happened = exp.case().when(flag, integer(1)).else_(integer(0))
            rows = rows.select(exp.alias_(exp.Max(this=happened), name))
        rows = rows.where(self.before(min(self.as_of, end + within) if within else self.as_of))
        if start:
            rows = rows.where(self.dialect.time() >= self.dialect.instant(start))
        if all(step.events for step in node.steps):
            rows = rows.where(*self.named({name for step in node.steps for name in step.events}))
        return rows.group_by(self.dialect.user_id(), self.dialect.micros())

    def step(self, steps: list[Step]) -> exp.Expr:
        found = [exp.and_(*self.matching(s.events, s.where) or [exp.true()]) for s in steps]
        return exp.or_(*found)

    def arrived(self, rows: exp.Query, node: Sequence, steps: int, gaps: list[list[Step]]) -> exp.Query:
        """Users with an instant at which the last step is reached, and in time.

        s2, s3… hold the latest beginning from which a step is reached at this instant. The latest one
        is enough: a later beginning can only be nearer.
        """
        rows = climb(rows, steps, gaps, ["user_id"])
        reached = column(f"s{steps}")
        query = exp.select("user_id").from_(rows.subquery("r")).where(present_(reached))
        if node.within:
            query = query.where(column("t") - reached < integer(micros_of(node.within.delta)))
        return query.distinct()

    def not_followed(self, rows: exp.Query, node: Sequence) -> exp.Query:
        """ "A, then no B": users with an A whose time is over before the next B."""
        assert node.within is not None
        following = exp.case().when(column("x1").eq(1), column("t"))
        after = over(exp.Min(this=following), ["user_id"], following=True)
        rows = exp.select("*", exp.alias_(after, "next")).from_(rows.subquery("m"))
        over_at = column("t") + integer(micros_of(node.within.delta))
        return (
            exp.select("user_id")
            .from_(rows.subquery("r"))
            .where(column("m1").eq(1), over_at <= integer(micros_of(self.as_of - EPOCH)))
            .where(
                exp.or_(exp.Is(this=column("next"), expression=exp.null()), column("next") >= over_at.copy())
            )
            .distinct()
        )

    def arrived_and_stopped(
        self, rows: exp.Query, node: Sequence, steps: int, gaps: list[list[Step]]
    ) -> exp.Query:
        """ "A, then B, then no C": each beginning has a time of its own in which C must not happen.

        So each beginning is followed separately, through the instants of its time only.
        """
        assert node.within is not None
        within = integer(micros_of(node.within.delta))
        as_of = integer(micros_of(self.as_of - EPOCH))
        begun = (
            exp.select(exp.alias_(column("user_id"), "begun_by"), exp.alias_(column("t"), "begun"))
            .from_(rows.subquery("m"))
            .where(column("m1").eq(1), column("t") + within <= as_of)
        )
        first = exp.case().when(column("t").eq(column("begun")), integer(1)).else_(integer(0))
        others = [column(name) for name in flag_names(steps, gaps)[1:]]
        followed = (
            exp.select("user_id", "begun", "t", exp.alias_(first, "m1"), *others)
            .from_(begun.subquery("b"))
            .join(rows.copy().subquery("n"), on=column("begun_by").eq(column("user_id")))
            .where(column("t") >= column("begun"), column("t") < column("begun") + within.copy())
        )
        climbed = climb(followed, steps, gaps, ["user_id", "begun"])
        reached = exp.Max(this=exp.case().when(present_(column(f"s{steps}")), column("t")))
        stopped = exp.Max(this=exp.case().when(column(f"x{steps}").eq(1), column("t")))
        ends = (
            exp.select("user_id", exp.alias_(reached, "reached"), exp.alias_(stopped, "stopped"))
            .from_(climbed.subquery("r"))
            .group_by("user_id", "begun")
        )
        never = exp.Is(this=column("stopped"), expression=exp.null())
        return (
            exp.select("user_id")
            .from_(ends.subquery("e"))
            .where(present_(column("reached")), exp.or_(never, column("stopped") <= column("reached")))
            .distinct()
        )


def column(name: str) -> exp.Column:
    return exp.column(name)


def present_(value: exp.Expr) -> exp.Expr:
    return exp.not_(exp.Is(this=value.copy(), expression=exp.null()))


def micros_of(delta: timedelta) -> int:
    return delta // timedelta(microseconds=1)


def literal(value: Value) -> exp.Expr:
    if isinstance(value, bool):
        return text("true" if value else "false")
    return text(value) if isinstance(value, str) else number_literal(value)


def number_literal(value: int | float) -> exp.Expr:
    shown = exp.Literal.number(repr(abs(value)))
    return exp.Neg(this=shown) if value < 0 else shown


def compared(left: exp.Expr, op: str, values: list[exp.Expr]) -> exp.Expr:
    if op == "between":
        return exp.Between(this=left, low=values[0], high=values[1])
    kinds = {"=": exp.EQ, ">": exp.GT, ">=": exp.GTE, "<": exp.LT, "<=": exp.LTE}
    return kinds[op](this=left, expression=values[0])


def against(amount: exp.Expr, compare: Compare) -> exp.Expr:
    return compared(amount, compare.op, [number_literal(value) for value in compare.values])


def absent_after(steps: tuple[Step, ...]) -> list[list[Step]]:
    """For each present step, the absent ones that stand between it and the next."""
    gaps: list[list[Step]] = []
    for step in steps:
        if step.absent:
            gaps[-1].append(step)
        else:
            gaps.append([])
    return gaps


def flag_names(steps: int, gaps: list[list[Step]]) -> list[str]:
    absent = [f"x{i}" for i, gap in enumerate(gaps, start=1) if gap]
    return [f"m{i}" for i in range(1, steps + 1)] + absent


def over(value: exp.Expr, partition: list[str], following: bool = False) -> exp.Window:
    """The value over the rows strictly before this one, or strictly after; rows have distinct times."""
    one, open_end = integer(1), "UNBOUNDED"
    ends = (
        (one, "FOLLOWING", open_end, "FOLLOWING") if following else (open_end, "PRECEDING", one, "PRECEDING")
    )
    spec = exp.WindowSpec(kind="ROWS", start=ends[0], start_side=ends[1], end=ends[2], end_side=ends[3])
    order = exp.Order(expressions=[exp.Ordered(this=column("t"), nulls_first=True)])
    return exp.Window(this=value, partition_by=[column(name) for name in partition], order=order, spec=spec)


def climb(rows: exp.Query, steps: int, gaps: list[list[Step]], partition: list[str]) -> exp.Query:
    """Add s1…: at this instant, the latest beginning from which step i is reached; NULL if it is not.

    A step is reached from the latest earlier instant at which the one before it was, unless what must
    be absent between the two happened since.
    """
    first = exp.case().when(column("m1").eq(1), column("t"))
    rows = exp.select("*", exp.alias_(first, "s1")).from_(rows.subquery("m"))
    for i in range(1, steps):
        begun = over(exp.Max(this=column(f"s{i}")), partition)
        looked = exp.select("*", exp.alias_(begun, f"b{i}")).from_(rows.subquery(f"r{i}"))
        reached = [column(f"m{i + 1}").eq(1), present_(column(f"b{i}"))]
        if gaps[i - 1]:
            at = exp.case().when(present_(column(f"s{i}")), column("t"))
            broken = exp.case().when(column(f"x{i}").eq(1), column("t"))
            looked = looked.select(exp.alias_(over(exp.Max(this=at), partition), f"a{i}"))
            looked = looked.select(exp.alias_(over(exp.Max(this=broken), partition), f"y{i}"))
            unbroken = exp.Is(this=column(f"y{i}"), expression=exp.null())
            reached.append(exp.or_(unbroken, column(f"a{i}") >= column(f"y{i}")))
        next_ = exp.case().when(exp.and_(*reached), column(f"b{i}"))
        rows = exp.select("*", exp.alias_(next_, f"s{i + 1}")).from_(looked.subquery(f"l{i}"))
    return rows


# --- Time zones -----------------------------------------------------------------------------


@lru_cache(maxsize=256)
def changes(zone: ZoneInfo, first: datetime, last: datetime) -> list[tuple[datetime, timedelta]]:
    """Return the instants of (first, last] at which the zone's offset changes, with the new offset."""
    found: list[tuple[datetime, timedelta]] = []
    day, offset_before = first, zone.utcoffset(first.astimezone(zone))
    while day < last:
        next_day = min(day + timedelta(days=1), last)
        offset_after = next_day.astimezone(zone).utcoffset()
        if offset_after != offset_before and offset_after is not None:
            found.append((instant_of_change(zone, day, next_day), offset_after))
            offset_before = offset_after
        day = next_day
    return found


def instant_of_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Halve the interval until its ends are a second apart: clocks change on whole seconds."""
    low = low.replace(microsecond=0)
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def local_day(moment: datetime, zone: ZoneInfo) -> int:
    """The number of a local day, as the compiled division numbers it."""
    local = moment.astimezone(zone).replace(tzinfo=UTC)
    return (micros_of(local - EPOCH) + BIAS) // DAY


def offset(zone: ZoneInfo, start: datetime | None, end: datetime, dialect: Dialect) -> exp.Expr:
    """The zone's offset at an event's time, in microseconds: newest first, where most events are."""
    first = start or EPOCH
    at_first = first.astimezone(zone).utcoffset() or timedelta()
    # Whole days, so that the list is computed once a day and not once a refresh.
    low, high = first.replace(hour=0, minute=0, second=0, microsecond=0), end + timedelta(days=1)
    high = high.replace(hour=0, minute=0, second=0, microsecond=0)
    found = [(when, by) for when, by in changes(zone, low, high) if first < when < end]
    if not found:
        return integer(micros_of(at_first))
    cases = exp.case()
    for when, by in reversed(found):
        cases = cases.when(dialect.time() >= dialect.instant(when), integer(micros_of(by)))
    return exp.paren(cases.else_(integer(micros_of(at_first))))
