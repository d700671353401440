"""A whole definition, and the error of a value that is none."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from cohorts.definitions.grammar import (
    ALL_TIME,
    CohortReference,
    Condition,
    Measure,
    More,
    Node,
    Performed,
    Property,
    Sequence,
    UserProperty,
    Window,
    conditions,
)
from cohorts.definitions.sentence import phrase


class DefinitionError(ValueError):
    """`problems` is a list of (JSON pointer, what is wrong and what to do)."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{pointer or '/'}: {message}" for pointer, message in problems))


@dataclass(frozen=True)
class Definition:
    where: Node
    timezone: str = "UTC"
    version: int = 1

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def conditions(self) -> list[Condition]:
        return list(conditions(self.where))

    def cohort_keys(self) -> set[str]:
        """Return the keys of the cohorts that this definition refers to."""
        return {leaf.key for leaf in self.conditions() if isinstance(leaf, CohortReference)}

    def event_names(self) -> set[str]:
        names: set[str] = set()
        for leaf in self.conditions():
            if isinstance(leaf, Performed):
                names.update((*leaf.events, *(leaf.since.events if leaf.since else ())))
            elif isinstance(leaf, Sequence):
                names.update(name for step in leaf.steps for name in step.events)
            elif isinstance(leaf, More):
                names.update((*leaf.first.events, *leaf.second.events))
        return names

    def property_names(self) -> set[str]:
        """Return the properties of events that it asks for, as they are written."""
        return {n for leaf in self.conditions() if not isinstance(leaf, UserProperty) for n in _asked(leaf)}

    def user_property_names(self) -> set[str]:
        return {leaf.property.name for leaf in self.conditions() if isinstance(leaf, UserProperty)}

    def longest_window(self) -> timedelta | None:
        """Return how far back from its instant the definition looks for events.

        None when it looks for none, or a window does not count back from there (dates, at any time).
        """
        windows = [window for leaf in self.conditions() for window in _windows_of(leaf)]
        lengths = [window.older.delta for window in windows if window.older]
        return max(lengths) if lengths and len(lengths) == len(windows) else None

    def sentence(self) -> str:
        """Return the definition as an English sentence."""
        zone = "" if self.timezone == "UTC" else f" (days in {self.timezone})"
        return f"Users who {phrase(self.where)}{zone}."


def _asked(value: object) -> Iterator[str]:
    """Yield the names of properties in a condition, and in all that it is made of."""
    if isinstance(value, Property):
        yield value.name
    elif isinstance(value, tuple):
        for one in value:
            yield from _asked(one)
    elif is_dataclass(value):
        if isinstance(value, Measure) and value.property:
            yield value.property
        if isinstance(value, Sequence) and value.same:
            yield value.same
        for field in fields(value):
            yield from _asked(getattr(value, field.name))


def _windows_of(leaf: Condition) -> list[Window]:
    """Return when a condition's event must have been: of "for the first time", when that was."""
    if isinstance(leaf, More):
        return [leaf.first.window, leaf.second.window]
    if isinstance(leaf, Performed):
        found = [(leaf.measure.window if leaf.measure else None) or leaf.window]
        return [*found, ALL_TIME] if leaf.since else found
    return [leaf.window] if isinstance(leaf, Sequence) else []
