"""What one run has left to send, in order: create the list, add, remove, try rejected users again.

Who was rejected before comes last, so that a partner that refuses just them takes the others all the same.

A feed is read by the driver alone. It yields `Work`, or BARRIER where everything before must have
been settled: no remove starts while an add of that user may be in flight.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from django.db.models import Max

from destinations.endpoint import Delivery, Endpoint, Kind
from destinations.errors import DeliveryError
from destinations.payloads import Encoder, Operation, Request
from syncs.choices import BatchState, RunMode, Step
from syncs.delivery import rejections
from syncs.delivery.narrow import Narrowing
from syncs.models import Batch, Rejection, Run
from syncs.plan import Plan

# A batch of single requests: few enough to be repeated whole after a crash.
SINGLES = 100
# Requests of a run that are under way at once while nobody was accepted in it.
UNPROVEN = 4
BARRIER = None


@dataclass(eq=False)
class Work:
    """A batch on its way. `narrowing` is None for a create call, which concerns no user."""

    batch: Batch
    feed: "Feed"
    narrowing: Narrowing | None = None
    # The batch's row exists already: a batch that was being sent when its driver died.
    stored: bool = False
    # Rejected users that are tried again here, by id: their rows go away when they are delivered.
    retried: dict[str, Rejection] = field(default_factory=dict)
    canary: bool = False
    # A canary was delivered after this batch met a bare 404, which was about users then.
    list_exists: bool = False
    # When its retries were spent, how many of the run's requests had been accepted.
    spent_at: int | None = None
    # What the partner last said of it, while that waits for a canary or a sign of life.
    error: DeliveryError | None = None
    # The batch that waits for this canary.
    waiting: "Work | None" = None
    # Encoded ahead of time, away from the sending threads.
    request: Request | None = None

    def encode(self) -> Request:
        """Return the request for what is to be sent next."""
        if self.request is None:
            self.request = self.feed.encode(
                Step(self.batch.step), self.narrowing.piece if self.narrowing else []
            )
        return self.request


class Feed:
    """The work of one run, from where an earlier driver left it."""

    def __init__(self, run: Run, endpoint: Endpoint, learned_size: int | None) -> None:
        self.run = run
        self.endpoint = endpoint
        self.plan = Plan.of(run)
        self.single = endpoint.kind == Kind.PROPERTY and endpoint.delivery == Delivery.SINGLE
        self.most = SINGLES if self.single else min(endpoint.batch_size, learned_size or endpoint.batch_size)
        # Requests of this run that the partner accepted: until there is one, no user is to blame. And
        # those that it refused since.
        self.accepted = Batch.objects.filter(run_id=run.pk, delivered__gt=0).exclude(step=Step.CREATE).count()
        self.refused = 0
        # Refusals that left nobody of their piece innocent: while nobody was accepted, only they count.
        self.all_at_fault = 0
        # Users who were added by the last requests, and are at the partner now.
        self.taken: list[str] = []
        # Whom canaries named since somebody was accepted.
        self.witnesses: list[str] = []
        # Rejected users are tried no more in this run: nobody can be asked whether the partner is well.
        self.retries_over = False
        # Nothing but bare 404s so far among the refusals; and what the last one said.
        self.only_404 = True
        self.last_message = ""
        # A canary is on its way: nothing else is sent until it is back.
        self.blocked = False
        # Works that were given out and are not settled; requests that are under way.
        self.in_flight = 0
        self.flying = 0
        self.exhausted = False
        self.touched = False
        # The run ends with this write when nothing of it is under way.
        self.ended: Callable[[], None] | None = None
        # The last user of each step's planned batches whose rows are written.
        self._stored: dict[str, str] = {}
        self._at_barrier = False
        self._encoder_list: str | None = None
        self._number = Batch.objects.filter(run_id=run.pk).aggregate(last=Max("number"))["last"] or 0
        self._encoder: Encoder | None = None
        self._work = self._all()
        # Rejected users who need no request. Their rows go at the end: until then they keep the plan from
        # naming these users.
        self.forgotten: list[int] = []

    def next(self) -> Work | None:
        """Return the next work, or None while what is in flight must be settled first, or at the end."""
        if self.exhausted or (self._at_barrier and self.in_flight):
            return None
        self._at_barrier = False
        for work in self._work:
            if work is not BARRIER:
                self.in_flight += 1
                return work
            if self.in_flight:
                self._at_barrier = True
                return None
        self.exhausted = True
        return None

    @property
    def may_begin(self) -> bool:
        """Whether another batch may set out. Until somebody was accepted, few do, and each refusal is
        looked into before the next one: a partner that refuses everybody is asked little.
        """
        return self.accepted > 0 or (self.flying < UNPROVEN and not (self.refused and self.flying))

    @property
    def done(self) -> bool:
        return self.exhausted and not self.in_flight

    def new_batch(self, step: Step, users: list[str], *, keep_ids: bool = False) -> Batch:
        """Return a batch, not saved, of users in user order."""
        self._number += 1
        return Batch(
            run=self.run,
            number=self._number,
            step=step,
            first_user=users[0] if users else "",
            last_user=users[-1] if users else "",
            user_ids=users if keep_ids else None,
            size=len(users),
        )

    def stored(self, batch: Batch) -> None:
        """Note that a batch gets its row. A step's planned batches must come in user order: a later driver
        goes on behind the last of them, and would leave out one that was overtaken (RuntimeError).
        """
        if batch.step == Step.CREATE or batch.user_ids is not None:
            return
        if batch.first_user <= self._stored.get(batch.step, ""):
            raise RuntimeError(f"Batch {batch.number} comes after one that was planned behind it.")
        self._stored[batch.step] = batch.last_user

    def users_of(self, batch: Batch) -> Iterator[str]:
        """Yield the users of a batch that was planned by range, but for those who were rejected."""
        return self.plan.users(Step(batch.step), after=self._cursor(batch), upto=batch.last_user)

    def work_on(self, batch: Batch, users: list[str], **more: object) -> Work:
        return Work(batch, self, self._narrowing(users), **more)  # type: ignore[arg-type]

    def encode(self, step: Step, users: list[str]) -> Request:
        """Return the request for these users."""
        operation = Operation(step)
        if operation == Operation.CREATE:
            return self.encoder.create()
        if self.single:
            return self.encoder.single(operation, users[0])
        return self.encoder.batch(operation, users)

    @property
    def encoder(self) -> Encoder:
        """The encoder; made again when the list's id has become known."""
        list_id = self.run.sync.list_id
        if self._encoder is None or self._encoder_list != list_id:
            sync = self.run.sync
            self._encoder_list = list_id
            self._encoder = Encoder(
                self.endpoint,
                cohort_name=sync.cohort.name,
                cohort_key=sync.cohort.key,
                external_name=sync.external_name,
                list_id=list_id,
                run_id=str(self.run.pk),
            )
        return self._encoder

    def _narrowing(self, users: list[str]) -> Narrowing:
        return Narrowing(users, most=1 if self.single else 0)

    def _all(self) -> Iterator[Work | None]:
        sync = self.run.sync
        if self.endpoint.kind == Kind.LIST and sync.list_id is None:
            if self.run.mode == RunMode.EMPTY:
                return
            yield self._create()
            yield BARRIER
        yield from self._resumed()
        yield BARRIER
        for step in (Step.ADD, Step.REMOVE):
            yield from self._planned(step)
            yield BARRIER
        yield from self._retries()
        yield BARRIER

    def _create(self) -> Work:
        """The create call: the row of the one that an earlier driver began, or a new one."""
        begun = self.run.batches.filter(step=Step.CREATE, state=BatchState.SENDING).first()
        if begun is None:
            batch = self.new_batch(Step.CREATE, [])
            # An earlier run may have made one, and been cancelled before there was an answer.
            creates = Batch.objects.filter(run__sync=self.run.sync_id, step=Step.CREATE)
            if (last := creates.order_by("pk").last()) and last.state != BatchState.DELIVERED:
                batch.unknown_outcome = last.unknown_outcome or last.status is None
            return Work(batch, self)
        begun.unknown_outcome = True
        return Work(begun, self, stored=True)

    def _resumed(self) -> Iterator[Work]:
        """Batches that were being sent when an earlier driver stopped: sent again, whole.

        The partner may have got them: for users who are rejected this time, that is kept in mind.
        """
        sending = self.run.batches.filter(state=BatchState.SENDING).exclude(step=Step.CREATE)
        for batch in sending.order_by("number"):
            users = batch.user_ids or list(self.users_of(batch))
            if not users:  # all were rejected since
                continue
            batch.unknown_outcome = True
            retried = rejections.among(self.run.sync_id, users) if batch.user_ids else {}
            yield self.work_on(batch, users, stored=True, retried=retried)

    def _retries(self) -> Iterator[Work]:
        for step, due in rejections.due(self.run, self.plan, forget=self.forgotten.extend):
            users = iter(sorted(due))
            while not self.retries_over and (chunk := list(islice(users, self.most))):
                batch = self.new_batch(step, chunk, keep_ids=True)
                yield self.work_on(batch, chunk, retried={user: due[user] for user in chunk})

    def _planned(self, step: Step) -> Iterator[Work]:
        """Batches of the plan, from the last user who was planned for this step."""
        users = self.plan.users(step, after=self._cursor(step=step))
        chunk = list(islice(users, self.most))
        while chunk:
            now = chunk[: self.most]
            if not self.single:
                now = now[: self.encoder.fits(Operation(step), now)]
            chunk = chunk[len(now) :]
            yield self.work_on(self.new_batch(step, now), now)
            # `most` may have shrunk meanwhile.
            chunk += islice(users, max(self.most - len(chunk), 0))

    def _cursor(self, before: Batch | None = None, step: str = "") -> str:
        """Return the last user planned for a step: at all, or before a batch."""
        planned = self.run.batches.filter(step=before.step if before else step, user_ids__isnull=True)
        if before:
            planned = planned.filter(last_user__lt=before.first_user)
        return planned.aggregate(last=Max("last_user"))["last"] or ""
