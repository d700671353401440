"""Syncs end to end, over real HTTP, with a partner that keeps its own list and counts what it is sent."""

import base64
import threading
import time
from email.utils import formatdate

import pytest
from django.db import connection, transaction
from django.utils import timezone

from destinations import retry
from destinations.errors import Temporary
from syncs import due, lifecycle
from syncs.choices import BatchState, RejectionState, RunMode, RunState, Step, Trigger
from syncs.delivery import drive, loop
from syncs.delivery.ended import How
from syncs.models import Attempt, Batch, Driver, Rejection, Run, Sync
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
KINDS = ["amplitude-list", "amplitude-property"]


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def setup(partner, user_ids, preset="amplitude-list", **fields) -> Sync:
    return world.sync(world.cohort(user_ids), world.destination(partner.url, preset, **fields))


def assert_equal(of: Sync, partner: Partner) -> None:
    assert partner.members(world.name_at_partner(Sync.objects.get(pk=of.pk))) == world.wanted(of)


def always(*, kinds=("add", "remove", "identify"), **fault):
    return lambda call: Fault(**fault) if call.kind in kinds else None


def refuse(bad, **fault):
    values = {"status": 400, "body": {"error": "bad"}, **fault}
    return lambda call: Fault(**values) if call.kind != "create" and set(bad) & set(call.users) else None


def well(call):
    return None


# --- the main job -------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", KINDS)
def test_the_first_run_is_full_and_the_next_names_only_who_moved(partner, preset):
    sync = setup(partner, world.users(4500), preset)
    first = world.run(sync)
    assert first.state == RunState.SUCCEEDED
    assert (first.added, first.removed) == (4500, 0)
    assert_equal(sync, partner)
    adds = [call for call in partner.calls if call.kind in ("add", "identify")]
    assert sorted(len(call.users) for call in adds) == [500, 1000, 1000, 1000, 1000]

    before = len(partner.calls)
    world.fill(sync.cohort, world.users(4500, first=30))
    second = world.run(sync)
    assert (second.added, second.removed) == (30, 30)
    assert_equal(sync, partner)
    named = [user for call in partner.calls[before:] for user in call.users]
    assert sorted(named) == sorted([*world.users(30), *world.users(30, first=4500)])
    assert (second.from_version, second.to_version) == (1, 2)


def test_one_user_a_request_when_a_property_is_sent_singly(partner):
    sync = setup(partner, world.users(230), "amplitude-property", delivery="single")
    run = world.run(sync)
    assert_equal(sync, partner)
    assert {len(call.users) for call in partner.calls} == {1}
    assert run.requests == 230
    assert run.batches.count() == 3
    world.fill(sync.cohort, world.users(229))
    world.run(sync)
    assert partner.calls[-1].body["traits"] == {world.name_at_partner(sync): False}


def test_never_more_than_four_requests_are_in_flight_and_all_four_are_used(partner):
    partner.delay = 0.02
    world.run(setup(partner, world.users(1200), batch_size=50))
    assert partner.most_in_flight == 4


def test_every_request_carries_the_key_as_user_name_with_an_empty_password(partner):
    world.run(setup(partner, world.users(10)))
    expected = "Basic " + base64.b64encode(b"partner-key:").decode()
    assert {call.authorization for call in partner.calls} == {expected}


def test_the_list_is_created_once_and_keeps_its_name_when_the_cohort_is_renamed(partner):
    sync = setup(partner, world.users(10))
    world.run(sync)
    sync.cohort.name = "Another name"
    sync.cohort.save()
    world.fill(sync.cohort, world.users(12))
    world.run(sync)
    assert [call.kind for call in partner.calls] == ["create", "add", "add"]
    assert list(partner.names.values()) == [f"[Amplitude] Buyers: {sync.cohort.key}"]
    assert_equal(sync, partner)


