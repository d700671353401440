"""The worker: a process that stays, and does for every app what comes.

It makes the runs that are due and drives what is open (`syncs.delivery.slots`); alongside, each in a
thread of its own, it imports, calculates, previews, searches, and notifies people. `manage.py sync_worker`
starts it.
"""

import logging
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from cohorts import calculate, previewing, remove, window
from cohorts.importing import import_waiting
from cohortsite import announcing, forgetting, heartbeat, pruning, silence
from events import arrivals
from pagekit import tracing
from people.profile_imports import import_waiting as profiles_waiting
from receiving.search import run_searches
from syncs import alerts, comparing, due, reporting, suppressing
from syncs.delivery.ended import Ended
from syncs.delivery.slots import POLL, SLOTS, Report, Slots
from syncs.models import Run

log = logging.getLogger(__name__)

Task = Callable[[threading.Event], None]
# How often it is said that the database is away, and when it was said last.
SAY_EVERY = 60.0
_said_away: dict[str, float] = {}
# Seconds between two prunings, and between two looks whether it is time.
PRUNE_EVERY, PRUNE_LOOK = timedelta(days=1).total_seconds(), 60.0


def work(*, stop: threading.Event, slots: int = SLOTS, report: Report = lambda runs: None) -> None:
    """Be the worker: make the runs that are due, drive what is open, import what was uploaded."""
    driving = Slots(stop, report, slots)
    began = timezone.now()
    # Until when a destination's runs that ended have been logged.
    logged = defaultdict[int, datetime](lambda: began)
    others = [
        threading.Thread(target=_again_and_again, args=(stop, task), name=task.__name__, daemon=True)
        for task in TASKS
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
        log_driven(destination, ended)
        logged[destination] = log_ended(destination, logged[destination])
    due.start_due(timezone.now())
    driving.fill(due.undriven(due.drivable_destinations()))


def _without_dying(task: Callable[..., None], *arguments: object) -> None:
    """Do something that comes again anyway: an error is logged. A database that was away is asked anew."""
    try:
        task(*arguments)
    except (OperationalError, InterfaceError) as error:
        _database_is_away(task.__name__, error)
        connection.close()
    except Exception:
        log.exception("%s failed; it is tried again at the next turn.", task.__name__)
        connection.close()


def _database_is_away(name: str, error: Exception) -> None:
    """Say so in one line, and then in one a minute: everything that comes again fails twice a second."""
    now = time.monotonic()
    if now - _said_away.get(name, -SAY_EVERY) >= SAY_EVERY:
        _said_away[name] = now
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("%s: the database does not answer: %s", name, said)


def _again_and_again(stop: threading.Event, task: Task) -> None:
    while not stop.is_set():
        _without_dying(task, stop)
        stop.wait(POLL)
    connection.close()


def log_driven(destination: int, ended: Ended) -> None:
    about = {"destination": destination}
    log.info("destination %s: %s %s", destination, ended.how.value, ended.reason, extra=about)


def log_ended(destination: int, since: datetime) -> datetime:
    """Log a destination's runs that ended after `since`; return when the last of them did."""
    ended = Run.objects.filter(sync__destination=destination, finished_at__gt=since).order_by("finished_at")
    for run in ended.select_related("sync__cohort", "sync__destination"):
        about = {"run": run.pk, "sync": str(run.sync), "destination": destination, "state": run.state}
        if run.traceparent:
            about["trace"] = tracing.id_in(run.traceparent)
        log.info("%s", reporting.as_text(run), extra=about)
        since = run.finished_at or since
    return since


def import_profiles(stop: threading.Event) -> None:
    """Import the files of profiles that people gave in the browser."""
    for profiles in profiles_waiting():
        log.info("profiles of %s: %s: %s", profiles.workspace, profiles, profiles.get_state_display())
        if stop.is_set():
            return


def import_members(stop: threading.Event, cohort_keys: Collection[str] = ()) -> None:
    """Import the files that people gave cohorts: of these cohorts, or of all."""
    for upload in import_waiting(cohort_keys):
        log.info("%s: %s: %s", upload.cohort.key, upload.original_name, upload.get_state_display())
        if stop.is_set():
            return


def keep_house(stop: threading.Event) -> None:
    """Look after what takes little time: suppression, erasures, members whose cohort is gone, alerts."""
    suppressing.take_effect()
    forgetting.go_on()
    remove.drain(seconds=POLL)
    for cohort in window.empty_ended(timezone.now()):
        log.info("%s was emptied: its active window is over.", cohort.key)
    arrivals.recount_if_due()
    arrivals.settle_if_due()
    alerts.tell_changes(timezone.now())
    alerts.send_waiting(timezone.now())
    announcing.announce_published(timezone.now())


def prune(stop: threading.Event) -> None:
    prune_if_due()
    stop.wait(PRUNE_LOOK)


def prune_if_due() -> None:
    """Once a day delete what is kept no longer, if HISTORY_DAYS is set. Each machine does it: events and what
    was uploaded may lie on the disk of one of them, and of rows the second one finds none."""
    pruned = f"worker.pruned.{socket.gethostname()}"
    if settings.HISTORY_DAYS and cache.add(pruned, 1, timeout=PRUNE_EVERY):
        log.info("%s", pruning.prune(timezone.now(), settings.HISTORY_DAYS))


def calculate_due(stop: threading.Event) -> None:
    """Take in events that arrived, then calculate the cohorts whose time has come."""
    arrivals.take_in_all(stop.is_set)
    if stop.is_set():
        return
    calculate.calculate_due(timezone.now())


def preview(stop: threading.Event) -> None:
    """Calculate what people wait for in the admin; apart, since cohorts may take long."""
    for made in previewing.run_waiting():
        log.info("%s: %s", made, made.get_state_display())


def search_requests(stop: threading.Event) -> None:
    """Search the request log for the users that people asked for."""
    run_searches(stop.is_set)


def compare(stop: threading.Event) -> None:
    """Read back what partners have, and compare."""
    comparing.ask_due(timezone.now())
    for comparison in comparing.run_waiting(stop.is_set):
        log.info("%s: %s %s", comparison, comparison.get_state_display(), comparison.error)


def tell_of_silence(stop: threading.Event) -> None:
    """Notify people of what nobody says by itself."""
    silence.tell()


TASKS: tuple[Task, ...] = (
    *(heartbeat.beat, import_members, import_profiles, keep_house, calculate_due),
    *(preview, search_requests, compare, tell_of_silence, prune),
)
