"""Times for people: how long ago, and exactly, in the zone that the foot of the page names."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil


def ago(then: datetime, now: datetime) -> str:
    """Return "3 hours ago", "in 3 hours" or "just now"."""
    if abs(now - then) < timedelta(minutes=1):
        return "just now" if then <= now else "in less than a minute"
    if then > now:
        return f"in {timeuntil(then, now, depth=1)}"
    return f"{timesince(then, now, depth=1)} ago"


def when(then: datetime | None, now: datetime | None = None) -> SafeString:
    """Return a time relative to now; the exact one, in the viewer's zone, is its title."""
    if then is None:
        return mark_safe("–")
    exact = timezone.localtime(then).strftime("%Y-%m-%d %H:%M:%S %Z")
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', then.isoformat(), exact, ago(then, now or timezone.now())
    )


def exactly(then: datetime | None) -> SafeString:
    """Return a time with its zone, and how long ago that was."""
    if then is None:
        return mark_safe("–")
    at = timezone.localtime(then)
    return format_html(
        '<time datetime="{}" title="{}">{}</time> <span class="cs-quiet">({})</span>',
        then.isoformat(),
        f"{at:%Y-%m-%d %H:%M:%S %Z}",
        f"{at:%Y-%m-%d %H:%M %Z}",
        ago(then, timezone.now()),
    )


def moment_of(text: str) -> datetime:
    """Return the moment that a person writes, in the zone of the page or the site; ValueError for none."""
    try:
        moment = parse_datetime(text)
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(f"“{text[:40]}” is no time: write 2026-11-26 09:00.")
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment
