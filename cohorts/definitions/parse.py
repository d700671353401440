"""From JSON to a Definition, or to every problem with its place and what to do about it."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cache
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, available_timezones

from cohorts.definitions.definition import Definition, DefinitionError
from cohorts.definitions.grammar import (
    ALL_TIME,
    All,
    AnyOf,
    CohortReference,
    Compare,
    Duration,
    Measure,
    Node,
    Not,
    Performed,
    Property,
    Sequence,
    Step,
    UserProperty,
    Value,
    Window,
    type_of_property,
)

MAX_CONDITIONS = 50
MAX_DEPTH = 6
MAX_VALUES = 1_000
MAX_NAMES = 100
MAX_TEXT = 1_024
MAX_HOURS = 100 * 366 * 24
EXACT = 2**53

COMPARISONS = (">=", ">", "<=", "<", "=", "between")
OPERATORS = {
    "=": "any", "!=": "any", "contains": "text", "not_contains": "text", "starts_with": "text",
    ">": "order", ">=": "order", "<": "order", "<=": "order", "between": "pair",
    "in": "list", "not_in": "list", "is_set": "none", "is_not_set": "none",
}  # fmt: skip
COUNTED = ("count", "days")
OF_A_PROPERTY = ("sum", "avg", "min", "max", "distinct")
MOMENTS = ("first", "last")
MEASURES = COUNTED + OF_A_PROPERTY + MOMENTS
NODES = ("all", "any", "not", "performed", "sequence", "user", "cohort")
TYPES = ("string", "number", "boolean")
T = TypeVar("T")


def parse(value: object) -> Definition:
    """Return the definition that a JSON value states, or raise DefinitionError with all its problems."""
    parser = Parser()
    definition = parser.definition(value)
    if parser.problems or definition is None:
        raise DefinitionError(parser.problems)
    return definition


@cache
def timezones() -> frozenset[str]:
    """Read from the disk once: the names are some hundred files."""
    return frozenset(available_timezones())


def escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def is_number(value: object) -> bool:
    """A number that a double holds exactly enough to compare: integers up to 2**53, finite floats."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= EXACT if isinstance(value, int) else abs(value) < float("inf")


