"""What follows from a reply: the table of docs/delivery.md. Pure: values in, an outcome out.

`decide` judges a reply; `after` what becomes of a batch when a piece of it is through; `in_doubt` a run in
which users are refused and nobody is accepted. None of them changes what it is given: `judge` does what an
outcome says. One that may need somebody to be asked (a query) says what follows if there is nobody.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from destinations import retry
from destinations.errors import (
    DeliveryError,
    ListGone,
    NotFound,
    Refused,
    Rejected,
    Temporary,
    TooLarge,
)
from destinations.reply import Reply
from syncs.delivery.breaker import SPENT_IN_A_ROW
from syncs.delivery.work import Canary, CreateList, Job, SendUsers, Work, poll_wait

# After so many refusals in a row, somebody whom the partner holds is asked for.
REFUSALS = 20
# While nobody was accepted: after so many refusals users are tried alone; and when so many were refused by
# themselves and nobody was taken, the partner refuses everybody. With the requests under way 30 in all.
ALONE_AFTER = 4
ALL_AT_FAULT = 14
# One witness proves nothing, who may be unknown since yesterday: so many are asked.
WITNESSES = 5

# For how long in all an accepted request is asked about, in seconds, unless `poll_fields` says otherwise.
POLL_MOST = 6 * 3600.0

SECOND_LIST = "A create call got no answer before: a second list of this name may exist at the partner."
EVERYBODY_FAILED = "The partner answered with success and named every user as failed."
SOME_FAILED = "The partner took all but some users."
NONE_WENT_THROUGH = "No request went through."


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the batch and the reply. `accepted_in_all` counts requests of all runs of the
    driver; `accepted`, `refused` and `all_at_fault` those of this run: see `ActiveRun`.
    """

    # The run.
    is_over: bool = False
    is_emptying: bool = False
    follows_lost_list: bool = False
    made_list: bool = False
    accepted: int = 0
    refused: int = 0
    all_at_fault: int = 0
    only_404: bool = True
    last_message: str = ""
    witnesses: int = 0
    retries_over: bool = False
    # A canary of the run is not back yet.
    is_asking: bool = False
    # Of what waits of the run: all users were refused before; some, and all, wait since their retries were
    # spent, and nothing was accepted meanwhile.
    only_refused_before: bool = False
    some_spent: bool = False
    only_spent: bool = True
    # The destination.
    is_list: bool = True
    replaces: bool = False
    breaker_open: bool = False
    spent_in_a_row: int = 0
    accepted_in_all: int = 0
    # How an accepted request is asked about (`Endpoint.poll_fields`), and the time, in Unix seconds.
    polling: Mapping[str, Any] = field(default_factory=dict)
    now: float = 0.0
    # Where in its range a wait is drawn, from 0 to 1; and what all waits are multiplied with.
    chance: float = 0.0
    scale: float = 1.0


class Outcome:
    """What follows. Each kind has one branch in `judge.Judge.apply`."""


@dataclass(frozen=True)
class Nothing(Outcome):
    """The reply is written down, and nothing follows from it."""


@dataclass(frozen=True)
class Taken(Outcome):
    """The partner took the users of the request, but for those that the reply names as failed."""


@dataclass(frozen=True)
class ListMade(Outcome):
    note: str = ""


@dataclass(frozen=True)
class NextCandidate(Outcome):
    """The list is not made with this user: another one is named."""


@dataclass(frozen=True)
class Retry(Outcome):
    """The same request again, when `wait` seconds have passed; nothing else is sent until then.

    anew: not the same one, but the first of another session; see `session`.
    """

    wait: float
    anew: bool = False


@dataclass(frozen=True)
class Park(Outcome):
    """The partner asked to wait for so long that the destination is left; that is no try."""

    wait: float
    reason: str


@dataclass(frozen=True)
class Await(Outcome):
    """The partner has accepted the request, and works on it: it is asked by this id in `wait` seconds."""

    job_id: str
    wait: float


@dataclass(frozen=True)
class JobLost(Outcome):
    """What became of an accepted request is not known, and nobody will say: `then`, it is sent anew."""

    then: Outcome
    message: str = field(default="", compare=False)


@dataclass(frozen=True)
class RetriesSpent(Outcome):
    """The batch waits for a sign that the partner is alive; or, with `opens`, the partner is not."""

    opens: bool


