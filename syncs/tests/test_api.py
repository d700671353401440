"""The REST API of syncs and runs: what an orchestrator does, and what it may not."""

import json

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from destinations.models import Destination
from syncs.choices import RejectionKind, RunState
from syncs.models import Driver, Rejection, Run, Sync
from tests import world
from tests.partner import Partner

pytestmark = pytest.mark.django_db
URL = "/api/v1/syncs"
RUNS = "/api/v1/runs"
OPERATOR = ("view_sync", "view_run", "view_rejection", "run_sync")
ADMIN = (*OPERATOR, "add_sync", "change_sync", "delete_sync")


def client_of(*permissions, name="ann"):
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = APIClient(raise_request_exception=False)
    client.force_authenticate(user)
    return client


@pytest.fixture
def client():
    return client_of(*ADMIN)


@pytest.fixture
def sync():
    cohort = world.cohort(["a", "b"], key="buyers")
    return world.sync(cohort, world.destination("http://127.0.0.1:9", name="acme"))


def rejection(sync, user_id="a", **values):
    run = sync.runs.first() or Run.objects.create(
        sync=sync, trigger="person", from_version=0, to_version=1, state=RunState.PARTIAL
    )
    return Rejection.objects.create(
        **{
            "sync": sync,
            "user_id": user_id,
            "kind": RejectionKind.REJECTED,
            "wanted": True,
            "code": "invalid_user_id",
            "message": "no such user",
            "run": run,
            "last_at": timezone.now(),
            **values,
        }
    )


def run_of(sync, state, **values):
    return Run.objects.create(
        **{"sync": sync, "trigger": "person", "from_version": 0, "to_version": 1, "state": state, **values}
    )


@pytest.mark.django_db(transaction=True)
def test_an_orchestrator_triggers_a_run_and_polls_it_to_its_end(client):
    with Partner() as partner:
        cohort = world.cohort(world.users(3), key="buyers")
        made = world.sync(cohort, world.destination(partner.url, name="acme"))
        reply = client.post(f"{URL}/buyers:acme/runs", {"mode": "changes"}, format="json")
        assert reply.status_code == 202, reply.content
        run = reply.json()
        assert (run["sync"], run["state"], run["is_open"]) == (made.pk, "pending", True)
        assert (run["trigger"], run["triggered_by"]) == ("api", "ann")
        again = client.post(f"{URL}/{made.pk}/runs", {}, format="json")
        assert again.json()["id"] == run["id"]

        world.go(made.destination)
        ended = client.get(f"{RUNS}/{run['id']}").json()
        assert (ended["state"], ended["is_open"], ended["added"], ended["planned"]) == (
            "succeeded",
            False,
            3,
            3,
        )
        assert client.get(f"{URL}/buyers:acme").json()["state"]["label"] == "Equal"


def test_a_sync_is_made_read_changed_and_archived(client, sync):
    world.cohort(["a"], key="carts")
    body = {
        "cohort": "carts",
        "destination": "acme",
        "schedule_kind": "daily",
        "schedule_at": "09:00",
        "timezone": "Europe/Berlin",
    }
    made = client.post(URL, body, format="json")
    assert made.status_code == 201, made.content
    said = made.json()
    assert said["name"] == "carts:acme"
    assert said["next_due_at"] is not None
    assert said["state"]["label"] == "Not sent yet"
    assert client.get(f"{URL}/{said['id']}").json() == client.get(f"{URL}/carts:acme/").json()

    changed = client.patch(f"{URL}/carts:acme", {"schedule_kind": "manual"}, format="json")
    assert (changed.status_code, changed.json()["next_due_at"]) == (200, None)

    assert client.delete(f"{URL}/carts:acme").status_code == 204
    assert [row["name"] for row in client.get(URL).json()["results"]] == ["buyers:acme"]
    assert [row["name"] for row in client.get(URL, {"archived": "true"}).json()["results"]] == ["carts:acme"]
    assert client.post(f"{URL}/carts:acme/runs", {}, format="json").status_code == 409

    again = client.post(URL, body, format="json")
    assert (again.status_code, again.json()["id"]) == (201, said["id"])
    assert again.json()["archived_at"] is None
    assert again.json()["next_due_at"] is not None


