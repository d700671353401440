"""ClickHouse."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlglot import exp

from cohorts.definitions.nested import Path
from cohorts.dialects.expressions import SEPARATOR, call, integer, text
from cohorts.dialects.tables import TableDialect
from events.layout import NUMBER_PATTERN


class ClickHouse(TableDialect):
    name = "clickhouse"

    def json_text(self, *keys: str) -> exp.Expr:
        properties = self.column(self.tables.properties)
        kind = call("JSONType", properties, *map(text, keys))
        string = call("JSONExtractString", properties.copy(), *map(text, keys))
        raw = call("JSONExtractRaw", properties.copy(), *map(text, keys))
        return (
            exp.case()
            .when(kind.eq(text("String")), string)
            .when(kind.copy().neq(text("Null")), raw)
            .else_(exp.null())
        )

    def each_text(self, path: Path) -> exp.Expr:
        elements = call("JSONExtractArrayRaw", self.column(self.tables.properties), *map(text, path.keys))
        e, x = exp.column("e"), exp.to_identifier("e")
        inner = call("JSONExtractRaw", e, *map(text, path.each))
        found = call("arrayMap", exp.Lambda(this=inner, expressions=[x]), elements)
        present = call("arrayFilter", exp.Lambda(this=e.copy().neq(text("")), expressions=[x.copy()]), found)
        joined = call("concat", text("["), call("arrayStringConcat", present, text(",")), text("]"))
        return call("nullIf", joined, text("[]"))

    def number(self, value: exp.Expr) -> exp.Expr:
        numeric = call("match", call("ifNull", value.copy(), text("")), text(f"^{NUMBER_PATTERN}$"))
        return exp.case().when(numeric, call("toFloat64OrNull", value.copy())).else_(exp.null())

    def ends_with(self, value: exp.Expr, part: str) -> exp.Expr:
        return call("endsWith", value.copy(), text(part))

    def lowered(self, value: exp.Expr) -> exp.Expr:
        return call("lowerUTF8", value.copy())

    def matches(self, value: exp.Expr, pattern: str) -> exp.Expr:
        return call("match", call("ifNull", value.copy(), text("")), text(pattern))

    def extracted(self, value: exp.Expr, pattern: str) -> exp.Expr:
        return call("extract", call("ifNull", value.copy(), text("")), text(pattern))

    def whole(self, value: exp.Expr) -> exp.Expr:
        return call("toInt64OrNull", call("ifNull", value.copy(), text("")))

    def hashed(self, value: exp.Expr) -> exp.Expr:
        return call("lower", call("hex", call("MD5", value)))

    def length(self, value: exp.Expr) -> exp.Expr:
        return call("lengthUTF8", value.copy())

    def elements(self, value: exp.Expr) -> exp.Expr:
        e, x = exp.column("e"), exp.to_identifier("e")
        raw = call("JSONExtractArrayRaw", call("ifNull", value.copy(), text("")))
        present = call("arrayFilter", exp.Lambda(this=e.neq(text("null")), expressions=[x]), raw)
        unquoted = call("if", call("startsWith", e, text('"')), call("JSONExtractString", e.copy()), e.copy())
        return call("arrayMap", exp.Lambda(this=unquoted, expressions=[x.copy()]), present)

    def any_element(self, value: exp.Expr, held: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
        found = call("ifNull", held(exp.column("x")), exp.false())
        return call(
            "arrayExists", exp.Lambda(this=found, expressions=[exp.to_identifier("x")]), self.elements(value)
        )

    def list_text(self, value: exp.Expr) -> exp.Expr:
        return call("arrayStringConcat", self.elements(value), text(SEPARATOR))

    def instant(self, moment: datetime) -> exp.Expr:
        shown = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        return call("toDateTime64", text(shown), integer(6), text("UTC"))

    def micros(self) -> exp.Expr:
        return call("toUnixTimestamp64Micro", call("toDateTime64", self.time(), integer(6)))

    def month(self, day: exp.Expr) -> exp.Expr:
        date = call("addDays", call("toDate32", text("1970-01-01")), day)
        return call("toYear", date) * integer(12) + call("toMonth", date.copy())

    def percentile(self, value: exp.Expr, percent: int | float) -> exp.Expr:
        level = exp.Literal.number(repr(percent / 100))
        return exp.ParameterizedAgg(this="quantileExactInclusive", expressions=[level], params=[value])

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        return call("intDiv", value, integer(by))
