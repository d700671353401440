"""One driver per destination: sends the batches of all its runs, and writes down what became of them.

    drive() ─▶ lease ─▶ loop:  choose ─▶ one transaction ─▶ submit ─▶ wait for replies ─▶ judge
                                (feeds)   (lease checked)    (threads do HTTP only)     (judge.py)

The thread that called `drive` is the only one that touches the database. A batch is in the database
as *sending* before a thread sees it, and a thread that has answered gets nothing new before the
answer is recorded: after a crash, at most as many batches as there are threads are sent again.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import TypeVar

from django.db import (
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.db.models.functions import Now
from django.utils import timezone

from cohorts import calculate
from cohorts.models import Cohort
from destinations.endpoint import Endpoint
from destinations.errors import DeliveryError
from destinations.models import Destination
from destinations.payloads import Request, TemplateError, external_name
from destinations.secrets import SecretUnreadable
from destinations.transport import Reply, Transport
from syncs import due, guard, lifecycle
from syncs.choices import DRIVABLE_RUNS, BatchState, RunMode, RunState, Step
from syncs.delivery import judge, record, rejections
from syncs.delivery import lease as leases
from syncs.delivery.feed import Feed, Work
from syncs.delivery.turns import Turns, alone
from syncs.models import Batch, Driver, Rejection, Run, Sync
from syncs.plan import Plan

log = logging.getLogger(__name__)

# A longer wait gives up the slot and the lease; somebody comes back when it is over.
SHORT_WAIT = 5.0
# Seconds between looks at what people asked for meanwhile, and the longest deafness to a stop.
LOOK_EVERY = 0.5
RENEW_EVERY = 15.0
RECOVER_AFTER = 60.0
# The same after the database cut its connections (a failover, a restart): it is there again, or soon.
DATABASE_AFTER = 1.0


class How(Enum):
    """Why a driver left its destination."""

    DONE = "done"
    BUSY = "busy"
    PARKED = "parked"
    PAUSED = "paused"
    STOPPED = "stopped"
    LOST = "lost"


@dataclass(frozen=True)
class Ended:
    how: How
    reason: str = ""
    next_at: datetime | None = None


Result = Reply | DeliveryError | Exception
T = TypeVar("T")


def drive(
    destination_id: int,
    *,
    stop: threading.Event,
    report: Callable[[list[Run]], None] = lambda runs: None,
    turns: Turns | None = None,
) -> Ended:
    """Drive all open runs of a destination until none is left, or something stands in the way.

    `stop`: when set, nothing new is sent; what is in flight is recorded. `report` is given the active
    runs after each transaction. `turns`: of a process that has other drivers; this one has the turn.
    Returns how it ended; what became of a run is in its row.
    """
    destination = Destination.objects.get(pk=destination_id)
    if destination.is_paused:
        return Ended(How.PAUSED, destination.pause_reason)
    lease = leases.take(destination_id, seconds=destination.deadline + leases.MARGIN)
    if lease is None:
        return _why_not(destination_id)
    try:
        endpoint = destination.endpoint()
    except SecretUnreadable as error:
        Destination.objects.pause(destination_id, str(error))
        lease.release()
        return Ended(How.PAUSED, str(error))
    driver = Drive(lease, destination, endpoint, stop, report, turns or alone())
    try:
        driver.relax()
        return driver.loop()
    except leases.LeaseLost:
        driver.transport.interrupt()
        return Ended(How.LOST, "Another driver took over.")
    except (OperationalError, InterfaceError) as error:
        driver.transport.interrupt()
        return _database_was_away(driver, error)
    except Exception as error:  # a run's edge: recorded, and tried again later rather than at once
        log.exception("Driving %s failed.", destination, extra={"destination": destination_id})
        driver.transport.interrupt()
        # A connection that the database has cut is no use for saying so.
        connection.close_if_unusable_or_obsolete()
        try:
            return driver.recover(f"An error of this program: {type(error).__name__}: {error}")
        except leases.LeaseLost:
            return Ended(How.LOST, "Another driver took over.")
    finally:
        driver.close()
        with suppress(Error):  # a connection that was cut begins durable, when it is made anew
            _relax_durability(False)


def _database_was_away(driver: "Drive", error: Error) -> Ended:
    """Give the destination back as soon as the database answers again; its runs go on within seconds."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    reason = f"The database was away for a moment: {said}"
    log.warning("%s", reason, extra={"destination": driver.destination.pk})
    while True:
        connection.close()
        try:
            return driver.recover(reason, after=DATABASE_AFTER)
        except leases.LeaseLost:
            return Ended(How.LOST, "Another driver took over.")
        except (OperationalError, InterfaceError):
            # When the lease has run out, anybody may go on; until then only this driver can.
            if driver.lease.remaining() <= 0 or driver.stop.wait(LOOK_EVERY):
                return Ended(How.LOST, reason)


