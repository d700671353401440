"""Windows, dates and durations, from JSON."""

# `return self.wrong(…)` says what is wrong and returns the None that means "not parsed".
# mypy: disable-error-code="func-returns-value"

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from cohorts.definitions.grammar import ALL_TIME, Calendar, Duration, Window
from cohorts.definitions.shapes import Shapes

MAX_HOURS = 100 * 366 * 24
KEYS = ("last", "between_ago", "from", "to", "this", "previous", "count")
PERIODS = ("day", "week", "month", "quarter", "year")
MOST_PERIODS = 366


class TimeParser(Shapes):
    def window(self, value: object, path: str) -> Window | None:
        if value == "all_time":
            return ALL_TIME
        if isinstance(value, str):
            return self.wrong(path, f'unknown window "{value}"; use "all_time" or {{"last": "30d"}}')
        given = self.mapping(value, path, KEYS, "window")
        if given is None:
            return None
        if given and set(given) <= {"this", "previous", "count"}:
            return self.calendar(given, path)
        if set(given) == {"last"}:
            older = self.duration(given["last"], f"{path}/last")
            return Window(older=older) if older else None
        if set(given) == {"between_ago"}:
            return self.between_ago(given["between_ago"], f"{path}/between_ago")
        if given and set(given) <= {"from", "to"}:
            return self.dates(given, path)
        if set(given) <= set(KEYS):
            self.wrong(path, 'use one of "last", "between_ago", "this", "previous", or "from" and "to"')
        return None

    def calendar(self, given: Mapping[str, Any], path: str) -> Window | None:
        key = "this" if "this" in given else "previous"
        if key not in given or (key == "this" and len(given) > 1):
            return self.wrong(
                path, 'use "this", or "previous" and perhaps "count": {"previous": "month", "count": 3}'
            )
        unit, count = given[key], given.get("count", 1)
        if unit not in PERIODS:
            return self.wrong(f"{path}/{key}", f"is one of {', '.join(PERIODS)}, not {unit!r}"[:200])
        if type(count) is not int or not 1 <= count <= MOST_PERIODS:
            return self.wrong(
                f"{path}/count", f"is a whole number from 1 to {MOST_PERIODS}, not {count!r}"[:200]
            )
        return Window(calendar=Calendar(unit, 0 if key == "this" else count))

    def between_ago(self, value: object, path: str) -> Window | None:
        pair = self.list_of(value, path, '"between_ago"', 2, 2, self.duration)
        if pair is None:
            return None
        if pair[0].delta <= pair[1].delta:
            return self.wrong(path, 'write the older end first, such as ["90d", "30d"]')
        return Window(older=pair[0], newer=pair[1])

    def dates(self, given: Mapping[str, Any], path: str) -> Window | None:
        days = {key: self.date(given[key], f"{path}/{key}") for key in ("from", "to") if key in given}
        if None in days.values():
            return None
        first, last = days.get("from"), days.get("to")
        if first and last and first > last:
            return self.wrong(path, f"ends on {last}, before it begins on {first}")
        return Window(first_day=first, last_day=last)

    def date(self, value: object, path: str) -> date | None:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
            try:
                day = date.fromisoformat(value)
            except ValueError:
                return self.wrong(path, f'"{value}" is not a day of the calendar')
            if 1970 <= day.year < 2200:
                return day
        return self.wrong(path, 'a date is a day from 1970 to 2199, written as "2024-09-30"')

    def duration(self, value: object, path: str) -> Duration | None:
        match = re.fullmatch(r"([1-9]\d{0,6})([mhdw])", value, re.ASCII) if isinstance(value, str) else None
        if match is None:
            return self.wrong(
                path, 'a duration is a number of minutes, hours, days or weeks: "30m", "12h", "30d" or "4w"'
            )
        duration = Duration(int(match[1]), match[2])
        if duration.delta.total_seconds() > MAX_HOURS * 3600:
            return self.wrong(path, "is longer than 100 years")
        return duration
