"""Whom each mode names: the table at the head of plan.py, row by row."""

import pytest
from django.utils import timezone

from syncs.choices import RunMode, Step, Trigger
from syncs.models import Rejection, Run
from syncs.plan import Plan
from tests import world

pytestmark = pytest.mark.django_db(transaction=True)

# Where each user was in versions 1 to 4; a run goes from 2 to 4.
HISTORY = {
    "stays": "xxxx",
    "enters": "..xx",
    "leaves": "xx..",
    "leaves late": "xxx.",
    "flashes": "..x.",
    "comes back": "xx.x",
    "left before": "x...",
    "in and out": "x..x",
}
TABLE = [
    # mode, settled, dirty, adds, removes
    (RunMode.CHANGES, 2, False, {"enters", "in and out"}, {"leaves", "leaves late"}),
    (
        *(RunMode.CHANGES, 2, True),
        {"enters", "comes back", "in and out"},
        {"leaves", "leaves late", "flashes"},
    ),
    (
        *(RunMode.FULL, 2, False),
        {"stays", "enters", "comes back", "in and out"},
        {"leaves", "leaves late", "flashes"},
    ),
    (RunMode.EMPTY, 2, False, set(), set(HISTORY) - {"left before"}),
    (RunMode.CHANGES, 0, False, {"stays", "enters", "comes back", "in and out"}, set()),
    (RunMode.FULL, 0, False, {"stays", "enters", "comes back", "in and out"}, set()),
    (
        *(RunMode.FULL, 0, True),
        {"stays", "enters", "comes back", "in and out"},
        {"leaves", "leaves late", "flashes", "left before"},
    ),
    (
        *(RunMode.CHANGES, 0, True),
        {"stays", "enters", "comes back", "in and out"},
        {"leaves", "leaves late", "flashes", "left before"},
    ),
    (RunMode.EMPTY, 0, True, set(), set(HISTORY)),
    (RunMode.EMPTY, 0, False, set(), set()),
    (RunMode.CHANGES, 4, False, set(), set()),
]
# Settled is 3; what moved after version 2, or 1, is sent once more.
REPEATED = [
    # mode, repeat_from, adds, removes
    (RunMode.CHANGES, None, {"comes back", "in and out"}, {"leaves late", "flashes"}),
    (RunMode.CHANGES, 3, {"comes back", "in and out"}, {"leaves late", "flashes"}),
    (RunMode.CHANGES, 2, {"comes back", "in and out", "enters"}, {"leaves late", "flashes", "leaves"}),
    (
        *(RunMode.CHANGES, 1),
        {"comes back", "in and out", "enters"},
        {"leaves late", "flashes", "leaves", "left before"},
    ),
    (
        *(RunMode.FULL, 1),
        {"stays", "enters", "comes back", "in and out"},
        {"leaves late", "flashes", "leaves", "left before"},
    ),
    (RunMode.EMPTY, 1, set(), set(HISTORY)),
]


@pytest.fixture
def sync():
    cohort = world.cohort()
    for version in range(4):
        world.fill(cohort, [user for user, was in HISTORY.items() if was[version] == "x"])
    return world.sync(cohort, world.destination("http://127.0.0.1:1"))


def plan(sync, mode, settled, dirty, page=10) -> Plan:
    return Plan(sync.pk, sync.cohort_id, mode, settled, 4, dirty, page)


@pytest.mark.parametrize("page", [1, 2, 3, 10])
@pytest.mark.parametrize(("mode", "settled", "dirty", "adds", "removes"), TABLE)
def test_each_mode_names_these_users_in_order_and_counts_them(
    sync, mode, settled, dirty, adds, removes, page
):
    made = plan(sync, mode, settled, dirty, page)
    for step, expected in ((Step.ADD, adds), (Step.REMOVE, removes)):
        assert list(made.users(step)) == sorted(expected)
        assert made.count(step) == len(expected)


@pytest.mark.parametrize("page", [1, 2, 10])
@pytest.mark.parametrize(("mode", "repeat_from", "adds", "removes"), REPEATED)
def test_what_is_sent_once_more_is_named_with_what_moved(sync, mode, repeat_from, adds, removes, page):
    made = Plan(sync.pk, sync.cohort_id, mode, 3, 4, False, page, repeat_from=repeat_from)
    assert list(made.users(Step.ADD)) == sorted(adds)
    assert list(made.users(Step.REMOVE)) == sorted(removes)


@pytest.mark.parametrize("page", [1, 2, 10])
def test_a_part_of_a_plan_is_found_again_by_its_first_and_last_user(sync, page):
    made = plan(sync, RunMode.FULL, 2, False, page)
    everyone = list(made.users(Step.ADD))
    for first in range(len(everyone)):
        for last in range(first, len(everyone)):
            after = everyone[first - 1] if first else ""
            found = list(made.users(Step.ADD, after=after, upto=everyone[last]))
            assert found == everyone[first : last + 1]


def test_rejected_users_are_left_out_of_every_step(sync):
    run = Run.objects.create(sync=sync, trigger=Trigger.PERSON, from_version=2, to_version=4)
    for user in ("enters", "leaves", "leaves it", "stays"):
        Rejection.objects.create(sync=sync, user_id=user, wanted=True, run=run, last_at=timezone.now())
    assert list(plan(sync, RunMode.FULL, 2, False).users(Step.ADD)) == ["comes back", "in and out"]
    assert list(plan(sync, RunMode.CHANGES, 2, False).users(Step.REMOVE)) == ["leaves late"]
    assert "stays" not in set(plan(sync, RunMode.EMPTY, 2, False).users(Step.REMOVE))
    # Whoever is rejected and would not be named anyway is not taken off the count a second time.
    assert plan(sync, RunMode.CHANGES, 2, False).count(Step.REMOVE) == 1
    assert plan(sync, RunMode.EMPTY, 2, False).count(Step.REMOVE) == 4


def test_an_emptying_run_wants_nobody(sync):
    assert plan(sync, RunMode.EMPTY, 2, False).wants(["stays"]) == set()
    assert plan(sync, RunMode.FULL, 2, False).wants(["stays", "leaves"]) == {"stays"}
