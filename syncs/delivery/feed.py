"""What one run has left to send, in order: create the list, add, remove, try rejected users again.

Who was rejected before comes last, so that a partner that refuses just them takes the others all the same.

Where a partner takes both in one request, who enters and who leaves travel together, in user order: nobody
does both in one run.

A feed is read by the driver alone. It yields `Work`, or BARRIER where everything before must have
been settled: no remove starts while an add of that user may be in flight.
"""

import time
from collections.abc import Iterator
from functools import partial
from heapq import merge
from itertools import islice

from django.db.models import Max

from destinations.endpoint import Kind
from destinations.payloads import Operation
from syncs.choices import ADDING, OPEN_BATCHES, BatchState, RunMode, Step
from syncs.delivery import rejections
from syncs.delivery.active import ActiveRun, parted
from syncs.delivery.narrow import Narrowing
from syncs.delivery.session import Session
from syncs.delivery.work import CreateList, Job, SendUsers, Work
from syncs.models import Batch, Rejection
from syncs.plan import Plan

BARRIER = None
THROUGH = [BatchState.DELIVERED, BatchState.NARROWED]
# Users with whom it is tried to make a list: any of them may be unknown to the partner.
CANDIDATES = 5


class Feed:
    """The work of one run, from where an earlier driver left it."""

    def __init__(self, active: ActiveRun) -> None:
        self.active, self.run = active, active.run
        self.plan = Plan.of(active.run)
        self.exhausted = False
        # Rejected users who need no request. Their rows go at the end: until then they keep the plan from
        # naming these users.
        self.forgotten: list[int] = []
        self._at_barrier = False
        self._work = self._all()

    def next(self, *, busy: bool) -> Work | None:
        """Return the next work, or None at the end, or while what is under way must be settled first.

        busy: something of this run is given out, and not yet settled.
        """
        if self.exhausted or (self._at_barrier and busy):
            return None
        self._at_barrier = False
        for work in self._work:
            if work is not BARRIER:
                return work
            if busy:
                self._at_barrier = True
                return None
        self.exhausted = True
        return None

    def users_of(self, batch: Batch) -> Iterator[str]:
        """Yield the users of a batch that was planned by range, but for those who were rejected."""
        steps = (Step.ADD, Step.REMOVE) if batch.step == Step.CHANGE else (Step(batch.step),)
        return merge(*(self._within(batch, step) for step in steps))

    def first_added(self) -> Iterator[str]:
        """Yield users of the run's first batch that added some."""
        added = self.run.batches.filter(step__in=ADDING, delivered__gt=0, user_ids__isnull=True).first()
        return self._within(added, Step.ADD) if added else iter(())

    def _within(self, batch: Batch, step: Step) -> Iterator[str]:
        return self.plan.users(step, after=self._cursor(step, batch), upto=batch.last_user)

    def _send(
        self,
        batch: Batch,
        users: list[str],
        retried: dict[str, Rejection] | None = None,
        *,
        stored: bool = False,
        leaving: frozenset[str] = frozenset(),
    ) -> SendUsers:
        narrowing = Narrowing(users, most=1 if self.active.single else 0)
        return SendUsers(batch, self.active, narrowing, retried or {}, stored=stored, leaving=leaving)

    def _all(self) -> Iterator[Work | None]:
        sync = self.run.sync
        if self.active.endpoint.kind == Kind.LIST and sync.list_id is None:
            if self.run.mode == RunMode.EMPTY:
                return
            candidates = self._candidates()
            if self.active.needs_first_user and not candidates:
                return  # nobody is to be there, and the partner makes no list without somebody
            yield self._create(candidates)
            yield BARRIER
        if self.active.endpoint.replaces_lists:
            yield from self._replacement()
            return
        yield from self._resumed()
        yield BARRIER
        for planned in [self._mixed()] if self.active.mixes else map(self._planned, (Step.ADD, Step.REMOVE)):
            yield from planned
            yield BARRIER
        if self.run.mode != RunMode.REPAIR:
            yield from self._retries()
            yield BARRIER

    def _candidates(self) -> list[str]:
        """Return users of whom one is named when the list is made, where the partner wants that."""
        if not self.active.needs_first_user:
            return []
        found = list(islice(self.plan.users(Step.ADD), CANDIDATES))
        if not found:
            due = rejections.due(self.run, self.plan, forget=lambda keys: None)
            retried = (user for step, users in due if step == Step.ADD for user in users)
            found = list(islice(retried, CANDIDATES))
        return self.active.known(Step.ADD, found)

    def _create(self, candidates: list[str]) -> CreateList:
        """The create call: the row of the one that an earlier driver began, or a new one."""
        begun = None
        if not self.active.is_new:
            begun = self.run.batches.filter(step=Step.CREATE, state=BatchState.SENDING).first()
        if begun is None:
            batch = self.active.new_batch(Step.CREATE, [])
            # An earlier run may have made one, and been cancelled before there was an answer.
            creates = Batch.objects.filter(run__sync=self.run.sync_id, step=Step.CREATE)
            if (last := creates.order_by("pk").last()) and last.state != BatchState.DELIVERED:
                batch.unknown_outcome = last.unknown_outcome or last.status is None
            return CreateList(batch, self.active, candidates)
        begun.unknown_outcome = True
        return CreateList(begun, self.active, candidates, stored=True)

    def _replacement(self) -> Iterator[Work]:
        """The whole list as one batch, if anybody is to be added, removed or tried again.

        One that an earlier driver began is sent again, whole: the target is the same. Where it travels in
        several requests, that is another session.
        """
        due: dict[str, Rejection] = {}
        left: list[int] = []
        for step, found in rejections.due(self.run, self.plan, forget=self.forgotten.extend):
            if step == Step.ADD:
                due |= found
            else:  # who is not on the list that is sent is not there any more
                left += [rejection.pk for rejection in found.values()]
        begun = self.run.batches.filter(state__in=OPEN_BATCHES).exclude(step=Step.CREATE).first()
        full = self.run.mode in (RunMode.FULL, RunMode.EMPTY)
        moved = full or any(next(self.plan.users(step), None) is not None for step in (Step.ADD, Step.REMOVE))
        if not (begun or due or left or moved):
            return
        self.forgotten += left
        if self.run.batches.filter(step=Step.ADD, state__in=THROUGH).exists():
            return  # an earlier driver had sent it, and died before it could end the run
        users = list(self.plan.everyone(due))
        batch = begun or self.active.new_batch(Step.ADD, users, keep_ids=not users)
        batch.unknown_outcome |= begun is not None
        known = self.active.known(Step.ADD, users)
        work = self._send(batch, known, due, stored=begun is not None)
        if self.active.has_parts:
            fits = partial(self.active.encoder.fits, Operation.ADD)
            work.narrowing = Session(known, self.active.most, fits=fits)
        yield work

    def _resumed(self) -> Iterator[Work]:
        """Batches that were being sent when an earlier driver stopped: sent again, whole.

        The partner may have got them: for users who are rejected this time, that is kept in mind. About one
        that the partner had accepted, it is only asked what became of it.
        """
        if self.active.is_new:
            return
        sending = self.run.batches.filter(state__in=OPEN_BATCHES).exclude(step=Step.CREATE)
        for batch in sending.order_by("number"):
            users = batch.user_ids or list(self.users_of(batch))
            if not users:  # all were rejected since
                continue
            job = self._job(batch, users)
            batch.unknown_outcome |= job is None
            retried = rejections.among(self.run.sync_id, users) if batch.user_ids else {}
            mixed = batch.step == Step.CHANGE
            leaving = frozenset(self._within(batch, Step.REMOVE) if mixed else ())
            users = self.active.known(Step(batch.step), users, leaving)
            work = self._send(batch, users, retried, stored=True, leaving=leaving)
            if mixed and not self.active.mixes:  # no longer: a person has changed the destination
                enter, leave = parted(users, leaving)
                work.narrowing = Narrowing(enter, apart=leave)
            work.job = job
            yield work

    def _job(self, batch: Batch, users: list[str]) -> Job | None:
        """Return what the partner works on for a batch, if it is known to be about just these users."""
        if batch.state != BatchState.PROCESSING:
            return None
        if not self.active.endpoint.poll_path or len(users) != batch.size or not batch.job_since:
            batch.state = BatchState.SENDING
            return None
        # Of one from before this was written down: at once.
        due = batch.job_due.timestamp() if batch.job_due else time.time()
        due += time.monotonic() - time.time()
        return Job(batch.job_id, batch.job_since.timestamp(), batch.job_polls, due)

    def _retries(self) -> Iterator[Work]:
        for step, due in rejections.due(self.run, self.plan, forget=self.forgotten.extend):
            users = iter(sorted(due))
            while not self.active.retries_over and (chunk := list(islice(users, self.active.most))):
                batch = self.active.new_batch(step, chunk, keep_ids=True)
                known = self.active.known(step, chunk)
                yield self._send(batch, known, {user: due[user] for user in chunk})

    def _planned(self, step: Step) -> Iterator[Work]:
        """Batches of the plan, from the last user who was planned for this step."""
        active = self.active
        users = self._left(step)
        chunk = list(islice(users, active.most))
        while chunk:
            now = chunk[: active.most]
            known = active.known(step, now)
            if not active.single:
                known = known[: active.encoder.fits(Operation(step), known)]
            now, chunk = now[: len(known)], chunk[len(known) :]
            yield self._send(active.new_batch(step, now), known)
            # `most` may have shrunk meanwhile.
            chunk += islice(users, max(active.most - len(chunk), 0))

    def _mixed(self) -> Iterator[Work]:
        """Batches of both steps in one. One that turns out to hold one kind only is of that step."""
        active, leavers = self.active, set[str]()
        users = merge(self._left(Step.ADD), _noted(self._left(Step.REMOVE), leavers))
        chunk = list(islice(users, active.most))
        while chunk:
            now = chunk[: active.most]
            known = active.known(Step.CHANGE, now, leavers)
            known = known[: active.encoder.fits(Operation.CHANGE, known)]
            now, chunk = now[: len(known)], chunk[len(known) :]
            leaving = frozenset(leavers.intersection(now))
            leavers -= leaving
            step = Step.CHANGE if 0 < len(leaving) < len(now) else Step.REMOVE if leaving else Step.ADD
            yield self._send(active.new_batch(step, now), known, leaving=leaving)
            chunk += islice(users, max(active.most - len(chunk), 0))

    def _left(self, step: Step) -> Iterator[str]:
        """Yield the users of a step who were not planned yet."""
        return self.plan.users(step, after="" if self.active.is_new else self._cursor(step))

    def _cursor(self, step: Step, before: Batch | None = None) -> str:
        """Return the last user planned for a step, alone or with the other: at all, or before a batch."""
        planned = self.run.batches.filter(step__in=[step, Step.CHANGE], user_ids__isnull=True)
        if before:
            planned = planned.filter(number__lt=before.number)
        return planned.aggregate(last=Max("last_user"))["last"] or ""


def _noted(users: Iterator[str], among: set[str]) -> Iterator[str]:
    """Yield the users, and note each."""
    for user in users:
        among.add(user)
        yield user
