"""What differs between the engines: where events lie, how a property is read, how time is counted.

Every method returns a sqlglot expression. The compiler (`compile.py`) knows no engine.
"""

from cohorts.dialects.clickhouse import ClickHouse
from cohorts.dialects.dialect import Compiled, Dialect
from cohorts.dialects.duckdb_files import DuckDB, parquet
from cohorts.dialects.expressions import DAY, call, integer, text
from cohorts.dialects.postgresql import PostgreSQL
from cohorts.dialects.tables import OWN, TableDialect, Tables

__all__ = [
    "DAY",
    "OWN",
    "ClickHouse",
    "Compiled",
    "Dialect",
    "DuckDB",
    "PostgreSQL",
    "TableDialect",
    "Tables",
    "call",
    "integer",
    "parquet",
    "text",
]
