"""Mistakes in the settings of events, told at start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register("settings")
def check_limits(app_configs: Any, **options: Any) -> list[CheckMessage]:
    lowest = {"EVENTS_MEMORY_MB": 64, "EVENTS_THREADS": 1, "EVENTS_TEMP_MB": 1, "EVENTS_SECONDS": 0.1}
    return [
        Error(
            f"{name} is {getattr(settings, name)}.",
            hint=f"Set it to {least} or more, or leave it out.",
            id="events.E001",
        )
        for name, least in lowest.items()
        if getattr(settings, name) < least
    ]


@register("settings")
def check_insert(app_configs: Any, **options: Any) -> list[CheckMessage]:
    if not settings.EVENTS_INSERT or settings.EVENTS_URL:
        return []
    hint = "Name the database, or leave EVENTS_INSERT out: events are then kept in files."
    return [Error("EVENTS_INSERT is true, and EVENTS_URL is empty.", hint=hint, id="events.E002")]
