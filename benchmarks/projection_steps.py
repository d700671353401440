"""One step of benchmarks/projection.py, in a process of its own: prints {"seconds", "cpu", "peak_mb"}.

DATABASE_URL=… python benchmarks/projection_steps.py STEP USERS URL FOLDER
"""

import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import django

FOLDER = sys.argv[4]
os.environ["EVENTS_DIR"] = FOLDER
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db.models import F  # noqa: E402
from django.utils import timezone  # noqa: E402

from cohorts import refresh  # noqa: E402
from cohorts.models import Cohort  # noqa: E402
from destinations.models import Destination  # noqa: E402
from people import profiles  # noqa: E402
from people.profiles import Said  # noqa: E402
from receiving.models import Trait, UserTrait, Workspace  # noqa: E402
from syncs import projecting  # noqa: E402
from syncs.choices import RunState, Trigger  # noqa: E402
from syncs.delivery.drive import drive  # noqa: E402
from syncs.lifecycle import start  # noqa: E402
from syncs.models import Sync  # noqa: E402

PAGE = 2_000
BY_EMAIL = [{"field": "email", "filters": ["email", "sha256"]}]


def users(count: int, every: int = 1) -> Iterator[str]:
    return (f"customer-{number:07d}" for number in range(0, count, every))


def say(ids: Iterator[str], domain: str) -> None:
    while page := list(islice(ids, PAGE)):
        now = timezone.now()
        profiles.write("shop", [Said(user, {"email": f"{user}@{domain}"}, now) for user in page])


def settle() -> None:
    """Let what was written be of ten minutes ago: what is younger than two is looked at twice."""
    UserTrait.objects.exclude(changed_at=None).update(changed_at=F("changed_at") - 600_000_000)


def set_up(count: int, url: str) -> None:
    call_command("migrate", verbosity=0)
    Workspace.objects.create(slug="shop")
    cohort = Cohort.objects.create(key="everybody", name="Everybody")
    refresh.replace(cohort.pk, users(count), source="benchmark")
    say(users(count), "example.com")
    for name, more in (("plain", {}), ("hashed", {"identifiers": BY_EMAIL, "profiles_workspace": "shop"})):
        destination = Destination.objects.create(name=name, base_url=url, credential="key", **more)
        Sync.objects.create(cohort=cohort, destination=destination)
    profiles.store().mark("shop", ["email"])
    # Once: a field that is watched since another time is another field, and all are looked at.
    Trait.objects.exclude(watched_at=None).update(watched_at=F("watched_at") - 600_000_000)
    settle()


def sent(name: str, expected: int) -> None:
    """Run the sync of a destination as `manage.py sync` does; so many users must move."""
    sync = Sync.objects.get(destination__name=name)
    run = start(sync, trigger=Trigger.COMMAND)
    drive(sync.destination_id, stop=threading.Event())
    run.refresh_from_db()
    if (run.state, run.added) != (RunState.SUCCEEDED, expected):
        sys.exit(f"{run.state}: {run.added:,} of {expected:,} users were added. {run.reason}")


def project() -> None:
    projecting.bring_up_to_date(Sync.objects.get(destination__name="hashed"))


def main(step: str, count: int, url: str) -> None:
    logging.disable(logging.INFO)
    some = len(range(0, count, 100))
    steps: dict[str, Callable[[], None]] = {
        "set-up": lambda: set_up(count, url),
        "plain": lambda: sent("plain", count),
        "project": project,
        "send": lambda: sent("hashed", count),
        "change": lambda: say(users(count, 100), "example.org"),
        "project again": project,
        "send again": lambda: sent("hashed", some),
        "settle": settle,
        "nothing": project,
    }
    began, began_cpu = time.perf_counter(), time.process_time()
    steps[step]()
    figures = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - began_cpu}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures | {"peak_mb": peak}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