def _why_not(destination_id: int) -> Ended:
    driver = Driver.objects.get(pk=destination_id)
    if driver.next_at and driver.next_at > timezone.now():
        return Ended(How.PARKED, driver.next_reason, driver.next_at)
    return Ended(How.BUSY, "Another process is driving this destination.")


@dataclass
class Drive:
    lease: leases.Lease
    destination: Destination
    endpoint: Endpoint
    stop: threading.Event
    report: Callable[[list[Run]], None]
    turns: Turns = field(default_factory=alone)
    feeds: list[Feed] = field(default_factory=list)
    # Works that may be sent at once: the next piece of a batch, or a retry whose wait is over.
    ready: deque[Work] = field(default_factory=deque)
    # Encoded, and not yet in the database.
    ahead: deque[Work] = field(default_factory=deque)
    # Retries spent; waiting for a sign that the partner is alive.
    spent: list[Work] = field(default_factory=list)
    # Users were refused before anybody was accepted in the run: perhaps the partner refuses everybody.
    unproven: list[Work] = field(default_factory=list)
    # For the next transaction: batches that are about to be sent or were judged, and everything else.
    changed: list[Batch] = field(default_factory=list)
    writes: list[Callable[[], object]] = field(default_factory=list)
    # Calculations of cohorts before their runs, by the run's key.
    refreshes: dict[int, Future[object]] = field(default_factory=dict)
    durable: bool = False
    accepted: int = 0
    in_flight: int = 0
    ending: Ended | None = None

    def __post_init__(self) -> None:
        self.transport = Transport(self.endpoint)
        self.pool = ThreadPoolExecutor(self.endpoint.threads, thread_name_prefix="send")
        self.calculator = ThreadPoolExecutor(1, thread_name_prefix="calculate")
        self.results: queue.SimpleQueue[tuple[Work, Request, Result]] = queue.SimpleQueue()
        self.row = Driver.objects.get(pk=self.destination.pk)
        self.gate = 0.0
        self.slot = 0.0
        self._looked = self._renewed = 0.0
        self._turn = 0
        self._relaxed: object = None

    # --- the loop ---------------------------------------------------------------------------

    def loop(self) -> Ended:
        while True:
            self._look()
            # After the look for new runs: until the commit, an ended run is still open in the database.
            self._drop_ended()
            sending = self._choose()
            self._commit()
            self._submit(sending)
            self._think_ahead()
            if not self.in_flight and not self._find_way_on():
                if self.ending is None and not self._adopt():
                    self.ending = Ended(How.DONE)
                if self.ending:
                    return self._leave(self.ending)
            self._collect()

    def _look(self) -> None:
        """Now and then: new runs, cancelled runs, a pause, a stop."""
        now = time.monotonic()
        if self.stop.is_set() and self.ending is None:
            self.ending = Ended(How.STOPPED, "Stopped.")
        if now - self._looked < LOOK_EVERY * self.turns.crowd:
            return
        self._looked = now
        self._adopt()
        asked = Destination.objects.get(pk=self.destination.pk)
        if asked.is_paused and self.ending is None:
            self.ending = Ended(How.PAUSED, asked.pause_reason)
        elif asked.updated_at != self.destination.updated_at and self.ending is None:
            self.begin_anew()
        active = {feed.run.pk: feed for feed in self.feeds}
        for pk in Run.objects.filter(pk__in=active, cancel_requested=True).values_list("pk", flat=True):
            self.end_run(active[pk], RunState.CANCELLED, "Cancelled by a person.", _give_up)

    def _choose(self) -> list[Work]:
        """Take as many works as there are free threads; new ones get their row in this transaction."""
        chosen: list[Work] = []
        room = (1 if self.row.opened else self.endpoint.threads) - self.in_flight
        while room > 0 and self.ending is None and self.gate <= time.monotonic():
            work = self._next()
            if work is None:
                break
            if not work.stored:
                self._store(work)
            work.feed.flying += 1
            chosen.append(work)
            room -= 1
        return chosen

    def _next(self) -> Work | None:
        """Take the first work that may be sent. The others keep their order: see `Feed.stored`."""
        for waiting in (self.ready, self.ahead):
            for work in [work for work in waiting if work.feed.ended]:
                waiting.remove(work)
            for work in waiting:
                begun = waiting is self.ready or work.feed.may_begin
                if begun and (not work.feed.blocked or work.canary):
                    waiting.remove(work)
                    return work
        return self._from_feeds()

    def _from_feeds(self, *, ahead: bool = False) -> Work | None:
        """Ask the runs in turn, so that a small one does not wait behind a large one.

        ahead: what may set out later will do.
        """
        for _ in range(len(self.feeds)):
            self._turn = (self._turn + 1) % len(self.feeds)
            feed = self.feeds[self._turn]
            may_begin = not (feed.ended or feed.blocked) and (ahead or feed.may_begin)
            work = feed.next() if may_begin else None
            if work:
                return work
        return None

    def _store(self, work: Work) -> None:
        work.stored = True
        work.feed.stored(work.batch)
        self.changed.append(work.batch)
        # A lost row of a create call would make a second list of which nobody is told.
        self.durable |= bool(work.retried) or work.narrowing is None
        if work.retried:
            self.writes.append(partial(rejections.announce, work.batch, list(work.retried.values())))

    def _commit(self) -> None:
        """Write everything in one transaction that begins by checking the lease."""
        now = time.monotonic()
        changed, writes = self.changed, self.writes
        if not (changed or writes) and now - self._renewed < RENEW_EVERY:
            return
        self.changed, self.writes = [], []
        if self.durable:
            _relax_durability(False)
        elif connection.connection is not self._relaxed:
            self.relax()  # the connection was given up while this driver rested
        while True:
            try:
                with transaction.atomic():
                    self.lease.renew()
                    record.batches(changed)
                    for write in writes:
                        write()
                    record.counts([feed.run for feed in self.feeds if feed.touched])
                break
            except OperationalError as error:
                if "locked" not in str(error) or self.lease.remaining() < 10:
                    raise
                about = {"destination": self.destination.pk}
                log.warning("The database is locked; trying again.", extra=about)
        if self.durable:
            self.relax()
        self.durable = False
        self._renewed = now
        self.report([feed.run for feed in self.feeds])

    def relax(self) -> None:
        """From now on commits of this connection do not wait for the disk."""
        _relax_durability(True)
        self._relaxed = connection.connection

    def _submit(self, chosen: list[Work]) -> None:
        for work in chosen:
            self.in_flight += 1
            self.pool.submit(self._send, work, work.encode(), self._pace())

    def _pace(self) -> float:
        """Return when the next request may start, by the destination's rate."""
        now = time.monotonic()
        if self.endpoint.rate:
            self.slot = max(self.slot + 1 / self.endpoint.rate, now)
            return self.slot
        return now

    def _send(self, work: Work, request: Request, not_before: float) -> None:
        """In a thread of the pool: one request; no database."""
        result: Result
        try:
            while (wait := not_before - time.monotonic()) > 0:
                if self._called_off(work):
                    raise leases.NotSent
                self.stop.wait(min(wait, LOOK_EVERY))
            if self.lease.remaining() <= self.endpoint.deadline:
                raise leases.NotSent
            result = self.transport.send(request)
        except Exception as error:  # noqa: BLE001  # a thread's edge: judged by the driver
            result = error
        self.results.put((work, request, result))

    def _called_off(self, work: Work) -> bool:
        """Say whether a request that waits for its turn shall not be sent now. Asked by its thread."""
        over = self.ending is not None or work.feed.ended is not None
        return over or self.stop.is_set() or self.gate > time.monotonic()

    def _think_ahead(self) -> None:
        """Plan and encode the next batches while the threads wait for the partner."""
        while self.ending is None and len(self.ahead) + len(self.ready) < self.endpoint.threads:
            work = self._from_feeds(ahead=True)
            if work is None:
                return
            work.encode()
            self.ahead.append(work)

    def _collect(self) -> None:
        """Wait for a reply, the gate, a stop or the next look; judge all replies that are there."""
        wait = LOOK_EVERY
        if not self.in_flight:
            idle = not (self.ready or self.ahead or self.feeds)
            wait = LOOK_EVERY if idle else min(max(self.gate - time.monotonic(), 0), LOOK_EVERY)
            if wait and self._rest(partial(self.stop.wait, wait)):
                return
            wait = 0
        try:
            waits = wait and self.results.empty()
            work, request, result = (
                self._rest(partial(self.results.get, timeout=wait)) if waits else self.results.get_nowait()
            )
            while True:
                self.in_flight -= 1
                work.feed.flying -= 1
                judge.judge(self, work, request, result)
                work, request, result = self.results.get_nowait()
        except queue.Empty:
            return

    def _rest(self, until: Callable[[], T]) -> T:
        """Wait, and let the process's other drivers have the database meanwhile."""
        with self.turns.rest():
            return until()

    def _find_way_on(self) -> bool:
        """Nothing is in flight: finish what can be finished; return whether there is more to send."""
        if self.ending is None and not (self.ready or self.ahead):
            work = self._from_feeds()
            if work:
                self.ahead.append(work)
            else:
                judge.unblock(self)
                for feed in [feed for feed in self.feeds if feed.done]:
                    self._finish(feed)
        elif self.ready and self.gate - time.monotonic() > (0.0 if self._stopped else SHORT_WAIT):
            self.park(self.gate - time.monotonic(), self.row.next_reason)
        self._drop_ended()
        self._commit()
        more = self.ready or self.ahead or self.feeds or self._calculating()
        return self.ending is None and bool(more)

    @property
    def _stopped(self) -> bool:
        return self.ending is not None and self.ending.how == How.STOPPED

    # --- runs -------------------------------------------------------------------------------

    def _adopt(self) -> bool:
        """Take on the destination's open runs that are not yet active; return whether there was one."""
        if self.ending:
            return False
        active = [feed.run.pk for feed in self.feeds] + self._calculating()
        runs = Run.objects.filter(sync__destination=self.destination, state__in=DRIVABLE_RUNS)
        new = runs.exclude(pk__in=active).exclude(sync__in=[feed.run.sync_id for feed in self.feeds])
        adopted = False
        for run in new.select_related("sync__cohort").order_by("pk"):
            if run.pk not in self.refreshes and due.wants_refresh(run):
                self.refreshes[run.pk] = self.calculator.submit(_refresh, run.sync.cohort, run.created_at)
                adopted = True
            else:
                adopted |= self._begin(run)
        return adopted

    def _calculating(self) -> list[int]:
        """Return the runs that wait for their cohort to be calculated, while others are sent."""
        return [pk for pk, refresh in self.refreshes.items() if not refresh.done()]

    def _begin(self, run: Run) -> bool:
        """Mark the run running and its sync dirty, in one durable transaction before its first request."""
        sync = run.sync
        if run.cancel_requested:
            return self._end_unbegun(run, RunState.CANCELLED, "Cancelled by a person.")
        try:
            name = sync.external_name or external_name(self.endpoint, sync.cohort.name, sync.cohort.key)
        except TemplateError as error:
            return self._end_unbegun(run, RunState.FAILED, str(error))
        fingerprint = self.endpoint.fingerprint
        if sync.fingerprint and sync.fingerprint != fingerprint == self.destination.accepted_fingerprint:
            return self._move(run)
        agreed = bool(run.started_at) or guard.is_agreed(run)
        plan = Plan.of(run) if agreed else guard.plan_anew(run)
        if run.planned_adds is None:
            run.planned_adds, run.planned_removes = plan.count(Step.ADD), plan.count(Step.REMOVE)
        if not agreed and (reason := guard.why_hold(run, plan)):
            return self._hold(run, reason)
        _relax_durability(False)
        try:
            with transaction.atomic():
                self.lease.renew()
                begun = Sync.objects.begin(
                    sync.pk, fingerprint=fingerprint, external_name=name, mode=run.mode
                )
                if begun and not Run.objects.start(run.pk):
                    return True  # ended by a person just now; at most, the next run starts dirty
                if begun:
                    Run.objects.filter(pk=run.pk).update(**guard.planned(run))
        except IntegrityError:
            others = Sync.objects.filter(destination=sync.destination_id).exclude(pk=sync.pk)
            if not others.filter(external_name=name).exists():
                raise
            begun = False
        finally:
            _relax_durability(True)
        if not begun:
            return self._end_unbegun(run, RunState.FAILED, _why_not_begun(sync, self.endpoint, name))
        run.refresh_from_db()
        self.feeds.append(Feed(run, self.endpoint, self.row.learned_size))
        return True

    def _move(self, run: Run) -> bool:
        """A person has agreed to the destination's new address: the partner there holds nothing yet."""
        emptying = run.mode == RunMode.EMPTY
        state = RunState.SUCCEEDED if emptying else RunState.CANCELLED
        what = "nobody is there to be removed." if emptying else "a full run follows."

        def write() -> None:
            Sync.objects.forget(run.sync_id)
            Rejection.objects.filter(sync=run.sync_id).delete()
            Run.objects.end(run.pk, state, reason=f"The destination moved: {what}")
            if emptying:
                lifecycle.go_on_renamed(run)
            else:
                lifecycle.follow_up(run, trigger=run.trigger, mode=RunMode.FULL)

        self.writes.append(write)
        self._commit()
        return True

    def _hold(self, run: Run, reason: str) -> bool:
        """Wait for a person; what the run would do is fixed now, so that they approve just that."""

        def write() -> None:
            Run.objects.filter(pk=run.pk).update(**guard.planned(run))
            Run.objects.hold(run.pk, reason=reason)

        self.writes.append(write)
        self._commit()
        return True

    def _end_unbegun(self, run: Run, state: RunState, reason: str) -> bool:
        self.writes.append(partial(Run.objects.end, run.pk, state, reason=reason))
        self._commit()
        return True

    def _finish(self, feed: Feed) -> None:
        """All of a run's batches are settled: from now on the partner holds its target."""
        run = feed.run
        version = 0 if run.mode == RunMode.EMPTY else run.to_version
        state = RunState.PARTIAL if run.not_taken else RunState.SUCCEEDED
        reason = f"Users that will be tried again: {run.not_taken}." if run.not_taken else ""

        def settle(run: Run) -> None:
            Sync.objects.settle(run.sync_id, version=version, mode=run.mode)
            # Only those are left that had nobody to send any more.
            _close_batches(run, BatchState.REJECTED, "All of its users were rejected, and are tried apart.")
            rejections.forget(feed.forgotten)
            if run.mode == RunMode.EMPTY:
                lifecycle.go_on_renamed(run)
            lifecycle.catch_up(run)

        self.end_run(feed, state, reason, settle)

    def end_run(
        self, feed: Feed, state: RunState, reason: str, then: Callable[[Run], object] = lambda run: None
    ) -> None:
        """End a run when what is in flight of it has come back; `then` joins that transaction.

        A run that somebody else has ended meanwhile settles nothing: its sync may have been reset.
        """
        if feed.ended:
            return
        self.unproven = [work for work in self.unproven if work.feed is not feed]
        self.spent = [work for work in self.spent if work.feed is not feed]

        def write() -> None:
            if Run.objects.end(feed.run.pk, state, reason=reason) or state == RunState.CANCELLED:
                then(feed.run)

        feed.ended = write

    def _drop_ended(self) -> None:
        for feed in [feed for feed in self.feeds if feed.ended and not feed.flying]:
            assert feed.ended
            self.writes += [partial(record.counts, [feed.run]), feed.ended]
            self.feeds.remove(feed)

    def park(self, seconds: float, reason: str) -> None:
        """Leave the destination for a while; its runs go on afterwards. A pause stays a pause."""
        if self.ending and self.ending.how == How.PAUSED:
            return
        self.ending = Ended(How.PARKED, reason, timezone.now() + timedelta(seconds=seconds))

    def begin_anew(self) -> None:
        """Leave at once: whoever drives next goes by the destination's new key, address or rate."""
        self.park(0.0, "The destination was changed.")

    def pause(self, reason: str) -> None:
        """Stop sending to this destination until a person resumes it."""
        self.ending = Ended(How.PAUSED, reason)
        self.writes.append(partial(Destination.objects.pause, self.destination.pk, reason))

    def _leave(self, ended: Ended) -> Ended:
        def write() -> None:
            running = Run.objects.filter(sync__destination=self.destination, state=RunState.RUNNING)
            for pk in list(running.values_list("pk", flat=True)):
                if ended.how == How.STOPPED:
                    Run.objects.interrupt(pk)
                else:
                    Run.objects.park(pk, reason=ended.reason)
            self.lease.release(next_at=ended.next_at, reason=ended.reason if ended.next_at else "")

        self.writes.append(write)
        self._commit()
        return ended

    def recover(self, reason: str, *, after: float = RECOVER_AFTER) -> Ended:
        """After an error of ours: drop what was to be written, park, and let somebody try later.

        The runs' counts go with the batches that they count, which are sent and counted again.
        """
        self.changed, self.writes, self.feeds = [], [], []
        self.park(after, reason)
        assert self.ending
        return self._leave(self.ending)

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.calculator.shutdown(wait=True, cancel_futures=True)
        self.transport.close()


