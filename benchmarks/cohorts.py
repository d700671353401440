"""What versions of a cohort cost: import, refresh, and the plan of a change. Prints Markdown tables.

    python benchmarks/cohorts.py [--quick] [--postgres SERVER] [--rounds 5]

Every measurement is a process with a fresh database; databases and sizes take turns. Figures are medians.
Ten million members come last, once: import, a refresh without movers, export, with the processor's time of
the process, which a busy machine falsifies less. `--quick` is for trying this script: 100,000 users.
"""

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import delivery
from delivery import DATABASES, median
from tables import Table

STEPS = {
    "import": "import from CSV, unsorted",
    "unchanged": "refresh, nobody moves",
    "changed": "refresh, some move",
    "named": "add and remove them by name",
    "plan": "plan of their moves",
    "walk": "read all members",
}


# Of ten million members: what each step shall take at most, in seconds, by database.
AIMS = {"import": (12, 25), "unchanged": (8, 8), "export": (5, 5)}


def measure(database: str, server: str, script: str, *arguments: int) -> dict[str, float]:
    """Return the seconds of each of a script's steps in a fresh database, and the peak memory."""
    with tempfile.TemporaryDirectory() as directory, delivery.database(server, "cs_benchmark_cohorts") as url:
        where = f"sqlite:///{Path(directory)}/db.sqlite3" if database == "SQLite" else url
        return delivery.run(sys.executable, script, *arguments, database=where)


def main() -> None:
    asked = delivery.arguments(__doc__)
    small, large = (20_000, 100_000) if asked.quick else (100_000, 1_000_000)
    rounds = asked.rounds
    # As many moves in the small cohort as in the large one; and the same share of both.
    cases = [(small, small // 20), (large, small // 20), (large, large // 20)]
    results = defaultdict(list)
    for _ in range(rounds):
        for case in cases:
            for database in DATABASES:
                results[database, case].append(measure(database, asked.postgres, "cohort_steps.py", *case))
    delivery.about()
    for database in DATABASES:
        print(f"\n{database}, seconds, {rounds} rounds in turn\n")
        found = [results[database, case] for case in cases]
        columns = [f"{users:,} users, {changed:,} move" for users, changed in cases]
        name = f"steps of a cohort, {database}, {large:,} users"
        table = Table(name, "step", *columns, "second ÷ first", watched=columns[2])
        for step, label in STEPS.items():
            took = [median(each, step) for each in found]
            table.row(label, *(f"{seconds:.3f}" for seconds in took), f"{took[1] / took[0]:.1f}")
    millions(asked.postgres, *((20_000, 100_000) if asked.quick else (2_000_000, 10_000_000)))


def millions(server: str, small: int, large: int) -> None:
    """Print what many members cost in and out, beside the aims; and whether memory grows with them."""
    for at, database in enumerate(DATABASES):
        print(f"\n{database}, {large:,} members, seconds\n")
        fewer, more = (measure(database, server, "member_steps.py", users) for users in (small, large))
        table = Table(
            f"members in and out, {database}, {large:,}",
            "step",
            f"{small:,}",
            f"{large:,}",
            "of the processor",
            "aim",
            watched="of the processor",
        )
        for step, aims in AIMS.items():
            seconds = (fewer[step], more[step], more[f"{step}_cpu"])
            table.row(STEPS.get(step, step), *(f"{took:.1f}" for took in seconds), aims[at])
        print(f"\nPeak memory: {fewer['peak_mb']:.0f} MB and {more['peak_mb']:.0f} MB, under 400 wanted.")


if __name__ == "__main__":
    main()
