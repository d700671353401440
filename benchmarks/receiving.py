"""How many users a second the receiver takes, and how much of a bare function's speed that is.

    python benchmarks/receiving.py [--postgres postgres://…/postgres] [--rounds 5] [--requests 60]

4 keep-alive connections against `gunicorn cohortsite.wsgi` with 2 workers, and in turn against the bare
function (bare_receiver.py) served in the same way over the same database. A round adds ids that are new,
the same again, and removes them; then it identifies users. What is printed are medians over the rounds:
users a second, the ratio, and the 99th percentile of the receiver's answers. Ends with 1 if an aim is missed.
"""

import argparse
import http.client
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from tables import Table

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 4
PRESENT = 200_000  # members of the list before anything is measured
TRAIT = "[Amplitude] Recent buyers: 7f3a"
AIMS = {"add": 0.85, "remove": 0.80}


@contextmanager
def database(kind: str, postgres: str | None) -> Iterator[dict[str, str]]:
    """A new database, migrated; yields the environment that names it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "VAR_DIR": folder, "LOG_LEVEL": "ERROR", "HTTPS": "false"}
        environment |= {"ALLOWED_HOSTS": "127.0.0.1", "SECRET_KEY": "benchmark " * 6, "WEB_CONCURRENCY": "2"}
        environment["FIELD_KEYS"] = "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE="
        environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'benchmarks'}"
        if kind == "SQLite":
            environment["DATABASE_URL"] = f"sqlite:///{folder}/benchmark.sqlite3"
            run(environment, "migrate", "-v0")
            yield environment
            return
        import psycopg

        assert postgres is not None
        name = f"benchmark_receiving_{os.getpid()}"
        environment["DATABASE_URL"] = f"{postgres.rpartition('/')[0]}/{name}"
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
            try:
                run(environment, "migrate", "-v0")
                yield environment
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@contextmanager
def server(application: str, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """gunicorn, as the README starts it; yields (port, process id of the master)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        application,
        "-b",
        f"127.0.0.1:{port}",
        "--log-level",
        "warning",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def memory(master: int) -> float:
    """Resident megabytes of the workers together."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    pages = sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def send(port: int, path: str, bodies: list[bytes], key: str) -> tuple[float, list[float]]:
    """Send the bodies over 4 connections that stay open; return (seconds, each answer's seconds)."""
    took: list[list[float]] = [[] for _ in range(CONNECTIONS)]
    barrier = threading.Barrier(CONNECTIONS + 1)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def work(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        barrier.wait()
        for body in bodies[index::CONNECTIONS]:
            began = time.perf_counter()
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            content = reply.read()
            took[index].append(time.perf_counter() - began)
            if reply.status != 200:
                raise SystemExit(f"{path}: {reply.status} {content[:300]!r}")
        connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began, [one for part in took for one in part]


def id_bodies(number: int, size: int) -> list[bytes]:
    return [
        orjson.dumps({"userIds": [f"user-{random.getrandbits(60):015x}" for _ in range(size)]})
        for _ in range(number)
    ]


def identify_bodies(number: int, size: int, users: list[str]) -> list[bytes]:
    return [
        orjson.dumps(
            {
                "batch": [
                    {"type": "identify", "userId": user, "traits": {TRAIT: random.random() < 0.5}}
                    for user in random.sample(users, size)
                ]
            }
        )
        for _ in range(number)
    ]


def plan(requests: int, users: list[str]) -> list[tuple[str, str, list[bytes], int]]:
    """What a round sends: (name, operation, bodies, users in a body)."""
    ids, many = id_bodies(requests, 1_000), id_bodies(max(4, requests // 10), 10_000)
    return [
        ("add 1,000 new", "add", ids, 1_000),
        ("add 1,000 present", "add", ids, 1_000),
        ("remove 1,000", "remove", ids, 1_000),
        ("add 10,000 new", "add", many, 10_000),
        ("remove 10,000", "remove", many, 10_000),
        ("identify 100", "identify", identify_bodies(requests * 2, 100, users), 100),
        ("identify 1,000", "identify", identify_bodies(requests, 1_000, users), 1_000),
    ]


def prepare(port: int, key: str) -> tuple[int, int]:
    """Make a list with members and a trait; return (list id, 1)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", "/lists", b'{"name": "benchmark"}', headers)
    number = orjson.loads(connection.getresponse().read())["listId"]
    connection.close()
    send(port, f"/lists/{number}/add", id_bodies(PRESENT // 10_000, 10_000), key)
    return number, 1


def measure(kind: str, postgres: str | None, rounds: int, requests: int) -> bool:
    """Print a table for one database; return whether the aims are met."""
    rates: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    answers: dict[str, list[float]] = defaultdict(list)
    users = [f"user-{n:07}" for n in range(20_000)]
    with database(kind, postgres) as environment:
        key = run(environment, "create_api_key", "benchmark")
        with (
            server("cohortsite.wsgi", environment) as (ours, master),
            server("bare_receiver", environment) as (bare, _),
        ):
            number, trait = prepare(ours, key)
            send(ours, "/batch", identify_bodies(20, 1_000, users), key)
            paths = {
                "receiver": {"add": f"/lists/{number}/add", "remove": f"/lists/{number}/remove",
                             "identify": "/batch"},
                "bare": {"add": f"/lists/{number}/add", "remove": f"/lists/{number}/remove",
                         "identify": f"/traits/{trait}/x"},
            }  # fmt: skip
            before = memory(master)
            for round_ in range(rounds):
                turn = [("receiver", ours), ("bare", bare)]
                for who, port in turn if round_ % 2 else turn[::-1]:
                    for name, operation, bodies, size in plan(requests, users):
                        seconds, took = send(port, paths[who][operation], bodies, key)
                        rates[name][who].append(len(bodies) * size / seconds)
                        if who == "receiver":
                            answers[name] += took
            after = memory(master)
    return report(kind, rates, answers, before, after)


def report(kind: str, rates: Any, answers: Any, before: float, after: float) -> bool:
    print(
        f"\n{kind}: users a second, medians; workers' memory {before:.0f} MB before, {after:.0f} MB after\n"
    )
    columns = ("call", "receiver", "bare function", "ratio", "99 % answered within")
    table = Table(f"receiving, {kind}", *columns, watched="ratio")
    good = True
    for name, both in rates.items():
        ours, bare = (statistics.median(both[who]) for who in ("receiver", "bare"))
        late = statistics.quantiles(answers[name], n=100)[98]
        aim = next((value for verb, value in AIMS.items() if name.startswith(verb)), 0.0)
        good = good and ours / bare >= aim and late < 1
        table.row(name, f"{ours:,.0f}", f"{bare:,.0f}", f"{ours / bare:.2f}", f"{late * 1000:.0f} ms")
    medians = {name: statistics.median(both["receiver"]) for name, both in rates.items()}
    for verb in ("add", "remove"):
        thousand = medians.get(f"{verb} 1,000 new", medians.get(f"{verb} 1,000", 0))
        ten = medians.get(f"{verb} 10,000 new", medians.get(f"{verb} 10,000", 0))
        good = good and ten >= thousand
    print(f"\naims {'met' if good else 'MISSED'}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--postgres", help="URL of a server's postgres database; without it, SQLite alone")
    parser.add_argument("--only", choices=["SQLite", "PostgreSQL"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--land", action="store_true", help="write the ratios into landed.json")
    options = parser.parse_args()
    kinds = ["SQLite", *(["PostgreSQL"] if options.postgres else [])]
    results = [
        measure(kind, options.postgres, options.rounds, options.requests)
        for kind in kinds
        if options.only in (None, kind)
    ]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