@dataclass(frozen=True)
class PartFailed(Outcome):
    """A part that had one try failed: its users are undelivered. The next part waits `wait` seconds."""

    wait: float


@dataclass(frozen=True)
class OpenBreaker(Outcome):
    message: str


@dataclass(frozen=True)
class Refuse(Outcome):
    """Users of the piece are refused: those at fault are looked for. alone: one by one, since nobody was
    accepted. doubt: so many were refused that it is asked whether it is the users at all.
    """

    error: DeliveryError
    alone: bool
    doubt: bool


@dataclass(frozen=True)
class Halve(Outcome):
    error: DeliveryError


@dataclass(frozen=True)
class Ask(Outcome):
    """A canary: add somebody again whom the partner holds; `otherwise`, if there is nobody to be asked.

    once: not if a canary was sent since somebody was accepted. waiting: the batch that hears of the answer.
    requeue, unproven: where the batch that is judged waits meanwhile.
    """

    otherwise: Outcome
    once: bool = True
    waiting: SendUsers | None = None
    requeue: bool = False
    unproven: bool = False


@dataclass(frozen=True)
class CanaryFailed(Outcome):
    then: Outcome


@dataclass(frozen=True)
class LeaveOut(Outcome):
    """Nobody more of this batch's users, who were refused before, is tried in this run."""


@dataclass(frozen=True)
class LeaveRetries(Outcome):
    """Nobody more who was refused before is tried in this run."""


@dataclass(frozen=True)
class LoseList(Outcome):
    """The list is gone, and nobody is held. anew: a full run makes it again. pause: not a second time."""

    emptied: bool
    anew: bool
    pause: bool


@dataclass(frozen=True)
class FailRun(Outcome):
    """The run fails. pause: and the destination. if_unchanged: unless a person has changed it meanwhile."""

    reason: str
    pause: bool = False
    if_unchanged: bool = False


# --- what becomes of a batch whose piece is through ---


@dataclass(frozen=True)
class SendNext(Outcome):
    pass


@dataclass(frozen=True)
class AwaitProof(Outcome):
    """All is tried; it waits until somebody of the run is accepted, or the partner refuses everybody."""


@dataclass(frozen=True)
class Settle(Outcome):
    """The batch is through: its users are written down as they are."""


NOTHING, TAKEN = Nothing(), Taken()


def decide(work: Work, reply: Reply | DeliveryError, facts: Facts) -> Outcome:
    """Return what follows from a reply to the work's request."""
    if isinstance(reply, Reply):
        if isinstance(work, CreateList):
            return ListMade(SECOND_LIST if work.batch.unknown_outcome else "")
        if reply.job_id is not None:
            return NOTHING if facts.is_over else _await(work, reply.job_id, reply.retry_after, facts)
        return TAKEN
    if facts.is_over:
        return NOTHING
    if work.job and not isinstance(reply, Rejected | TooLarge):
        return _unanswered(work, work.job, reply, facts)
    if isinstance(reply, Temporary):
        return _later(work, reply, facts)
    if facts.replaces and isinstance(work, SendUsers):
        return _list_refused(work, reply, facts)
    if isinstance(work, Canary):
        return CanaryFailed(_canary_failed(work, reply, facts))
    if isinstance(work, CreateList) and isinstance(reply, Rejected) and len(work.candidates) > 1:
        return NextCandidate()
    if isinstance(reply, ListGone):
        return _list_gone(facts)
    if isinstance(work, SendUsers):
        if isinstance(reply, TooLarge) and len(work.piece) > 1:
            return Halve(reply)
        if isinstance(reply, NotFound):
            return _not_found(work, reply, facts)
        # One user who is too large alone is refused like any other: a partner that finds all too large is
        # not asked user by user.
        if isinstance(reply, Rejected | TooLarge):
            return refuse(work, reply, facts)
    return _set_up_wrong(reply)


def as_named(work: Work, reply: Reply | DeliveryError) -> Reply | DeliveryError:
    """Return a success that names all users of the request as failed as the refusal that it is."""
    if not isinstance(reply, Reply) or not reply.failed_users or not work.piece:
        return reply
    if isinstance(work, CreateList):  # the list is there; who is on it, the next requests tell
        return reply
    if not set(reply.failed_users) >= set(work.piece):
        return reply
    return Rejected(EVERYBODY_FAILED, code="users_failed", reply=reply, named_users=reply.failed_users)


