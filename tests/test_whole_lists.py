"""A partner that only knows whole lists: a run sends everybody in one request, and never a part."""

import threading

import pytest
from django.urls import reverse

from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from syncs import lifecycle
from syncs.choices import RunMode, RunState, Step
from syncs.delivery.ended import How
from syncs.models import Driver, Rejection
from syncs.preview import preview
from tests import world

COUNT = 60
RULE = {"status": "2xx", "then": "users_failed", "reason": "no", "message": "No.", "users_place": "errors"}


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture
def to(server, db):
    made = world.destination(server.url, replaces_lists=True, rules=[RULE], batch_size=100, rate=None)
    failed = {"status": 200, "body": {"errors": {"$each_failed": "$user_id"}}}
    server.partner = FakePartner(made.endpoint(), {"most": 100, "failed": failed})
    return made


@pytest.fixture
def sync(to):
    return world.sync(world.cohort(world.users(COUNT)), to)


def held(server, sync):
    sync.refresh_from_db()
    return server.partner.members(world.name_at_partner(sync))


def sent(server):
    return server.partner.calls.count("add")


@pytest.mark.django_db(transaction=True)
def test_a_run_sends_everybody_in_one_request__and_nothing_if_nobody_moved(server, sync):
    run = world.run(sync)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, COUNT, 0), run.reason
    world.fill(sync.cohort, world.users(COUNT, first=5))
    run = world.run(sync)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 5, 5)
    assert [(batch.step, batch.size, batch.delivered) for batch in run.batches.all()] == [
        ("add", COUNT, COUNT)
    ]
    assert held(server, sync) == world.wanted(sync)
    world.fill(sync.cohort, world.users(COUNT - 5, first=10))  # who leaves is left out: nobody is added
    assert world.run(sync).removed == 5
    assert (sent(server), held(server, sync)) == (3, world.wanted(sync))
    assert world.run(sync).state == RunState.SUCCEEDED
    assert sent(server) == 3
    assert world.run(sync, mode=RunMode.FULL).state == RunState.SUCCEEDED
    assert sent(server) == 4
    run = world.run(sync, mode=RunMode.EMPTY)
    assert (run.state, held(server, sync), sent(server)) == (RunState.SUCCEEDED, set(), 5)


@pytest.mark.django_db(transaction=True)
def test_users_whom_the_reply_names_are_left_out_and_tried_again(server, sync):
    bad = set(world.users(2, first=10))
    server.partner.unknown = set(bad)
    run = world.run(sync)
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, COUNT - 2, 2), run.reason
    assert (world.rejected(sync), held(server, sync)) == (bad, world.wanted(sync) - bad)
    # Nobody moved, and these two are tried again: that is the whole list, too.
    shown = preview(sync)
    assert (shown.adds, shown.retries, shown.whole_list) == (0, 2, COUNT)
    assert shown.first_request.count('"u000') == COUNT
    world.fill(sync.cohort, world.users(COUNT + 5))
    run = world.run(sync)
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, 5, 2)
    server.partner.unknown = set()
    Rejection.objects.retry()
    world.fill(sync.cohort, world.users(COUNT + 6))
    run = world.run(sync)
    assert (run.state, run.added, world.rejected(sync)) == (RunState.SUCCEEDED, 3, set())
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_that_names_users_is_followed_by_the_list_without_them(server, sync):
    bad = set(world.users(12, first=10))
    body = {"invalidUserIds": {"$each_failed": "$user_id"}}
    server.partner.fake = {"most": 100, "failed": {"status": 400, "body": body}, "whole": True}
    server.partner.unknown = set(bad)
    run = world.run(sync)
    assert (run.state, run.rejected, sent(server)) == (RunState.PARTIAL, 12, 2), run.reason
    assert held(server, sync) == world.wanted(sync) - bad


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("answer", "words", "paused"),
    [
        (Answer(400, {"message": "no"}), "refused the whole list", False),
        (Answer(413, None), "too large for one request", True),
        (Answer(200, {"errors": world.users(COUNT)}), "refused the whole list", False),
    ],
)
def test_a_list_that_is_refused_is_never_sent_in_part(server, sync, answer, words, paused):
    world.run(sync)
    before = held(server, sync)
    world.fill(sync.cohort, world.users(COUNT, first=2))
    if answer.status == 200:
        answer = Answer(200, {"errors": world.users(COUNT, first=2)})
    server.partner.fault = lambda name: answer
    run = world.run(sync)
    assert run.state == RunState.FAILED and words in run.reason
    sync.destination.refresh_from_db()
    assert sync.destination.is_paused == paused
    assert (sent(server), world.rejected(sync), held(server, sync)) == (2, set(), before)


@pytest.mark.django_db(transaction=True)
def test_after_a_list_was_refused_the_next_run_sends_the_latest_and_not_that_one_again(server, sync):
    world.run(sync)
    world.fill(sync.cohort, world.users(COUNT, first=2))
    server.partner.fault = lambda name: Answer(400, {"message": "no"})
    refused = world.run(sync)
    assert world.run(sync).pk == refused.pk  # nothing is new: the same list, once more
    server.partner.fault = lambda name: None
    world.fill(sync.cohort, world.users(COUNT - 5, first=4))
    run = world.run(sync)
    assert (run.state, run.pk > refused.pk, sent(server)) == (RunState.SUCCEEDED, True, 4), run.reason
    assert held(server, sync) == world.wanted(sync) == world.members_at(sync, run.to_version)


@pytest.mark.django_db(transaction=True)
def test_a_partner_that_is_away_gets_the_whole_list_later(server, sync):
    server.partner.fault = lambda name: Answer(503, None) if name == "add" else None
    run = lifecycle.start(sync, trigger="command")
    assert world.go(sync.destination).how == How.PARKED
    assert (sent(server), held(server, sync)) == (9, set())
    server.partner.fault = lambda name: None
    Driver.objects.update(next_at=None)
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, held(server, sync)) == (RunState.SUCCEEDED, world.wanted(sync))
    assert run.batches.filter(step=Step.ADD).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_cut_sends_its_list_anew(server, sync):
    stop = threading.Event()

    def fault(name):
        if name == "add" and not stop.is_set():
            stop.set()
            return Answer(503, None)
        return None

    server.partner.fault = fault
    run = lifecycle.start(sync, trigger="command")
    world.go(sync.destination, stop=stop)
    assert held(server, sync) == set()
    Driver.objects.update(next_at=None)
    world.go(sync.destination)
    run.refresh_from_db()
    batch = run.batches.get(step=Step.ADD)
    assert (run.state, batch.delivered, batch.unknown_outcome) == (RunState.SUCCEEDED, COUNT, True)
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
def test_a_lost_list_is_made_anew(server, sync):
    world.run(sync)
    server.partner.lose_lists()
    world.fill(sync.cohort, world.users(COUNT, first=2))
    world.run(sync)
    world.go(sync.destination)
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
def test_a_list_of_more_users_than_a_request_holds_is_not_begun(server, sync):
    world.fill(sync.cohort, world.users(101))
    run = world.run(sync)
    assert run.state == RunState.FAILED and "would have 101 users" in run.reason
    assert server.partner.calls == [] and run.batches.count() == 0
    with pytest.raises(lifecycle.CannotRun, match="takes 100 in one request"):
        preview(sync)


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_says_what_it_costs(server, sync, admin_client):
    world.run(sync)
    world.fill(sync.cohort, world.users(COUNT, first=1))
    sync.refresh_from_db()
    shown = preview(sync)
    assert (shown.adds, shown.removes, shown.whole_list) == (1, 1, COUNT)
    assert shown.first_request.count('"u000') == COUNT
    page = admin_client.get(reverse("admin:syncs_sync_dry_run", args=[sync.pk])).content.decode()
    assert "the whole list, 60 users in one request" in " ".join(page.split())
