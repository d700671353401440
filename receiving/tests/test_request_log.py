"""The log of calls: what it holds, its bounds, replay, and which calls touched a user."""

import base64
import gzip
import json
import os
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from receiving import prune, store
from receiving.keys import create_key
from receiving.models import (
    ApiKey,
    BodySearch,
    List,
    ListMember,
    MemberSet,
    Replacement,
    RequestLog,
    SeenMessage,
    UserTrait,
    Workspace,
)
from receiving.replay import body_of, can_replay, replay
from receiving.search import STALE, run_searches

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(slug="acme")


@pytest.fixture
def key(workspace: Workspace) -> str:
    return create_key(workspace, name="sender")[1]


def post(key: str, path: str, document: Any, **headers: str) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Client().post(
        path, body, content_type="application/json", headers={"Authorization": f"Bearer {key}", **headers}
    )


@pytest.fixture
def number(key: str) -> int:
    return int(post(key, "/lists", {"name": "n"}).json()["listId"])


def last() -> RequestLog:
    found = RequestLog.objects.order_by("-pk").first()
    assert found is not None
    return found


def test_a_write_is_logged_with_its_counts_and_its_body(workspace: Workspace, key: str, number: int):
    body = {"userIds": ["a", "b", "b"]}
    post(key, f"/lists/{number}/add", body, **{"User-Agent": "sender/1"})
    entry = last()
    assert entry.key is not None
    assert (entry.workspace, entry.key.name) == (workspace, "sender")
    assert (entry.method, entry.path, entry.status) == ("POST", f"/lists/{number}/add", 200)
    assert (entry.list_number, entry.received, entry.changed) == (number, 2, 2)
    assert (entry.remote_address, entry.user_agent) == ("127.0.0.1", "sender/1")
    assert json.loads(body_of(entry)) == body
    assert entry.body_head == json.dumps(body)
    assert 0 < entry.duration_ms < 60_000


def test_the_create_call_is_logged_with_the_list_that_it_made(key: str, number: int):
    assert (last().path, last().list_number) == ("/lists", number)


def test_a_refused_call_is_logged_with_its_reason(key: str, number: int):
    post(key, f"/lists/{number}/add", {"userIds": [None]})
    assert (last().status, last().code) == (400, "invalid_request")
    assert "userIds[0]" in last().message
    post(key, "/lists/\x00x/add", b"\x00\xff{")
    assert last().status == 404 or last().status == 400
    assert "\x00" not in last().path + last().body_head


def test_reads_are_not_logged(key: str, number: int):
    before = RequestLog.objects.count()
    Client().get(f"/lists/{number}", headers={"Authorization": f"Bearer {key}"})
    assert RequestLog.objects.count() == before


def test_a_revoked_key_is_logged_as_itself(key: str):
    ApiKey.objects.update(revoked_at=timezone.now())
    post(key, "/lists", {"name": "n"})
    assert (last().status, last().key) == (401, ApiKey.objects.get())


