"""Amplitude's events by HTTP, as its clients send them and its documentation says."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from events.convert import quoted
from events.importing import import_file
from events.layout import column_stem
from events.models import FileKind
from events.store import read_layout
from receiving.models import RequestLog, Workspace
from receiving.operations import GONE, operate
from receiving.shapes import Operation
from receiving.tests.posted import in_cohorts, near, post, rows, times, traits

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def send(key: str, *events: Any, path: str = "/2/httpapi", **more: Any) -> Any:
    return post(key, path, {"events": list(events), **more})


def event(**more: Any) -> dict[str, Any]:
    return {"user_id": "u", "event_type": "play"} | more


def identify(insert_id: str = "", **operations: Any) -> dict[str, Any]:
    properties = {f"${name}": value for name, value in operations.items()}
    return event(event_type="$identify", user_properties=properties, insert_id=insert_id)


@pytest.mark.parametrize(
    ("operation", "old", "value", "new"),
    [
        ("$setOnce", GONE, 1, 1), ("$setOnce", 0, 1, 0), ("$setOnce", None, 1, 1),
        ("$setOnce", False, 1, False),
        ("$add", GONE, 2, 2), ("$add", 3, -1.5, 1.5), ("$add", "x", 2, 2), ("$add", True, 2, 2),
        ("$append", GONE, "a", ["a"]), ("$append", ["a"], "a", ["a", "a"]),
        ("$append", "a", ["b"], ["a", "b"]),
        ("$prepend", ["a"], ["b", "c"], ["b", "c", "a"]), ("$prepend", GONE, "a", ["a"]),
        ("$preInsert", ["a"], ["a", "b"], ["b", "a"]), ("$postInsert", ["a"], ["a", "b"], ["a", "b"]),
        ("$postInsert", GONE, "a", ["a"]), ("$remove", ["a", "b", "a"], "a", ["b"]),
        ("$remove", ["a", "b"], ["a", "b"], []), ("$remove", GONE, "a", []),
    ],
)  # fmt: skip
def test_an_operation_does_what_amplitude_says(operation: str, old: Any, value: Any, new: Any) -> None:
    assert operate(Operation(operation, "p", value), old) == new


def test_operations_build_on_what_the_user_has(key: str) -> None:
    send(key, identify(set={"plan": "free", "n": 1, "tags": ["a"], "old": 1}))
    send(
        key,
        identify(
            setOnce={"plan": "paid", "first": "x"}, add={"n": 2}, append={"tags": "b"}, unset={"old": "-"}
        ),
    )
    expected = {"plan": "free", "n": 3, "tags": ["a", "b"], "first": "x"}
    assert traits(key) == expected
    assert in_cohorts() == {"plan": "free", "n": "3", "tags": '["a","b"]', "first": "x"}
    send(key, identify(clearAll="-"))
    assert (traits(key), in_cohorts()) == ({}, {})
    send(key, identify(setOnce={"plan": "paid"}))
    assert (traits(key), in_cohorts()) == ({"plan": "paid"}, {"plan": "paid"})


def test_a_repeated_operation_counts_once(key: str) -> None:
    for _ in range(3):
        send(key, identify("i1", add={"n": 2}))
    assert (traits(key), in_cohorts()) == ({"n": 2}, {"n": "2"})
    send(key, identify("i2", add={"n": 2}), identify("i3", add={"n": 2}))
    assert (traits(key), in_cohorts()) == ({"n": 6}, {"n": "6"})


def test_operations_of_one_call_are_done_in_the_order_of_their_times(key: str) -> None:
    first = identify(set={"n": 10}) | {"time": 1714557600000}
    send(key, identify(add={"n": 1}) | {"time": 1714557601000}, first)
    assert (traits(key), in_cohorts()) == ({"n": 11}, {"n": "11"})


def test_unset_by_an_older_word_does_not_take_away_a_newer_one(key: str) -> None:
    send(key, identify(set={"a": 1}) | {"time": 1714557602000})
    send(key, identify(unset={"a": "-"}) | {"time": 1714557601000})
    assert (traits(key), in_cohorts()) == ({"a": 1}, {"a": "1"})
    send(key, identify(unset={"a": "-"}) | {"time": 1714557603000})
    send(key, identify(set={"a": 2}) | {"time": 1714557602500})
    assert (traits(key), in_cohorts()) == ({}, {})


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (identify(frobnicate={"a": 1}), "user_properties"),
        (identify(add={"a": "x"}), "user_properties"),
        (identify(set=1), "user_properties"),
        (event(time="now"), "time"),
        (event(time=10413792000000), "time"),
        (event(event_type=""), "event_type"),
        (event(user_id={}), "user_id"),
        (event(event_properties=[]), "event_properties"),
        (3, "event"),
    ],
)
def test_good_events_are_taken_and_bad_ones_named(key: str, bad: Any, field: str) -> None:
    for path in ("/2/httpapi", "/batch"):
        reply = send(key, event(insert_id=path), bad, event(user_id=None, device_id="d"), path=path)
        answer = reply.json()
        assert (reply.status_code, answer["code"], answer["events_ingested"]) == (200, 200, 2)
        assert (answer["refused"], answer["errors"][0]["index"], "ignored" in answer) == (1, 1, False)
        assert answer["events_with_invalid_fields"] == {field: [1]}
        logged = RequestLog.objects.latest("pk")
        assert (logged.received, logged.refused, logged.ignored) == (3, 1, 0)
        assert send(key, bad, path=path).status_code == 400
    assert len(times()) == 4


def test_batch_is_reported_by_its_body_and_takes_the_key_in_it(key: str) -> None:
    body = {"api_key": key, "events": [event(insert_id="1", user_properties={"vip": True})]}
    reply = post("", "/batch", body, content_type="text/plain", Authorization="")
    assert reply.status_code == 401
    sent = Client().post("/batch", body, content_type="application/json")
    assert (sent.status_code, sent.json()["events_ingested"]) == (200, 1)
    assert (traits(key), len(times())) == ({"vip": True}, 1)


def test_no_insert_id_is_no_identity_and_uuid_is_the_second(key: str) -> None:
    for _ in range(2):
        send(key, event(insert_id=None, uuid="a"), event(insert_id="", **{"$insert_id": None}, uuid="b"))
    assert len(times()) == 2
    send(key, event(insert_id=None), event(insert_id=None))
    assert len(times()) == 4


def test_a_clock_that_is_wrong_is_set_right_by_the_time_of_upload(key: str) -> None:
    ahead = datetime.now(UTC) + timedelta(days=30)
    said = int((ahead - timedelta(hours=1)).timestamp() * 1000)
    send(key, event(time=said), client_upload_time=ahead.isoformat())
    assert near(times()[0], datetime.now(UTC) - timedelta(hours=1))


def test_the_same_event_by_http_and_by_export_has_the_same_fields(
    key: str,
    workspace: Workspace,
    tmp_path: Path,
) -> None:
    paid = {"price": 2.5, "quantity": 2, "revenue": 5, "productId": "p1"}
    same = {
        "platform": "iOS",
        "os_name": "ios",
        "country": "DE",
        "region": "BE",
        "city": "Berlin",
        "language": "de",
    }
    send(
        key,
        event(
            insert_id="http",
            device_model="iPhone",
            app_version="2.1",
            event_properties={"a": 1},
            **same,
            **paid,
        ),
    )
    exported = event(
        event_time="2024-05-01 10:00:00", event_properties={"a": 1}, device_type="iPhone", version_name="2.1",
        **{"$insert_id": "file"}, **same, **paid,
    )  # fmt: skip
    path = tmp_path / "export.jsonl"
    path.write_text(json.dumps(exported))
    import_file("acme", path)
    times()
    columns = read_layout("acme").columns
    assert {*same, *paid, "device_type", "version_name", "a"} <= set(columns)
    texts = ", ".join(f"s{column_stem(number, name)} AS {quoted(name)}" for name, number in columns.items())
    both = rows(FileKind.EVENTS, f"SELECT {texts} FROM t")
    assert len(both) == 2 and both[0] == both[1]