def test_switching_a_sync_on_or_off_keeps_to_its_schedule(client, sync):
    client.patch(f"{URL}/buyers:acme", {"schedule_kind": "hourly"}, format="json")
    assert client.post(f"{URL}/buyers:acme/pause").json()["enabled"] is False
    resumed = client.post(f"{URL}/buyers:acme/resume").json()
    assert (resumed["enabled"], resumed["next_due_at"] is not None) == (True, True)


def test_archiving_may_empty_the_partner_first(client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    assert client.delete(f"{URL}/buyers:acme?empty=maybe").status_code == 400
    assert client.delete(f"{URL}/buyers:acme?empty=true").status_code == 204
    run = Run.objects.get(sync=sync)
    assert (run.mode, run.approved_by) == ("empty", "ann")


def test_a_list_takes_a_fixed_number_of_queries(client, sync, django_assert_num_queries):
    def ask():
        return client.get(URL).json()["results"]

    client.get(URL)
    with django_assert_num_queries(4):
        assert len(ask()) == 1
    for number in range(5):
        world.sync(world.cohort(["a"]), world.destination("http://127.0.0.1:9", name=f"d{number}"))
    with django_assert_num_queries(4):
        assert len(ask()) == 6


def test_emptying_pauses_the_sync(client, sync):
    Sync.objects.filter(pk=sync.pk).update(settled_version=1)
    reply = client.post(f"{URL}/buyers:acme/runs", {"mode": "empty"}, format="json")
    assert (reply.status_code, reply.json()["mode"], reply.json()["approved_by"]) == (202, "empty", "ann")
    sync.refresh_from_db()
    assert sync.enabled is False


def test_a_dry_run_tells_what_would_be_sent(client, sync):
    said = client.get(f"{URL}/buyers:acme/preview").json()
    assert (said["adds"], said["removes"], said["sample_adds"]) == (2, 0, ["a", "b"])
    assert said["creates_list"] is True
    assert world.KEY not in json.dumps(said)
    assert client.get(f"{URL}/buyers:acme/preview", {"mode": "moon"}).status_code == 400
    assert client.get(f"{URL}/buyers:acme/preview", {"moon": "full"}).status_code == 400
    assert not Run.objects.exists()


def test_a_sync_without_members_cannot_run(client):
    world.sync(world.cohort(key="none"), world.destination("http://127.0.0.1:9", name="acme"))
    for reply in (
        client.post(f"{URL}/none:acme/runs", {}, format="json"),
        client.get(f"{URL}/none:acme/preview"),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "not_now")


def test_a_held_run_is_approved_or_refused_once(client, sync):
    for action, state in (("approve", "pending"), ("refuse", "cancelled")):
        held = run_of(sync, RunState.HELD, reason="many leave")
        reply = client.post(f"{RUNS}/{held.pk}/{action}")
        assert (reply.status_code, reply.json()["state"]) == (202, state)
        assert client.post(f"{RUNS}/{held.pk}/{action}").status_code == 409
        Run.objects.update(state=RunState.SUCCEEDED)
    assert Run.objects.latest("pk").reason == "Refused by ann."


def test_a_run_is_cancelled_once(client, sync):
    run = run_of(sync, RunState.PENDING)
    assert client.post(f"{RUNS}/{run.pk}/cancel").json()["state"] == "cancelled"
    reply = client.post(f"{RUNS}/{run.pk}/cancel")
    assert (reply.status_code, reply.json()["error"]["message"]) == (409, "The run has ended already.")


def test_a_failed_run_goes_on_and_a_parked_one_waits_no_longer(client, sync):
    Sync.objects.filter(pk=sync.pk).update(dirty=True)
    failed = run_of(sync, RunState.FAILED)
    reply = client.post(f"{RUNS}/{failed.pk}/resume")
    assert (reply.status_code, reply.json()["id"], reply.json()["state"]) == (202, failed.pk, "pending")

    Run.objects.update(state=RunState.PARKED)
    Driver.objects.create(destination=sync.destination, next_at=timezone.now(), next_reason="busy")
    assert client.post(f"{RUNS}/{failed.pk}/resume").status_code == 202
    assert Driver.objects.get().next_at is None

    Run.objects.update(state=RunState.SUCCEEDED)
    assert client.post(f"{RUNS}/{failed.pk}/resume").status_code == 409


def test_rejected_users_are_listed_retried_and_dismissed(client, sync):
    odd = 'ü\u202e," 😀'
    for user_id in ("a", "b", odd):
        rejection(sync, user_id, tries=8, state="spent")
    listed = client.get(f"{URL}/buyers:acme/rejections", {"limit": 2}).json()
    assert (listed["count"], [row["userId"] for row in listed["results"]]) == (3, ["a", "b"])
    found = client.get(f"{URL}/buyers:acme/rejections", {"userId": odd, "state": "spent"}).json()
    assert [row["userId"] for row in found["results"]] == [odd]

    reply = client.post(f"{URL}/buyers:acme/rejections/retry", {"userIds": ["a", odd, "x"]}, format="json")
    assert reply.json() == {"users": 2}
    assert set(Rejection.objects.filter(tries=0).values_list("user_id", flat=True)) == {"a", odd}
    reply = client.post(f"{URL}/buyers:acme/rejections/dismiss", {"all": True}, format="json")
    assert reply.json() == {"users": 3}


def test_another_syncs_rejected_users_are_left_alone(client, sync):
    other = world.sync(world.cohort(["a"], key="carts"), sync.destination)
    mine, theirs = rejection(sync), rejection(other)
    client.post(f"{URL}/buyers:acme/rejections/dismiss", {"all": True}, format="json")
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.state, theirs.state) == ("dismissed", "waiting")