def test_of_an_unknown_key_only_the_call_is_kept_and_one_a_second(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("receiving.record._last_unknown", float("-inf"))
    for _ in range(5):
        post("cs_unknown", "/v1/batch", {"batch": [], "writeKey": "cs_unknown"})
    assert (last().status, last().body, last().body_head) == (401, None, "")
    assert RequestLog.objects.count() == 1


def test_the_key_is_redacted_wherever_a_client_repeats_it(key: str):
    body = {"batch": [{"type": "identify", "userId": "u", "traits": {"t": True}}], "writeKey": key}
    post(key, "/v1/batch", body)
    assert key not in last().body_head and key.encode() not in body_of(last())
    zipped = gzip.compress(json.dumps(body).encode())
    post(key, "/v1/batch", zipped, **{"Content-Encoding": "gzip"})
    assert b"[redacted]" in body_of(last())
    Client().post("/v1/batch", json.dumps(body), content_type="application/json")
    assert last().key is not None and key.encode() not in body_of(last())


def in_log(key: str) -> bool:
    entry = last()
    texts = (entry.path, entry.user_agent, entry.message, entry.body_head, body_of(entry).decode())
    return any(key in text for text in texts)


@pytest.mark.parametrize("status", [200, 404])
def test_the_key_is_redacted_in_a_path_a_user_agent_and_however_a_body_spells_it(key: str, status: int):
    escaped = "".join(f"\\u{ord(char):04X}" if n % 2 else char for n, char in enumerate(key))
    smaller = "".join(f"\\u{ord(char):04x}" for char in key)
    basic = base64.b64encode(f"{key}:".encode()).decode()
    item = {"type": "identify", "userId": "u", "traits": {"a": key, "b": basic}}
    body = json.dumps(item)[:-1] + f', "x": "{escaped}", "y": "{smaller}"}}'
    path = "/v1/identify" if status == 200 else f"/lists/{key}/add"
    sent = body if status == 200 else body.replace('"type": "identify"', '"userIds": ["u"]')
    reply = post(key, path, sent.encode(), **{"User-Agent": f"curl {key}"})
    assert reply.status_code == status
    kept = body_of(last()).decode()
    assert not in_log(key)
    assert basic.rstrip("=") not in kept and kept.count("[redacted]") == 4
    assert json.loads(kept)["x"] == "[redacted]"


def test_what_is_sent_alongside_the_key_is_no_secret_and_a_replay_finds_it(key: str):
    """Mixpanel's user name stands in its bodies, too."""
    page = {"mixpanel_cohort_id": "1", "mixpanel_session_id": "s", "members": [{"mixpanel_distinct_id": "u"}]}
    credential = base64.b64encode(f"mixpanel:{key}".encode()).decode()
    document = {"action": "members", "parameters": page}
    Client().post(
        "/mixpanel",
        document,
        content_type="application/json",
        headers={"Authorization": f"Basic {credential}"},
    )
    assert (last().path, json.loads(body_of(last()))) == ("/mixpanel", document)
    assert replay(last()).status == 200


def test_a_long_body_is_kept_whole_and_shown_by_its_head(key: str, number: int):
    body = {"userIds": [f"user-{n}" for n in range(5_000)]}
    post(key, f"/lists/{number}/add", body)
    assert len(last().body_head) == 2_000
    assert json.loads(body_of(last())) == body
    assert last().body_bytes > 10 * len(last().body_head) > last().stored_bytes / 4


# --- bounds --------------------------------------------------------------------------------


def test_the_log_is_bounded_by_age(workspace: Workspace, key: str, number: int):
    post(key, f"/lists/{number}/add", {"userIds": ["a"]})
    RequestLog.objects.filter(path="/lists").update(received_at=timezone.now() - timedelta(days=15))
    assert prune.prune()["requests"] == 1
    assert [entry.path for entry in RequestLog.objects.all()] == [f"/lists/{number}/add"]


def test_the_log_is_bounded_by_size_and_the_oldest_go_first(workspace: Workspace, key: str, number: int):
    for n in range(10):
        post(key, f"/lists/{number}/add", {"userIds": [f"u{n}"]})
    kept = list(RequestLog.objects.order_by("-pk").values_list("pk", "stored_bytes")[:3])
    Workspace.objects.update(log_max_bytes=sum(size for _, size in kept))
    other = Workspace.objects.create(slug="other")
    post(create_key(other)[1], "/lists", {"name": "n"})
    assert prune.prune()["requests"] == 8
    left = RequestLog.objects.filter(workspace=workspace).order_by("-pk")
    assert [entry.pk for entry in left] == [pk for pk, _ in kept]
    assert RequestLog.objects.filter(workspace=other).count() == 1


def test_a_log_is_pruned_by_the_calls_that_fill_it(
    workspace: Workspace, key: str, number: int, monkeypatch: pytest.MonkeyPatch
):
    Workspace.objects.update(log_max_bytes=1_000)
    monkeypatch.setattr(prune, "CALLS_BETWEEN", 5)
    for n in range(25):
        post(key, f"/lists/{number}/add", {"userIds": [f"u{n}"]})
    assert RequestLog.objects.count() < 10


def test_refused_calls_do_not_fill_the_log(workspace: Workspace, key: str):
    Workspace.objects.update(log_max_bytes=20_000)
    noise = os.urandom(2_000).hex()
    for n in range(60):
        assert post(key, "/lists/0/add", {"userIds": [f"{n}"], "x": noise}).status_code == 404
    assert sum(RequestLog.objects.values_list("stored_bytes", flat=True)) < 30_000


def test_old_message_ids_are_forgotten(workspace: Workspace):
    store.take_messages(workspace, [f"m{n}" for n in range(2_500)])
    old = timezone.now() - timedelta(days=8)
    SeenMessage.objects.filter(message__lt="8").update(seen_at=old)
    number = SeenMessage.objects.filter(seen_at=old).count()
    assert prune.prune()["messages"] == number > 1_000
    assert SeenMessage.objects.count() == 2_500 - number


def test_what_a_crash_left_of_a_deleted_list_is_emptied(workspace: Workspace):
    kept = store.create_list(workspace, "kept")
    store.add_members(kept.member_set_id, ["a"])
    left = MemberSet.objects.create(dropped_at=timezone.now() - timedelta(hours=1))
    store.add_members(left.pk, [f"u{n}" for n in range(10_001)])
    assert prune.prune()["members"] == 10_001
    assert list(ListMember.objects.values_list("user_id", flat=True)) == ["a"]
    assert not MemberSet.objects.filter(pk=left.pk).exists()


def test_an_unfinished_replacement_is_forgotten(workspace: Workspace, key: str):
    parameters = {
        "mixpanel_cohort_id": "1", "mixpanel_session_id": "s",
        "page_info": {"page_count": 1, "total_pages": 2}, "members": [{"mixpanel_distinct_id": "u"}],
    }  # fmt: skip
    post(key, "/mixpanel", {"action": "members", "parameters": parameters})
    assert prune.prune()["replacements"] == 0
    Replacement.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert prune.prune() == {"requests": 0, "messages": 0, "replacements": 1, "members": 1}
    assert (ListMember.objects.count(), MemberSet.objects.count()) == (0, 0)


# --- replay --------------------------------------------------------------------------------


def test_a_replayed_add_takes_effect_again_and_is_logged_as_a_replay(key: str, number: int):
    post(key, f"/lists/{number}/add", {"userIds": ["a"]}, **{"Idempotency-Key": "k"})
    entry = last()
    post(key, f"/lists/{number}/remove", {"userIds": ["a"]})
    outcome = replay(entry)
    assert (outcome.status, outcome.reply) == (200, {"received": 1, "changed": 1})
    assert (last().replay_of, last().path, last().changed) == (entry.pk, entry.path, 1)
    assert ListMember.objects.count() == 1


def test_a_replayed_batch_is_not_held_back_by_its_message_ids(key: str):
    item = {"type": "identify", "userId": "u", "traits": {"t": True}, "messageId": "m"}
    post(key, "/batch", {"batch": [item]})
    entry = last()
    UserTrait.objects.filter(user_id="u").update(value="false")
    assert replay(entry).reply["changed"] == 1
    assert UserTrait.objects.get().value == "true"


def test_a_replay_that_is_refused_says_so(key: str, number: int):
    post(key, f"/lists/{number}/add", {"userIds": ["a"]})
    entry = last()
    store.delete_list(entry.workspace, str(number))  # type: ignore[arg-type]
    assert replay(entry).status == 404
    assert (last().status, last().replay_of) == (404, entry.pk)


def test_a_call_without_a_kept_body_cannot_be_replayed(key: str, number: int):
    Client().delete(f"/lists/{number}", headers={"Authorization": f"Bearer {key}"})
    assert (last().method, last().status) == ("DELETE", 200)
    assert not can_replay(last())


# --- which calls touched a user ------------------------------------------------------------


def calls_naming(workspace: Workspace, user_id: str) -> list[str]:
    search = BodySearch.objects.create(workspace=workspace, user_id=user_id)
    assert run_searches() == 1
    search.refresh_from_db()
    assert search.state == BodySearch.State.DONE
    return [RequestLog.objects.get(pk=number).path for number in reversed(search.found)]


def test_a_search_finds_every_dialect_and_only_the_user(workspace: Workspace, key: str, number: int):
    user = "Zoë 7"
    items = [{"type": "identify", "userId": user, "traits": {"t": True}}]
    page = {"mixpanel_cohort_id": "1", "members": [{"mixpanel_distinct_id": user}]}
    calls: list[tuple[str, Any]] = [
        (f"/lists/{number}/add", {"userIds": ["x", user]}),
        (f"/lists/{number}/remove", {"user_ids": [user]}),
        ("/batch", {"batch": items}),
        ("/identify", items[0]),
        ("/mixpanel", {"action": "members", "parameters": {**page, "mixpanel_session_id": "s"}}),
        ("/2/httpapi", {"events": [{"user_id": user, "event_type": "e"}]}),
    ]
    for path, document in calls:
        assert post(key, path, document).status_code == 200, path
    for other in ({"userIds": ["zoë 7", "Zoë 77"]}, {"userIds": ["x"], "note": user}):
        post(key, f"/lists/{number}/add", other)
    stranger = Workspace.objects.create(slug="other")
    post(create_key(stranger)[1], "/identify", items[0])
    assert calls_naming(workspace, user) == [path for path, _ in calls]
    assert calls_naming(workspace, "nobody") == []


def test_a_search_finds_integers_by_their_digits(workspace: Workspace, key: str, number: int):
    post(key, f"/lists/{number}/add", {"userIds": [1, 12]})
    post(key, "/identify", {"type": "identify", "userId": "u", "traits": {"1": True}})
    assert calls_naming(workspace, "1") == [f"/lists/{number}/add"]
    assert calls_naming(workspace, "True") == []


def test_a_search_that_was_left_goes_on_where_it_was(workspace: Workspace, key: str, number: int):
    for n in range(450):
        RequestLog.objects.create(
            workspace=workspace, received_at=timezone.now(), duration_ms=1, method="POST", path=f"/{n}",
            status=200, body=gzip.compress(json.dumps({"userIds": ["u" if n % 100 == 0 else "x"]}).encode()),
        )  # fmt: skip
    search = BodySearch.objects.create(workspace=workspace, user_id="u")
    asked = iter([False, False, True])  # before the claim, before the first page, before the second
    assert run_searches(lambda: next(asked)) == 0
    search.refresh_from_db()
    assert (search.state, search.scanned, len(search.found)) == (BodySearch.State.WAITING, 200, 2)
    assert run_searches() == 1
    search.refresh_from_db()
    assert (search.scanned, len(search.found)) == (451, 5)


def test_a_search_of_a_dead_worker_is_taken_over(workspace: Workspace):
    beat = timezone.now()
    search = BodySearch.objects.create(
        workspace=workspace, user_id="u", state=BodySearch.State.RUNNING, beat_at=beat
    )
    assert run_searches() == 0
    BodySearch.objects.update(beat_at=beat - STALE * 2)
    call_command("search_requests")
    search.refresh_from_db()
    assert search.state == BodySearch.State.DONE


def test_deleting_a_workspace_leaves_nothing_of_its_users(workspace: Workspace, key: str):
    store.add_known_users(workspace, ["a"])
    item = {"type": "identify", "userId": "u", "traits": {"t": True}, "messageId": "m"}
    post(key, "/batch", {"batch": [item]})
    store.forget_workspace(workspace)
    workspace.delete()
    counts = [model.objects.count() for model in (UserTrait, SeenMessage, RequestLog, ApiKey, List)]
    assert counts == [0, 0, 0, 0, 0]