def test_no_remove_begins_before_all_adds_are_answered(partner):
    sync = setup(partner, world.users(400), batch_size=50)
    world.run(sync)
    partner.delay = 0.02
    done_adds, too_early = [], []

    def watch(call):
        if call.kind == "remove" and partner.in_flight > 1:
            with_adds = [c for c in partner.calls if c.kind == "add" and not c.applied]
            too_early.extend(with_adds)
        return

    partner.calls.clear()
    partner.fault = watch
    world.fill(sync.cohort, world.users(400, first=200))
    world.run(sync)
    kinds = [call.kind for call in partner.calls]
    assert kinds == ["add"] * 4 + ["remove"] * 4
    assert not too_early, done_adds
    assert_equal(sync, partner)


def test_two_destinations_stand_at_different_versions_of_one_cohort(partner):
    first = setup(partner, world.users(100))
    second = world.sync(first.cohort, world.destination(partner.url, "amplitude-property"))
    world.run(first)
    world.fill(first.cohort, world.users(100, first=50))
    world.run(second)
    assert partner.members(world.name_at_partner(first)) == set(world.users(100))
    world.fill(first.cohort, world.users(100, first=70))
    world.run(first)
    world.run(second)
    name = world.name_at_partner(first)
    assert partner.lists["1"] == partner.on(name) == world.wanted(first)
    assert second.runs.first().added == 20


def test_two_cohorts_at_one_destination_have_requests_of_their_own(partner):
    first = setup(partner, world.users(100))
    second = world.sync(world.cohort(world.users(50, first=90)), first.destination)
    lifecycle.start(first, trigger=Trigger.COMMAND)
    lifecycle.start(second, trigger=Trigger.COMMAND)
    world.go(first.destination)
    assert_equal(first, partner)
    assert_equal(second, partner)


def test_eight_that_start_at_once_make_one_run(partner):
    sync = setup(partner, world.users(10))
    barrier, runs = threading.Barrier(8), []

    def begin():
        barrier.wait()
        runs.append(lifecycle.start(sync, trigger=Trigger.SCHEDULE).pk)
        connection.close()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(runs) == 8
    assert len(set(runs)) == Run.objects.count() == 1


def test_eight_that_ask_what_is_due_make_one_run_each(partner):
    syncs = [setup(partner, world.users(10)) for _ in range(3)]
    now = timezone.now()
    Sync.objects.update(schedule_kind="hourly", next_due_at=now)
    barrier, runs = threading.Barrier(8), []

    def ask():
        barrier.wait()
        runs.extend(run.pk for run in due.start_due(now))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(runs) == len(syncs) == Run.objects.count()


def test_one_sync_that_cannot_run_does_not_stop_the_others_that_are_due(partner):
    emptied, other = (setup(partner, world.users(10)) for _ in range(2))
    lifecycle.start(emptied, trigger=Trigger.PERSON, mode=RunMode.EMPTY)
    Sync.objects.update(schedule_kind="hourly", next_due_at=timezone.now())
    runs = due.start_due(timezone.now())
    assert [run.sync_id for run in runs] == [other.pk]
    assert emptied.runs.get().mode == RunMode.EMPTY


# --- retries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(status, {}) for status in (408, 409, 423, 424, 425, 429, 500, 502, 503, 504, 507)),
        Fault(500, {}, apply=True),
        Fault(how="reset"),
        Fault(how="reset", apply=True),
        Fault(200, {"listId": 1}, how="half"),
        Fault(200, {}, how="half", apply=True),
        Fault(how="silence", seconds=0.6),
    ],
    ids=lambda fault: f"{fault.status} {fault.how} {'applied' if fault.apply else ''}",
)
def test_what_may_pass_is_tried_again_and_ends_equal(partner, fault):
    sync = setup(partner, world.users(300), batch_size=100, read_timeout=0.3)
    failed = []

    def once_each(call):
        key = (call.path, tuple(call.users))
        if key in failed:
            return None
        failed.append(key)
        return fault

    partner.fault = once_each
    run = world.run(sync)
    assert run.state == RunState.SUCCEEDED, run.reason
    assert run.retries == len(failed) == 4
    assert_equal(sync, partner)


