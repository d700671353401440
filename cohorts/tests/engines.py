"""A generated world put before each engine, and its answer taken."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from chdb import session

from cohorts.compile import compile_members
from cohorts.definitions import Definition
from cohorts.dialects import ClickHouse, DuckDB, PostgreSQL, Tables
from cohorts.tests.oracle import Merge, World
from cohorts.tests.strategies import AS_OF, COHORTS
from events import convert
from events.devices import DECIDED, OF_OWNERS, ONLY_OWNERS
from events.layout import Layout
from events.names import Names, WorkspaceNames
from events.records import event_line, owner_line, traits_line

TABLES = {key: f"cohort {key}" for key in COHORTS}


def duckdb_layout(world: World, folder: Path, numbers: Mapping[str, int]) -> Layout:
    """Write a world into our own files, as a compaction does."""
    connection = duckdb.connect()
    layout = Layout(columns=numbers)
    if world.events:
        rows = [dict(e._asdict(), time=e.time.isoformat()) for e in world.events]
        rows = [{**row, "device_id": row.pop("device")} for row in rows]
        (folder / "events.jsonl").write_bytes(b"".join(map(event_line, rows)))
        spooled = convert.load_events(connection, [folder / "events.jsonl"])
        target = folder / "events.parquet"
        counted = convert.count_events(connection, spooled)
        written = convert.write_events(connection, spooled, numbers, counted, target)
        present = frozenset(written.columns)
        counts = {c.event: c.count for c in counted if c.property is None}
        layout = Layout((str(target),), (), numbers, present, "rest" in present, counts)
    at = AS_OF.isoformat()
    users = (world.users or {}).items()
    traits = [traits_line({"user_id": user, "time": at, "traits": traits}) for user, traits in users]
    said = [owner_line(*merge) for merge in world.merges]
    decided = [owner_line(device, user, at, name=DECIDED) for device, user in world.decided.items()]
    if lines := [*traits, *said, *decided]:
        (folder / "traits.jsonl").write_bytes(b"".join(lines))
        convert.load_traits(connection, [folder / "traits.jsonl"])
        found = convert.write_traits(connection, folder / "traits.parquet").columns
        path = (str(folder / "traits.parquet"),)
        if OF_OWNERS in found:
            layout = replace(layout, owners=path)
        if ONLY_OWNERS not in found:
            layout = replace(layout, traits=path)
    connection.close()
    return layout


def merges_of(world: World) -> list[Merge]:
    """What a table of merges says: a decision takes the place of what was said."""
    decided = [Merge(device, user, AS_OF) for device, user in world.decided.items() if user]
    return [*(merge for merge in world.merges if merge.device not in world.decided), *decided]


def names_of(world: World) -> WorkspaceNames:
    return WorkspaceNames(*map(Names, world.renamed))


def tables(world: World) -> Tables:
    on_devices = any(event.device for event in world.events)
    return Tables(users=None if world.users is None else "users", merges="merges" if on_devices else None)


def duckdb_members(
    definition: Definition, world: World, layout: Layout, as_of: datetime = AS_OF
) -> list[str]:
    connection = duckdb.connect()
    for key, ids in world.cohorts.items():
        connection.execute(f'CREATE TABLE "cohort {key}" (user_id VARCHAR)')
        connection.execute(
            f'INSERT INTO "cohort {key}" SELECT unnest(from_json($1, \'["VARCHAR"]\'))',
            [json.dumps(sorted(ids))],
        )
    dialect = DuckDB(layout, {key: f"cohort {key}" for key in world.cohorts}, names=names_of(world))
    rows = connection.execute(compile_members(definition, as_of, dialect).sql).fetchall()
    connection.close()
    return [row[0] for row in rows]


class PostgreSQLEngine:
    """Temporary tables on a real server."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(
            "CREATE TEMP TABLE events "
            "(user_id text, event text, time timestamptz, properties jsonb, device text)"
        )
        self.connection.execute("CREATE TEMP TABLE merges (device text, user_id text, time timestamptz)")
        self.connection.execute("CREATE TEMP TABLE users (user_id text, properties jsonb)")
        for key in COHORTS:
            self.connection.execute(f'CREATE TEMP TABLE "cohort {key}" (user_id text)')

    def fill(self, world: World) -> None:
        self.names = names_of(world)
        with self.connection.cursor() as cursor:
            cursor.execute(
                "TRUNCATE events, users, merges, " + ", ".join(f'"cohort {key}"' for key in COHORTS)
            )
            rows = [
                (e.user_id or None, e.event, e.time, json.dumps(e.properties), e.device) for e in world.events
            ]
            cursor.executemany("INSERT INTO merges VALUES (%s, %s, %s)", merges_of(world))
            with cursor.copy("COPY events FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            users = (world.users or {}).items()
            cursor.executemany("INSERT INTO users VALUES (%s, %s)", [(u, json.dumps(t)) for u, t in users])
            for key, ids in world.cohorts.items():
                cursor.executemany(f'INSERT INTO "cohort {key}" VALUES (%s)', [(i,) for i in ids])

    def members(self, definition: Definition, as_of: datetime, tables: Tables) -> list[str]:
        dialect = PostgreSQL(tables, TABLES, names=self.names)
        rows = self.connection.execute(compile_members(definition, as_of, dialect).sql.encode()).fetchall()
        return [row[0] for row in rows]


class ClickHouseEngine:
    """ClickHouse inside this process: chdb is the same engine as a wheel."""

    def __init__(self) -> None:
        self.session: Any = session.Session()
        self.run("CREATE DATABASE IF NOT EXISTS agree")
        self.run("USE agree")
        self.run(
            "CREATE OR REPLACE TABLE events (user_id String, event String, time DateTime64(6, 'UTC'), "
            "properties String, device String) ENGINE MergeTree ORDER BY (event, user_id, time)"
        )
        self.run(
            "CREATE OR REPLACE TABLE merges (device String, user_id String, time DateTime64(6, 'UTC')) "
            "ENGINE Memory"
        )
        self.run("CREATE OR REPLACE TABLE users (user_id String, properties String) ENGINE Memory")
        for key in COHORTS:
            self.run(f"CREATE OR REPLACE TABLE `cohort {key}` (user_id String) ENGINE Memory")

    def run(self, sql: str) -> str:
        return str(self.session.query(sql, "JSONCompactEachRow"))

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        self.run(f"TRUNCATE TABLE {table}")
        if rows:
            self.run(f"INSERT INTO {table} FORMAT JSONEachRow " + "\n".join(map(json.dumps, rows)))

    def fill(self, world: World) -> None:
        self.names = names_of(world)
        self.insert(
            "events",
            [
                {
                    "user_id": e.user_id,
                    "event": e.event,
                    "time": e.time.strftime("%Y-%m-%d %H:%M:%S.%f"),
                    "properties": json.dumps(e.properties),
                    "device": e.device,
                }
                for e in world.events
            ],
        )
        merges = [m._asdict() | {"time": m.time.strftime("%Y-%m-%d %H:%M:%S.%f")} for m in merges_of(world)]
        self.insert("merges", merges)
        users = (world.users or {}).items()
        self.insert("users", [{"user_id": u, "properties": json.dumps(t)} for u, t in users])
        for key, ids in world.cohorts.items():
            self.insert(f"`cohort {key}`", [{"user_id": i} for i in ids])

    def members(self, definition: Definition, as_of: datetime, tables: Tables) -> list[str]:
        dialect = ClickHouse(tables, TABLES, names=self.names)
        answer = self.run(compile_members(definition, as_of, dialect).sql)
        return [json.loads(line)[0] for line in answer.splitlines()]
