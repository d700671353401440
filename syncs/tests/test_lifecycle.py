"""What a person can do to a sync: approve or refuse a held run, rename, move, archive, restore, reset."""

import itertools
import json
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from cohorts import refresh
from destinations.errors import Rejected
from destinations.models import Destination
from destinations.payloads import Operation, Request
from syncs import alerts, due, lifecycle
from syncs.choices import OPEN_RUNS, BatchState, RunMode, RunState, Trigger
from syncs.delivery import drive, loop, outcomes, rejections
from syncs.delivery import lease as leases
from syncs.delivery.ended import How
from syncs.delivery.turns import alone
from syncs.models import Alert, Batch, Rejection, Run, RunQuerySet, Sync
from syncs.status.facts import states_of
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def partner():
    with Partner() as running:
        yield running


@pytest.fixture(params=["amplitude-list", "amplitude-property"])
def sync(request, partner):
    """A sync whose partner holds ten users."""
    made = world.sync(world.cohort(world.users(10)), world.destination(partner.url, request.param))
    assert world.run(made).state == RunState.SUCCEEDED
    made.refresh_from_db()
    return made


def test_a_run_that_removes_more_than_the_guard_allows__waits_and_sends_nothing(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(4))
    calls = len(partner.calls)
    run = world.run(sync)
    assert (run.state, len(partner.calls)) == (RunState.HELD, calls)
    assert run.reason == "It would remove 6 of 10 users; the limit is 50 %."


