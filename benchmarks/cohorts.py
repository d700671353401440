"""What versions of a cohort cost: import, refresh, and the plan of a change. Prints Markdown tables.

    python benchmarks/cohorts.py [--quick] [--postgres SERVER] [--rounds 5]

Every measurement is a process with a fresh database; databases and sizes take turns. Figures are medians.
`--quick` is for trying this script: 100,000 users, one round.
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


def measure(database: str, server: str, users: int, changed: int) -> dict[str, float]:
    """Return the seconds of each step in a fresh database, and the peak memory."""
    with tempfile.TemporaryDirectory() as directory, delivery.database(server, "cs_benchmark_cohorts") as url:
        where = f"sqlite:///{Path(directory)}/db.sqlite3" if database == "SQLite" else url
        return delivery.run(sys.executable, "cohort_steps.py", users, changed, database=where)


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
                results[database, case].append(measure(database, asked.postgres, *case))
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


if __name__ == "__main__":
    main()
