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
class Calendar:
    """The day, week, month, quarter or year that is going on (`previous` 0), or so many whole ones before."""

    unit: Literal["day", "week", "month", "quarter", "year"]
    previous: int = 0

    def days(self, today: date) -> tuple[date, date]:
        """Return the first day, and the day after the last."""
        begun = self.beginning(today)
        return (self.before(begun), begun) if self.previous else (begun, today + timedelta(days=1))

    def beginning(self, day: date) -> date:
        """Return the first day of the unit that a day lies in; a week begins on Monday."""
        if self.unit in ("day", "week"):
            return day - timedelta(days=day.weekday() if self.unit == "week" else 0)
        months = MONTHS[self.unit]
        return date(day.year, (day.month - 1) // months * months + 1, 1)

    def before(self, begun: date) -> date:
        if self.unit in ("day", "week"):
            return begun - timedelta(days=self.previous * (7 if self.unit == "week" else 1))
        month = begun.year * 12 + begun.month - 1 - self.previous * MONTHS[self.unit]
        return date(month // 12, month % 12 + 1, 1)


MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Window:
    """A stretch of time that ends at or before the instant of the refresh.

    At most one pair is set: `older` (and `newer`) count back from the instant; `first_day` and
    `last_day` are whole days in the cohort's zone, both included; `calendar` is whole days there, too.
    Nothing set is all time.
    """

    older: Duration | None = None
    newer: Duration | None = None
    first_day: date | None = None
    last_day: date | None = None
    calendar: Calendar | None = None

    def bounds(self, as_of: datetime, zone: ZoneInfo) -> tuple[datetime | None, datetime]:
        """Return the half-open interval [start, end) in UTC; start None is the beginning of time."""
        if self.calendar:
            first, after = self.calendar.days(as_of.astimezone(zone).date())
            return beginning_of(first, zone), min(as_of, beginning_of(after, zone))
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
class OneOf:
    """At least one of the comparisons of one event's properties holds."""

    properties: tuple[Property, ...]


# What is asked of one event: all of these.
Where = tuple[Property | OneOf, ...]


@dataclass(frozen=True)
class Periods:
    """Days, weeks or months with the event, `times` in each. `in_a_row`: the longest run of them."""

    unit: Literal["day", "week", "month"]
    times: Compare | None = None
    in_a_row: bool = False


@dataclass(frozen=True)
class Nth:
    """The n-th of the events, -1 the last: what is asked of it. Events of one instant share their places."""

    n: int
    where: Where = ()


@dataclass(frozen=True)
class Measure:
    """What is measured of the events that match, and what it must be.

    count, days, weeks, periods: `compare`. sum, avg, median, percentile, min, max, distinct: `property` and
    `compare`. first, last: `window`. nth: `nth`, and perhaps `window`.
    """

    kind: Literal[
        "count", "days", "weeks", "periods", "sum", "avg", "median", "percentile", "min", "max", "distinct",
        "first", "last", "nth",
    ]  # fmt: skip
    compare: Compare | None = None
    property: str | None = None
    window: Window | None = None
    percent: int | float = 50
    periods: Periods | None = None
    nth: Nth | None = None


@dataclass(frozen=True)
class Since:
    """From the user's first event of these on, for so long: "within 7 days of their first visit"."""

    events: tuple[str, ...]
    where: Where
    within: Duration


@dataclass(frozen=True)
class Counted:
    """The events of a user that are counted."""

    events: tuple[str, ...]
    where: Where = ()
    window: Window = ALL_TIME


@dataclass(frozen=True)
class More:
    """Did the first more often than the second, `times` over: more than last month, more of A than of B."""

    first: Counted
    second: Counted
    times: int | float = 1


@dataclass(frozen=True)
class Sample:
    """A share of all users that stays the same: by a hash of the id with `salt`."""

    percent: int | float
    salt: str = ""

    @property
    def below(self) -> str:
        """The hash's first eight digits must sort before this text."""
        return f"{round(self.percent / 100 * 2**32):08x}" if self.percent < 100 else "g"


@dataclass(frozen=True)
class Performed:
    """Did one of the `events` (none named: any event), with what is measured of them."""

    events: tuple[str, ...]
    where: Where = ()
    window: Window = ALL_TIME
    measure: Measure | None = None
    or_never: bool = False
    since: Since | None = None


@dataclass(frozen=True)
class Step:
    """`within` bounds the time since the step before it that happened."""

    events: tuple[str, ...]
    where: Where = ()
    absent: bool = False
    within: Duration | None = None


@dataclass(frozen=True)
class Sequence:
    """Steps one after the other. An absent step is what must not happen between its neighbours.

    With `same`, a property that has one value in all of them.
    """

    steps: tuple[Step, ...]
    within: Duration | None = None
    window: Window = ALL_TIME
    same: str | None = None


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


Condition = Performed | Sequence | More | UserProperty | CohortReference | Sample
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
