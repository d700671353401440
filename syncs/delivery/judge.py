"""What a thread brought back: judged by `outcomes`, and done here. All writes join the next transaction."""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from django.conf import settings
from django.utils import timezone

from cohorts import members
from destinations.endpoint import Endpoint, Kind
from destinations.errors import DeliveryError, NotFound, Rejected, Temporary
from destinations.models import Destination
from destinations.payloads import Request
from destinations.transport import Reply, describe
from syncs import lifecycle
from syncs.choices import BatchState, RejectionKind, RunMode, RunState, Step, Trigger
from syncs.delivery import outcomes, rejections
from syncs.delivery.active import ActiveRun
from syncs.delivery.admission import Admission
from syncs.delivery.breaker import Breaker
from syncs.delivery.ended import Ending
from syncs.delivery.outbox import Outbox
from syncs.delivery.outcomes import Facts, Outcome
from syncs.delivery.queues import Queues
from syncs.delivery.work import Canary, CreateList, Job, SendUsers, Work
from syncs.models import Attempt, Driver, Rejection, Run, Sync

HEAD = 512


class Judge:
    """`destination` and `row` are the destination and its driver's row as they were when the drive began."""

    def __init__(
        self,
        destination: Destination,
        endpoint: Endpoint,
        row: Driver,
        queues: Queues,
        outbox: Outbox,
        breaker: Breaker,
        ending: Ending,
        admission: Admission,
    ) -> None:
        self.destination, self.endpoint, self.row = destination, endpoint, row
        self.queues, self.outbox, self.breaker = queues, outbox, breaker
        self.ending, self.admission = ending, admission
        # Requests that were accepted, of all runs.
        self.accepted = 0

    def judge(self, work: Work, request: Request, result: Reply | DeliveryError) -> None:
        """Note what a work's request came to, and do what follows."""
        batch, run = work.batch, work.active.run
        run.requests += 1
        batch.requests += 1
        if work.job:
            work.job.polls = batch.job_polls = min(work.job.polls + 1, 32_767)
        self.outbox.count(run)
        result = outcomes.as_named(work, result)
        self._note(work, request, result)
        batch.unknown_outcome |= outcomes.is_outcome_unknown(work, result)
        if isinstance(result, Reply):
            self._accepted(work, result)
        else:
            work.error = result
            self.outbox.batch(batch)
        self.apply(work, outcomes.decide(work, result, self.facts(work.active)))

    def unblock(self) -> None:
        """Nothing is in flight or ready: find a way on for batches that wait for a sign of the partner."""
        if not self.queues.processing:  # one that is through gives a sign
            for work in self.queues.spent:
                work.spent_at = self.accepted
            self._try_spent_in_parts()
        waiting = {work.active for work in self.queues.processing}
        for active in {work.active.run.pk: work.active for work in self.queues.unproven}.values():
            if active not in waiting:  # what the partner works on may prove it well
                self._doubt(active)

    def facts(self, active: ActiveRun) -> Facts:
        """Return what decisions about a run go by."""
        queues, unproven = self.queues, self.queues.unproven_of(active)
        waiting = [work for work in (*unproven, *queues.ready) if work.active is active]
        return Facts(
            is_over=active.ended is not None,
            is_emptying=active.run.mode == RunMode.EMPTY,
            follows_lost_list=active.run.trigger == Trigger.LIST_GONE,
            made_list=active.made_list,
            accepted=active.accepted,
            refused=active.refused,
            all_at_fault=active.all_at_fault,
            only_404=active.only_404,
            last_message=active.last_message,
            witnesses=len(active.witnesses),
            retries_over=active.retries_over,
            is_asking=queues.is_asking(active),
            only_refused_before=bool(waiting)
            and all(isinstance(work, SendUsers) and work.retried for work in waiting),
            some_spent=any(work.spent_at is not None for work in unproven),
            only_spent=all(work.spent_at == self.accepted for work in unproven),
            is_list=self.endpoint.kind == Kind.LIST,
            replaces=self.endpoint.replaces_lists,
            breaker_open=self.breaker.is_open,
            spent_in_a_row=self.breaker.spent_in_a_row,
            accepted_in_all=self.accepted,
            chance=random.random(),
            scale=float(settings.RETRY_TIME_SCALE),
            polling=self.endpoint.poll_fields,
            now=time.time(),
        )

    def apply(self, work: Work, outcome: Outcome) -> None:
        """Do what an outcome says of this work."""
        active = work.active
        match outcome:
            case outcomes.Taken():
                self._taken(work)
            case outcomes.ListMade(note):
                self._list_made(work, note)
            case outcomes.NextCandidate() if isinstance(work, CreateList):
                work.candidates.pop(0)
                work.request, work.batch.tries = None, 0
                self.queues.ready.append(work)
            case outcomes.Retry(wait, anew):
                if anew and isinstance(work, SendUsers) and work.session:
                    work.session.begin_anew()
                    work.request = None
                work.batch.tries += 1
                active.run.retries += 1
                active.run.trouble = self.row.next_reason = active.last_message
                self.queues.hold(wait)
                self.queues.ready.append(work)
            case outcomes.Await(job_id, wait):
                self._await(work, job_id, wait)
            case outcomes.JobLost(then, message):
                work.batch.unknown_outcome = True
                work.batch.message = active.last_message = message
                self._end_job(work)
                self.apply(work, then)
            case outcomes.Park(wait, reason):
                self.ending.park(wait, reason)
            case outcomes.RetriesSpent(opens):
                work.batch.tries += 1
                self.breaker.spent()
                if opens or not isinstance(work, SendUsers):
                    self.breaker.open(active.last_message)
                else:
                    work.spent_at = self.accepted
                    self.queues.spent.append(work)
            case outcomes.OpenBreaker(message):
                self.breaker.open(message)
            case outcomes.Ask():
                self._ask(work, outcome)
            case outcomes.CanaryFailed(then):
                self._end_batch(work, BatchState.REJECTED)
                self.apply(work, then)
            case outcomes.LeaveRetries():
                self._leave_retries(active)
            case outcomes.LoseList(emptied, anew, pause):
                self._lose_list(active, emptied, anew, pause)
            case outcomes.FailRun(reason, pause, if_unchanged):
                self._fail_run(active, reason, pause, if_unchanged)
            case _ if isinstance(work, SendUsers):
                self._apply_to_users(work, outcome)

    def _apply_to_users(self, work: SendUsers, outcome: Outcome) -> None:
        """Do what an outcome says of the users of a batch."""
        match outcome:
            case outcomes.Refuse(error, alone, doubt):
                self._refuse(work, error, alone, doubt)
            case outcomes.Halve(error):
                self._halve(work, error)
            case outcomes.PartFailed(wait):
                assert work.error
                self.queues.hold(wait)
                work.narrowing.give_up(work.error)
                self._go_on(work)
            case outcomes.LeaveOut():
                self._leave_out(work)
            case outcomes.SendNext():
                self.queues.ready.append(work)
            case outcomes.AwaitProof():
                self.queues.unproven.append(work)
            case outcomes.Settle():
                self._settle(work)

    # --- accepted ---------------------------------------------------------------------------

    def _accepted(self, work: Work, reply: Reply) -> None:
        """Learn from a success: the partner is alive, and, of users, takes some."""
        if reply.job_id is not None:  # that a request was let in shows nothing: nobody is taken yet
            return
        self.accepted += 1
        self.breaker.alive()
        self._try_spent_in_parts()
        self._end_job(work)
        active = work.active
        if isinstance(work, CreateList):
            active.run.sync.list_id = reply.list_id
            return
        active.accepted += 1
        active.run.trouble = ""
        active.refused = active.all_at_fault = 0
        active.witnesses = []
        if isinstance(work, SendUsers):
            if added := work.added_piece:
                _remember_taken(active, added, reply.failed_users)
            refusal = Rejected(
                "The partner's reply names this user as failed.", code="users_failed", reply=reply
            )
            work.narrowing.accept(reply.failed_users, refusal)

    def _taken(self, work: Work) -> None:
        active = work.active
        if isinstance(work, Canary):
            work.batch.delivered = 1
            self._end_batch(work, BatchState.DELIVERED)
            if (waiting := work.waiting) and waiting.error:
                # The list is there and takes users: the 404 that asked for this canary was about users.
                waiting.list_exists = True
                self.apply(waiting, outcomes.refuse(waiting, waiting.error, self.facts(active)))
        elif isinstance(work, SendUsers):
            self._go_on(work)
        for proven in self.queues.unproven_of(active):
            self.queues.unproven.remove(proven)
            self.apply(proven, outcomes.at_end(proven, self.facts(active)))

    def _list_made(self, work: Work, note: str) -> None:
        run, list_id = work.active.run, work.active.run.sync.list_id
        work.active.made_list = True
        run.note = note or run.note
        # Not after a reset: a sync that holds nothing has no list.
        held = Sync.objects.filter(pk=run.sync_id, dirty=True)
        self.outbox.write(lambda: held.update(list_id=list_id))
        self._end_batch(work, BatchState.DELIVERED)

    def _try_spent_in_parts(self) -> None:
        """Batches whose retries were spent are tried once more, in parts."""
        spent, self.queues.spent = self.queues.spent, []
        for work in spent:
            work.narrowing.give_up(work.error or Temporary("The retries were spent.", code="spent"))
            self._go_on(work)

    # --- what the partner works on ----------------------------------------------------------

    def _await(self, work: Work, job_id: str, wait: float) -> None:
        """Ask the partner later; of a batch that was accepted whole, its row says that, for any driver."""
        batch, job = work.batch, work.job
        if job is None:
            job = work.job = Job(job_id, time.time())
            work.request = None
            batch.job_id, batch.job_polls = job_id, 0
            batch.job_since = datetime.fromtimestamp(job.since, UTC)
        job.due = time.monotonic() + wait
        batch.job_due = timezone.now() + timedelta(seconds=wait)
        batch.state = BatchState.PROCESSING if work.is_whole else BatchState.SENDING
        self.outbox.batch(batch)
        self.queues.processing.append(work)

    def _end_job(self, work: Work) -> None:
        """The partner is through with it, or knows nothing of it: what is next is sent."""
        if work.job:
            work.job = work.request = None
            work.batch.state = BatchState.SENDING

    # --- what becomes of a batch ------------------------------------------------------------

    def _go_on(self, work: SendUsers) -> None:
        """Send the next piece of a batch, or settle it."""
        work.request = None
        work.batch.tries = 0
        self.apply(work, outcomes.after(work, self.facts(work.active)))

    def _settle(self, work: SendUsers) -> None:
        """Write down a batch that is through, with its rejected users."""
        narrowing, batch, run = work.narrowing, work.batch, work.active.run
        batch.delivered = narrowing.delivered
        if self.endpoint.replaces_lists:  # of those who were there before, nothing is new
            new = (run.planned_adds or 0) + len(work.retried) - len(narrowing.rejected)
            run.added += max(min(new, narrowing.delivered), 0)
            run.removed += run.planned_removes or 0
        elif work.counts:
            removed = work.removed
            run.added += narrowing.delivered - removed
            run.removed += removed
        run.rejected += len(narrowing.rejected)
        run.undelivered += len(narrowing.undelivered)
        if work.retried or narrowing.rejected or narrowing.undelivered:
            self.outbox.write(partial(_write_users, work))
        not_tried = len(narrowing.undelivered) + len(narrowing.left)
        state = rejections.state_of(narrowing.delivered, len(narrowing.rejected), not_tried)
        self._end_batch(work, state)

    def _end_batch(self, work: Work, state: BatchState) -> None:
        work.batch.state = state
        work.batch.settled_at = timezone.now()
        self.outbox.batch(work.batch)
        self.outbox.count(work.active.run)

    # --- refused users ----------------------------------------------------------------------

    def _refuse(self, work: SendUsers, error: DeliveryError, alone: bool, doubt: bool) -> None:
        active = work.active
        active.refused += 1
        active.only_404 &= isinstance(error, NotFound)
        active.all_at_fault += outcomes.leaves_nobody(work, error)
        self._end_job(work)
        work.narrowing.reject(error, error.named_users, alone=alone)
        self._go_on(work)
        self.outbox.batch(work.batch)
        if doubt:
            self._doubt(active, work)

    def _doubt(self, active: ActiveRun, work: Work | None = None) -> None:
        """Find out whether the partner refuses everybody. Any work of the run will do."""
        work = work or self.queues.unproven_of(active)[0]
        self.apply(work, outcomes.in_doubt(self.facts(active)))

    def _halve(self, work: SendUsers, error: DeliveryError) -> None:
        """Send no more than half of the piece at a time, to this destination from now on."""
        self._end_job(work)
        row, size = self.row, (len(work.piece) + 1) // 2
        row.learned_size = min(row.learned_size or size, size)
        for feed in self.queues.feeds:
            feed.active.most = min(feed.active.most, row.learned_size)
        self.outbox.write(lambda: Driver.objects.filter(pk=row.pk).update(learned_size=row.learned_size))
        work.narrowing.halve(error)
        self._go_on(work)

    def _leave_out(self, work: SendUsers) -> None:
        """Try nobody more of these rejected users; who was not tried alone stays as it was."""
        work.narrowing.leave()
        self.apply(work, outcomes.at_end(work, self.facts(work.active)))

    def _leave_retries(self, active: ActiveRun) -> None:
        active.retries_over = True
        for work in self.queues.leave_out(active):
            if isinstance(work, SendUsers):
                self._leave_out(work)

    # --- canaries ---------------------------------------------------------------------------

    def _ask(self, work: Work, ask: outcomes.Ask) -> None:
        """Add somebody again whom the partner certainly holds, changing nothing; else do what follows."""
        active = work.active
        # A list that is replaced would become a list of one.
        nobody = self.endpoint.replaces_lists or (ask.once and active.witnesses)
        user = None if nobody else self._somebody_delivered(active)
        if user is None:
            self.apply(work, ask.otherwise)
            return
        active.witnesses.append(user)
        batch = active.new_batch(Step.ADD, [user], keep_ids=True)
        witness = active.known(Step.ADD, [user])[0]
        self.queues.ready.appendleft(Canary(batch, active, witness, ask.waiting))
        if ask.requeue:
            self.queues.ready.append(work)
        if ask.unproven and isinstance(work, SendUsers):
            self.queues.unproven.append(work)

    def _somebody_delivered(self, active: ActiveRun) -> str | None:
        """Return a user who is at the partner and shall stay there, and was not asked yet; or None."""
        run = active.run
        if run.mode == RunMode.EMPTY:
            return None
        added = self.queues.feed_of(active).first_added()
        found = [*active.taken, *islice(added, 2 * outcomes.WITNESSES)]
        if run.from_version:
            # Of a run back to an older version, too: in all versions that the partner may hold.
            low, high = sorted((run.from_version, run.to_version))
            found += members.stayed(run.sync.sent_id, low, max(high, run.reach), 100)
        out = {*rejections.among(run.sync_id, found), *active.witnesses}
        found = [user for user in dict.fromkeys(found) if user not in out]
        # Any of them: those who stand together have often come, and gone, together.
        return random.Random(f"{run.pk} {len(active.witnesses)}").choice(found) if found else None

    # --- the end of a run -------------------------------------------------------------------

    def _lose_list(self, active: ActiveRun, emptied: bool, anew: bool, pause: bool) -> None:
        """The partner lost the list: it holds nothing, and a new full run begins; once."""
        if pause:
            self.ending.pause("The partner's list was gone, was made anew, and is gone again.")
        reason = "The partner's list was gone."
        if emptied:
            reason = "The partner's list was gone: nothing is left to remove."
        elif anew:
            reason += " A full run makes it anew."

        def forget(run: Run) -> None:
            Sync.objects.forget(run.sync_id)
            Rejection.objects.filter(sync_id=run.sync_id).delete()
            if emptied:
                lifecycle.go_on_renamed(run)
            elif anew:
                lifecycle.follow_up(run, trigger=Trigger.LIST_GONE, mode=RunMode.FULL)

        self.admission.end_run(active, RunState.SUCCEEDED if emptied else RunState.FAILED, reason, forget)

    def _fail_run(self, active: ActiveRun, reason: str, pause: bool, if_unchanged: bool) -> None:
        driven = Destination.objects.filter(pk=self.destination.pk, updated_at=self.destination.updated_at)
        if if_unchanged and not driven.exists():
            # A person has changed it since this driver began: the refusal is of the key of before.
            self.ending.begin_anew()
            return
        if pause:
            self.ending.pause(reason)
        self.admission.end_run(active, RunState.FAILED, reason)

    # --- what is written of a request -------------------------------------------------------

    def _note(self, work: Work, request: Request, result: Reply | DeliveryError) -> None:
        batch, error = work.batch, None if isinstance(result, Reply) else result
        reply = result if isinstance(result, Reply) else result.reply
        batch.request_head = describe(request, self.endpoint)[:HEAD]
        batch.message = error.message if error else ""
        batch.status = reply.status if reply else None
        batch.latency_ms = round(reply.latency * 1000) if reply else None
        batch.reply_head = reply.excerpt if reply else ""
        if error is None and not (reply and reply.failed_users):
            return
        message = error.message if error else outcomes.SOME_FAILED
        work.active.last_message = message
        attempt = partial(
            Attempt.objects.create,
            batch=batch,
            at=timezone.now(),
            users=request.users,
            status=batch.status,
            latency_ms=batch.latency_ms,
            code=(error.code if error else "users_failed")[:50],
            message=message,
            request_head=batch.request_head,
            reply_head=batch.reply_head,
        )
        self.outbox.write(attempt)


def _remember_taken(active: ActiveRun, piece: list[str], failed: Sequence[str]) -> None:
    some = piece[:: -(-len(piece) // outcomes.WITNESSES)]
    taken = [user for user in some if user not in failed] if failed else some
    active.taken = [*taken, *active.taken][: 2 * outcomes.WITNESSES]


def _write_users(work: SendUsers) -> None:
    narrowing, batch = work.narrowing, work.batch
    for kind, users in (
        (RejectionKind.REJECTED, narrowing.rejected),
        (RejectionKind.UNDELIVERED, narrowing.undelivered),
    ):
        rejections.settle(batch, work.retried, kind, users, adds=work.adds)
    if work.retried:
        still = [*narrowing.rejected, *narrowing.undelivered, *narrowing.left]
        rejections.forgive(work.retried.values(), still)
