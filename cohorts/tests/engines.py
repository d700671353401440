"""A generated world put before each engine, and its answer taken."""

import json
from collections.abc import Mapping
from pathlib import Path

import duckdb

from cohorts.compile import compile_members
from cohorts.definitions import Definition
from cohorts.dialects import DuckDB
from cohorts.tests.oracle import World
from cohorts.tests.strategies import AS_OF
from events import convert
from events.layout import Layout
from events.records import event_line, traits_line


def duckdb_layout(world: World, folder: Path, numbers: Mapping[str, int]) -> Layout:
    """Write a world into our own files, as a compaction does."""
    connection = duckdb.connect()
    layout = Layout(columns=numbers)
    if world.events:
        rows = [dict(e._asdict(), time=e.time.isoformat()) for e in world.events]
        (folder / "events.jsonl").write_bytes(b"".join(map(event_line, rows)))
        convert.load_events(connection, [folder / "events.jsonl"])
        target = folder / "events.parquet"
        written = convert.write_events(connection, numbers, convert.count_events(connection), target)
        present = frozenset(written.columns)
        layout = Layout((str(target),), (), numbers, present, "rest" in present)
    if world.users:
        traits = [
            {"user_id": user, "time": AS_OF.isoformat(), "traits": traits}
            for user, traits in world.users.items()
        ]
        (folder / "traits.jsonl").write_bytes(b"".join(map(traits_line, traits)))
        convert.load_traits(connection, [folder / "traits.jsonl"])
        convert.write_traits(connection, folder / "traits.parquet")
        layout = Layout(
            layout.events, (str(folder / "traits.parquet"),), numbers, layout.present, layout.has_rest
        )
    connection.close()
    return layout


def duckdb_members(definition: Definition, world: World, layout: Layout) -> list[str]:
    connection = duckdb.connect()
    for key, ids in world.cohorts.items():
        connection.execute(f'CREATE TABLE "cohort {key}" (user_id VARCHAR)')
        connection.execute(
            f'INSERT INTO "cohort {key}" SELECT unnest(from_json($1, \'["VARCHAR"]\'))',
            [json.dumps(sorted(ids))],
        )
    dialect = DuckDB(layout, {key: f"cohort {key}" for key in world.cohorts})
    rows = connection.execute(compile_members(definition, AS_OF, dialect).sql).fetchall()
    connection.close()
    return [row[0] for row in rows]
