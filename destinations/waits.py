"""How long a partner asks us to wait, in any of the ways in which partners say it. Pure.

`Retry-After` first; without one, the usual headers of rate limits and a body's `retry_after`. A number
beyond 10^9 is a moment (Unix seconds, or milliseconds beyond 10^11), not that many seconds.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from destinations.reply_paths import look

LONGEST = 10.0**9
# What says that a refusal is a matter of pace: "rate limit", "too many requests", "quota exceeded", …
PACE = re.compile(
    r"rate[\s_-]*(?:limit|exceeded)|request[\s_-]*limit|too[\s_-]*many[\s_-]*(?:request|call|api)|throttl|"
    r"quota[\s_-]*exceeded|slow[\s_-]*down",
    re.IGNORECASE,
)
HEADERS = (
    *("RateLimit-Reset", "X-RateLimit-Reset", "X-Rate-Limit-Reset", "X-RateLimit-Reset-After"),
    *("X-Rate-Limit-Reset-After", "X-RateLimit-Retry-After", "X-Retry-After", "Retry-After-Seconds"),
    *("RateLimit-Retry-After", "X-RateLimit-Reset-In", "X-RateLimit-Reset-Time"),
)
REMAINING = ("RateLimit-Remaining", "X-RateLimit-Remaining", "X-Rate-Limit-Remaining")
MILLISECONDS = ("Retry-After-Ms", "X-RateLimit-Reset-Ms", "X-Rate-Limit-Reset-Ms")
# A number, perhaps in quotes, with a unit, or with parameters behind it: 30s, "30", 1m, 30;comment=x.
NUMBER = re.compile(
    r'"?([0-9]+(?:\.[0-9]{1,20})?)\s*(ms|s|secs?|seconds?|m|mins?|minutes?)?"?\s*(?:;.*)?', re.I
)
UNITS = {"ms": 0.001, "m": 60.0}
BODY_PATHS = tuple(
    f"{prefix}{name}"
    for prefix in ("", "error.", "errors.", "data.", "details.", "parameters.", "meta.", "error.details.")
    for name in (
        *("retry_after", "retryAfter", "retry-after", "retry_after_seconds", "retryAfterSeconds"),
        *("retryDelay", "retry_delay"),
    )
)
BODY_MILLISECONDS = tuple(
    f"{prefix}{name}" for prefix in ("", "error.", "data.") for name in ("retry_after_ms", "retryAfterMs")
)


def asked_wait(status: int, headers: Mapping[str, str], data: object, *, now: float) -> float | None:
    """Return the seconds that a reply asks us to wait, or None. `now`: the partner's clock, Unix seconds."""
    if (asked := retry_after(headers.get("Retry-After"), now=now)) is not None:
        return asked
    if status != 429 and not is_used_up(headers):
        return None  # many name the end of the current window in every reply
    named: list[tuple[object, float]] = [(headers.get(name), 1.0) for name in HEADERS]
    named += [(headers.get(name), 1000.0) for name in MILLISECONDS]
    named += [(text, 1.0) for path in BODY_PATHS for text in look(data, path)]
    named += [(text, 1000.0) for path in BODY_MILLISECONDS for text in look(data, path)]
    for text, scale in named:
        if isinstance(text, str) and (asked := parse_retry_after(text, now=now)) is not None:
            return asked / scale
    # RFC 9239's successor writes one header: RateLimit: "default";r=0;t=30
    if found := re.search(r"(?:^|[;,\s])(?:t|reset)=([0-9]{1,12})", headers.get("RateLimit") or ""):
        return parse_retry_after(found[1], now=now)
    return None


def is_used_up(headers: Mapping[str, str]) -> bool:
    """Say whether the headers of a rate limit say that nothing is left of it."""
    return any((headers.get(name) or "").strip() == "0" for name in REMAINING)


def retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds of a `Retry-After` header; of one that was sent twice, the longer."""
    if (whole := parse_retry_after(value, now=now)) is not None:
        return whole
    return _longest(parse_retry_after(part, now=now) for part in _several(value or ""))


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds that one value asks for, or None for none, junk or the past.

    value: seconds, perhaps with their unit or another, a date (HTTP, ISO), or a moment. now: the
    partner's clock if known, else ours, in Unix seconds.
    """
    text = (value or "").strip()
    if found := NUMBER.fullmatch(text):
        unit = (found[2] or "").lower()
        scale = UNITS.get(unit if unit == "ms" else unit[:1], 1.0)
        return _seconds(min(float(found[1]) * scale, 1e300), now)
    moment = _parse_iso(text) if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]", text) else parse_http_date(text)
    return moment - now if moment is not None and moment > now else None


def parse_http_date(text: str | None) -> float | None:
    """Return the Unix seconds of an HTTP date, or None for anything else."""
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _parse_iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def is_about_pace(texts: Iterable[str]) -> bool:
    """Say whether any of the texts that a partner answered speaks of a rate limit."""
    return any(PACE.search(text) for text in texts)


def _seconds(number: float, now: float) -> float | None:
    if number <= LONGEST:
        return number
    # A moment within a century of now; else only a very large number of seconds.
    for scale in (1.0, 1000.0):
        moment = number / scale
        if 1e9 <= moment <= 5e9:
            return moment - now if moment > now else None
    return LONGEST


def _several(value: str) -> list[str]:
    """Split a header that came twice, which arrives as one: dates have a comma of their own."""
    return re.split(r",(?!\s*[0-9]{1,2} [A-Za-z]{3} )(?!\s*[0-9]{1,2}-[A-Za-z]{3}-)", value)


def _longest(found: Iterable[float | None]) -> float | None:
    return max((seconds for seconds in found if seconds is not None), default=None)
