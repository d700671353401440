"""What may be sent, and when. What a run has under way is read off the queues, and counted nowhere else."""

import time
from collections import deque
from collections.abc import Iterator
from itertools import chain

from syncs.delivery.active import ActiveRun
from syncs.delivery.feed import Feed
from syncs.delivery.work import Canary, SendUsers, Work

# Requests of a run that are under way at once while nobody was accepted in it.
UNPROVEN = 4
# Requests of a run that a partner works on at once, at most: what is planned meanwhile is in memory.
MOST_JOBS = 100


class Queues:
    """A work is in one of these from when its feed gives it out until its batch is settled.

    `rate`: requests a second, or None.
    """

    def __init__(self, threads: int, rate: float | None) -> None:
        self.threads, self.rate = threads, rate
        self.feeds: list[Feed] = []
        # Works that may be sent at once: the next piece of a batch, or a retry whose wait is over.
        self.ready: deque[Work] = deque()
        # Encoded, and not yet in the database.
        self.ahead: deque[Work] = deque()
        # With a thread: chosen, or sent and not answered.
        self.under_way: set[Work] = set()
        # Accepted by the partner, which works on them: asked again when they are due.
        self.processing: list[Work] = []
        # Retries spent; waiting for a sign that the partner is alive.
        self.spent: list[SendUsers] = []
        # Users were refused before anybody was accepted in the run: perhaps the partner refuses everybody.
        self.unproven: list[SendUsers] = []
        # No request starts before this moment: a wait that the partner asked for, or a retry's.
        self._gate = 0.0
        # When the last request that was given a moment by the rate may start.
        self._slot = 0.0
        self._turn = 0

    # --- when -------------------------------------------------------------------------------

    def hold(self, seconds: float) -> None:
        """Let no request of this destination start before so many seconds have passed."""
        self._gate = max(self._gate, time.monotonic() + seconds)

    @property
    def held_for(self) -> float:
        """Return for how many more seconds nothing may start; 0 and less: something may."""
        return self._gate - time.monotonic()

    def moment(self) -> float:
        """Return when the next request may start, by the destination's rate; of `time.monotonic`."""
        now = time.monotonic()
        if not self.rate:
            return now
        self._slot = max(self._slot + 1 / self.rate, now)
        return self._slot

    def may_begin(self, active: ActiveRun) -> bool:
        """Whether another batch of a run may set out. Until somebody was accepted, few do, and each refusal
        is looked into before the next one: a partner that refuses everybody is asked little.
        """
        jobs = sum(work.active is active for work in self.processing)
        if active.accepted:
            return jobs < MOST_JOBS
        under_way = self.requests_of(active) + jobs
        return under_way < UNPROVEN and not (active.refused and under_way)

    @property
    def due_in(self) -> float:
        """Return in how many seconds the partner is asked about a request again; 0 and less: at once, or
        about none.
        """
        return min((work.job.due for work in self.processing if work.job), default=0.0) - time.monotonic()

    def wake(self) -> None:
        """Have the partner asked about what is due."""
        now = time.monotonic()
        for work in [work for work in self.processing if work.job and work.job.due <= now]:
            self.processing.remove(work)
            self.ready.append(work)

    @property
    def may_leave(self) -> bool:
        """Whether all that is given out is processed by the partner, and another driver can go on with it."""
        others = self.under_way or self.ready or self.ahead or self.spent or self.unproven
        jobs = self.processing
        return bool(jobs) and not others and all(isinstance(one, SendUsers) and one.is_whole for one in jobs)

    # --- what is next -----------------------------------------------------------------------

    def take(self) -> Work | None:
        """Take the first work that may be sent. The others keep their order: see `ActiveRun.stored`."""
        for waiting in (self.ready, self.ahead):
            for work in [work for work in waiting if work.active.ended]:
                waiting.remove(work)
            for work in waiting:
                begun = waiting is self.ready or self.may_begin(work.active)
                if begun and (isinstance(work, Canary) or not self.is_asking(work.active)):
                    waiting.remove(work)
                    return work
        return self.from_feeds()

    def from_feeds(self, *, ahead: bool = False) -> Work | None:
        """Ask the runs in turn, so that a small one does not wait behind a large one.

        ahead: what may set out later will do.
        """
        for _ in range(len(self.feeds)):
            self._turn = (self._turn + 1) % len(self.feeds)
            feed = self.feeds[self._turn]
            active = feed.active
            if active.ended or self.is_asking(active) or not (ahead or self.may_begin(active)):
                continue
            while work := feed.next(busy=self.is_busy(active)):
                if work.job is None or work.job.due <= time.monotonic():
                    return work
                self.processing.append(work)
        return None

    @property
    def has_more(self) -> bool:
        return bool(self.ready or self.ahead or self.feeds)

    def feed_of(self, active: ActiveRun) -> Feed:
        return next(feed for feed in self.feeds if feed.active is active)

    # --- what a run has under way -----------------------------------------------------------

    def works_of(self, active: ActiveRun) -> Iterator[Work]:
        """Yield what was given out of a run and is not settled; a batch that waits for a canary by that."""
        every = chain(self.under_way, self.ready, self.ahead, self.processing, self.spent, self.unproven)
        return (work for work in every if work.active is active)

    def is_busy(self, active: ActiveRun) -> bool:
        return any(True for _ in self.works_of(active))

    def requests_of(self, active: ActiveRun) -> int:
        """Return how many requests of a run are under way."""
        return sum(work.active is active for work in self.under_way)

    def is_asking(self, active: ActiveRun) -> bool:
        """Whether a canary of the run is not back: nothing else of it is sent until then."""
        return any(
            isinstance(work, Canary) and work.active is active
            for work in chain(self.under_way, self.ready, self.processing)
        )

    def is_done(self, feed: Feed) -> bool:
        """Whether all of a run was sent, and is settled."""
        return feed.exhausted and not self.is_busy(feed.active)

    def unproven_of(self, active: ActiveRun) -> list[SendUsers]:
        return [work for work in self.unproven if work.active is active]

    # --- what is dropped --------------------------------------------------------------------

    def stop_waiting(self, active: ActiveRun) -> None:
        """A run ends: nothing of it waits for a sign of the partner any more."""
        self.unproven = [work for work in self.unproven if work.active is not active]
        self.spent = [work for work in self.spent if work.active is not active]
        self.processing = [work for work in self.processing if work.active is not active]

    def leave_out(self, active: ActiveRun) -> list[Work]:
        """Take out what of a run waits for its turn or for somebody to be accepted; return what has a row."""
        left: list[Work] = []
        for waiting in (self.ready, self.ahead, self.unproven):
            mine = [work for work in waiting if work.active is active]
            for work in mine:
                waiting.remove(work)  # type: ignore[arg-type]
            left += [work for work in mine if work.stored]
        return left
