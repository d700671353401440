"""How many events a second the receiver takes for each core, acknowledged when they are on disk.

    python benchmarks/receiving_events.py [--postgres postgres://…/postgres] [--seconds 5]

`gunicorn cohortsite.wsgi` as it is deployed, 4 connections that stay open, Segment's `track` one by one and
in batches, and Amplitude's HTTP V2. A core's events a second are the events by the processor time of the
server's workers: the senders and other work on the machine do not count. The clock's are beside them.
Afterwards the events are compacted and counted: each that was acknowledged must be there, once.
"""

import argparse
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import orjson
from tables import Table

from receiving import database, run, send, server

AIM = 2_000
NUMBER = count()
# Path, and events in a call.
CALLS = {
    "track": ("/v1/track", 1),
    "batch of 10": ("/v1/batch", 10),
    "batch of 100": ("/v1/batch", 100),
    "batch of 1,000": ("/v1/batch", 1_000),
    "HTTP V2, 1": ("/2/httpapi", 1),
    "HTTP V2, 10": ("/2/httpapi", 10),
    "HTTP V2, 1,000": ("/2/httpapi", 1_000),
}


def body(path: str, size: int, key: str) -> bytes:
    """A call with new events."""
    if path == "/2/httpapi":
        return orjson.dumps({"api_key": key, "events": [of_amplitude(next(NUMBER)) for _ in range(size)]})
    tracks = [of_segment(next(NUMBER)) for _ in range(size)]
    return orjson.dumps(tracks[0] if path == "/v1/track" else {"batch": tracks})


def of_segment(number: int) -> dict[str, object]:
    return {
        "type": "track",
        "userId": f"user-{number % 20_000:06}",
        "event": "song_download",
        "timestamp": "2026-11-01T10:00:00.000Z",
        "messageId": f"message-{number:032}",
        "properties": {"category": "jazz", "price": 1.5, "country": "DE"},
    }


def of_amplitude(number: int) -> dict[str, object]:
    return {
        "user_id": f"user-{number % 20_000:06}",
        "event_type": "song_download",
        "time": 1_790_000_000_000,
        "insert_id": f"message-{number:032}",
        "event_properties": {"category": "jazz", "price": 1.5, "country": "DE"},
    }


def processor_time(master: int) -> float:
    """Seconds of the processor that the workers have used."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    fields = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split() for child in children]
    return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


def measure(kind: str, postgres: str | None, seconds: float) -> bool:
    columns = ("call", "events a second a core", "by the clock", "99 % answered within")
    table = Table(f"receiving events, {kind}", *columns, watched="events a second a core")
    good, sent = True, 0
    with database(kind, postgres) as environment:
        key = run(environment, "create_api_key", "benchmark")
        with server("cohortsite.wsgi", environment) as (port, master):
            for name, (path, size) in CALLS.items():
                sent += 40 * size
                send(port, path, [body(path, size, key) for _ in range(40)], key)  # all is imported now
                events, took, used, answers = 0, 0.0, 0.0, list[float]()
                while took < seconds:
                    bodies = [body(path, size, key) for _ in range(max(40, 400 // size))]
                    began = processor_time(master)
                    clock, waited = send(port, path, bodies, key)
                    used += processor_time(master) - began
                    events, took, answers = events + len(bodies) * size, took + clock, answers + waited
                sent += events
                late = sorted(answers)[int(len(answers) * 0.99)]
                good = good and events / used >= AIM
                table.row(name, f"{events / used:,.0f}", f"{events / took:,.0f}", f"{late * 1000:.0f} ms")
        found = orjson.loads(run(environment, "compact_events", "--workspace", "benchmark", "--json"))
    assert (found["events"], found["repeats"]) == (sent, 0)
    print(f"\n{sent:,} events were acknowledged, and are there\n")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--postgres", help="URL of a server's postgres database; without it, SQLite alone")
    parser.add_argument("--seconds", type=float, default=5, help="how long each kind of call is sent")
    parser.add_argument("--land", action="store_true", help="write the figures into landed.json")
    options = parser.parse_args()
    kinds = ["SQLite", *(["PostgreSQL"] if options.postgres else [])]
    results = [measure(kind, options.postgres, options.seconds) for kind in kinds]
    print(f"aim, {AIM:,} events a second a core: {'met' if all(results) else 'MISSED'}")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
