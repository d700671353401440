"""How long does an import of events take, beside DuckDB's own COPY of the same file into sorted Parquet?

    python -m benchmarks.importing --events 500000

For CSV, JSON lines and Parquet: seconds of processor time of both, their ratio, and the most memory that the
process had. Processor time, since other work on the machine must not decide.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import duckdb

ROWS = """
    SELECT 'u' || (hash(i) % 200000) AS user_id,
        ['play', 'buy', 'login', 'view'][(1 + hash(i + 1) % 4)::BIGINT] AS event,
        strftime(
            TIMESTAMP '2024-01-01' + INTERVAL ((hash(i + 2) % 25000000)::BIGINT) SECOND, '%Y-%m-%dT%H:%M:%SZ'
        ) AS time,
        ['jazz', 'pop', 'rock'][(1 + hash(i + 3) % 3)::BIGINT] AS category,
        (hash(i + 4) % 10000) / 100.0 AS price,
        ['DE', 'US', 'FR'][(1 + hash(i + 5) % 3)::BIGINT] AS country
    FROM range({events}) AS r(i)
"""
PROPERTIES = "{category: category, price: price, country: country} AS properties"
NESTED = f"SELECT user_id, event, time, {PROPERTIES} FROM"
FILES = {"events.csv": "HEADER", "events.jsonl": "FORMAT json", "events.parquet": "FORMAT parquet"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=500_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied = copy_all(folder, events)
        setup(folder)
        from events.importing import import_file

        for file in FILES:
            began = time.process_time()
            imported = import_file("default", folder / file, again=True)
            took = time.process_time() - began
            assert (imported.rows, imported.bad_lines) == (events, 0)
            figures = {
                "file": file,
                "events": events,
                "copy": round(copied[file], 2),
                "import": round(took, 2),
            }
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(json.dumps(figures | {"ratio": round(took / copied[file], 1), "memory_mb": memory}))


def copy_all(folder: Path, events: int) -> dict[str, float]:
    """Write the files, and return the processor time of DuckDB's own COPY of each."""
    took = {}
    with duckdb.connect(config={"threads": 2, "memory_limit": "500MB"}) as connection:
        for file, options in FILES.items():
            rows = ROWS.format(events=events)
            rows = f"{NESTED} ({rows})" if file.endswith(".jsonl") else rows
            connection.execute(f"COPY ({rows}) TO '{folder / file}' ({options})")
            began = time.process_time()
            source = f"SELECT * FROM '{folder / file}' ORDER BY event, user_id, time"
            connection.execute(f"COPY ({source}) TO '{folder / 'copy.parquet'}' (COMPRESSION zstd)")
            took[file] = time.process_time() - began
    return took


def setup(folder: Path) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "cohortsite.settings",
        "SECRET_KEY": "for this benchmark only, long enough that nothing complains about it",
        "FIELD_KEYS": "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=",
        "VAR_DIR": str(folder),
        "EVENTS_DIR": str(folder / "events"),
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
    }
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
