"""Whom a run adds and whom it removes: pure queries over the cohort's versions, in user order.

| mode                  | adds                              | removes                                    |
|-----------------------|-----------------------------------|--------------------------------------------|
| changes, from clean   | in the target, not in the settled | in the settled, not in the target          |
| changes, from dirty   | touched since, and in the target  | touched since, and not in the target       |
| full                  | everyone in the target            | touched since, and not in the target       |
| emptying              | nobody                            | in the settled version, or touched since   |
| repair                | found missing, and in both        | found strangers, and in neither            |

Where the partner holds nobody (settled 0, clean: a first run, a list that was lost, a move, a new
name), changes and full name the whole target, and nobody is to be removed.

"Touched since": entered or left at all in (settled, target], so that whatever a run that did not
finish has sent is put right. With `repeat_from`, changes are as from dirty, and touched since is since that
earlier version: see `SyncQuerySet.settle`. Users with a Rejection are left out: they are tried on their own.
The same question asked twice gives the same users, which is how a batch is found again after a
crash: a version's members never change, and a user's Rejection stays while the run goes on.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from django.db import connection

from cohorts import members
from destinations.endpoint import LONGEST_LIST, Endpoint
from destinations.sessions import has_parts
from people import suppression
from syncs.choices import DifferenceKind, RunMode, Step
from syncs.models import Difference, Rejection, Run

# A page yields the users of interest, and where the next page begins (None: this was the last).
Page = tuple[list[str], str | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does, as a value. `settled` is what the partner held; `target` what it shall hold.

    With `reach` the target is an older version: whoever moved in any version up to it is looked at, and who
    is suppressed is left out, though a member of that version, and taken out where they are.

    A repair puts right what `comparison` found, of whom both versions say the same: who has left the
    cohort since, or was suppressed, is not brought back.
    """

    sync_id: int
    cohort_id: int
    mode: str
    settled: int
    target: int
    dirty: bool
    page: int = members.PAGE
    reach: int = 0
    comparison: int | None = None
    strangers: bool = False
    repeat_from: int | None = None
    # A key of a projection that left and entered again is sent again: what goes along with it is new.
    resends: bool = False

    @classmethod
    def of(cls, run: Run) -> "Plan":
        return cls(
            *(run.sync_id, run.sync.sent_id, run.mode, run.from_version, run.to_version, run.from_dirty),
            reach=run.reach,
            comparison=run.comparison_id,
            strangers=run.comparison is not None and run.comparison.removes_strangers,
            repeat_from=run.repeat_from,
            resends=run.sync.projection_id is not None,
        )

    @property
    def since(self) -> int:
        """Return the version after which everybody who moved is looked at."""
        return self.settled if self.repeat_from is None else min(self.settled, self.repeat_from)

    @property
    def careful(self) -> bool:
        """Say whether the partner may hold anything in between, for whoever moved since."""
        return self.dirty or self.repeat_from is not None

    def wants(self, user_ids: list[str]) -> set[str]:
        """Return those of the users who shall be at the partner after this run."""
        if self.mode == RunMode.EMPTY:
            return set()
        return self._not_suppressed(members.is_in_version(self.cohort_id, self.target, user_ids))

    def _not_suppressed(self, user_ids: set[str]) -> set[str]:
        return user_ids - suppression.among(sorted(user_ids)) if self.reach else user_ids

    def users(self, step: Step, *, after: str = "", upto: str | None = None) -> Iterator[str]:
        """Yield the users of a step who are greater than `after`, up to and with `upto`, in order."""
        return chain.from_iterable(self._chosen(step, after, upto))

    def _chosen(self, step: Step, after: str, upto: str | None) -> Iterator[list[str]]:
        """Whole pages and no loop over users: a sync of a million spends its time elsewhere."""
        for page in self._pages(step, after):
            within = page if upto is None else page[: bisect_right(page, upto)]
            out = self._rejected(within)
            yield [user_id for user_id in within if user_id not in out] if out else within
            if len(within) < len(page):
                return

    def too_long(self, endpoint: Endpoint) -> str:
        """Return why the whole list cannot be sent, where the partner wants that; or ''."""
        size = 0 if self.mode == RunMode.EMPTY else members.size_of(self.cohort_id, self.target)
        in_parts = has_parts(endpoint)
        if not endpoint.replaces_lists or size <= (LONGEST_LIST if in_parts else endpoint.batch_size):
            return ""
        would = f"The list would have {size:,} users, and "
        if in_parts:
            return f"{would}a whole list, which is made in memory, has {LONGEST_LIST:,} at most."
        return (
            f"{would}this partner, which only knows whole lists, takes "
            f"{endpoint.batch_size:,} in one request: see the destination's batch size."
        )

    def everyone(self, tried: Collection[str]) -> Iterator[str]:
        """Yield all whom the partner shall have after this run, in order; of those who were rejected before,
        only who is `tried` again.
        """
        start: str | None = None if self.mode == RunMode.EMPTY else ""
        while start is not None:
            page, start = self._everyone_in_target(start)
            out = self._rejected(page) - set(tried)
            yield from (user for user in page if user not in out)

    def count(self, step: Step) -> int:
        """Return how many users a step has; of a version as a whole, its recorded size."""
        if self.is_recorded(step):
            return members.size_of(self.cohort_id, self.target)
        return sum(len(page) for page in self._chosen(step, "", None))

    def is_recorded(self, step: Step) -> bool:
        """Whether the number of a step's users is written down: they are a version as a whole."""
        return not self.reach and self._source(step) == self._everyone_in_target

    def _rejected(self, page: list[str]) -> set[str]:
        if not page:
            return set()
        # By hand: through the ORM, that nobody was rejected takes longer than the page itself.
        with connection.cursor() as cursor:
            cursor.execute(
                f"""SELECT user_id FROM {Rejection._meta.db_table}
                    WHERE sync_id = %s AND user_id >= %s AND user_id <= %s""",
                [self.sync_id, page[0], page[-1]],
            )
            return {user_id for (user_id,) in cursor.fetchall()}

    def _pages(self, step: Step, after: str) -> Iterator[list[str]]:
        source = self._source(step)
        start: str | None = after if source else None
        while source and start is not None:
            page, start = source(start)
            if page:
                yield page

    def _source(self, step: Step) -> Callable[[str], Page] | None:
        if self.mode == RunMode.REPAIR:
            return partial(self._found, step) if step == Step.ADD or self.strangers else None
        # The partner holds nobody: the difference is the target itself.
        first = self.settled == 0 and not self.dirty
        if self.mode == RunMode.EMPTY:
            return None if first or step == Step.ADD else self._emptied
        if step == Step.REMOVE:
            return None if first else self._left
        return self._everyone_in_target if first or self.mode == RunMode.FULL else self._entered

    def _found(self, step: Step, after: str) -> Page:
        kind = DifferenceKind.MISSING if step == Step.ADD else DifferenceKind.STRANGER
        rows = Difference.objects.filter(comparison=self.comparison, kind=kind, user_id__gt=after)
        page = list(rows.order_by("user_id").values_list("user_id", flat=True)[: self.page])
        before, after_all = (
            members.is_in_version(self.cohort_id, version, page) for version in (self.settled, self.target)
        )
        right = set(page) - before - after_all
        if step == Step.ADD:
            right = self._not_suppressed(before & after_all)
        return [user for user in page if user in right], page[-1] if len(page) == self.page else None

    def _everyone_in_target(self, after: str) -> Page:
        page = members.in_version_page(self.cohort_id, self.target, after, self.page)
        kept = sorted(self._not_suppressed(set(page))) if self.reach else page
        return kept, page[-1] if len(page) == self.page else None

    def _entered(self, after: str) -> Page:
        return self._touched(after, lambda move: move.now and (self.careful or self.resends or not move.was))

    def _left(self, after: str) -> Page:
        careful = self.careful or self.mode == RunMode.FULL
        return self._touched(after, lambda move: not move.now and (careful or move.was))

    def _emptied(self, after: str) -> Page:
        """Whoever was settled or touched since: two ordered pages, merged up to where both are complete."""
        settled = (
            members.in_version_page(self.cohort_id, self.settled, after, self.page) if self.settled else []
        )
        touched, more = self._touched(after, lambda move: True)
        ends = [settled[-1]] if len(settled) == self.page else []
        ends += [more] if more is not None else []
        end = min(ends) if ends else None
        page = sorted({u for u in [*settled, *touched] if end is None or u <= end})
        return page, end

    def _touched(self, after: str, wanted: Callable[[members.Move], bool]) -> Page:
        moves = self._moves_back(after) if self.reach else self._moves(after)
        page = [move.user_id for move in moves if wanted(move)]
        return page, moves[-1].user_id if len(moves) == self.page else None

    def _moves(self, after: str) -> list[members.Move]:
        return members.moves_page(self.cohort_id, self.since, self.target, after, self.page)

    def _moves_back(self, after: str) -> list[members.Move]:
        """Whoever moved between the older of the two versions and the latest, and how it is in these two."""
        low = min(self.since, self.target)
        moved = members.moves_page(self.cohort_id, low, self.reach, after, self.page)
        users = [move.user_id for move in moved]
        was = members.is_in_version(self.cohort_id, self.settled, users)
        now = self.wants(users)
        return [members.Move(user, user in was, user in now) for user in users]
