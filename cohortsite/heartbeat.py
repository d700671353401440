"""A worker says now and then that it is there, in the cache, where the pages and `/healthz` look."""

import threading
from datetime import UTC, datetime, timedelta

from django.core.cache import cache
from django.utils import timezone

# Seconds between two beats, and the cache's key.
EVERY = 10.0
KEY = "sync_worker"


def beat(stop: threading.Event) -> None:
    """Say that a worker is there, and wait until it is time to say so again."""
    say()
    stop.wait(EVERY)


def say() -> None:
    """Say that a worker is there, unless one said so just now."""
    last = last_beat()
    if last is None or timezone.now() - last > timedelta(seconds=EVERY / 2):
        cache.set(KEY, timezone.now().timestamp(), timeout=None)


def last_beat() -> datetime | None:
    """Return when a worker last said that it is there; None if none did."""
    at: float | None = cache.get(KEY)
    return None if at is None else datetime.fromtimestamp(at, UTC)
