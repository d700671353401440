"""How long does an import of events take, beside DuckDB's own COPY of the same file into sorted Parquet?

    python -m benchmarks.importing --events 500000 [--only events.jsonl]

For CSV, JSON lines, Parquet, tables with JSON in a text, and Amplitude's export: seconds of processor time of
both, their ratio, and the most memory of both. Each works in a process of its own. Processor time, since
other work on the machine must not decide.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
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
PROPERTIES = "{category: category, price: price, country: country}"
# Amplitude's export has much that is null, and what is known of the user with each event.
EXPORT = """
    SELECT NULL AS adid, 1 AS app, NULL AS city, country, MAP {} AS groups, user_id, event AS event_type,
        replace(time, 'Z', '') AS event_time, 'i' || row_number() OVER () AS "$insert_id", NULL AS ip_address,
        'iOS' AS platform, {category: category, price: price} AS event_properties,
        {plan: category, shop: country} AS user_properties, NULL AS version_name FROM
"""
NESTED = f"SELECT user_id, event, time, {PROPERTIES} AS properties FROM"
TEXTS = f"SELECT user_id, event, time, to_json({PROPERTIES})::VARCHAR AS properties FROM"
# To each file what it holds of the rows, and how it is written.
FILES = {
    "events.csv": ("SELECT * FROM", "HEADER"),
    "events.jsonl": (NESTED, "FORMAT json"),
    "events.parquet": ("SELECT * FROM", "FORMAT parquet"),
    "texts.csv": (TEXTS, "HEADER"),
    "texts.parquet": (TEXTS, "FORMAT parquet"),
    "amplitude.json.gz": (EXPORT, "FORMAT json, COMPRESSION gzip"),
}
COPY_LIMITS = {"threads": 2, "memory_limit": "500MB"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--only", choices=FILES, action="append", help="one of the files; may be repeated")
    options = parser.parse_args()
    for file in options.only or FILES:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / file
            measured(lambda path=path: write(path, options.events))
            copied = measured(lambda path=path: copy(path))
            measured(lambda path=path: migrate(path.parent))
            imported = measured(
                lambda path=path: import_it(path, options.events), lambda path=path: setup(path.parent)
            )
        figures = {"file": file, "events": options.events, "ratio": round(imported[0] / copied[0], 2)}
        for what, (seconds, memory) in (("copy", copied), ("import", imported)):
            figures |= {what: round(seconds, 2), f"{what}_mb": memory}
        print(json.dumps(figures), flush=True)


def measured(work: Callable[[], None], prepare: Callable[[], None] = lambda: None) -> tuple[float, int]:
    """Do it in a process of its own; return its seconds of processor time, without those of preparing, and
    its megabytes at the peak."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            prepare()
            began = time.process_time()
            work()
            os.write(writing, str(time.process_time() - began).encode())
        except BaseException:  # noqa: BLE001 (the child of a fork must end here)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        took = said.read()
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(1)
    return float(took), used.ru_maxrss // 1024


def write(path: Path, events: int) -> None:
    selected, options = FILES[path.name]
    with duckdb.connect(config=COPY_LIMITS) as connection:
        connection.execute(f"COPY ({selected} ({ROWS.format(events=events)})) TO '{path}' ({options})")


def copy(path: Path) -> None:
    """DuckDB's own way."""
    name = "event_type, user_id, event_time" if path.name.startswith("amplitude") else "event, user_id, time"
    source = f"SELECT * FROM '{path}' ORDER BY {name}"
    with duckdb.connect(config=COPY_LIMITS) as connection:
        connection.execute(f"COPY ({source}) TO '{path.parent / 'copy.parquet'}' (COMPRESSION zstd)")


def import_it(path: Path, events: int) -> None:
    from events.importing import import_file

    imported = import_file("default", path)
    assert (imported.rows, imported.bad_lines) == (events, 0)


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

    django.setup()


def migrate(folder: Path) -> None:
    setup(folder)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


if __name__ == "__main__":
    sys.exit(main())