def test_the_waits_are_those_of_the_protocol_by_an_injected_clock(partner, monkeypatch, settings):
    """Nine requests; gaps of 1, 2, 4 … 128 s, each up to a tenth longer. The clock is moved."""
    settings.RETRY_TIME_SCALE = 1.0
    sync = setup(partner, world.users(5), threads=1)
    world.run(sync)
    world.fill(sync.cohort, world.users(6))
    times, moved = [], [0.0]
    real = time.monotonic

    def fail(call):
        times.append(real() + moved[0])
        return Fault(503, {})

    partner.fault = fail
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    stop = threading.Event()
    for _ in range(12):
        # In one process a wait passes by the clock; a longer one is over when its time has come.
        monkeypatch.setattr(time, "monotonic", lambda: real() + moved[0])
        monkeypatch.setattr(stop, "wait", lambda seconds: moved.__setitem__(0, moved[0] + seconds))
        ended = drive.drive(sync.destination_id, stop=stop)
        if len(times) >= 9:
            break
        assert ended.how == How.PARKED
        moved[0] += max((ended.next_at - timezone.now()).total_seconds(), 0)
        Driver.objects.update(next_at=None)
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(gaps) >= 8
    for number, gap in enumerate(gaps[:8]):
        assert 2**number <= gap <= 2**number * 1.1 + 0.5, (number, gaps)


def test_the_decision_itself_has_the_gaps_to_the_digit():
    for low_or_high in (min, max):
        waits = [
            retry.decide(n, Temporary("", code="x"), uniform=low_or_high, scale=1.0).wait for n in range(1, 9)
        ]
        assert waits == [2 ** (n - 1) * low_or_high(1.0, 1.1) for n in range(1, 9)]


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_lengthens_the_wait_and_a_long_one_parks_without_spending_a_try(partner, form, settings):
    settings.RETRY_TIME_SCALE = 1.0
    sync = setup(partner, world.users(5))
    value = "1800" if form == "seconds" else formatdate(time.time() + 1800, usegmt=True)
    partner.fault = lambda call: Fault(429, {}, headers={"Retry-After": value})
    run = world.run(sync)
    assert run.state == RunState.PARKED
    wait = (Driver.objects.get().next_at - timezone.now()).total_seconds()
    assert 1790 < wait <= 1800
    assert Batch.objects.get().tries == 0
    assert len(partner.calls) == 1


def test_a_wait_of_minutes_leaves_the_destination_and_keeps_the_count(partner, settings):
    settings.RETRY_TIME_SCALE = 1.0
    sync = setup(partner, world.users(5))
    partner.fault = lambda call: Fault(503, {}, headers={"Retry-After": "60"})
    ended_at = time.monotonic()
    run = world.run(sync)
    assert time.monotonic() - ended_at < 3
    assert run.state == RunState.PARKED
    assert Batch.objects.get().tries == 1
    assert world.go(sync.destination).how == How.PARKED
    assert len(partner.calls) == 1


@pytest.mark.parametrize("value", ["soon", "-5", "", "1e9", "Thu, 99 Jan"])
def test_a_retry_after_that_is_junk_is_ignored(partner, value):
    sync = setup(partner, world.users(5))
    first = [Fault(429, {}, headers={"Retry-After": value})]
    partner.fault = lambda call: first.pop() if first else None
    assert world.run(sync).state == RunState.SUCCEEDED


def test_one_batch_whose_retries_are_spent_is_tried_in_parts_and_its_rest_kept(partner):
    sync = setup(partner, world.users(1000), batch_size=100)
    partner.fault = refuse({"u0000555"}, status=503, body={})
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == set(world.users(10, first=550))
    assert {row.kind for row in Rejection.objects.all()} == {"undelivered"}
    assert all(row.maybe_held for row in Rejection.objects.all())
    assert max(partner.payloads().values()) <= 9
    assert partner.members(world.name_at_partner(sync)) == set(world.users(1000)) - world.rejected(sync)
    partner.fault = well
    world.run(sync)
    assert_equal(sync, partner)


