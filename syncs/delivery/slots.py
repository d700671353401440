"""Driving from a process: the runs that a command began with, or whatever comes, in a worker.

Each destination is driven in a thread of its own, which has its own database connection.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

from django.utils import timezone

from syncs.choices import DRIVABLE_RUNS, Trigger
from syncs.delivery.drive import drive
from syncs.delivery.ended import Ended, How
from syncs.delivery.turns import Turns
from syncs.models import Run

log = logging.getLogger(__name__)

Report = Callable[[list[Run]], None]
# Destinations that a process drives at a time: each may wait for its partner as long as that takes.
SLOTS = 128
POLL = 0.5
# A command waits this long for a partner that asked for it: as long as a run's own retries last.
PATIENCE = timedelta(seconds=150)
FOLLOW_UPS = [Trigger.LIST_GONE, Trigger.CAUGHT_UP]


class Slots:
    """Destinations that are being driven by this process, at most so many at a time."""

    def __init__(self, stop: threading.Event, report: Report, slots: int = SLOTS) -> None:
        self.stop, self.report, self.slots = stop, report, slots
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="drive")
        self._driving: dict[int, Future[Ended]] = {}
        self.turns = Turns(lambda: len(self._driving))

    def fill(self, destinations: Iterable[int]) -> None:
        """Begin to drive the destinations that nobody here drives, as long as there are slots."""
        for destination in destinations:
            if destination not in self._driving and len(self._driving) < self.slots:
                self._driving[destination] = self._pool.submit(self._drive, destination)

    def reap(self) -> dict[int, Ended]:
        """Return the destinations whose driver has left, and why. Raises what it raised."""
        done = {key: future for key, future in self._driving.items() if future.done()}
        for key in done:
            del self._driving[key]
        return {key: future.result() for key, future in done.items()}

    def close(self) -> None:
        """Wait for the drivers; with `stop` set, they leave when what is in flight has come back."""
        self._pool.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        return bool(self._driving)

    def _drive(self, destination: int) -> Ended:
        with self.turns.taken():
            return drive(destination, stop=self.stop, report=self.report, turns=self.turns)


def drive_runs(runs: list[Run], *, stop: threading.Event, report: Report = lambda runs: None) -> list[Run]:
    """Drive runs, or watch them while somebody else does, until they have ended; return them as of then.

    Follow-up runs (a lost list made anew, a cohort that had moved on) are among the result. A run is
    left alone when its destination is paused, or parked for longer than PATIENCE.
    """
    slots = Slots(stop, report)
    parked: dict[int, datetime] = {}
    left: set[int] = set()
    try:
        while slots.busy or not stop.is_set():
            ended = slots.reap()
            for destination, how in ended.items():
                if how.how == How.PAUSED or _too_long(how.next_at):
                    left.add(destination)
                elif how.next_at:
                    parked[destination] = how.next_at
            if ended or not slots.busy:
                waiting = {r.sync.destination_id for r in _followed(runs) if r.state in DRIVABLE_RUNS} - left
                if not waiting and not slots.busy:
                    break
                now = timezone.now()
                slots.fill(d for d in waiting if not stop.is_set() and not (d in parked and parked[d] > now))
            time.sleep(0.02 if slots.busy else POLL)
    finally:
        slots.close()
    return _followed(runs)


def _too_long(next_at: datetime | None) -> bool:
    return next_at is not None and next_at - timezone.now() > PATIENCE


def _followed(runs: list[Run]) -> list[Run]:
    """Return the runs as they are now, each with the follow-ups that were made since."""
    found = list(Run.objects.filter(pk__in=[run.pk for run in runs]))
    for run in runs:
        found += Run.objects.filter(sync=run.sync_id, pk__gt=run.pk, trigger__in=FOLLOW_UPS)
    unique = {run.pk: run for run in found}
    return list(
        Run.objects.filter(pk__in=unique).select_related("sync__cohort", "sync__destination").order_by("pk")
    )
