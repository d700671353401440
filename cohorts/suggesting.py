"""The values that a property has had, the most frequent first: what a form suggests while one types."""

from dataclasses import replace
from typing import Any

from django.utils import timezone
from sqlglot import exp

from cohorts.behavioral import Source
from cohorts.conditions import Conditions
from cohorts.definitions import Definition, DefinitionError, parse
from cohorts.definitions.grammar import Performed
from cohorts.dialects import Compiled, integer
from events.engine import EngineError, Limits

# Values that are suggested, and the rows that are looked at to find them.
MOST_VALUES = 50
MOST_ROWS = 200_000
MOST_LENGTH = 200
SECONDS = 5.0


def frequent_values(workspace: str, event: str, name: str) -> list[tuple[str, int]]:
    """Return the values of an event's property, each with how often it came; of a user's when `event` is "".

    Of many rows it looks at 200,000. Nothing when there are no such events, or they take too long to read.
    """
    try:
        definition = parse({"version": 1, "where": _question(event, name)})
        source = Source.configured(workspace, definition)
        query = _values(definition, source, name)
        limits = replace(Limits.configured(), seconds=SECONDS)
        rows = source.database.rows(Compiled(query, source.dialect).sql, {}, limits, source.temp)
        return [(str(value), int(count)) for value, count in rows]
    except (DefinitionError, EngineError):
        return []


def _question(event: str, name: str) -> dict[str, Any]:
    is_set = {"property": name, "is_set": True}
    return {"performed": {"event": event, "where": [is_set]}} if event else {"user": is_set}


def _values(definition: Definition, source: Source, name: str) -> exp.Query:
    dialect, asked = source.dialect, definition.where
    if isinstance(asked, Performed):
        rows = Conditions(dialect, timezone.now(), definition.zone).counted(asked)
        value = dialect.event_text(name)
    else:
        rows, value = dialect.users_called(name), dialect.user_text(name)
    found = rows.select(exp.alias_(value, "v")).limit(MOST_ROWS).subquery("found")
    column = exp.column("v")
    often = exp.alias_(exp.Count(this=exp.Star()), "often")
    listed = exp.select(column, often).from_(found)
    listed = listed.where(dialect.length(column).between(integer(1), integer(MOST_LENGTH))).group_by(
        column.copy()
    )
    return listed.order_by(exp.Ordered(this=exp.column("often"), desc=True), column.copy()).limit(MOST_VALUES)
