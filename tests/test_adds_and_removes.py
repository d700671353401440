"""A partner that takes both in one request: who enters and who leaves travel together, in durable batches."""

import threading

import pytest

from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from syncs import held, lifecycle
from syncs.choices import BatchState, RejectionKind, RunMode, RunState, Step
from syncs.models import Batch, Driver, Rejection
from syncs.preview import preview
from tests import world

COUNT = 60
SIZE = 20
CHANGE = '{"id": "$list_id", "in": "$added", "out": "$removed"}'


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture
def to(server, db):
    made = world.destination(server.url, change_template=CHANGE, batch_size=SIZE, threads=2, rate=None)
    server.partner = FakePartner(made.endpoint(), {"most": SIZE})
    return made


@pytest.fixture
def sync(to):
    """A sync whose partner holds the first users."""
    made = world.sync(world.cohort(world.users(COUNT)), to)
    assert world.run(made).state == RunState.SUCCEEDED
    return made


def at_partner(server, sync):
    sync.refresh_from_db()
    return server.partner.members(world.name_at_partner(sync))


def steps(run):
    return [(batch.step, batch.size, batch.state) for batch in run.batches.order_by("number")]


def woven(sync):
    """Make the odd users the cohort: of the partner's, half leaves, and others stand between them."""
    world.fill(sync.cohort, world.users(2 * COUNT)[1::2])


@pytest.fixture
def even(to):
    """A sync whose partner holds the even users of twice as many."""
    made = world.sync(world.cohort(world.users(2 * COUNT)[0::2]), to)
    assert world.run(made).state == RunState.SUCCEEDED
    return made


@pytest.mark.django_db(transaction=True)
def test_who_enters_and_who_leaves_share_requests(server, even):
    woven(even)
    server.partner.calls.clear()
    run = world.run(even)
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, COUNT, COUNT), run.reason
    assert server.partner.calls == ["change"] * 6  # and not four that add, then four that remove
    assert steps(run) == [(Step.CHANGE, SIZE, BatchState.DELIVERED)] * 6
    assert at_partner(server, even) == world.wanted(even)


@pytest.mark.django_db(transaction=True)
def test_requests_of_one_kind_are_plain_adds_and_removes(server, sync):
    server.partner.calls.clear()
    world.fill(sync.cohort, world.users(COUNT, first=30))
    run = world.run(sync)
    assert [step for step, *_ in steps(run)] == [Step.REMOVE, Step.CHANGE, Step.ADD]
    assert sorted(server.partner.calls) == ["add", "change", "remove"]
    assert (run.added, run.removed, at_partner(server, sync)) == (30, 30, world.wanted(sync))
    run = world.run(sync, mode=RunMode.EMPTY)
    assert {step for step, *_ in steps(run)} == {Step.REMOVE} and at_partner(server, sync) == set()


@pytest.mark.django_db(transaction=True)
def test_users_whom_the_partner_refuses_are_found_among_those_who_leave(server, even):
    """Of two batches: who is refused, who was to enter all the same, and who has left."""
    bad = set(world.users(2 * COUNT)[1:22:10])
    server.partner.unknown = set(bad)
    woven(even)
    run = world.run(even)
    assert (run.state, run.added, run.removed, run.rejected) == (
        RunState.PARTIAL,
        COUNT - len(bad),
        COUNT,
        len(bad),
    ), run.reason
    assert world.rejected(even) == bad
    assert at_partner(server, even) == world.wanted(even) - bad
    assert set(Rejection.objects.values_list("wanted", "maybe_held")) == {(True, False)}
    assert run.batches.get(number=1).delivered == SIZE - 2
    server.partner.unknown = set()
    Rejection.objects.retry()
    world.fill(even.cohort, [*world.wanted(even), *world.users(1, first=500)])
    run = world.run(even)
    assert (run.state, run.added, world.rejected(even)) == (RunState.SUCCEEDED, 1 + len(bad), set())
    assert at_partner(server, even) == world.wanted(even)


@pytest.mark.django_db(transaction=True)
def test_who_is_refused_by_name_is_tried_again_as_what_they_were(server, to, even):
    """One who was to enter and one who was to leave: each row says which."""
    users = world.users(4)
    rule = {"status": "2xx", "then": "users_failed", "reason": "no", "message": "No.", "users_place": "bad"}
    to.rules = [rule]
    to.save()
    said = [Answer(200, {"bad": users[:2]})]
    server.partner.fault = lambda name: said.pop() if said and name == "change" else None
    to.threads = 1
    to.save()
    woven(even)
    run = world.run(even)
    assert (run.added, run.removed, run.rejected) == (COUNT - 1, COUNT - 1, 2)
    rows = {row.user_id: (row.wanted, row.maybe_held, row.kind) for row in Rejection.objects.all()}
    refused = RejectionKind.REJECTED
    assert rows == {users[0]: (False, True, refused), users[1]: (True, False, refused)}
    Rejection.objects.retry()
    world.fill(even.cohort, [*world.wanted(even), *world.users(1, first=500)])
    world.run(even)
    assert world.rejected(even) == set()
    assert at_partner(server, even) & set(users[:2]) == {users[1]}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mended", [False, True], ids=["as it was", "without the template"])
