"""The parser's half of the guard around a person's own query: one SELECT, of tables, by functions of a list.

What runs is written again from the parsed tree, so that nothing that the parser did not see can run.
"""

from collections.abc import Collection

from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from events.engine import EngineError

MAX_LENGTH = 100_000
# Not functions, and able to reach beyond the rows of a table, or to run a function that is not on the list.
REFUSED = (
    exp.Command, exp.DDL, exp.DML, exp.Into, exp.Lock, exp.Parameter, exp.Placeholder, exp.Operator,
)  # fmt: skip
# The functions that may be called, by sqlglot's names for them. Each only makes a value of its arguments.
FUNCTION_NAMES = """
    And Or Xor Not Case If Cast TryCast Coalesce Nullif Nvl2 Greatest Least Exists Collate
    Count CountIf Sum Avg Min Max ArgMax ArgMin AnyValue ApproxDistinct ApproxQuantile Quantile Median Mode
    PercentileCont PercentileDisc Stddev StddevPop StddevSamp Variance VariancePop Corr CovarPop CovarSamp
    ArrayAgg ArrayUniqueAgg GroupConcat LogicalAnd LogicalOr BitwiseAndAgg BitwiseOrAgg BitwiseXorAgg
    BitwiseCount Hll Kurtosis Skewness Grouping GroupingId CombinedAggFunc ParameterizedAgg
    CombinedParameterizedAgg
    RowNumber Rank DenseRank PercentRank CumeDist Ntile Lag Lead FirstValue LastValue NthValue First Last
    Abs Ceil Floor Round Trunc Sign Sqrt Cbrt Exp Ln Log Pow Sin Cos Tan Asin Acos Atan Atan2 Sinh Cosh Tanh
    Asinh Acosh Atanh Cot Degrees Radians Pi Factorial WidthBucket SafeDivide IsNan IsInf Negative Rint Getbit
    Length ByteLength BitLength Lower Upper Initcap Trim Left Right Substring SubstringIndex Concat ConcatWs
    Contains StartsWith EndsWith StrPosition Replace Translate Reverse Repeat Pad Split SplitPart Ascii Chr
    Unicode Overlay Levenshtein JarowinklerSimilarity Soundex Hex LowerHex Unhex MD5 MD5Digest
    MD5NumberLower64 MD5NumberUpper64 SHA SHA1Digest SHA2 SHA2Digest CityHash64 FarmFingerprint StandardHash
    Encode Decode Base64Encode Base64DecodeString Format Space Strtok ToChar ToNumber Elt RtrimmedLength
    RegexpCount RegexpExtract RegexpExtractAll RegexpFullMatch RegexpILike RegexpInstr RegexpLike
    RegexpReplace RegexpSplit RegexpSubstr
    CurrentDate CurrentDatetime CurrentTime CurrentTimestamp CurrentTimestampLTZ Localtime Localtimestamp
    UtcDate UtcTime UtcTimestamp Systimestamp
    Date DateAdd DateBin DateDiff DateFromParts DateFromUnixDate DateStrToDate DateSub DateToDateStr DateToDi
    DateTrunc Datetime DatetimeAdd DatetimeDiff DatetimeSub DatetimeTrunc Day DayOfMonth DayOfWeek
    DayOfWeekIso DayOfYear Dayname Extract Hour Minute Second Month Monthname MonthsBetween Quarter Week
    WeekOfYear WeekStart Year YearOfWeek YearOfWeekIso LastDay AddMonths NextDay PreviousDay MakeInterval
    JustifyDays JustifyHours JustifyInterval StrToDate StrToTime StrToUnix ParseDatetime ParseTime Time
    TimeAdd TimeDiff TimeFromParts TimeSub TimeToStr TimeToUnix TimeTrunc TimeStrToDate TimeStrToTime
    TimeSlice ToDays Timestamp TimestampAdd TimestampDiff TimestampFromParts TimestampSub TimestampTrunc
    TimestampTzFromParts TsOrDsAdd TsOrDsDiff TsOrDsToDate TsOrDsToDatetime TsOrDsToTime TsOrDsToTimestamp
    UnixDate UnixMicros UnixMillis UnixSeconds UnixToStr UnixToTime UnixToTimeStr ConvertTimezone
    FromISO8601Timestamp
    Array ArrayAll ArrayAny ArrayAppend ArrayCompact ArrayConcat ArrayContainedBy ArrayContains
    ArrayContainsAll ArrayDistinct ArrayExcept ArrayFilter ArrayFirst ArrayIntersect ArrayLast ArrayMax
    ArrayMin ArrayOverlaps ArrayPosition ArrayPrepend ArrayRemove ArrayReverse ArraySize ArraySlice ArraySort
    ArraySum ArrayToString ArraysZip StringToArray ToArray Explode Posexplode Unnest Flatten GenerateSeries
    ExplodingGenerateSeries GenerateDateArray GenerateTimestampArray Apply Transform Reduce List
    Map MapFromEntries MapKeys MapContainsKey MapSize VarMap ToMap Struct StructExtract
    JSONArray JSONArrayContains JSONBContains JSONBContainsAllTopKeys JSONBContainsAnyTopKeys
    JSONBContainsTopKey JSONBExists JSONBExtract JSONBExtractScalar JSONBPathExists JSONBool JSONCast
    JSONExists JSONExtract JSONExtractArray JSONExtractScalar JSONFormat JSONKeys JSONObject JSONType
    JSONValueArray ParseJSON
    ToDouble ToBoolean Typeof String Float64 Int64 Booland Boolor Boolnot EqualNull IsNullValue
"""
FUNCTIONS = frozenset(FUNCTION_NAMES.split())
# And those that sqlglot has no name of its own for, by the engines' names.
HARMLESS = {
    "age", "bit_count", "btrim", "cityhash64", "date_bin", "epoch_ms", "epoch_us", "hashtext", "ifnull",
    "isnull", "isnotnull", "json_extract_string", "jsonb_extract_path_text", "jsonextractbool",
    "jsonextractfloat", "jsonextractint", "jsonextractraw", "jsonextractstring", "jsonhas", "jsontype",
    "make_timestamp", "map_extract_value", "match", "md5_number", "notempty", "nullif", "position",
    "regexp_full_match", "siphash64", "to_timestamp", "todate", "todatetime", "todatetime64",
    "tofloat64ornull", "toint64ornull", "tostring", "touint64ornull", "touuid", "tuple", "xxhash64",
}  # fmt: skip
SYSTEM = {"pg_catalog", "information_schema", "system", "pg_toast", "sqlite_master", "duckdb_internal"}


