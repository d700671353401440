"""Making a new version of a cohort: claim, compare, write what entered and left, publish.

    claim ─▶ wipe what a dead refresh left ─▶ compare new ids with stored ids ─▶ short transactions
          ─▶ guard: hold, or publish by one UPDATE

Suppressed people (people/suppression.py) are left out here, wherever the ids come from, and kept apart:
who is suppressed no more comes back by `apply_suppressions`, though nobody names them again.

Each transaction begins with the conditional UPDATE that renews the claim; a refresh whose claim was
taken over writes nothing more (ClaimLost). Readers never see a part of a version: a row counts only
in the versions that are published.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, islice, pairwise, repeat
from operator import lt
from typing import Any

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from cohorts import members, owner
from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion
from people import suppression
from people.tombstones import Tombstones

Ids = Sequence[str]
# Who enters, who leaves, and how many users were compared for it.
Moves = tuple[list[str], list[str], int]
# Users compared at a time, and written in one transaction: some 20 ms on SQLite; others get their turn.
WRITES = 5_000
# Seconds after which a refresh that finds nothing to write renews its claim all the same.
RENEW_EVERY = 20.0
# Above this many changes, PostgreSQL's planner should be told.
BULK = 50_000
# A cohort with more members than this is not halved unseen (`hold_if_halved`).
HALVED_ABOVE = 100
# What a version says as its source, and who decided, that was made because the list of suppressed people
# changed: whoever changed the list decided, so that no guard holds the run that follows.
BY_SUPPRESSION = "The list of suppressed people changed"
SUPPRESSION = "suppression"


class RefreshError(Exception):
    """A refresh did not happen; the message is for a person. Nothing was published."""


class CohortBusy(RefreshError):
    """Another refresh of this cohort is running."""


class VersionHeld(RefreshError):
    """A held version waits for a person; further refreshes wait for them."""


class OutsideWindow(RefreshError):
    """The cohort's active window has not begun, or is over."""


class ClaimLost(RefreshError):
    """Another process took this refresh over, because this one was silent for too long."""


@dataclass
class Claim:
    cohort: Cohort
    number: int
    fence: int
    version: CohortVersion
    # The last change of the list of suppressed people that this refresh knows; 0: nobody ever was.
    suppressions: int = 0
    entered: int = 0
    left: int = 0
    held_back: int = 0
    renewed: float = field(default_factory=time.monotonic)
    # When the next transaction may begin, so that others get their turn.
    rested: float = 0.0
    # Whether anything was written: of the members, or of those who are held back.
    moved: bool = False

    def write(self, entered: list[str], left: list[str], *, held_back: bool = False) -> None:
        """Write changes in one short transaction, and let others write before the next one.

        `held_back`: of those who are held back, not of the members.
        """
        cohort_id = members.held_back_of(self.cohort.pk) if held_back else self.cohort.pk
        with self.writing():
            if entered:
                members.enter(cohort_id, self.number, entered)
            if left:
                members.leave(cohort_id, self.number, left)
        if held_back:
            self.held_back += len(entered) - len(left)
        else:
            self.entered += len(entered)
            self.left += len(left)

    @contextmanager
    def writing(self) -> Generator[None]:
        """A short transaction under the claim, and rest for as long after it."""
        if connection.vendor == "sqlite":
            time.sleep(max(0.0, self.rested - time.monotonic()))
        began = time.monotonic()
        self.moved = True
        with transaction.atomic():
            self.renew()
            yield
        # What is read and compared meanwhile counts as rest: nothing is locked.
        ended = time.monotonic()
        self.rested = ended + (ended - began)

    def undo(self, page: Callable[[int], int]) -> None:
        """Undo what no published version knows: the writes of a dead refresh, of a dropped version.

        `page` undoes up to so many writes, and returns how many it found; it is called until that is none.
        """
        while True:
            began = time.monotonic()
            with transaction.atomic():
                self.renew()
                if not page(WRITES):
                    return
            rest_since(began)

    def wipe(self, cohort_id: int) -> None:
        """Undo unpublished writes of members, of the cohort or of who is held back from it."""
        self.undo(partial(members.wipe_page, cohort_id, self.cohort.version))

    def renew(self) -> None:
        """Go on holding the claim; the first statement of every transaction."""
        if not Cohort.every.renew_claim(self.cohort.pk, self.fence):
            raise self.lost()
        self.renewed = time.monotonic()

    def lost(self) -> ClaimLost:
        return ClaimLost(f"The refresh of {self.cohort.key} was taken over by another process.")

    def renew_if_due(self) -> None:
        if time.monotonic() - self.renewed > RENEW_EVERY:
            self.renew()


