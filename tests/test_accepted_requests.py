"""A partner that only accepts requests, and says later what became of each: nobody is delivered before."""

import re
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from cohorts import calculate
from cohortsite.metrics import processing
from destinations.partners.fake import Answer, FakePartner
from destinations.partners.serve import served
from syncs import due, lifecycle
from syncs.choices import BatchState, RunState, Step
from syncs.delivery import loop, outcomes
from syncs.delivery.ended import How
from syncs.models import Batch, Driver
from syncs.serializers import RunSerializer
from tests import world

FIELDS = {"id": "job", "state": "state", "done": ["done"], "failed": ["failed"]}
RULE = {
    "then": "users_failed",
    "reason": "failed",
    "message": "Failed.",
    "users_place": "errors",
    "for": "poll",
}
JOB = {
    "pending": {"status": 200, "body": {"state": "working"}},
    "done": {"status": 200, "body": {"state": "done"}},
    "failed": {"status": 200, "body": {"state": "done", "errors": {"$each_failed": "$user_id"}}},
}
COUNT = 60
SIZE = 20


@pytest.fixture
def server():
    with served() as started:
        yield started


@pytest.fixture
def to(server, db):
    """A destination whose partner works on a request until it was asked about it twice."""
    made = world.destination(
        server.url,
        poll_path="/jobs/$job_id",
        poll_fields=FIELDS,
        rules=[{"status": "2xx", **RULE}],
        batch_size=SIZE,
        threads=2,
        rate=None,
    )
    fake = {"ok": {"status": 202, "body": {"job": "$job_id"}}, "job": JOB}
    server.partner = FakePartner(made.endpoint(), fake)
    return made


@pytest.fixture
def sync(to):
    return world.sync(world.cohort(world.users(COUNT)), to)


def held(server, sync):
    sync.refresh_from_db()
    return server.partner.members(world.name_at_partner(sync))


def set_fields(to, **more):
    to.poll_fields = {**FIELDS, **more}
    to.save()


def pass_time(run):
    """Ten seconds pass for what the partner works on, and the wait of the destination is over."""
    ago = timedelta(seconds=10)
    processed = run.batches.filter(job_since__isnull=False)
    processed.update(job_since=F("job_since") - ago, job_due=F("job_due") - ago)
    Driver.objects.update(next_at=None)


def assert_shown(run, client):
    """Page, batch, REST and metrics say that three batches are being processed."""
    run.refresh_from_db()
    page = client.get(f"/admin/syncs/run/{run.pk}/change/?batches=processing").content.decode()
    assert re.search(r"being processed</dt>\s*<dd data-word=\"processing\">3<", page)
    assert page.count("Being processed</span>") == 3
    batch = run.batches.get(job_id="job-2")
    page = client.get(f"/admin/syncs/run/{run.pk}/batches/{batch.number}/").content.decode()
    assert '<bdi class="cs-user">job-2</bdi>' in page and f"asked about {batch.job_polls} time" in page
    assert RunSerializer(run).data["processing"] == 3
    assert processing().samples[0].value == 3


def stopped_when(server, said):
    """Return an event that is set as soon as the partner gets the call that `said` speaks of."""
    stop = threading.Event()

    def fault(name):
        if said(name):
            stop.set()

    server.partner.fault = fault
    return stop


@pytest.mark.django_db(transaction=True)
def test_nobody_is_delivered_before_the_partner_is_through(server, sync):
    run = world.run(sync)
    assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT), (run.reason, server.partner.refused)
    assert held(server, sync) == world.wanted(sync)
    batches = run.batches.exclude(step=Step.CREATE)
    assert {batch.job_id for batch in batches} == {"job-1", "job-2", "job-3"}
    for batch in batches:
        assert (batch.state, batch.delivered, batch.requests) == (BatchState.DELIVERED, SIZE, 3)
        assert batch.job_polls == 2 and batch.job_since < batch.settled_at
    assert server.partner.calls.count("poll") == 6


@pytest.mark.django_db(transaction=True)
def test_each_wait_is_twice_as_long_as_the_one_before(server, sync, monkeypatch):
    waits, decide = [], outcomes.decide

    def noted(*given):
        outcome = decide(*given)
        if isinstance(outcome, outcomes.Await):
            waits.append(round(outcome.wait * 1000))  # of which a thousandth is waited here
        return outcome

    monkeypatch.setattr(outcomes, "decide", noted)
    world.fill(sync.cohort, world.users(SIZE))
    set_fields(sync.destination, wait=1, longest=6)
    server.partner.fake["job"] = {**JOB, "polls": 4}
    run = world.run(sync)
    assert (run.state, waits) == (RunState.SUCCEEDED, [1, 2, 4, 6, 6])
    assert run.batches.get(step=Step.ADD).job_polls == 5


