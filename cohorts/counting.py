"""How many people pass each condition of a definition, and how many are left: numbers for the form."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cohorts.behavioral import Cohorts, Source
from cohorts.compile import compile_condition, compile_everyone, compile_members, is_complement
from cohorts.definitions import parse
from cohorts.dialects import Compiled
from cohorts.explain import answer, union_of
from events.engine import Limits
from events.store import DEFAULT_WORKSPACE


@dataclass(frozen=True)
class Counts:
    """`everyone`: who is known at all. `conditions`: how many pass each, by JSON pointer, "not" included."""

    everyone: int
    size: int
    conditions: dict[str, int]


def counts(
    value: Any,
    as_of: datetime,
    *,
    cohorts: Cohorts,
    limits: Limits | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> Counts:
    """Count, by one query, who passes a definition (as JSON) and each of its conditions, as of an instant.

    Raises DefinitionError, and as `behavioral.members` does.
    """
    definition = parse(value)
    source = Source.configured(workspace, definition)
    questions = list(dict.fromkeys(definition.conditions()))
    sets = [compile_condition(one, definition, as_of, source.dialect).query for one in questions]
    whole = [
        compile_members(definition, as_of, source.dialect),
        compile_everyone(definition, as_of, source.dialect),
    ]
    asked = [answer(number, query) for number, query in enumerate([*(one.query for one in whole), *sets])]
    compiled = Compiled(union_of(asked), source.dialect)
    relations = {source.relations[key]: cohorts(key) for key in sorted(definition.cohort_keys())}
    rows = source.database.rows(compiled.sql, relations, limits or Limits.configured(), source.temp)
    found = {int(number): int(count) for number, count, _ in rows}
    size, everyone = found[0], found[1]
    passed = {}
    for (pointer, nots), condition in zip(
        leaves(value["where"], "/where"), definition.conditions(), strict=True
    ):
        held = found[2 + questions.index(condition)]
        outside = is_complement(condition) != bool(nots % 2)
        passed[pointer] = max(0, everyone - held) if outside else held
    return Counts(everyone, size, passed)


def leaves(node: Any, pointer: str) -> Iterator[tuple[str, int]]:
    """Yield the conditions of a definition that was parsed, in their order: where each begins, its "not"
    included, and how many of these stand before it."""
    below, nots = node, 0
    inner = pointer
    while "not" in below:
        below, nots, inner = below["not"], nots + 1, f"{inner}/not"
    group = next((key for key in ("all", "any") if key in below), "")
    if not group:
        yield pointer, nots
    for index, child in enumerate(below.get(group, ())):
        yield from leaves(child, f"{inner}/{group}/{index}")
