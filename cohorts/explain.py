"""Why a user is in a cohort, or is not: each condition with its truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlglot import exp

from cohorts.behavioral import Source
from cohorts.compile import compile_condition, compile_facts, compile_members, is_complement
from cohorts.definitions import Definition
from cohorts.definitions.grammar import All, AnyOf, Condition, Node, Not, Performed
from cohorts.definitions.sentence import phrase
from cohorts.dialects import Compiled, Dialect
from cohorts.zones import EPOCH
from events.engine import Limits
from events.store import DEFAULT_WORKSPACE


@dataclass(frozen=True)
class Explained:
    """A node with its truth for one user. `text` follows "Users who"; `facts` says what was found.

    `group` is "all", "any" or "not" for a group, whose `parts` follow; empty for a condition.
    """

    text: str
    true: bool
    facts: str = ""
    group: str = ""
    parts: "tuple[Explained, ...]" = ()


@dataclass(frozen=True)
class Explanation:
    """`member` is the answer of the cohort's own query. It is false although `root` is true for an id that
    nobody has: "did not" holds for everybody, and members are only people who are known."""

    user_id: str
    member: bool
    root: Explained


def explain(
    definition: Definition,
    user_id: str,
    as_of: datetime,
    *,
    in_cohort: Callable[[str], bool],
    limits: Limits | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> Explanation:
    """Explain one user's membership as of an instant. `in_cohort` says whether a cohort, by key, has the
    user. Raises as `behavioral.members` does."""
    source = Source.configured(workspace, definition, user_id)
    cohorts = {name: [user_id] if in_cohort(key) else [] for key, name in source.relations.items()}
    questions = list(dict.fromkeys(definition.conditions()))
    compiled = compile_explanation(definition, questions, as_of, source.dialect)
    rows = source.database.rows(compiled.sql, cohorts, limits or Limits.configured(), source.temp)
    answers = {int(number): (int(found), last) for number, found, last in rows}
    truths = {
        condition: Explained(
            phrase(condition),
            bool(answers[2 * number + 1][0]) != is_complement(condition),
            facts(condition, *answers.get(2 * number + 2, (0, None))),
        )
        for number, condition in enumerate(questions)
    }
    return Explanation(user_id, bool(answers[0][0]), explained(definition.where, truths))


def compile_explanation(
    definition: Definition, questions: list[Condition], as_of: datetime, dialect: Dialect
) -> Compiled:
    """One query for all answers, as rows of (number, how many, microseconds of the last): 0 is the
    membership, 2n + 1 the set of condition n, 2n + 2 the events that it counts."""
    asked: list[exp.Query] = [answer(0, compile_members(definition, as_of, dialect).query)]
    for number, condition in enumerate(questions):
        asked.append(answer(2 * number + 1, compile_condition(condition, definition, as_of, dialect).query))
        if isinstance(condition, Performed):
            counted = compile_facts(condition, definition, as_of, dialect).query
            asked.append(answer(2 * number + 2, counted, exp.Max(this=exp.column("t"))))
    return Compiled(union_of(asked), dialect)


def union_of(asked: Sequence[exp.Query]) -> exp.Query:
    """Return one query for the rows of all."""
    return exp.union(*asked, distinct=False) if len(asked) > 1 else asked[0]


def answer(number: int, query: exp.Query, last: exp.Expr | None = None) -> exp.Select:
    return exp.select(
        exp.alias_(exp.Literal.number(number), "number"),
        exp.alias_(exp.Count(this=exp.Star()), "found"),
        exp.alias_(last or exp.cast(exp.null(), "BIGINT"), "last"),
    ).from_(query.subquery(f"q{number}"))


def facts(condition: Condition, found: int, last: Any) -> str:
    """For "performed": how often in its window, and when last."""
    if not isinstance(condition, Performed):
        return ""
    if not found:
        return "not once"
    moment = EPOCH + timedelta(microseconds=int(last))
    return f"{found:,} {'time' if found == 1 else 'times'}, last on {moment:%Y-%m-%d %H:%M:%S} UTC"


def explained(node: Node, truths: Mapping[Condition, Explained]) -> Explained:
    if isinstance(node, Not):
        part = explained(node.node, truths)
        return Explained(phrase(node), not part.true, group="not", parts=(part,))
    if isinstance(node, (All, AnyOf)):
        parts = tuple(explained(child, truths) for child in node.nodes)
        every = isinstance(node, All)
        true = (all if every else any)(part.true for part in parts)
        return Explained(phrase(node), true, group="all" if every else "any", parts=parts)
    return truths[node]