def test_an_approved_run__does_what_was_shown(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    lifecycle.approve(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.approved_by, run.removed) == (RunState.SUCCEEDED, "ann", 6)
    assert partner.members(world.name_at_partner(sync)) == set(world.users(4))


def test_a_held_run_whose_cohort_changed__asks_again_with_the_new_numbers(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    world.fill(sync.cohort, world.users(1))
    calls = len(partner.calls)
    with pytest.raises(lifecycle.CannotRun, match="It would remove 9 of 10 users; the limit is 50 %"):
        lifecycle.approve(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.planned_removes, len(partner.calls)) == (RunState.HELD, 9, calls)
    lifecycle.approve(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.removed) == (RunState.SUCCEEDED, 9)


def test_a_held_run_whose_cohort_recovered__removes_nobody_who_is_a_member_again(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(1))
    run = world.run(sync)
    assert run.state == RunState.HELD
    world.fill(sync.cohort, world.users(9))
    lifecycle.approve(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.removed) == (RunState.SUCCEEDED, 1)
    assert partner.members(world.name_at_partner(sync)) == set(world.users(9))


def test_an_approval_is_void_when_the_cohort_changes_before_the_run_begins(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    lifecycle.approve(run, by="ann")
    world.fill(sync.cohort, world.users(1))
    calls = len(partner.calls)
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.approved_by, run.planned_removes) == (RunState.HELD, "", 9)
    assert len(partner.calls) == calls


def test_a_refused_run__ends_and_the_next_one_asks_again(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_users=5)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    lifecycle.refuse(run, by="ann")
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Refused by ann.")
    with pytest.raises(lifecycle.CannotRun):
        lifecycle.approve(run, by="bob")
    assert world.run(sync).state == RunState.HELD


def test_what_was_approved_with_the_cohorts_version__is_not_asked_again(partner, sync):
    sync.cohort.guard_percent = 50
    sync.cohort.save()
    version = refresh.replace(sync.cohort.pk, world.users(4), source="test")
    refresh.approve(sync.cohort.pk, version.number, by="ann")
    assert world.run(sync).state == RunState.SUCCEEDED
    assert partner.members(world.name_at_partner(sync)) == set(world.users(4))


def test_who_left_without_approval__is_not_covered_by_as_many_who_left_with_it_and_came_back(sync):
    """Two who left were approved, and are back; two others leave now, whom nobody has seen."""
    Sync.objects.filter(pk=sync.pk).update(guard_users=1)
    everybody = world.users(10)
    sync.cohort.guard_users = 1
    sync.cohort.save()
    version = refresh.replace(sync.cohort.pk, everybody[2:], source="test")
    refresh.approve(sync.cohort.pk, version.number, by="ann")
    type(sync.cohort).objects.update(guard_users=None)
    world.fill(sync.cohort, everybody)
    world.fill(sync.cohort, everybody[:8])
    run = world.run(sync)
    assert (run.state, run.planned_removes) == (RunState.HELD, 2)


def test_renaming__empties_the_old_name_and_fills_the_new_one(partner, sync):
    old = sync.external_name
    lifecycle.rename(sync, "VIPs", by="ann")
    world.go(sync.destination)
    assert partner.members(old) == set()
    assert partner.members("VIPs") == set(world.users(10))
    sync.refresh_from_db()
    assert (sync.external_name, sync.next_name) == ("VIPs", "")
    world.fill(sync.cohort, world.users(3))
    world.run(sync)
    assert partner.members("VIPs") == set(world.users(3))


def test_renaming__to_a_name_that_another_sync_has__is_refused(sync):
    other = world.sync(world.cohort(world.users(1), name="Other"), sync.destination)
    world.run(other)
    other.refresh_from_db()
    with pytest.raises(lifecycle.CannotRun, match="Another sync"):
        lifecycle.rename(sync, other.external_name, by="ann")


def test_a_destination_that_moved_without_a_word__stops_the_sync(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.save()
        run = world.run(sync)
        assert run.state == RunState.FAILED
        assert "has changed" in run.reason
        assert elsewhere.calls == []


def test_a_destination_that_moved_with_consent__is_filled_anew(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.accepted_fingerprint = sync.destination.endpoint().fingerprint
        sync.destination.save()
        world.run(sync)
        assert elsewhere.members(world.name_at_partner(sync)) == set(world.users(10))
        assert Run.objects.first().state == RunState.SUCCEEDED


def test_archiving_with_emptying__leaves_nobody_at_the_partner(partner, sync):
    lifecycle.archive(sync, by="ann", empty_first=True)
    world.go(sync.destination)
    assert partner.members(sync.external_name) == set()
    sync.refresh_from_db()
    assert (sync.archived_at is not None, sync.enabled, sync.settled_version) == (True, False, 0)
    with pytest.raises(lifecycle.CannotRun, match="archived"):
        world.run(sync)


def never_let_go(bad):
    """A partner that removes nobody of `bad`, whatever the protocol."""

    def fault(call):
        remove = call.kind == "remove" or call.kind == "identify" and not _is_add(call.body)
        return Fault(400, {"error": "no"}) if remove and set(bad) & set(call.users) else None

    return fault


def _is_add(body):
    return any(item["traits"][name] for item in body["batch"] for name in item["traits"])


def test_who_was_not_let_go_by_an_emptying__is_asked_for_again_and_nobody_else(partner, sync):
    bad = world.users(2, first=4)
    partner.fault = never_let_go(bad)
    assert world.run(sync, RunMode.EMPTY).state == RunState.PARTIAL
    state = states_of(Sync.objects.filter(pk=sync.pk), timezone.now())[sync.pk]
    assert (state.label, "2 users that it did not let go" in state.sentence) == ("Emptied but for some", True)
    sync.refresh_from_db()
    assert lifecycle.holds_somebody(sync)
    partner.fault = lambda call: None
    calls = len(partner.calls)
    assert world.run(sync, RunMode.EMPTY).state == RunState.SUCCEEDED
    assert sorted(user for call in partner.calls[calls:] for user in call.users) == bad
    assert partner.members(sync.external_name) == set()
    assert not lifecycle.holds_somebody(sync)


def test_renaming_after_an_emptying_that_left_some__tries_them_under_the_old_name(partner, sync):
    bad = world.users(1, first=4)
    partner.fault = never_let_go(bad)
    world.run(sync, RunMode.EMPTY)
    partner.fault = lambda call: None
    old = sync.external_name
    assert lifecycle.rename(sync, "VIPs", by="ann") is not None
    world.go(sync.destination)
    assert partner.members(old) == set()
    assert partner.members("VIPs") == set(world.users(10))


def test_archiving_with_emptying_that_fails__is_reported_and_can_be_done_again(partner, sync):
    partner.fault = lambda call: Fault(401, {})
    lifecycle.archive(sync, by="ann", empty_first=True)
    world.go(sync.destination)
    alerts.tell_changes(timezone.now())
    partner.fault = lambda call: Fault(400, {})
    world.mend(sync.destination)
    lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.EMPTY, by="ann", approved=True)
    world.go(sync.destination)
    alerts.tell_changes(timezone.now())
    partner.fault = lambda call: None
    lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.EMPTY, by="ann", approved=True)
    world.go(sync.destination)
    alerts.tell_changes(timezone.now())
    alerts.tell_changes(timezone.now())
    kinds = Alert.objects.filter(sync=sync).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["paused", "failing", "recovered"]
    assert partner.members(sync.external_name) == set()


def test_an_archived_sync_that_is_restored__goes_on_where_it_was(partner, sync):
    lifecycle.archive(sync, by="ann", empty_first=False)
    world.fill(sync.cohort, world.users(12))
    lifecycle.restore(sync)
    run = world.run(sync)
    assert (run.added, run.removed) == (2, 0)
    assert partner.members(sync.external_name) == set(world.users(12))


def test_a_reset_sync__sends_everybody_again(partner, sync):
    lifecycle.reset(sync)
    assert world.run(sync).added == 10


# --- two at a time, and what comes in between ---------------------------------------------------


def test_emptying_an_archived_sync_after_a_move__sends_nobody_to_the_new_address(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.accepted_fingerprint = sync.destination.endpoint().fingerprint
        sync.destination.save()
        lifecycle.archive(sync, by="ann", empty_first=True)
        world.go(sync.destination)
        assert elsewhere.calls == []
        assert not Run.objects.filter(sync=sync, state__in=OPEN_RUNS).exists()
        sync.refresh_from_db()
        assert (sync.settled_version, sync.dirty, sync.list_id) == (0, False, None)


def test_renaming_after_a_move__fills_the_new_address_under_the_new_name(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.accepted_fingerprint = sync.destination.endpoint().fingerprint
        sync.destination.save()
        lifecycle.rename(sync, "VIPs", by="ann")
        world.go(sync.destination)
        assert elsewhere.members("VIPs") == set(world.users(10))


def test_renaming_a_list_that_the_partner_lost__makes_it_under_the_new_name(partner, sync):
    partner.lose_lists()
    lifecycle.rename(sync, "VIPs", by="ann")
    world.go(sync.destination)
    assert partner.members("VIPs") == set(world.users(10))
    sync.refresh_from_db()
    assert (sync.external_name, sync.next_name) == ("VIPs", "")


def test_a_new_name_that_another_sync_takes_meanwhile__is_given_up_with_a_word(partner, sync):
    other = world.sync(world.cohort(world.users(1), name="Other"), sync.destination)
    emptying = lifecycle.rename(sync, world.name_at_partner(other), by="ann")
    Sync.objects.filter(pk=other.pk).update(external_name=world.name_at_partner(other))
    assert world.go(sync.destination).how == How.DONE
    emptying.refresh_from_db()
    assert "Other" in emptying.note
    sync.refresh_from_db()
    assert sync.next_name == ""
    assert partner.members(sync.external_name) == set(world.users(10))


def test_a_reset_during_a_run_that_was_ended_as_it_began__is_not_undone_by_its_end(partner, sync):
    """No driver was seen when it was cancelled: it has ended, and the driver does not know yet."""
    seen_pending = lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL)

    def cancel_and_reset(call):
        if call.kind in ("add", "identify"):
            Run.objects.end(seen_pending.pk, RunState.CANCELLED, reason="Cancelled by ann.")
            lifecycle.reset(Sync.objects.get(pk=sync.pk))
            connection.close()  # the partner's thread has its own

    partner.fault = cancel_and_reset
    world.go(sync.destination)
    partner.fault = lambda call: None
    sync.refresh_from_db()
    assert (sync.settled_version, sync.list_id) == (0, None)
    world.fill(sync.cohort, world.users(12))
    world.run(sync)
    assert partner.members(sync.external_name) == set(world.users(12))


def test_a_full_run_that_is_asked_for_as_another_begins__does_not_end_what_is_being_sent(
    partner, sync, monkeypatch
):
    world.fill(sync.cohort, world.users(12))
    open_run = lifecycle.start(sync, trigger=Trigger.PERSON)
    first = Run.objects.get(pk=open_run.pk)
    Run.objects.filter(pk=open_run.pk).update(state=RunState.RUNNING)
    monkeypatch.setattr(RunQuerySet, "first", lambda found: first)
    with pytest.raises(lifecycle.CannotRun, match="under way"):
        lifecycle.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL)
    open_run.refresh_from_db()
    assert open_run.state == RunState.RUNNING


def test_a_destination_whose_pause_is_over_goes_on_at_the_next_look_at_what_is_due(sync):
    now = timezone.now()
    Destination.objects.pause(sync.destination_id, "until then", now + timedelta(hours=1))
    due.start_due(now)
    assert Destination.objects.get().is_paused
    due.start_due(now + timedelta(hours=1))
    assert not Destination.objects.get().is_paused


def test_a_due_time_is_taken_only_together_with_its_run(sync, monkeypatch):
    """Killed in between, a sync that runs once would never run."""
    time = timezone.now() - timedelta(minutes=1)
    Sync.objects.filter(pk=sync.pk).update(next_due_at=time, schedule_kind="once", schedule_once_at=time)

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(due, "start", die)
    with pytest.raises(Killed):
        due.start_due(timezone.now())
    sync.refresh_from_db()
    assert sync.next_due_at == time


def test_a_sync_whose_zone_is_no_longer_known__does_not_keep_the_others_from_their_time(partner):
    now = timezone.now()
    syncs = [
        world.sync(world.cohort(["u1"]), world.destination(partner.url)),
        world.sync(world.cohort(["u1"]), world.destination(partner.url)),
    ]
    Sync.objects.update(schedule_kind="hourly", next_due_at=now)
    Sync.objects.filter(pk=syncs[0].pk).update(timezone="Mars/Olympus")
    assert [run.sync_id for run in due.start_due(now)] == [syncs[1].pk]
    syncs[0].refresh_from_db()
    assert syncs[0].next_due_at == now, "it is late, and people are told so"


def test_a_destination_that_was_paused__is_not_parked_by_what_was_still_in_flight(partner, sync):
    """Else a person who resumes it would wait for the time that it was parked for."""
    lease = leases.take(sync.destination_id, seconds=60)
    driver = loop.Loop(
        lease, sync.destination, sync.destination.endpoint(), threading.Event(), lambda runs: None, alone()
    )
    driver.ending.pause("The key is refused.")
    driver.ending.park(600, "The partner asked us to wait.")
    assert driver.ending.how == How.PAUSED
    driver.close()


def test_a_destination_that_is_changed_while_it_is_driven__goes_on_as_changed(partner, monkeypatch):
    to = world.destination(partner.url, batch_size=1, threads=1)
    run = lifecycle.start(world.sync(world.cohort(world.users(40)), to), trigger=Trigger.COMMAND)
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)

    def change(runs):
        if to.batch_size == 1 and len(partner.calls) > 3:
            to.batch_size = 20
            to.save()

    ended = drive.drive(to.pk, stop=threading.Event(), report=change)
    assert (ended.how, ended.reason) == (How.PARKED, "The destination was changed.")
    world.go(to)
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.SUCCEEDED, 40)
    assert len(partner.calls) < 12