def test_a_dead_partner_is_parked_marks_nobody_and_comes_back_by_itself(partner):
    sync = setup(partner, world.users(1000), batch_size=100)
    world.run(sync)
    world.fill(sync.cohort, world.users(1000, first=500))
    partner.calls.clear()
    partner.fault = always(status=503, body={})
    run = world.run(sync)
    assert run.state == RunState.PARKED
    assert "503" in run.reason
    assert not Rejection.objects.exists()
    # Nine each for those in flight at first, and what took the place of the first three.
    assert len(partner.calls) <= 4 * 9 + 3
    driver = Driver.objects.get()
    assert driver.opened == 1
    # The probe: the batch that waited, and, since that may be about its users, somebody whom the partner has.
    Driver.objects.update(next_at=None)
    before = len(partner.calls)
    world.go(sync.destination)
    assert len(partner.calls) == before + 2
    assert Driver.objects.get().opened == 2
    partner.fault = well
    Driver.objects.update(next_at=None)
    world.go(sync.destination)
    assert_equal(sync, partner)
    assert Driver.objects.get().opened == 0


# --- the failure table: what is refused ---------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("preset", KINDS)
def test_one_bad_user_in_a_thousand_is_found_in_14_requests(partner, status, preset):
    sync = setup(partner, world.users(3000), preset)
    world.run(sync)
    world.fill(sync.cohort, world.users(4000))
    partner.calls.clear()
    partner.fault = refuse({"u0003123"}, status=status, body={"message": "no such user"})
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert len(partner.calls) <= 14
    row = Rejection.objects.get()
    assert (row.user_id, row.tries, row.maybe_held) == ("u0003123", 1, False)
    assert row.code == f"http_{status}"
    assert "no such user" in row.message
    name = world.name_at_partner(Sync.objects.get())
    assert partner.members(name) == set(world.users(4000)) - {"u0003123"}


def test_users_whom_the_reply_names_are_dropped_at_once(partner):
    sync = setup(partner, world.users(1000))
    bad = world.users(1000)[::10]
    body = {"error": {"code": "invalid_user_id"}, "invalidUserIds": bad}
    partner.fault = refuse(bad, status=404, body=body)
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert len(partner.calls) == 3
    assert world.rejected(sync) == set(bad)


def test_a_success_that_names_failed_users_keeps_them_by_a_rule(partner):
    rule = {
        "status": 200,
        "then": "users_failed",
        "reason": "unknown",
        "message": "m",
        "users_place": "failed",
    }
    sync = setup(partner, world.users(100), rules=[rule])
    partner.fault = lambda call: (
        Fault(200, {"failed": ["u0000007"]}, apply=True) if "u0000007" in call.users else None
    )
    run = world.run(sync)
    assert world.rejected(sync) == {"u0000007"}
    assert (run.added, run.rejected) == (99, 1)


def test_a_rejected_user_is_tried_again_at_growing_distance_and_forgotten_when_taken(partner):
    sync = setup(partner, world.users(20))
    partner.fault = refuse({"u0000007"})
    world.run(sync)
    tried = []
    for number in range(1, 20):
        before = len(partner.calls)
        world.run(sync)
        if len(partner.calls) > before:
            tried.append(number)
    assert tried[:4] == [1, 3, 7, 15]
    Rejection.objects.update(state=RejectionState.WAITING, due_at_run=0)
    partner.fault = well
    world.run(sync)
    assert not Rejection.objects.exists()
    assert_equal(sync, partner)


def test_a_rejected_user_who_leaves_and_cannot_be_held_is_forgotten_without_a_request(partner):
    sync = setup(partner, world.users(20))
    world.run(sync)
    world.fill(sync.cohort, world.users(21))
    partner.fault = refuse({"u0000020"})
    world.run(sync)
    assert not Rejection.objects.get().maybe_held
    world.fill(sync.cohort, world.users(20))
    before = len(partner.calls)
    assert world.run(sync).state == RunState.SUCCEEDED
    assert len(partner.calls) == before
    assert not Rejection.objects.exists()


@pytest.mark.parametrize("preset", KINDS)
@pytest.mark.parametrize("seen_before", [True, False])
def test_a_partner_that_refuses_everybody_ends_the_run_within_30_requests_and_marks_nobody(
    partner, preset, seen_before
):
    sync = setup(partner, world.users(5000), preset)
    if seen_before:
        world.run(sync)
        world.fill(sync.cohort, world.users(10_000))
    partner.calls.clear()
    partner.fault = always(status=400, body={"message": "never"})
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert "refused every user" in run.reason and "never" in run.reason
    assert len(partner.calls) <= 30
    assert not Rejection.objects.exists()
    partner.fault = well
    assert world.run(sync).pk == run.pk, "it is taken up again"
    assert_equal(sync, partner)


