"""Which users a partner does not take is found wherever they stand, and says nothing about the others.

The partner of these tests answers a bare 404, or a 400, to any batch that holds somebody it does not know.
"""

import random

import pytest

from syncs.choices import RunMode, RunState, Trigger
from syncs.models import Rejection, Run
from tests import world
from tests.partner import Fault, Partner

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
EVERYONE = world.users(8000)


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def setup(partner, user_ids, preset="amplitude-list", **fields):
    return world.sync(world.cohort(user_ids), world.destination(partner.url, preset, **fields))


def unknown(partner, bad, status=404, kinds=("add", "remove", "identify"), **body):
    """Let the partner refuse calls that name one of `bad`; it finds a list of which it knows nothing gone."""
    bad = set(bad)

    def fault(call):
        if call.kind not in kinds:
            return None
        if call.kind != "identify" and call.path.split("/")[-2] not in partner.lists:
            return Fault(404, body)
        return Fault(status, body) if bad & set(call.users) else None

    partner.fault = fault


def positions(batch: int) -> dict[str, list[str]]:
    """Bad users, by how they stand among batches of a size."""
    return {
        "near the front": EVERYONE[3::batch],
        "first": EVERYONE[::batch],
        "at 100": EVERYONE[100::batch],
        "last": EVERYONE[batch - 1 :: batch],
        "two that sort first": EVERYONE[:2],
    }


@pytest.mark.parametrize("status", [404, 400])
@pytest.mark.parametrize("where", list(positions(1000)))
def test_a_first_run_delivers_all_others_wherever_the_unknown_stand(partner, where, status):
    bad = positions(1000)[where]
    unknown(partner, bad, status)
    sync = setup(partner, EVERYONE)
    run = world.run(sync)
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, 8000 - len(bad), len(bad))
    assert world.rejected(sync) == set(bad)
    assert partner.members(world.name_at_partner(sync)) == set(EVERYONE) - set(bad)
    # 14 for each, its canary, and what it took to find that the partner is well.
    assert len(partner.calls) <= 1 + 8 + 15 * len(bad) + 20


