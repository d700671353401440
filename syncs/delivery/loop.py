"""The loop of one driver, which alone touches the database.

    loop:  choose ─▶ one transaction ─▶ submit ─▶ wait for replies ─▶ judge
          (queues)     (outbox)        (sender)                    (outcomes)

A batch is in the database as *sending* before a thread sees it, and a thread that has answered gets nothing
new before the answer is recorded: after a crash, at most as many batches as there are threads are sent again.
"""

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from django.conf import settings

from destinations.endpoint import Endpoint
from destinations.errors import DeliveryError
from destinations.models import Destination
from destinations.transport import Reply
from syncs.delivery import rejections
from syncs.delivery.admission import Admission
from syncs.delivery.breaker import Breaker
from syncs.delivery.ended import Ended, Ending, How
from syncs.delivery.judge import Judge
from syncs.delivery.lease import Lease, NotSent
from syncs.delivery.outbox import Outbox
from syncs.delivery.queues import Queues
from syncs.delivery.sender import Sender
from syncs.delivery.turns import Turns
from syncs.delivery.work import SendUsers, Work
from syncs.models import Driver, Run

# A longer wait gives up the slot and the lease; somebody comes back when it is over.
SHORT_WAIT = 5.0
# Seconds between looks at what people asked for meanwhile, and the longest deafness to a stop.
LOOK_EVERY = 0.5
# In a crowd of drivers each looks less often, but a person who cancels a run waits no longer than 4 seconds.
LOOKS_RARER = 8.0
RECOVER_AFTER = 60.0

T = TypeVar("T")