def test_a_partner_that_begins_to_refuse_everybody_in_the_middle_is_asked_little_more(partner):
    sync = setup(partner, world.users(5000), batch_size=500, threads=1)
    partner.fault = lambda call: Fault(400, {"message": "never"}) if len(partner.calls) > 3 else None
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert len(partner.calls) <= 40
    assert not Rejection.objects.exists()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_pauses_the_destination_and_marks_nobody(partner, status):
    sync = setup(partner, world.users(5000))
    partner.fault = always(status=status, body={})
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert sync.destination.is_paused
    assert "credential" in sync.destination.pause_reason
    assert len(partner.calls) <= 1 + 4
    assert not Rejection.objects.exists()
    assert world.go(sync.destination).how == How.PAUSED
    partner.fault = well
    world.mend(sync.destination)
    world.run(sync)
    assert_equal(sync, partner)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(301, {}, headers={"Location": "https://elsewhere.example/"}), "Redirects are not followed"),
        (Fault(302, {}, headers={"Location": "/login"}), "Redirects are not followed"),
        (Fault(200, {}, headers={"Content-Type": "text/html"}), "web page"),
        (Fault(405, {}), "405"),
        (Fault(501, {}), "501"),
        (Fault(505, {}), "505"),
    ],
)
def test_what_a_person_must_put_right_pauses_the_destination(partner, fault, says):
    sync = setup(partner, world.users(50))
    partner.fault = lambda call: fault if call.kind == "add" else None
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert says in sync.destination.pause_reason
    assert len(partner.calls) == 2
    assert not Rejection.objects.exists()


def test_a_create_call_without_a_list_id_pauses_and_is_not_tried_again(partner):
    sync = setup(partner, world.users(50))
    partner.fault = lambda call: Fault(200, {"id": 5})
    world.run(sync)
    assert "list id" in sync.destination.pause_reason
    assert len(partner.calls) == 1


def test_413_halves_batches_and_the_size_is_remembered_for_the_destination(partner):
    sync = setup(partner, world.users(2000))
    partner.fault = lambda call: Fault(413, {}) if len(call.users) > 260 else None
    assert world.run(sync).state == RunState.SUCCEEDED
    assert_equal(sync, partner)
    assert Driver.objects.get().learned_size == 250
    partner.calls.clear()
    world.fill(sync.cohort, world.users(3000))
    world.run(sync)
    assert [len(call.users) for call in partner.calls] == [250] * 4


def test_413_while_a_byte_limit_leaves_users_over(partner):
    sync = setup(partner, [f"{n:03d}" + "x" * 900 for n in range(60)], batch_size=20, max_bytes=10_000)
    partner.fault = lambda call: Fault(413, {}) if len(call.users) > 3 else None
    assert world.run(sync).state == RunState.SUCCEEDED
    assert_equal(sync, partner)


def test_one_user_alone_who_is_too_large_is_rejected(partner):
    sync = setup(partner, world.users(20))
    partner.fault = refuse({"u0000007"}, status=413)
    world.run(sync)
    assert world.rejected(sync) == {"u0000007"}


# --- the list is gone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [None, Fault(410, {}), Fault(404, {})],
    ids=["404 with a code", "410", "bare 404"],
)
@pytest.mark.parametrize("joins", [True, False])
def test_a_lost_list_is_made_anew_and_filled(partner, fault, joins):
    sync = setup(partner, world.users(3000))
    world.run(sync)
    partner.lose_lists()

    def gone(call):
        lost = call.kind in ("add", "remove") and call.path.split("/")[-2] not in partner.lists
        return fault if lost else None

    partner.fault = gone
    world.fill(sync.cohort, world.users(3100) if joins else world.users(2900))
    first = world.run(sync)
    assert first.state == RunState.FAILED
    assert "gone" in first.reason
    latest = Run.objects.latest("pk")
    assert (latest.mode, latest.trigger, latest.state) == (
        RunMode.FULL,
        Trigger.LIST_GONE,
        RunState.SUCCEEDED,
    )
    assert_equal(sync, partner)
    assert not sync.destination.is_paused


