"""System checks: mistakes in settings are told at start, with what to do."""

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from destinations.addresses import parse_networks

MAKE_KEY = (
    "Make one with: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
)


@register("settings")
def check_field_keys(**_: Any) -> list[CheckMessage]:
    """E001: no key to encrypt secrets with. E002: one that is no key; its place is told, not its value."""
    if not settings.FIELD_KEYS:
        return [
            Error("FIELD_KEYS is empty: secrets cannot be stored.", hint=MAKE_KEY, id="destinations.E001")
        ]
    problems: list[CheckMessage] = []
    for number, key in enumerate(settings.FIELD_KEYS, 1):
        try:
            Fernet(key)
        except (ValueError, TypeError):
            text = f"Key number {number} of FIELD_KEYS is not 32 bytes in URL-safe base64."
            problems.append(Error(text, hint=MAKE_KEY, id="destinations.E002"))
    return problems


@register("settings")
def check_outbound_networks(**_: Any) -> list[CheckMessage]:
    """E003: OUTBOUND_ALLOW_NETS holds something that is no network."""
    try:
        parse_networks(settings.OUTBOUND_ALLOW_NETS)
    except ValueError as error:
        hint = "List networks, comma-separated: 10.1.2.0/24,fd00:1::/64. An address alone is one, too."
        return [Error(f"OUTBOUND_ALLOW_NETS: {error}.", hint=hint, id="destinations.E003")]
    return []


@register("settings")
def check_retry_time_scale(**_: Any) -> list[CheckMessage]:
    """E004: RETRY_TIME_SCALE must be positive, or nothing waits between retries."""
    if settings.RETRY_TIME_SCALE > 0:
        return []
    hint = "Leave it out: 1.0 is real time. Tests set less."
    return [Error("RETRY_TIME_SCALE must be greater than 0.", hint=hint, id="destinations.E004")]
