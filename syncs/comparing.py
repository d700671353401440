"""What a partner has, compared with what it should have: read back, and found out who differs.

    ask(sync) ─▶ Comparison (waiting) ─▶ run_waiting, by a worker or a command ─▶ Difference rows
                                                                    repair(comparison) ─▶ a run of mode repair

Where the partner has a digest, that is asked first: equal, and nothing is read. Else its members are read
page by page and sorted on disk (cohorts/sorting.py), and walked along with the members that should be there,
which come in order from the database: memory does not grow with the cohort.

What is *unknown* is no difference: users whom the partner refused, and those who moved while it was read, or
since a run that did not end well. A comparison that was left (a kill, a stop) begins anew, and a repair sends
only whom this comparison found, so that a crash in between does no harm.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from cohorts import changes, members, owner
from cohorts.models import Cohort
from cohorts.schedule import InvalidSchedule
from cohorts.sorting import sorted_distinct
from destinations.endpoint import Kind
from destinations.errors import DeliveryError
from destinations.payloads import TemplateError
from destinations.reading import known_as, read_digest, read_member_pages
from destinations.secrets import SecretUnreadable
from events.user_ids import InvalidUserId, check_user_id
from syncs import lifecycle
from syncs.choices import OPEN_RUNS, CompareState, DifferenceKind, Trigger
from syncs.lifecycle import CannotRun
from syncs.models import Comparison, Difference, Rejection, Run, Sync

# Who reads shows that it lives at each page, at most this often, in seconds.
BEAT = 5.0
# The owner's machine cannot be asked: after this long without a sign, another takes the comparison over. A
# page that is tried again waits at most 15 minutes (destinations/retry.py).
STALE = timedelta(minutes=30)
PAGE = 5_000
# Stands between a partner's id of a user and ours where they are sorted together; before every other letter.
BETWEEN = "\x01"
# A partner's id, and ours ('' for what only the partner knows).
Pair = tuple[str, str]


class Left(Exception):
    """Another process took the comparison over, or this one is to stop."""


def ask(
    sync: Sync, *, trigger: str, by: str = "", repair: bool = False, remove_strangers: bool = False
) -> Comparison:
    """Return the sync's comparison that waits or goes on, or a new one. CannotRun if it cannot be compared.

    repair: put right what differs without another question (but for the guard's). With an open comparison
    this is asked of that one.
    """
    sync = Sync.objects.select_related("destination", "cohort").get(pk=sync.pk)
    if why := why_not(sync):
        raise CannotRun(why)
    wishes = {"repairs": repair, "removes_strangers": remove_strangers}
    opened = Comparison.objects.open().filter(sync=sync)
    try:
        with transaction.atomic():
            return Comparison.objects.create(sync=sync, trigger=trigger, asked_by=by, **wishes)
    except IntegrityError:
        if repair:
            opened.update(**wishes)
        return opened.get()


def why_not(sync: Sync) -> str:
    """Return why a sync cannot be compared with its partner, or ''."""
    if not sync.destination.read_path:
        return f"{sync.destination} cannot be read: its destination has no read call."
    if sync.settled_version == 0 and not sync.dirty:
        return "The partner holds nobody yet: run the sync first."
    if sync.destination.kind == Kind.LIST and sync.list_id is None:
        return "The partner has no list yet: run the sync first."
    return ""


def ask_due(now: datetime) -> None:
    """Ask for the comparisons whose time has come. The first comes at once."""
    syncs = Sync.objects.filter(enabled=True, archived_at=None).exclude(compare_cron="")
    for sync in syncs.select_related("destination", "cohort"):
        if why_not(sync):
            continue
        last = sync.comparisons.filter(trigger=Trigger.SCHEDULE).first()
        with suppress(InvalidSchedule, CannotRun):
            due = sync.comparing().next_after(last.created_at) if last else now
            if due is not None and due <= now:
                ask(sync, trigger=Trigger.SCHEDULE)


def run_waiting(stopping: Callable[[], bool] = lambda: False) -> list[Comparison]:
    """Do the comparisons that wait, oldest first; return those that came to an end."""
    done = []
    while not stopping() and (comparison := _claim(_waiting())):
        if ended := _run(comparison, stopping):
            done.append(ended)
    return done


def run_one(comparison: Comparison, stopping: Callable[[], bool] = lambda: False) -> Comparison | None:
    """Do this one here; None if another process has it, or it was left."""
    taken = _claim(_waiting().filter(pk=comparison.pk))
    return _run(taken, stopping) if taken else None


def repair(
    comparison: Comparison, *, trigger: str, by: str = "", remove_strangers: bool = False
) -> Run | None:
    """Make a run that puts right what this comparison found, and nothing else; None if there is nothing.

    Strangers are removed only if asked. CannotRun while another run is open, or when it is not the latest.
    """
    sync = Sync.objects.select_related("cohort", "destination").get(pk=comparison.sync_id)
    latest = sync.comparisons.filter(state=CompareState.DONE).first()
    if latest is None or latest.pk != comparison.pk:
        raise CannotRun("There is a later comparison: look at that one.")
    if why := why_not(sync):
        raise CannotRun(why)
    if sync.runs.filter(state__in=OPEN_RUNS).exists():
        raise CannotRun(f"A run of {sync} is under way: wait for it, or cancel it first.")
    kinds = [DifferenceKind.MISSING, *([DifferenceKind.STRANGER] if remove_strangers else [])]
    if not comparison.differences.filter(kind__in=kinds).exists():
        return None
    Comparison.objects.filter(pk=comparison.pk).update(removes_strangers=remove_strangers)
    return lifecycle.repair(sync, comparison, trigger=trigger, by=by)


# --- who does it --------------------------------------------------------------------------------


def _waiting() -> Any:
    return Comparison.objects.open().select_related("sync").order_by("pk")


def _claim(among: Any) -> Comparison | None:
    """Take one that waits, or whose process is dead."""
    for comparison in among:
        mine = Q(state=CompareState.WAITING)
        if comparison.state == CompareState.READING:
            stale = Q(beat_at__lt=timezone.now() - STALE)
            mine = Q(owner=comparison.owner) if owner.is_dead(comparison.owner) else stale
        if Comparison.objects.take(comparison.pk, owner=owner.me(), among=mine):
            found: Comparison = comparison
            return found
    return None


def _run(comparison: Comparison, stopping: Callable[[], bool]) -> Comparison | None:
    me = owner.me()
    try:
        found = _Reading(comparison, stopping).compare()
    except Left:
        Comparison.objects.give_back(comparison.pk, owner=me)
        return None
    except (DeliveryError, TemplateError, SecretUnreadable, members.UnreadableVersion) as error:
        Comparison.objects.end(comparison.pk, CompareState.FAILED, owner=me, error=str(error))
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        Comparison.objects.end(comparison.pk, CompareState.FAILED, owner=me, error=said)
        raise
    else:
        if not Comparison.objects.end(comparison.pk, CompareState.DONE, owner=me, **found):
            return None
    comparison.refresh_from_db()
    if comparison.state == CompareState.DONE:
        _drop_older(comparison)
        if comparison.repairs and comparison.differs:
            with suppress(CannotRun):  # a run that began meanwhile; what differs stays shown
                repair(
                    comparison,
                    trigger=comparison.trigger,
                    by=comparison.asked_by,
                    remove_strangers=comparison.removes_strangers,
                )
    return comparison


def _drop_older(comparison: Comparison) -> None:
    """Nobody repairs by an older comparison any more, but for a run that does so now."""
    repaired = Run.objects.filter(state__in=OPEN_RUNS, comparison__isnull=False).values("comparison")
    older = Comparison.objects.filter(sync=comparison.sync_id, pk__lt=comparison.pk).exclude(pk__in=repaired)
    Difference.objects.filter(comparison__in=older).delete()


# --- comparing ----------------------------------------------------------------------------------


class _Standing(NamedTuple):
    """What is said of a sync before its partner is read, and is looked at again after."""

    settled: int
    dirty: bool
    runs_done: int
    runs: int


def _standing(sync_id: int) -> _Standing:
    sync = Sync.objects.get(pk=sync_id)
    begun = Run.objects.filter(sync=sync_id, started_at__isnull=False)
    return _Standing(sync.settled_version, sync.dirty, sync.runs_done, begun.count())


class _Reading:
    def __init__(self, comparison: Comparison, stopping: Callable[[], bool]) -> None:
        self.comparison, self.stopping = comparison, stopping
        self.sync = Sync.objects.select_related("cohort", "projection", "destination").get(
            pk=comparison.sync_id
        )
        self.endpoint = self.sync.destination.endpoint()
        self.known = known_as(self.endpoint)
        self.as_it_is = self.known is str
        self.odd = 0
        self._beaten = time.monotonic()

    def compare(self) -> dict[str, Any]:
        """Write who differs; return what there is to say of it."""
        cohort, before = self.sync.sent, _standing(self.sync.pk)
        self.comparison.differences.all().delete()
        found: dict[str, Any] = {"version": before.settled, "by_digest": False}
        if (size := self._equal_by_digest(before)) is not None:
            return found | {"by_digest": True, "expected": size, "there": size}
        # The whole list is read before the first of it comes out.
        there = chain.from_iterable(sorted_distinct(self._there()))
        first = next(there, None)
        there = chain([first], there) if first is not None else there
        after = _standing(self.sync.pk)
        moved = before != after or before.dirty or self._is_sending()
        latest = Cohort.every.values_list("version", flat=True).get(pk=cohort.pk)
        unknown = self._unknown(before.settled, latest if moved else before.settled)
        expected = self._pairs(members.pages_of_version(cohort.pk, before.settled))
        counts = dict.fromkeys(("expected", "there", "missing", "strangers", "unknown"), 0)
        rows = self._differences(expected, there, unknown, counts)
        while page := list(islice(rows, PAGE)):
            self._beat()
            Difference.objects.bulk_create(page, ignore_conflicts=True)
        # Pruning notes how far it goes before it drops anybody.
        members.readable(cohort.pk, before.settled)
        return found | counts | {"odd": self.odd}

    def _equal_by_digest(self, before: _Standing) -> int | None:
        """Return how many there are if the partner's digest is that of the version, else None."""
        certain = not (before.dirty or self.sync.rejections.exists() or self._is_sending())
        if not (certain and self.as_it_is and self.endpoint.read_places.get("digest")):
            return None
        try:
            said = read_digest(self.endpoint, self.sync.list_id, **self._names)
        except DeliveryError:
            return None  # what reading says is said
        size = members.size_of(self.sync.sent_id, before.settled)
        if said is None or said[0] != size or _standing(self.sync.pk) != before:
            return None
        return size if said[1] == changes.digest_at(self.sync.sent, before.settled) else None

    @property
    def _names(self) -> dict[str, str]:
        cohort = self.sync.cohort
        return {
            "cohort_name": cohort.name,
            "cohort_key": cohort.key,
            "external_name": self.sync.external_name,
        }

    def _is_sending(self) -> bool:
        return self.sync.runs.filter(state__in=OPEN_RUNS, started_at__isnull=False).exists()

    def _there(self) -> Iterator[list[str]]:
        """Yield who is at the partner, in its order, with those left out who cannot be a user."""
        for page in read_member_pages(self.endpoint, self.sync.list_id, 1.0, **self._names):
            self._beat()
            ids = []
            for user_id in page:
                try:
                    ids.append(check_user_id(user_id))
                except InvalidUserId:
                    self.odd += 1
                else:
                    if BETWEEN in user_id and not self.as_it_is:
                        ids.pop()
                        self.odd += 1
            if ids:
                yield ids

    def _unknown(self, low: int, high: int) -> Iterator[Pair]:
        rejected = Rejection.objects.filter(sync=self.sync).order_by("user_id")
        users = rejected.values_list("user_id", flat=True).iterator(chunk_size=PAGE)
        both = merge(users, chain.from_iterable(self._moved(low, high)))
        return self._pairs([user] for user, _ in groupby(both))

    def _moved(self, low: int, high: int) -> Iterator[list[str]]:
        after, page = "", [members.Move("", False, False)]
        while low < high and page:
            if page := members.moves_page(self.sync.sent_id, low, high, after, members.PAGE):
                after = page[-1].user_id
                yield [move.user_id for move in page]

    def _pairs(self, pages: Iterable[list[str]]) -> Iterator[Pair]:
        """Yield users with the partner's ids, in the order of the partner's ids; users come in their own."""
        if self.as_it_is:
            yield from ((user, user) for page in pages for user in page)
            return
        lines = (
            [f"{partners}{BETWEEN}{user}" for user in page if BETWEEN not in (partners := self.known(user))]
            for page in pages
        )
        for line in chain.from_iterable(sorted_distinct(lines)):
            partners, _, ours = line.partition(BETWEEN)
            yield partners, ours

    def _differences(
        self, expected: Iterator[Pair], there: Iterator[str], unknown: Iterator[Pair], counts: dict[str, int]
    ) -> Iterator[Difference]:
        tagged = merge(
            ((partners, 0, ours) for partners, ours in expected),
            ((partners, 1, "") for partners in there),
            ((partners, 2, "") for partners, _ in unknown),
        )
        for partners, group in groupby(tagged, key=itemgetter(0)):
            ours, is_there, is_unknown = [], False, False
            for _, what, user in group:
                if what == 0:
                    ours.append(user)
                elif what == 1:
                    is_there = True
                else:
                    is_unknown = True
            counts["there"] += is_there
            if is_unknown:
                counts["unknown"] += 1
                continue
            counts["expected"] += len(ours)
            if ours and not is_there:
                counts["missing"] += len(ours)
                yield from (self._row(DifferenceKind.MISSING, user) for user in ours)
            elif is_there and not ours:
                counts["strangers"] += 1
                named = self.as_it_is or self.known(partners) == partners
                yield self._row(DifferenceKind.STRANGER if named else DifferenceKind.FOREIGN, partners)

    def _row(self, kind: DifferenceKind, user_id: str) -> Difference:
        return Difference(comparison=self.comparison, kind=kind, user_id=user_id)

    def _beat(self) -> None:
        """Show that this goes on; raise Left when it should not."""
        if self.stopping():
            raise Left
        if time.monotonic() - self._beaten >= BEAT:
            self._beaten = time.monotonic()
            if not Comparison.objects.beat(self.comparison.pk, owner=owner.me()):
                raise Left