@dataclass(frozen=True)
class Derived:
    """What a derived version was made of, as fields of its cohort; and who decided about those who left."""

    made_of: dict[str, Any]
    decided_by: str = ""


def replace(
    cohort_id: int,
    user_ids: Iterable[str],
    *,
    source: str,
    replace_held: bool = False,
    wait: float = 0.0,
    definition: object = None,
    as_of: datetime | None = None,
    unless_nobody_moves: bool = False,
    progress: Callable[[int], None] = lambda users: None,
) -> CohortVersion:
    """Make `user_ids` the members of the cohort; return the version, published or held.

    `user_ids`: sorted and distinct; a smaller or equal id after another is a RefreshError. An error
    that they raise before their first id leaves no trace; one that they raise later leaves a failed
    version. `source` says where they come from, in words. `replace_held` drops a version that is
    being held. `wait`: seconds to wait for a refresh that is running. `definition` and `as_of` are
    kept with a calculated version. `unless_nobody_moves`: make no version if all would stay as it
    is; the published one then counts as of `as_of`, and is returned. `progress` is called with the number of
    users compared so far, the last time when all are written and nothing is published: what it raises then
    prevents the publication.
    """
    incoming = _ascending(user_ids)
    first = next(incoming, ())
    with _claimed(cohort_id, source, replace_held=replace_held, wait=wait, within_window=True) as claim:
        CohortVersion.objects.filter(pk=claim.version.pk).update(definition=definition, as_of=as_of)
        stored = members.pages_of_version(cohort_id, claim.cohort.version)
        sieve = _Sieve(claim)
        with _relaxed():
            seen = _write_all(claim, _moves(stored, sieve.passed(chain([first], incoming))), progress)
            sieve.write(progress, seen)
        if unless_nobody_moves and claim.cohort.version and not claim.moved:
            return _leave_as_it_is(claim, as_of)
        return _finish(claim, guarded=True, suppressions=claim.suppressions)


def amend(
    cohort_id: int,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    source: str,
    wait: float = 60.0,
    progress: Callable[[int], None] = lambda users: None,
) -> CohortVersion:
    """Let users join and leave; touches only those named. A user in both is removed.

    `add`, `remove`: sorted and distinct. What a person names is not guarded. Other arguments as
    for `replace`.
    """
    joining, leaving = _ascending(add), _ascending(remove)
    first = next(joining, ()), next(leaving, ())
    with _claimed(cohort_id, source, replace_held=False, wait=wait, within_window=True) as claim:
        sieve = _Sieve(claim)
        moves = _named_moves(claim.cohort, sieve, chain([first[0]], joining), chain([first[1]], leaving))
        with _relaxed():
            seen = _write_all(claim, moves, progress)
            sieve.write(progress, seen)
        return _finish(claim, guarded=False)


def empty(cohort_id: int, *, source: str, decided_by: str, wait: float = 0.0) -> CohortVersion:
    """Let everybody leave, whatever is held or would hold it. Raises RefreshError."""
    with _claimed(cohort_id, source, replace_held=True, wait=wait) as claim:
        stored = members.pages_of_version(cohort_id, claim.cohort.version)
        sieve = _Sieve(claim)
        with _relaxed():
            seen = _write_all(claim, _moves(stored, sieve.passed(iter(()))), _nobody_watches)
            sieve.write(_nobody_watches, seen)
        return _finish(claim, guarded=False, decided_by=decided_by, suppressions=claim.suppressions)


def _nobody_watches(users: int) -> None:
    """Progress that is shown to nobody."""


def outside_of_window(cohort: Cohort, now: datetime) -> str:
    """Return why the cohort is not calculated and takes no members now; '' within its active window."""
    if cohort.active_from and now < cohort.active_from:
        return f"The active window of {cohort.key} begins at {cohort.active_from:%Y-%m-%d %H:%M} UTC."
    if cohort.active_to and now >= cohort.active_to:
        ended = f"The active window of {cohort.key} ended at {cohort.active_to:%Y-%m-%d %H:%M} UTC"
        return f"{ended}: set a later end."
    return ""


