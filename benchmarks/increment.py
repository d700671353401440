"""Would it pay to calculate a cohort again only for those who may have moved since an hour ago?

    python benchmarks/increment.py --events 4000000

For three of the cohorts of behavioral.py, in processor time of the engine, the least of five: the query as
it is, the search for whom the window's edge has passed meanwhile, and the query among these alone.
"""

import argparse
import tempfile
import time
from pathlib import Path

import behavioral
import duckdb

AS_OF = f"TIMESTAMP '{behavioral.AS_OF:%Y-%m-%d}'"
OPENS = f"{AS_OF} - INTERVAL 30 DAY"
# The events, which of them count, and what is asked of a user.
COHORTS = {
    "1 downloads, jazz, 3 times": ("event = 'song_download'", "s0_category = 'jazz'", "count(*) >= 3"),
    "4 ten different days": ("event = 'session_start'", "true", "count(DISTINCT time::DATE) >= 10"),
    "8 any event": ("true", "true", "true"),
}
FORMAT = "FORMAT parquet, PARQUET_VERSION V2, COMPRESSION zstd, ROW_GROUP_SIZE 122880"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=4_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(config={"threads": 2}) as connection:
        file = Path(folder) / "events.parquet"
        rows = f"SELECT event, user_id, time, category AS s0_category FROM ({behavioral.rows(events, 1)})"
        connection.execute(f"COPY ({rows} ORDER BY event, user_id, time) TO '{file}' ({FORMAT})")
        print("| cohort | all, ms | who may have moved, ms | these alone, ms | how many these are |")
        print("| --- | --- | --- | --- | --- |")
        for name, (named, counted, held) in COHORTS.items():
            whole = (
                f"SELECT count(*) FROM (SELECT user_id FROM '{file}' WHERE {named} AND {counted} "
                f"AND time < {AS_OF} AND time >= {OPENS} GROUP BY user_id HAVING {held})"
            )
            passed = (
                f"CREATE OR REPLACE TEMP TABLE moved AS SELECT DISTINCT user_id FROM '{file}' "
                f"WHERE {named} AND time < {OPENS} AND time >= {OPENS} - INTERVAL 1 HOUR"
            )
            alone = whole.replace("WHERE", "WHERE user_id IN (FROM moved) AND", 1)
            took = [best(connection, query) for query in (whole, passed, alone)]
            [(moved,)] = connection.execute("SELECT count(*) FROM moved").fetchall()
            print(f"| {name} | {' | '.join(f'{ms:.0f}' for ms in took)} | {moved:,} |", flush=True)


def best(connection: duckdb.DuckDBPyConnection, query: str) -> float:
    took = []
    for _ in range(5):
        began = time.process_time()
        connection.execute(query).fetchall()
        took.append(1000 * (time.process_time() - began))
    return min(took)


if __name__ == "__main__":
    main()
