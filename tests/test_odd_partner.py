"""What an odd or malicious partner may answer, over real HTTP: little is sent, nobody is recorded wrong."""

import itertools
import threading
import time

import pytest
from django.db import connection
from django.utils import timezone

from syncs import lifecycle
from syncs.choices import RunState, Trigger
from syncs.delivery import record
from syncs.delivery.ended import How
from syncs.models import Attempt, Batch, Driver, Rejection, Run
from tests import world
from tests.partner import Fault, Partner

pytestmark = pytest.mark.django_db(transaction=True)
FAILED_BY_NAME = {"status": 200, "then": "users_failed", "reason": "failed", "message": "Not taken."}


@pytest.fixture
def partner():
    with Partner() as started:
        yield started


def setup(partner, user_ids, preset="amplitude-list", **fields):
    return world.sync(world.cohort(user_ids), world.destination(partner.url, preset, **fields))


def test_a_partner_that_finds_everything_too_large__is_not_asked_user_by_user(partner):
    partner.fault = lambda call: Fault(413, {}) if call.kind == "add" else None
    sync = setup(partner, world.users(3000))
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert world.rejected(sync) == set()
    assert len(partner.calls) <= 80


def test_a_partner_whose_success_names_everybody_as_failed__marks_nobody(partner):
    partner.fault = lambda call: (
        Fault(200, {"invalidUserIds": call.users}, apply=True) if call.kind == "add" else None
    )
    sync = setup(partner, world.users(40_000), rules=[FAILED_BY_NAME])
    run = world.run(sync)
    assert run.state == RunState.FAILED
    assert "refused every user" in run.reason
    assert world.rejected(sync) == set()
    assert len(partner.calls) <= 30


@pytest.mark.parametrize("status", [409, 429, 503])
def test_a_partner_that_takes_nothing_just_now__has_refused_nobody(partner, status):
    """It is waited for, and then everybody is delivered."""
    busy = itertools.count()
    partner.fault = lambda call: Fault(status, {}) if call.kind == "add" and next(busy) < 22 else None
    sync = setup(partner, world.users(10))
    run = world.run(sync)
    assert "refused" not in run.reason
    assert world.rejected(sync) == set()
    while run.state != RunState.SUCCEEDED and len(partner.calls) < 100:
        run = world.run(sync)
    assert run.state == RunState.SUCCEEDED
    assert partner.members(world.name_at_partner(sync)) == set(world.users(10))


def test_batches_that_wait_for_a_canary__are_sent_in_their_order(partner):
    """Else a driver that is stopped just then leaves one out: the next goes on behind the last of them."""
    to = world.destination(partner.url, batch_size=5)
    cohort = world.cohort(world.users(400))
    syncs = [world.sync(cohort, to), world.sync(world.cohort(world.users(400)), to)]
    bad = set(world.users(400)[7::20])

    def fault(call):
        if call.kind == "add":
            time.sleep(0.004)
            return Fault(404, {}) if call.path.startswith("/lists/1/") and bad & set(call.users) else None
        return None

    partner.fault = fault
    runs = [lifecycle.start(sync, trigger=Trigger.PERSON) for sync in syncs]
    assert world.go(to).how == How.DONE
    assert Batch.objects.filter(step="add", size=1, user_ids__isnull=False).exists(), "no canary was sent"
    for run in runs:
        planned = Batch.objects.filter(run=run, step="add", user_ids__isnull=True).order_by("pk")
        firsts = list(planned.values_list("first_user", flat=True))
        assert firsts == sorted(firsts)
        assert len(firsts) == 80


def test_a_success_too_long_to_read_whole__delivers_nobody_whom_it_names_as_failed(partner):
    """At most 64 KiB of a reply are read: whom the rest names must not pass for delivered."""
    bad = world.users(1, first=9)

    def fault(call):
        if call.kind != "add":
            return None
        results = [{"id": user, "ok": user not in bad, "text": "x" * 90} for user in call.users]
        return Fault(200, {"invalidUserIds": [u for u in call.users if u in bad], "z": results}, apply=True)

    partner.fault = fault
    sync = setup(partner, world.users(1000), rules=[FAILED_BY_NAME])
    run = world.run(sync)
    assert (run.state, run.added) == (RunState.PARTIAL, 999)
    assert world.rejected(sync) == set(bad)