def apply_suppressions(cohort_id: int, *, wait: float = 0.0) -> CohortVersion | None:
    """Take out the members who are suppressed, and let in those held back who are not any more.

    Looks only at whom the list's changes since the published version name. Returns the version that it
    made; None when nobody moves. Raises RefreshError: a version that is held waits for a person first.
    """
    cohort, number = Cohort.every.get(pk=cohort_id), suppression.number()
    if cohort.suppressions >= number:
        return None
    if cohort.version == 0 or not any(entered or left for entered, left, _ in _suppressed_moves(cohort)):
        Cohort.every.note_suppressions(cohort_id, version=cohort.version, number=number)
        return None
    with _claimed(cohort_id, BY_SUPPRESSION, replace_held=False, wait=wait) as claim:
        for entered, left, _ in _suppressed_moves(claim.cohort):
            if entered or left:
                claim.write(entered, left)
                claim.write(left, entered, held_back=True)
            claim.renew_if_due()
        return _finish(claim, guarded=False, decided_by=SUPPRESSION, suppressions=claim.suppressions)


def derive(
    cohort_id: int, make: Callable[[Claim], Derived], *, source: str, wait: float = 60.0
) -> CohortVersion:
    """Let `make` write a version under the claim, and publish it; no guard holds it.

    When nothing was written the published version stays, and counts as made of what `make` says. Returns
    that version. Raises RefreshError.
    """
    with _claimed(cohort_id, source, replace_held=False, wait=wait) as claim:
        claim.wipe(members.held_back_of(cohort_id))
        with _relaxed():
            derived = make(claim)
        if claim.cohort.version and not claim.moved:
            with transaction.atomic():
                if not Cohort.every.release_claim(cohort_id, claim.fence):
                    raise claim.lost()
                claim.version.delete()
                Cohort.every.filter(pk=cohort_id).update(**derived.made_of)
            return claim.cohort.versions.get(number=claim.cohort.version)
        return _finish(claim, guarded=False, decided_by=derived.decided_by, **derived.made_of)


def _suppressed_moves(cohort: Cohort) -> Iterator[Moves]:
    """Yield who comes back, who is taken out, and how many were looked at; nobody twice."""
    by_identifier = suppression.identifiers_changed_since(cohort.suppressions)
    held = members.held_back_of(cohort.pk)
    for page in suppression.changed_since(cohort.suppressions):
        named = [one for one in page if not (by_identifier and members.is_like_identifier(one))]
        out = suppression.among(named)
        back = members.is_in_version(held, cohort.version, named) - out
        gone = members.is_in_version(cohort.pk, cohort.version, named) & out
        yield sorted(back), sorted(gone), len(page)
    if by_identifier:
        for page in members.identifiers_in(held, cohort.version):
            yield sorted(set(page) - suppression.among(page)), [], len(page)
        for page in members.identifiers_in(cohort.pk, cohort.version):
            yield [], sorted(suppression.among(page)), len(page)


def approve(cohort_id: int, number: int, *, by: str) -> None:
    """Publish a held version, in the name of a person. Raises RefreshError if it is held no more."""
    with _decided(cohort_id, number) as (claim, version):
        found = {"size": version.size, "held_back": version.held_back}
        if not Cohort.every.publish(cohort_id, claim.claim_fence, number=number, **found):
            raise ClaimLost("Another process is refreshing this cohort.")
        _set_state(version, VersionState.PUBLISHED, decided_by=by)


def refuse(cohort_id: int, number: int, *, by: str) -> None:
    """Drop a held version: the cohort stays as it is. Raises RefreshError if it is held no more."""
    with _decided(cohort_id, number) as (claim, version):
        if not Cohort.every.drop_held(cohort_id, claim.claim_fence):
            raise ClaimLost("Another process is refreshing this cohort.")
        Cohort.every.release_claim(cohort_id, claim.claim_fence)
        _set_state(version, VersionState.REFUSED, decided_by=by)


@contextmanager
def _decided(cohort_id: int, number: int) -> Generator[tuple[Cohort, CohortVersion]]:
    """Hold the claim, in one transaction, while a person's decision about a held version is written."""
    with transaction.atomic():
        cohort = _take_claim(cohort_id, wait=0)
        if cohort.held_number != number:
            raise RefreshError(f"Version {number} is no longer held: it was decided on or replaced.")
        yield cohort, CohortVersion.objects.get(cohort=cohort, number=number)


