"""How a partner asks for a wait: `Retry-After` and its relatives."""

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from requests.structures import CaseInsensitiveDict

from destinations.waits import LONGEST, asked_wait, is_about_pace, parse_retry_after, retry_after

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("30s", 30.0),
        ("30 seconds", 30.0),
        ("2m", 120.0),
        ("1500ms", 1.5),
        ('"30"', 30.0),
        ("30;comment=x", 30.0),
        (datetime.fromtimestamp(NOW + 90, UTC).isoformat(), 90.0),
        (datetime.fromtimestamp(NOW + 90, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), 90.0),
        (datetime.fromtimestamp(NOW + 90, UTC).strftime("%Y-%m-%d %H:%M:%S"), 90.0),
        ("2026-13-45T00:00:00Z", None),
        ("30 lists", None),
        ("9" * 18, LONGEST),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), None),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("nan", None),
        ("inf", None),
        ("٣", None),
        ("²", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Wed, 21 Oct 99999999 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_junk_is_ignored(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (f"{NOW + 90:.0f}", 90.0),
        (f"{NOW - 90:.0f}", None),
        (f"{NOW * 1000 + 90_000:.0f}", 90.0),
        ("9" * 23, LONGEST),
        ("9" * 5000, LONGEST),
        ("604800", 604800.0),
    ],
)
def test_a_number_beyond_a_milliard_is_a_moment_and_what_is_too_large_for_one_is_capped(value, seconds):
    assert parse_retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5, 60", 60.0),
        ("60,5", 60.0),
        (f"5, {formatdate(NOW + 90, usegmt=True)}", 90.0),
        (f"{formatdate(NOW + 90, usegmt=True)}, {formatdate(NOW + 30, usegmt=True)}", 90.0),
        ("soon, 7", 7.0),
        ("soon, later", None),
    ],
)
def test_of_two_retry_afters_the_longer_one_counts(value, seconds):
    assert retry_after(value, now=NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "data", "seconds"),
    [
        ({"RateLimit-Reset": "30"}, None, 30.0),
        ({"X-RateLimit-Reset": f"{NOW + 40:.0f}"}, None, 40.0),
        ({"X-Rate-Limit-Reset-After": "1.5"}, None, 1.5),
        ({"x-ratelimit-reset-after": "2"}, None, 2.0),
        ({"RateLimit": '"default";r=0;t=25'}, None, 25.0),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, None, 50.0),
        ({"Retry-After-Ms": "1500"}, None, 1.5),
        ({}, {"retry_after": "3.5"}, 3.5),
        ({}, {"error": {"retryAfter": "4"}}, 4.0),
        ({}, {"retry_after_ms": "250"}, 0.25),
        ({}, {"error": {"details": [{"retryDelay": "4s"}]}}, 4.0),
        ({"X-RateLimit-Reset-In": "6"}, None, 6.0),
        ({"Retry-After": "8", "X-RateLimit-Reset": "90"}, {"retry_after": "3"}, 8.0),
        ({}, {"retry_after": None}, None),
        ({}, ["x"], None),
    ],
)
def test_a_429_without_retry_after_says_it_in_other_headers_or_its_body(headers, data, seconds):
    assert asked_wait(429, CaseInsensitiveDict(headers), data, now=NOW) == seconds


def test_the_end_of_a_window_is_a_wait_only_when_nothing_is_left_of_it():
    window = {"X-RateLimit-Reset": "3000", "X-RateLimit-Remaining": "41"}
    assert asked_wait(500, CaseInsensitiveDict(window), None, now=NOW) is None
    used_up = window | {"X-RateLimit-Remaining": "0"}
    assert asked_wait(503, CaseInsensitiveDict(used_up), None, now=NOW) == 3000.0


def test_words_of_pace_are_distinguished_from_others():
    assert is_about_pace(["Rate limit exceeded"]) and is_about_pace(["TOO_MANY_REQUESTS"])
    assert is_about_pace(["Request was throttled."]) and is_about_pace(["User request limit reached"])
    assert not is_about_pace(["The batch limit is 1000 users", "forbidden", "a corporate account"])
