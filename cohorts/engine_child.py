"""The process that calculates, with its own limit of memory: started and spoken to by engine_process.py.

It reads a line of JSON for how to open DuckDB, then one for each job, and answers each with a line. When its
parent dies, its input ends and so does it. It imports no Django: it starts in a fraction of a second.
"""

import os
import queue
import resource
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import orjson

from events.user_id_rule import InvalidUserId, check_user_id

BATCH = 10_000
# What DuckDB does not count: stacks and arenas of its threads, the result on its way, Python's own.
HEADROOM_MB = 256
MB_PER_THREAD = 72


def main() -> None:
    lines = queue.SimpleQueue[bytes]()
    threading.Thread(target=read, args=(lines,), daemon=True).start()
    opening = orjson.loads(lines.get())
    connection = duckdb.connect(":memory:", config=opening)
    limit_memory(int(str(opening["memory_limit"]).removesuffix("MB")), int(opening["threads"]))
    while True:
        job = orjson.loads(lines.get())
        answer(connection, job)


def read(lines: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    os._exit(1)


def limit_memory(memory_mb: int, threads: int) -> None:
    """Let the system refuse what lies beyond the limit: one value of a gigabyte is not counted by DuckDB."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # a system that is not Linux has DuckDB's own limit, and the time
        return
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    most = now + (memory_mb + HEADROOM_MB + threads * MB_PER_THREAD) * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def answer(connection: duckdb.DuckDBPyConnection, job: dict[str, Any]) -> None:
    said: dict[str, Any] = {}
    try:
        run(connection, job)
    except InvalidUserId as error:
        said = {"error": "invalid_ids", "message": str(error)}
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        said = {"error": "too_large", "message": first_line(error)}
    except duckdb.Error as error:
        kind = "too_large" if "bad_alloc" in str(error) else "query_failed"
        said = {"error": kind, "message": first_line(error)}
    sys.stdout.buffer.write(orjson.dumps(said) + b"\n")
    sys.stdout.buffer.flush()


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def run(connection: duckdb.DuckDBPyConnection, job: dict[str, Any]) -> None:
    """Load the relations, run what prepares the query and then the query; write its rows to a file.

    A job without a target is a statement of our own (COPY); with one, it is exactly one SELECT.
    """
    for name, path in job["relations"].items():
        connection.execute(
            f"CREATE OR REPLACE TABLE {name} AS "
            "SELECT * FROM read_json($1, format='newline_delimited', columns={user_id: 'VARCHAR'})",
            [path],
        )
    for statement in job["prepare"]:
        connection.execute(statement)
    if job["target"] is None:
        connection.execute(job["sql"])
        return
    statements = connection.extract_statements(job["sql"])
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise duckdb.InvalidInputException("This is not one SELECT.")
    connection.execute(statements[0])
    write(connection, Path(job["target"]), ids=job["ids"])


def write(connection: duckdb.DuckDBPyConnection, target: Path, *, ids: bool) -> None:
    with target.open("wb") as file:
        while batch := connection.fetchmany(BATCH):
            if ids:
                file.writelines(orjson.dumps(checked(value)) + b"\n" for (value,) in batch)
            else:
                file.writelines(orjson.dumps(row, default=str) + b"\n" for row in batch)


def checked(value: object) -> str:
    try:
        return check_user_id(value)
    except InvalidUserId as error:
        raise InvalidUserId(f"{error}: {str(value)[:80]!r}") from None


if __name__ == "__main__":
    main()