@contextmanager
def _claimed(
    cohort_id: int, source: str, *, replace_held: bool, wait: float, within_window: bool = False
) -> Generator[Claim]:
    cohort = _take_claim(cohort_id, wait=wait)
    if within_window and (said := outside_of_window(cohort, timezone.now())):
        Cohort.every.release_claim(cohort_id, cohort.claim_fence)
        raise OutsideWindow(said)
    version = CohortVersion(cohort=cohort, number=cohort.last_number, source=_clean(source))
    claim = Claim(cohort, cohort.last_number, cohort.claim_fence, version, held_back=cohort.held_back)
    try:
        _begin(claim, replace_held=replace_held)
        claim.suppressions = suppression.number()
        claim.wipe(claim.cohort.pk)
        if claim.suppressions:
            claim.wipe(members.held_back_of(claim.cohort.pk))
        yield claim
    except BaseException as error:
        _set_state(version, VersionState.FAILED, reason=str(error) or type(error).__name__)
        Cohort.every.release_claim(cohort_id, claim.fence)
        raise


def claim_for_good(cohort_id: int) -> None:
    """Claim a cohort that is about to be deleted, inside the transaction that deletes it."""
    _take_claim(cohort_id, wait=0)


@contextmanager
def claimed(cohort_id: int) -> Generator[None]:
    """Keep refreshes away from a cohort for the length of an open transaction. Raises CohortBusy."""
    cohort = _take_claim(cohort_id, wait=0)
    yield
    Cohort.every.release_claim(cohort_id, cohort.claim_fence)


def _take_claim(cohort_id: int, *, wait: float) -> Cohort:
    """Claim the cohort and return it as it is with the claim; its fence and last number are ours."""
    deadline = time.monotonic() + wait
    while True:
        cohort = Cohort.every.filter(pk=cohort_id).first()
        if cohort is None:
            raise RefreshError("The cohort was deleted.")
        dead = cohort.claim_fence if owner.is_dead(cohort.claim_owner) else None
        # Read in the same transaction: after it, a process that was suspended for long could read
        # the fence of whoever took the claim over, and take it for its own.
        with transaction.atomic():
            if Cohort.every.take_claim(cohort_id, dead_fence=dead):
                return Cohort.every.get(pk=cohort_id)
        if time.monotonic() >= deadline:
            raise CohortBusy(f"Another refresh of {cohort.key} is running. Try again when it has ended.")
        time.sleep(0.2)


def _begin(claim: Claim, *, replace_held: bool) -> None:
    """Write the new version's row; drop a held version if that was asked for; bury dead refreshes."""
    cohort = claim.cohort
    held = cohort.held_number
    if held and not replace_held:
        raise VersionHeld(
            f"Version {held} of {cohort.key} is held and waits for a person: "
            "approve it, refuse it, or replace it."
        )
    with transaction.atomic():
        claim.renew()
        if held:
            Cohort.every.drop_held(cohort.pk, claim.fence)
            cohort.versions.filter(number=held).update(state=VersionState.REPLACED)
        cohort.versions.filter(state=VersionState.CALCULATING).update(
            state=VersionState.FAILED, finished_at=Now(), reason="The process that calculated it died."
        )
        claim.version.save(force_insert=True)


@contextmanager
def _relaxed() -> Generator[None]:
    """Let commits not wait for the disk: they are of a version that is not published yet.

    The publication waits, and with it all that came before. What a power cut takes nobody has read.
    """
    if connection.in_atomic_block:
        yield
        return
    setting, less = (
        ("synchronous", "NORMAL") if connection.vendor == "sqlite" else ("synchronous_commit", "off")
    )
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {setting}" if connection.vendor == "sqlite" else f"SHOW {setting}")
        before = cursor.fetchone()[0]
    _set(setting, less)
    try:
        yield
    finally:
        # A connection that broke has its own setting again when it is made anew.
        with suppress(DatabaseError, InterfaceError):
            _set(setting, before)


def _set(setting: str, value: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            f"PRAGMA {setting} = {value}" if connection.vendor == "sqlite" else f"SET {setting} TO {value}"
        )


def _write_all(
    claim: Claim,
    moves: Iterator[Moves],
    progress: Callable[[int], None],
    *,
    seen: int = 0,
    held_back: bool = False,
) -> int:
    """Write who enters and leaves as they come, in short transactions; return `seen` and the compared."""
    entered: list[str] = []
    left: list[str] = []
    for entering, leaving, compared in moves:
        seen += compared
        entered += entering
        left += leaving
        while len(entered) + len(left) >= WRITES:
            now = min(WRITES, len(entered))
            claim.write(entered[:now], left[: WRITES - now], held_back=held_back)
            entered, left = entered[now:], left[WRITES - now :]
        claim.renew_if_due()
        progress(seen)
    if entered or left:
        claim.write(entered, left, held_back=held_back)
    progress(seen)
    return seen


