"""What follows from a reply: the table of docs/delivery.md, for a batch, a run, a destination."""

import random
import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from django.conf import settings
from django.utils import timezone

from cohorts import members
from destinations import retry
from destinations.endpoint import Kind
from destinations.errors import (
    DeliveryError,
    ListGone,
    NotFound,
    Refused,
    Rejected,
    Temporary,
    TooLarge,
)
from destinations.models import Destination
from destinations.payloads import Request
from destinations.transport import Reply, describe
from syncs import lifecycle
from syncs.choices import BatchState, RejectionKind, RunMode, RunState, Step, Trigger
from syncs.delivery import lease as leases
from syncs.delivery import rejections
from syncs.delivery.feed import Feed, Work
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync

if TYPE_CHECKING:
    from syncs.delivery.drive import Drive, Result

# After so many refusals in a row, somebody whom the partner holds is asked for.
REFUSALS = 20
# While nobody was accepted: after so many refusals users are tried alone; and when so many were refused by
# themselves and nobody was taken, the partner refuses everybody. With the requests under way 30 in all.
ALONE_AFTER = 4
ALL_AT_FAULT = 14
# One witness proves nothing, who may be unknown since yesterday: so many are asked.
WITNESSES = 5
SPENT_IN_A_ROW = 3
PROBE_AFTER = 5 * 60.0
PROBE_AT_MOST = 3600.0
HEAD = 512
SECOND_LIST = "A create call got no answer before: a second list of this name may exist at the partner."
EVERYBODY_FAILED = "The partner answered with success and named every user as failed."


def judge(drive: "Drive", work: Work, request: Request, result: "Result") -> None:
    """Take what a thread brought back. Whatever is to be written joins the next transaction."""
    if isinstance(result, leases.NotSent):
        drive.ready.appendleft(work)
        return
    if not isinstance(result, Reply | DeliveryError):
        raise result
    feed, batch = work.feed, work.batch
    feed.run.requests += 1
    batch.requests += 1
    feed.touched = True
    _note_on_batch(drive, batch, request, result)
    if isinstance(result, Reply) and not result.failed_users:
        _accepted(drive, work, result)
    elif isinstance(result, Reply):
        everybody = work.narrowing is not None and set(result.failed_users) >= set(work.narrowing.piece)
        said = EVERYBODY_FAILED if everybody else "The partner took all but some users."
        _record_attempt(drive, work, request, result, "users_failed", said)
        if everybody:
            named = Rejected(said, code="users_failed", reply=result, named_users=result.failed_users)
            _failed(drive, work, named)
        else:
            _accepted(drive, work, result)
    else:
        _record_attempt(drive, work, request, result.reply, result.code, result.message)
        # Only a refusal is certain: one who says "later" may have taken the users all the same. Of a list
        # that is to be made, people are told; there, only what is likely counts.
        later = isinstance(result, Temporary) and work.narrowing is not None
        batch.unknown_outcome |= later or result.unknown_outcome
        _failed(drive, work, result)


def _failed(drive: "Drive", work: Work, error: DeliveryError) -> None:
    if work.feed.ended:
        drive.changed.append(work.batch)
    elif work.canary:
        _canary_failed(drive, work, error)
    elif isinstance(error, Temporary):
        _temporary(drive, work, error)
    elif isinstance(error, ListGone):
        _list_gone(drive, work.feed)
    elif isinstance(error, TooLarge) and work.narrowing:
        _too_large(drive, work, error)
    elif isinstance(error, NotFound) and work.narrowing:
        _not_found(drive, work, error)
    elif isinstance(error, Rejected) and work.narrowing:
        _rejected(drive, work, error)
    else:
        _stop_and_tell(drive, work, error)


# --- accepted -----------------------------------------------------------------------------------


def _accepted(drive: "Drive", work: Work, reply: Reply) -> None:
    feed = work.feed
    drive.accepted += 1
    _partner_is_alive(drive)
    if work.narrowing is None:
        _created(drive, work, reply)
        return
    feed.accepted += 1
    feed.run.trouble = ""
    feed.refused = feed.all_at_fault = 0
    feed.witnesses = []
    if work.batch.step == Step.ADD and not work.canary:
        _remember_taken(feed, work.narrowing.piece, reply.failed_users)
    if work.canary:
        _canary_accepted(drive, work)
    refusal = Rejected("The partner's reply names this user as failed.", code="users_failed", reply=reply)
    work.narrowing.accept(reply.failed_users, refusal)
    _go_on(drive, work)
    for waiting in [w for w in drive.unproven if w.feed is feed]:
        drive.unproven.remove(waiting)
        _settle(drive, waiting)


