"""Any history of refreshes, against a model that is a plain set for each version."""

from typing import Any

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cohorts import members, refresh
from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion, Member
from cohorts.tests.ids import make_cohort

POOL = ["a", "A", "aa", "b", "é", "e\u0301", "\uffff", "😀", 'q"', "l\nf", "back\\", "~"]
users = st.sets(st.sampled_from(POOL))

counter = iter(range(10**9))


class Break(Exception):
    """A source that fails in the middle."""


class Versions(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.cohort = make_cohort(f"c{next(counter)}", hold_if_emptied=False)
        self.sets: dict[int, set[str]] = {0: set()}
        self.counts: dict[int, tuple[int, int, int]] = {}
        self.latest = 0
        self.held: Any = None  # (number, users)
        self.suspended = []  # refreshes that were left in the middle; kept, or Python would end them

    # --- what the model says -----------------------------------------------------------------

    def would_hold(self, new):
        self.cohort.refresh_from_db()
        old = self.sets[self.latest]
        gone, limit = len(old - new), self.cohort.guard_percent
        emptied = self.cohort.hold_if_emptied and old and not new
        return bool(self.latest and (emptied or (limit and gone * 100 > limit * len(old))))

    def saw(self, version, new, held):
        old = self.sets[self.latest]
        assert version.number == Cohort.objects.get(pk=self.cohort.pk).last_number
        assert version.state == (VersionState.HELD if held else VersionState.PUBLISHED)
        self.counts[version.number] = (len(new), len(new - old), len(old - new))
        if held:
            self.held = (version.number, new)
        else:
            self.sets[version.number] = new
            self.latest = version.number

    # --- what happens ------------------------------------------------------------------------

    @rule(emptied=st.booleans(), percent=st.sampled_from([None, None, 30, 60]))
    def set_the_guard(self, emptied, percent):
        Cohort.objects.filter(pk=self.cohort.pk).update(hold_if_emptied=emptied, guard_percent=percent)

    @precondition(lambda self: self.held is None)
    @rule(new=users)
    def replace(self, new):
        holds = self.would_hold(new)
        self.saw(refresh.replace(self.cohort.pk, sorted(new), source="r"), new, holds)

    @precondition(lambda self: self.held is not None)
    @rule(new=users)
    def replace_what_is_held(self, new):
        with pytest.raises(refresh.VersionHeld):
            refresh.replace(self.cohort.pk, sorted(new), source="r")
        with pytest.raises(refresh.VersionHeld):
            refresh.amend(self.cohort.pk, add=sorted(new), source="r")
        number, _ = self.held
        holds = self.would_hold(new)
        self.held = None
        self.saw(refresh.replace(self.cohort.pk, sorted(new), source="r", replace_held=True), new, holds)
        assert self.cohort.versions.get(number=number).state == VersionState.REPLACED
        with pytest.raises(refresh.RefreshError):
            refresh.approve(self.cohort.pk, number, by="ann")

    @precondition(lambda self: self.held is None)
    @rule(add=users, remove=users)
    def amend(self, add, remove):
        new = (self.sets[self.latest] | add) - remove
        version = refresh.amend(self.cohort.pk, add=sorted(add), remove=sorted(remove), source="r")
        self.saw(version, new, False)

    @precondition(lambda self: self.held is not None)
    @rule(approved=st.booleans())
    def decide(self, approved):
        number, new = self.held
        self.held = None
        (refresh.approve if approved else refresh.refuse)(self.cohort.pk, number, by="ann")
        version = self.cohort.versions.get(number=number)
        assert version.decided_by == "ann"
        if approved:
            self.sets[number], self.latest = new, number
        with pytest.raises(refresh.RefreshError):
            refresh.refuse(self.cohort.pk, number, by="bob")

    @precondition(lambda self: self.held is None)
    @rule(new=users, unsorted=st.booleans())
    def a_source_breaks(self, new, unsorted):
        def source():
            yield from sorted(new)
            if unsorted:
                yield ""
            raise Break

        before = self.cohort.versions.count()
        with pytest.raises(refresh.RefreshError if unsorted else Break):
            refresh.replace(self.cohort.pk, source(), source="r")
        # What breaks before the first id leaves no trace.
        assert self.cohort.versions.count() == before + bool(new)

    @precondition(lambda self: self.held is None)
    @rule(new=users, killed=st.booleans())
    def a_refresh_stops_in_the_middle(self, new, killed):
        """Killed for good, or suspended for so long that its claim runs out (and awake again later)."""
        old = self.sets[self.latest]
        manager = refresh._claimed(self.cohort.pk, "r", replace_held=False, wait=0)
        claim = manager.__enter__()
        claim.write(sorted(new - old), sorted(old - new))
        self.suspended.append((manager, claim))
        with pytest.raises(refresh.CohortBusy):
            refresh.replace(self.cohort.pk, sorted(new), source="r")
        mine = Cohort.objects.filter(pk=self.cohort.pk)
        if killed:
            mine.update(claim_owner=_another_boot(claim))
        else:
            mine.update(claim_until=Now())

    @precondition(lambda self: self.suspended)
    @rule(new=users)
    def a_suspended_refresh_wakes_up(self, new):
        """After somebody took its claim over: it writes nothing more, not even how it ended."""
        manager, claim = self.suspended.pop()
        if self.held is None:
            self.replace(new)
        number = claim.version.number
        before = CohortVersion.objects.filter(pk=claim.version.pk).values().get()
        rows = everything_of(self.cohort.pk)
        if before["state"] == VersionState.CALCULATING:
            return  # held: nobody took it over yet
        with pytest.raises(refresh.ClaimLost), manager_of(manager):
            claim.write(["zz-late"], [])
        assert everything_of(self.cohort.pk) == rows
        assert CohortVersion.objects.filter(cohort=self.cohort, number=number).values().get() == before

    # --- what must hold ----------------------------------------------------------------------

    @invariant()
    def each_version_is_the_set_it_was(self):
        for number, expected in [*self.sets.items(), *([self.held] if self.held else [])]:
            members.readable(self.cohort.pk, number)
            assert list(members.in_version(self.cohort.pk, number)) == sorted(expected)
            assert members.is_in_version(self.cohort.pk, number, POOL) == expected
        cohort = Cohort.objects.get(pk=self.cohort.pk)
        assert (cohort.version, cohort.size) == (self.latest, len(self.sets[self.latest]))
        assert cohort.held_number == (self.held and self.held[0])
        for version in cohort.versions.filter(number__in=self.counts):
            assert (version.size, version.entered, version.left) == self.counts[version.number]

    @invariant()
    def a_version_that_was_not_published_cannot_be_read(self):
        for number in range(1, Cohort.objects.get(pk=self.cohort.pk).last_number + 2):
            if number not in self.sets and number != (self.held and self.held[0]):
                with pytest.raises(members.UnreadableVersion):
                    members.readable(self.cohort.pk, number)

    @rule(data=st.data())
    def compare_two_versions(self, data):
        history = sorted([*self.sets.items(), *([self.held] if self.held else [])])
        first = data.draw(st.integers(0, len(history) - 1))
        last = data.draw(st.integers(first, len(history) - 1))
        touched = set()
        for (_, before), (_, after) in zip(history[first:last], history[first + 1 : last + 1], strict=True):
            touched |= before ^ after
        (a, was_in), (b, is_in) = history[first], history[last]
        expected = [members.Move(u, u in was_in, u in is_in) for u in sorted(touched)]
        limit = data.draw(st.sampled_from([1, 3, 100]))
        assert all_moves(self.cohort.pk, a, b, limit) == expected

    def teardown(self):
        for manager, _ in self.suspended:
            with pytest.raises(Break), manager_of(manager):
                raise Break


def manager_of(manager):
    """Let an entered context manager be left by `with`."""

    class Entered:
        def __enter__(self):
            return None

        def __exit__(self, *error):
            return manager.__exit__(*error)

    return Entered()


def _another_boot(claim):
    parts = Cohort.objects.get(pk=claim.cohort.pk).claim_owner.split("/")
    return "/".join([parts[0], "an-earlier-boot", *parts[2:]])


def all_moves(cohort_id, a, b, limit):
    moves, after = [], ""
    while page := members.moves_page(cohort_id, a, b, after, limit):
        assert len(page) <= limit
        moves += page
        after = page[-1].user_id
    return moves


def everything_of(cohort_id):
    return list(
        Member.objects.filter(cohort_id=cohort_id)
        .order_by("user_id", "entered_version")
        .values_list("user_id", "entered_version", "left_version")
    )


@pytest.mark.django_db
@pytest.mark.parametrize("versions_by_index", [40, 1])
def test_any_history_of_refreshes_gives_the_versions_that_the_model_says(monkeypatch, versions_by_index):
    monkeypatch.setattr(members, "PAGE", 3)
    monkeypatch.setattr(members, "MOST_VERSIONS_BY_INDEX", versions_by_index)
    monkeypatch.setattr(refresh, "WRITES", 2)
    run_state_machine_as_test(
        Versions,
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
