"""Sequences of steps: a row for each user and instant, and window functions that climb the steps."""

from sqlglot import exp

from cohorts.conditions import Conditions
from cohorts.definitions.grammar import Sequence, Step
from cohorts.dialects import integer
from cohorts.properties import is_present
from cohorts.zones import EPOCH, micros_of


class SequenceQuery:
    """The users who went through one sequence."""

    def __init__(self, node: Sequence, on: Conditions) -> None:
        self.node, self.on, self.dialect = node, on, on.dialect
        self.present = [step for step in node.steps if not step.absent]
        self.gaps = absent_after(node.steps)
        # What one chain of steps has in common.
        self.keys = ["user_id", "k"] if node.same else ["user_id"]

    @property
    def within(self) -> int:
        """In microseconds; the parser sees to it that a sequence that is asked for it has one."""
        assert self.node.within is not None
        return micros_of(self.node.within.delta)

    def query(self) -> exp.Query:
        rows = self.moments()
        if not self.gaps[-1]:
            return self.arrived(rows)
        return self.not_followed(rows) if len(self.present) == 1 else self.arrived_and_stopped(rows)

    def moments(self) -> exp.Select:
        """One row for each user and instant: which steps happened then (m1…), and which absent ones (x1…).

        Events of one instant are in one row, so that none of them is before or after another.
        """
        on, present = self.on, self.present
        start, end = self.node.window.bounds(on.as_of, on.zone)
        within = self.node.within.delta if self.node.within else None
        rows = on.ids(on.events()).select(exp.alias_(self.dialect.micros(), "t"))
        first = [*on.matching(present[0].events, present[0].where), on.before(end)]
        flags: list[tuple[str, exp.Expr]] = [("m1", exp.and_(*first))]
        flags += [(f"m{i}", self.step([step])) for i, step in enumerate(present[1:], start=2)]
        flags += [(f"x{i}", self.step(steps)) for i, steps in enumerate(self.gaps, start=1) if steps]
        for name, flag in flags:
            happened = exp.case().when(flag, integer(1)).else_(integer(0))
            rows = rows.select(exp.alias_(exp.Max(this=happened), name))
        rows = rows.where(on.before(min(on.as_of, end + within) if within else on.as_of))
        if start:
            rows = rows.where(self.dialect.time() >= self.dialect.instant(start))
        if all(step.events for step in self.node.steps):
            rows = rows.where(*on.named({name for step in self.node.steps for name in step.events}))
        if self.node.same:
            same = on.same(self.node.same)
            rows = rows.select(exp.alias_(same, "k")).where(is_present(same))
            return rows.group_by(self.dialect.user_id(), same.copy(), self.dialect.micros())
        return rows.group_by(self.dialect.user_id(), self.dialect.micros())

    def step(self, steps: list[Step]) -> exp.Expr:
        found = [exp.and_(*self.on.matching(s.events, s.where) or [exp.true()]) for s in steps]
        return exp.or_(*found)

    def arrived(self, rows: exp.Query) -> exp.Query:
        """Users with an instant at which the last step is reached, and in time.

        s2, s3… hold the latest beginning from which a step is reached at this instant. The latest one
        is enough: a later beginning can only be nearer.
        """
        rows = climb(rows, self.present, self.gaps, self.keys)
        reached = column(f"s{len(self.present)}")
        query = exp.select("user_id").from_(rows.subquery("r")).where(is_present(reached))
        if self.node.within:
            query = query.where(column("t") - reached < integer(self.within))
        return query.distinct()

    def not_followed(self, rows: exp.Query) -> exp.Query:
        """ "A, then no B": users with an A whose time is over before the next B."""
        following = exp.case().when(column("x1").eq(1), column("t"))
        after = over(exp.Min(this=following), self.keys, following=True)
        rows = exp.select("*", exp.alias_(after, "next")).from_(rows.subquery("m"))
        over_at = column("t") + integer(self.within)
        return (
            exp.select("user_id")
            .from_(rows.subquery("r"))
            .where(column("m1").eq(1), over_at <= integer(micros_of(self.on.as_of - EPOCH)))
            .where(
                exp.or_(exp.Is(this=column("next"), expression=exp.null()), column("next") >= over_at.copy())
            )
            .distinct()
        )

    def arrived_and_stopped(self, rows: exp.Query) -> exp.Query:
        """ "A, then B, then no C": each beginning has a time of its own in which C must not happen.

        So each beginning is followed separately, through the instants of its time only.
        """
        steps, gaps, within = len(self.present), self.gaps, integer(self.within)
        as_of = integer(micros_of(self.on.as_of - EPOCH))
        begun = (
            exp.select(
                exp.alias_(column("t"), "begun"), *(exp.alias_(column(k), f"begun_{k}") for k in self.keys)
            )
            .from_(rows.subquery("m"))
            .where(column("m1").eq(1), column("t") + within <= as_of)
        )
        first = exp.case().when(column("t").eq(column("begun")), integer(1)).else_(integer(0))
        others = [column(name) for name in flag_names(steps, gaps)[1:]]
        together = [column(f"begun_{key}").eq(column(key)) for key in self.keys]
        followed = (
            exp.select(*self.keys, "begun", "t", exp.alias_(first, "m1"), *others)
            .from_(begun.subquery("b"))
            .join(rows.copy().subquery("n"), on=exp.and_(*together))
            .where(column("t") >= column("begun"), column("t") < column("begun") + within.copy())
        )
        climbed = climb(followed, self.present, gaps, [*self.keys, "begun"])
        reached = exp.Max(this=exp.case().when(is_present(column(f"s{steps}")), column("t")))
        stopped = exp.Max(this=exp.case().when(column(f"x{steps}").eq(1), column("t")))
        ends = (
            exp.select("user_id", exp.alias_(reached, "reached"), exp.alias_(stopped, "stopped"))
            .from_(climbed.subquery("r"))
            .group_by(*self.keys, "begun")
        )
        never = exp.Is(this=column("stopped"), expression=exp.null())
        return (
            exp.select("user_id")
            .from_(ends.subquery("e"))
            .where(is_present(column("reached")), exp.or_(never, column("stopped") <= column("reached")))
            .distinct()
        )


