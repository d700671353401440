"""Events, what is asked of them and what is measured of them, from JSON."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

from collections.abc import Mapping
from typing import Any

from cohorts.definitions.grammar import Compare, Measure, Nth, OneOf, Periods, Property, Since, Where
from cohorts.definitions.parse_property import PropertyParser
from cohorts.definitions.shapes import escape, kind_of

MAX_CONDITIONS = 50
MAX_NAMES = 100
HIGHEST_N = 10_000

COMPARISONS = (">=", ">", "<=", "<", "=", "between")
COUNTED = ("count", "days", "weeks")
PERIODS_OF = ("day", "week", "month")
OF_A_PROPERTY = ("sum", "avg", "median", "percentile", "min", "max", "distinct")
MOMENTS = ("first", "last")
MEASURES = ("count", "days", "weeks", "periods", *OF_A_PROPERTY, *MOMENTS, "nth")


class MeasureParser(PropertyParser):
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

    def where(self, given: Mapping[str, Any], path: str) -> Where | None:
        if "where" not in given:
            return ()
        return self.list_of(
            given["where"], f"{path}/where", '"where" of an event', 1, MAX_CONDITIONS, self.asked
        )

    def asked(self, value: object, path: str) -> Property | OneOf | None:
        """One comparison, or {"any": [comparison…]}."""
        if not isinstance(value, dict) or "any" not in value:
            return self.property(value, path)
        if len(value) > 1:
            return self.wrong(path, '"any" stands alone: {"any": [{"property": "plan", "=": "pro"}, …]}')
        found = self.list_of(value["any"], f"{path}/any", '"any"', 1, MAX_CONDITIONS, self.property)
        return OneOf(found) if found else None

    def since(self, value: object, path: str) -> Since | None:
        given = self.mapping(value, path, ("event", "where", "within"), 'key of "after_first"')
        if given is None:
            return None
        events, where = self.events(given, path), self.where(given, path)
        if "within" not in given:
            return self.wrong(f"{path}/within", 'is missing; say how long after it events count: "7d"')
        within = self.duration(given["within"], f"{path}/within")
        return Since(events, where, within) if events is not None and where is not None and within else None

    # --- Measures ---------------------------------------------------------------------------

    def measure(self, kind: Any, value: object, path: str) -> Measure | None:
        if kind in MOMENTS:
            window = self.window(value, path)
            return Measure(kind, window=window) if window else None
        if kind == "nth":
            return self.nth(value, path)
        if kind == "periods":
            return self.periods(value, path)
        if kind in COUNTED:
            given = self.mapping(value, path, COMPARISONS, "comparison")
            compare = None if given is None else self.compare(given, path, whole=True)
            return Measure(kind, compare) if compare else None
        return self.of_a_property(kind, value, path)

    def of_a_property(self, kind: Any, value: object, path: str) -> Measure | None:
        more = ("percent",) if kind == "percentile" else ()
        given = self.mapping(value, path, ("property", *more, *COMPARISONS), "comparison")
        if given is None:
            return None
        name = None
        if "property" in given:
            name = self.text(given["property"], f"{path}/property", "a property's name")
        else:
            self.wrong(f"{path}/property", f'is missing; name the property whose "{kind}" is meant')
        percent = self.percent(given, path) if more else 50
        compare = self.compare(given, path, whole=kind == "distinct", zero=kind == "distinct")
        return Measure(kind, compare, name, percent=percent) if compare and name and percent else None

    def percent(self, given: Mapping[str, Any], path: str) -> int | float | None:
        if "percent" not in given:
            return self.wrong(f"{path}/percent", "is missing; 90 is the value that nine of ten do not exceed")
        percent = self.number(given["percent"], f"{path}/percent")
        if percent is not None and not 0 < percent < 100:
            return self.wrong(f"{path}/percent", 'is between 0 and 100; for the ends use "min", "max"')
        return percent

    def periods(self, value: object, path: str) -> Measure | None:
        given = self.mapping(value, path, ("of", "times", "in_a_row", *COMPARISONS), 'key of "periods"')
        if given is None:
            return None
        unit, in_a_row, times = given.get("of"), given.get("in_a_row", False), None
        if unit not in PERIODS_OF:
            self.wrong(f"{path}/of", f"is one of {', '.join(PERIODS_OF)}, not {unit!r}"[:200])
        if not isinstance(in_a_row, bool):
            self.wrong(f"{path}/in_a_row", f"is true or false, not {kind_of(in_a_row)}")
        if "times" in given:
            often = self.mapping(given["times"], f"{path}/times", COMPARISONS, "comparison")
            times = None if often is None else self.compare(often, f"{path}/times", whole=True)
        compare = self.compare(given, path, whole=True)
        if compare is None or unit not in PERIODS_OF or ("times" in given and times is None):
            return None
        return Measure("periods", compare, periods=Periods(unit, times, in_a_row is True))

    def nth(self, value: object, path: str) -> Measure | None:
        given = self.mapping(value, path, ("n", "where", "window"), 'key of "nth"')
        if given is None:
            return None
        n, where = given.get("n"), self.where(given, path)
        if type(n) is not int or not 1 <= abs(n) <= HIGHEST_N:
            self.wrong(f"{path}/n", "is a whole number: 1 is the first, 3 the third, -1 the last"[:200])
        if "window" not in given and "where" not in given:
            self.wrong(path, 'asks nothing of it; add "window" or "where", or use "count" for how often')
        window = self.window(given["window"], f"{path}/window") if "window" in given else None
        if where is None or type(n) is not int or ("window" in given and window is None):
            return None
        return Measure("nth", window=window, nth=Nth(n, where))

    def compare(
        self, given: Mapping[str, Any], path: str, *, whole: bool, zero: bool = False
    ) -> Compare | None:
        ops = [key for key in given if key in COMPARISONS]
        if len(ops) != 1:
            if ops or set(given) <= {"property", "percent", "of", "times", "in_a_row"}:
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
