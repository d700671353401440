"""What a Python user would pick today: dlt's custom destination, fed from a Parquet file.

    PYTHON-WITH-DLT benchmarks/sender_dlt.py URL KIND USERS.CSV     prints {"seconds", "cpu"}

Four load jobs at a time, 1,000 users a request, a Session a thread, orjson: what the others do. Making
the Parquet file from the ids is not timed.
"""

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

THREADS = 4
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "LOAD__WORKERS": str(THREADS),
}

import dlt  # noqa: E402
import orjson  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import requests  # noqa: E402

CONTEXT = {"integration": {"name": "Amplitude Cohort Sync", "version": "1.0.0"}}
TRAIT = "[Amplitude] Everybody: everybody"


def body_of(kind: str, users: list[str]) -> bytes:
    if kind == "list":
        return orjson.dumps({"userIds": users, "context": CONTEXT})
    items = [
        {"type": "identify", "userId": user, "traits": {TRAIT: True}, "context": CONTEXT} for user in users
    ]
    return orjson.dumps({"batch": items})


def main(url: str, kind: str, ids: list[str]) -> None:
    sent = 0
    lock, sessions = threading.Lock(), threading.local()
    directory = Path(tempfile.mkdtemp())
    pq.write_table(pa.table({"user_id": ids}), directory / "users.parquet")
    # As many files as there are threads, so that dlt has something to do at the same time.
    os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = str(-(-len(ids) // THREADS))

    @dlt.destination(
        batch_size=1000, loader_file_format="parquet", name="sink", max_parallel_load_jobs=THREADS
    )
    def sink(items, table):  # type: ignore[no-untyped-def]
        nonlocal sent
        session = getattr(sessions, "session", None)
        if session is None:
            session = sessions.session = requests.Session()
            session.trust_env = False
        users = items.column("user_id").to_pylist()
        headers = {"Content-Type": "application/json"}
        session.post(url, data=body_of(kind, users), headers=headers).raise_for_status()
        with lock:
            sent += len(users)

    @dlt.resource(name="users")
    def users():  # type: ignore[no-untyped-def]
        for batch in pq.ParquetFile(directory / "users.parquet").iter_batches(batch_size=10_000):
            yield pa.Table.from_batches([batch])

    began, began_cpu = time.perf_counter(), time.process_time()
    dlt.pipeline("sync", destination=sink, pipelines_dir=str(directory / "pipelines")).run(users())
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    if sent != len(ids):
        sys.exit(f"dlt sent {sent:,} of {len(ids):,} users")
    print(json.dumps({"seconds": seconds, "cpu": cpu}))


if __name__ == "__main__":
    main(sys.argv[1] + "/lists/1/add", sys.argv[2], Path(sys.argv[3]).read_text().split())
