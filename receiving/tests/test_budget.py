"""What bodies may cost in memory is bounded before they are read."""

import gzip
from collections.abc import Iterator

import pytest
from django.test import Client

from receiving import budget
from receiving.errors import ApiError
from receiving.models import RequestLog, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def number(key: str) -> int:
    made = Client().post(
        "/lists", {"name": "n"}, content_type="application/json", headers={"Authorization": f"Bearer {key}"}
    )
    return int(made.json()["listId"])


def add(key: str, number: int, body: bytes, **headers: str) -> tuple[int, str]:
    reply = Client().generic(
        "POST", f"/lists/{number}/add", body, content_type="application/json",
        headers={"Authorization": f"Bearer {key}", **headers},
    )  # fmt: skip
    return reply.status_code, reply.json().get("error", {}).get("code", "")


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(budget, "BUDGET", 200_000)
    yield
    assert budget._spent == 0


def junk(values: int) -> bytes:
    return b'{"userIds":["a"],"x":[' + b",".join([b"{}"] * values) + b"]}"


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_of_nothing_but_small_values_is_refused_before_it_is_built(
    key: str, number: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiving.call.parse_object", lambda raw: pytest.fail("it was built"))
    body = junk(3_000_000)
    if packed:
        assert add(key, number, gzip.compress(body), **{"Content-Encoding": "gzip"}) == (
            413,
            "too_many_items",
        )
    else:
        assert add(key, number, body) == (413, "too_many_items")


def test_what_is_beyond_the_budget_is_asked_to_come_again(key: str, number: int, little: None) -> None:
    other = budget.reserve(junk(1_000))
    assert add(key, number, junk(1_000)) == (503, "busy")
    assert add(key, number, b'{"userIds":["a"]}') == (200, "")
    budget.release(other)
    assert add(key, number, junk(1_000)) == (200, "")
    assert RequestLog.objects.filter(status=503, code="busy").count() == 1


def test_one_large_body_alone_is_taken(key: str, number: int, little: None) -> None:
    assert add(key, number, junk(5_000)) == (200, "")


def test_what_was_set_aside_is_given_back_whatever_the_answer(
    key: str, workspace: Workspace, number: int, little: None
) -> None:
    for body in (b"{", b'{"userIds":[null]}', b'{"userIds":["a"]}', b"[]"):
        add(key, number, body)
    add(key, 0, b'{"userIds":["a"]}')
    Client().post("/2/httpapi", {"api_key": "wrong", "events": []}, content_type="application/json")


def test_a_budget_that_is_spent_names_a_time(little: None) -> None:
    other = budget.reserve(junk(1_000))
    with pytest.raises(ApiError) as refused:
        budget.reserve(junk(1_000))
    assert refused.value.headers == {"Retry-After": "1"}
    budget.release(other)