@pytest.mark.django_db(transaction=True)
def test_users_whom_the_partner_refuses_in_the_end_are_named_or_found(server, sync):
    bad = world.users(1, first=30)
    server.partner.unknown = set(bad)
    run = world.run(sync)
    assert (run.state, run.added, world.rejected(sync)) == (RunState.PARTIAL, COUNT - 1, set(bad))
    assert server.partner.calls.count("add") == 3
    # Another partner says only that it failed: the user is found in parts, each of which is a request.
    server.partner.fake["job"] = {**JOB, "failed": {"status": 200, "body": {"state": "failed"}}}
    world.fill(sync.cohort, world.users(COUNT + 40))
    server.partner.unknown = set(world.users(1, first=COUNT + 5))
    run = world.run(sync)
    assert (run.state, run.rejected) == (RunState.PARTIAL, 1)
    assert held(server, sync) == world.wanted(sync) - server.partner.unknown


@pytest.mark.django_db(transaction=True)
def test_no_remove_sets_out_before_the_adds_are_through(server, sync):
    world.run(sync)
    server.partner.calls.clear()
    world.fill(sync.cohort, world.users(COUNT, first=25))
    assert world.run(sync).state == RunState.SUCCEEDED
    calls = server.partner.calls
    first = calls.index("remove")
    assert (calls[:first].count("add"), calls[:first].count("poll")) == (2, 4)
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
def test_another_driver_asks_about_what_was_accepted__and_sends_it_not_again(server, sync, admin_client):
    server.partner.fake["job"] = {**JOB, "polls": 10_000}
    stop = stopped_when(server, lambda name: server.partner.calls.count("poll") >= 6)
    run = lifecycle.start(sync, trigger="command")
    assert world.go(sync.destination, stop=stop).how == How.STOPPED
    batches = run.batches.exclude(step=Step.CREATE)
    assert {(batch.state, batch.delivered) for batch in batches} == {(BatchState.PROCESSING, 0)}
    assert_shown(run, admin_client)
    assert held(server, sync) == set()
    server.partner.fake["job"] = JOB
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT)
    assert server.partner.calls.count("add") == 3
    assert held(server, sync) == world.wanted(sync)
    assert not any(batch.unknown_outcome for batch in batches.all())


@pytest.mark.django_db(transaction=True)
def test_a_long_wait_gives_the_destination_back_until_it_is_over(server, sync, monkeypatch):
    monkeypatch.setattr(loop, "SHORT_WAIT", 0.0)
    set_fields(sync.destination, wait=3600, longest=3600)  # of which a thousandth is waited here
    run = lifecycle.start(sync, trigger="command")
    ended = world.go(sync.destination)
    assert ended.how == How.PARKED and "works on requests" in ended.reason
    wait = (ended.next_at - timezone.now()).total_seconds()
    assert 0 < wait <= 3.6
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.PARKED, 0)
    assert run.batches.filter(state=BatchState.PROCESSING).count() == 3
    for _ in range(4):
        pass_time(run)
        world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT)
    assert server.partner.calls.count("add") == 3


@pytest.mark.django_db(transaction=True)
def test_a_wait_that_the_partner_asked_for_is_kept_by_another_driver(server, sync, monkeypatch):
    monkeypatch.setattr(loop, "SHORT_WAIT", 0.0)
    ok = {"status": 202, "body": {"job": "$job_id"}, "headers": {"Retry-After": "8000"}}
    server.partner.fake["ok"] = ok  # of which a thousandth is waited here
    run = lifecycle.start(sync, trigger="command")
    assert world.go(sync.destination).how == How.PARKED
    assert {batch.job_polls for batch in run.batches.exclude(step=Step.CREATE)} == {0}
    Driver.objects.update(next_at=None)
    ended = world.go(sync.destination)
    wait = (ended.next_at - timezone.now()).total_seconds()
    assert ended.how == How.PARKED and 0 < wait <= 8
    assert server.partner.calls.count("poll") == 0
    pass_time(run)
    for _ in range(3):
        world.go(sync.destination)
        pass_time(run)
    run.refresh_from_db()
    assert (run.state, held(server, sync)) == (RunState.SUCCEEDED, world.wanted(sync))


