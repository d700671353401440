"""What people are known by besides their id: e-mail addresses and telephone numbers, in one form each.

Partners that match by hashes hash these forms: an address trimmed and in small letters, a number in E.164
(https://www.itu.int/rec/T-REC-E.164). Two ways of writing one address are one: Unicode's NFC is hashed.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from django.db.models import TextChoices

# RFC 5321, 4.5.3.1: a path has 256 octets with its brackets.
MAX_EMAIL = 254
_HASH = re.compile(r"[0-9A-Fa-f]{64}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")


class Kind(TextChoices):
    USER_ID = "user_id", "User id"
    EMAIL = "email", "E-mail address"
    PHONE = "phone", "Telephone number"


class InvalidIdentifier(ValueError):
    """The message says what is wrong, as a phrase that follows what it is about: "has no @"."""


def is_hash(text: str) -> bool:
    """Say whether a text is a SHA-256 in hexadecimal digits, not an identifier in clear."""
    return _HASH.fullmatch(text) is not None


def clean_email(text: str) -> str:
    """Return an address as it is hashed. Raises InvalidIdentifier."""
    address = unicodedata.normalize("NFC", text.strip()).lower()
    if "\0" in address:
        raise InvalidIdentifier("contains a NUL character")
    if len(address) > MAX_EMAIL:
        raise InvalidIdentifier(f"is longer than {MAX_EMAIL} characters")
    if "@" not in address:
        raise InvalidIdentifier("has no @")
    if not _EMAIL.fullmatch(address):
        raise InvalidIdentifier("is not an e-mail address")
    return address


def clean_phone(text: str) -> str:
    """Return a number in E.164, as +4930901820. It must say its country. Raises InvalidIdentifier."""
    import phonenumbers  # here: a process that meets no number does not load the plans of all countries

    number = text.strip()
    if number.startswith("00"):
        number = f"+{number[2:]}"
    if not number.startswith("+"):
        raise InvalidIdentifier("does not begin with + and the number of its country")
    try:
        parsed = phonenumbers.parse(number[:100])
    except phonenumbers.NumberParseException:
        raise InvalidIdentifier("is not a telephone number") from None
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidIdentifier("has too many or too few digits for its country")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def digests_of(kind: str, text: str) -> list[str]:
    """Return the hashes by which partners know an identifier: of a number with its + and without.

    A text that is a hash already is taken as it is. The first is the one that is kept. Raises
    InvalidIdentifier.
    """
    if is_hash(text.strip()):
        return [text.strip().lower()]
    if kind == Kind.EMAIL:
        return [_sha256(clean_email(text))]
    number = clean_phone(text)
    return [_sha256(number), _sha256(number[1:])]


def looked_up(user_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return, of user ids that are identifiers themselves, what these are hashed to: id by hash."""
    found: dict[str, list[str]] = {}
    for user_id in user_ids:
        if "@" in user_id:
            kind = Kind.EMAIL
        elif user_id.startswith("+") or is_hash(user_id):
            kind = Kind.PHONE
        else:
            continue
        try:
            digests = digests_of(kind, user_id)
        except InvalidIdentifier:
            continue
        for digest in digests:
            found.setdefault(digest, []).append(user_id)
    return found


def hint_of(kind: str, text: str) -> str:
    """Return what a person may be shown of an identifier of which only the hash is kept: `a…@example.com`."""
    if is_hash(text.strip()):
        return f"{text.strip().lower()[:8]}…"
    if kind == Kind.EMAIL:
        name, _, domain = clean_email(text).rpartition("@")
        return f"{name[:1]}…@{domain}"
    return f"…{clean_phone(text)[-3:]}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
