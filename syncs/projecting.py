"""A cohort as a partner knows it: versioned membership of keys, made from the cohort through a mapping.

A destination that knows people by something else than our user id (`destinations.mapping`) is sent a
*projection*: a cohort of its sync's own, whose members are keys, that is what was sent, so that it can be
taken back. Its versions are those of the sync and its runs, so that plans, batches, rejections, guards and
pruning work on keys as they do on ids. Who is behind a key, and what goes along, are links (links.py).
A user of whom no key can be made is *held back* from the projection (`members.held_back_of`).

    claim ─▶ wipe what a dead refresh left ─▶ whose membership, or fields, changed? ─▶ their keys now against
    their links ─▶ keys that nobody had, or nobody has any more ─▶ publish, with what it was made of

A key whose traits changed leaves and enters in one version: a run sends it again.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

import orjson
from django.db.models import Q

from cohorts import members, refresh
from cohorts.models import Cohort, CohortVersion
from cohorts.refresh import Claim, Derived, RefreshError
from destinations.mapping import PLAIN, PeopleMapping
from people import profiles, suppression
from people.profiles import Mark
from syncs import links
from syncs.choices import OPEN_RUNS, RunMode, Step
from syncs.links import New
from syncs.models import Run, Sync
from syncs.plan import Plan

BLOCK = 5_000


class CannotProject(Exception):
    """The projection cannot be made now; the message is for a person."""


def is_projected(sync: Sync) -> bool:
    """Whether the sync's partner is sent a projection, or is to be."""
    return sync.projection_id is not None or sync.destination.mapping is not None


def wanted_before(run: Run) -> bool:
    """Whether the projection is to be brought up to date before this run; what a person approved stays."""
    if run.mode in (RunMode.EMPTY, RunMode.REPAIR) or run.started_at or not is_projected(run.sync):
        return False
    return not run.approved_by or run.planned_adds is None


def is_behind(run: Run) -> bool:
    """Whether the projection is to be brought up to date before this run, and may become another by that."""
    if not wanted_before(run):
        return False
    sync, projection = run.sync, run.sync.projection
    if projection is None:
        return True
    try:
        return not _Making(sync.cohort, sync.destination.mapping or PLAIN).is_current(projection)
    except profiles.Refused:
        return True  # as bringing it up to date will say


def bring_up_to_date(sync: Sync) -> None:
    """Make the projection's next version, if there is one to make. Raises CannotProject.

    The caller sees to it that no run of the sync has begun.
    """
    sync = Sync.objects.select_related("cohort", "destination", "projection").get(pk=sync.pk)
    mapping = sync.destination.mapping
    try:
        projection = sync.projection or _begun(sync)
        refresh.derive(
            projection.pk,
            _Making(sync.cohort, mapping or PLAIN).make,
            source="What the partner knows people by",
        )
    except (RefreshError, profiles.Refused) as error:
        raise CannotProject(str(error)) from None


def _begun(sync: Sync) -> Cohort:
    """Give the sync a projection. Its first version is what the partner may hold by now: user ids."""
    key = f"projection-of-sync-{sync.pk}"
    Cohort.every.filter(key=key).delete()  # of somebody who died before the sync had it
    projection = Cohort.every.create(key=key, name=str(sync)[:200], projection_of=sync.cohort)
    held = sync.settled_version or sync.dirty
    if held:
        plan = Plan(
            *(sync.pk, sync.cohort_id, RunMode.EMPTY, sync.settled_version, sync.cohort.version, sync.dirty),
            repeat_from=sync.repeat_from,
        )
        making = _Making(sync.cohort, PLAIN, everybody=plan.users(Step.REMOVE))
        refresh.derive(projection.pk, making.make, source="What the partner held by user id")
    unchanged = Sync.objects.filter(
        pk=sync.pk, projection=None, settled_version=sync.settled_version, dirty=sync.dirty
    )
    projection.refresh_from_db()
    # Somebody who was touched, and keeps the same text as key, may not be there: a full run adds them.
    if not unchanged.update(
        projection=projection,
        settled_version=projection.version if held else 0,
        repeat_from=None,
        full_owed=sync.full_owed or sync.dirty,
    ):
        raise CannotProject(f"Another process has just changed {sync}. Try again.")
    return projection


class Matched(NamedTuple):
    """How many of a cohort's members the partner can be sent, as of the last run."""

    users: int
    not_sendable: int

    @property
    def percent(self) -> float:
        return (self.users - self.not_sendable) * 100 / self.users if self.users else 100.0


def matched(sync: Sync) -> Matched | None:
    """Return how many members are sendable; None of a sync that sends our user ids."""
    if sync.projection is None or not sync.projection.projected_version:
        return None
    users = members.size_of(sync.cohort_id, sync.projection.projected_version)
    return Matched(users, sync.projection.held_back)


