"""Runs come and go: which a driver takes on, what must be true before their first request, how they end."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial

from django.db import IntegrityError, connection
from django.db.models.functions import Now

from cohorts import calculate
from destinations.endpoint import Endpoint
from destinations.models import Destination
from destinations.payloads import TemplateError, external_name
from pagekit import tracing
from syncs import due, guard, lifecycle, projecting
from syncs.choices import DRIVABLE_RUNS, BatchState, RunMode, RunState, Step
from syncs.delivery import rejections
from syncs.delivery.active import ActiveRun
from syncs.delivery.ended import Ended, Ending, How
from syncs.delivery.feed import Feed
from syncs.delivery.outbox import Outbox, relax_durability
from syncs.delivery.queues import Queues
from syncs.delivery.writing import writing
from syncs.models import Batch, Driver, Rejection, Run, Sync
from syncs.plan import Plan


class Admission:
    """The runs of one destination. `destination` and `row` are as they were when the drive began."""

    def __init__(
        self,
        destination: Destination,
        endpoint: Endpoint,
        row: Driver,
        queues: Queues,
        outbox: Outbox,
        ending: Ending,
    ) -> None:
        self.destination, self.endpoint, self.row = destination, endpoint, row
        self.queues, self.outbox, self.ending = queues, outbox, ending
        # Calculations of cohorts before their runs, by the run's key.
        self._refreshes: dict[int, Future[object]] = {}
        self._traced: list[ActiveRun] = []
        self._calculator = ThreadPoolExecutor(1, thread_name_prefix="calculate")

    # --- a run comes ------------------------------------------------------------------------

    def adopt(self) -> bool:
        """Take on the destination's open runs that are not yet active; return whether there was one."""
        if self.ending:
            return False
        feeds = self.queues.feeds
        active = [feed.run.pk for feed in feeds] + self.calculating()
        runs = Run.objects.filter(sync__destination=self.destination, state__in=DRIVABLE_RUNS)
        new = runs.exclude(pk__in=active).exclude(sync__in=[feed.run.sync_id for feed in feeds])
        adopted = False
        related = ("sync__cohort", "sync__projection", "sync__destination")
        for run in new.select_related(*related).order_by("pk"):
            if run.pk not in self._refreshes and (due.wants_refresh(run) or projecting.is_behind(run)):
                self._refreshes[run.pk] = self._calculator.submit(_refresh, run)
                adopted = True
            else:
                adopted |= self._begin(run)
        return adopted

    def calculating(self) -> list[int]:
        """Return the runs that wait for their cohort to be calculated, while others are sent."""
        return [pk for pk, refresh in self._refreshes.items() if not refresh.done()]

    def wait_for_calculation(self, seconds: float) -> None:
        """Return when one of them has ended, and after so many seconds at the latest."""
        wait([self._refreshes[pk] for pk in self.calculating()], seconds, FIRST_COMPLETED)

    def _begin(self, run: Run) -> bool:
        """Mark the run running and its sync dirty, in one durable transaction before its first request."""
        sync = run.sync
        if run.cancel_requested:
            return self._end_unbegun(run, RunState.CANCELLED, "Cancelled by a person.")
        made = self._refreshes.get(run.pk)
        if made and projecting.wanted_before(run) and (failed := made.exception()):
            # Without its projection the partner would be sent what it does not know.
            return self._end_unbegun(run, RunState.FAILED, str(failed) or type(failed).__name__)
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
        if reason := plan.too_long(self.endpoint):
            return self._end_unbegun(run, RunState.FAILED, reason)
        relax_durability(False)
        try:
            with writing():
                self.outbox.lease.renew()
                begun = Sync.objects.begin(
                    sync.pk,
                    fingerprint=fingerprint,
                    external_name=name,
                    mode=run.mode,
                    back_to=run.to_version if run.reach else None,
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
            relax_durability(True)
        if not begun:
            return self._end_unbegun(run, RunState.FAILED, _why_not_begun(sync, self.endpoint, name))
        run = Run.objects.select_related("sync__cohort", "sync__projection").get(pk=run.pk)
        active = ActiveRun(run, self.endpoint, self.row.learned_size)
        self._traced.append(active)
        self.queues.feeds.append(Feed(active))
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

        return self._commit(write)

    def _hold(self, run: Run, reason: str) -> bool:
        """Wait for a person; what the run would do is fixed now, so that they approve just that."""

        def write() -> None:
            Run.objects.filter(pk=run.pk).update(**guard.planned(run))
            Run.objects.hold(run.pk, reason=reason)

        return self._commit(write)

    def _end_unbegun(self, run: Run, state: RunState, reason: str) -> bool:
        return self._commit(partial(Run.objects.end, run.pk, state, reason=reason))

    def _commit(self, write: Callable[[], object]) -> bool:
        self.outbox.write(write)
        self.outbox.commit()
        return True

    # --- a run goes -------------------------------------------------------------------------

    def cancel_asked(self) -> None:
        """End the runs that people want cancelled."""
        active = {feed.run.pk: feed.active for feed in self.queues.feeds}
        for pk in Run.objects.filter(pk__in=active, cancel_requested=True).values_list("pk", flat=True):
            self.end_run(active[pk], RunState.CANCELLED, "Cancelled by a person.", _give_up)

    def finish_done(self) -> None:
        """End the runs of which everything is settled: from now on the partner holds their target."""
        for feed in [feed for feed in self.queues.feeds if self.queues.is_done(feed)]:
            self._finish(feed)

    def _finish(self, feed: Feed) -> None:
        run = feed.run
        state = RunState.PARTIAL if run.not_taken else RunState.SUCCEEDED
        reason = f"Users that will be tried again: {run.not_taken}." if run.not_taken else ""

        def settle(run: Run) -> None:
            Sync.objects.settle(run)
            # Only those are left that had nobody to send any more.
            _close_batches(run, BatchState.REJECTED, "All of its users were rejected, and are tried apart.")
            rejections.forget(feed.forgotten)
            if run.mode == RunMode.EMPTY:
                lifecycle.go_on_renamed(run)
            lifecycle.catch_up(run)

        self.end_run(feed.active, state, reason, settle)

    def end_run(
        self,
        active: ActiveRun,
        state: RunState,
        reason: str,
        then: Callable[[Run], object] = lambda run: None,
    ) -> None:
        """End a run when what is in flight of it has come back; `then` joins that transaction.

        A run that somebody else has ended meanwhile settles nothing: its sync may have been reset.
        """
        if active.ended:
            return
        for work in self.queues.works_of(active):
            if work.job:  # the partner may act on it all the same
                work.batch.unknown_outcome = True
                self.outbox.batch(work.batch)
        self.queues.stop_waiting(active)

        def write() -> None:
            if Run.objects.end(active.run.pk, state, reason=reason) or state == RunState.CANCELLED:
                then(active.run)

        active.ended = write

    def drop_ended(self) -> None:
        """Have the ends of runs written that have nothing under way any more."""
        for feed in list(self.queues.feeds):
            if feed.active.ended and not self.queues.requests_of(feed.active):
                self.outbox.count(feed.run)
                self.outbox.write(feed.active.ended)
                self.queues.feeds.remove(feed)
                self._trace_end(feed.active)

    def leave(self, ended: Ended) -> Ended:
        """Give the destination back; its runs go on later."""

        def write() -> None:
            running = Run.objects.filter(sync__destination=self.destination, state=RunState.RUNNING)
            for pk in list(running.values_list("pk", flat=True)):
                if ended.how == How.STOPPED:
                    Run.objects.interrupt(pk)
                else:
                    Run.objects.park(pk, reason=ended.reason)
            self.outbox.lease.release(next_at=ended.next_at, reason=ended.reason if ended.next_at else "")

        self._commit(write)
        return ended

    def _trace_end(self, active: ActiveRun) -> None:
        self._traced.remove(active)
        if active.span is not None:
            run = active.run
            active.span.set_attributes({"added": run.added, "removed": run.removed, "rejected": run.rejected})
            active.span.end()

    def close(self) -> None:
        for active in list(self._traced):
            self._trace_end(active)
        self._calculator.shutdown(wait=True, cancel_futures=True)


def _refresh(run: Run) -> None:
    """In a thread of its own. What goes wrong is kept with the cohort; its last version is sent then.

    Raises CannotProject.
    """
    try:
        with tracing.span("refresh", parent=run.traceparent, run=run.pk):
            if due.wants_refresh(run):
                calculate.bring_up_to_date(run.sync.cohort, run.created_at)
            if projecting.wanted_before(run):
                projecting.bring_up_to_date(run.sync)
    finally:
        connection.close()


def _why_not_begun(sync: Sync, endpoint: Endpoint, name: str) -> str:
    if sync.fingerprint not in ("", endpoint.fingerprint):
        return (
            "The destination's address or account has changed since this sync last ran. "
            "Confirm the move on the destination's page, or reset the sync, then run it again."
        )
    return f"Another sync of this destination already has the name {name!r} at the partner."


def _give_up(run: Run) -> None:
    """What a cancelled run was still to send again is not sent."""
    _close_batches(run, BatchState.UNDELIVERED, "The run was cancelled.")


def _close_batches(run: Run, state: BatchState, message: str) -> None:
    """End the batches of a run that are to be sent again, and will not be."""
    Batch.objects.filter(run=run, state=BatchState.SENDING).update(
        state=state, settled_at=Now(), message=message
    )
