"""What a dialect answers, and the query that is made with one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlglot import exp

from cohorts.definitions.flat_list import FLAT_LIST
from cohorts.definitions.nested import spellings
from cohorts.dialects.expressions import USER, call, integer, text
from events.names import AS_THEY_CAME, WorkspaceNames


class Dialect(ABC):
    """One engine. `user` narrows every condition to one user, for an explanation."""

    name: str
    has_events = True
    # Whether the engine has SEMI and ANTI JOIN, and they are faster than INTERSECT and EXCEPT.
    semi_joins = False

    def __init__(
        self,
        cohorts: Mapping[str, str] | None = None,
        user: str | None = None,
        names: WorkspaceNames = AS_THEY_CAME,
    ) -> None:
        """`cohorts` gives, for each key a definition refers to, the relation that holds its ids."""
        self.cohorts = cohorts or {}
        self.user = user
        self.names = names

    # --- Data -------------------------------------------------------------------------------

    @abstractmethod
    def events(self) -> exp.Select:
        """All events: a SELECT without columns."""

    @abstractmethod
    def users_with(self, names: Sequence[str]) -> exp.Select:
        """Users and some of their properties: a SELECT without columns over rows that have `users_text`."""

    @abstractmethod
    def known_users(self) -> exp.Select:
        """The ids of the users table, one column."""

    @abstractmethod
    def sent_text(self, name: str) -> exp.Expr:
        """A property of an event, by the name that it came with, as text; NULL when missing."""

    @abstractmethod
    def sent_number(self, name: str) -> exp.Expr:
        """The same as a number; NULL when it is not one."""

    @abstractmethod
    def users_text(self, name: str, among: Sequence[str]) -> exp.Expr:
        """A property of the rows of `users_with(*among)`, by the name that it came with."""

    @abstractmethod
    def users_number(self, name: str, among: Sequence[str]) -> exp.Expr: ...

    def event_text(self, name: str) -> exp.Expr:
        """A property of an event, whatever it was called when it came."""
        return first_text(map(self.sent_text, spellings(name, self.names.properties)))

    def event_number(self, name: str) -> exp.Expr:
        called = spellings(name, self.names.properties)
        return first_number([(self.sent_text(one), self.sent_number(one)) for one in called])

    def users_called(self, name: str) -> exp.Select:
        """Users and their property, whatever it was called when it came: see `users_with`."""
        return self.users_with(spellings(name, self.names.user_properties))

    def user_text(self, name: str) -> exp.Expr:
        called = spellings(name, self.names.user_properties)
        return first_text(self.users_text(one, called) for one in called)

    def user_number(self, name: str) -> exp.Expr:
        called = spellings(name, self.names.user_properties)
        return first_number(
            [(self.users_text(one, called), self.users_number(one, called)) for one in called]
        )

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


def first_text(texts: Iterable[exp.Expr]) -> exp.Expr:
    """The first of them that is there."""
    found = list(texts)
    return found[0] if len(found) == 1 else exp.func("COALESCE", *found)


def first_number(values: Sequence[tuple[exp.Expr, exp.Expr]]) -> exp.Expr:
    """The number of the first text that is there, even if it has none."""
    if len(values) == 1:
        return values[0][1]
    found = exp.case()
    for text_of, number in values:
        found = found.when(exp.not_(exp.Is(this=text_of, expression=exp.null())), number)
    return found


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