def matched_of_first(cohort: Cohort, mapping: PeopleMapping, most: int) -> Matched:
    """Return how many of a cohort's first members would be sendable, before a sync is there."""
    users = members.in_version_page(cohort.pk, cohort.version, "", most)
    fields = profiles.store().values_of(mapping.workspace, mapping.fields, users)
    lacking = sum(not mapping.sendable(user, fields.get(user, {})).identifiers for user in users)
    return Matched(len(users), lacking)


def not_sendable(sync: Sync, limit: int) -> list[tuple[str, str]]:
    """Return the first members who cannot be sent, each with the reason as of now."""
    projection, mapping = sync.projection, sync.destination.mapping
    if projection is None or mapping is None:
        return []
    held = members.held_back_of(projection.pk)
    users = members.in_version_page(held, projection.version, "", limit)
    fields = profiles.store().values_of(mapping.workspace, mapping.fields, users)
    why = {user: mapping.sendable(user, fields.get(user, {})).why_not for user in users}
    other = "suppressed by what they are known by, or known since"
    return [(user, reason or other) for user, reason in why.items()]


def before_a_look(sync: Sync) -> None:
    """Bring the projection up to date for a dry run, unless a run is open. Raises CannotProject."""
    if is_projected(sync) and not sync.runs.filter(state__in=OPEN_RUNS).exists():
        bring_up_to_date(sync)
        sync.refresh_from_db()


@dataclass
class _Making:
    """One refresh of a projection. `everybody`: instead of the members, all of these are in."""

    source: Cohort
    mapping: PeopleMapping
    everybody: Iterable[str] | None = None
    _gone_by_fields: bool = field(default=False, init=False)

    def is_current(self, projection: Cohort) -> bool:
        """Whether nothing has changed since that the published version is made of."""
        self._listed, self._target = suppression.number(), self.source.version
        if (self._target, self._listed) != (projection.projected_version, projection.suppressions):
            return False
        changed = self._changed(projection, self._mark())
        return changed is not None and next(changed, None) is None

    def _mark(self) -> Mark | None:
        fields = self.mapping.fields
        return profiles.store().mark(self.mapping.workspace, fields) if fields else None

    def make(self, claim: Claim) -> Derived:
        """Write what changed under the claim; return what the version is made of."""
        projection = claim.cohort
        claim.undo(partial(links.wipe_page, projection.pk, projection.version))
        self._listed = claim.suppressions
        target = Cohort.every.values_list("version", flat=True).get(pk=self.source.pk)
        self._target = 0 if self.everybody is not None else target
        mark = self._mark()
        for block in _blocks(self._users(projection, mark)):
            self._take(claim, block)
            claim.renew_if_due()
        return Derived(
            {
                "projected_version": self._target,
                "suppressions": claim.suppressions,
                "received_mark": {"mapping": self.mapping.digest, "profiles": mark and list(mark)},
            },
            decided_by=self._decided_by(projection),
        )

    # --- whom to look at --------------------------------------------------------------------

    def _users(self, projection: Cohort, mark: Mark | None) -> Iterator[str]:
        """Yield in user order, perhaps twice, whose keys may be others than before."""
        if self.everybody is not None:
            return iter(self.everybody)
        changed = self._changed(projection, mark)
        if changed is not None:
            return changed
        return merge(
            members.in_version(self.source.pk, self._target),
            links.users(projection.pk),
            members.in_version(members.held_back_of(projection.pk), projection.version),
        )

    def _changed(self, projection: Cohort, mark: Mark | None) -> Iterator[str] | None:
        """Yield whose membership or fields changed; None when anybody's keys may be others."""
        before = projection.received_mark
        known = before.get("profiles")
        if before.get("mapping") != self.mapping.digest or not projection.projected_version:
            return None
        if mark is not None and (known is None or Mark(*known)[1:] != mark[1:]):
            return None
        if self._listed != projection.suppressions and suppression.identifiers_changed_since(
            projection.suppressions
        ):
            return None
        fields = profiles.store().changed_since(Mark(*known)) if known else iter(())
        if fields is None or projection.projected_version == self._target:
            return fields
        try:
            members.readable(self.source.pk, projection.projected_version)
        except members.UnreadableVersion:
            return None
        return merge(self._moved(projection.projected_version), fields)

    def _moved(self, since: int) -> Iterator[str]:
        after: str | None = ""
        while after is not None:
            page = members.moves_page(self.source.pk, since, self._target, after, BLOCK)
            yield from (move.user_id for move in page)
            after = page[-1].user_id if len(page) == BLOCK else None

    # --- a block of users -------------------------------------------------------------------

    def _take(self, claim: Claim, block: list[str]) -> None:
        projection = claim.cohort.pk
        # Of a first version all who come are inside, and nobody has a key.
        first = not claim.cohort.version
        inside = set(block) if first else _inside(self.source.pk, self._target, block)
        wanted = self._wanted(block if first else sorted(inside))
        old = {} if first else links.of_users(projection, block)
        ended = [
            (user, key)
            for user, keys in old.items()
            for key, said in keys.items()
            if wanted.get(user, {}).get(key) != said
        ]
        begun = [
            New(user, key, *said)
            for user, keys in wanted.items()
            for key, said in keys.items()
            if old.get(user, {}).get(key) != said
        ]
        self._gone_by_fields |= any(user in inside for user, _ in ended)
        self._hold_back(claim, block, {user for user in inside if not wanted.get(user)})
        if not ended and not begun:
            return
        keys = sorted({key for _, key in ended} | {new.key for new in begun})
        before = links.first_of(projection, keys)
        with claim.writing():
            links.write(projection, claim.number, ended, begun)
            after = _with_new(before, begun)
            if lost := sorted({key for _, key in ended}):
                for key in lost:
                    after.pop(key, None)
                after |= links.first_of(projection, lost)
            _write_keys(claim, before, after)

    def _wanted(self, users: Sequence[str]) -> dict[str, dict[str, links.Said]]:
        """Return the keys that users shall have, with type and traits; who is not sendable has none."""
        asked, fields = self.mapping.fields, {}
        if asked:
            fields = profiles.store().values_of(self.mapping.workspace, asked, users)
        wanted: dict[str, dict[str, links.Said]] = {}
        texts: dict[str, list[str]] = {}
        for user in users:
            mine = fields.get(user, {})
            keys = self.mapping.sendable(user, mine).identifiers
            along = self.mapping.traits_of(user, mine) if self.mapping.traits else {}
            traits = orjson.dumps(along, option=orjson.OPT_SORT_KEYS).decode() if along else ""
            wanted[user] = {key: (kind, traits) for key, kind in keys.items()}
            if self._listed:
                for text in filter(members.is_like_identifier, (*keys, *_texts(mine))):
                    texts.setdefault(text, []).append(user)
        for text in suppression.among(list(texts)) if texts else ():
            for user in texts[text]:
                wanted[user] = {}
        return wanted

    def _hold_back(self, claim: Claim, block: list[str], held: set[str]) -> None:
        before = _inside(members.held_back_of(claim.cohort.pk), claim.cohort.version, block)
        if held != before:
            claim.write(sorted(held - before), sorted(before - held), held_back=True)

    def _decided_by(self, projection: Cohort) -> str:
        """Return who decided that people leave, if that was decided of each version that this one is made of.

        What leaves since a field or the mapping changed, nobody has decided yet.
        """
        if self.everybody is not None or self._gone_by_fields:
            return ""
        lost = CohortVersion.objects.filter(
            Q(left__gt=0),
            cohort=self.source,
            number__gt=projection.projected_version,
            number__lte=self._target,
        )
        deciders = list(lost.values_list("decided_by", flat=True))
        return deciders[-1] if deciders and all(deciders) else ""