class Loop:
    """Drives a destination under its lease: see `drive.drive`."""

    def __init__(
        self,
        lease: Lease,
        destination: Destination,
        endpoint: Endpoint,
        stop: threading.Event,
        report: Callable[[list[Run]], None],
        turns: Turns,
    ) -> None:
        self.lease, self.destination, self.endpoint = lease, destination, endpoint
        self.stop, self.report, self.turns = stop, report, turns
        row = lease.row
        self.outbox = Outbox(lease, self._committed)
        self.queues = Queues(endpoint.threads, endpoint.rate)
        self.ending = Ending(destination.pk, self.outbox)
        self.breaker = Breaker(row, self.outbox, self.ending, lambda: float(settings.RETRY_TIME_SCALE))
        self.admission = Admission(destination, endpoint, row, self.queues, self.outbox, self.ending)
        self.judge = Judge(
            *(destination, endpoint, row, self.queues, self.outbox),
            *(self.breaker, self.ending, self.admission),
        )
        self.sender = Sender(lease, endpoint, stop, self._is_called_off)
        self._row = row
        # The destination was read a moment ago; its runs are, when there is nothing to send.
        self._looked = time.monotonic()

    def run(self) -> Ended:
        """Send until nothing is left to send, or something stands in the way; return what."""
        while True:
            self._look()
            # After the look for new runs: until the commit, an ended run is still open in the database.
            self.admission.drop_ended()
            sending = self._choose()
            self.outbox.commit()
            self._submit(sending)
            self._think_ahead()
            if not self.queues.under_way and not self._find_way_on():
                if not self.ending and not self.admission.adopt():
                    self.ending.because(How.DONE)
                if self.ending.ended:
                    return self.admission.leave(self.ending.ended)
            self._collect()

    def recover(self, reason: str, *, after: float = RECOVER_AFTER) -> Ended:
        """After an error of ours: drop what was to be written, park, and let somebody try later.

        The runs' counts go with the batches that they count, which are sent and counted again.
        """
        self.outbox.drop()
        self.queues.feeds.clear()
        self.ending.park(after, reason)
        assert self.ending.ended
        return self.admission.leave(self.ending.ended)

    def close(self) -> None:
        self.sender.close()
        self.admission.close()

    def _committed(self) -> None:
        self.report([feed.run for feed in self.queues.feeds])

    def _look(self) -> None:
        """Now and then: new runs, cancelled runs, a pause, a stop."""
        now = time.monotonic()
        if self.stop.is_set():
            self.ending.because(How.STOPPED, "Stopped.")
        if now - self._looked < LOOK_EVERY * min(self.turns.crowd, LOOKS_RARER):
            return
        self._looked = now
        self.admission.adopt()
        asked = Destination.objects.get(pk=self.destination.pk)
        if asked.is_paused:
            self.ending.because(How.PAUSED, asked.pause_reason)
        elif asked.updated_at != self.destination.updated_at and not self.ending:
            self.ending.begin_anew()
        self.admission.cancel_asked()

    def _choose(self) -> list[Work]:
        """Take as many works as there are free threads; new ones get their row in the next transaction."""
        chosen: list[Work] = []
        self.queues.wake()
        threads = 1 if self.breaker.is_open else self.endpoint.threads
        while len(self.queues.under_way) < threads and not self.ending and self.queues.held_for <= 0:
            work = self.queues.take()
            if work is None:
                break
            if not work.stored:
                self._store(work)
            self.queues.under_way.add(work)
            chosen.append(work)
        return chosen

    def _store(self, work: Work) -> None:
        work.stored = True
        work.active.stored(work.batch)
        self.outbox.batch(work.batch, durable=work.durable)
        if isinstance(work, SendUsers) and work.retried:
            self.outbox.write(partial(rejections.announce, work.batch, list(work.retried.values())))

    def _submit(self, chosen: list[Work]) -> None:
        for work in chosen:
            self.sender.submit(work, self.queues.moment())

    def _is_called_off(self, work: Work) -> bool:
        """Say whether a request that waits for its moment shall not be sent now. Asked by its thread."""
        over = bool(self.ending) or work.active.ended is not None
        return over or self.stop.is_set() or self.queues.held_for > 0

    def _think_ahead(self) -> None:
        """Plan and encode the next batches while the threads wait for the partner."""
        queues = self.queues
        while not self.ending and len(queues.ahead) + len(queues.ready) < self.endpoint.threads:
            work = queues.from_feeds(ahead=True)
            if work is None:
                return
            work.encode()
            queues.ahead.append(work)

    def _collect(self) -> None:
        """Wait for a reply, the gate, a stop or the next look; judge all replies that are there."""
        wait = LOOK_EVERY
        if not self.queues.under_way:
            nothing_for = max(self.queues.held_for, self.queues.due_in, 0)
            wait = min(nothing_for, LOOK_EVERY) if self.queues.has_more else LOOK_EVERY
            until: Callable[[float], bool | None] = self.stop.wait
            if self.admission.calculating():
                until = self.admission.wait_for_calculation
            if wait and self._rest(partial(until, wait)):
                return
            wait = 0
        results = self.sender.results
        try:
            waits = wait and results.empty()
            back = self._rest(partial(results.get, timeout=wait)) if waits else results.get_nowait()
            while True:
                work, request, result = back
                self.queues.under_way.remove(work)
                if isinstance(result, NotSent):
                    self.queues.ready.appendleft(work)
                elif isinstance(result, Reply | DeliveryError):
                    self.judge.judge(work, request, result)
                else:
                    raise result
                back = results.get_nowait()
        except queue.Empty:
            return

    def _rest(self, until: Callable[[], T]) -> T:
        """Wait, and let the process's other drivers have the database meanwhile."""
        with self.turns.rest():
            return until()

    def _find_way_on(self) -> bool:
        """Nothing is in flight: finish what can be finished; return whether there is more to send."""
        queues = self.queues
        if not self.ending and not (queues.ready or queues.ahead):
            if work := queues.from_feeds():
                queues.ahead.append(work)
            elif queues.may_leave and queues.due_in > SHORT_WAIT:
                # A run that has not begun ends such a wait: one that waits for its cohort begins first, or
                # driver after driver would calculate it again.
                if not (self.admission.calculating() or self.admission.adopt()):
                    self.ending.park(queues.due_in, Driver.PROCESSING)
            else:
                self.judge.unblock()
                self.admission.finish_done()
        elif queues.ready and queues.held_for > (0.0 if self.ending.how == How.STOPPED else SHORT_WAIT):
            self.ending.park(queues.held_for, self._row.next_reason)
        self.admission.drop_ended()
        self.outbox.commit()
        return not self.ending and bool(queues.has_more or self.admission.calculating())
