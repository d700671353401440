"""Events by HTTP: safe on disk before the answer, applied with the rest or not at all, counted once."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client

from events import spool
from events.compact import compact
from events.models import CatalogueEntry, EventFile
from receiving import record, store
from receiving.models import RequestLog, UserTrait, Workspace
from receiving.replay import can_replay, replay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def post(key: str, path: str, document: Any, **headers: str) -> Any:
    headers["Authorization"] = f"Bearer {key}"
    return Client().post(path, json.dumps(document), content_type="application/json", headers=headers)


def stored() -> dict[str, int]:
    """How many events of each name are in the files, when what has come in is compacted."""
    compact("acme")
    rows = CatalogueEntry.objects.filter(workspace="acme", property_name="").exclude(event="")
    return dict(rows.values_list("event", "count"))


def traits_stored() -> int:
    compact("acme")
    return sum(EventFile.objects.live("acme", "traits").values_list("rows", flat=True))


TRACK = {"type": "track", "userId": "u", "event": "play", "messageId": "m1"}
IDENTIFY = {"type": "identify", "userId": "u", "traits": {"plan": "pro"}, "messageId": "m2"}
WITHOUT_ID = {"type": "track", "userId": "u", "event": "play"}
AMPLITUDE = {"events": [{"user_id": "u", "event_type": "play"}]}


def test_events_that_nobody_would_count_are_refused_and_identifies_go_on(key: str, settings: Any) -> None:
    settings.EVENTS_URL = "clickhouse://127.0.0.1:1/events"
    answers = [post(key, "/v1/track", TRACK), post(key, "/2/httpapi", AMPLITUDE)]
    assert [answer.status_code for answer in answers] == [501, 501]
    assert "EVENTS_URL" in answers[0].json()["error"]["message"]
    assert post(key, "/v1/batch", {"batch": [IDENTIFY]}).status_code == 200
    assert UserTrait.objects.count() == 1


def test_the_disk_is_waited_for_without_a_lock_of_the_database(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    append = spool.append_lines

    def watched(*arguments: Any) -> None:
        held.append(connection.in_atomic_block)
        append(*arguments)

    monkeypatch.setattr(spool, "append_lines", watched)
    post(key, "/v1/batch", {"batch": [TRACK, IDENTIFY]})
    post(key, "/2/httpapi", {"events": [{"user_id": "u", "event_type": "e", "user_properties": {"a": 1}}]})
    assert held == [False, False]


@pytest.mark.parametrize(
    ("path", "document"), [("/v1/batch", {"batch": [TRACK, IDENTIFY]}), ("/2/httpapi", AMPLITUDE)]
)
def test_what_the_disk_refuses_is_not_acknowledged_and_its_repeat_takes_effect(
    key: str, monkeypatch: pytest.MonkeyPatch, path: str, document: Any
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(spool, "append_lines", full)
        reply = post(key, path, document, **{"Idempotency-Key": "k"})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "30")
    assert not UserTrait.objects.exists()
    assert post(key, path, document, **{"Idempotency-Key": "k"}).status_code == 200
    assert stored()["play"] == 1
    if path == "/v1/batch":
        assert UserTrait.objects.count() == 1
        assert traits_stored() == 2  # the user and the plan


@pytest.mark.parametrize(
    ("path", "document", "headers"),
    [
        ("/v1/batch", {"batch": [TRACK, IDENTIFY]}, {}),
        ("/v1/batch", {"batch": [WITHOUT_ID, IDENTIFY]}, {"Idempotency-Key": "k"}),
        ("/v1/track", WITHOUT_ID, {"Idempotency-Key": "k"}),
        ("/2/httpapi", {"events": [AMPLITUDE["events"][0] | {"insert_id": "i"}]}, {}),
        ("/2/httpapi", AMPLITUDE, {"Idempotency-Key": "k"}),
    ],
)
def test_a_death_between_the_disk_and_the_database_is_made_good_by_the_repeat(
    key: str, monkeypatch: pytest.MonkeyPatch, path: str, document: Any, headers: dict[str, str]
) -> None:
    """The events are there, the transaction is not: the sender, who has no answer, sends again."""

    def dies(*arguments: Any, **named: Any) -> None:
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patched:
        patched.setattr("receiving.call.write_entry", dies)
        assert post(key, path, document, **headers).status_code == 503
    assert not UserTrait.objects.exists()
    for _ in range(2):
        assert post(key, path, document, **headers).status_code == 200
    assert stored()["play"] == 1
    if IDENTIFY in document.get("batch", []):
        assert UserTrait.objects.count() == 1


def test_a_refused_call_leaves_no_event(workspace: Workspace, key: str) -> None:
    Workspace.objects.update(known_users_only=True)
    assert post(key, "/v1/batch", {"batch": [TRACK, IDENTIFY]}).status_code == 404
    Workspace.objects.update(known_users_only=False)
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    for traits in ({"a": deep}, {"a" * 1025: 1}, {"a" * 300: deep}):
        reply = post(key, "/batch", {"batch": [TRACK, IDENTIFY | {"traits": traits}]})
        assert reply.status_code == 400
    assert stored() == {}
    assert not UserTrait.objects.exists()


def test_an_acknowledged_identify_is_not_handed_on_again(key: str) -> None:
    """Its repeat, which may come a day later, would otherwise be the latest word about the user."""
    for _ in range(3):
        assert post(key, "/v1/batch", {"batch": [IDENTIFY]}).status_code == 200
        assert traits_stored() == 2  # the user and the plan


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/v1/track", WITHOUT_ID),
        ("/v1/batch", {"batch": [WITHOUT_ID, IDENTIFY, WITHOUT_ID]}),
        ("/2/httpapi", AMPLITUDE),
        ("/2/httpapi", {"events": [AMPLITUDE["events"][0] | {"insert_id": ""}]}),
    ],
)
def test_a_replayed_call_counts_its_events_once_even_without_ids(key: str, path: str, document: Any) -> None:
    once = sum(item == WITHOUT_ID for item in document.get("batch", [document])) or 1
    post(key, path, document)
    original = RequestLog.objects.get()
    assert stored() == {"play": once}
    assert replay(original).status == 200
    again = RequestLog.objects.latest("pk")
    assert (again.replay_of, again.receipt) == (original.pk, original.receipt)
    assert can_replay(again)
    assert replay(again).status == 200
    assert stored() == {"play": once}
    post(key, path, document)  # a call of its own, with the same words
    assert stored() == {"play": 2 * once}


def test_a_replay_of_a_refused_call_has_the_time_at_which_it_came(key: str) -> None:
    Workspace.objects.update(known_users_only=True)
    post(key, "/v1/batch", {"batch": [WITHOUT_ID, IDENTIFY]})
    Workspace.objects.update(known_users_only=False)
    refused = RequestLog.objects.get()
    assert replay(refused).status == 200
    assert stored() == {"play": 1}
    assert CatalogueEntry.objects.get(event="play", property_name="").last_seen == refused.received_at


def test_a_call_whose_events_have_ids_needs_no_receipt(key: str) -> None:
    post(key, "/v1/batch", {"batch": [TRACK, IDENTIFY]})
    assert RequestLog.objects.get().receipt is None


def test_what_has_only_events_opens_no_transaction_but_the_logs(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    write = record.write_entry

    def watched(*arguments: Any, **named: Any) -> None:
        held.append(connection.in_atomic_block)
        write(*arguments, **named)

    monkeypatch.setattr("receiving.call.write_entry", watched)
    post(key, "/v1/track", TRACK)
    post(key, "/2/httpapi", AMPLITUDE)
    assert held == [False, False]
    assert RequestLog.objects.count() == 2


def test_seen_messages_are_reported_without_being_noted(workspace: Workspace) -> None:
    assert store.seen_messages(workspace, ["a", "b"]) == set()
    store.take_messages(workspace, ["b"])
    assert store.seen_messages(workspace, ["a", "b"]) == {"b"}
    assert store.seen_messages(workspace, ["a", "b"]) == {"b"}
