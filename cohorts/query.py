"""Members by a query of a person's own: one SELECT on a configured database, read-only.

Guarded twice. The parser lets through one SELECT without any statement that writes, any function that is
not known to be harmless, any file and any system table; what runs is written again from the parsed tree,
so that nothing the parser did not see can run. The connection is read-only, cannot reach files and is
stopped when time is over. Give the database's own user no more than SELECT on what cohorts may see.
"""

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from sqlglot import exp, parse
from sqlglot.errors import SqlglotError

from cohorts.databases import Database, FileFolder, open_database
from events.engine import EngineError, Limits
from events.user_ids import MAX_BYTES

MAX_LENGTH = 100_000
# Known to sqlglot, and able to reach beyond the rows of a table.
REFUSED = (
    exp.Command, exp.DDL, exp.DML, exp.Into, exp.Lock, exp.Parameter, exp.Placeholder,
    exp.ReadCSV, exp.ReadParquet, exp.ToFile, exp.NextValueFor, exp.Predict, exp.NetFunc, exp.XMLTable,
    exp.GenerateTable, exp.AIAgg, exp.AIClassify, exp.AIEmbed, exp.AIForecast, exp.AIGenerate,
    exp.AISimilarity, exp.AISummarizeAgg, exp.VectorSearch,
)  # fmt: skip
# Not known to sqlglot by a name of its own, and harmless.
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


def members(database: str, sql: str, *, limits: Limits | None = None) -> Iterator[str]:
    """Yield the ids that a query returns in its one column, `user_id`: sorted, distinct, without NULL.

    `database` is a name of QUERY_DATABASES. Raises RefusedQuery and the EngineErrors of databases.py
    before the first id.
    """
    source = configured(database)
    compiled = compile_query(sql, source)
    temp = Path(settings.EVENTS_DIR) / "temp"
    temp.mkdir(parents=True, exist_ok=True)
    with source.ids(compiled, {}, limits or Limits.configured(), temp) as ids:
        yield from ids


def check_query(database: str, sql: str) -> None:
    """Raise RefusedQuery unless the database is configured and the query one that may run."""
    compile_query(sql, configured(database))


def configured(name: str) -> Database:
    if name not in settings.QUERY_DATABASES:
        known = ", ".join(sorted(settings.QUERY_DATABASES)) or "none is configured"
        raise RefusedQuery(f"There is no database {name!r} in QUERY_DATABASES ({known}).")
    return open_database(settings.QUERY_DATABASES[name])


def compile_query(sql: str, database: Database) -> str:
    """Return the guarded query, wrapped so that its ids come out sorted and distinct."""
    tables = database.tables() if isinstance(database, FileFolder) else None
    checked = guard(sql, database.dialect, tables)
    # A text that is too long stays too long; its gigabytes stay where they are.
    text = exp.cast(exp.column("user_id", table="q"), "TEXT")
    value = exp.Substring(this=text, start=exp.Literal.number(1), length=exp.Literal.number(MAX_BYTES + 1))
    rows = exp.select(exp.alias_(value, "user_id")).from_(checked.subquery("q")).distinct()
    rows = rows.where(exp.not_(exp.Is(this=exp.column("user_id", table="q"), expression=exp.null())))
    order: exp.Expr = exp.column("user_id")
    if database.dialect == "postgres":
        order = exp.Collate(this=order, expression=exp.to_identifier("C", quoted=True))
    ordered = exp.Ordered(this=order, nulls_first=True)
    # The order is outside: PostgreSQL takes only plain columns into the order of a DISTINCT.
    whole = exp.select("user_id").from_(rows.subquery("ids")).order_by(ordered)
    # Without the comments: no two parsers agree about what is inside of one.
    return whole.sql(database.dialect, comments=False)


def guard(sql: str, dialect: str, tables: set[str] | None = None) -> exp.Query:
    """Return the query as a tree, or raise RefusedQuery with the reason.

    `tables`, if given, are the only ones that may be named.
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
    if query.named_selects != ["user_id"]:
        raise RefusedQuery("The query must return one column, called user_id: SELECT … AS user_id FROM …")
    known = {cte.alias for cte in query.find_all(exp.CTE)}
    for node in query.walk():
        refuse(node, None if tables is None else tables | known)
    return query


def refuse(node: exp.Expr, tables: set[str] | None) -> None:
    if isinstance(node, REFUSED):
        raise RefusedQuery(f"A query may only read; {type(node).__name__} is not allowed.")
    if isinstance(node, exp.Query) and (node.args.get("settings") or node.args.get("format")):
        raise RefusedQuery("SETTINGS and FORMAT are not allowed in a query.")
    if isinstance(node, (exp.Anonymous, exp.AnonymousAggFunc)) and node.name.lower() not in HARMLESS:
        raise RefusedQuery(f"The function {node.name} is not known to be harmless, so it is not allowed.")
    if isinstance(node, exp.DataType) and node.sql("postgres").lower().startswith("reg"):
        raise RefusedQuery(f"{node.sql('postgres')} reads a system table, which is not allowed.")
    if isinstance(node, exp.Table):
        refuse_table(node, tables)


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
