"""Our own sender: a full sync of a cohort that is in the database, with durable progress.

    DATABASE_URL=… python benchmarks/sender_ours.py URL KIND DELIVERED    prints {"seconds", "cpu", "peak_mb"}

What is timed is what `manage.py sync` does between its start and its end: make the run, plan, encode,
send, record each batch, settle. DELIVERED is how many users must have been delivered at the end.
"""

import json
import logging
import os
import resource
import sys
import threading
import time
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
django.setup()

from cohorts.models import Cohort  # noqa: E402
from destinations.models import Destination  # noqa: E402
from syncs.choices import RunState, Trigger  # noqa: E402
from syncs.delivery.drive import drive  # noqa: E402
from syncs.lifecycle import start  # noqa: E402
from syncs.models import Sync  # noqa: E402


def main(url: str, kind: str, delivered: int) -> None:
    logging.disable(logging.INFO)
    # A destination of its own for each measurement: a sync that has run would send nothing.
    name = f"sink-{kind}-{Destination.objects.count()}"
    destination = Destination.objects.create(name=name, base_url=url, kind=kind, credential="benchmark-key")
    sync = Sync.objects.create(cohort=Cohort.objects.get(), destination=destination)
    began, began_cpu = time.perf_counter(), time.process_time()
    run = start(sync, trigger=Trigger.COMMAND)
    drive(destination.pk, stop=threading.Event())
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    run.refresh_from_db()
    if (run.state, run.added) != (RunState.SUCCEEDED, delivered):
        sys.exit(f"{run.state}: {run.added:,} of {delivered:,} users were delivered. {run.reason}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mb": peak}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
