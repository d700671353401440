"""Batches on their way: one that makes the list, one that sends users, one that asks how the partner is.

A kind of work says what its next request is (`piece`), and whether its row must be on the disk before that.
What follows from a reply is decided in `outcomes`, and done in `judge`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from destinations.errors import DeliveryError
from destinations.payloads import Request
from destinations.sessions import Part
from syncs.choices import Step
from syncs.delivery.active import ActiveRun, parted
from syncs.delivery.narrow import Narrowing
from syncs.delivery.session import Session
from syncs.models import Batch, Rejection

# Seconds until an accepted request is asked about, and the longest that this wait grows to.
POLL_WAIT, POLL_LONGEST = 5.0, 120.0


@dataclass
class Job:
    """A request that the partner has accepted and works on. `since` is in Unix seconds, `due` is of
    `time.monotonic`: when it is asked next what became of it.
    """

    id: str
    since: float
    polls: int = 0
    due: float = 0.0


def poll_wait(polls: int, polling: Mapping[str, Any]) -> float:
    """Return for how many seconds an accepted request is left alone that was asked about so often.

    polling: what a destination says otherwise (`Endpoint.poll_fields`).
    """
    first = float(polling.get("wait", POLL_WAIT))
    return min(first * 2.0 ** min(polls, 30), max(first, float(polling.get("longest", POLL_LONGEST))))


@dataclass(eq=False)
class Work:
    batch: Batch
    active: ActiveRun
    # The batch's row exists already: it was being sent when its driver died, or is being narrowed.
    stored: bool = field(default=False, kw_only=True)
    # What the partner last said of it, while that waits for a canary or a sign of life.
    error: DeliveryError | None = field(default=None, kw_only=True)
    # Encoded ahead of time, away from the sending threads.
    request: Request | None = field(default=None, kw_only=True)
    # The piece was accepted: the next request asks what became of it.
    job: Job | None = field(default=None, kw_only=True)
    # Of a batch that adds and removes (`Step.CHANGE`): who is removed.
    leaving: frozenset[str] = field(default=frozenset(), kw_only=True)

    @property
    def piece(self) -> list[str]:
        """Return the users of the next request."""
        return []

    @property
    def part(self) -> Part | None:
        """Return which request of a whole list the next one is, where that travels in several."""
        return None

    @property
    def durable(self) -> bool:
        """Whether the row must be on the disk before the request leaves."""
        return False

    def encode(self) -> Request:
        """Return the request for what is to be sent next."""
        if self.request is None and self.job:
            enter, leave = parted(self.piece, self.leaving)
            self.request = self.active.encoder.poll(self.job.id, [*enter, *leave])
        elif self.request is None:
            self.request = self.active.encode(Step(self.batch.step), self.piece, self.leaving, self.part)
        return self.request

    @property
    def is_whole(self) -> bool:
        """Whether the piece is all of its batch: only then is its row enough to go on with a job."""
        return len(self.piece) == self.batch.size


@dataclass(eq=False)
class CreateList(Work):
    """Makes the list. It settles no user: one who is named with it is sent again with all others."""

    # Who may be named, where the partner makes no list without somebody; the first is.
    candidates: list[str] = field(default_factory=list)

    @property
    def piece(self) -> list[str]:
        return self.candidates[:1]

    @property
    def durable(self) -> bool:
        """A lost row of a create call would make a second list of which nobody is told."""
        return True


@dataclass(eq=False)
class SendUsers(Work):
    """Adds or removes users; in parts, when some of them are refused."""

    narrowing: Narrowing
    # Rejected users that are tried again here, by id: their rows go away when they are delivered.
    retried: dict[str, Rejection] = field(default_factory=dict)
    # A canary was delivered after this batch met a bare 404, which was about users then.
    list_exists: bool = False
    # When its retries were spent, how many of the driver's requests had been accepted.
    spent_at: int | None = None

    @property
    def piece(self) -> list[str]:
        return self.narrowing.piece

    @property
    def session(self) -> Session | None:
        """Return the session of a whole list that travels in several requests."""
        return self.narrowing if isinstance(self.narrowing, Session) else None

    @property
    def part(self) -> Part | None:
        return self.session.part if self.session else None

    @property
    def durable(self) -> bool:
        return bool(self.retried)

    @property
    def added_piece(self) -> list[str]:
        """Return those of the piece whom it is to bring to the partner."""
        if self.batch.step == Step.CHANGE:
            return parted(self.piece, self.leaving)[0]
        return self.piece if self.batch.step == Step.ADD else []

    def adds(self, user: str) -> bool:
        """Whether it is to bring this user to the partner."""
        return self.batch.step == Step.ADD or (self.batch.step == Step.CHANGE and user not in self.leaving)

    @property
    def removed(self) -> int:
        """Return how many users it has taken away, of a batch that is through."""
        if self.batch.step != Step.CHANGE:
            return 0 if self.batch.step == Step.ADD else self.narrowing.delivered
        narrowing = self.narrowing
        return len(self.leaving.difference(narrowing.rejected, narrowing.undelivered, narrowing.left))

    @property
    def counts(self) -> bool:
        """Whether its users are among those that the run has delivered: a canary's, sent again, are not."""
        return bool(self.retried) or not self.batch.user_ids


@dataclass(eq=False)
class Canary(Work):
    """Adds somebody again whom the partner certainly holds, which changes nothing: is the partner well?"""

    witness: str
    # The batch that waits for the answer.
    waiting: SendUsers | None = None

    @property
    def piece(self) -> list[str]:
        return [self.witness]