@pytest.mark.django_db(transaction=True)
def test_another_cohort_of_the_destination_does_not_wait_for_what_the_partner_works_on(
    server, sync, monkeypatch
):
    """Its run is sent at once, and the requests of the first are asked about no more often for that."""
    monkeypatch.setattr(loop, "SHORT_WAIT", 0.0)
    to = sync.destination
    set_fields(to, wait=3_600_000, longest=3_600_000, most=36_000_000)
    first = lifecycle.start(sync, trigger="command")
    assert world.go(to).how == How.PARKED
    assert to.pk not in due.drivable_destinations() and world.go(to).how == How.PARKED
    assert (server.partner.calls.count("add"), server.partner.calls.count("poll")) == (3, 0)

    another = world.sync(world.cohort(world.users(COUNT, first=100)), to)
    second = lifecycle.start(another, trigger="command")
    assert due.drivable_destinations() == [to.pk]
    assert world.go(to).how == How.PARKED
    assert (server.partner.calls.count("add"), server.partner.calls.count("poll")) == (6, 0)
    assert to.pk not in due.drivable_destinations()
    states = first.batches.exclude(step=Step.CREATE).values_list("state", "unknown_outcome")
    assert set(states) == {(BatchState.PROCESSING, False)}

    set_fields(to, wait=1, longest=1)
    # When each is asked about next was written down, an hour away.
    Batch.objects.filter(job_due__isnull=False).update(job_due=timezone.now())
    while to.pk in due.drivable_destinations() or server.partner.calls.count("poll") < 12:
        pass_time(first)
        pass_time(second)
        world.go(to)
    for run, of in ((first, sync), (second, another)):
        run.refresh_from_db()
        assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT)
        assert held(server, of) == world.wanted(of)
    assert server.partner.calls.count("add") == 6


@pytest.mark.django_db(transaction=True)
def test_a_cohort_that_cannot_be_calculated_is_tried_once_while_the_partner_works_on_another(
    server, sync, monkeypatch
):
    monkeypatch.setattr(loop, "SHORT_WAIT", 0.0)
    to, tried = sync.destination, list[str]()
    monkeypatch.setattr(calculate, "bring_up_to_date", lambda cohort, since: tried.append(cohort.key))
    set_fields(to, wait=3_600_000, longest=3_600_000, most=36_000_000)
    lifecycle.start(sync, trigger="command")
    world.go(to)
    another = world.sync(world.cohort(world.users(COUNT, first=100), refresh_before_sync=True), to)
    lifecycle.start(another, trigger="command")
    assert world.go(to).how == How.PARKED
    assert to.pk not in due.drivable_destinations()
    assert tried == [another.cohort.key] and server.partner.calls.count("add") == 6


@pytest.mark.django_db(transaction=True)
def test_a_destination_that_waits_for_another_reason_is_left_alone_by_a_new_run(server, sync):
    lifecycle.start(sync, trigger="command")
    later = timezone.now() + timedelta(hours=1)
    Driver.objects.create(destination=sync.destination, next_at=later, next_reason="It asked us to wait.")
    assert due.drivable_destinations() == []
    assert world.go(sync.destination).how == How.PARKED and server.partner.calls == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", ["unknown", "too long"])
def test_a_request_that_is_lost_is_sent_again(server, sync, how):
    """It does not know the first three any more, or is never through with them."""
    first = {f"job-{number}" for number in (1, 2, 3)}
    answer, ask = Answer(200, {"state": "working"}), server.partner._poll
    if how == "unknown":
        answer = Answer(404, {"message": "no such job"})
    else:
        set_fields(sync.destination, most=1000)  # a second, here
    server.partner._poll = lambda job_id: answer if job_id in first else ask(job_id)
    run = world.run(sync)
    assert (run.state, run.added) == (RunState.SUCCEEDED, COUNT), run.reason
    assert server.partner.calls.count("add") == 6
    assert held(server, sync) == world.wanted(sync)
    batches = run.batches.exclude(step=Step.CREATE)
    assert all(batch.unknown_outcome for batch in batches)
    codes = {attempt.code for batch in batches for attempt in batch.attempts.all()}
    assert codes == ({"http_404"} if how == "unknown" else set())


@pytest.mark.django_db(transaction=True)
def test_a_partner_that_is_never_through_is_left_alone_and_blames_nobody(server, sync):
    server.partner._poll = lambda job_id: Answer(404, {"message": "no such job"})
    run = lifecycle.start(sync, trigger="command")
    ended = world.go(sync.destination)
    assert ended.how == How.PARKED and "knows nothing of a request" in ended.reason
    run.refresh_from_db()
    assert (run.state, run.added, world.rejected(sync)) == (RunState.PARKED, 0, set())
    # 9 times three batches, and what was under way.
    assert 27 <= server.partner.calls.count("add") <= 29


