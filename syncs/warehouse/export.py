"""Write what is new into the target, table by table."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cohorts.members import UnreadableVersion
from syncs.warehouse.clickhouse import ClickHouse
from syncs.warehouse.parquet import Parquet
from syncs.warehouse.postgres import Postgres
from syncs.warehouse.tables import TABLES

SCHEMA = "cohort_sync"
Target = Postgres | ClickHouse | Parquet


class UnknownTarget(ValueError):
    """Neither a PostgreSQL or ClickHouse database nor a folder."""


def target_of(where: str) -> Target:
    """Return what an address names: postgres://…, clickhouse://… or a folder. Raises UnknownTarget,
    psycopg.Error."""
    scheme, separator, _ = where.partition("://")
    if not separator and where:
        return Parquet(Path(where).absolute())
    if scheme in ("postgres", "postgresql"):
        return Postgres(where, SCHEMA)
    if scheme in ("clickhouse", "clickhouses"):
        return ClickHouse(where)
    raise UnknownTarget(
        "Name a database (postgres://… or clickhouse://…) or a folder for Parquet files, by WAREHOUSE_URL or "
        "--to."
    )


def export(target: Target, stopping: Callable[[], bool] = lambda: False) -> dict[str, int]:
    """Return how many rows of each table were written. It may be stopped, or die, at any moment."""
    written = dict.fromkeys((table.name for table in TABLES), 0)
    with target:
        target.prepare(TABLES)
        for table in TABLES:
            if table.snapshot and not stopping():
                written[table.name] = target.replace(table, table.snapshot())
            # What pruning takes while it is read is not written; the next export begins with what is left.
            with suppress(UnreadableVersion):
                for chunk in table.chunks(target.positions(table)) if table.chunks else ():
                    if stopping():
                        break
                    written[table.name] += target.append(table, chunk)
    return written
