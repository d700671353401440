"""How fast a full sync is delivered, beside what else could be used. Prints Markdown tables.

    python benchmarks/delivery.py [--quick] [--dlt PYTHON] [--postgres SERVER] [--rounds 5]

Every measurement is a process of its own, on one machine with its sink; the contestants take turns, so
that whatever else the machine does hits all of them. Figures are medians; ratios are of figures of the
same run. `--quick` is for trying this script: 200,000 users, one round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import sink
from tables import Table

HERE = Path(__file__).resolve().parent
THREADS, BATCH = 4, 1000
SETTINGS = {
    "SECRET_KEY": "of a benchmark, long enough that no check complains about its length",
    "FIELD_KEYS": "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=",
    "OUTBOUND_ALLOW_NETS": "127.0.0.0/8",
    "LOG_LEVEL": "WARNING",
}
DATABASES = ("SQLite", "PostgreSQL")


@dataclass(frozen=True)
class Setup:
    """A cohort of so many users in both databases, and files for the other senders."""

    users: int
    directory: Path
    urls: dict[str, str]

    def ours(self, database: str, sink_url: str, kind: str) -> dict[str, float]:
        return run(sys.executable, "sender_ours.py", sink_url, kind, self.users, database=self.urls[database])

    def bare(self, sink_url: str, kind: str) -> dict[str, float]:
        return run(sys.executable, "sender_requests.py", sink_url, self.directory / f"{kind}.bodies")

    def dlt(self, python: str, sink_url: str, kind: str) -> dict[str, float]:
        return run(python, "sender_dlt.py", sink_url, kind, self.directory / "users.csv")


def run(python: str, script: str, *arguments: object, database: str = "") -> dict[str, float]:
    """Run a script to its end and return the JSON of its last line."""
    environment = os.environ | SETTINGS | {"DATABASE_URL": database, "VAR_DIR": tempfile.gettempdir()}
    command = [python, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """Make a PostgreSQL database, and drop it at the end; give its URL."""
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def prepared(users: int, server: str) -> Iterator[Setup]:
    """Make both databases and the files; they go away at the end."""
    with tempfile.TemporaryDirectory() as directory, database(server, f"cs_benchmark_{users}") as url:
        urls = {"SQLite": f"sqlite:///{directory}/db.sqlite3", "PostgreSQL": url}
        for where in urls.values():
            run(sys.executable, "setup_cohort.py", users, directory, database=where)
        yield Setup(users, Path(directory), urls)


def throughput(setup: Setup, rounds: int, dlt: str) -> dict[str, float]:
    """Print the table of full syncs; return each database's peak memory."""
    print(
        f"\nA full sync of {setup.users:,} users to a sink that only answers 200, {rounds} rounds in turn\n"
    )
    columns = ("kind", "sender", "seconds", "users/s", "times bare", "times dlt", "CPU s")
    table = Table(f"full sync, {setup.users:,} users", *columns, watched="times bare", keys=2)
    peaks: dict[str, float] = {}
    for kind in ("list", "property"):
        results = defaultdict(list)
        with sink.running() as url:
            for _ in range(rounds):
                results["bare requests"].append(setup.bare(url, kind))
                for database in DATABASES:
                    results[database].append(setup.ours(database, url, kind))
                if dlt:
                    results["dlt"].append(setup.dlt(dlt, url, kind))
        seconds = {sender: median(found, "seconds") for sender, found in results.items()}
        for sender, took in seconds.items():
            versus = [
                f"{took / seconds[other]:.2f}" if other in seconds else ""
                for other in ("bare requests", "dlt")
            ]
            table.row(
                kind,
                sender,
                f"{took:.2f}",
                f"{setup.users / took:,.0f}",
                *versus,
                f"{median(results[sender], 'cpu'):.2f}",
            )
        for database in DATABASES:
            peaks[database] = max(peaks.get(database, 0), median(results[database], "peak_mb"))
    return peaks


def slow_partner(setup: Setup, delay: float, rounds: int) -> None:
    """Print what share of four threads' time is spent waiting for a partner that takes its time."""
    what = f"A partner that answers after {delay * 1000:.0f} ms"
    print(f"\n{what}: {setup.users:,} users, {rounds} rounds in turn\n")
    table = Table(
        f"share at {delay * 1000:.0f} ms", "database", "seconds", "in theory", "share", watched="share"
    )
    # The create call, then batches by fours.
    theory = delay * (1 + -(-setup.users // (BATCH * THREADS)))
    took = defaultdict(list)
    with sink.running(delay) as url:
        for _ in range(rounds):
            for name in DATABASES:
                took[name].append(setup.ours(name, url, "list"))
    for name in DATABASES:
        seconds = median(took[name], "seconds")
        table.row(name, f"{seconds:.2f}", f"{theory:.2f}", f"{theory / seconds:.1%}")


def memory(small: Setup, large: Setup, rounds: int, peaks: dict[str, float]) -> None:
    """Print the sender's peak memory for both sizes (property batches, the larger bodies)."""
    print("\nThe sender's peak memory (ru_maxrss of its process)\n")
    columns = ("database", f"{small.users:,} users", f"{large.users:,} users", "ratio")
    table = Table("sender's peak memory", *columns, watched=columns[2])
    for database in DATABASES:
        with sink.running() as url:
            few = statistics.median(small.ours(database, url, "property")["peak_mb"] for _ in range(rounds))
        many = peaks[database]
        table.row(database, f"{few:.0f} MB", f"{many:.0f} MB", f"{many / few:.2f}")


def median(results: list[dict[str, float]], name: str) -> float:
    return statistics.median(result[name] for result in results)


def about() -> None:
    """Print what the figures depend on."""
    model = next(
        (line.partition(": ")[2] for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    machine = f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{time.strftime('%Y-%m-%d')}, {machine}, load {load}\n`{' '.join(['python', *sys.argv])}`")


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def arguments(about: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to try the script")
    parser.add_argument("--dlt", default="", help="a Python that has benchmarks/requirements.txt")
    parser.add_argument(
        "--postgres", default="postgres://postgres@127.0.0.1:5432", help="a server, without a database"
    )
    parser.add_argument("--rounds", type=int, help="5, or 1 with --quick")
    parser.add_argument("--land", action="store_true", help="write the figures into landed.json")
    asked = parser.parse_args()
    if asked.land and asked.quick:
        parser.error("figures of small sizes do not land: --land without --quick")
    asked.rounds = asked.rounds or (1 if asked.quick else 5)
    return asked


def main() -> None:
    asked = arguments(__doc__)
    rounds = asked.rounds
    sizes = (50_000, 200_000) if asked.quick else (250_000, 1_000_000)
    about()
    if not asked.dlt:
        print("\nWithout --dlt: that contestant is left out.")
    with prepared(sizes[0], asked.postgres) as small, prepared(sizes[1], asked.postgres) as large:
        peaks = throughput(large, rounds, asked.dlt)
        memory(small, large, rounds, peaks)
        slow_partner(large, 0.05, rounds)
        slow_partner(small, 0.2, rounds)


if __name__ == "__main__":
    main()
