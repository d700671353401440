"""A partner that takes a whole list in several requests, which count with the last one: a session."""

import json
import threading

import pytest

from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from syncs import lifecycle
from syncs.choices import BatchState, RunMode, RunState, Step
from syncs.delivery.ended import How
from syncs.delivery.outbox import Outbox
from syncs.models import Driver
from syncs.preview import preview
from tests import world

COUNT = 60
TEMPLATE = json.dumps(
    {
        "session": {
            "id": "${session|number}",
            "n": "${sequence|number}",
            "last": "$is_last",
            "of": "${total|number}",
        },
        "users": "$items",
    }
)
RULE = {"status": "2xx", "then": "users_failed", "reason": "no", "message": "No.", "users_place": "errors"}


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture
def to(server, db):
    made = world.destination(
        server.url, replaces_lists=True, rules=[RULE], add_template=TEMPLATE, batch_size=25, rate=None
    )
    failed = {"status": 200, "body": {"errors": {"$each_failed": "$user_id"}}}
    server.partner = FakePartner(made.endpoint(), {"most": 25, "failed": failed})
    return made


@pytest.fixture
def sync(to):
    return world.sync(world.cohort(world.users(COUNT)), to)


def held(server, sync):
    sync.refresh_from_db()
    return server.partner.members(world.name_at_partner(sync))


def sent(server):
    return server.partner.calls.count("add")


def at(number, *answers):
    """Return a fault: from the add of this number on, these answers in the place of the partner's own."""
    left, seen = list(answers), []

    def fault(name):
        if name != "add":
            return None
        seen.append(name)
        return left.pop(0) if left and len(seen) >= number else None

    return fault


@pytest.mark.django_db(transaction=True)
def test_a_run_sends_everybody_in_as_many_requests_as_that_takes(server, sync):
    run = world.run(sync)
    assert (run.state, run.added, run.requests) == (RunState.SUCCEEDED, COUNT, 4), run.reason
    assert (sent(server), held(server, sync)) == (3, world.wanted(sync))
    world.fill(sync.cohort, world.users(COUNT, first=5))
    run = world.run(sync)
    assert (run.state, run.added, run.removed, sent(server)) == (RunState.SUCCEEDED, 5, 5, 6)
    assert [(batch.size, batch.delivered, batch.requests) for batch in run.batches.all()] == [(60, 60, 3)]
    assert held(server, sync) == world.wanted(sync)
    run = world.run(sync, mode=RunMode.EMPTY)
    assert (run.state, held(server, sync), sent(server)) == (RunState.SUCCEEDED, set(), 7), run.reason
    assert server.partner.refused == []


@pytest.mark.django_db(transaction=True)
def test_after_an_unknown_outcome_in_the_middle_another_session_begins_from_the_start(server, sync):
    world.run(sync)
    before = held(server, sync)
    world.fill(sync.cohort, world.users(COUNT, first=7))
    # The partner took the second part, and its answer was lost; the first session stays open for a while.
    server.partner.fault = at(2, Answer(503, None))
    partner, name, seen = server.partner, world.name_at_partner(sync), []

    def refused(why, answer=partner._session_refused):
        seen.append((partner.members(name), why))
        if len(seen) == 2:
            partner.void_sessions()
        return answer({"status": 409}, why)

    partner._session_refused = lambda said, why: refused(why)
    run = world.run(sync)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, 7, 7), run.reason
    assert seen == [(before, "another session is open")] * 2
    # One and one that was lost, two that were too early, three.
    assert (sent(server) - 3, held(server, sync)) == (7, world.wanted(sync))


@pytest.mark.django_db(transaction=True)
def test_a_rate_limit_in_the_middle_is_followed_by_the_same_part(server, sync):
    server.partner.fault = at(2, *[Answer(429, None, {"Retry-After": "1"})] * 3)
    run = world.run(sync)
    assert (run.state, sent(server), held(server, sync)) == (RunState.SUCCEEDED, 6, world.wanted(sync))
    assert server.partner.refused == []


@pytest.mark.django_db(transaction=True)
def test_nobody_is_delivered_before_the_last_part_is_taken(server, sync):
    stop = threading.Event()

    def fault(name):
        if name == "add" and sent(server) == 3:
            stop.set()
            return Answer(503, None)
        return None

    server.partner.fault = fault
    run = lifecycle.start(sync, trigger="command")
    assert world.go(sync.destination, stop=stop).how == How.STOPPED
    run.refresh_from_db()
    batch = run.batches.get(step=Step.ADD)
    assert (run.added, batch.delivered, batch.state, batch.requests) == (0, 0, BatchState.SENDING, 3)
    assert held(server, sync) == set()
    sync.refresh_from_db()
    assert (sync.settled_version, sync.dirty) == (0, True)
    server.partner.void_sessions()
    Driver.objects.update(next_at=None)
    world.go(sync.destination)
    run.refresh_from_db()
    batch.refresh_from_db()
    assert (run.state, run.added, batch.unknown_outcome, batch.requests) == (
        RunState.SUCCEEDED,
        COUNT,
        True,
        6,
    )
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("commit", [2, 3, 4, 5, 6])
def test_a_driver_that_dies_between_two_parts_leaves_a_list_that_the_next_one_sends_whole(
    server, sync, monkeypatch, commit
):
    """It dies in place of one of its transactions: what a kill leaves behind, wherever it comes."""
    commits, real = [], Outbox._write

    def die(self):
        commits.append(1)
        if len(commits) >= commit:
            raise RuntimeError("killed")
        real(self)

    run = lifecycle.start(sync, trigger="command")
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "_write", die)
        with pytest.raises(RuntimeError):
            world.go(sync.destination)
    run.refresh_from_db()
    whole = held(server, sync) == world.wanted(sync)
    assert whole or (run.added, held(server, sync)) == (0, set())
    server.partner.void_sessions()
    Driver.objects.update(owner="", until=None, next_at=None)
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added, held(server, sync)) == (RunState.SUCCEEDED, COUNT, world.wanted(sync))