NEW = {"cohort": "carts", "destination": "acme"}
BAD: dict[str, tuple[dict[str, object], str | None, str | None]] = {
    "no cohort": ({"cohort": "nobody"}, "cohort", "does_not_exist"),
    "a cohort that is a list": ({"cohort": ["carts"]}, "cohort", None),
    "NUL for a cohort": ({"cohort": "\0"}, "cohort", None),
    "a surrogate for a cohort": ({"cohort": "\ud800"}, "cohort", None),
    "no destination": ({"destination": None}, "destination", "null"),
    "the pair exists": ({"cohort": "buyers"}, None, "unique"),
    "schedule": ({"schedule_kind": "weekly"}, "schedule_kind", "invalid_choice"),
    "daily without a time": ({"schedule_kind": "daily"}, "schedule_at", "invalid"),
    "a time": ({"schedule_kind": "daily", "schedule_at": "25:00"}, "schedule_at", "invalid"),
    "cron": ({"schedule_kind": "cron", "schedule_cron": "* * *"}, "schedule_cron", "invalid"),
    "never": ({"schedule_kind": "cron", "schedule_cron": "0 0 30 2 *"}, "schedule_cron", "invalid"),
    "NUL in cron": ({"schedule_kind": "cron", "schedule_cron": "\0 0 * * *"}, "schedule_cron", None),
    "zone": ({"timezone": "Europe/Atlantis"}, "timezone", "invalid"),
    "a zone that is a path": ({"timezone": "../../etc/passwd"}, "timezone", "invalid"),
    "once without an offset": (
        {"schedule_kind": "once", "schedule_once_at": "2099-01-01T09:00"},
        "schedule_once_at",
        "naive",
    ),
    "once in the past": (
        {"schedule_kind": "once", "schedule_once_at": "2020-01-01T09:00Z"},
        "schedule_once_at",
        "passed",
    ),
    "once before time began": (
        {"schedule_kind": "once", "schedule_once_at": "0001-01-01T00:00+14:00"},
        "schedule_once_at",
        "overflow",
    ),
    "percent": ({"guard_percent": 101}, "guard_percent", "max_value"),
    "a huge guard": ({"guard_users": 10**80}, "guard_users", "max_value"),
    "unknown": ({"shedule": "daily"}, "shedule", "unknown_field"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_sync_is_refused(client, sync, name):
    world.cohort(["a"], key="carts")
    change, field, code = BAD[name]
    reply = client.post(URL, json.dumps(NEW | change), content_type="application/json")
    assert reply.status_code == 400, reply.content
    error = reply.json()["error"]
    assert error.get("field") == field
    assert error["message"]
    assert code is None or error["code"] == code
    assert Sync.objects.count() == 1


@pytest.mark.parametrize("change", [{"cohort": "carts"}, {"destination": "other"}])
def test_the_pair_of_a_sync_stays(client, sync, change):
    world.cohort(["a"], key="carts")
    world.destination("http://127.0.0.1:9", name="other")
    reply = client.patch(f"{URL}/buyers:acme", change, format="json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "unchangeable")


BODIES = [b"{", b"[]", b"null", b"3", b"[" * 100_000, b'{"mode": "moon"}', b'{"mode": null}', b'{"mode": {}}']


@pytest.mark.parametrize("body", [*BODIES, b'{"fulll": 1}'])
def test_a_bad_trigger_is_refused(client, sync, body):
    reply = client.post(f"{URL}/buyers:acme/runs", body, content_type="application/json")
    assert reply.status_code == 400, reply.content
    assert reply.json()["error"]["message"]
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        *BODIES,
        b"{}",
        b'{"all": false}',
        b'{"all": true, "userIds": ["a"]}',
        b'{"userIds": []}',
        b'{"userIds": "a"}',
        b'{"userIds": [null]}',
        b'{"userIds": ["\\u0000"]}',
        b'{"userIds": ["\\ud800"]}',
        b'{"user_ids": ["a"]}',
    ],
)
def test_a_bad_choice_of_rejected_users_is_refused(client, sync, body):
    rejection(sync)
    reply = client.post(f"{URL}/buyers:acme/rejections/dismiss", body, content_type="application/json")
    assert reply.status_code == 400, reply.content
    assert Rejection.objects.get().state == "waiting"


@pytest.mark.parametrize(
    ("url", "query", "field"),
    [
        (URL, {"cohort": "a\0"}, "cohort"),
        (URL, {"enabled": "perhaps"}, "enabled"),
        (URL, {"archived": "\ud800".encode("utf-8", "surrogatepass")}, "archived"),
        (RUNS, {"state": "done"}, "state"),
        (RUNS, {"sync": "x"}, "sync"),
        (RUNS, {"sync": "9" * 30}, "sync"),
        (f"{URL}/buyers:acme/rejections", {"state": "x"}, "state"),
        (f"{URL}/buyers:acme/rejections", {"userId": "\0"}, "userId"),
        (f"{URL}/buyers:acme/rejections", {"userId": " "}, "userId"),
        (f"{URL}/buyers:acme/rejections", {"code": "\0"}, "code"),
    ],
)
def test_a_bad_filter_is_reported(client, sync, url, query, field):
    reply = client.get(url, query)
    assert reply.status_code == 400, reply.content
    assert reply.json()["error"]["field"] == field


@pytest.mark.parametrize(
    "name", ["0", "9" * 18, "9" * 40, "nobody:acme", "buyers:nobody", "a:b:c", "buyers", "%00:x"]
)
def test_a_sync_or_run_that_is_not_there_is_a_404(client, sync, name):
    for reply in (client.get(f"{URL}/{name}"), client.post(f"{URL}/{name}/runs", {}, format="json")):
        assert reply.status_code == 404
    assert client.get(f"{RUNS}/{name.replace(':', '-')}").status_code == 404


def test_who_may_what(sync):
    stranger = client_of(name="stranger")
    viewer = client_of("view_sync", "view_run", name="viewer")
    operator = client_of(*OPERATOR, name="operator")
    held = run_of(sync, RunState.HELD)
    runs, one = f"{URL}/buyers:acme/runs", f"{URL}/buyers:acme"
    for url in (URL, one, f"{one}/preview", f"{one}/rejections", RUNS, f"{RUNS}/{held.pk}"):
        assert stranger.get(url).status_code == 403
        assert viewer.get(url).status_code == 200
    for url in (
        runs,
        f"{one}/pause",
        f"{one}/resume",
        f"{one}/rejections/retry",
        f"{RUNS}/{held.pk}/approve",
    ):
        for client in (stranger, viewer):
            assert client.post(url, {}, format="json").status_code == 403
    for client in (stranger, viewer, operator):
        assert client.patch(one, {"schedule_kind": "hourly"}, format="json").status_code == 403
        assert client.delete(one).status_code == 403
        assert client.post(URL, NEW, format="json").status_code == 403
    assert operator.post(f"{RUNS}/{held.pk}/approve").status_code == 202
    assert operator.post(runs, {}, format="json").status_code == 202
    assert APIClient().get(URL).status_code == 401
    assert APIClient().post(runs, {}, format="json").status_code == 401


def test_a_paused_destination_is_reported_in_the_state(client, sync):
    Destination.objects.pause(sync.destination_id, "wrong key")
    assert (
        client.get(f"{URL}/buyers:acme").json()["state"]["sentence"] == "Nothing is sent, because: wrong key."
    )
