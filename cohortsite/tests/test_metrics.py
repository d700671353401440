"""What Prometheus reads: who may, what it says, and that it costs the same however much there is."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from cohorts.models import CohortVersion
from cohortsite import heartbeat, roles, silence, tokens
from destinations.models import Destination
from events import spool
from receiving.models import RequestLog
from syncs.choices import RejectionKind, RunState
from syncs.models import Batch, Driver, Rejection, Run, Sync
from syncs.status.attention import Need
from tests import world

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_events_no_worker(settings, tmp_path, db):
    cache.clear()
    settings.EVENTS_DIR = tmp_path


def token_of(role):
    user = User.objects.create_user(role or "stranger", is_staff=True)
    if role:
        roles.grant()
        user.groups.add(Group.objects.get(name=role))
    return tokens.create(user, "prometheus")


@pytest.fixture
def ask():
    headers = {"Authorization": f"Bearer {token_of('viewer')[1]}"}
    return lambda: Client().get("/metrics", headers=headers)


def read(reply):
    """Return every sample: name without the prefix, and its label's value, to its number."""
    assert reply.status_code == 200
    return {
        (sample.name.removeprefix("cohort_sync_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(reply.content.decode())
        for sample in family.samples
    }


def a_run(sync, state, **fields):
    ended = None if state in ("pending", "running", "parked", "held") else timezone.now()
    values = {"trigger": "person", "from_version": 0, "to_version": 1, "finished_at": ended, **fields}
    return Run.objects.create(sync=sync, state=state, **values)


def a_call(status, ago=0):
    RequestLog.objects.create(
        received_at=timezone.now() - timedelta(seconds=ago), duration_ms=1, method="POST",
        path="/lists/1/add", status=status,
    )  # fmt: skip


# --- who ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer "}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"},
    {"Authorization": "Bearer \xff"},
])  # fmt: skip
def test_a_stranger_is_asked_for_a_token(headers):
    reply = Client().get("/metrics", headers=headers)
    assert (reply.status_code, reply["WWW-Authenticate"]) == (401, "Bearer")
    assert b"cohort_sync" not in reply.content


def test_a_session_is_not_enough(admin_client):
    assert admin_client.get("/metrics").status_code == 401


def test_a_token_without_the_right_to_see_runs_is_refused():
    reply = Client().get("/metrics", headers={"Authorization": f"Bearer {token_of(None)[1]}"})
    assert reply.status_code == 403
    assert b"cohort_sync" not in reply.content


def test_a_revoked_token_is_refused():
    stored, text = token_of("viewer")
    stored.revoked_at = timezone.now()
    stored.save()
    assert Client().get("/metrics", headers={"Authorization": f"Bearer {text}"}).status_code == 401


def test_only_reading(ask):
    assert ask().status_code == 200
    assert Client().post("/metrics").status_code == 405


@override_settings(SECURE_SSL_REDIRECT=True)
def test_prometheus_on_the_same_machine_may_ask_without_tls(ask):
    assert ask().status_code == 200


def test_it_asks_for_prometheus_own_format(ask):
    reply = ask()
    assert reply["Content-Type"].startswith("text/plain; version=")
    assert reply["Cache-Control"] == "no-store"


# --- what -----------------------------------------------------------------------------------------


def test_an_empty_installation_says_nought(ask):
    said = read(ask())
    assert said["runs_open", "running"] == 0
    assert said["users_last_day", "added"] == 0
    assert said["receiving_calls_last_5_minutes", "5xx"] == 0
    assert said["spool_bytes",] == 0
    assert ("worker_seconds",) not in said
    assert ("request_seconds", "0.5") not in said


def test_runs_and_users_are_those_of_a_day(ask):
    to = world.destination("http://127.0.0.1:9")
    first, second = (world.sync(world.cohort(), to) for _ in range(2))
    a_run(first, RunState.SUCCEEDED, added=7, removed=2)
    a_run(first, RunState.PARTIAL, added=1, rejected=3)
    a_run(first, RunState.FAILED, finished_at=timezone.now() - timedelta(hours=25), added=500)
    a_run(first, RunState.HELD)
    a_run(second, RunState.RUNNING, added=9)
    said = read(ask())
    assert {state: said["runs_open", state] for state in ("pending", "running", "parked", "held")} == {
        "pending": 0, "running": 1, "parked": 0, "held": 1,
    }  # fmt: skip
    assert said["runs_ended_last_day", "succeeded"] == said["runs_ended_last_day", "partial"] == 1
    assert said["runs_ended_last_day", "failed"] == 0
    assert [said["users_last_day", what] for what in ("added", "removed", "rejected")] == [8, 2, 3]


