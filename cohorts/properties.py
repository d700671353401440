"""Whether a property's value fulfils a comparison: of a text, a number, a date, or a list of them."""

from dataclasses import replace
from datetime import datetime

from sqlglot import exp

from cohorts.definitions import dates
from cohorts.definitions.flat_list import elements_of
from cohorts.definitions.grammar import Duration, Property, Value
from cohorts.definitions.pattern import portable
from cohorts.dialects import Dialect, integer, text
from cohorts.zones import EPOCH, micros_of

SECOND = 1_000_000


class Comparison:
    """A positive comparison; NULL or false when the property is missing or of another kind."""

    def __init__(self, prop: Property, dialect: Dialect, as_of: datetime) -> None:
        self.prop, self.dialect, self.as_of = prop, dialect, as_of

    def holds(self, value: exp.Expr, number: exp.Expr) -> exp.Expr:
        """Of a list, it holds if it does for one of its elements, and "contains" asks for an element."""
        if self.prop.op == "is_set":
            return is_present(value)
        return (
            exp.case()
            .when(self.dialect.is_list(value), self.holds_of_list(value))
            .else_(self.holds_of_one(value, number))
        )

    def holds_of_list(self, value: exp.Expr) -> exp.Expr:
        element = self
        if self.prop.op == "contains":
            element = Comparison(replace(self.prop, op="="), self.dialect, self.as_of)
        held = self.dialect.any_element(
            value, lambda one: element.holds_of_one(one, self.dialect.number(one))
        )
        whole = [elements_of(v) for v in self.prop.values if isinstance(v, str)]
        if self.prop.op not in ("=", "in") or not any(whole):
            return held
        lists = [text("\x1f".join(of)) for of in whole if of]
        return exp.or_(held, exp.In(this=self.dialect.list_text(value), expressions=lists))

    def holds_of_one(self, value: exp.Expr, number: exp.Expr) -> exp.Expr:
        prop, dialect = self.prop, self.dialect
        if prop.type == "date":
            return self.compared(instant(value, dialect), [integer(micros) for micros in self.instants()])
        if prop.type == "number":
            return self.compared(number, [literal(v) for v in prop.values])
        values = [str(v) if not isinstance(v, bool) else literal(v).name for v in prop.values]
        if prop.op == "matches":
            return dialect.matches(value, ("(?i)" if prop.ignore_case else "") + portable(values[0]))
        if prop.ignore_case:
            value, values = dialect.lowered(value), [v.lower() for v in values]
        if prop.op in ("contains", "starts_with", "ends_with"):
            return getattr(dialect, prop.op)(value, values[0])  # type: ignore[no-any-return]
        ordered = prop.op not in ("=", "in") and prop.type == "string"
        return self.compared(dialect.ordered(value) if ordered else value, [text(v) for v in values])

    def compared(self, operand: exp.Expr, values: list[exp.Expr]) -> exp.Expr:
        if self.prop.op == "in":
            return exp.In(this=operand, expressions=values)
        if self.prop.op in ("last", "next"):
            return exp.and_(operand >= values[0], operand.copy() < values[1])
        return compared(operand, self.prop.op, values)

    def instants(self) -> list[int]:
        """The operand of a date, in microseconds; of "last" and "next" the two ends of that time."""
        [first, *_] = self.prop.values
        now = micros_of(self.as_of - EPOCH)
        if isinstance(first, Duration):
            length = micros_of(first.delta)
            return [now - length, now] if self.prop.op == "last" else [now, now + length]
        found = [dates.instant_of(str(value)) for value in self.prop.values]
        return [micros for micros in found if micros is not None]


def is_present(value: exp.Expr) -> exp.Expr:
    return exp.not_(exp.Is(this=value.copy(), expression=exp.null()))


def literal(value: Value) -> exp.Expr:
    if isinstance(value, bool):
        return text("true" if value else "false")
    assert not isinstance(value, Duration)
    return text(value) if isinstance(value, str) else number_literal(value)


def number_literal(value: int | float) -> exp.Expr:
    shown = exp.Literal.number(repr(abs(value)))
    return exp.Neg(this=shown) if value < 0 else shown


def compared(left: exp.Expr, op: str, values: list[exp.Expr]) -> exp.Expr:
    if op == "between":
        return exp.Between(this=left, low=values[0], high=values[1])
    kinds = {"=": exp.EQ, ">": exp.GT, ">=": exp.GTE, "<": exp.LT, "<=": exp.LTE}
    return kinds[op](this=left, expression=values[0])


# --- Dates ----------------------------------------------------------------------------------