def is_outcome_unknown(work: Work, reply: Reply | DeliveryError) -> bool:
    """Whether the partner may have acted on a request that failed.

    Only a refusal is certain: one who says "later" may have taken the users all the same. Of a list that is
    to be made, people are told; there, only what is likely counts.
    """
    if isinstance(reply, Reply) or (work.job and not isinstance(reply, Rejected)):
        return False
    later = isinstance(reply, Temporary) and not isinstance(work, CreateList)
    return later or reply.unknown_outcome


def refuse(work: SendUsers, error: DeliveryError, facts: Facts) -> Outcome:
    """Users were refused: look for those at fault; after many refusals, ask whether it is users at all."""
    if work.retried and facts.retries_over:
        return LeaveOut()
    refused = facts.refused + 1
    doubt = (
        refused >= REFUSALS
        if facts.accepted
        else facts.all_at_fault + leaves_nobody(work, error) >= ALL_AT_FAULT
    )
    return Refuse(error, alone=not facts.accepted and refused >= ALONE_AFTER, doubt=doubt)


def leaves_nobody(work: SendUsers, error: DeliveryError) -> bool:
    """Whether a refusal leaves nobody of its piece innocent."""
    return len(work.piece) == 1 or set(error.named_users) >= set(work.piece)


def after(work: SendUsers, facts: Facts) -> Outcome:
    """Return what becomes of a batch when a piece of it is through, accepted or not."""
    narrowing = work.narrowing
    if not narrowing.done:
        return SendNext()
    if (narrowing.rejected or narrowing.undelivered) and not facts.accepted:
        return AwaitProof()
    return at_end(work, facts)


def at_end(work: SendUsers, facts: Facts) -> Outcome:
    """Return what becomes of a batch of which nobody is left to be tried."""
    if not work.narrowing.undelivered or facts.accepted_in_all != work.spent_at:
        return Settle()
    # Not one part went through. Is it these users? Else the partner is down, and nobody is marked.
    if facts.is_asking:
        return AwaitProof()
    return Ask(OpenBreaker(NONE_WENT_THROUGH), unproven=True)


def in_doubt(facts: Facts) -> Outcome:
    """Users are refused, and nobody is accepted: is it the users, or does the partner refuse everybody?"""
    if facts.is_asking or facts.is_over:
        return NOTHING
    if facts.accepted:
        return Ask(NOTHING)
    # Who was refused before says nothing about the partner by being refused again.
    return Ask(LeaveRetries() if facts.only_refused_before else _refuses_everybody(facts))


def _await(work: Work, job_id: str, asked: float | None, facts: Facts) -> Outcome:
    """The partner is not through with a request: ask it again, a while later each time, but not for ever."""
    polling, job = facts.polling, work.job
    most = polling.get("most", POLL_MOST) * facts.scale
    if job and facts.now - job.since >= most:
        text = f"The partner was not through with a request that it had accepted {most:,.0f} seconds before."
        return _lost(work, text, facts)
    return Await(job_id, max(poll_wait(job.polls if job else 0, polling), asked or 0.0) * facts.scale)


def _unanswered(work: Work, job: Job, error: DeliveryError, facts: Facts) -> Outcome:
    """The partner does not say what became of a request: it is asked again, unless it never will."""
    if isinstance(error, Temporary):
        return _await(work, job.id, error.retry_after, facts)
    if isinstance(error, NotFound):
        return _lost(
            work, f"The partner knows nothing of a request that it had accepted. {error.message}", facts
        )
    return _set_up_wrong(error)


def _lost(work: Work, text: str, facts: Facts) -> Outcome:
    return JobLost(_later(work, Temporary(text, code="job_lost", unknown_outcome=True), facts), text)


