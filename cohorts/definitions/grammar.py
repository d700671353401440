"""The nodes of a definition, as frozen values: equal conditions are equal, and can be computed once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from cohorts.definitions.operators import OPERATORS

type_of_property = Literal["string", "number", "boolean", "date"]

MINUTES = {"m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}


@dataclass(frozen=True)
class Duration:
    """An exact number of minutes, hours, days of 24 hours or weeks of 168 hours."""

    amount: int
    unit: str

    @property
    def delta(self) -> timedelta:
        return timedelta(minutes=self.amount * MINUTES[self.unit])


Value = str | int | float | bool | Duration


@dataclass(frozen=True)
class Window:
    """A stretch of time that ends at or before the instant of the refresh.

    At most one pair is set: `older` (and `newer`) count back from the instant; `first_day` and
    `last_day` are whole days in the cohort's zone, both included. Nothing set is all time.
    """

    older: Duration | None = None
    newer: Duration | None = None
    first_day: date | None = None
    last_day: date | None = None

    def bounds(self, as_of: datetime, zone: ZoneInfo) -> tuple[datetime | None, datetime]:
        """Return the half-open interval [start, end) in UTC; start None is the beginning of time."""
        start = as_of - self.older.delta if self.older else None
        end = as_of - self.newer.delta if self.newer else as_of
        if self.first_day:
            start = beginning_of(self.first_day, zone)
        if self.last_day:
            end = min(as_of, beginning_of(self.last_day + timedelta(days=1), zone))
        return start, end


def beginning_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a local day. Where midnight is skipped, that is the change of clocks."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


ALL_TIME = Window()


@dataclass(frozen=True)
class Compare:
    op: Literal[">=", ">", "<=", "<", "=", "between"]
    values: tuple[int | float, ...]


@dataclass(frozen=True)
class Measure:
    """What is measured of the events that match, and what it must be.

    count, days: `compare`. sum, avg, min, max, distinct: `property` and `compare`. first, last: `window`.
    """

    kind: Literal["count", "days", "sum", "avg", "min", "max", "distinct", "first", "last"]
    compare: Compare | None = None
    property: str | None = None
    window: Window | None = None


@dataclass(frozen=True)
class Property:
    """A comparison of one property. The negative operators hold for a missing property too."""

    name: str
    op: str
    type: type_of_property
    values: tuple[Value, ...] = ()
    ignore_case: bool = False

    @property
    def negative(self) -> bool:
        return bool(OPERATORS[self.op].negates)

    @property
    def positive(self) -> "Property":
        """The comparison that this one is, or is the negation of."""
        return replace(self, op=OPERATORS[self.op].negates or self.op)


@dataclass(frozen=True)
class Performed:
    """Did one of the `events` (none named: any event), with what is measured of them."""

    events: tuple[str, ...]
    where: tuple[Property, ...] = ()
    window: Window = ALL_TIME
    measure: Measure | None = None
    or_never: bool = False


@dataclass(frozen=True)
class Step:
    events: tuple[str, ...]
    where: tuple[Property, ...] = ()
    absent: bool = False


@dataclass(frozen=True)
class Sequence:
    """Steps one after the other. An absent step is what must not happen between its neighbours."""

    steps: tuple[Step, ...]
    within: Duration | None = None
    window: Window = ALL_TIME


@dataclass(frozen=True)
class UserProperty:
    property: Property


@dataclass(frozen=True)
class CohortReference:
    key: str


@dataclass(frozen=True)
class All:
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True)
class AnyOf:
    nodes: "tuple[Node, ...]"


@dataclass(frozen=True)
class Not:
    node: "Node"


Condition = Performed | Sequence | UserProperty | CohortReference
Node = Condition | All | AnyOf | Not


def conditions(node: Node) -> Iterator[Condition]:
    """Yield the conditions below a node, in the order of the text."""
    if isinstance(node, (All, AnyOf)):
        for child in node.nodes:
            yield from conditions(child)
    elif isinstance(node, Not):
        yield from conditions(node.node)
    else:
        yield node
