"""Items of a call, one by one: taken, ignored or refused, and whichever it is, counted and said."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from events.merges import find_devices
from events.person import rows_of
from receiving.clock import Clock
from receiving.models import RequestLog, UserTrait, Workspace
from receiving.tests.posted import in_cohorts, near, post, times, traits

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def track(**more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": "u", "event": "play"} | more


def identify(value: Any = True, **more: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": "u", "traits": {"vip": value}} | more


# --- which items are taken ------------------------------------------------------------------

BAD_ITEMS: list[tuple[Any, str]] = [
    (track(timestamp="2300-01-01T00:00:00Z"), "timestamp"),
    (track(timestamp="soon"), "timestamp"),
    (track(originalTimestamp="soon"), "originalTimestamp"),
    (identify(timestamp="soon"), "timestamp"),
    (track(event=""), ""),
    (track(properties=[1]), "properties"),
    (track(userId={}), "userId"),
    ({"userId": "u"}, "type"),
    (7, ""),
    (identify(userId="x" * 2000), "userId"),
    ({"type": "identify", "traits": {}}, "userId"),
    ({"type": "identify", "userId": ""}, "userId"),
    (identify(messageId=7), "messageId"),
    ({"type": "identify", "userId": "u", "traits": {"a": "x" * 1_100_000}}, ""),
]


@pytest.mark.parametrize(("bad", "field"), BAD_ITEMS)
def test_of_a_segment_batch_the_good_items_are_taken_and_the_bad_ones_named(
    key: str, bad: Any, field: str
) -> None:
    reply = post(key, "/v1/batch", {"batch": [identify(), bad, track(messageId="m")]})
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["received"], answer["identified"], answer["refused"]) == (3, 1, 1)
    (error,) = answer["errors"]
    assert (error["index"], error["field"]) == (1, field)
    assert error["message"].startswith("batch[1]")
    assert traits(key) == {"vip": True}
    assert len(times()) == 1
    logged = RequestLog.objects.get(path="/v1/batch")
    assert (logged.received, logged.refused, logged.ignored) == (3, 1, 0)
    assert error["message"] in logged.message


@pytest.mark.parametrize(("bad", "field"), BAD_ITEMS)
def test_our_own_batch_stays_whole_or_not_at_all(key: str, bad: Any, field: str) -> None:
    reply = post(key, "/batch", {"batch": [identify(), bad]})
    assert reply.status_code == 400
    assert "batch[1]" in reply.json()["error"]["message"]
    assert not UserTrait.objects.exists()


def test_a_segment_call_of_which_nothing_can_be_taken_is_a_400_that_names_each(key: str) -> None:
    reply = post(key, "/v1/batch", {"batch": [7, track(timestamp="soon")]})
    assert reply.status_code == 400
    assert [one["index"] for one in reply.json()["errors"]] == [0, 1]
    assert post(key, "/v1/track", track(timestamp="soon")).status_code == 400


def test_an_identify_with_an_empty_user_id_alongside_a_device_is_ignored_and_a_track_is_the_devices(
    key: str,
) -> None:
    for path in ("/v1/batch", "/batch"):
        items = [
            identify(userId="", anonymousId="a"),
            identify(userId="u2"),
            track(userId="", anonymousId="a"),
        ]
        answer = post(key, path, {"batch": items}).json()
        assert (answer["identified"], answer["ignored"], answer.get("refused")) == (1, 1, None)
    assert [one.ignored for one in RequestLog.objects.all()] == [1, 1]
    assert len(times()) == 2


def test_what_names_a_device_and_a_user_says_whose_the_device_is_and_an_alias_too(key: str) -> None:
    items = [
        track(userId=None, anonymousId="a"),
        track(anonymousId="a", timestamp="2024-05-03"),
        track(anonymousId="a", timestamp="2024-05-02"),
        identify(userId="v", anonymousId="b"),
        {"type": "alias", "previousId": "c", "userId": "w"},
        {"type": "alias", "previousId": "", "userId": "w"},
        track(anonymousId={"no": "id"}),
    ]
    answer = post(key, "/v1/batch", {"batch": items}).json()
    assert (answer["ignored"], answer.get("refused")) == (1, None)
    assert len(times()) == 4
    assert {one.device: one.user_id for one in find_devices("acme")} == {"a": "u", "b": "v", "c": "w"}
    assert find_devices("acme", device="a")[0].since == datetime(2024, 5, 2, tzinfo=UTC)


def test_an_event_of_amplitudes_is_its_devices_until_it_names_a_user_too(key: str) -> None:
    events = [
        {"event_type": "play", "device_id": "a"},
        {"event_type": "$identify", "device_id": "a", "user_properties": {"$set": {"vip": True}}},
        {"event_type": "login", "device_id": "a", "user_id": "u"},
    ]
    assert post(key, "/2/httpapi", {"api_key": key, "events": events}).status_code == 200
    assert [one.user_id for one in find_devices("acme")] == ["u"]
    assert len(rows_of("acme", "u")["events"]) == 2


def test_pages_screens_and_groups_are_events_where_the_workspace_wants_them(key: str) -> None:
    items = [
        {"type": "page", "userId": "u", "name": "Home", "category": "Docs", "properties": {"url": "/"}},
        {"type": "screen", "anonymousId": "a", "name": "Start"},
        {"type": "group", "userId": "u", "groupId": "g", "traits": {"plan": "pro"}},
        {"type": "page", "name": "of nobody"},
    ]
    assert post(key, "/v1/batch", {"batch": items}).json()["ignored"] == 1
    group, page = sorted(rows_of("acme", "u")["events"], key=lambda event: str(event["event"]))
    assert page["properties"] == {"name": "Home", "category": "Docs", "url": "/"}
    assert (group["event"], group["properties"]) == ("group", {"groupId": "g", "plan": "pro"})
    Workspace.objects.update(page_calls=False)
    assert post(key, "/v1/batch", {"batch": items}).json()["ignored"] == 4
    assert len(times()) == 3


@pytest.mark.parametrize("kind", ["alias", "a", "metrics", "m"])
def test_addresses_of_calls_that_are_nothing_to_us_answer_and_count_them(key: str, kind: str) -> None:
    reply = post(key, f"/v1/{kind}", {"userId": "u", "name": "Home"})
    assert (reply.status_code, reply.json()["ignored"]) == (200, 1)


def test_short_addresses_are_the_long_ones(key: str) -> None:
    post(key, "/v1/i", {"userId": "u", "traits": {"vip": True}})
    post(key, "/v1/t", {"userId": "u", "event": "play"})
    post(key, "/v1/b", {"batch": [identify(userId="u2")]})
    assert (traits(key), traits(key, "u2")) == ({"vip": True}, {"vip": True})
    assert len(times()) == 1


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/identify", "/v1/i"])
@pytest.mark.parametrize(
    ("content_type", "encoding", "packed"),
    [
        ("application/x-www-form-urlencoded", "gzip", True),
        ("text/plain", "", False),
        ("text/plain;charset=UTF-8", "", False),
        ("", "", False),
        ("application/octet-stream", "", True),
        ("application/json", "gzip", False),
    ],
)
def test_at_segments_addresses_a_body_is_what_it_is(
    key: str, path: str, content_type: str, encoding: str, packed: bool
) -> None:
    body = json.dumps(identify()).encode()
    headers = {"Content-Encoding": encoding} if encoding else {}
    reply = post(key, path, gzip.compress(body) if packed else body, content_type, **headers)
    assert reply.status_code == 200, reply.content
    assert traits(key) == {"vip": True}


# --- times ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        {"originalTimestamp": "2020-01-01T00:00:00.000Z"},
        {"timestamp": 1577836800000},
        {"timestamp": 1577836800000000000},
        {"timestamp": "Wed, 01 Jan 2020 00:00:00 GMT"},
        {"timestamp": "2020-01-01T00:00:00+0000"},
        {"timestamp": "2020-01-01 00:00:00 UTC"},
        {"timestamp": None, "originalTimestamp": "2020-01-01T00:00:00Z"},
    ],
)
def test_a_track_has_the_time_that_it_says(key: str, said: dict[str, Any]) -> None:
    assert post(key, "/v1/track", track(**said)).status_code == 200
    assert times() == [datetime(2020, 1, 1, tzinfo=UTC)]


def test_a_clock_that_is_wrong_is_set_right_by_sent_at(key: str) -> None:
    now = datetime.now(UTC)
    for name, wrong in (("a", 3650 * DAY), ("b", -30 * DAY)):
        sent = (now + wrong).isoformat()
        happened = (now + wrong - DAY).isoformat()
        item = track(timestamp=happened, messageId=name)
        post(key, "/v1/batch", {"batch": [item], "sentAt": sent})
        post(key, "/v1/track", item | {"messageId": f"{name}2", "sentAt": sent})
    assert all(near(moment, now - DAY) for moment in times())
    assert len(times()) == 4


def test_nothing_lies_in_the_future_of_its_arrival(key: str) -> None:
    ahead = (datetime.now(UTC) + 3650 * DAY).isoformat()
    post(key, "/v1/batch", {"batch": [track(timestamp=ahead), identify(False, timestamp=ahead)]})
    assert near(times()[0], datetime.now(UTC))
    post(key, "/v1/batch", {"batch": [identify(True)]})
    assert (traits(key), in_cohorts()) == ({"vip": True}, {"vip": "true"})


def test_a_time_that_was_corrected_before_is_not_corrected_again(key: str) -> None:
    """As Segment's servers hand on what they took: `timestamp` is right, the others are the client's."""
    right, client = "2024-05-01T10:00:00Z", "2024-05-03T10:00:00Z"
    item = track(timestamp=right, originalTimestamp=client, sentAt="2024-05-03T10:00:01Z")
    post(key, "/v1/track", item)
    assert times() == [datetime(2024, 5, 1, 10, tzinfo=UTC)]


# --- traits: one truth, by time -------------------------------------------------------------


def test_the_later_time_wins_and_not_the_later_arrival(key: str) -> None:
    later, earlier = "2024-05-01T10:00:02.000Z", "2024-05-01T10:00:01.000Z"
    post(key, "/v1/batch", {"batch": [identify(False, timestamp=later, messageId="2")]})
    post(key, "/v1/batch", {"batch": [identify(True, timestamp=earlier, messageId="1")]})
    assert (traits(key), in_cohorts()) == ({"vip": False}, {"vip": "false"})
    post(key, "/v1/batch", {"batch": [identify(True, timestamp="2024-05-01T10:00:03Z")]})
    assert (traits(key), in_cohorts()) == ({"vip": True}, {"vip": "true"})


def test_a_repeated_value_is_the_word_of_its_own_time(key: str) -> None:
    for second, value in ((1, True), (3, True), (2, False)):
        item = identify(value, timestamp=f"2024-05-01T10:00:0{second}Z")
        post(key, "/v1/identify", item)
    assert (traits(key), in_cohorts()) == ({"vip": True}, {"vip": "true"})


def test_of_one_millisecond_the_later_call_is_the_later_word() -> None:
    said = datetime(2024, 5, 1, 10, tzinfo=UTC)
    late = [timedelta(milliseconds=ms) for ms in (0, 1, 2, 10, 100, 1_000, 1_020, 10_000, 10_200, 9_000_000)]
    words = [Clock(said + one).order(said) for one in late]
    assert words == sorted(set(words))
    assert all(said <= word < said + timedelta(milliseconds=1) for word in words)


def test_of_one_call_and_one_time_the_last_word_counts_on_both_sides(key: str) -> None:
    when = "2024-05-01T10:00:00.000Z"
    items = [identify(True, timestamp=when), identify(False, timestamp=when)]
    post(key, "/v1/batch", {"batch": items})
    assert (traits(key), in_cohorts()) == ({"vip": False}, {"vip": "false"})


def test_a_long_name_of_a_trait_is_stored_and_said_to_be_nothing_for_cohorts(key: str) -> None:
    name = "[Amplitude] " + "x" * 1000
    answer = post(key, "/v1/identify", {"userId": "u", "traits": {name: True, "vip": 1}}).json()
    assert (answer["changed"], answer["notInCohorts"]) == (2, 1)
    assert (traits(key), in_cohorts()) == ({name: True, "vip": 1}, {"vip": "1"})


def test_a_user_who_is_unknown_has_left_already(workspace: Workspace, key: str) -> None:
    Workspace.objects.update(known_users_only=True)
    items = [identify(False, userId="gone"), {"type": "identify", "userId": "new"}]
    for path in ("/batch", "/v1/batch"):
        reply = post(key, path, {"batch": items})
        assert (reply.status_code, reply.json()["ignored"]) == (200, 2)
    assert post(key, "/lists/1/remove", identify(False, userId="gone")).status_code == 200
    refused = post(key, "/batch", {"batch": [*items, identify(True, userId="x")]})
    assert (refused.status_code, refused.json()["invalidUserIds"]) == (404, ["x"])
    assert not UserTrait.objects.exists()


def test_more_traits_than_the_workspace_may_have_are_refused_in_words(workspace: Workspace, key: str) -> None:
    Workspace.objects.update(max_traits=2, max_lists=1)
    assert post(key, "/identify", {"userId": "u", "traits": {"a": 1, "b": 1}}).status_code == 200
    reply = post(key, "/identify", {"userId": "u", "traits": {"a": 2, "c": 1}})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "too_many_traits")
    assert traits(key) == {"a": 1, "b": 1}
    assert post(key, "/lists", {"name": "one"}).status_code == 200
    reply = post(key, "/lists", {"name": "two"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "too_many_lists")