def test_a_lost_list_forgets_who_was_rejected(partner):
    sync = setup(partner, world.users(20))
    partner.fault = refuse({"u0000007"})
    world.run(sync)
    world.run(sync)
    assert Rejection.objects.get().tries == 2
    partner.lose_lists()
    world.fill(sync.cohort, world.users(21))
    world.run(sync)
    assert Rejection.objects.get().tries == 1, "the new list has been asked once"


def test_a_list_that_is_gone_twice_pauses_and_comes_right_when_resumed(partner):
    sync = setup(partner, world.users(3000), batch_size=500, threads=1)
    world.run(sync)
    world.fill(sync.cohort, world.users(3500))
    partner.lose_lists()
    adds = []

    def gone_again(call):
        if call.kind == "add":
            adds.append(call)
            return Fault(410, {}) if len(adds) in (1, 4) else None
        return None

    partner.fault = gone_again
    world.run(sync)
    assert "gone again" in sync.destination.pause_reason
    partner.fault = well
    world.mend(sync.destination)
    world.run(sync)
    assert_equal(sync, partner)


def test_an_emptying_run_whose_list_is_gone_has_succeeded(partner):
    sync = setup(partner, world.users(300))
    world.run(sync)
    partner.lose_lists()
    run = world.run(sync, mode=RunMode.EMPTY)
    assert run.state == RunState.SUCCEEDED
    world.run(sync)
    assert_equal(sync, partner)


def test_a_bare_404_about_a_user_is_distinguished_from_one_about_the_list(partner):
    sync = setup(partner, world.users(1000))
    world.run(sync)
    world.fill(sync.cohort, world.users(1200))
    partner.fault = refuse({"u0001100"}, status=404, body={})
    run = world.run(sync)
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == {"u0001100"}
    assert len(partner.names) == 1


@pytest.mark.parametrize("preset", KINDS)
def test_a_bare_404_to_everybody_at_first_is_a_wrong_path(partner, preset):
    sync = setup(partner, world.users(2000), preset)
    partner.fault = always(status=404, body={})
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert "404" in sync.destination.pause_reason
    assert len(partner.calls) <= 30
    assert not Rejection.objects.exists()


def test_a_property_destination_that_answers_404_later_is_paused_and_loses_no_list(partner):
    sync = setup(partner, world.users(2000), "amplitude-property")
    world.run(sync)
    world.fill(sync.cohort, world.users(2100))
    partner.fault = always(status=404, body={})
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert sync.destination.is_paused
    assert "list" not in run.reason
    sync.refresh_from_db()
    assert sync.settled_version == 1
    assert sync.dirty


# --- stopping, cancelling, being taken over -----------------------------------------------------


def test_a_cancelled_run_finishes_what_is_in_flight_and_the_next_puts_all_right(partner, monkeypatch):
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    sync = setup(partner, world.users(3000), batch_size=100)
    world.run(sync)
    world.fill(sync.cohort, world.users(3000, first=1500))
    partner.calls.clear()

    def cancel_at_the_fifth(call):
        if len(partner.calls) == 5:
            Run.objects.filter(state=RunState.RUNNING).update(cancel_requested=True)
            connection.close()
        return

    partner.fault = cancel_at_the_fifth
    run = world.run(sync)
    assert run.state == RunState.CANCELLED
    assert len(partner.calls) <= 5 + 8
    assert not run.batches.filter(state=BatchState.SENDING).exists()
    partner.fault = well
    sync.refresh_from_db()
    assert (sync.dirty, sync.settled_version) == (True, 1)
    world.fill(sync.cohort, world.users(3000, first=100))
    world.run(sync)
    assert_equal(sync, partner)


def test_a_cancelled_emptying_run_is_put_right_for_those_who_never_moved(partner, monkeypatch):
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.0)
    sync = setup(partner, world.users(1000), batch_size=100, threads=1)
    world.run(sync)
    partner.fault = lambda call: Run.objects.update(cancel_requested=True) and connection.close()
    assert world.run(sync, mode=RunMode.EMPTY).state == RunState.CANCELLED
    partner.fault = well
    world.run(sync)
    assert_equal(sync, partner)