class RefusedQuery(EngineError):
    code = "refused_query"


def guard(
    sql: str, dialect: str, tables: set[str] | None = None, columns: Collection[str] | None = ()
) -> exp.Query:
    """Return the query as a tree, or raise RefusedQuery with the reason.

    `tables`, if given, are the only ones that may be named. `columns`: what it must return besides user_id;
    None: whatever it likes.
    """
    if len(sql) > MAX_LENGTH:
        raise RefusedQuery(f"The query is longer than {MAX_LENGTH:,} characters.")
    try:
        statements = [statement for statement in parse(sql, dialect=dialect) if statement is not None]
    except (SqlglotError, RecursionError) as error:
        raise RefusedQuery(f"The query cannot be understood: {str(error).splitlines()[0][:300]}") from None
    if len(statements) != 1:
        raise RefusedQuery(f"A query is exactly one SELECT; these are {len(statements)} statements.")
    [query] = statements
    if not isinstance(query, exp.Query) or isinstance(query, (exp.Values, exp.Table)):
        raise RefusedQuery(f"A query is a SELECT, not {type(query).__name__.upper()}.")
    check_columns(query.named_selects, columns)
    known = {cte.alias for cte in query.find_all(exp.CTE)}
    for node in query.walk():
        refuse(node, None if tables is None else tables | known)
        if dialect == "postgres":
            refuse_on_postgresql(node)
    return query


def check_columns(returned: list[str], wanted: Collection[str] | None) -> None:
    if "user_id" not in returned or (returned != ["user_id"] and wanted == ()):
        raise RefusedQuery(
            "The query must return one column, called user_id: SELECT … AS user_id FROM … "
            "Further columns must each become a field of people's profiles."
        )
    if wanted is None:
        return
    if missing := [name for name in wanted if name not in returned]:
        raise RefusedQuery(f"The query returns no column {missing[0]!r}, of which a field is to be made.")
    if other := [name for name in returned if name not in {"user_id", *wanted}]:
        raise RefusedQuery(
            f"The query returns a column {other[0]!r} that becomes no field: say of which, or take it out."
        )
    if len(set(returned)) < len(returned):
        raise RefusedQuery("The query returns two columns of one name.")


def refuse(node: exp.Expr, tables: set[str] | None) -> None:
    if isinstance(node, REFUSED):
        raise RefusedQuery(f"A query may only read; {type(node).__name__} is not allowed.")
    if isinstance(node, exp.Query) and (node.args.get("settings") or node.args.get("format")):
        raise RefusedQuery("SETTINGS and FORMAT are not allowed in a query.")
    if isinstance(node, exp.Func) and not is_harmless(node):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        raise RefusedQuery(f"The function {name} is not known to be harmless, so it is not allowed.")
    if isinstance(node, exp.DataType) and node.sql("postgres").lower().startswith("reg"):
        raise RefusedQuery(f"{node.sql('postgres')} reads a system table, which is not allowed.")
    if isinstance(node, exp.Table):
        refuse_table(node, tables)


def is_harmless(function: exp.Func) -> bool:
    if isinstance(function, (exp.Anonymous, exp.AnonymousAggFunc)):
        return function.name.lower() in HARMLESS
    return type(function).__name__ in FUNCTIONS


def refuse_on_postgresql(node: exp.Expr) -> None:
    """PostgreSQL calls a function of one argument by a dot, too, and has types whose reading is a function.

    `t.name` is left: whether it is a column only the database knows (query_columns.py).
    """
    if isinstance(node, exp.Dot):
        raise RefusedQuery(
            f"{node.sql('postgres')[:80]} may call a function by its dot, so it is not allowed. "
            "Write functions as name(…), without a schema."
        )
    if isinstance(node, exp.DataType) and node.is_type(exp.DType.USERDEFINED):
        raise RefusedQuery(f"{node.sql('postgres')} is no type of PostgreSQL's own, so it is not allowed.")


def refuse_table(table: exp.Table, tables: set[str] | None) -> None:
    if not isinstance(table.this, exp.Identifier):
        if isinstance(table.this, (exp.GenerateSeries, exp.ExplodingGenerateSeries)):
            return
        raise RefusedQuery(f"A query reads tables; {table.sql()[:80]} is a function that reads elsewhere.")
    name, schema = table.name, table.db.lower()
    if (
        schema in SYSTEM
        or table.catalog.lower() in SYSTEM
        or name.lower() in SYSTEM
        or name.lower().startswith("pg_")
    ):
        raise RefusedQuery(f"{table.sql()} is a system table.")
    if tables is not None and (schema or name not in tables):
        listed = ", ".join(sorted(tables)[:20])
        raise RefusedQuery(f"There is no table {table.sql()} here; there are: {listed}.")