def _leave_as_it_is(claim: Claim, as_of: datetime | None) -> CohortVersion:
    cohort = claim.cohort
    with transaction.atomic():
        if not Cohort.every.release_claim(cohort.pk, claim.fence):
            raise claim.lost()
        claim.version.delete()
        cohort.versions.filter(number=cohort.version).update(as_of=as_of)
    Cohort.every.note_suppressions(cohort.pk, version=cohort.version, number=claim.suppressions)
    return cohort.versions.get(number=cohort.version)


def _finish(claim: Claim, *, guarded: bool, decided_by: str = "", **looked_at: Any) -> CohortVersion:
    """Publish or hold what was written. `looked_at`: what a published version is up to date with."""
    cohort, version = claim.cohort, claim.version
    size = cohort.size + claim.entered - claim.left
    if claim.entered + claim.left > BULK:
        members.analyze()
    reason = _why_hold(cohort, size, claim.left) if guarded and cohort.version else ""
    with transaction.atomic():
        done = (
            Cohort.every.hold(cohort.pk, claim.fence, number=claim.number)
            if reason
            else Cohort.every.publish(
                cohort.pk, claim.fence, number=claim.number, size=size, held_back=claim.held_back, **looked_at
            )
        )
        if not done:
            raise claim.lost()
        state = VersionState.HELD if reason else VersionState.PUBLISHED
        counts = {"entered": claim.entered, "left": claim.left, "held_back": claim.held_back}
        _set_state(version, state, size=size, reason=reason, decided_by=decided_by, **counts)
    return version


def _why_hold(cohort: Cohort, size: int, left: int) -> str:
    """Return why a person should see this version first, or ''."""
    if cohort.hold_if_emptied and size == 0 and cohort.size:
        return f"It would empty the cohort: all {cohort.size:,} users would leave."
    halved = cohort.size > HALVED_ABOVE and left * 2 >= cohort.size
    unlimited = cohort.guard_percent is None and cohort.guard_users is None
    if cohort.hold_if_halved and unlimited and halved:
        return (
            f"{left:,} of {cohort.size:,} users would leave, half of them or more. If such a change is "
            "usual here, switch “hold when halved” off or set a limit of your own."
        )
    if cohort.guard_percent and left * 100 > cohort.guard_percent * cohort.size:
        share = left * 100 / cohort.size
        would = f"{left:,} of {cohort.size:,} users ({share:.1f} %) would leave"
        return f"{would}; the limit is {cohort.guard_percent} %."
    if cohort.guard_users is not None and left > cohort.guard_users:
        return f"{left:,} users would leave; the limit is {cohort.guard_users:,}."
    return ""


def _set_state(version: CohortVersion, state: VersionState, **values: object) -> None:
    """Change a version that is still in the state that we know; what others made of it stays."""
    known = CohortVersion.objects.filter(pk=version.pk, state=version.state)
    if known.update(state=state, finished_at=Now(), **values):
        for name, value in {**values, "state": state}.items():
            setattr(version, name, value)


def _clean(source: str) -> str:
    """What a database takes: a file's name on a disk may hold bytes that are not UTF-8."""
    return source.replace("\0", "").encode("utf-8", "replace").decode()[:300]


def _aligned(a: Iterator[Ids], b: Iterator[Ids]) -> Iterator[tuple[Ids, Ids]]:
    """Yield two ascending streams of blocks side by side: what each has in the same range of user ids."""
    first, second = next(a, ()), next(b, ())
    while first and second:
        if first == second:
            yield first, second
            first, second = next(a, ()), next(b, ())
            continue
        end = min(first[-1], second[-1])
        i, j = bisect_right(first, end), bisect_right(second, end)
        yield first[:i], second[:j]
        first, second = first[i:] or next(a, ()), second[j:] or next(b, ())
    for rest in chain([first], a) if first else ():
        yield rest, ()
    for rest in chain([second], b) if second else ():
        yield (), rest


