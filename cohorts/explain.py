"""Why a user is in a cohort, or is not: each condition with its truth."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cohorts.behavioral import Source
from cohorts.compile import EPOCH, compile_condition, compile_facts, compile_members
from cohorts.definitions import Definition
from cohorts.definitions.grammar import All, AnyOf, Condition, Node, Not, Performed
from cohorts.definitions.sentence import phrase
from cohorts.dialects import Compiled
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
    explainer = Explainer(definition, user_id, as_of, in_cohort, limits or Limits.configured(), source)
    member = explainer.run(compile_members(definition, as_of, source.dialect))
    return Explanation(user_id, bool(member), explainer.node(definition.where))


class Explainer:
    def __init__(
        self,
        definition: Definition,
        user_id: str,
        as_of: datetime,
        in_cohort: Callable[[str], bool],
        limits: Limits,
        source: Source,
    ) -> None:
        self.definition, self.as_of, self.limits, self.source = definition, as_of, limits, source
        self.cohorts = {name: [user_id] if in_cohort(key) else [] for key, name in source.relations.items()}

    def node(self, node: Node) -> Explained:
        if isinstance(node, Not):
            part = self.node(node.node)
            return Explained(phrase(node), not part.true, group="not", parts=(part,))
        if isinstance(node, (All, AnyOf)):
            parts = tuple(self.node(child) for child in node.nodes)
            truths = [part.true for part in parts]
            if isinstance(node, All):
                return Explained(phrase(node), all(truths), group="all", parts=parts)
            return Explained(phrase(node), any(truths), group="any", parts=parts)
        return Explained(phrase(node), self.holds(node), self.facts(node))

    def holds(self, condition: Condition) -> bool:
        compiled, complement = compile_condition(condition, self.definition, self.as_of, self.source.dialect)
        return bool(self.run(compiled)) != complement

    def facts(self, condition: Condition) -> str:
        """For "performed": how often in its window, and when last."""
        if not isinstance(condition, Performed):
            return ""
        [(count, last)] = self.run(compile_facts(condition, self.definition, self.as_of, self.source.dialect))
        if not int(count):
            return "not once"
        moment = EPOCH + timedelta(microseconds=int(last))
        return (
            f"{int(count):,} {'time' if int(count) == 1 else 'times'}, last on {moment:%Y-%m-%d %H:%M:%S} UTC"
        )

    def run(self, compiled: Compiled) -> list[tuple[Any, ...]]:
        return list(self.source.database.rows(compiled.sql, self.cohorts, self.limits, self.source.temp))