class Parser:
    """Collects problems instead of stopping at the first. A method returns None when it found one."""

    def __init__(self) -> None:
        self.problems: list[tuple[str, str]] = []
        self.conditions = 0

    def wrong(self, path: str, message: str) -> None:
        self.problems.append((path, message))

    # --- Shapes -----------------------------------------------------------------------------

    def mapping(self, value: object, path: str, keys: Iterable[str], what: str) -> Mapping[str, Any] | None:
        """Check that the value is an object of known keys; unknown ones are named, with a suggestion."""
        if not isinstance(value, dict):
            self.wrong(path, f"{what} is an object, not {kind_of(value)}")
            return None
        known = list(keys)
        for key in value:
            if key not in known:
                self.unknown(f"{path}/{escape(str(key))}", str(key), known, what)
        return value

    def unknown(self, path: str, key: str, known: list[str], what: str) -> None:
        near = difflib.get_close_matches(key, known, n=1)
        advice = f'did you mean "{near[0]}"?' if near else "use " + ", ".join(f'"{k}"' for k in known)
        self.wrong(path, f'unknown {what} "{key}"; {advice}')

    def text(self, value: object, path: str, what: str) -> str | None:
        if not isinstance(value, str):
            return self.wrong(path, f"{what} is a string, not {kind_of(value)}")
        if not value:
            return self.wrong(path, f"{what} is empty")
        return value if self.storable(value, path, what) else None

    def storable(self, value: str, path: str, what: str) -> bool:
        if len(value) > MAX_TEXT:
            self.wrong(path, f"{what} is longer than {MAX_TEXT:,} characters")
        elif "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
            self.wrong(path, f"{what} contains a NUL character or a lone surrogate")
        else:
            return True
        return False

    def list_of(
        self, value: object, path: str, what: str, low: int, high: int, one: Callable[[Any, str], T | None]
    ) -> tuple[T, ...] | None:
        if not isinstance(value, list):
            return self.wrong(path, f"{what} is a list, not {kind_of(value)}")
        if not low <= len(value) <= high:
            return self.wrong(path, f"{what} has {low:,} to {high:,} items, not {len(value):,}")
        items = [one(item, f"{path}/{index}") for index, item in enumerate(value)]
        found = tuple(item for item in items if item is not None)
        return found if len(found) == len(items) else None

    # --- The tree ---------------------------------------------------------------------------

    def definition(self, value: object) -> Definition | None:
        given = self.mapping(value, "", ("version", "timezone", "where"), "key of a definition")
        if given is None:
            return None
        if type(given.get("version")) is not int or given["version"] != 1:
            said = f"version {given['version']!r} is not known here" if "version" in given else "is missing"
            self.wrong("/version", f'{said}; write "version": 1')
        timezone = self.timezone(given.get("timezone", "UTC"))
        if "where" not in given:
            self.wrong("/where", 'is missing; it holds the condition, such as {"performed": {"event": "…"}}')
            return None
        where = self.node(given["where"], "/where", 1)
        if self.conditions > MAX_CONDITIONS:
            self.wrong("/where", f"has {self.conditions} conditions; at most {MAX_CONDITIONS} are allowed")
        return Definition(where, timezone) if where is not None and timezone else None

    def timezone(self, value: object) -> str | None:
        path = "/timezone"
        if not isinstance(value, str):
            return self.wrong(path, f'a time zone is a name such as "Europe/Berlin", not {kind_of(value)}')
        if value not in timezones():
            near = difflib.get_close_matches(value, timezones(), n=1)
            advice = f'did you mean "{near[0]}"?' if near else 'use a name such as "Europe/Berlin"'
            return self.wrong(path, f'unknown time zone "{value}"; {advice}')
        return ZoneInfo(value).key

    def node(self, value: object, path: str, depth: int) -> Node | None:
        if depth > MAX_DEPTH:
            return self.wrong(path, f"conditions are nested more than {MAX_DEPTH} deep; flatten the groups")
        given = self.mapping(value, path, NODES, "condition")
        if given is None:
            return None
        keys = [key for key in given if key in NODES]
        if len(keys) != 1:
            if keys or not given:
                said = "has " + (" and ".join(f'"{k}"' for k in keys) if keys else "nothing in it")
                self.wrong(path, f'{said}; a condition has exactly one key: join several with "all" or "any"')
            return None
        key = keys[0]
        inner, below = given[key], f"{path}/{key}"
        if key in ("all", "any"):
            nodes: tuple[Node, ...] | None = self.list_of(
                inner, below, f'"{key}"', 1, MAX_CONDITIONS, lambda v, p: self.node(v, p, depth + 1)
            )
            return None if nodes is None else All(nodes) if key == "all" else AnyOf(nodes)
        if key == "not":
            node = self.node(inner, below, depth + 1)
            return None if node is None else Not(node)
        return self.condition(key, inner, below)

    def condition(self, key: str, value: object, path: str) -> Node | None:
        self.conditions += 1
        if key == "performed":
            return self.performed(value, path)
        if key == "sequence":
            return self.sequence(value, path)
        if key == "user":
            user_property = self.property(value, path)
            return UserProperty(user_property) if user_property else None
        cohort = self.text(value, path, "the key of a cohort")
        return CohortReference(cohort) if cohort else None

    # --- What people did --------------------------------------------------------------------

    def performed(self, value: object, path: str) -> Performed | None:
        keys = ("event", "where", "window", "or_never", *MEASURES)
        given = self.mapping(value, path, keys, 'key of "performed"')
        if given is None:
            return None
        events = self.events(given, path)
        where = self.where(given, path)
        window = self.window(given["window"], f"{path}/window") if "window" in given else ALL_TIME
        measured = [key for key in given if key in MEASURES]
        measure = None
        if len(measured) > 1:
            self.wrong(
                path, f'has "{measured[0]}" and "{measured[1]}"; measure one thing, join two with "all"'
            )
        elif measured:
            measure = self.measure(measured[0], given[measured[0]], f"{path}/{measured[0]}")
        or_never = given.get("or_never", False)
        if not isinstance(or_never, bool):
            self.wrong(f"{path}/or_never", f"is true or false, not {kind_of(or_never)}")
        elif or_never and not measured:
            self.wrong(f"{path}/or_never", "without a measure holds for everyone; add one, such as count")
        if events is None or where is None or window is None:
            return None
        return Performed(events, where, window, measure, bool(or_never))

    def sequence(self, value: object, path: str) -> Sequence | None:
        given = self.mapping(value, path, ("steps", "within", "window"), 'key of "sequence"')
        if given is None:
            return None
        if "steps" not in given:
            return self.wrong(f"{path}/steps", "is missing; a sequence has 2 to 6 steps")
        steps = self.list_of(given["steps"], f"{path}/steps", '"steps"', 2, 6, self.step)
        within = self.duration(given["within"], f"{path}/within") if "within" in given else None
        window = self.window(given["window"], f"{path}/window") if "window" in given else ALL_TIME
        if steps is None or window is None or ("within" in given and within is None):
            return None
        if steps[0].absent:
            self.wrong(f"{path}/steps/0", "the first step cannot be absent; begin with what happened")
        elif steps[-1].absent and within is None:
            last = f"{path}/steps/{len(steps) - 1}"
            self.wrong(last, 'an absent last step needs "within", or it can never be decided')
        return Sequence(steps, within, window)

    def step(self, value: object, path: str) -> Step | None:
        given = self.mapping(value, path, ("event", "where", "absent"), "key of a step")
        if given is None:
            return None
        events, where, absent = self.events(given, path), self.where(given, path), given.get("absent", False)
        if not isinstance(absent, bool):
            return self.wrong(f"{path}/absent", f"is true or false, not {kind_of(absent)}")
        return None if events is None or where is None else Step(events, where, absent)

    def events(self, given: Mapping[str, Any], path: str) -> tuple[str, ...] | None:
        path = f"{path}/event"
        if "event" not in given:
            return self.wrong(path, 'is missing; name an event, a list of them, or "*" for any')
        value = given["event"]
        if value == "*":
            return ()
        if not isinstance(value, list):
            name = self.text(value, path, "an event's name")
            return (name,) if name else None
        names = self.list_of(
            value, path, "a list of events", 1, MAX_NAMES, lambda v, p: self.text(v, p, "an event's name")
        )
        if names and "*" in names:
            return self.wrong(path, '"*" is any event; use it alone, not in a list')
        return tuple(dict.fromkeys(names)) if names else None

    def where(self, given: Mapping[str, Any], path: str) -> tuple[Property, ...] | None:
        if "where" not in given:
            return ()
        return self.list_of(
            given["where"], f"{path}/where", '"where" of an event', 1, MAX_CONDITIONS, self.property
        )

    # --- Measures ---------------------------------------------------------------------------

    def measure(self, kind: Any, value: object, path: str) -> Measure | None:
        if kind in MOMENTS:
            window = self.window(value, path)
            return Measure(kind, window=window) if window else None
        if kind in COUNTED:
            given = self.mapping(value, path, COMPARISONS, "comparison")
            compare = None if given is None else self.compare(given, path, whole=True)
            return Measure(kind, compare) if compare else None
        given = self.mapping(value, path, ("property", *COMPARISONS), "comparison")
        if given is None:
            return None
        name = None
        if "property" in given:
            name = self.text(given["property"], f"{path}/property", "a property's name")
        else:
            self.wrong(f"{path}/property", f'is missing; name the property whose "{kind}" is meant')
        compare = self.compare(given, path, whole=kind == "distinct", zero=kind == "distinct")
        return Measure(kind, compare, name) if compare and name else None

    def compare(
        self, given: Mapping[str, Any], path: str, *, whole: bool, zero: bool = False
    ) -> Compare | None:
        ops = [key for key in given if key in COMPARISONS]
        if len(ops) != 1:
            if ops or set(given) <= {"property"}:
                self.wrong(path, f'has {len(ops)} comparisons; use exactly one, such as {{">=": 3}}')
            return None
        op: Any = ops[0]
        where = f"{path}/{escape(op)}"
        if op == "between":
            values = self.list_of(given[op], where, '"between"', 2, 2, lambda v, p: self.number(v, p, whole))
            if values is None:
                return None
            if values[0] > values[1]:
                return self.wrong(where, f"runs from {values[0]} to {values[1]}; write the smaller first")
        else:
            number = self.number(given[op], where, whole)
            if number is None:
                return None
            values = (number,)
        if whole and not zero and not self.possible(op, values, path):
            return None
        return Compare(op, values)

    def possible(self, op: str, values: tuple[int | float, ...], path: str) -> bool:
        """Counts begin at one: a comparison that only zero satisfies or that begins there is a mistake."""
        first, last = values[0], values[-1]
        if (
            (op == "=" and first == 0)
            or (op == "<" and first <= 1)
            or (op in ("<=", "between") and last == 0)
        ):
            self.wrong(path, 'zero times means "did not perform": wrap the condition in "not"')
        elif op == "between" and first == 0:
            self.wrong(
                path, f'counts begin at one: write [1, {last}], with "or_never": true if never is meant'
            )
        elif (op == ">=" and first == 0) or min(values) < 0:
            self.wrong(path, "a count is never below zero, so this says nothing; use a number from 1 up")
        else:
            return True
        return False

    def number(self, value: Any, path: str, whole: bool = False) -> int | float | None:
        if not is_number(value):
            return self.wrong(path, f"is a number within 2^53, not {kind_of(value)}: {str(value)[:40]}")
        if whole and type(value) is not int:
            return self.wrong(path, f"is a whole number, not {value}")
        return value  # type: ignore[no-any-return]

    # --- Properties -------------------------------------------------------------------------

    def property(self, value: object, path: str) -> Property | None:
        given = self.mapping(value, path, ("property", "type", *OPERATORS), "operator")
        if given is None:
            return None
        if "property" not in given:
            return self.wrong(f"{path}/property", "is missing; name the property")
        name = self.text(given["property"], f"{path}/property", "a property's name")
        ops = [key for key in given if key in OPERATORS]
        if len(ops) != 1:
            if ops or set(given) <= {"property", "type"}:
                self.wrong(path, f'has {len(ops)} operators; use exactly one, such as {{"=": "jazz"}}')
            return None
        op = ops[0]
        values = self.operand(op, given[op], f"{path}/{escape(op)}")
        if values is None or name is None:
            return None
        type_ = self.type_of(op, values, given.get("type"), path)
        return Property(name, op, type_, values) if type_ else None

    def operand(self, op: str, value: Any, path: str) -> tuple[Value, ...] | None:
        shape = OPERATORS[op]
        if shape == "none":
            return () if value is True else self.wrong(path, f'write "{op}": true')
        if shape == "pair":
            pair: tuple[Value, ...] | None = self.list_of(
                value, path, '"between"', 2, 2, lambda v, p: self.value(v, p, "order")
            )
            if pair and type(pair[0]) is type(pair[1]) and pair[0] > pair[1]:  # type: ignore[operator]
                return self.wrong(path, f"runs from {pair[0]} to {pair[1]}; write the smaller first")
            return pair
        if shape == "list":
            return self.list_of(value, path, f'"{op}"', 1, MAX_VALUES, lambda v, p: self.value(v, p, "any"))
        one = self.value(value, path, shape)
        return None if one is None else (one,)

    def value(self, value: Any, path: str, shape: str) -> Value | None:
        if isinstance(value, str):
            if shape == "text" and not value:
                return self.wrong(path, "is empty, and every text contains that")
            return value if self.storable(value, path, "a value") else None
        if shape == "text":
            return self.wrong(path, f"is a string, not {kind_of(value)}")
        if isinstance(value, bool):
            return value if shape == "any" else self.wrong(path, 'true and false have no order; use "="')
        if value is None:
            return self.wrong(path, 'is null; use "is_set" or "is_not_set"')
        return self.number(value, path)

    def type_of(
        self, op: str, values: tuple[Value, ...], given: object, path: str
    ) -> type_of_property | None:
        """The operand says how values are compared; `type`, if given, must agree."""
        kinds: set[type_of_property] = {
            "boolean" if isinstance(v, bool) else "string" if isinstance(v, str) else "number" for v in values
        }
        if given is not None and given not in TYPES:
            self.wrong(f"{path}/type", f'unknown type {given!r}; use "string", "number" or "boolean"')
        elif len(kinds) > 1:
            self.wrong(f"{path}/{escape(op)}", f"mixes {' and '.join(sorted(kinds))}; use one kind of value")
        elif given is not None and kinds and given not in kinds:
            [kind] = kinds
            self.wrong(
                f"{path}/type", f'is "{given}" but the value is a {kind}; write the value as a {given}'
            )
        else:
            return kinds.pop() if kinds else "string"
        return None

    # --- Time -------------------------------------------------------------------------------

    def window(self, value: object, path: str) -> Window | None:
        if value == "all_time":
            return ALL_TIME
        if isinstance(value, str):
            return self.wrong(path, f'unknown window "{value}"; use "all_time" or {{"last": "30d"}}')
        given = self.mapping(value, path, ("last", "between_ago", "from", "to"), "window")
        if given is None:
            return None
        if set(given) == {"last"}:
            older = self.duration(given["last"], f"{path}/last")
            return Window(older=older) if older else None
        if set(given) == {"between_ago"}:
            return self.between_ago(given["between_ago"], f"{path}/between_ago")
        if given and set(given) <= {"from", "to"}:
            return self.dates(given, path)
        if set(given) <= {"last", "between_ago", "from", "to"}:
            self.wrong(path, 'use one of "last", "between_ago", or "from" and "to"')
        return None

    def between_ago(self, value: object, path: str) -> Window | None:
        pair = self.list_of(value, path, '"between_ago"', 2, 2, self.duration)
        if pair is None:
            return None
        if pair[0].delta <= pair[1].delta:
            return self.wrong(path, 'write the older end first, such as ["90d", "30d"]')
        return Window(older=pair[0], newer=pair[1])

    def dates(self, given: Mapping[str, Any], path: str) -> Window | None:
        days = {key: self.date(given[key], f"{path}/{key}") for key in ("from", "to") if key in given}
        if None in days.values():
            return None
        first, last = days.get("from"), days.get("to")
        if first and last and first > last:
            return self.wrong(path, f"ends on {last}, before it begins on {first}")
        return Window(first_day=first, last_day=last)

    def date(self, value: object, path: str) -> date | None:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            try:
                day = date.fromisoformat(value)
            except ValueError:
                return self.wrong(path, f'"{value}" is not a day of the calendar')
            if 1970 <= day.year < 2200:
                return day
        return self.wrong(path, 'a date is a day from 1970 to 2199, written as "2024-09-30"')

    def duration(self, value: object, path: str) -> Duration | None:
        match = re.fullmatch(r"([1-9]\d{0,6})([hdw])", value, re.ASCII) if isinstance(value, str) else None
        if match is None:
            return self.wrong(path, 'a duration is a number of hours, days or weeks: "12h", "30d" or "4w"')
        duration = Duration(int(match[1]), match[2])
        if duration.delta.total_seconds() > MAX_HOURS * 3600:
            return self.wrong(path, "is longer than 100 years")
        return duration
