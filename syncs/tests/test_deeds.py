"""What a person can do to a sync: approve or refuse a held run, rename, move, archive, restore, reset."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from cohorts import refresh
from syncs import drive, start
from syncs import lease as leases
from syncs.choices import OPEN_RUNS, RunMode, RunState, Trigger
from syncs.models import Run, RunQuerySet, Sync
from tests import world
from tests.partner import Partner

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


def test_an_approved_run__does_what_was_shown_and_no_more(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_percent=50)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    world.fill(sync.cohort, world.users(1))
    start.approve(run, by="ann")
    world.go(sync.destination)
    run.refresh_from_db()
    assert (run.state, run.approved_by, run.removed) == (RunState.SUCCEEDED, "ann", 6)
    assert partner.members(world.name_at_partner(sync)) == set(world.users(4))


def test_a_refused_run__ends_and_the_next_one_asks_again(partner, sync):
    Sync.objects.filter(pk=sync.pk).update(guard_users=5)
    world.fill(sync.cohort, world.users(4))
    run = world.run(sync)
    start.refuse(run, by="ann")
    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Refused by ann.")
    with pytest.raises(start.CannotRun):
        start.approve(run, by="bob")
    assert world.run(sync).state == RunState.HELD


def test_what_was_approved_with_the_cohorts_version__is_not_asked_again(partner, sync):
    sync.cohort.guard_percent = 50
    sync.cohort.save()
    version = refresh.replace(sync.cohort.pk, world.users(4), source="test")
    refresh.approve(sync.cohort.pk, version.number, by="ann")
    assert world.run(sync).state == RunState.SUCCEEDED
    assert partner.members(world.name_at_partner(sync)) == set(world.users(4))


def test_renaming__empties_the_old_name_and_fills_the_new_one(partner, sync):
    old = sync.external_name
    start.rename(sync, "VIPs", by="ann")
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
    with pytest.raises(start.CannotRun, match="Another sync"):
        start.rename(sync, other.external_name, by="ann")


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
        sync.destination.accepted_place = sync.destination.endpoint().place
        sync.destination.save()
        world.run(sync)
        assert elsewhere.members(world.name_at_partner(sync)) == set(world.users(10))
        assert Run.objects.first().state == RunState.SUCCEEDED


def test_archiving_with_emptying__leaves_nobody_at_the_partner(partner, sync):
    start.archive(sync, by="ann", empty_first=True)
    world.go(sync.destination)
    assert partner.members(sync.external_name) == set()
    sync.refresh_from_db()
    assert (sync.archived_at is not None, sync.enabled, sync.settled_version) == (True, False, 0)
    with pytest.raises(start.CannotRun, match="archived"):
        world.run(sync)


def test_an_archived_sync_that_is_restored__goes_on_where_it_was(partner, sync):
    start.archive(sync, by="ann", empty_first=False)
    world.fill(sync.cohort, world.users(12))
    start.restore(sync)
    run = world.run(sync)
    assert (run.added, run.removed) == (2, 0)
    assert partner.members(sync.external_name) == set(world.users(12))


def test_a_reset_sync__sends_everybody_again(partner, sync):
    start.reset(sync)
    assert world.run(sync).added == 10


# --- two at a time, and what comes in between ---------------------------------------------------


def test_emptying_an_archived_sync_after_a_move__sends_nobody_to_the_new_place(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.accepted_place = sync.destination.endpoint().place
        sync.destination.save()
        start.archive(sync, by="ann", empty_first=True)
        world.go(sync.destination)
        assert elsewhere.calls == []
        assert not Run.objects.filter(sync=sync, state__in=OPEN_RUNS).exists()
        sync.refresh_from_db()
        assert (sync.settled_version, sync.dirty, sync.list_id) == (0, False, None)


def test_renaming_after_a_move__fills_the_new_place_under_the_new_name(sync):
    with Partner() as elsewhere:
        sync.destination.base_url = elsewhere.url
        sync.destination.accepted_place = sync.destination.endpoint().place
        sync.destination.save()
        start.rename(sync, "VIPs", by="ann")
        world.go(sync.destination)
        assert elsewhere.members("VIPs") == set(world.users(10))


def test_renaming_a_list_that_the_partner_lost__makes_it_under_the_new_name(partner, sync):
    partner.lose_lists()
    start.rename(sync, "VIPs", by="ann")
    world.go(sync.destination)
    assert partner.members("VIPs") == set(world.users(10))
    sync.refresh_from_db()
    assert (sync.external_name, sync.next_name) == ("VIPs", "")


def test_a_new_name_that_another_sync_takes_meanwhile__is_given_up_with_a_word(partner, sync):
    other = world.sync(world.cohort(world.users(1), name="Other"), sync.destination)
    emptying = start.rename(sync, world.name_at_partner(other), by="ann")
    Sync.objects.filter(pk=other.pk).update(external_name=world.name_at_partner(other))
    assert world.go(sync.destination).how == drive.How.DONE
    emptying.refresh_from_db()
    assert "Other" in emptying.note
    sync.refresh_from_db()
    assert sync.next_name == ""
    assert partner.members(sync.external_name) == set(world.users(10))


def test_a_reset_during_a_run_that_was_ended_as_it_began__is_not_undone_by_its_end(partner, sync):
    """No driver was seen when it was cancelled: it has ended, and the driver does not know yet."""
    seen_pending = start.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL)

    def cancel_and_reset(call):
        if call.kind in ("add", "identify"):
            Run.objects.end(seen_pending.pk, RunState.CANCELLED, reason="Cancelled by ann.")
            start.reset(Sync.objects.get(pk=sync.pk))
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
    open_run = start.start(sync, trigger=Trigger.PERSON)
    first = Run.objects.get(pk=open_run.pk)
    Run.objects.filter(pk=open_run.pk).update(state=RunState.RUNNING)
    monkeypatch.setattr(RunQuerySet, "first", lambda found: first)
    with pytest.raises(start.CannotRun, match="under way"):
        start.start(sync, trigger=Trigger.PERSON, mode=RunMode.FULL)
    open_run.refresh_from_db()
    assert open_run.state == RunState.RUNNING


def test_a_due_time_is_taken_only_together_with_its_run(sync, monkeypatch):
    """Killed in between, a sync that runs once would never run."""
    due = timezone.now() - timedelta(minutes=1)
    Sync.objects.filter(pk=sync.pk).update(next_due_at=due, schedule_kind="once", schedule_once_at=due)

    class Killed(BaseException):
        pass

    def die(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(start, "start", die)
    with pytest.raises(Killed):
        start.start_due(timezone.now())
    sync.refresh_from_db()
    assert sync.next_due_at == due


def test_a_sync_whose_zone_is_no_longer_known__does_not_keep_the_others_from_their_time(partner):
    now = timezone.now()
    due = [
        world.sync(world.cohort(["u1"]), world.destination(partner.url)),
        world.sync(world.cohort(["u1"]), world.destination(partner.url)),
    ]
    Sync.objects.update(schedule_kind="hourly", next_due_at=now)
    Sync.objects.filter(pk=due[0].pk).update(timezone="Mars/Olympus")
    assert [run.sync_id for run in start.start_due(now)] == [due[1].pk]


def test_a_destination_that_was_paused__is_not_parked_by_what_was_still_in_flight(partner, sync):
    """Else a person who resumes it would wait for the time that it was parked for."""
    lease = leases.take(sync.destination_id, seconds=60)
    driver = drive.Drive(
        lease, sync.destination, sync.destination.endpoint(), threading.Event(), lambda runs: None
    )
    driver.pause("The key is refused.")
    driver.park(600, "The partner asked us to wait.")
    assert driver.ending.how == drive.How.PAUSED
    driver.close()