def _later(work: Work, error: Temporary, facts: Facts) -> Outcome:
    decision = retry.decide(
        work.batch.tries + 1,
        error,
        uniform=lambda low, high: low + (high - low) * facts.chance,
        scale=facts.scale,
    )
    if decision.action == retry.Action.PARK:
        return Park(decision.wait, f"The partner asked us to wait: {error.message}")
    if facts.replaces and isinstance(work, SendUsers):
        # A part of a list is another list: it is sent whole, or not at all.
        anew = work.session is not None and _may_have_acted(error)
        enough = anew and work.session is not None and work.session.begun > retry.RETRIES
        retries = decision.action == retry.Action.RETRY and not (facts.breaker_open or enough)
        return Retry(decision.wait, anew) if retries else OpenBreaker(error.message)
    if isinstance(work, SendUsers) and work.narrowing.once:
        return PartFailed((error.retry_after or 0.0) * facts.scale)
    if isinstance(work, Canary) and (facts.breaker_open or facts.some_spent):
        # It is to tell whether the partner is alive: one try must do.
        return OpenBreaker(error.message)
    if facts.breaker_open:
        # Not this batch's users shall decide whether the partner is alive, when others can.
        return Ask(OpenBreaker(error.message), requeue=True)
    if decision.action == retry.Action.RETRY:
        return Retry(decision.wait)
    opens = facts.spent_in_a_row + 1 >= SPENT_IN_A_ROW or not isinstance(work, SendUsers)
    return RetriesSpent(opens)


def _may_have_acted(error: Temporary) -> bool:
    """Whether the partner may have taken the users all the same: only an answer of 4xx, or of a 2xx that a
    rule reads so, says that it has not.
    """
    status = error.reply.status if error.reply else 0
    return error.unknown_outcome or not 200 <= status < 500 or status == 408


def _list_refused(work: SendUsers, error: DeliveryError, facts: Facts) -> Outcome:
    """A whole list is refused: without those who are named, or not at all. Nobody is looked for in parts."""
    if isinstance(error, ListGone) or (isinstance(error, NotFound) and not facts.made_list):
        return _list_gone(facts)
    session = work.session
    if isinstance(error, TooLarge) and session and len(work.piece) > 1:
        return Halve(error)
    if isinstance(error, TooLarge):
        return FailRun(f"The list is too large for one request of this partner. {error.message}", pause=True)
    if not isinstance(error, Rejected):
        return _set_up_wrong(error)
    tried = max(facts.refused, session.begun if session else 0)
    if error.named_users and not leaves_nobody(work, error) and tried < REFUSALS:
        return Refuse(error, alone=False, doubt=False)
    return FailRun(f"The partner refused the whole list, so nobody is marked as rejected. {error.message}")


def _not_found(work: SendUsers, error: NotFound, facts: Facts) -> Outcome:
    """A bare 404: about users, if somebody who was delivered can be added again; else about the list."""
    otherwise = refuse(work, error, facts)
    if work.list_exists or facts.is_emptying:
        return otherwise
    return Ask(otherwise, once=False, waiting=work)


def _canary_failed(work: Canary, error: DeliveryError, facts: Facts) -> Outcome:
    if isinstance(error, NotFound | ListGone) and facts.is_list:
        then = _list_gone(facts)
    elif isinstance(error, Rejected):
        then = _refuses_everybody(facts)
    else:
        then = _set_up_wrong(error)
    if isinstance(error, NotFound | Rejected) and facts.witnesses < WITNESSES:
        return Ask(then, once=False, waiting=work.waiting)
    return then


def _refuses_everybody(facts: Facts) -> Outcome:
    last = facts.last_message
    if not facts.refused and facts.only_spent:
        # Retries were spent, and that was all: a partner that takes nothing just now has refused nobody.
        return OpenBreaker(last)
    if not (facts.only_404 and facts.refused):
        reason = "The partner refused every user that was sent, so nobody is marked as rejected."
        return FailRun(f"{reason} {last}")
    if facts.is_list and not facts.made_list:
        # It is older than this run, and takes nobody: what else should be gone?
        return _list_gone(facts)
    check = "check the paths."
    if facts.is_list:
        check += " If they are right, “Start over” on the sync's page has a new list made."
    return FailRun(f"The partner answers every user with 404: {check} {last}", pause=True)


def _list_gone(facts: Facts) -> Outcome:
    """The partner lost the list: it holds nothing, and a new full run begins; once."""
    again, emptied = facts.follows_lost_list, facts.is_emptying
    return LoseList(emptied, anew=not emptied and not again, pause=again and not emptied)


def _set_up_wrong(error: DeliveryError) -> Outcome:
    """Nothing more makes sense before a person has changed something."""
    reason = error.message if isinstance(error, Refused) else f"Something is set up wrong: {error.message}"
    return FailRun(reason, pause=True, if_unchanged=True)
