"""Driving from a process: the runs that a command began with, or whatever comes, in a worker.

Each destination is driven in a thread of its own, which has its own database connection.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone
from django.utils.module_loading import import_string

from cohorts import calculate, previewing, remove
from cohorts.importing import import_waiting
from events import arrivals
from syncs import alerts, due, reporting
from syncs.choices import DRIVABLE_RUNS, Trigger
from syncs.drive import Ended, How, drive
from syncs.models import Run
from syncs.turns import Turns

log = logging.getLogger(__name__)

Report = Callable[[list[Run]], None]
# Destinations that a process drives at a time: each may wait for its partner as long as that takes.
SLOTS = 128
POLL = 0.5
# A command waits this long for a partner that asked for it: as long as a run's own retries last.
PATIENCE = timedelta(seconds=150)
# How often a worker says that it is there, and where.
BEAT = 10.0
BEATS = "sync_worker"
# How often it is said that the database is away, and when it was said last.
SAY_EVERY = 60.0
_said_away: dict[str, float] = {}
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


def work(*, stop: threading.Event, slots: int = SLOTS, report: Report = lambda runs: None) -> None:
    """Be the worker: make the runs that are due, drive what is open, import what was uploaded."""
    driving = Slots(stop, report, slots)
    began = timezone.now()
    # Until when a destination's runs that ended have been logged.
    logged = defaultdict[int, datetime](lambda: began)
    others = [
        threading.Thread(target=_again_and_again, args=(stop, deed), name=deed.__name__, daemon=True)
        for deed in (_beat, _look_after, _calculate_due, _preview, *map(_deed_of, settings.WORKER_DEEDS))
    ]
    for thread in others:
        thread.start()
    try:
        while not stop.is_set():
            _without_dying(_turn, driving, logged)
            stop.wait(POLL)
    finally:
        driving.close()
        for thread in others:
            thread.join(timeout=30)


def _turn(driving: Slots, logged: dict[int, datetime]) -> None:
    """Say how drivers ended, make the runs that are due, and begin to drive what nobody drives."""
    for destination, ended in driving.reap().items():
        about = {"destination": destination}
        log.info("destination %s: %s %s", destination, ended.how.value, ended.reason, extra=about)
        logged[destination] = _log_ended(destination, logged[destination])
    due.start_due(timezone.now())
    driving.fill(due.undriven(due.drivable_destinations()))


def _without_dying(deed: Callable[..., None], *arguments: object) -> None:
    """Do something that comes again anyway: an error is logged. A database that was away is asked anew."""
    try:
        deed(*arguments)
    except (OperationalError, InterfaceError) as error:
        _database_is_away(deed.__name__, error)
        connection.close()
    except Exception:
        log.exception("%s failed; it is tried again at the next turn.", deed.__name__)
        connection.close()


def _database_is_away(name: str, error: Exception) -> None:
    """Say so in one line, and then in one a minute: everything that comes again fails twice a second."""
    now = time.monotonic()
    if now - _said_away.get(name, -SAY_EVERY) >= SAY_EVERY:
        _said_away[name] = now
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("%s: the database does not answer: %s", name, said)


def _again_and_again(stop: threading.Event, deed: Callable[[threading.Event], None]) -> None:
    while not stop.is_set():
        _without_dying(deed, stop)
        stop.wait(POLL)
    connection.close()


def _log_ended(destination: int, since: datetime) -> datetime:
    """Log a destination's runs that ended after `since`; return when the last of them did."""
    ended = Run.objects.filter(sync__destination=destination, finished_at__gt=since).order_by("finished_at")
    for run in ended.select_related("sync__cohort", "sync__destination"):
        about = {"run": run.pk, "sync": str(run.sync), "destination": destination, "state": run.state}
        log.info("%s", reporting.as_text(run), extra=about)
        since = run.finished_at or since
    return since


def last_beat() -> datetime | None:
    """Return when a worker last said that it is there; None if none did."""
    at: float | None = cache.get(BEATS)
    return None if at is None else datetime.fromtimestamp(at, UTC)


def _beat(stop: threading.Event) -> None:
    cache.set(BEATS, timezone.now().timestamp(), timeout=None)
    stop.wait(BEAT)


def _deed_of(dotted: str) -> Callable[[threading.Event], None]:
    """Return another room's deed, by its dotted name, as one of this worker's."""
    function = import_string(dotted)

    def deed(stop: threading.Event) -> None:
        function(stop.is_set)

    deed.__name__ = dotted
    return deed


def _look_after(stop: threading.Event) -> None:
    """Look after what takes little time: files that wait, members whose cohort is gone, alerts."""
    for upload in import_waiting():
        log.info("%s: %s: %s", upload.cohort.key, upload.original_name, upload.get_state_display())
        if stop.is_set():
            return
    remove.drain(seconds=POLL)
    alerts.tell_changes(timezone.now())
    alerts.send_waiting(timezone.now())


def _calculate_due(stop: threading.Event) -> None:
    """Take in events that arrived, then calculate the cohorts whose time has come."""
    arrivals.take_in_all(stop.is_set)
    if stop.is_set():
        return
    calculate.calculate_due(timezone.now())


def _preview(stop: threading.Event) -> None:
    """Calculate what people wait for in the admin; apart, since cohorts may take long."""
    for preview in previewing.run_waiting():
        log.info("%s: %s", preview, preview.get_state_display())
