"""PostgreSQL."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqlglot import exp

from cohorts.definitions.nested import Path, steps
from cohorts.dialects.expressions import SEPARATOR, call, integer, text
from cohorts.dialects.tables import TableDialect
from events.layout import NUMBER_PATTERN

# The collation that knows the small letters of all scripts.
UNICODE = "und-x-icu"
JSONPATH = exp.DataType.build("jsonpath", udt=True)


class PostgreSQL(TableDialect):
    name = "postgres"

    def json_text(self, *keys: str) -> exp.Expr:
        return call("jsonb_extract_path_text", self.column(self.tables.properties), *map(text, keys))

    def each_text(self, path: Path) -> exp.Expr:
        properties = self.column(self.tables.properties)
        outer = call("jsonb_extract_path", properties, *map(text, path.keys))
        found = call("jsonb_path_query_array", outer, exp.cast(text(f"$[*]{steps(path.each)}"), JSONPATH))
        as_text = call("nullif", exp.cast(found, "TEXT"), text("[]"))
        return exp.case().when(call("jsonb_typeof", outer.copy()).eq(text("array")), as_text)

    def number(self, value: exp.Expr) -> exp.Expr:
        numeric = exp.RegexpLike(this=value.copy(), expression=text(f"^{NUMBER_PATTERN}$"))
        return exp.case().when(numeric, exp.cast(value.copy(), "DOUBLE PRECISION"))

    def ends_with(self, value: exp.Expr, part: str) -> exp.Expr:
        return call("right", value.copy(), integer(len(part))).eq(text(part))

    def lowered(self, value: exp.Expr) -> exp.Expr:
        return call(
            "lower", exp.Collate(this=value.copy(), expression=exp.to_identifier(UNICODE, quoted=True))
        )

    def matches(self, value: exp.Expr, pattern: str) -> exp.Expr:
        of = exp.Collate(this=value.copy(), expression=exp.to_identifier(UNICODE, quoted=True))
        return exp.RegexpLike(this=of if "(?i)" in pattern else value.copy(), expression=text(pattern))

    def extracted(self, value: exp.Expr, pattern: str) -> exp.Expr:
        return call("substring", value.copy(), text(pattern))

    def whole(self, value: exp.Expr) -> exp.Expr:
        return exp.cast(call("nullif", value.copy(), text("")), "BIGINT")

    def elements(self, value: exp.Expr) -> exp.Select:
        made = call("jsonb_array_elements_text", exp.cast(value.copy(), "JSONB"))
        alias = exp.TableAlias(this=exp.to_identifier("e"), columns=[exp.to_identifier("x")])
        return exp.Select().from_(exp.Table(this=made, alias=alias))

    def any_element(self, value: exp.Expr, held: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
        found = self.elements(value).select(exp.Literal.number(1))
        return exp.Exists(this=found.where(held(exp.column("x", table="e"))))

    def list_text(self, value: exp.Expr) -> exp.Expr:
        each = exp.func("STRING_AGG", exp.column("x", table="e"), text(SEPARATOR))
        return exp.func("COALESCE", self.elements(value).select(each).subquery(), text(""))

    def instant(self, moment: datetime) -> exp.Expr:
        return exp.cast(text(moment.astimezone(UTC).isoformat()), "TIMESTAMPTZ")

    def micros(self) -> exp.Expr:
        seconds = exp.Extract(this=exp.var("EPOCH"), expression=self.time())
        return exp.cast(seconds * integer(1_000_000), "BIGINT")

    def month(self, day: exp.Expr) -> exp.Expr:
        date = exp.paren(exp.cast(text("1970-01-01"), "DATE") + exp.cast(exp.paren(day), "INT"))
        year, month = (exp.Extract(this=exp.var(part), expression=date.copy()) for part in ("YEAR", "MONTH"))
        return exp.cast(exp.paren(year * integer(12) + month), "INT")

    def percentile(self, value: exp.Expr, percent: int | float) -> exp.Expr:
        within = exp.PercentileCont(this=exp.Literal.number(repr(percent / 100)))
        return exp.WithinGroup(this=within, expression=exp.Order(expressions=[exp.Ordered(this=value)]))

    def rounded(self, value: exp.Expr) -> exp.Expr:
        return super().rounded(exp.cast(value, "DECIMAL"))

    def ordered(self, value: exp.Expr) -> exp.Expr:
        return exp.Collate(this=value, expression=exp.to_identifier("C", quoted=True))

    def divided(self, value: exp.Expr, by: int) -> exp.Expr:
        return exp.Div(this=exp.paren(value), expression=integer(by), typed=True)
