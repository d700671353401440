"""Cohorts, destinations and syncs for tests, and one way to run a sync to its end."""

import itertools
import threading

from cohorts import members, refresh
from cohorts.models import Cohort
from destinations.models import Destination
from destinations.payloads import external_name
from syncs import lifecycle
from syncs.choices import RunMode, Trigger
from syncs.delivery import drive
from syncs.delivery.ended import Ended
from syncs.models import Driver, Rejection, Run, Sync

_numbers = itertools.count(1)
KEY = "partner-key"


def cohort(user_ids=(), **values) -> Cohort:
    number = next(_numbers)
    made = Cohort.objects.create(
        **{
            "key": f"cohort-{number}",
            "name": "Buyers",
            "hold_if_emptied": False,
            "hold_if_halved": False,
            **values,
        }
    )
    if user_ids:
        fill(made, user_ids)
    return made


def fill(made: Cohort, user_ids) -> None:
    """Make these users the cohort's members, as its next version."""
    refresh.replace(made.pk, sorted(set(user_ids)), source="a test")
    made.refresh_from_db()


def destination(url: str, preset: str = "amplitude-list", **fields) -> Destination:
    made = Destination.from_preset(preset)
    values = {"name": f"{preset}-{next(_numbers)}", "base_url": url, "credential": KEY, **fields}
    for name, value in values.items():
        setattr(made, name, value)
    made.full_clean()
    made.save()
    return made


def sync(of: Cohort, to: Destination) -> Sync:
    return Sync.objects.create(cohort=of, destination=to, hold_if_halved=False)


def name_at_partner(of: Sync) -> str:
    return of.external_name or external_name(of.destination.endpoint(), of.cohort.name, of.cohort.key)


def wanted(of: Sync) -> set[str]:
    """Return the members of the cohort's latest version."""
    return members_at(of, Cohort.objects.get(pk=of.cohort_id).version)


def members_at(of: Sync, version: int) -> set[str]:
    return set(members.in_version(of.cohort_id, version))


def users(count: int, first: int = 0) -> list[str]:
    return [f"u{number:07d}" for number in range(first, first + count)]


def run(of: Sync, mode: str = RunMode.CHANGES, **more) -> Run:
    """Start a run and drive it until its driver leaves; return it as it is then."""
    started = lifecycle.start(of, trigger=Trigger.COMMAND, mode=mode)
    go(of.destination, **more)
    started.refresh_from_db()
    return started


def go(to: Destination, *, stop: threading.Event | None = None) -> Ended:
    ended = drive.drive(to.pk, stop=stop or threading.Event())
    to.refresh_from_db()
    return ended


def mend(to: Destination) -> None:
    """What a person and time do: resume a paused destination, let the time of a parked one come."""
    Destination.objects.resume(to.pk)
    Driver.objects.filter(destination=to).update(next_at=None, opened=0, spent_in_a_row=0)
    to.refresh_from_db()


def rejected(of: Sync) -> set[str]:
    return set(Rejection.objects.filter(sync=of).values_list("user_id", flat=True))
