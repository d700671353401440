"""What it costs to send a partner that knows people by a hashed address, alongside one that takes user ids.

    python benchmarks/projection.py [--quick] [--postgres SERVER] [--rounds 3] [--users 100000 1000000]

For each number of users, on both databases, each step in a process of its own: the plain
cohort is sent, the projection of it is made, and sent; one in a hundred gets another address, and the
projection is made and sent again. `--quick` is for trying this script: 20,000 users, one round.
"""

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import sink
from delivery import database, run
from tables import Table

STEPS = ("plain", "project", "send", "change", "project again", "send again", "settle", "nothing")
WORDS = {
    "plain": "the plain cohort, sent",
    "project": "the projection, made first",
    "send": "the projected cohort, sent",
    "project again": "the projection, after 1 % of the addresses changed",
    "send again": "what changed, sent",
    "nothing": "the projection, when nothing changed",
}
SCRIPT = "projection_steps.py"


def main() -> None:
    options = parse()
    sizes = (2_000, 20_000) if options.quick else options.users
    rounds = 1 if options.quick else options.rounds
    for users in sizes:
        found = measure(users, rounds, options.postgres)
        print(f"\n{users:,} members, {rounds} rounds, medians\n")
        columns = ("database", "step", "seconds", "CPU s", "times plain", "peak MB")
        table = Table(f"projection of {users:,}", *columns, watched="times plain", keys=2)
        for (name, step), results in found.items():
            seconds = median(results, "seconds")
            plain = median(found[name, "plain"], "seconds")
            table.row(
                *(name, WORDS[step], f"{seconds:.2f}", f"{median(results, 'cpu'):.2f}"),
                *(f"{seconds / plain:.2f}", f"{median(results, 'peak_mb'):.0f}"),
            )


def measure(users: int, rounds: int, server: str) -> dict[tuple[str, str], list[dict[str, float]]]:
    """Return the results of the steps by database and step."""
    found = defaultdict(list)
    with sink.running() as url:
        for number in range(rounds):
            with tempfile.TemporaryDirectory() as folder, database(server, f"cs_projection_{number}") as made:
                for name, address in (("SQLite", f"sqlite:///{folder}/db.sqlite3"), ("PostgreSQL", made)):
                    one(name, address, Path(folder) / name, users, url, found)
    return found


def one(name: str, address: str, folder: Path, users: int, url: str, found: dict) -> None:
    folder.mkdir()
    run(sys.executable, SCRIPT, "set-up", users, url, folder, database=address)
    for step in STEPS:
        result = run(sys.executable, SCRIPT, step, users, url, folder, database=address)
        if step in WORDS:
            found[name, step].append(result)


def median(results: list[dict[str, float]], figure: str) -> float:
    return statistics.median(result[figure] for result in results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, nargs="+", default=(100_000, 1_000_000))
    parser.add_argument(
        "--postgres", default="postgres://postgres@127.0.0.1:5432", help="server, not database"
    )
    parser.add_argument("--land", action="store_true", help="write the figures into landed.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
