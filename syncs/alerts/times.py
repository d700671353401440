"""When a channel is quiet, and when its weekly summary is due."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

SUMMARY_AT = time(9)
MONDAY = 0


def quiet_until(now: datetime, begins: time | None, ends: time | None, zone: str) -> datetime | None:
    """Return the end of the quiet hours that `now` lies in; None when it lies in none."""
    if begins is None or ends is None or begins == ends:
        return None
    local = now.astimezone(ZoneInfo(zone))
    clock = local.time()
    inside = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
    if not inside:
        return None
    end = datetime.combine(local.date(), ends, local.tzinfo)
    return end if end > local else datetime.combine(local.date() + timedelta(days=1), ends, local.tzinfo)


def next_summary(now: datetime, zone: str) -> datetime:
    """Return the next Monday at nine, after `now`."""
    local = now.astimezone(ZoneInfo(zone))
    day = local.date() + timedelta(days=(MONDAY - local.weekday()) % 7)
    found = datetime.combine(day, SUMMARY_AT, local.tzinfo)
    return found if found > local else datetime.combine(day + timedelta(days=7), SUMMARY_AT, local.tzinfo)
