"""From a definition to one query, by set operations: one set of users for each condition.

A condition is a set of users, or, when it holds for someone without events ("did not", "or never",
"is not"), the complement of one. Groups join sets by INTERSECT, UNION and EXCEPT, and complements by
De Morgan. What is a complement in the end needs to know all users.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlglot import exp

from cohorts.conditions import Conditions
from cohorts.definitions import Definition
from cohorts.definitions.grammar import (
    All,
    AnyOf,
    Condition,
    Node,
    Not,
    Performed,
    Sequence,
    UserProperty,
    conditions,
)
from cohorts.dialects import Compiled, Dialect
from cohorts.sequences import SequenceQuery


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
        users = Users(minus(compiler.everyone(), users.query))
    ordered = exp.Ordered(this=dialect.ordered(exp.column("user_id")), nulls_first=True)
    query = compiler.with_shared(exp.select("user_id").from_(users.query.subquery("members")))
    return Compiled(query.order_by(ordered), dialect)


def compile_condition(
    condition: Condition, definition: Definition, as_of: datetime, dialect: Dialect
) -> Compiled:
    """Return the query of one condition's set; the condition is its complement if `is_complement`."""
    return Compiled(Compiler(definition, as_of, dialect, {}).condition(condition), dialect)


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
    def __init__(
        self,
        definition: Definition,
        as_of: datetime,
        dialect: Dialect,
        computed: Mapping[Condition, exp.Query],
    ) -> None:
        self.as_of, self.dialect, self.computed = as_of, dialect, computed
        self.on = Conditions(dialect, as_of, definition.zone)
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
        active = self.on.ids(self.dialect.events().where(self.on.before(self.as_of))).distinct()
        return union([known, active])

    def condition(self, node: Condition) -> exp.Query:
        """The users for whom a condition holds; those for whom it does not, if it is a complement."""
        if node in self.computed:
            return self.computed[node].copy()
        if isinstance(node, Performed):
            return self.on.performed(node)
        if isinstance(node, Sequence):
            return SequenceQuery(node, self.on).query()
        if isinstance(node, UserProperty):
            return self.on.user(node.property)
        return self.dialect.members(node.key)
