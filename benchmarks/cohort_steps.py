"""One cohort's life in a fresh database: import, refreshes, the plan of a change.

    DATABASE_URL=… python benchmarks/cohort_steps.py USERS CHANGED
        prints {"import", "unchanged", "changed", "named", "plan", "walk": seconds, "peak_mb"}

CHANGED users move in each of three versions, half of them in, half of them out.
"""

import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
django.setup()

from django.core.management import call_command  # noqa: E402

from cohorts import members, refresh  # noqa: E402
from cohorts.choices import UploadMode  # noqa: E402
from cohorts.importing import import_file  # noqa: E402
from cohorts.models import Cohort  # noqa: E402
from syncs.choices import RunMode, Step  # noqa: E402
from syncs.plan import Plan  # noqa: E402


def name(number: int) -> str:
    return f"customer-{number:08d}"


def shuffled(count: int) -> Iterable[int]:
    """Yield 0 … count - 1 in an order that is not theirs: a file of a customer is not sorted."""
    return (number * 7_368_787 % count for number in range(count))


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main(count: int, changed: int) -> None:
    call_command("migrate", verbosity=0)
    cohort = Cohort.objects.create(key="everybody", name="Everybody")
    half, apart = changed // 2, count // (changed // 2)
    # Even numbers are in; who leaves and who enters is spread over the whole cohort.
    everybody = [name(2 * number) for number in range(count)]
    leaving = everybody[::apart][:half]
    entering = [name(2 * number * apart + 1) for number in range(half)]
    moved = sorted({*everybody, *entering} - {*leaving})
    # These lists are not the program's: its garbage collector shall not walk through them.
    gc.freeze()
    took: dict[str, float] = {}
    with tempfile.TemporaryFile() as file:
        file.writelines(f"{name(2 * number)}\n".encode() for number in shuffled(count))
        file.seek(0)
        took["import"] = timed(lambda: import_file(cohort, file, mode=UploadMode.REPLACE, source="benchmark"))
    took["unchanged"] = timed(lambda: refresh.replace(cohort.pk, everybody, source="the same again"))
    took["changed"] = timed(lambda: refresh.replace(cohort.pk, moved, source="some moved"))
    took["named"] = timed(
        lambda: refresh.amend(cohort.pk, add=leaving, remove=entering, source="they moved back")
    )
    cohort.refresh_from_db()
    took["plan"] = timed(lambda: plan(cohort, cohort.version - 1, changed))
    took["walk"] = timed(lambda: sum(1 for _ in members.in_version(cohort.pk, cohort.version)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(took | {"peak_mb": peak}))
    gc.unfreeze()


def plan(cohort: Cohort, settled: int, changed: int) -> None:
    """What a run does before and beside its requests: count both steps, and find their users."""
    planned = Plan(0, cohort.pk, RunMode.CHANGES, settled, cohort.version, dirty=False)
    for step in (Step.ADD, Step.REMOVE):
        users = sum(1 for _ in planned.users(step))
        if (planned.count(step), users) != (changed // 2, changed // 2):
            sys.exit(f"{users:,} users to {step}, {changed // 2:,} were expected")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
