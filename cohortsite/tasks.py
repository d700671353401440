"""The worker's work as tasks of Celery: what `cohortsite.worker` does in threads, on queues of its own.

    beat ─▶ find_due ─▶ a task for each thing that waits in the database
                     ─▶ find_arrived ─▶ a task for each workspace that has events to take in

Nothing depends on a message. One that comes twice finds the work taken: by the lease, the claim or the
conditional UPDATE that keeps several workers apart without a broker, too. One that is late finds it done. And
what no message came for is found again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Task
from celery.signals import task_postrun
from django.core.cache import cache
from django.utils import timezone

from cohorts import calculate
from cohorts.choices import SourceKind
from cohorts.models import Cohort, Preview, Upload
from cohortsite import heartbeat, worker
from cohortsite.celery import ROUTES, app, stop
from events import arrivals
from people.models import ProfileImport
from receiving.search import waiting_searches
from syncs import comparing, due
from syncs.delivery.drive import drive as drive_destination
from syncs.delivery.turns import Turns
from syncs.models import Comparison

# Seconds after which a message for the same work is sent again: the first was lost, or waits behind others,
# and is then passed over when its turn comes.
AGAIN = 20.0
# A queue that nobody takes from grows no longer than this.
LONGEST = 1_000
# A task, and what it is about.
Work = tuple[Any, ...]

_driving: set[int] = set()
_turns = Turns(lambda: len(_driving))


# --- what beat sends ----------------------------------------------------------------------------


@app.task
def find_due() -> None:
    """Make the runs that are due, and send a task for each thing that waits."""
    with _alone("find_due") as mine:
        if mine:
            heartbeat.say()
            due.start_due(timezone.now())
            comparing.ask_due(timezone.now())
            send(_waiting())


# --- what is found ------------------------------------------------------------------------------


@app.task
def drive(destination: int) -> None:
    """Drive a destination until nothing is open there; nothing, if somebody else does."""
    began = timezone.now()
    _driving.add(destination)
    try:
        with _turns.taken():
            ended = drive_destination(destination, stop=stop, turns=_turns)
    finally:
        _driving.discard(destination)
    worker.log_driven(destination, ended)
    worker.log_ended(destination, began)


@app.task
def refresh(cohorts: list[str]) -> None:
    """Calculate the cohorts of these keys that are due, when the events that they count are taken in."""
    behavioral = Cohort.objects.filter(key__in=cohorts, source_kind=SourceKind.BEHAVIORAL)
    arrivals.take_in_all(stop.is_set, among=set(behavioral.values_list("events_workspace", flat=True)))
    calculate.calculate_due(timezone.now(), among=cohorts)


@app.task
def import_members(cohort: str) -> None:
    worker.import_members(stop, [cohort])


@app.task
def import_profiles(pk: int) -> None:
    worker.import_profiles(stop)


@app.task
def find_arrived() -> None:
    """Send a task for each workspace that has something to take in: this worker's machine has its files."""
    send((take_in, workspace) for workspace in arrivals.with_arrivals() if arrivals.waits(workspace))


@app.task
def take_in(workspace: str) -> None:
    """Import files of events, and make sorted files of what came by HTTP."""
    arrivals.take_in_all(stop.is_set, among=[workspace])


@app.task
def preview(pk: int) -> None:
    worker.preview(stop)


@app.task
def search(pk: int) -> None:
    worker.search_requests(stop)


@app.task
def compare(pk: int) -> None:
    worker.compare(stop)


@app.task
def keep_house() -> None:
    worker.keep_house(stop)
    worker.tell_of_silence(stop)
    worker.prune_if_due()


def _waiting() -> Iterator[Work]:
    """Yield what waits, as its task and what that is about."""
    yield (keep_house,)
    yield (find_arrived,)
    for destination in due.undriven(due.drivable_destinations()):
        yield drive, destination
    for cohort in Upload.objects.open().values_list("cohort__key", flat=True).distinct():
        yield import_members, cohort
    for cohorts in calculate.due_together(timezone.now()):
        yield refresh, cohorts
    for task, found in (
        (import_profiles, ProfileImport.objects.open()),
        (preview, Preview.objects.open()),
        (search, waiting_searches()),
        (compare, Comparison.objects.open()),
    ):
        for pk in found.values_list("pk", flat=True):
            yield task, pk


# --- once, as far as possible -------------------------------------------------------------------


def send(found: Iterable[Work]) -> None:
    """Send a task for each, unless one for it is under way already."""
    lengths: dict[str, int] = {}
    for task, *about in found:
        mark = _mark(task.name, about)
        if not cache.add(mark, 1, timeout=AGAIN):
            continue
        queue = ROUTES[task.__name__]
        try:
            if queue not in lengths:
                lengths[queue] = length_of(queue)
            if lengths[queue] < LONGEST:
                task.apply_async(about, expires=AGAIN)
        except Exception:
            cache.delete(mark)  # as soon as the broker is there again
            raise


def length_of(queue: str) -> int:
    """Return how many messages wait in a queue, which is made if need be."""
    with app.connection_or_acquire() as connection, connection.channel() as channel:
        declared = app.amqp.queues[queue](channel)
        declared.declare()
        return int(declared.queue_declare().message_count)


@task_postrun.connect
def _may_be_sent_again(sender: Task, args: list[Any], **_: Any) -> None:
    """What came up while a task ended is found at the next look."""
    if sender.app is app and sender is not find_due:
        cache.delete(_mark(sender.name, args))


@contextmanager
def _alone(name: str) -> Iterator[bool]:
    """Yield whether nobody else is at it. Who dies there keeps the others from it for a moment."""
    mark = _mark(name, [])
    mine = cache.add(mark, 1, timeout=AGAIN)
    try:
        yield mine
    finally:
        if mine:
            cache.delete(mark)


def _mark(name: str, about: Sequence[Any]) -> str:
    """Return the key by which the cache knows that a task was sent."""
    return "task." + hashlib.sha256(json.dumps([name, *about]).encode()).hexdigest()