def test_a_key_that_is_refused_after_it_was_replaced__pauses_nothing(partner):
    to = world.destination(partner.url, threads=1)
    run = lifecycle.start(world.sync(world.cohort(world.users(4)), to), trigger=Trigger.COMMAND)
    to.credential = "a new key"

    def replace(runs):
        if partner.key == world.KEY:
            partner.key = "a new key"
            to.save()

    assert drive.drive(to.pk, stop=threading.Event(), report=replace).how == How.PARKED
    assert world.go(to).how == How.DONE
    run.refresh_from_db()
    assert (run.state, run.added) == (RunState.SUCCEEDED, 4)


def test_an_error_of_ours_as_a_run_ends__leaves_no_run_that_seems_to_run(sync, monkeypatch):
    world.fill(sync.cohort, world.users(8))
    monkeypatch.setattr(Sync.objects.__class__, "settle", lambda *a, **k: 1 / 0, raising=True)
    run = world.run(sync)
    assert run.state == RunState.PARKED
    assert "ZeroDivisionError" in run.reason


def test_a_list_that_may_have_been_made_before_a_cancel__is_reported_of_when_the_next_is_made(partner):
    sync = world.sync(world.cohort(world.users(3)), world.destination(partner.url))
    partner.fault = lambda call: Fault(how="reset", apply=True) if call.kind == "create" else None
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    world.go(sync.destination, stop=stop)
    lifecycle.cancel(run, by="ann")
    partner.fault = lambda call: None
    world.mend(sync.destination)
    assert world.run(sync).note == outcomes.SECOND_LIST
    assert len(partner.lists) > 1


