"""Schedules: due times as arithmetic, across both changes of the clocks."""

from datetime import UTC, datetime, time

import pytest

from cohorts.choices import ScheduleKind
from cohorts.schedule import InvalidSchedule, parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def next_times(schedule, now, count):
    return [moment.astimezone(UTC).strftime("%m-%d %H:%M") for moment in schedule.next_times(now, count)]


def test_daily_at_nine_in_berlin_follows_the_clock_on_the_wall_in_spring():
    daily = parse(kind=ScheduleKind.DAILY, at=time(9), timezone="Europe/Berlin")
    assert next_times(daily, at("2026-03-27 12:00"), 3) == ["03-28 08:00", "03-29 07:00", "03-30 07:00"]


def test_daily_at_nine_in_berlin_follows_the_clock_on_the_wall_in_autumn():
    daily = parse(kind=ScheduleKind.DAILY, at=time(9), timezone="Europe/Berlin")
    assert next_times(daily, at("2026-10-23 12:00"), 3) == ["10-24 07:00", "10-25 08:00", "10-26 08:00"]


def test_a_time_that_the_spring_change_leaves_out_still_comes_once_that_day():
    daily = parse(kind=ScheduleKind.DAILY, at=time(2, 30), timezone="Europe/Berlin")
    times = daily.next_times(at("2026-03-28 12:00"), 2)
    assert [moment.date().isoformat() for moment in times] == ["2026-03-29", "2026-03-30"]


def test_a_time_that_the_autumn_change_repeats_comes_once():
    daily = parse(kind=ScheduleKind.DAILY, at=time(2, 30), timezone="Europe/Berlin")
    times = daily.next_times(at("2026-10-24 12:00"), 3)
    assert [moment.date().isoformat() for moment in times] == ["2026-10-25", "2026-10-26", "2026-10-27"]


@pytest.mark.parametrize("start", ["2026-03-28 22:30", "2026-10-24 22:30"])
def test_hourly_is_every_hour_also_while_the_clocks_change(start):
    hourly = parse(kind=ScheduleKind.HOURLY, timezone="Europe/Berlin")
    times = hourly.next_times(at(start), 6)
    gaps = {
        (b.astimezone(UTC) - a.astimezone(UTC)).total_seconds()
        for a, b in zip(times, times[1:], strict=False)
    }
    assert gaps == {3600}


def test_next_is_after_now_never_now():
    daily = parse(kind=ScheduleKind.DAILY, at=time(9))
    assert daily.next_after(at("2026-05-01 09:00")) == at("2026-05-02 09:00")
    assert daily.next_after(at("2026-05-01 08:59")) == at("2026-05-01 09:00")


def test_cron_every_four_hours_on_weekdays():
    cron = parse(kind=ScheduleKind.CRON, cron="15 */4 * * 1-5")
    assert next_times(cron, at("2026-05-01 13:00"), 4) == [
        *("05-01 16:15", "05-01 20:15"),
        *("05-04 00:15", "05-04 04:15"),
    ]


@pytest.mark.parametrize(
    "expression", ["", "* * * *", "* * * * * *", "61 * * * *", "* * 31 2 *", "never", "* * 30 2 *", "@daily"]
)
def test_a_cron_expression_that_cannot_work_is_an_error_on_its_field(expression):
    with pytest.raises(InvalidSchedule) as caught:
        parse(kind=ScheduleKind.CRON, cron=expression)
    assert caught.value.field == "schedule_cron"
    assert caught.value.message


def test_once_comes_once_and_not_when_it_is_past():
    moment = at("2026-05-01 09:00")
    once = parse(kind=ScheduleKind.ONCE, once_at=moment)
    assert once.next_after(at("2026-04-30 09:00")) == moment
    assert once.next_after(moment) is None
    assert once.next_times(at("2026-04-30 09:00"), 5) == [moment]


def test_by_hand_only_is_never_due():
    assert parse(kind=ScheduleKind.MANUAL).next_after(at("2026-05-01 09:00")) is None


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"kind": ScheduleKind.ONCE}, "schedule_once_at"),
        ({"kind": ScheduleKind.DAILY}, "schedule_at"),
        ({"kind": ScheduleKind.HOURLY, "timezone": "Mars/Olympus"}, "timezone"),
        ({"kind": ScheduleKind.HOURLY, "timezone": "../etc/passwd"}, "timezone"),
        ({"kind": ScheduleKind.HOURLY, "timezone": ""}, "timezone"),
    ],
)
def test_what_is_missing_or_unknown_is_named(values, field):
    with pytest.raises(InvalidSchedule) as caught:
        parse(**values)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ScheduleKind)
def test_every_kind_describes_itself(kind):
    schedule = parse(kind=kind, once_at=at("2026-05-01 09:00"), at=time(9), cron="0 9 * * *")
    assert schedule.describe()
