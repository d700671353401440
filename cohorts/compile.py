"""From a definition to one query, by set operations: one set of users for each condition.

A condition is a set of users, or, when it holds for someone without events ("did not", "or never",
"is not"), the complement of one. Groups join sets by INTERSECT, UNION and EXCEPT (semi and anti joins where
an engine is faster so), and complements by De Morgan. What is a complement in the end needs to know all
users.

What `all` joins need not be computed for everybody: conditions on frequent events count only the users of
the one on the rarest, where the engine knows how frequent events are.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlglot import exp

from cohorts.conditions import Conditions
from cohorts.definitions import Definition
from cohorts.definitions.grammar import (
    All,
    AnyOf,
    Condition,
    More,
    Node,
    Not,
    Performed,
    Sample,
    Sequence,
    UserProperty,
    conditions,
)
from cohorts.dialects import Compiled, Dialect, integer, text
from cohorts.sequences import SequenceQuery
from events.engine_errors import MissingTable


def compile_members(
    definition: Definition,
    as_of: datetime,
    dialect: Dialect,
    computed: Mapping[Condition, exp.Query] | None = None,
) -> Compiled:
    """Return the query for the definition's members as of an instant: sorted, distinct `user_id`.

    `computed` gives the sets of conditions that need not be computed again. Raises MissingTable when the
    definition needs events or users that the dialect does not have.
    """
    compiler = Compiler(definition, as_of, dialect, computed or {})
    users = compiler.users(definition.where)
    if users.complement:
        users = Users(compiler.minus([compiler.everyone(), users.query]))
    ordered = exp.Ordered(this=dialect.ordered(exp.column("user_id")), nulls_first=True)
    query = compiler.with_shared(exp.select("user_id").from_(users.query.subquery("members")))
    return Compiled(query.order_by(ordered), dialect)


def compile_condition(
    condition: Condition, definition: Definition, as_of: datetime, dialect: Dialect
) -> Compiled:
    """Return the query of one condition's set; the condition is its complement if `is_complement`."""
    return Compiled(Compiler(definition, as_of, dialect, {}).condition(condition), dialect)


def compile_everyone(definition: Definition, as_of: datetime, dialect: Dialect) -> Compiled:
    """Return the query of all who are known as of an instant; without a table of users, by their events."""
    compiler = Compiler(definition, as_of, dialect, {})
    try:
        return Compiled(compiler.everyone(), dialect)
    except MissingTable:
        return Compiled(compiler.without_users(), dialect)


def compile_facts(
    condition: Performed, definition: Definition, as_of: datetime, dialect: Dialect
) -> Compiled:
    """Return the query of the events that a condition counts: microseconds since 1970, `t`."""
    rows = Conditions(dialect, as_of, definition.zone).counted(condition)
    return Compiled(rows.select(exp.alias_(dialect.micros(), "t")), dialect)


def is_complement(condition: Condition) -> bool:
    """Whether a condition holds for someone without events and properties."""
    if isinstance(condition, Performed):
        return condition.or_never
    return isinstance(condition, UserProperty) and condition.property.negative


def is_sample(node: Node) -> bool:
    while isinstance(node, Not):
        node = node.node
    return isinstance(node, Sample)


@dataclass(frozen=True)
class Users:
    """A query of distinct ids."""

    query: exp.Query
    complement: bool = False


def union(queries: list[exp.Query]) -> exp.Query:
    return join(exp.union, queries)


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


def filtered(kind: str, queries: list[exp.Query]) -> exp.Query:
    """The ids of the first set that are in each of the others ("semi"), or in none of them ("anti").

    As INTERSECT and EXCEPT, which would make ids distinct once more.
    """
    result = exp.select("user_id").from_(queries[0].subquery("s"))
    for number, query in enumerate(queries[1:], start=1):
        result = result.join(query.subquery(f"s{number}"), join_type=kind, using=["user_id"])
    return result


@dataclass(frozen=True)
class Among:
    """Users outside of this set cannot be members; `rows` events made it."""

    users: exp.Query
    rows: int


