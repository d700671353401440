"""Migrate the database of DATABASE_URL and make one cohort of so many users in it.

    DATABASE_URL=… python benchmarks/setup_cohort.py USERS DIRECTORY

In DIRECTORY it leaves what the other senders need: `users.csv`, one id a line, and the bodies of a full
sync as our own sender makes them, one a line: `list.bodies`, `property.bodies`.
"""

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cohortsite.settings")
django.setup()

from django.core.management import call_command  # noqa: E402

from cohorts import refresh  # noqa: E402
from cohorts.models import Cohort  # noqa: E402
from destinations.endpoint import Endpoint, Kind  # noqa: E402
from destinations.payloads import Encoder, Operation, external_name  # noqa: E402


def users(count: int) -> Iterator[str]:
    """Yield ids in user order, 16 characters each, as many as make a customer's id look real."""
    return (f"customer-{number:07d}" for number in range(count))


def main(count: int, directory: Path) -> None:
    call_command("migrate", verbosity=0)
    cohort = Cohort.objects.create(key="everybody", name="Everybody")
    refresh.replace(cohort.pk, users(count), source="benchmark")
    with (directory / "users.csv").open("w") as file:
        file.writelines(f"{user}\n" for user in users(count))
    for kind in (Kind.LIST, Kind.PROPERTY):
        _write_bodies(directory / f"{kind}.bodies", kind, cohort, count)


def _write_bodies(path: Path, kind: Kind, cohort: Cohort, count: int) -> None:
    endpoint = Endpoint("sink", "http://127.0.0.1", kind=kind)
    name = external_name(endpoint, cohort.name, cohort.key)
    encoder = Encoder(
        endpoint, cohort_name=cohort.name, cohort_key=cohort.key, external_name=name, list_id="1"
    )
    waiting = users(count)
    with path.open("wb") as file:
        while batch := list(islice(waiting, endpoint.batch_size)):
            file.write(encoder.batch(Operation.ADD, batch).body + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