def test_a_stop_sends_nothing_new_records_what_is_in_flight_and_frees_the_lease(partner):
    partner.delay = 0.1
    sync = setup(partner, world.users(2000), batch_size=50)
    stop = threading.Event()
    partner.fault = lambda call: stop.set() if len(partner.calls) == 9 else None
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    ended = world.go(sync.destination, stop=stop)
    assert ended.how == How.STOPPED
    assert len(partner.calls) <= 9 + 4
    run = Run.objects.get()
    assert run.state == RunState.PENDING
    assert run.batches.filter(state=BatchState.DELIVERED).count() == len(partner.calls)
    assert Driver.objects.get().until is None
    world.go(sync.destination)
    assert_equal(sync, partner)
    assert sum(len(call.users) for call in partner.calls) == 2000, "nobody was sent twice"


def test_a_stop_ends_a_wait_within_a_second_and_the_wait_is_kept(partner, settings):
    settings.RETRY_TIME_SCALE = 1.0
    sync = setup(partner, world.users(20))
    stop = threading.Event()

    def fail(call):
        threading.Timer(0.2, stop.set).start()
        return Fault(503, {}, headers={"Retry-After": "4"})

    partner.fault = fail
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    began = time.monotonic()
    world.go(sync.destination, stop=stop)
    assert time.monotonic() - began < 1.5
    assert Batch.objects.get().tries == 1
    left = (Driver.objects.get().next_at - timezone.now()).total_seconds()
    assert 2 < left <= 4


def test_a_driver_that_lost_its_lease_writes_nothing_more(partner):
    sync = setup(partner, world.users(2000), batch_size=50)
    at_takeover = {}
    once, done = threading.Lock(), threading.Event()

    def take_over(call):
        if len(partner.calls) >= 9 and once.acquire(blocking=False):
            # In one transaction: the driver finds itself out as soon as this is committed.
            with transaction.atomic():
                Driver.objects.update(fence=99, owner="another")
                at_takeover["rows"] = list(Batch.objects.order_by("pk").values_list("pk", "state"))
                at_takeover["calls"] = len(partner.calls)
            connection.close()
            done.set()

    partner.fault = take_over
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    assert world.go(sync.destination).how == How.LOST
    assert done.wait(30)
    assert list(Batch.objects.order_by("pk").values_list("pk", "state")) == at_takeover["rows"]
    assert Run.objects.get().state == RunState.RUNNING
    assert len(partner.calls) <= at_takeover["calls"] + 4
    assert Driver.objects.get().owner == "another"
    Driver.objects.update(until=None)
    partner.fault = well
    world.go(sync.destination)
    assert_equal(sync, partner)


def test_a_request_may_take_longer_than_the_usual_lease(partner):
    sync = setup(partner, world.users(20), deadline=300.0)
    stop = threading.Event()
    threading.Timer(5, stop.set).start()
    lifecycle.start(sync, trigger=Trigger.COMMAND)
    assert world.go(sync.destination, stop=stop).how == How.DONE
    assert_equal(sync, partner)


# --- what is kept of it -------------------------------------------------------------------------


def test_history_tells_what_was_sent_and_answered_without_the_key(partner):
    sync = setup(partner, world.users(20))
    partner.fault = refuse({"u0000007"}, body={"message": "You sent partner-key and cGFydG5lci1rZXk6"})
    world.run(sync)
    batch = Batch.objects.get(step=Step.ADD)
    assert batch.state == BatchState.NARROWED
    assert batch.delivered == 19
    assert Attempt.objects.count() > 3
    texts = [batch.request_head, batch.reply_head, batch.message]
    for row in Attempt.objects.all():
        texts += [row.request_head, row.reply_head, row.message]
    texts.append(Rejection.objects.get().message)
    assert not [text for text in texts if "partner-key" in text or "cGFydG5lci1rZXk6" in text]
    assert "POST /lists/1/add HTTP/1.1" in batch.request_head
    assert Run.objects.get().requests == len(partner.calls)