def test_one_user_who_always_makes_the_partner_stumble__does_not_park_the_destination(partner):
    """All others of the run went through before, and nothing else is sent while this one is tried."""
    poison = world.users(1, first=50)
    partner.fault = lambda call: Fault(500, {}) if set(call.users) & set(poison) else None
    sync = setup(partner, [*world.users(10), *poison], batch_size=10)
    run = world.run(sync)
    for _ in range(3):  # parked or not: whatever was believed, the next drives find it out
        Driver.objects.update(next_at=None)
        world.go(sync.destination)
    run.refresh_from_db()
    assert run.state == RunState.PARTIAL
    assert world.rejected(sync) == set(poison)
    assert not Driver.objects.get(destination=sync.destination).opened


def test_parts_that_get_one_try__wait_as_long_as_the_partner_asks(partner, settings):
    settings.RETRY_TIME_SCALE = 0.01
    sync = setup(partner, world.users(40), batch_size=10, threads=1)
    bad = set(world.users(10))
    tried = []

    def fault(call):
        if call.kind == "add" and bad & set(call.users):
            tried.append(time.monotonic())
            return Fault(500 if len(call.users) == 10 else 429, {}, headers={"Retry-After": "20"})
        return None

    partner.fault = fault
    world.run(sync)
    parts = tried[-10:]
    gaps = [after - before for before, after in zip(parts, parts[1:], strict=False)]
    assert min(gaps) >= 0.19


def test_while_the_breaker_is_open__a_long_retry_after_is_heeded(partner):
    sync = setup(partner, world.users(10))
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)
    partner.fault = lambda call: Fault(503, {})
    world.go(sync.destination)
    Driver.objects.update(next_at=None)
    partner.fault = lambda call: Fault(429, {}, headers={"Retry-After": "80000"})
    before = timezone.now()
    ended = world.go(sync.destination)
    assert ended.how == How.PARKED
    assert ended.next_at is not None
    run.refresh_from_db()
    assert (ended.next_at - before).total_seconds() >= 79  # RETRY_TIME_SCALE is 0.001


def test_batches_whose_transaction_failed__are_not_counted_twice(partner, monkeypatch):
    sync = setup(partner, world.users(200), batch_size=10)
    started = lifecycle.start(sync, trigger=Trigger.PERSON)
    real, calls = record.batches, itertools.count(1)

    def fails_once(changed):
        if next(calls) == 5:
            raise ValueError("a mistake of ours")
        return real(changed)

    monkeypatch.setattr(record, "batches", fails_once)
    assert "a mistake of ours" in world.go(sync.destination).reason
    world.mend(sync.destination)
    world.go(sync.destination)
    started.refresh_from_db()
    assert (started.state, started.added) == (RunState.SUCCEEDED, 200)
    assert partner.members(world.name_at_partner(sync)) == world.wanted(sync)


def test_what_waits_for_its_turn_by_the_rate__is_not_sent_after_a_cancel(partner):
    sync = setup(partner, world.users(40), batch_size=10, rate=0.5)
    run = lifecycle.start(sync, trigger=Trigger.COMMAND)

    def go():
        world.go(sync.destination)
        connection.close()

    thread = threading.Thread(target=go)
    deadline = time.monotonic() + 20
    thread.start()
    while not partner.sent("add") and time.monotonic() < deadline:
        time.sleep(0.05)
    lifecycle.cancel(Run.objects.get(pk=run.pk), by="anna")
    at = time.monotonic()
    thread.join(timeout=20)
    assert time.monotonic() - at < 1.9
    assert len(partner.sent("add")) == 10


def test_the_key_in_a_long_message__leaves_no_part_of_itself(partner):
    key = "Hr7Kq2Vx9Tz4Mn8Bc1Wp5Ls3Df6Gj0Ya"
    partner.key = key
    partner.fault = lambda call: Fault(400, {"message": "a" * 180 + key, "code": "c" * 90 + key})
    sync = setup(partner, world.users(1), credential=key)
    world.run(sync)
    sync.destination.refresh_from_db()
    logged = [
        sync.destination.pause_reason,
        *Run.objects.values_list("reason", flat=True),
        *Attempt.objects.values_list("message", flat=True),
        *Attempt.objects.values_list("code", flat=True),
        *Rejection.objects.values_list("message", flat=True),
    ]
    assert any("aaa" in text for text in logged)
    assert not [text for text in logged if key[:4] in text]


def test_a_long_address_of_a_redirect__is_not_kept_whole(partner):
    partner.fault = lambda call: Fault(302, {}, headers={"Location": "/" + "x" * 60_000})
    sync = setup(partner, world.users(1))
    run = world.run(sync)
    assert len(run.reason) < 1000
    assert max(map(len, Attempt.objects.values_list("message", flat=True))) < 1000