def _with_new(before: dict[str, New], begun: Sequence[New]) -> dict[str, New]:
    """Return the first who has each key, when others have it too."""
    after = dict(before)
    for new in begun:
        known = after.get(new.key)
        if known is None or new.user_id < known.user_id:
            after[new.key] = new
    return after


def _write_keys(claim: Claim, before: dict[str, New], after: dict[str, New]) -> None:
    """Let keys enter that somebody has now, and leave that nobody has; others do both, if they changed."""
    projection, number = claim.cohort.pk, claim.number
    again = sorted(key for key in before.keys() & after.keys() if before[key].said != after[key].said)
    if again:
        entered = members.entered_at(projection, number, again)
        again = [key for key in again if key not in entered]
    leaving = sorted([*(before.keys() - after.keys()), *again])
    entering = sorted([*(after.keys() - before.keys()), *again])
    if leaving:
        left, undone = members.undo_or_leave(projection, number, leaving)
        claim.left += left
        claim.entered -= undone
    if entering:
        members.enter(projection, number, entering)
        claim.entered += len(entering)


def _inside(cohort_id: int, version: int, users: Sequence[str]) -> set[str]:
    return members.is_in_version(cohort_id, version, users) if version else set()


def _texts(fields: dict[str, Any]) -> Iterator[str]:
    """Yield the texts among a user's fields: any may be an address that is suppressed."""
    for value in fields.values():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _blocks(users: Iterator[str]) -> Iterator[list[str]]:
    """Yield distinct users in blocks, of a stream in order."""
    last = ""

    def distinct() -> Iterator[str]:
        nonlocal last
        for user in users:
            if user != last:
                last = user
                yield user

    stream = distinct()
    while block := list(islice(stream, BLOCK)):
        yield block