def test_a_batch_whose_users_were_all_rejected_since__is_not_sent_empty(partner, sync):
    world.fill(sync.cohort, world.users(12))
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    new = world.users(2, first=10)
    Batch.objects.create(run=run, number=1, step="add", first_user=new[0], last_user=new[-1], size=2)
    for user in new:
        Rejection.objects.create(
            sync=sync, user_id=user, wanted=True, run=run, due_at_run=9, last_at=timezone.now()
        )
    calls = len(partner.calls)
    world.go(sync.destination)
    run.refresh_from_db()
    assert run.state in (RunState.SUCCEEDED, RunState.PARTIAL)
    assert len(partner.calls) == calls
    assert run.batches.get().state == BatchState.REJECTED


def test_somebody_refused_as_a_canary_who_is_rejected_already__is_one_row(sync):
    run = sync.runs.first()
    Rejection.objects.create(sync=sync, user_id="u1", wanted=True, run=run, last_at=timezone.now())
    batch = Batch(run=run, step="add")
    refused = {"u1": Rejected("No.", code="no")}
    rejections.settle(batch, {}, "rejected", refused, adds=lambda user: True)
    row = Rejection.objects.get(sync=sync)
    assert (row.tries, row.message) == (2, "No.")


def test_a_cancelled_run__ends_when_what_is_in_flight_has_come_back(partner, monkeypatch):
    sync = world.sync(world.cohort(world.users(8)), world.destination(partner.url, batch_size=1, threads=2))
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    # Of the two that are in flight one takes longer: it has not come back when the other has.
    answer, number, in_flight_at_end = partner.answer, itertools.count(), []

    def answer_unevenly(*call):
        time.sleep(0.5 if next(number) % 2 else 0.02)
        return answer(*call)

    monkeypatch.setattr(partner, "answer", answer_unevenly)

    def look(runs):
        if len(partner.calls) >= 4:
            Run.objects.filter(pk=run.pk).update(cancel_requested=True)
        if Run.objects.get(pk=run.pk).state == RunState.CANCELLED:
            in_flight_at_end.append(partner.in_flight)

    drive.drive(sync.destination_id, stop=threading.Event(), report=look)
    assert in_flight_at_end
    assert in_flight_at_end[0] == 0


