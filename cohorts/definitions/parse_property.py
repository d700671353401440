"""The comparison of one property, from JSON."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

from collections.abc import Mapping
from typing import Any, cast

from cohorts.definitions.dates import instant_of
from cohorts.definitions.grammar import Property, Value, type_of_property
from cohorts.definitions.operators import CASED, OPERATORS
from cohorts.definitions.parse_time import TimeParser
from cohorts.definitions.pattern import BadPattern, portable
from cohorts.definitions.shapes import escape, kind_of

MAX_VALUES = 1_000
TYPES = ("string", "number", "boolean", "date")
OF_DATES = tuple(sign for sign, operator in OPERATORS.items() if operator.of_date)


class PropertyParser(TimeParser):
    def property(self, value: object, path: str) -> Property | None:
        given = self.mapping(value, path, ("property", "type", "ignore_case", *OPERATORS), "operator")
        if given is None:
            return None
        if "property" not in given:
            return self.wrong(f"{path}/property", "is missing; name the property")
        name = self.text(given["property"], f"{path}/property", "a property's name")
        ops = [key for key in given if key in OPERATORS]
        if len(ops) != 1:
            if ops or set(given) <= {"property", "type", "ignore_case"}:
                self.wrong(path, f'has {len(ops)} operators; use exactly one, such as {{"=": "jazz"}}')
            return None
        op = ops[0]
        values = self.operand(op, given[op], f"{path}/{escape(op)}")
        if values is None or name is None:
            return None
        type_ = self.type_of(op, values, given.get("type"), path)
        ignore_case = self.ignores_case(op, given, type_, path)
        if op == "between" and type_ and is_backwards(values, type_):
            self.wrong(f"{path}/{op}", f"runs from {values[0]} to {values[1]}; write the smaller first")
        return Property(name, op, type_, values, ignore_case) if type_ else None

    def ignores_case(self, op: str, given: Mapping[str, Any], type_: str | None, path: str) -> bool:
        asked = given.get("ignore_case", False)
        if not isinstance(asked, bool):
            self.wrong(f"{path}/ignore_case", f"is true or false, not {kind_of(asked)}")
        elif asked and (op not in CASED or type_ != "string"):
            self.wrong(f"{path}/ignore_case", "says something of texts only, compared by their letters")
        return asked is True

    def operand(self, op: str, value: Any, path: str) -> tuple[Value, ...] | None:
        shape = OPERATORS[op].shape
        if shape == "none":
            return () if value is True else self.wrong(path, f'write "{op}": true')
        if shape == "duration":
            duration = self.duration(value, path)
            return (duration,) if duration else None
        if shape == "pair":
            return self.list_of(value, path, '"between"', 2, 2, lambda v, p: self.value(v, p, "order"))
        if shape == "list":
            return self.list_of(value, path, f'"{op}"', 1, MAX_VALUES, lambda v, p: self.value(v, p, "any"))
        one = self.value(value, path, shape)
        return None if one is None else (one,)

    def value(self, value: Any, path: str, shape: str) -> Value | None:
        if isinstance(value, str):
            if shape in ("text", "pattern") and not value:
                return self.wrong(path, "is empty, and every text contains that")
            if not self.storable(value, path, "a value"):
                return None
            return self.pattern(value, path) if shape == "pattern" else value
        if shape in ("text", "pattern"):
            return self.wrong(path, f"is a string, not {kind_of(value)}")
        if isinstance(value, bool):
            return value if shape == "any" else self.wrong(path, 'true and false have no order; use "="')
        if value is None:
            return self.wrong(path, 'is null; use "is_set" or "is_not_set"')
        return self.number(value, path)

    def pattern(self, value: str, path: str) -> str | None:
        try:
            portable(value)
        except BadPattern as error:
            return self.wrong(path, str(error))
        return value

    def type_of(
        self, op: str, values: tuple[Value, ...], given: object, path: str
    ) -> type_of_property | None:
        """The operand says how values are compared; `type`, if given, must agree."""
        if given is not None and given not in TYPES:
            return self.wrong(
                f"{path}/type", f'unknown type {given!r}; use "string", "number", "boolean" or "date"'
            )
        relative = OPERATORS[op].shape == "duration"
        if (given == "date" and values) or (relative and given is None):
            return self.of_dates(op, values, path)
        if relative:
            return self.wrong(f"{path}/type", f'is "{given}", and "{op}" asks for a date')
        kinds = {
            "boolean" if isinstance(v, bool) else "string" if isinstance(v, str) else "number" for v in values
        }
        if len(kinds) > 1:
            return self.wrong(
                f"{path}/{escape(op)}", f"mixes {' and '.join(sorted(kinds))}; use one kind of value"
            )
        if given is not None and kinds and given not in kinds:
            [kind] = kinds
            return self.wrong(
                f"{path}/type", f'is "{given}" but the value is a {kind}; write the value as a {given}'
            )
        return cast("type_of_property", kinds.pop()) if kinds else "string"

    def of_dates(self, op: str, values: tuple[Value, ...], path: str) -> type_of_property | None:
        if op not in OF_DATES:
            return self.wrong(path, f'"{op}" does not compare dates; use one of {", ".join(OF_DATES)}')
        wrong = [v for v in values if OPERATORS[op].shape != "duration" and not is_date(v)]
        if wrong:
            return self.wrong(
                f"{path}/{escape(op)}",
                f'{wrong[0]!r} is no date; write "2024-09-30" or "2024-09-30T10:00:00Z"',
            )
        return "date"


def is_backwards(values: tuple[Value, ...], type_: type_of_property) -> bool:
    low, high = values if type_ != "date" else (instant_of(str(value)) for value in values)
    return low > high  # type: ignore[operator]  # of one kind: type_of has seen to it


def is_date(value: Value) -> bool:
    return isinstance(value, str) and instant_of(value) is not None