def column(name: str) -> exp.Column:
    return exp.column(name)


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


def climb(rows: exp.Query, present: list[Step], gaps: list[list[Step]], partition: list[str]) -> exp.Query:
    """Add s1…: at this instant, the latest beginning from which step i is reached; NULL if it is not.

    A step is reached from the latest earlier instant at which the one before it was, unless what must
    be absent between the two happened since.
    """
    first = exp.case().when(column("m1").eq(1), column("t"))
    rows = exp.select("*", exp.alias_(first, "s1")).from_(rows.subquery("m"))
    for i, step in enumerate(present[1:], start=1):
        begun = over(exp.Max(this=column(f"s{i}")), partition)
        looked = exp.select("*", exp.alias_(begun, f"b{i}")).from_(rows.subquery(f"r{i}"))
        reached = [column(f"m{i + 1}").eq(1), is_present(column(f"b{i}"))]
        if gaps[i - 1] or step.within:
            # The latest time that the step before was reached: it has the latest beginning, too.
            at = exp.case().when(is_present(column(f"s{i}")), column("t"))
            looked = looked.select(exp.alias_(over(exp.Max(this=at), partition), f"a{i}"))
        if gaps[i - 1]:
            broken = exp.case().when(column(f"x{i}").eq(1), column("t"))
            looked = looked.select(exp.alias_(over(exp.Max(this=broken), partition), f"y{i}"))
            unbroken = exp.Is(this=column(f"y{i}"), expression=exp.null())
            reached.append(exp.or_(unbroken, column(f"a{i}") >= column(f"y{i}")))
        if step.within:
            reached.append(column("t") - column(f"a{i}") < integer(micros_of(step.within.delta)))
        next_ = exp.case().when(exp.and_(*reached), column(f"b{i}"))
        rows = exp.select("*", exp.alias_(next_, f"s{i + 1}")).from_(looked.subquery(f"l{i}"))
    return rows
