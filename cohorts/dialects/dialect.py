"""What a dialect answers, and the query that is made with one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlglot import exp

from cohorts.definitions.flat_list import FLAT_LIST
from cohorts.dialects.expressions import USER, call, integer, text


class Dialect(ABC):
    """One engine. `user` narrows every condition to one user, for an explanation."""

    name: str
    has_events = True
    # Whether the engine has SEMI and ANTI JOIN, and they are faster than INTERSECT and EXCEPT.
    semi_joins = False

    def __init__(self, cohorts: Mapping[str, str] | None = None, user: str | None = None) -> None:
        """`cohorts` gives, for each key a definition refers to, the relation that holds its ids."""
        self.cohorts = cohorts or {}
        self.user = user

    # --- Data -------------------------------------------------------------------------------

    @abstractmethod
    def events(self) -> exp.Select:
        """All events: a SELECT without columns."""

    @abstractmethod
    def users_with(self, name: str) -> exp.Select:
        """Users and their property `name`: a SELECT without columns over rows that have `text_of` it."""

    @abstractmethod
    def known_users(self) -> exp.Select:
        """The ids of the users table, one column."""

    @abstractmethod
    def event_text(self, name: str) -> exp.Expr:
        """A property of an event as text; NULL when missing."""

    @abstractmethod
    def event_number(self, name: str) -> exp.Expr:
        """The same as a number; NULL when it is not one."""

    @abstractmethod
    def user_text(self, name: str) -> exp.Expr: ...

    @abstractmethod
    def user_number(self, name: str) -> exp.Expr: ...

    def rows(self, events: tuple[str, ...]) -> int:
        """Roughly how many events of these names there are, of all names if none; 0: not known."""
        return 0

    def event_name(self) -> exp.Expr:
        return exp.column("event")

    def user_id(self) -> exp.Expr:
        return USER

    def time(self) -> exp.Expr:
        return exp.column("time")

    def members(self, key: str) -> exp.Select:
        """The ids of another cohort."""
        return self.narrowed(exp.select("user_id").from_(exp.to_identifier(self.cohorts[key], quoted=True)))

    def narrowed(self, select: exp.Select, column: exp.Expr = USER) -> exp.Select:
        return select if self.user is None else select.where(column.copy().eq(text(self.user)))

    # --- Operations -------------------------------------------------------------------------

    @abstractmethod
    def instant(self, moment: datetime) -> exp.Expr: ...

    @abstractmethod
    def micros(self) -> exp.Expr:
        """The event's time as whole microseconds since 1970 in UTC."""

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        """Whole division of a positive integer."""
        return exp.IntDiv(this=exp.paren(value), expression=integer(by))

    def distinct_days(self, day: exp.Expr, first: int | None, last: int) -> exp.Expr:
        """The number of distinct values of `day`, which lies between first and last."""
        return exp.Count(this=exp.Distinct(expressions=[day]))

    @abstractmethod
    def month(self, day: exp.Expr) -> exp.Expr:
        """The number of the month that a day, by its number since 1970, lies in."""

    @abstractmethod
    def percentile(self, value: exp.Expr, percent: int | float) -> exp.Expr:
        """The value that so many percent do not exceed, between two of them in proportion."""

    def rounded(self, value: exp.Expr) -> exp.Expr:
        """A sum or mean to a millionth, so that the order of adding cannot decide a comparison."""
        return exp.Round(this=value, decimals=integer(6))

    def ordered(self, value: exp.Expr) -> exp.Expr:
        """Text whose order is that of its UTF-8 bytes."""
        return value

    def contains(self, value: exp.Expr, part: str) -> exp.Expr:
        return exp.StrPosition(this=value, substr=text(part)) > 0

    def starts_with(self, value: exp.Expr, part: str) -> exp.Expr:
        return exp.StartsWith(this=value, expression=text(part))

    @abstractmethod
    def ends_with(self, value: exp.Expr, part: str) -> exp.Expr: ...

    @abstractmethod
    def lowered(self, value: exp.Expr) -> exp.Expr:
        """In small letters, beyond ASCII too."""

    @abstractmethod
    def matches(self, value: exp.Expr, pattern: str) -> exp.Expr:
        """Whether a pattern (`definitions/pattern.py`) is found in a text."""

    @abstractmethod
    def extracted(self, value: exp.Expr, pattern: str) -> exp.Expr:
        """What the one group of a pattern found; empty or NULL when it found nothing."""

    @abstractmethod
    def whole(self, value: exp.Expr) -> exp.Expr:
        """Digits as a whole number; NULL when they are none."""

    def hashed(self, value: exp.Expr) -> exp.Expr:
        """The MD5 of a text, in small hexadecimal digits."""
        return call("md5", value)

    def length(self, value: exp.Expr) -> exp.Expr:
        return call("length", value.copy())

    def concatenated(self, *values: exp.Expr) -> exp.Expr:
        return call("concat", *(value.copy() for value in values))

    # --- Lists: a text that is a list in JSON (definitions/flat_list.py) ---------------------

    def is_list(self, value: exp.Expr) -> exp.Expr:
        """Whether a text is a list. The first sign is looked at first: most texts end there."""
        return exp.and_(self.starts_with(value.copy(), "["), self.matches(value, FLAT_LIST))

    @abstractmethod
    def any_element(self, value: exp.Expr, held: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
        """Whether a condition on texts holds for an element of a text that is a list."""

    @abstractmethod
    def list_text(self, value: exp.Expr) -> exp.Expr:
        """The elements of a text that is a list, joined: the same for lists that are."""

    @abstractmethod
    def number(self, value: exp.Expr) -> exp.Expr:
        """A text as a number; NULL when it is none."""

    def sql(self, query: exp.Expr, pretty: bool = False) -> str:
        return query.sql(self.name, pretty=pretty)


@dataclass(frozen=True)
class Compiled:
    """A query whose only column, `user_id`, is sorted and distinct, and what it was made for."""

    query: exp.Query
    dialect: Dialect = field(repr=False)

    @property
    def sql(self) -> str:
        return self.dialect.sql(self.query)

    @property
    def pretty(self) -> str:
        return self.dialect.sql(self.query, pretty=True)
