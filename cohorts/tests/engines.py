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
from cohorts.tests.oracle import World
from cohorts.tests.strategies import AS_OF, COHORTS
from events import convert
from events.layout import Layout
from events.records import event_line, traits_line

TABLES = {key: f"cohort {key}" for key in COHORTS}


def duckdb_layout(world: World, folder: Path, numbers: Mapping[str, int]) -> Layout:
    """Write a world into our own files, as a compaction does."""
    connection = duckdb.connect()
    layout = Layout(columns=numbers)
    if world.events:
        rows = [dict(e._asdict(), time=e.time.isoformat()) for e in world.events]
        (folder / "events.jsonl").write_bytes(b"".join(map(event_line, rows)))
        convert.load_events(connection, [folder / "events.jsonl"])
        target = folder / "events.parquet"
        counted = convert.count_events(connection)
        written = convert.write_events(connection, numbers, counted, target)
        present = frozenset(written.columns)
        counts = {c.event: c.count for c in counted if c.property is None}
        layout = Layout((str(target),), (), numbers, present, "rest" in present, counts)
    if world.users:
        traits = [
            {"user_id": user, "time": AS_OF.isoformat(), "traits": traits}
            for user, traits in world.users.items()
        ]
        (folder / "traits.jsonl").write_bytes(b"".join(map(traits_line, traits)))
        convert.load_traits(connection, [folder / "traits.jsonl"])
        convert.write_traits(connection, folder / "traits.parquet")
        layout = replace(layout, traits=(str(folder / "traits.parquet"),))
    connection.close()
    return layout


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
    dialect = DuckDB(layout, {key: f"cohort {key}" for key in world.cohorts})
    rows = connection.execute(compile_members(definition, as_of, dialect).sql).fetchall()
    connection.close()
    return [row[0] for row in rows]


class PostgreSQLEngine:
    """Temporary tables on a real server."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute(
            "CREATE TEMP TABLE events (user_id text, event text, time timestamptz, properties jsonb)"
        )
        self.connection.execute("CREATE TEMP TABLE users (user_id text, properties jsonb)")
        for key in COHORTS:
            self.connection.execute(f'CREATE TEMP TABLE "cohort {key}" (user_id text)')

    def fill(self, world: World) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute("TRUNCATE events, users, " + ", ".join(f'"cohort {key}"' for key in COHORTS))
            rows = [(e.user_id, e.event, e.time, json.dumps(e.properties)) for e in world.events]
            with cursor.copy("COPY events FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            users = (world.users or {}).items()
            cursor.executemany("INSERT INTO users VALUES (%s, %s)", [(u, json.dumps(t)) for u, t in users])
            for key, ids in world.cohorts.items():
                cursor.executemany(f'INSERT INTO "cohort {key}" VALUES (%s)', [(i,) for i in ids])

    def members(self, definition: Definition, as_of: datetime, users: bool) -> list[str]:
        dialect = PostgreSQL(Tables(users="users" if users else None), TABLES)
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
            "properties String) ENGINE MergeTree ORDER BY (event, user_id, time)"
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
        self.insert(
            "events",
            [
                {
                    "user_id": e.user_id,
                    "event": e.event,
                    "time": e.time.strftime("%Y-%m-%d %H:%M:%S.%f"),
                    "properties": json.dumps(e.properties),
                }
                for e in world.events
            ],
        )
        users = (world.users or {}).items()
        self.insert("users", [{"user_id": u, "properties": json.dumps(t)} for u, t in users])
        for key, ids in world.cohorts.items():
            self.insert(f"`cohort {key}`", [{"user_id": i} for i in ids])

    def members(self, definition: Definition, as_of: datetime, users: bool) -> list[str]:
        dialect = ClickHouse(Tables(users="users" if users else None), TABLES)
        answer = self.run(compile_members(definition, as_of, dialect).sql)
        return [json.loads(line)[0] for line in answer.splitlines()]