def _refresh(cohort: Cohort, since: datetime) -> None:
    """In a thread of its own. What goes wrong is kept with the cohort; its last version is sent then."""
    try:
        calculate.bring_up_to_date(cohort, since)
    finally:
        connection.close()


def _why_not_begun(sync: Sync, endpoint: Endpoint, name: str) -> str:
    if sync.fingerprint not in ("", endpoint.fingerprint):
        return (
            "The destination's address or account has changed since this sync last ran. "
            "Confirm the move on the destination's page, or reset the sync, then run it again."
        )
    return f"Another sync of this destination already has the name {name!r} at the partner."


def _relax_durability(relaxed: bool) -> None:
    """Choose whether a commit of this connection waits for the disk.

    What a power cut may take from a driver's batches is only progress, which is sent again; a run's
    beginning and a rejected user's retry must be on the disk before their request leaves.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"SET synchronous_commit TO {'off' if relaxed else 'on'}")
        else:
            cursor.execute(f"PRAGMA synchronous={'NORMAL' if relaxed else 'FULL'}")


def _give_up(run: Run) -> None:
    """What a cancelled run was still to send again is not sent."""
    _close_batches(run, BatchState.UNDELIVERED, "The run was cancelled.")


def _close_batches(run: Run, state: BatchState, message: str) -> None:
    """End the batches of a run that are to be sent again, and will not be."""
    Batch.objects.filter(run=run, state=BatchState.SENDING).update(
        state=state, settled_at=Now(), message=message
    )