def test_a_rejected_user_whose_membership_changes__is_reported_at_once(partner, sync):
    """The partner may hold them: they have left, and their next try by the calendar is far."""
    gone = world.users(1)[0]
    name = world.name_at_partner(sync)
    values = {"wanted": True, "maybe_held": True, "due_at_run": 99, "last_at": timezone.now()}
    Rejection.objects.create(sync=sync, user_id=gone, run=sync.runs.first(), **values)
    world.fill(sync.cohort, world.users(9, first=1))
    assert world.run(sync).state == RunState.SUCCEEDED
    assert gone not in partner.members(name)
    assert not world.rejected(sync)


def test_all_adds_are_answered_before_the_first_remove(partner, sync):
    """A list does not fall below a size that its partner asks for, on the way to a larger one."""
    Destination.objects.update(batch_size=2, threads=4)
    seen = []
    partner.fault = lambda call: seen.append((call.kind, len(call.users), partner.in_flight))
    partner.delay = 0.1
    partner.calls.clear()
    world.fill(sync.cohort, world.users(10, first=4))
    sync.destination.refresh_from_db()
    assert world.run(sync).state == RunState.SUCCEEDED
    adds = [partner.calls.index(call) for call in partner.calls if _adds(call)]
    removes = [call for call in partner.calls if not _adds(call)]
    assert (len(adds), len(removes)) == (2, 2)
    assert max(adds) == 1
    assert removes[0].at - partner.calls[1].at >= partner.delay


def _adds(call) -> bool:
    return call.kind == "add" or ": true" in json.dumps(call.body)


def test_a_thread__starts_no_request_that_may_outlast_the_lease(partner, sync):
    lease = leases.take(sync.destination_id, seconds=5)
    driver = loop.Loop(
        lease, sync.destination, sync.destination.endpoint(), threading.Event(), lambda runs: None, alone()
    )
    calls = len(partner.calls)
    driver.sender.send(None, Request(Operation.ADD, "POST", partner.url, {}, b"{}", 1), 0.0)
    driver.close()
    assert isinstance(driver.sender.results.get()[2], leases.NotSent)
    assert len(partner.calls) == calls