class Compiler:
    def __init__(
        self,
        definition: Definition,
        as_of: datetime,
        dialect: Dialect,
        computed: Mapping[Condition, exp.Query],
    ) -> None:
        self.as_of, self.dialect, self.computed = as_of, dialect, computed
        self.on = Conditions(dialect, as_of, definition.zone)
        self.cohort_keys = sorted(definition.cohort_keys())
        all_conditions = list(conditions(definition.where))
        self.repeated = {c for c in all_conditions if all_conditions.count(c) > 1}
        self.shared: dict[Condition, exp.Query] = {}
        self.among: Among | None = None

    # --- The tree ---------------------------------------------------------------------------

    def users(self, node: Node) -> Users:
        if isinstance(node, Not):
            inner = self.users(node.node)
            return Users(inner.query, not inner.complement)
        if isinstance(node, All):
            return self.all_of(node)
        if isinstance(node, AnyOf):
            return self.group([self.users(child) for child in node.nodes], False)
        return Users(self.once(node, self.condition(node)), is_complement(node))

    def all_of(self, node: All) -> Users:
        """A sample is not a set that is joined: it is asked of each user of the others."""
        samples = [child for child in node.nodes if is_sample(child)]
        others = All(tuple(child for child in node.nodes if not is_sample(child)))
        if not others.nodes:
            return self.group([self.users(child) for child in node.nodes], True)
        with self.narrowed(others):
            found = self.group([self.users(child) for child in others.nodes], True)
        if not samples:
            return found
        inside = self.minus([self.everyone(), found.query]) if found.complement else found.query
        asked = [self.sampled(child, exp.column("user_id")) for child in samples]
        return Users(exp.select("user_id").from_(inside.subquery("o")).where(*asked))

    def sampled(self, node: Node, user_id: exp.Expr) -> exp.Expr:
        if isinstance(node, Not):
            return exp.not_(self.sampled(node.node, user_id))
        assert isinstance(node, Sample)
        hashed = self.dialect.hashed(self.dialect.concatenated(text(f"{node.salt}:"), user_id))
        digits = exp.Substring(this=hashed, start=integer(1), length=integer(8))
        return self.dialect.ordered(digits) < text(node.below)

    def sample(self, node: Sample) -> exp.Query:
        """Of everybody; of the one user whom an explanation is about, without asking who there is."""
        if self.dialect.user is None:
            users: exp.Query = self.everyone()
        else:
            users = exp.select(exp.alias_(text(self.dialect.user), "user_id"))
        asked = self.sampled(node, exp.column("user_id"))
        return exp.select("user_id").from_(users.subquery("o")).where(asked)

    @contextmanager
    def narrowed(self, node: All) -> Iterator[None]:
        """Compute the condition on the rarest events first, and those on more events among its users."""
        plain = [c for c in node.nodes if isinstance(c, Performed) and not is_complement(c)]
        rows = {c: self.rows(c) for c in plain}
        base = min(rows, key=lambda c: rows[c], default=None)
        if self.among or base is None or all(self.rows(c) <= rows[base] for c in conditions(node)):
            yield
            return
        self.repeated.add(base)
        self.among = Among(self.once(base, self.condition(base)), rows[base])
        yield
        self.among = None

    def rows(self, condition: Condition) -> int:
        """Roughly how many events a condition reads; 0 when that is not known."""
        if isinstance(condition, Performed):
            return self.dialect.rows(condition.events)
        if isinstance(condition, Sequence):
            return sum(self.dialect.rows(step.events) for step in condition.steps)
        if isinstance(condition, More):
            return self.dialect.rows(condition.first.events) + self.dialect.rows(condition.second.events)
        return 0

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
        result = self.intersection(inside)
        return Users(self.minus([result, *outside]) if outside else result, combined)

    def intersection(self, queries: list[exp.Query]) -> exp.Query:
        if self.dialect.semi_joins and len(queries) > 1:
            return filtered("semi", queries)
        return join(exp.intersect, queries)

    def minus(self, queries: list[exp.Query]) -> exp.Query:
        return filtered("anti", queries) if self.dialect.semi_joins else join(exp.except_, queries)

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
        """The users table, whoever has an event before the instant, and who is in a cohort that is named."""
        known: list[exp.Query] = [self.dialect.known_users().distinct()]
        if self.dialect.has_events:
            known.append(self.with_events())
        return union([*known, *map(self.dialect.members, self.cohort_keys)])

    def without_users(self) -> exp.Query:
        return union([self.with_events(), *map(self.dialect.members, self.cohort_keys)])

    def with_events(self) -> exp.Query:
        return self.on.ids(self.dialect.events().where(self.on.before(self.as_of))).distinct()

    def condition(self, node: Condition) -> exp.Query:
        """The users for whom a condition holds; those for whom it does not, if it is a complement."""
        if node in self.computed:
            return self.computed[node].copy()
        on = self.on
        if self.among and node not in self.repeated and self.rows(node) > self.among.rows:
            on = on.narrowed(self.among.users)
        if isinstance(node, Performed):
            return on.performed(node)
        if isinstance(node, Sequence):
            return SequenceQuery(node, on).query()
        if isinstance(node, More):
            return on.more(node)
        if isinstance(node, Sample):
            return self.sample(node)
        if isinstance(node, UserProperty):
            return self.on.user(node.property)
        return self.dialect.members(node.key)
