"""When a sync is due: pure arithmetic on values; the clock is passed in."""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from cohorts.choices import ScheduleKind


class InvalidSchedule(ValueError):
    """`field` is the field of a sync that is wrong; `message` says how to put it right."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was checked. `expression` is a cron expression in `zone`, or '' for none."""

    kind: str
    zone: ZoneInfo
    expression: str = ""
    once_at: datetime | None = None

    def next_after(self, now: datetime) -> datetime | None:
        """Return the first time after `now` (aware) at which the sync is due, in UTC, or None."""
        if self.once_at:
            return self.once_at if self.once_at > now else None
        if not self.expression:
            return None
        return next(CronSim(self.expression, now.astimezone(self.zone))).astimezone(UTC)

    def next_times(self, now: datetime, count: int) -> list[datetime]:
        """Return the next times at which the sync is due, in the schedule's zone."""
        times: list[datetime] = []
        after: datetime | None = now
        while after and len(times) < count and (after := self.next_after(after)):
            times.append(after.astimezone(self.zone))
        return times

    def describe(self) -> str:
        """Return the schedule as a person would say it."""
        if self.kind == ScheduleKind.CRON:
            return f"{CronSim(self.expression, datetime(2000, 1, 1)).explain()} ({self.zone})"
        if self.kind == ScheduleKind.DAILY:
            minute, hour = self.expression.split()[:2]
            return f"Every day at {int(hour):02}:{int(minute):02} ({self.zone})"
        if self.once_at:
            return f"Once, on {self.once_at.astimezone(self.zone):%Y-%m-%d at %H:%M} ({self.zone})"
        return str(ScheduleKind(self.kind).label)


def parse(
    *,
    kind: str,
    once_at: datetime | None = None,
    at: time | None = None,
    cron: str = "",
    timezone: str = "UTC",
) -> Schedule:
    """Return the schedule, or raise InvalidSchedule that names the field and the remedy."""
    zone = _zone(timezone)
    if kind == ScheduleKind.ONCE:
        if once_at is None:
            raise InvalidSchedule("schedule_once_at", "Say when it should run.")
        return Schedule(kind, zone, once_at=once_at)
    if kind == ScheduleKind.DAILY:
        if at is None:
            raise InvalidSchedule("schedule_at", "Say at what time of the day it should run.")
        return Schedule(kind, zone, f"{at.minute} {at.hour} * * *")
    if kind == ScheduleKind.CRON:
        return Schedule(kind, zone, _cron(cron))
    return Schedule(kind, zone, "0 * * * *" if kind == ScheduleKind.HOURLY else "")


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(
            "timezone", f"There is no time zone {name!r}. Example: Europe/Berlin."
        ) from None


def _cron(expression: str) -> str:
    if len(expression.split()) != 5:
        raise InvalidSchedule("schedule_cron", "A cron expression has five fields. Example: 15 */4 * * 1-5")
    try:
        next(CronSim(expression, datetime.now(UTC)))
    except (CronSimError, StopIteration) as error:
        reason = str(error) or "it never comes true"
        raise InvalidSchedule("schedule_cron", f"This cron expression does not work: {reason}.") from None
    return " ".join(expression.split())
