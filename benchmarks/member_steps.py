"""A large cohort's members in and out in a fresh database: import, a refresh without movers, export.

DATABASE_URL=… python benchmarks/member_steps.py USERS
    prints {"import", "unchanged", "export": seconds, each with its "_cpu", "peak_mb"}
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
django.setup()

from django.core.management import call_command  # noqa: E402

from cohorts import refresh  # noqa: E402
from cohorts.choices import UploadMode  # noqa: E402
from cohorts.importing import import_file  # noqa: E402
from cohorts.models import Cohort  # noqa: E402


def timed(took: dict[str, float], step: str, action: Callable[[], object]) -> None:
    """Note a step's seconds, and those of the processor within this process."""
    began, busy = time.perf_counter(), time.process_time()
    action()
    took[step], took[f"{step}_cpu"] = time.perf_counter() - began, time.process_time() - busy


def main(count: int) -> None:
    call_command("migrate", verbosity=0)
    cohort = Cohort.objects.create(key="everybody", name="Everybody")
    took: dict[str, float] = {}
    with tempfile.TemporaryFile() as file:
        # A prime step leaves no long runs to the sort: a customer's file is not sorted.
        file.writelines(b"customer-%08d\n" % (number * 7_368_787 % count) for number in range(count))
        file.seek(0)
        timed(
            took,
            "import",
            lambda: import_file(cohort, file, mode=UploadMode.REPLACE, source="benchmark"),
        )
    ids = (f"customer-{number:08d}" for number in range(count))
    timed(took, "unchanged", lambda: refresh.replace(cohort.pk, ids, source="the same again"))
    with Path(os.devnull).open("w") as out:
        timed(took, "export", lambda: call_command("export_members", "everybody", stdout=out))
    took["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(took))


if __name__ == "__main__":
    main(int(sys.argv[1]))
