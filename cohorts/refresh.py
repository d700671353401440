"""Making a new version of a cohort: claim, compare, write what entered and left, publish.

    claim ─▶ wipe what a dead refresh left ─▶ merge new ids with stored ids ─▶ short transactions
          ─▶ guard: hold, or publish by one UPDATE

Each transaction begins with the conditional UPDATE that renews the claim; a refresh whose claim was
taken over writes nothing more (ClaimLost). Readers never see a part of a version: a row counts only
in the versions that are published.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice

from django.db import connection, transaction
from django.db.models.functions import Now

from cohorts import members, owner
from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion

# Users written in one transaction: some 20 ms on SQLite, so that others get their turn.
WRITES = 5_000
# Seconds after which a refresh that finds nothing to write renews its claim all the same.
RENEW_EVERY = 20.0
# Above this many changes, PostgreSQL's planner should be told.
BULK = 50_000
# A cohort with more members than this is not halved unseen (`hold_if_halved`).
HALVED_ABOVE = 100


class RefreshError(Exception):
    """A refresh did not happen; the message is for a person. Nothing was published."""


class CohortBusy(RefreshError):
    """Another refresh of this cohort is running."""


class VersionHeld(RefreshError):
    """A held version waits for a person; further refreshes wait for them."""


class ClaimLost(RefreshError):
    """Another process took this refresh over, because this one was silent for too long."""


@dataclass
class _Claim:
    cohort: Cohort
    number: int
    fence: int
    version: CohortVersion
    entered: int = 0
    left: int = 0
    renewed: float = field(default_factory=time.monotonic)
    # When the next transaction may begin, so that others get their turn.
    rested: float = 0.0

    def write(self, entered: list[str], left: list[str]) -> None:
        """Write changes in one short transaction, and let others write before the next one."""
        if connection.vendor == "sqlite":
            time.sleep(max(0.0, self.rested - time.monotonic()))
        began = time.monotonic()
        with transaction.atomic():
            self.renew()
            if entered:
                members.enter(self.cohort.pk, self.number, entered)
            if left:
                members.leave(self.cohort.pk, self.number, left)
        self.entered += len(entered)
        self.left += len(left)
        # What is read and compared meanwhile counts as rest: nothing is locked.
        ended = time.monotonic()
        self.rested = ended + (ended - began)

    def renew(self) -> None:
        """Go on holding the claim; the first statement of every transaction."""
        if not Cohort.objects.renew_claim(self.cohort.pk, self.fence):
            raise self.lost()
        self.renewed = time.monotonic()

    def lost(self) -> ClaimLost:
        return ClaimLost(f"The refresh of {self.cohort.key} was taken over by another process.")

    def renew_if_due(self) -> None:
        if time.monotonic() - self.renewed > RENEW_EVERY:
            self.renew()


def replace(
    cohort_id: int,
    user_ids: Iterable[str],
    *,
    source: str,
    replace_held: bool = False,
    wait: float = 0.0,
    definition: object = None,
    as_of: datetime | None = None,
    progress: Callable[[int], None] = lambda users: None,
) -> CohortVersion:
    """Make `user_ids` the members of the cohort; return the version, published or held.

    `user_ids`: sorted and distinct; a smaller or equal id after another is a RefreshError. An error
    that they raise before their first id leaves no trace; one that they raise later leaves a failed
    version. `source` says where they come from, in words. `replace_held` drops a version that is
    being held. `wait`: seconds to wait for a refresh that is running. `definition` and `as_of` are
    kept with a calculated version. `progress` is told the number of users compared so far, the last
    time when all are written and nothing is published: what it raises then prevents the publication.
    """
    incoming = _ascending(iter(user_ids))
    first = list(islice(incoming, 1))
    with _claimed(cohort_id, source, replace_held=replace_held, wait=wait) as claim:
        CohortVersion.objects.filter(pk=claim.version.pk).update(definition=definition, as_of=as_of)
        stored = members.in_version(cohort_id, claim.cohort.version)
        changes = _merged(stored, chain(first, incoming))
        _write_all(claim, changes, progress)
        return _finish(claim, guarded=True)


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
    wanted = _merged(_ascending(iter(add)), _ascending(iter(remove)), both=True)
    first = list(islice(wanted, 1))
    with _claimed(cohort_id, source, replace_held=False, wait=wait) as claim:
        changes = _effective(claim.cohort, chain(first, wanted))
        _write_all(claim, changes, progress)
        return _finish(claim, guarded=False)


def approve(cohort_id: int, number: int, *, by: str) -> None:
    """Publish a held version, in the name of a person. Raises RefreshError if it is held no more."""
    with _decided(cohort_id, number) as (claim, version):
        if not Cohort.objects.publish(cohort_id, claim.claim_fence, number=number, size=version.size):
            raise ClaimLost("Another process is refreshing this cohort.")
        _set_state(version, VersionState.PUBLISHED, decided_by=by)


def refuse(cohort_id: int, number: int, *, by: str) -> None:
    """Drop a held version: the cohort stays as it is. Raises RefreshError if it is held no more."""
    with _decided(cohort_id, number) as (claim, version):
        if not Cohort.objects.drop_held(cohort_id, claim.claim_fence):
            raise ClaimLost("Another process is refreshing this cohort.")
        Cohort.objects.release_claim(cohort_id, claim.claim_fence)
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
def _claimed(cohort_id: int, source: str, *, replace_held: bool, wait: float) -> Generator[_Claim]:
    cohort = _take_claim(cohort_id, wait=wait)
    version = CohortVersion(cohort=cohort, number=cohort.last_number, source=_clean(source))
    claim = _Claim(cohort, cohort.last_number, cohort.claim_fence, version)
    try:
        _begin(claim, replace_held=replace_held)
        _wipe(claim)
        yield claim
    except BaseException as error:
        _set_state(version, VersionState.FAILED, reason=str(error) or type(error).__name__)
        Cohort.objects.release_claim(cohort_id, claim.fence)
        raise


def claim_for_good(cohort_id: int) -> None:
    """Claim a cohort that is about to be deleted, inside the transaction that deletes it."""
    _take_claim(cohort_id, wait=0)


def _take_claim(cohort_id: int, *, wait: float) -> Cohort:
    """Claim the cohort and return it as it is with the claim; its fence and last number are ours."""
    deadline = time.monotonic() + wait
    while True:
        cohort = Cohort.objects.filter(pk=cohort_id).first()
        if cohort is None:
            raise RefreshError("The cohort was deleted.")
        dead = cohort.claim_fence if owner.is_dead(cohort.claim_owner) else None
        # Read in the same transaction: after it, a process that was suspended for long could read
        # the fence of whoever took the claim over, and take it for its own.
        with transaction.atomic():
            if Cohort.objects.take_claim(cohort_id, dead_fence=dead):
                return Cohort.objects.get(pk=cohort_id)
        if time.monotonic() >= deadline:
            raise CohortBusy(f"Another refresh of {cohort.key} is running. Try again when it has ended.")
        time.sleep(0.2)


def _begin(claim: _Claim, *, replace_held: bool) -> None:
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
            Cohort.objects.drop_held(cohort.pk, claim.fence)
            cohort.versions.filter(number=held).update(state=VersionState.REPLACED)
        cohort.versions.filter(state=VersionState.CALCULATING).update(
            state=VersionState.FAILED, finished_at=Now(), reason="The process that calculated it died."
        )
        claim.version.save(force_insert=True)


def _wipe(claim: _Claim) -> None:
    """Undo what no published version knows: the writes of a dead refresh, of a dropped version."""
    while True:
        began = time.monotonic()
        with transaction.atomic():
            claim.renew()
            if not members.wipe_page(claim.cohort.pk, claim.cohort.version, WRITES):
                return
        rest_since(began)


def _write_all(
    claim: _Claim, changes: Iterator[tuple[str, bool | None]], progress: Callable[[int], None]
) -> None:
    """Write changes as they come; None is a user who stays."""
    entered: list[str] = []
    left: list[str] = []
    seen = 0
    for seen, (user_id, enters) in enumerate(changes, 1):
        if enters is True:
            entered.append(user_id)
        elif enters is False:
            left.append(user_id)
        if len(entered) + len(left) >= WRITES:
            claim.write(entered, left)
            entered, left = [], []
        if seen % 10_000 == 0:
            claim.renew_if_due()
            progress(seen)
    if entered or left:
        claim.write(entered, left)
    progress(seen)


def _finish(claim: _Claim, *, guarded: bool) -> CohortVersion:
    cohort, version = claim.cohort, claim.version
    size = cohort.size + claim.entered - claim.left
    if claim.entered + claim.left > BULK:
        members.analyze()
    reason = _why_hold(cohort, size, claim.left) if guarded and cohort.version else ""
    with transaction.atomic():
        done = (
            Cohort.objects.hold(cohort.pk, claim.fence, number=claim.number)
            if reason
            else Cohort.objects.publish(cohort.pk, claim.fence, number=claim.number, size=size)
        )
        if not done:
            raise claim.lost()
        state = VersionState.HELD if reason else VersionState.PUBLISHED
        _set_state(version, state, size=size, entered=claim.entered, left=claim.left, reason=reason)
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


def _merged(
    stored: Iterator[str], incoming: Iterator[str], *, both: bool = False
) -> Iterator[tuple[str, bool | None]]:
    """Merge two ascending streams: True for whoever is only in `incoming`, False only in `stored`, None both.

    With `both`, the streams are users to add (first) and to remove (second): True to add, False to remove.
    """
    only_first, only_second, in_both = (True, False, False) if both else (False, True, None)
    a, b = next(stored, None), next(incoming, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a < b):
            assert a is not None
            yield a, only_first
            a = next(stored, None)
        elif a is None or b < a:
            yield b, only_second
            b = next(incoming, None)
        else:
            yield a, in_both
            a, b = next(stored, None), next(incoming, None)


def _effective(
    cohort: Cohort, wanted: Iterator[tuple[str, bool | None]]
) -> Iterator[tuple[str, bool | None]]:
    """Of joins and leaves, keep those that change something; the others become None."""
    while page := list(islice(wanted, members.PAGE)):
        inside = members.is_in_version(cohort.pk, cohort.version, [user_id for user_id, _ in page])
        for user_id, joins in page:
            yield user_id, None if joins == (user_id in inside) else joins


def _ascending(user_ids: Iterator[str]) -> Iterator[str]:
    last = ""
    for user_id in user_ids:
        if user_id <= last:
            raise RefreshError(f"The source is not sorted: {user_id!r} came after {last!r}.")
        yield user_id
        last = user_id


def rest_since(began: float) -> None:
    """On SQLite, sleep for as long as the transaction took: there is one writer, and others wait."""
    if connection.vendor == "sqlite":
        time.sleep(time.monotonic() - began)