@pytest.mark.django_db(transaction=True)
def test_users_whom_replies_name_are_left_out_and_tried_again(server, sync):
    bad = {world.users(COUNT)[number] for number in (3, 30, 59)}
    server.partner.unknown = set(bad)
    run = world.run(sync)
    assert (run.state, run.added, run.rejected) == (RunState.PARTIAL, COUNT - 3, 3), run.reason
    assert (world.rejected(sync), held(server, sync), sent(server)) == (bad, world.wanted(sync) - bad, 3)


@pytest.mark.django_db(transaction=True)
def test_a_refusal_that_names_users_begins_another_session_without_them(server, sync):
    bad = {world.users(COUNT)[number] for number in (3, 30)}
    body = {"invalidUserIds": {"$each_failed": "$user_id"}}
    server.partner.fake = {"most": 25, "failed": {"status": 400, "body": body}, "whole": True}
    server.partner.unknown = set(bad)
    # A session of which a part was refused is given up, and this partner takes another one at once.
    answer = server.partner._part

    def part(users, read):
        made = answer(users, read)
        if made.status == 400:
            server.partner.void_sessions()
        return made

    server.partner._part = part
    run = world.run(sync)
    assert (run.state, run.rejected, held(server, sync)) == (
        RunState.PARTIAL,
        2,
        world.wanted(sync) - bad,
    ), run.reason
    assert sent(server) == 1 + 2 + 3


@pytest.mark.django_db(transaction=True)
def test_a_refusal_that_names_nobody_ends_the_run_and_leaves_the_list_as_it_was(server, sync):
    world.run(sync)
    before = held(server, sync)
    world.fill(sync.cohort, world.users(COUNT, first=2))
    server.partner.fault = at(2, Answer(400, {"message": "no"}))
    run = world.run(sync)
    assert run.state == RunState.FAILED and "refused the whole list" in run.reason
    assert (world.rejected(sync), held(server, sync)) == (set(), before)


@pytest.mark.django_db(transaction=True)
def test_a_part_that_is_too_large_is_followed_by_a_session_of_smaller_ones(server, sync):
    server.partner.fault = at(1, Answer(413, None))
    run = world.run(sync)
    assert (run.state, held(server, sync), sent(server)) == (RunState.SUCCEEDED, world.wanted(sync), 1 + 5)
    assert Driver.objects.get().learned_size == 13


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_says_in_how_many_requests(server, sync, monkeypatch):
    shown = preview(sync)
    assert (shown.whole_list, shown.whole_list_requests) == (COUNT, 3)
    world.run(sync)
    world.fill(sync.cohort, world.users(COUNT, first=2))
    sync.refresh_from_db()
    first = preview(sync).first_request
    assert first.count('"u000') == 25 and '"n":1,"last":false,"of":60' in first
    monkeypatch.setattr("syncs.plan.LONGEST_LIST", 59)
    with pytest.raises(lifecycle.CannotRun, match="has 59 at most"):
        preview(sync)
    assert "has 59 at most" in world.run(sync).reason


@pytest.mark.django_db
def test_a_whole_list_in_one_request_may_have_more_than_ten_thousand_users(to):
    to.add_template, to.batch_size = '{"users": "$items"}', 1_000_000
    to.full_clean()
    to.save()
    to.batch_size = 1_000_001
    with pytest.raises(Exception, match="1000000"):
        to.full_clean()


@pytest.mark.django_db
def test_the_fake_refuses_what_is_not_in_its_turn(to, server):
    partner = server.partner
    partner.lists["7"] = {"old"}

    def part(session, number, users, *, last=False):
        body = {"session": {"id": session, "n": number, "last": last, "of": 3}, "users": users}
        headers = {"content-type": "application/json", "authorization": to.endpoint().auth()[1]}
        return partner.answer("POST", "/lists/7/add", headers, json.dumps(body).encode()).status

    assert part(1, 2, ["a"]) == 400  # it begins with 1
    assert part(1, 1, ["a"]) == 200
    assert part(1, 1, ["b"]) == 400  # and goes on with 2
    assert part(2, 1, ["b"]) == 409  # two do not overlap
    assert partner.lists["7"] == {"old"}
    assert part(1, 2, ["b"], last=True) == 200
    assert partner.lists["7"] == {"a", "b"}
    assert part(1, 3, ["c"]) == 400  # after the last one
    assert part(1, 1, ["c"]) == 400  # a number is used once
    assert part(2, 1, ["c"]) == 200
    partner.void_sessions()
    assert part(2, 2, ["d"], last=True) == 400  # its time is over
    assert (part(3, 1, ["d"], last=True), partner.lists["7"]) == (200, {"d"})
    partner.fake = {"most": 25, "session": {"seconds": 0}}
    assert (part(4, 1, ["e"]), part(4, 2, ["f"]), part(5, 1, ["f"])) == (200, 400, 200)