def test_destinations_by_what_keeps_them(ask):
    soon, gone = timezone.now() + timedelta(minutes=5), timezone.now() - timedelta(minutes=5)
    made = [world.destination("http://127.0.0.1:9") for _ in range(4)]
    Destination.objects.pause(made[0].pk, reason="A bad key.")
    Driver.objects.create(destination=made[0], next_at=soon)  # paused: not counted as parked, too
    Driver.objects.create(destination=made[1], next_at=soon)
    Driver.objects.create(destination=made[2], until=soon, next_at=gone)
    Driver.objects.create(destination=made[3], until=gone)
    said = read(ask())
    assert {state: said["destinations", state] for state in ("all", "paused", "parked", "sending")} == {
        "all": 4, "paused": 1, "parked": 1, "sending": 1,
    }  # fmt: skip


def test_how_long_a_sync_is_behind_counts_from_the_first_version_that_it_lacks(ask):
    cohort = world.cohort(["a"])
    equal, failed, never = (world.sync(cohort, world.destination("http://127.0.0.1:9")) for _ in range(3))
    Sync.objects.filter(pk__in=[equal.pk, failed.pk]).update(settled_version=1)
    now = timezone.now()
    CohortVersion.objects.filter(number=1).update(finished_at=now - timedelta(hours=5))
    for number, hours in ((2, 3), (3, 1)):
        world.fill(cohort, ["a", f"b{number}"])
        CohortVersion.objects.filter(number=number).update(finished_at=now - timedelta(hours=hours))
    Sync.objects.filter(pk=equal.pk).update(settled_version=3)
    a_run(equal, RunState.SUCCEEDED)
    a_run(failed, RunState.FAILED)
    said = read(ask())
    assert said["syncs_behind", "failed"] == said["syncs_behind", "none"] == 1
    assert said["syncs_behind", "succeeded"] == 0
    assert said["syncs_behind_seconds", "failed"] == pytest.approx(3 * 3600, abs=60)
    assert said["syncs_behind_seconds", "none"] == pytest.approx(5 * 3600, abs=60)
    Sync.objects.update(archived_at=now)
    assert ("syncs_behind_seconds", "failed") not in read(ask())
    assert never.settled_version == 0


def test_latencies_calls_rejections_spool_and_the_worker(ask):
    sync = world.sync(world.cohort(), world.destination("http://127.0.0.1:9"))
    run = a_run(sync, RunState.PARTIAL)
    for number in range(1, 101):
        Batch.objects.create(run=run, number=number, step="add", latency_ms=number * 10)
    for n, state in enumerate(["waiting", "spent", "dismissed"]):
        Rejection.objects.create(
            sync=sync, user_id=f"u{n}", kind=RejectionKind.REJECTED, state=state, wanted=True, code="x",
            message="y", run=run, last_at=timezone.now(),
        )  # fmt: skip
    for status, ago in ((200, 1), (200, 2), (404, 3), (429, 4), (503, 5), (200, 301)):
        a_call(status, ago)
    line = {"user_id": "a", "event": "e", "time": "2026-01-01T00:00:00Z", "properties": {}, "insert_id": None}
    spool.append("shop", [line])
    stop = threading.Event()
    stop.set()
    heartbeat.beat(stop)
    said = read(ask())
    assert said["request_seconds", "0.5"] == pytest.approx(0.5, abs=0.02)
    assert said["request_seconds", "0.95"] == pytest.approx(0.95, abs=0.02)
    assert said["rejected_users",] == 2
    by_status = {
        status: said["receiving_calls_last_5_minutes", status] for status in ("2xx", "4xx", "429", "5xx")
    }
    assert by_status == {"2xx": 2, "4xx": 1, "429": 1, "5xx": 1}
    assert said["spool_bytes",] > 50
    assert 0 <= said["worker_seconds",] < 30


def test_it_costs_the_same_however_much_there_is(ask):
    ask()
    with CaptureQueriesContext(connection) as few:
        ask()
    for _ in range(5):
        sync = world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9"))
        for state in (RunState.FAILED, RunState.SUCCEEDED, RunState.RUNNING):
            a_run(sync, state)
    for status in (200, 400, 500):
        a_call(status)
    with CaptureQueriesContext(connection) as many:
        said = read(ask())
    assert len(many) == len(few) <= 33
    # Nothing that people name is a label: it may be a secret, and there is no end of it.
    assert {name for names in said for name in names[1:]} <= {
        *RunState, *Need, *silence.KINDS, "none", "all", "paused", "sending", "added", "removed",
        "rejected", "undelivered", "received", "changed", "ignored", "refused",
            "held", "failed", "late", "2xx", "4xx", "5xx", "429", "0.5", "0.95",
    }  # fmt: skip
    calls = next(q["sql"] for q in many if "receiving_requestlog" in q["sql"])
    assert "LIMIT 10000" in calls and "body" not in calls
