"""What a destination's fields may hold. Each function raises ValidationError with a sentence for people."""

import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from destinations import payloads, rules

# The program sets these itself, or they would break the framing of the request.
RESERVED_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer"),
        *("upgrade", "expect", "accept-encoding", "proxy-authorization", "proxy-connection"),
    }
)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
HEADER_LENGTH = 4096


def check_base_url(value: str) -> None:
    """An http or https address with a host, and nothing that would change what a path is added to."""
    if any(char.isspace() or not char.isprintable() for char in value) or "\\" in value:
        raise ValidationError("The address contains whitespace, a backslash or a control character.")
    try:
        parts = urlsplit(value)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except (ValueError, UnicodeError):
        raise ValidationError("The address has a host or a port that cannot be.") from None
    if parts.scheme not in ("http", "https"):
        raise ValidationError("The address must begin with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ValidationError(
            "Leave user name and password out of the address: enter them as the credential."
        )
    if not parts.hostname or not parts.hostname.strip("."):
        raise ValidationError("The address has no host.")
    if port == 0:
        raise ValidationError("Port 0 cannot be connected to.")
    if "?" in value or "#" in value:
        raise ValidationError("Leave ? and # out of the base address: they belong to a path.")


def check_path(value: str) -> None:
    """A path below the base URL, with variables that paths know (which, depends on the field)."""
    if not value.startswith("/"):
        raise ValidationError("A path begins with a slash.")
    if any(char.isspace() or not char.isprintable() for char in value) or "#" in value:
        raise ValidationError("The path contains whitespace, # or a control character.")
    if {".", ".."} & set(value.partition("?")[0].split("/")):
        raise ValidationError("The path has a segment that is a dot.")


def check_line(value: str) -> None:
    """One line of printable text: it is sent in a header or stands in a payload."""
    if not value.isprintable():
        raise ValidationError("Control characters and line breaks are not allowed.")


def check_finite(value: float) -> None:
    """A number that comparisons work on: YAML knows `.nan` and `.inf`."""
    if not math.isfinite(value):
        raise ValidationError("Must be a finite number.")


def check_header_name(value: str) -> None:
    """The name of a header that the program does not set itself."""
    if not HEADER_NAME.fullmatch(value):
        raise ValidationError(f"{value[:80]!r} is not the name of a header.")
    if value.lower() in RESERVED_HEADERS:
        raise ValidationError(f"{value} is set by the program itself.")


def check_headers(value: Any) -> None:
    """An object of header names and values."""
    if not isinstance(value, dict):
        raise ValidationError('Must be a JSON object: {"X-Name": "value"}.')
    for name, text in value.items():
        check_header_name(name)
        if not isinstance(text, str) or not text.isprintable() or len(text) > HEADER_LENGTH:
            raise ValidationError(f"The value of {name} must be one line of text.")
    if len({name.lower() for name in value}) < len(value):
        raise ValidationError("A header stands there twice.")


def check_rules(value: Any) -> None:
    """A list of rules: see `rules`."""
    try:
        rules.check_rules(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def check_place(value: str) -> None:
    """A dotted place in a reply."""
    if not all(value.split(".")) or not value.isprintable() or " " in value:
        raise ValidationError("Write names with dots between them: response.listId.")


def used_variables(place: str, text: str) -> set[str]:
    """Return the variables that the field `place` uses, or raise ValidationError for what is wrong."""
    try:
        return payloads.check_known(_texts(place, text), place)
    except payloads.TemplateError as error:
        raise ValidationError(str(error)) from None


def _texts(place: str, text: str) -> Iterator[str]:
    if place.endswith("_template") and place != "name_template":
        return payloads.strings(payloads.parse_template(text, place))
    return iter((text,))
