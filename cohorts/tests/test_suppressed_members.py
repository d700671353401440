"""Suppressed people are in no version, whoever names them, and come back when they are suppressed no more."""

import os
from contextlib import suppress

import pytest
from django.test import TestCase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisCase
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cohorts import members, prune, refresh, remove
from cohorts.choices import VersionState
from cohorts.models import Cohort, CohortVersion, Member
from cohorts.tests.ids import make_cohort
from people import suppression
from people.identifiers import Kind
from people.suppression import Said, entry_of

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("SUPPRESSION_EXAMPLES", "12"))
# Some ids are addresses, so that both ways of naming a person meet.
POOL = ["a", "b", "c", "d", "ada@example.com", "Bob@example.com", "+4930901820", "z"]
ADDRESSES = {"ada@example.com": Kind.EMAIL, "Bob@example.com": Kind.EMAIL, "+4930901820": Kind.PHONE}


def put(*people, kind=Kind.USER_ID):
    suppression.add([entry_of(kind, one) for one in people], Said())


def lift(*people, kind=Kind.USER_ID):
    suppression.lift([entry_of(kind, one) for one in people])


def inside(cohort):
    cohort.refresh_from_db()
    return set(members.in_version(cohort.pk, cohort.version))


def held_back(cohort):
    cohort.refresh_from_db()
    return set(members.in_version(members.held_back_of(cohort.pk), cohort.version))


def test_a_refresh_leaves_suppressed_people_out_and_counts_them():
    cohort = make_cohort()
    put("b", "x")
    version = refresh.replace(cohort.pk, ["a", "b", "c"], source="test")
    assert (version.size, version.held_back) == (2, 1)
    assert inside(cohort) == {"a", "c"}
    assert (cohort.held_back, cohort.size) == (1, 2)
    refresh.amend(cohort.pk, add=["b", "d", "x"], source="test")
    assert inside(cohort) == {"a", "c", "d"}
    assert held_back(cohort) == {"b", "x"}


def test_who_is_suppressed_leaves_and_comes_back_without_being_named_again():
    cohort = make_cohort()
    refresh.replace(cohort.pk, ["a", "b", "c"], source="test")
    put("b")
    version = refresh.apply_suppressions(cohort.pk)
    assert version is not None
    assert (version.left, version.held_back, version.decided_by) == (1, 1, "suppression")
    assert inside(cohort) == {"a", "c"}
    assert refresh.apply_suppressions(cohort.pk) is None
    lift("b")
    refresh.apply_suppressions(cohort.pk)
    assert inside(cohort) == {"a", "b", "c"}
    assert cohort.held_back == 0


def test_a_change_of_the_list_that_concerns_nobody_makes_no_version():
    cohort = make_cohort()
    refresh.replace(cohort.pk, ["a"], source="test")
    put("nobody")
    put("nobody@example.com", kind=Kind.EMAIL)
    assert refresh.apply_suppressions(cohort.pk) is None
    cohort.refresh_from_db()
    assert (cohort.version, cohort.suppressions) == (1, suppression.number())


def test_who_left_the_source_meanwhile_does_not_come_back():
    cohort = make_cohort()
    put("b")
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    refresh.amend(cohort.pk, remove=["b"], source="test")
    lift("b")
    refresh.apply_suppressions(cohort.pk)
    assert inside(cohort) == {"a"}


def test_a_held_version_waits_for_its_decision_and_is_right_afterwards():
    cohort = make_cohort(guard_users=0)
    refresh.replace(cohort.pk, ["a", "b", "c"], source="test")
    held = refresh.replace(cohort.pk, ["b", "c"], source="test")
    assert held.state == VersionState.HELD
    put("b")
    with pytest.raises(refresh.VersionHeld):
        refresh.apply_suppressions(cohort.pk)
    refresh.approve(cohort.pk, held.number, by="ann")
    refresh.apply_suppressions(cohort.pk)
    assert inside(cohort) == {"c"}