@pytest.mark.parametrize(("threads", "batch"), [(1, 1000), (8, 1000), (16, 500), (32, 100)])
def test_a_first_run_delivers_all_others_at_any_number_of_threads(partner, threads, batch):
    bad = EVERYONE[min(100, batch // 2) :: batch]
    unknown(partner, bad)
    sync = setup(partner, EVERYONE, threads=threads, batch_size=batch)
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == set(bad)
    assert partner.members(world.name_at_partner(sync)) == set(EVERYONE) - set(bad)


CROWDS = {
    "5 %": random.Random(5).sample(world.users(2000), 100),
    "every tenth": world.users(2000)[::10],
    "three of ten": [user for at, user in enumerate(world.users(2000)) if at % 10 < 3],
}


@pytest.mark.parametrize("naming", [0, 1])
@pytest.mark.parametrize("crowd", list(CROWDS))
def test_a_first_run_delivers_all_others_when_many_are_unknown(partner, crowd, naming):
    """Named one at a time, or not at all."""
    bad = CROWDS[crowd]

    def fault(call):
        found = sorted(set(bad) & set(call.users))
        return Fault(400, {"invalidUserIds": found[:naming]}) if call.kind == "add" and found else None

    partner.fault = fault
    sync = setup(partner, world.users(2000))
    run = world.run(sync)
    assert (run.state, run.added) == (RunState.PARTIAL, 2000 - len(bad))
    assert world.rejected(sync) == set(bad)
    assert len(partner.calls) <= 8 * len(bad) + 100


@pytest.mark.parametrize("threads", [1, 4, 32])
@pytest.mark.parametrize("naming", [0, 1, 1000])
@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_a_partner_that_refuses_everybody_is_found_in_30_requests(partner, threads, naming, status, batch):
    partner.fault = lambda call: (
        Fault(status, {"invalidUserIds": call.users[:naming]} if naming else {})
        if call.kind == "add"
        else None
    )
    sync = setup(partner, EVERYONE, threads=threads, batch_size=batch)
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert len(partner.calls) <= 30
    assert not Rejection.objects.exists()
    assert len(partner.names) == 1, "the list was made by this run: it is not what is missing"


# --- users who were refused before --------------------------------------------------------------


@pytest.mark.parametrize("preset", ["amplitude-list", "amplitude-property"])
@pytest.mark.parametrize("status", [404, 400])
def test_a_cohort_that_turns_over_each_day_is_delivered_although_one_is_always_refused(
    partner, preset, status
):
    bad = "always-refused"
    unknown(partner, [bad], status)
    cohort = world.cohort([bad, *world.users(100)])
    sync = world.sync(cohort, world.destination(partner.url, preset))
    name = world.name_at_partner(sync)
    for day in range(4):
        world.fill(cohort, [bad, *world.users(100, first=day * 100)])
        run = world.run(sync)
        assert run.state in (RunState.PARTIAL, RunState.SUCCEEDED), run.reason
        assert partner.members(name) == set(world.users(100, first=day * 100))
        assert world.rejected(sync) == {bad}
        assert not sync.destination.is_paused
    assert len(partner.names) == (preset == "amplitude-list")


@pytest.mark.parametrize("status", [404, 400])
def test_a_retry_alone_decides_nothing_about_the_partner(partner, status):
    """Nobody moved, and nobody is left who could be asked."""
    unknown(partner, ["bad"], status)
    cohort = world.cohort(["bad", "good"])
    sync = world.sync(cohort, world.destination(partner.url))
    world.run(sync)
    world.fill(cohort, ["bad"])
    world.run(sync)
    Rejection.objects.filter(sync=sync).retry()
    run = world.run(sync)
    assert (run.state, run.rejected) == (RunState.PARTIAL, 1)
    assert not sync.destination.is_paused
    assert len(partner.names) == 1


def test_many_retries_that_a_partner_refuses_are_given_up_and_kept(partner):
    """Nobody can be asked whether the partner is well: it is not asked user by user."""
    bad = world.users(3000)
    cohort = world.cohort([*bad, "good"])
    sync = world.sync(cohort, world.destination(partner.url))
    named = Fault(400, {"invalidUserIds": bad})
    partner.fault = lambda call: named if call.kind == "add" and set(bad) & set(call.users) else None
    world.run(sync)
    assert world.rejected(sync) == set(bad)
    world.fill(cohort, bad)
    world.run(sync)
    Rejection.objects.filter(sync=sync).retry()
    partner.calls.clear()
    partner.fault = lambda call: Fault(400, {}) if call.kind == "add" else None
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert len(partner.calls) <= 30
    assert world.rejected(sync) == set(bad)
    partner.fault = lambda call: None
    Rejection.objects.filter(sync=sync).retry()
    world.run(sync)
    assert partner.members(world.name_at_partner(sync)) == set(bad)


# --- is it the list? ----------------------------------------------------------------------------


def test_a_witness_who_is_newly_unknown_too_makes_no_second_list(partner):
    sync = setup(partner, world.users(300))
    world.run(sync)
    world.fill(sync.cohort, world.users(310))
    asked = []

    def fault(call):
        if call.kind != "add":
            return None
        if call.users != world.users(10, first=300) and len(call.users) == 1 and not asked:
            asked.extend(call.users)  # whoever is asked first
        return Fault(404, {}) if {*asked, "u0000301"} & set(call.users) else None

    partner.fault = fault
    run = world.run(sync)
    assert asked, "no witness was asked"
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == {"u0000301"}
    assert len(partner.names) == 1


def test_a_refused_witness_alone_does_not_say_that_the_partner_refuses_everybody(partner):
    sync = setup(partner, world.users(300))
    world.run(sync)
    world.fill(sync.cohort, world.users(600))
    asked = []
    bad = set(world.users(300, first=300)[::2])

    def fault(call):
        if call.kind == "add" and len(call.users) == 1 and call.users[0] < "u0000300" and not asked:
            asked.extend(call.users)
        return Fault(400, {}) if call.kind == "add" and {*asked, *bad} & set(call.users) else None

    partner.fault = fault
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == bad


@pytest.mark.parametrize("how", ["cancelled", "turned over", "all left"])
def test_a_list_that_is_gone_while_nobody_can_be_asked_is_made_anew_once(partner, how):
    sync = setup(partner, world.users(300))
    if how == "cancelled":
        run = world.run(sync)
        # As a first run leaves it that was cancelled: nothing is settled.
        type(sync).objects.filter(pk=sync.pk).update(settled_version=0, dirty=True)
        Run.objects.filter(pk=run.pk).update(state=RunState.CANCELLED)
    else:
        world.run(sync)
        world.fill(sync.cohort, world.users(300, first=300) if how == "turned over" else ["last"])
    partner.lose_lists()
    unknown(partner, [])
    world.run(sync)
    last = Run.objects.latest("pk")
    assert (last.mode, last.trigger, last.state) == (RunMode.FULL, Trigger.LIST_GONE, RunState.SUCCEEDED)
    assert not sync.destination.is_paused
    assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)
    assert len(partner.names) == 2


def test_a_list_made_anew_that_takes_nobody_pauses_with_the_button_that_heals_it(partner):
    sync = setup(partner, world.users(300))
    world.run(sync)
    world.fill(sync.cohort, world.users(300, first=300))
    partner.fault = lambda call: Fault(404, {}) if call.kind == "add" else None
    world.run(sync)
    assert sync.destination.is_paused
    assert "Start over" in sync.destination.pause_reason
    assert len(partner.names) == 2


@pytest.mark.parametrize("status", [404, 400])
def test_the_reason_kept_is_what_the_partner_said_of_this_user(partner, status):
    bad = {"u0000002": "unsubscribed in May", "u0000005": "deleted"}

    def fault(call):
        rows = [{"userId": user, "message": bad[user]} for user in call.users if user in bad]
        return Fault(status, {"errors": rows}) if call.kind == "add" and rows else None

    partner.fault = fault
    sync = world.sync(world.cohort(world.users(8)), world.destination(partner.url))
    world.run(sync)
    kept = dict(Rejection.objects.filter(sync=sync).values_list("user_id", "message"))
    assert kept == {user: f"The partner says of this user: {words}" for user, words in bad.items()}


def test_a_success_that_names_users_tells_why_of_each(partner):
    rows = {"failed": {"u0000003": {"reason": "no consent"}}}
    rule = {"status": 200, "then": "users_failed", "reason": "failed", "message": "Not taken.", "by": "key"}
    partner.fault = lambda call: Fault(200, rows, apply=True) if call.kind == "add" else None
    to = world.destination(partner.url, rules=[rule | {"users_place": "failed"}])
    sync = world.sync(world.cohort(world.users(8)), to)
    world.run(sync)
    kept = Rejection.objects.get(sync=sync)
    assert (kept.user_id, kept.message) == ("u0000003", "The partner says of this user: no consent")
