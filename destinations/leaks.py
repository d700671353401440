"""Secrets that stand where everybody reads them: in a template, a path, a header or an address."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from destinations.secrets import SecretUnreadable
from destinations.templates import KNOWN

if TYPE_CHECKING:
    from destinations.models import Destination

NAMED = re.compile(
    r"(?:x[-_])?(?:(?:api|app|access|auth|private|secret|client|write|rest|account|service|signing)[-_]?)?"
    r"(?:key|secret|token|password|passwd|pwd|authorization|credential|signature|bearer)|authorization",
    re.IGNORECASE,
)
# "key" alone names many things.
HARMLESS = frozenset({"key", "signature", "appkey", "app_key", "app-key", "token_type"})
SHAPED = re.compile(
    r"\b(?:sk|pk|rk)_(?:live|test)_\w{8,}|\bgh[pousr]_\w{20,}|\bxox[abprs]-[\w-]{10,}|\bAKIA[0-9A-Z]{16}\b|"
    r"\beyJ[\w-]{10,}\.[\w-]{10,}\.|\b(?:Bearer|Basic) [A-Za-z0-9+/=._-]{12,}|\bSG\.[\w-]{16,}\.|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY"
)
QUERY = re.compile(r"[?&]([^=&]+)=([^&]*)")
SAY = "{} looks like a secret, and everybody who may look at this destination reads it: enter it as a named "
SAY += "secret, and write $secret_NAME here."


def problems_of(row: "Destination") -> Iterator[tuple[str, str]]:
    """Yield fields that hold something like a secret, unless they held it before: what runs goes on."""
    found = list(_found(row))
    if not found:
        return
    old = type(row)._default_manager.filter(pk=row.pk).first() if row.pk else None
    for name, text in found:
        if old is None or getattr(old, name) != getattr(row, name):
            yield name, text


def _found(row: "Destination") -> Iterator[tuple[str, str]]:
    try:
        secrets = [
            text for text in (row.credential.reveal(), *row.named_secrets.reveal().values()) if len(text) >= 8
        ]
    except SecretUnreadable:
        secrets = []
    for name, key, text in _texts(row):
        if any(secret in text for secret in secrets) or SHAPED.search(text):
            yield name, SAY.format(f"What stands in {key!r}" if key else "What stands there")
        elif key.lower() not in HARMLESS and NAMED.fullmatch(key) and len(text) >= 6 and "$" not in text:
            yield name, SAY.format(f"{key!r}")


def _texts(row: "Destination") -> Iterator[tuple[str, str, str]]:
    """Yield field, key and text of all that is shown of a destination and sent."""
    if isinstance(row.extra_headers, dict):
        yield from (("extra_headers", str(name), str(text)) for name, text in row.extra_headers.items())
    yield "base_url", "", row.base_url
    for name in KNOWN:
        text = str(getattr(row, name))
        if name.endswith("_path"):
            yield name, "", text
            yield from ((name, found[1], found[2]) for found in QUERY.finditer(text))
            continue
        try:
            yield from ((name, key, value) for key, value in _pairs(json.loads(text), ""))
        except (ValueError, RecursionError):
            yield name, "", text


def _pairs(value: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _pairs(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _pairs(item, key)
    elif isinstance(value, str):
        yield key, value