def test_a_refused_version_leaves_who_was_held_back_as_it_was():
    cohort = make_cohort(guard_users=0)
    put("x")
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    held = refresh.replace(cohort.pk, ["a", "x"], source="test")
    refresh.refuse(cohort.pk, held.number, by="ann")
    assert cohort.versions.get(number=held.number).held_back == 1
    refresh.amend(cohort.pk, add=["c"], source="test")
    lift("x")
    refresh.apply_suppressions(cohort.pk)
    assert inside(cohort) == {"a", "b", "c"}
    assert not Member.objects.filter(cohort_id=-cohort.pk, left_version=None).exists()


def test_everybody_suppressed_is_no_end_of_the_source():
    cohort = make_cohort(hold_if_emptied=False)
    people = [f"u{number:05}" for number in range(12_000)]
    put(*people[:6_000])
    version = refresh.replace(cohort.pk, people, source="test")
    assert (version.size, version.held_back) == (6_000, 6_000)
    put(*people)
    refresh.apply_suppressions(cohort.pk)
    assert inside(cohort) == set()
    assert held_back(cohort) == set(people)


def test_deleting_and_pruning_a_cohort_takes_who_was_held_back_along():
    from django.utils import timezone

    put("b")
    cohort = make_cohort()
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    refresh.replace(cohort.pk, ["a"], source="test")
    assert prune.prune(cohort.pk, floor=2, before=timezone.now()) == 1
    assert not Member.objects.filter(cohort_id=-cohort.pk).exists()
    refresh.replace(cohort.pk, ["a", "b"], source="test")
    remove.remove(cohort.pk)
    while remove.drain():
        pass
    assert not Member.objects.exists()


class Machine(RuleBasedStateMachine):
    """Files, calls, suppressions and refreshes that die, against a model of sets."""

    def __init__(self):
        super().__init__()
        self.cohort = make_cohort(hold_if_emptied=False)
        self.source: set[str] = set()
        self.by_id: set[str] = set()
        self.by_identifier: set[str] = set()

    people = st.sets(st.sampled_from(POOL), max_size=5)

    @rule(ids=people)
    def a_file_replaces(self, ids):
        refresh.replace(self.cohort.pk, sorted(ids), source="test")
        self.source = set(ids)

    @rule(add=people, remove=people)
    def a_call_amends(self, add, remove):
        refresh.amend(self.cohort.pk, add=sorted(add), remove=sorted(remove), source="test")
        self.source = (self.source | add) - remove

    @rule(ids=people)
    def a_refresh_dies_when_all_is_written(self, ids):
        def die(users):
            raise OSError

        with suppress(OSError):
            refresh.replace(self.cohort.pk, sorted(ids), source="test", progress=die)

    @rule(who=st.sampled_from(POOL))
    def suppress(self, who):
        put(who)
        self.by_id.add(who)

    @rule(who=st.sampled_from(sorted(ADDRESSES)))
    def suppress_by_identifier(self, who):
        put(f" {who.upper()}", kind=ADDRESSES[who])
        self.by_identifier.add(who)

    @rule(who=st.sampled_from(POOL))
    def lift(self, who):
        lift(who)
        self.by_id.discard(who)

    @rule(who=st.sampled_from(sorted(ADDRESSES)))
    def lift_identifier(self, who):
        lift(who, kind=ADDRESSES[who])
        self.by_identifier.discard(who)

    @invariant()
    def the_version_is_the_source_without_the_suppressed(self):
        refresh.apply_suppressions(self.cohort.pk)
        if not Cohort.objects.get(pk=self.cohort.pk).version:
            return
        out = self.by_id | self.by_identifier
        assert inside(self.cohort) == self.source - out
        assert held_back(self.cohort) == self.source & out
        assert self.cohort.held_back == len(self.source & out)
        version = CohortVersion.objects.get(cohort=self.cohort, number=self.cohort.version)
        assert (version.size, version.held_back) == (self.cohort.size, self.cohort.held_back)


class TestAgainstTheModel(HypothesisCase, TestCase):
    def test_every_version_is_the_source_without_the_suppressed(self):
        from django.db import transaction

        class Rolled(Machine):
            def __init__(self):
                self.atomic = transaction.atomic()
                self.atomic.__enter__()
                super().__init__()

            def teardown(self):
                transaction.set_rollback(True)
                self.atomic.__exit__(None, None, None)

        run_state_machine_as_test(
            Rolled,
            settings=hypothesis_settings(max_examples=EXAMPLES, stateful_step_count=20, deadline=None),
        )