def test_a_batch_that_was_cut_is_sent_again_whole(server, to, even, mended):
    """Also to a destination that has since lost the template: then in two requests of one kind each."""
    stop = threading.Event()

    def fault(name):
        if name == "change" and server.partner.calls.count("change") > 2 and not stop.is_set():
            stop.set()
            return Answer(503, None)
        return None

    server.partner.fault = fault
    woven(even)
    run = lifecycle.start(even, trigger="command")
    world.go(to, stop=stop)
    open_ones = run.batches.filter(state=BatchState.SENDING)
    assert open_ones.count() >= 1 and {batch.step for batch in open_ones} == {Step.CHANGE}
    if mended:
        to.change_template = ""
        to.save()
    Driver.objects.update(next_at=None)
    server.partner.calls.clear()
    world.go(to)
    run.refresh_from_db()
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, COUNT, COUNT), run.reason
    assert at_partner(server, even) == world.wanted(even)
    assert ("change" in server.partner.calls) != mended
    assert {batch.state for batch in run.batches.all()} == {BatchState.DELIVERED}


@pytest.mark.django_db(transaction=True)
def test_a_run_that_was_begun_without_the_template_goes_on_with_it(server, to, even):
    """Adds were planned to the end, and removes were not: none of them is left out."""
    to.change_template, to.threads = "", 1
    to.save()
    stop = threading.Event()

    def fault(name):
        if name == "remove" and not stop.is_set():
            stop.set()
            return Answer(503, None)
        return None

    server.partner.fault = fault
    woven(even)
    run = lifecycle.start(even, trigger="command")
    world.go(to, stop=stop)
    assert set(run.batches.values_list("step", flat=True)) == {Step.ADD, Step.REMOVE}
    to.change_template = CHANGE
    to.save()
    Driver.objects.update(next_at=None)
    world.go(to)
    run.refresh_from_db()
    assert (run.state, run.added, run.removed) == (RunState.SUCCEEDED, COUNT, COUNT), run.reason
    assert at_partner(server, even) == world.wanted(even)


@pytest.mark.django_db(transaction=True)
def test_retries_that_are_spent_leave_both_kinds_undelivered_alone(server, to, even):
    first = world.users(2)
    woven(even)
    to.threads = 1
    to.save()

    def fault(name):
        body = server.partner.bodies[-1] if server.partner.bodies else b""
        return Answer(503, None) if any(user.encode() in body for user in first) else None

    answer = server.partner.answer
    server.partner.bodies = []
    server.partner.answer = lambda *call: (server.partner.bodies.append(call[3]), answer(*call))[1]
    server.partner.fault = fault
    run = world.run(even)
    assert (run.state, run.undelivered) == (RunState.PARTIAL, 2), run.reason
    assert (run.added, run.removed) == (COUNT - 1, COUNT - 1)
    rows = dict(Rejection.objects.values_list("user_id", "wanted"))
    assert rows == {first[0]: False, first[1]: True}


@pytest.mark.django_db(transaction=True)
def test_a_partner_that_works_on_a_request_names_who_failed_of_both_kinds(server, even, to):
    """By their order in the request, those who enter first, also after the driver has stopped."""
    rule = {"status": "2xx", "then": "users_failed", "reason": "no", "message": "No.", "users_place": "bad"}
    to.change_template = '{"id": "$list_id", "both": "$items"}'
    to.list_item_template = '{"id": "$user_id", "on": "$value"}'
    to.rules = [{**rule, "by": "index", "for": "poll"}]
    to.poll_path = "/jobs/$job_id"
    to.poll_fields = {"id": "job", "state": "state", "done": ["done"], "failed": ["failed"]}
    to.threads = 1
    to.full_clean()
    to.save()
    done = {"status": 200, "body": {"state": "done"}}
    bad = {"status": 200, "body": {"state": "done", "bad": {"$each_failed": "$index"}}}
    pending = {"status": 200, "body": {"state": "working"}}
    fake = FakePartner(
        to.endpoint(),
        {
            "most": SIZE,
            "ok": {"status": 202, "body": {"job": "$job_id"}},
            "job": {"pending": pending, "done": done, "failed": bad},
        },
    )
    fake.lists, fake.names = server.partner.lists, server.partner.names
    server.partner = fake
    users = world.users(2 * COUNT)
    fake.unknown = {users[3], users[55]}
    stop = threading.Event()
    fake.fault = lambda name: stop.set() if name == "poll" and not stop.is_set() else None
    woven(even)
    run = lifecycle.start(even, trigger="command")
    world.go(to, stop=stop)
    assert run.batches.filter(state=BatchState.PROCESSING).exists()
    Driver.objects.update(next_at=None)
    world.go(to)
    run.refresh_from_db()
    assert (run.state, world.rejected(even)) == (RunState.PARTIAL, {users[3], users[55]}), run.reason
    assert at_partner(server, even) == world.wanted(even) - fake.unknown
    assert fake.calls.count("change") == 6


@pytest.mark.django_db(transaction=True)
def test_the_pages_and_the_dry_run_show_a_change(server, even, admin_client):
    woven(even)
    even.refresh_from_db()
    shown = preview(even)
    assert (shown.adds, shown.removes) == (COUNT, COUNT)
    body = shown.first_request.replace(" ", "")
    assert '"in":["u0000001",' in body and '"out":["u0000000",' in body
    run = world.run(even)
    page = admin_client.get(f"/admin/syncs/run/{run.pk}/change/").content.decode()
    assert page.count("Add and remove") == 6
    user = world.users(2)[1]
    batch = Batch.objects.get(run=run, number=1)
    page = admin_client.get(f"/admin/syncs/run/{run.pk}/batches/{batch.number}/").content.decode()
    assert "Add and remove" in page and user in page
    rows = held.page(even, held.at(even, run.finished_at), "", 100)
    assert {row.user_id: row.batch for row in rows}[user] == 1 and all(row.batch for row in rows)