def _moves(stored: Iterator[Ids], incoming: Iterator[Ids]) -> Iterator[Moves]:
    """Compare the members with those who shall be: who enters, who leaves, how many were compared."""
    for here, wanted in _aligned(stored, incoming):
        if here == wanted:
            yield [], [], len(wanted)
            continue
        known, kept = set(here), set(wanted)
        entered = [user_id for user_id in wanted if user_id not in known]
        left = [user_id for user_id in here if user_id not in kept]
        yield entered, left, len(entered) + len(here)


class _Sieve:
    """Leaves suppressed people out of what a source names, and keeps who they are.

    They are held in memory: as many as the source names of those on the list.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._erased = Tombstones() if claim.suppressions else None
        self._held_back = members.held_back_of(claim.cohort.pk)
        self._moves: Iterator[Moves] = iter(())
        self._entered: list[str] = []
        self._left: list[str] = []

    def passed(self, blocks: Iterable[Ids]) -> Iterator[Ids]:
        """Yield the blocks of a new set of ids without suppressed people; the others are held back."""
        if self._erased is None:
            yield from blocks
            return
        held: list[str] = []
        for block in blocks:
            block = self._living(block)
            out = suppression.among(block)
            held += sorted(out)
            # An empty block would be taken for the end.
            if passing := [user_id for user_id in block if user_id not in out] if out else block:
                yield passing
        self._moves = _moves(self._stored(), iter([held] if held else []))

    def amend(self, join: list[str], leave: Ids) -> list[str]:
        """Return who may join; the others are held back, and who leaves is held back no more."""
        join = list(self._living(join))
        out = suppression.among(join) if self._erased else set()
        if out or self._claim.cohort.held_back:
            version = self._claim.cohort.version
            before = members.is_in_version(self._held_back, version, [*out, *leave])
            inside = members.is_in_version(self._claim.cohort.pk, version, list(out))
            self._entered += sorted(out - before - inside)
            self._left += [user_id for user_id in leave if user_id in before]
            self._moves = iter([(self._entered, self._left, 0)])
        return [user_id for user_id in join if user_id not in out] if out else join

    def _living(self, block: Ids) -> Ids:
        """Return a block without people who were erased: of them nothing is kept."""
        gone = self._erased.among(block) if self._erased else set()
        return [user_id for user_id in block if user_id not in gone] if gone else block

    def write(self, progress: Callable[[int], None], seen: int) -> None:
        """Write who is held back now, and who is no more."""
        _write_all(self._claim, self._moves, progress, seen=seen, held_back=True)

    def _stored(self) -> Iterator[Ids]:
        if not self._claim.cohort.held_back:
            return iter(())
        return members.pages_of_version(self._held_back, self._claim.cohort.version)


def _named_moves(cohort: Cohort, sieve: _Sieve, add: Iterator[Ids], remove: Iterator[Ids]) -> Iterator[Moves]:
    """Of users to add and to remove keep those for whom that changes something; who is in both leaves."""
    for joining, leaving in _aligned(add, remove):
        leave = set(leaving)
        join = sieve.amend([user_id for user_id in joining if user_id not in leave], leaving)
        inside = members.is_in_version(cohort.pk, cohort.version, [*join, *leaving])
        entered = [user_id for user_id in join if user_id not in inside]
        left = [user_id for user_id in leaving if user_id in inside]
        yield entered, left, len(join) + len(leaving)


def _ascending(user_ids: Iterable[str]) -> Iterator[Ids]:
    """Yield the ids in blocks, the first of which is one id: what is wrong before it leaves no trace.

    Raises RefreshError where an id is not greater than the one before it.
    """
    source, last = iter(user_ids), ""
    # The second is shorter by one, so that blocks and stored pages begin alike where nobody moves.
    sizes = chain([1, max(1, WRITES - 1)], repeat(WRITES))
    while True:
        block: list[str] = []
        try:
            block.extend(islice(source, next(sizes)))
        finally:
            # Of a source that breaks too: what came first is said.
            _check_ascending(last, block)
        if not block:
            return
        yield block
        last = block[-1]


def _check_ascending(last: str, block: list[str]) -> None:
    if block and (block[0] <= last or not all(map(lt, block, islice(block, 1, None)))):
        before, after = next((a, b) for a, b in pairwise([last, *block]) if b <= a)
        raise RefreshError(f"The source is not sorted: {after!r} came after {before!r}.")


def rest_since(began: float) -> None:
    """On SQLite, sleep for as long as the transaction took: there is one writer, and others wait."""
    if connection.vendor == "sqlite":
        time.sleep(time.monotonic() - began)