def instant(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    """A text as microseconds since 1970; NULL when it is no date. Whole numbers: all engines agree."""
    return (
        exp.case()
        .when(dialect.matches(value, dates.SINCE_1970), since_1970(value, dialect))
        .when(exp.and_(dialect.matches(value, dates.DATE), is_day(value, dialect)), of_date(value, dialect))
    )


def since_1970(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    whole = dialect.whole(value)
    return (
        exp.case()
        .when(dialect.length(value) <= 10, whole * integer(SECOND))
        .when(dialect.length(value) <= 13, whole.copy() * integer(1_000))
        .else_(whole.copy())
    )


def cut(value: exp.Expr, start: int, length: int) -> exp.Expr:
    return exp.Substring(this=value.copy(), start=integer(start), length=integer(length))


def is_day(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    """Whether the month has the day: the pattern lets through 31 of each."""
    year = dialect.whole(cut(value, 1, 4))
    leap = exp.or_(
        exp.and_(
            exp.Mod(this=year, expression=integer(4)).eq(0),
            exp.Mod(this=year, expression=integer(100)).neq(0),
        ),
        exp.Mod(this=year.copy(), expression=integer(400)).eq(0),
    )
    month, day = cut(value, 6, 2), cut(value, 9, 2)
    return (
        exp.case()
        .when(day.isin("30"), month.neq(text("02")))
        .when(day.copy().eq(text("31")), exp.not_(month.copy().isin("02", "04", "06", "09", "11")))
        .when(exp.and_(day.copy().eq(text("29")), month.copy().eq(text("02"))), leap)
        .else_(exp.true())
    )


def of_date(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    return (
        days_of(value, dialect) * integer(86_400 * SECOND)
        + clock_of(value, dialect)
        - zone_of(value, dialect)
    )


def days_of(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    """Days since 1970. A year begins in March here, so that the day that comes and goes is its last."""
    month = dialect.whole(cut(value, 6, 2))
    early = exp.case().when(month <= 2, integer(1)).else_(integer(0))
    year = exp.paren(dialect.whole(cut(value, 1, 4)) - early)
    since_march = exp.paren(exp.Mod(this=exp.paren(month.copy() + 9), expression=integer(12)))
    before = dialect.divided(since_march * 153 + 2, 5)
    leaps = dialect.divided(year, 4) - dialect.divided(year, 100) + dialect.divided(year, 400)
    return exp.paren(year.copy() * 365 + leaps + before + dialect.whole(cut(value, 9, 2)) - 719_469)


def clock_of(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    """Microseconds since midnight; the parts that are not written are zero."""
    hours, minutes = or_zero(dialect.whole(cut(value, 12, 2))), or_zero(dialect.whole(cut(value, 15, 2)))
    has_seconds = cut(value, 17, 1).eq(text(":"))
    seconds = exp.case().when(has_seconds, dialect.whole(cut(value, 18, 2))).else_(integer(0))
    digits = exp.func("COALESCE", dialect.extracted(value, dates.FRACTION), text(""))
    fraction = dialect.whole(cut(dialect.concatenated(digits, text("000000")), 1, 6))
    return exp.paren((hours * 3600 + minutes * 60 + seconds) * integer(SECOND) + fraction)


def zone_of(value: exp.Expr, dialect: Dialect) -> exp.Expr:
    hours = or_zero(dialect.whole(dialect.extracted(value, dates.OFFSET_HOURS)))
    minutes = or_zero(dialect.whole(dialect.extracted(value, dates.OFFSET_MINUTES)))
    is_west = dialect.extracted(value, dates.OFFSET).eq(text("-"))
    sign = exp.case().when(is_west, integer(-1)).else_(integer(1))
    return exp.paren((hours * 60 + minutes) * sign * integer(60 * SECOND))


def or_zero(value: exp.Expr) -> exp.Expr:
    return exp.func("COALESCE", value, integer(0))


# --- Different values -----------------------------------------------------------------------


def same_text(value: exp.Expr, number: exp.Expr, dialect: Dialect) -> exp.Expr:
    """A text that is the same for values that are: 10 and 10.0, [1,2] and [1, 2]."""
    has_exponent = dialect.matches(value, "[eE]")
    short = trimmed(trimmed(value, "0"), ".")
    has_point = exp.StrPosition(this=value.copy(), substr=text(".")) > 0
    plain = exp.case().when(has_point, short).else_(value.copy())
    small = exp.and_(number < 1e15, number.copy() > -1e15, exp.Floor(this=number.copy()).eq(number.copy()))
    whole = exp.cast(exp.cast(number.copy(), "BIGINT"), "TEXT")
    spelled = exp.case().when(small, whole).else_(exp.cast(number.copy(), "TEXT"))
    return (
        exp.case()
        .when(dialect.is_list(value), dialect.concatenated(text("["), dialect.list_text(value)))
        .when(exp.Is(this=number.copy(), expression=exp.null()), value.copy())
        .when(number.copy().eq(0), text("0"))
        .when(has_exponent, spelled)
        .else_(plain)
    )


def trimmed(value: exp.Expr, sign: str) -> exp.Expr:
    return exp.Trim(this=value.copy(), expression=text(sign), position="TRAILING")