@pytest.mark.django_db(transaction=True)
def test_a_partner_that_is_away_for_a_while_is_asked_again(server, sync):
    left = [Answer(503, None), Answer(429, {"message": "slow down"}, {"Retry-After": "1"}), Answer(500, None)]
    server.partner.fault = lambda name: left.pop() if left and name == "poll" else None
    run = world.run(sync)
    assert (run.state, run.added, run.retries) == (RunState.SUCCEEDED, COUNT, 0)
    assert not left and server.partner.calls.count("add") == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(401, {"message": "who?"}), "does not accept the credential"),
        (Answer(400, {"message": "which?"}), "Something is set up wrong"),
        (Answer(200, {"other": 1}), "without the state of the request at 'state'"),
    ],
)
def test_a_poll_that_cannot_work_pauses_the_destination_and_marks_nobody(server, sync, answer, words):
    server.partner.fault = lambda name: answer if name == "poll" else None
    run = world.run(sync)
    assert run.state == RunState.FAILED and words in run.reason
    assert world.rejected(sync) == set() and run.added == 0
    sync.destination.refresh_from_db()
    assert sync.destination.is_paused
    batches = run.batches.exclude(step=Step.CREATE)
    assert {batch.state for batch in batches} <= {BatchState.UNDELIVERED, BatchState.SENDING}
    assert "had said what became" in batches.filter(state=BatchState.UNDELIVERED).first().message


@pytest.mark.django_db(transaction=True)
def test_a_run_that_is_cancelled_asks_no_more(server, sync):
    server.partner.fake["job"] = {**JOB, "polls": 10_000}
    run = lifecycle.start(sync, trigger="command")

    def cancel(name):
        if server.partner.calls.count("poll") == 8:
            lifecycle.cancel(run, by="Ann")
            connection.close()  # this is the partner's thread

    server.partner.fault = cancel
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.CANCELLED, 0)
    batches = run.batches.exclude(step=Step.CREATE)
    assert {batch.state for batch in batches} == {BatchState.UNDELIVERED}
    # The next run sends whoever moved, and the partner has them once.
    server.partner.fake["job"] = JOB
    server.partner.fault = lambda name: None
    world.fill(sync.cohort, world.users(COUNT - 1))
    assert world.run(sync).state == RunState.SUCCEEDED
    assert held(server, sync) == world.wanted(sync)
    # What the partner does of the first run only now is put right by the next one.
    for job in ("job-1", "job-2", "job-3"):
        server.partner._poll(job)
    assert held(server, sync) > world.wanted(sync)
    assert world.run(sync).repeat_from is not None
    assert held(server, sync) == world.wanted(sync)


@pytest.mark.django_db(transaction=True)
def test_a_part_that_is_processed_when_its_run_is_cancelled_may_be_acted_on_later(server, sync):
    server.partner.unknown = set(world.users(1, first=3))
    server.partner.fake["job"] = {**JOB, "failed": {"status": 200, "body": {"state": "failed"}}}
    run = lifecycle.start(sync, trigger="command")
    since: list[str] = []

    def cancel(name):
        if server.partner.calls.count("add") < 4:
            return
        server.partner.fake["job"]["polls"] = 10_000
        since.append(name)
        if since.count("poll") == 6:
            lifecycle.cancel(run, by="Ann")
            connection.close()  # this is the partner's thread

    server.partner.fault = cancel
    world.go(sync.destination)
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    part = run.batches.get(job_id="job-4")
    assert (part.state, part.delivered, part.unknown_outcome) == (BatchState.UNDELIVERED, 0, True)


@pytest.mark.django_db(transaction=True)
def test_a_part_that_is_processed_is_sent_again_with_its_batch_after_a_crash(server, sync):
    """A batch's row does not say which part of it a request was about: so the whole of it is sent again."""
    bad = set(world.users(1, first=3))
    server.partner.unknown = bad
    failed = {"status": 200, "body": {"state": "failed"}}
    server.partner.fake["job"] = {**JOB, "failed": failed}
    stop = stopped_when(server, lambda name: name == "add" and server.partner.calls.count("add") == 4)
    run = lifecycle.start(sync, trigger="command")
    world.go(sync.destination, stop=stop)
    states = set(run.batches.exclude(step=Step.CREATE).values_list("state", flat=True))
    assert BatchState.SENDING in states
    server.partner.fault = lambda name: None
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.added, world.rejected(sync)) == (RunState.PARTIAL, COUNT - 1, bad)
    assert held(server, sync) == world.wanted(sync) - bad
