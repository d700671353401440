"""Times as they come: each is read as what it says, or refused; none becomes another one."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.times import UnreadableTime, by_our_clock, from_micros, micros, read_time

pytestmark = pytest.mark.once
NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "said",
    [
        "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01t00:00:00z", "2020-01-01T00:00Z",
        "2020-01-01 00:00:00", "2020-01-01 00:00:00 UTC", "2020-01-01 00:00:00 GMT",
        "2020-01-01 00:00:00.000000 UTC", "2020-01-01T01:00:00+01:00", "2020-01-01T01:00:00+0100",
        "2020-01-01T01:00:00+01", "2020-01-01 00:00:00 +0000", "2020-01-01 00:00:00 +0000 UTC",
        "2020-01-01T00:00:00.000000000Z", "2020-01-01T00:00:00,000Z", "2019-12-31T19:00:00.000-05:00",
        "2020/01/01 00:00:00", "20200101T000000Z", "20200101", "2020-W01-3", " 2020-01-01T00:00:00Z\n",
        "Wed, 01 Jan 2020 00:00:00 GMT", "Wed, 1 Jan 2020 01:00:00 +0100", "01 Jan 2020 00:00:00 +0000",
        "Tue, 31 Dec 2019 19:00:00 EST", "Wed, 01 Jan 2020 00:00 UT",
        "Wed Jan 01 2020 01:00:00 GMT+0100 (Central European Standard Time)",
        1577836800, 1577836800.0, 1577836800000, 1577836800000000, 1577836800000000000,
        "1577836800", "1577836800000", "1577836800.000", "1577836800000000", "1577836800000000000",
        NEW_YEAR, NEW_YEAR.replace(tzinfo=None), NEW_YEAR.astimezone(timezone(timedelta(hours=5))),
    ],
)  # fmt: skip
def test_what_says_new_year_is_new_year(said: Any) -> None:
    assert read_time(said) == NEW_YEAR


@pytest.mark.parametrize(
    "said",
    [
        None, "", " ", "now", "yesterday", "1/2/2020", "01.02.2020", "2020-13-01", "2020-02-30", "2020", True,
        "2020-01-01T25:00:00Z", "Wed, 01 Jan 2020 00:00:00 CET", "01 Jan 20 00:00:00 GMT", "12:00",
        "2020-01-01T00:00:00 Europe/Berlin", "٢٠٢٠-٠١-٠١", "2020-01-01+05:00", 0, 1, -5, 20200101, 43831.5,
        "43831.5", float("nan"), float("inf"), 1e300, 10**30, [], {}, "1.5778E+12", "9" * 30,
        "2300-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    ],
)  # fmt: skip
def test_what_says_no_time_is_refused(said: Any) -> None:
    with pytest.raises(UnreadableTime, match="the time"):
        read_time(said)


@given(st.datetimes(datetime(1974, 1, 1), datetime(2199, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_every_moment_comes_back_from_its_text_and_its_numbers(moment: datetime, minutes: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    number = micros(moment)
    assert from_micros(number) == moment
    assert read_time(moment.astimezone(timezone(timedelta(minutes=minutes))).isoformat()) == moment
    assert read_time(number) == read_time(number * 1_000) == read_time(str(number)) == moment
    whole = moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)
    assert read_time(micros(whole) // 1_000) == whole
    assert read_time(micros(whole.replace(microsecond=0)) // 1_000_000) == whole.replace(microsecond=0)


def test_a_clock_ahead_or_behind_is_set_right_by_when_it_says_it_sent() -> None:
    hour = timedelta(hours=1)
    for wrong in (timedelta(days=3650), -timedelta(days=400), timedelta(seconds=5), -timedelta(minutes=10)):
        sent = NEW_YEAR + wrong
        assert by_our_clock(sent - hour, sent, NEW_YEAR) == NEW_YEAR - hour


def test_what_a_network_takes_is_no_wrong_clock_and_keeps_the_order() -> None:
    sent = NEW_YEAR - timedelta(seconds=20)
    assert by_our_clock(sent, sent, NEW_YEAR) == sent


def test_nothing_is_later_than_its_arrival() -> None:
    assert by_our_clock(NEW_YEAR + timedelta(days=9), None, NEW_YEAR) == NEW_YEAR
    assert by_our_clock(NEW_YEAR + timedelta(days=9), NEW_YEAR, NEW_YEAR) == NEW_YEAR
    assert by_our_clock(NEW_YEAR - timedelta(days=9), None, NEW_YEAR) == NEW_YEAR - timedelta(days=9)
