"""An add of users who are on the list already: answered without a lock, and otherwise like any add."""

import json
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from receiving import store
from receiving.keys import create_key
from receiving.models import List, ListMember, RequestLog, SeenMessage, Workspace

pytestmark = pytest.mark.django_db(transaction=True)
IDS = [f"u{n:03}" for n in range(200)]


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(slug="acme")


@pytest.fixture
def key(workspace: Workspace) -> str:
    return create_key(workspace)[1]


@pytest.fixture
def full(workspace: Workspace) -> List:
    made = store.create_list(workspace, "full")
    store.add_members(made.member_set_id, IDS)
    return made


def add(key: str, number: int, ids: list[str], **headers: str) -> Any:
    headers["Authorization"] = f"Bearer {key}"
    body = json.dumps({"userIds": ids})
    return Client().post(f"/lists/{number}/add", body, content_type="application/json", headers=headers)


def statements(key: str, number: int, ids: list[str]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert add(key, number, ids).status_code == 200
    return [query["sql"] for query in captured]


def test_users_who_are_there_are_counted_and_logged_without_a_transaction(key: str, full: List) -> None:
    add(key, full.pk, IDS[:1])  # the first call of a key notes its use
    said = statements(key, full.pk, IDS)
    assert not any("INSERT INTO receiving_listmember" in sql or "BEGIN" in sql for sql in said)
    assert add(key, full.pk, IDS + IDS).json() == {"received": len(IDS), "changed": 0}
    entry = RequestLog.objects.latest("pk")
    assert (entry.status, entry.received, entry.changed) == (200, len(IDS), 0)


@pytest.mark.parametrize("missing", ["a", "u100x", "z"])
def test_one_who_is_not_there_is_added(key: str, full: List, missing: str) -> None:
    assert add(key, full.pk, [*IDS, missing]).json() == {"received": 201, "changed": 1}
    assert ListMember.objects.filter(set_id=full.member_set_id).count() == 201


def test_another_list_with_the_same_users_does_not_count(workspace: Workspace, key: str, full: List) -> None:
    empty = store.create_list(workspace, "empty")
    assert add(key, empty.pk, IDS).json()["changed"] == len(IDS)
    other = Workspace.objects.create(slug="other")
    stranger = create_key(other)[1]
    assert add(stranger, full.pk, IDS).status_code == 404
    assert not store.holds_all(workspace, "x", IDS)
    assert not store.holds_all(workspace, "9" * 30, IDS)


def test_who_was_removed_is_added_again(workspace: Workspace, key: str, full: List) -> None:
    with transaction.atomic():
        store.remove_members(full.member_set_id, IDS[5:6])
    assert add(key, full.pk, IDS).json()["changed"] == 1


def test_an_idempotency_key_is_noted_all_the_same(key: str, full: List) -> None:
    add(key, full.pk, IDS, **{"Idempotency-Key": "k"})
    assert SeenMessage.objects.count() == 1


def test_users_who_are_not_taken_are_refused_even_if_they_are_there(
    workspace: Workspace, key: str, full: List
) -> None:
    Workspace.objects.update(known_users_only=True)
    assert add(key, full.pk, IDS).status_code == 404
    Workspace.objects.update(known_users_only=False, fault_rejected_percent=100)
    assert add(key, full.pk, IDS).status_code == 404


def test_a_key_that_was_changed_or_revoked_counts_at_once(workspace: Workspace, key: str, full: List) -> None:
    """The models of a key are kept only as long as its row is the same."""
    assert add(key, full.pk, IDS).status_code == 200
    Workspace.objects.update(max_items=10)
    assert add(key, full.pk, IDS).status_code == 413
    Workspace.objects.update(max_items=1_000)
    assert add(key, full.pk, IDS).status_code == 200
    workspace.keys.update(revoked_at="2026-01-01T00:00Z")
    assert add(key, full.pk, IDS).status_code == 401