def _remember_taken(feed: Feed, piece: list[str], failed: Sequence[str]) -> None:
    some = piece[:: -(-len(piece) // WITNESSES)]
    taken = [user for user in some if user not in failed] if failed else some
    feed.taken = [*taken, *feed.taken][: 2 * WITNESSES]


def _created(drive: "Drive", work: Work, reply: Reply) -> None:
    run, batch = work.feed.run, work.batch
    run.sync.list_id = reply.list_id
    if batch.unknown_outcome:
        run.note = SECOND_LIST

    def write() -> None:
        # Not after a reset: a sync that holds nothing has no list.
        Sync.objects.filter(pk=run.sync_id, dirty=True).update(list_id=reply.list_id)

    drive.writes.append(write)
    _end_batch(drive, work, BatchState.DELIVERED)


def _partner_is_alive(drive: "Drive") -> None:
    """Close the breaker; batches whose retries were spent are tried once more, in parts."""
    row = drive.row
    if row.spent_in_a_row or row.opened:
        row.spent_in_a_row = row.opened = 0
        drive.writes.append(lambda: _save_breaker(row))
    _try_spent_in_parts(drive)


def _try_spent_in_parts(drive: "Drive") -> None:
    for work in drive.spent:
        assert work.narrowing
        work.narrowing.give_up(work.error or Temporary("The retries were spent.", code="spent"))
        _go_on(drive, work)
    drive.spent = []


def _go_on(drive: "Drive", work: Work) -> None:
    """Send the next piece of a batch, or settle it."""
    assert work.narrowing
    work.request = None
    work.batch.tries = 0
    if not work.narrowing.done:
        drive.ready.append(work)
    elif (work.narrowing.rejected or work.narrowing.undelivered) and not work.feed.accepted:
        drive.unproven.append(work)
    else:
        _settle(drive, work)


def _settle(drive: "Drive", work: Work) -> None:
    """Write down a batch that is through, with its rejected users."""
    narrowing, batch, run = work.narrowing, work.batch, work.feed.run
    assert narrowing
    if narrowing.undelivered and drive.accepted == work.spent_at:
        # Not one part went through. Is it these users? Else the partner is down, and nobody is marked.
        if work.feed.blocked or _canary(drive, work.feed, waiting=None):
            drive.unproven.append(work)
        else:
            _open_breaker(drive, "No request went through.")
        return
    batch.delivered = narrowing.delivered
    if work.retried or not batch.user_ids:  # a canary tells nobody anything new
        if batch.step == Step.ADD:
            run.added += narrowing.delivered
        else:
            run.removed += narrowing.delivered
    run.rejected += len(narrowing.rejected)
    run.undelivered += len(narrowing.undelivered)

    def write() -> None:
        rejections.settle(batch, work.retried, RejectionKind.REJECTED, narrowing.rejected)
        rejections.settle(batch, work.retried, RejectionKind.UNDELIVERED, narrowing.undelivered)
        if work.retried:
            still = [*narrowing.rejected, *narrowing.undelivered, *narrowing.left]
            rejections.forgive(work.retried.values(), still)

    drive.writes.append(write)
    not_tried = len(narrowing.undelivered) + len(narrowing.left)
    state = rejections.state_of(narrowing.delivered, len(narrowing.rejected), not_tried)
    _end_batch(drive, work, state)


def _end_batch(drive: "Drive", work: Work, state: BatchState) -> None:
    work.feed.in_flight -= 1
    work.batch.state = state
    work.batch.settled_at = timezone.now()
    drive.changed.append(work.batch)


# --- refused users ------------------------------------------------------------------------------


def _rejected(drive: "Drive", work: Work, error: DeliveryError) -> None:
    assert work.narrowing
    feed, narrowing = work.feed, work.narrowing
    if work.retried and feed.retries_over:
        _leave(drive, work)
        return
    feed.refused += 1
    feed.only_404 &= isinstance(error, NotFound)
    if len(narrowing.piece) == 1 or set(error.named_users) >= set(narrowing.piece):
        feed.all_at_fault += 1
    narrowing.reject(error, error.named_users, alone=not feed.accepted and feed.refused >= ALONE_AFTER)
    _go_on(drive, work)
    drive.changed.append(work.batch)
    if feed.refused >= REFUSALS if feed.accepted else feed.all_at_fault >= ALL_AT_FAULT:
        _ask_canary(drive, feed)


def _not_found(drive: "Drive", work: Work, error: DeliveryError) -> None:
    """A bare 404: about users, if somebody who was delivered can be added again; else about the list."""
    if work.list_exists or work.feed.run.mode == RunMode.EMPTY or not _canary(drive, work.feed, waiting=work):
        _rejected(drive, work, error)
    else:
        work.error = error


def unblock(drive: "Drive") -> None:
    """Nothing is in flight or ready: find a way on for batches that wait for a sign of the partner."""
    if drive.spent:
        for work in drive.spent:
            work.spent_at = drive.accepted
        _try_spent_in_parts(drive)
    for feed in {work.feed.run.pk: work.feed for work in drive.unproven}.values():
        _ask_canary(drive, feed)


def _ask_canary(drive: "Drive", feed: Feed) -> None:
    """Users were refused and nobody accepted: is it the users, or does the partner refuse everybody?"""
    if feed.blocked or feed.ended or _canary(drive, feed, waiting=None) or feed.accepted:
        return
    works = [work for work in (*drive.unproven, *drive.ready) if work.feed is feed]
    if works and all(work.retried for work in works):
        # They were refused before: what they are told again says nothing about the partner.
        feed.retries_over = True
        for work in works:
            _leave(drive, work)
        drive.unproven = [work for work in drive.unproven if work.feed is not feed]
        for work in [work for work in (*drive.ready, *drive.ahead) if work.feed is feed]:
            (drive.ahead if work in drive.ahead else drive.ready).remove(work)
            feed.in_flight -= 0 if work.stored else 1
    else:
        _refuses_everybody(drive, feed)


def _leave(drive: "Drive", work: Work) -> None:
    """Try nobody more of these rejected users in this run; who was not tried alone stays as it was."""
    assert work.narrowing
    work.narrowing.leave()
    _settle(drive, work)


def _canary(drive: "Drive", feed: Feed, *, waiting: Work | None) -> bool:
    """Add somebody again whom the partner certainly holds, changing nothing; False if there is nobody.

    Without a batch that waits for it, one is enough until somebody was accepted.
    """
    if waiting is None and feed.witnesses:
        return False
    return _ask_witness(drive, feed, waiting)


def _ask_witness(drive: "Drive", feed: Feed, waiting: Work | None) -> bool:
    user = _somebody_delivered(feed)
    if user is None:
        return False
    feed.blocked = True
    feed.witnesses.append(user)
    feed.in_flight += 1
    work = feed.work_on(feed.new_batch(Step.ADD, [user], keep_ids=True), [user], canary=True)
    work.waiting = waiting
    drive.ready.appendleft(work)
    return True


def _somebody_delivered(feed: Feed) -> str | None:
    """Return a user who is at the partner and shall stay there, and was not asked yet; or None."""
    run = feed.run
    if run.mode == RunMode.EMPTY:
        return None
    added = run.batches.filter(step=Step.ADD, delivered__gt=0, user_ids__isnull=True).first()
    found = [*feed.taken, *(islice(feed.users_of(added), 2 * WITNESSES) if added else [])]
    if run.from_version:
        found += members.stayed(run.sync.cohort_id, run.from_version, run.to_version, 100)
    out = {*rejections.among(run.sync_id, found), *feed.witnesses}
    found = [user for user in dict.fromkeys(found) if user not in out]
    # Any of them: those who stand together have often come, and gone, together.
    return random.Random(f"{run.pk} {len(feed.witnesses)}").choice(found) if found else None


def _canary_accepted(drive: "Drive", work: Work) -> None:
    """The list is there and takes users: a 404 that asked for this canary was about users."""
    work.feed.blocked = False
    if waiting := work.waiting:
        assert waiting.error
        waiting.list_exists = True
        _rejected(drive, waiting, waiting.error)


def _canary_failed(drive: "Drive", work: Work, error: DeliveryError) -> None:
    feed = work.feed
    if isinstance(error, Temporary):
        _temporary(drive, work, error)
        return
    feed.blocked = False
    _end_batch(drive, work, BatchState.REJECTED)
    another = isinstance(error, NotFound | Rejected) and len(feed.witnesses) < WITNESSES
    if another and _ask_witness(drive, feed, work.waiting):
        return
    if isinstance(error, NotFound | ListGone) and drive.endpoint.kind == Kind.LIST:
        _list_gone(drive, feed)
    elif isinstance(error, Rejected):
        _refuses_everybody(drive, feed)
    else:
        _stop_and_tell(drive, work, error)


def _refuses_everybody(drive: "Drive", feed: Feed) -> None:
    last = feed.last_message
    waiting = [work for work in drive.unproven if work.feed is feed]
    if not feed.refused and all(work.spent_at == drive.accepted for work in waiting):
        # Retries were spent, and that was all: a partner that takes nothing just now has refused nobody.
        _open_breaker(drive, last)
        return
    if feed.only_404 and feed.refused:
        if drive.endpoint.kind == Kind.LIST and not _made_the_list(feed):
            # It is older than this run, and takes nobody: what else should be gone?
            _list_gone(drive, feed)
            return
        reason = f"The partner answers every user with 404: {_what_to_check(drive)} {last}"
        drive.pause(reason)
    else:
        reason = f"The partner refused every user that was sent, so nobody is marked as rejected. {last}"
    drive.end_run(feed, RunState.FAILED, reason)


def _made_the_list(feed: Feed) -> bool:
    """Whether the list was made by this run; an emptying one makes none."""
    return feed.run.batches.filter(step=Step.CREATE, state=BatchState.DELIVERED).exists()


def _what_to_check(drive: "Drive") -> str:
    if drive.endpoint.kind == Kind.LIST:
        return "check the paths. If they are right, “Start over” on the sync's page has a new list made."
    return "check the paths."


def _too_large(drive: "Drive", work: Work, error: DeliveryError) -> None:
    assert work.narrowing
    if len(work.narrowing.piece) == 1:
        # A user like any that is refused: a partner that finds all too large is not asked user by user.
        _rejected(drive, work, error)
        return
    row, size = drive.row, (len(work.narrowing.piece) + 1) // 2
    row.learned_size = min(row.learned_size or size, size)
    for feed in drive.feeds:
        feed.most = min(feed.most, row.learned_size)
    drive.writes.append(lambda: Driver.objects.filter(pk=row.pk).update(learned_size=row.learned_size))
    work.narrowing.halve(error)
    _go_on(drive, work)
    drive.changed.append(work.batch)


# --- retries, the breaker -----------------------------------------------------------------------


def _temporary(drive: "Drive", work: Work, error: Temporary) -> None:
    batch = work.batch
    work.error = error
    drive.changed.append(batch)
    scale = float(settings.RETRY_TIME_SCALE)
    decision = retry.decide(batch.tries + 1, error, uniform=random.uniform, scale=scale)
    if decision.action == retry.Action.PARK:
        drive.park(decision.wait, f"The partner asked us to wait: {error.message}")
        return
    if work.narrowing and work.narrowing.once:
        drive.gate = max(drive.gate, time.monotonic() + (error.retry_after or 0.0) * scale)
        work.narrowing.give_up(error)
        _go_on(drive, work)
        return
    if _needs_sign_of_life(drive, work):
        # Not this batch's users shall decide whether the partner is alive, when others can.
        if work.canary or not _canary(drive, work.feed, waiting=None):
            _open_breaker(drive, error.message)
        else:
            drive.ready.append(work)
        return
    batch.tries += 1
    if decision.action == retry.Action.RETRY:
        work.feed.run.retries += 1
        work.feed.run.trouble = error.message
        drive.gate = max(drive.gate, time.monotonic() + decision.wait)
        drive.row.next_reason = error.message
        drive.ready.append(work)
    else:
        _spent(drive, work, error)


def _needs_sign_of_life(drive: "Drive", work: Work) -> bool:
    """The breaker is open, or this canary is to tell whether it should: one try must do."""
    asked = work.canary and any(w.feed is work.feed and w.spent_at is not None for w in drive.unproven)
    return bool(drive.row.opened) or asked


def _spent(drive: "Drive", work: Work, error: Temporary) -> None:
    row = drive.row
    row.spent_in_a_row += 1
    drive.writes.append(lambda: _save_breaker(row))
    if row.spent_in_a_row >= SPENT_IN_A_ROW or work.narrowing is None or work.canary:
        _open_breaker(drive, error.message)
    else:
        work.spent_at = drive.accepted
        drive.spent.append(work)


def _open_breaker(drive: "Drive", message: str) -> None:
    """Park the destination; its next driver sends one request at a time until one goes through."""
    row = drive.row
    if drive.ending:
        return
    wait = min(PROBE_AFTER * 2**row.opened, PROBE_AT_MOST) * float(settings.RETRY_TIME_SCALE)
    row.opened = min(row.opened + 1, 20)
    drive.writes.append(lambda: _save_breaker(row))
    drive.park(wait, f"The partner does not answer as it should: {message}")


# --- the end of a run or a destination ----------------------------------------------------------


def _list_gone(drive: "Drive", feed: Feed) -> None:
    """The partner lost the list: it holds nothing, and a new full run begins; once."""
    run = feed.run
    again = run.trigger == Trigger.LIST_GONE
    emptied = run.mode == RunMode.EMPTY
    if again and not emptied:
        drive.pause("The partner's list was gone, was made anew, and is gone again.")
    reason = (
        "The partner's list was gone: nothing is left to remove."
        if emptied
        else ("The partner's list was gone." + ("" if again else " A full run makes it anew."))
    )

    def forget(run: Run) -> None:
        Sync.objects.forget(run.sync_id)
        Rejection.objects.filter(sync_id=run.sync_id).delete()
        if emptied:
            lifecycle.go_on_renamed(run)
        elif not again:
            lifecycle.follow_up(run, trigger=Trigger.LIST_GONE, mode=RunMode.FULL)

    drive.end_run(feed, RunState.SUCCEEDED if emptied else RunState.FAILED, reason, forget)


def _stop_and_tell(drive: "Drive", work: Work, error: DeliveryError) -> None:
    """Nothing more makes sense before a person has changed something: pause, and say why."""
    drive.changed.append(work.batch)
    as_driven = Destination.objects.filter(pk=drive.destination.pk, updated_at=drive.destination.updated_at)
    if not as_driven.exists():
        # They have, since this driver began: the refusal is of the key of before.
        drive.begin_anew()
        return
    reason = error.message if isinstance(error, Refused) else f"Something is set up wrong: {error.message}"
    drive.pause(reason)
    drive.end_run(work.feed, RunState.FAILED, reason)


# --- what is written of a batch -----------------------------------------------------------------


def _note_on_batch(drive: "Drive", batch: Batch, request: Request, result: Reply | DeliveryError) -> None:
    reply = result if isinstance(result, Reply) else result.reply
    batch.request_head = describe(request, drive.endpoint)[:HEAD]
    batch.message = "" if isinstance(result, Reply) else result.message
    batch.status = reply.status if reply else None
    batch.latency_ms = round(reply.latency * 1000) if reply else None
    batch.reply_head = reply.excerpt if reply else ""


def _record_attempt(
    drive: "Drive", work: Work, request: Request, reply: Reply | None, code: str, message: str
) -> None:
    work.feed.last_message = message
    values = {
        "at": timezone.now(),
        "users": request.users,
        "status": reply.status if reply else None,
        "latency_ms": round(reply.latency * 1000) if reply else None,
        "code": code[:50],
        "message": message,
        "request_head": describe(request, drive.endpoint)[:HEAD],
        "reply_head": reply.excerpt if reply else "",
    }
    drive.writes.append(lambda: Attempt.objects.create(batch=work.batch, **values))


def _save_breaker(row: Driver) -> None:
    Driver.objects.filter(pk=row.pk).update(spent_in_a_row=row.spent_in_a_row, opened=row.opened)
