"""A run that is being sent: how its requests are made, and what was learned of its partner so far."""

from collections.abc import Callable, Collection, Iterable

from django.db.models import Count, Max, Q

from destinations.endpoint import Delivery, Endpoint, Kind
from destinations.payloads import Encoder, Operation, Request, needs_first_user, says_more
from destinations.sessions import Part, has_parts
from pagekit import tracing
from syncs import links
from syncs.choices import BatchState, Step
from syncs.models import Batch, Run


def parted(users: Iterable[str], leaving: Collection[str]) -> tuple[list[str], list[str]]:
    """Return who of the users enters, and who leaves; both in order."""
    both: tuple[list[str], list[str]] = [], []
    for user in users:
        both[user in leaving].append(user)
    return both


# A batch of single requests: few enough to be repeated whole after a crash.
SINGLES = 100


class ActiveRun:
    """`most`: users in a batch at most. Of a run that an earlier driver began, what its batches tell."""

    def __init__(self, run: Run, endpoint: Endpoint, learned_size: int | None) -> None:
        self.run, self.endpoint = run, endpoint
        # Of the run as this driver drives it: what its batches are traced under.
        self.span = tracing.begin("run", parent=run.traceparent, run=run.pk, sync=run.sync_id)
        self.single = endpoint.kind == Kind.PROPERTY and endpoint.delivery == Delivery.SINGLE
        self.says_more = says_more(endpoint)
        self.needs_first_user = needs_first_user(endpoint)
        # A whole list travels in several requests.
        self.has_parts = has_parts(endpoint)
        # Who enters and who leaves travel together.
        self.mixes = bool(endpoint.change_template)
        self.most = SINGLES if self.single else min(endpoint.batch_size, learned_size or endpoint.batch_size)
        creates = Q(step=Step.CREATE)
        begun = Batch.objects.filter(run_id=run.pk).aggregate(
            last=Max("number"),
            accepted=Count("pk", filter=Q(delivered__gt=0) & ~creates),
            lists=Count("pk", filter=creates & Q(state=BatchState.DELIVERED)),
        )
        self._number = begun["last"] or 0
        # No driver has begun it: it has no batches.
        self.is_new = self._number == 0
        # Requests that the partner accepted: until there is one, no user is to blame.
        self.accepted = begun["accepted"]
        # The list was made by this run, and not before it.
        self.made_list = bool(begun["lists"])
        # Requests that it refused since it last accepted one; and those of them that left nobody of their
        # piece innocent: while nobody was accepted, only they count.
        self.refused = self.all_at_fault = 0
        # Nothing but bare 404s so far among the refusals; and what was said last.
        self.only_404 = True
        self.last_message = ""
        # Users who were added by the last requests, and are at the partner now.
        self.taken: list[str] = []
        # Whom canaries named since somebody was accepted.
        self.witnesses: list[str] = []
        # Rejected users are tried no more in this run: nobody can be asked whether the partner is well.
        self.retries_over = False
        # The run ends with this write when nothing of it is under way.
        self.ended: Callable[[], None] | None = None
        # The last user of each step's planned batches whose rows are written.
        self._stored: dict[str, str] = {}
        self._encoder: Encoder | None = None
        self._encoder_list: str | None = None

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
        steps = [Step.ADD, Step.REMOVE] if batch.step == Step.CHANGE else [batch.step]
        if any(batch.first_user <= self._stored.get(step, "") for step in steps):
            raise RuntimeError(f"Batch {batch.number} comes after one that was planned behind it.")
        self._stored |= dict.fromkeys(steps, batch.last_user)

    def known(self, step: Step, users: list[str], leaving: Collection[str] = ()) -> list[str]:
        """Return the users with what goes along with them, if their items say any of it.

        leaving: of a change, who is removed.
        """
        if self.run.sync.projection_id is None or not self.says_more:
            return users
        if step == Step.CHANGE:
            enter, leave = parted(users, leaving)
            return sorted([*self.known(Step.ADD, enter), *self.known(Step.REMOVE, leave)])
        version = self.run.to_version if step == Step.ADD else None
        return links.known(self.run.sync.projection_id, version, users)

    def encode(
        self, step: Step, users: list[str], leaving: Collection[str] = (), part: Part | None = None
    ) -> Request:
        """Return the request for these users. A change with one kind left is an add, or a remove.

        part: of a whole list that travels in several requests, which one it is.
        """
        if step == Step.CHANGE:
            enter, leave = parted(users, leaving)
            if enter and leave:
                return self.encoder.change(enter, leave)
            step = Step.ADD if enter else Step.REMOVE
        operation = Operation(step)
        if operation == Operation.CREATE:
            return self.encoder.create(users)
        if self.single:
            return self.encoder.single(operation, users[0])
        return self.encoder.batch(operation, users, part)

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
