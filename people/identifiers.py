"""What people are known by besides their id: the hashes of e-mail addresses and telephone numbers.

Partners that match by hashes hash their one form (`pagekit.identifiers`).
"""

import hashlib
import unicodedata
from collections.abc import Sequence

from django.db.models import TextChoices

from pagekit.identifiers import InvalidIdentifier, clean_email, clean_phone, is_hash


class Kind(TextChoices):
    USER_ID = "user_id", "User id"
    EMAIL = "email", "E-mail address"
    PHONE = "phone", "Telephone number"


def digests_of(kind: str, text: str) -> list[str]:
    """Return the hashes by which an identifier may be known: of a number with its + and without.

    A text that is a hash already is taken as it is. The first is the one that is kept. Raises
    InvalidIdentifier.
    """
    if is_hash(text.strip()):
        return [text.strip().lower()]
    if kind == Kind.EMAIL:
        address = clean_email(text)
        # With its marks it was another one until 0.1.0, and may be on the list as that.
        marked = unicodedata.normalize("NFC", text.strip()).lower()
        return [_sha256(one) for one in dict.fromkeys((address, marked))]
    number = clean_phone(text)
    return [_sha256(number), _sha256(number[1:])]


def kind_of(text: str) -> Kind:
    """Return what a text that names somebody is: an address, a number with its country, or else a user id."""
    kind = Kind.EMAIL if "@" in text else Kind.PHONE if text.strip().startswith("+") else Kind.USER_ID
    if kind != Kind.USER_ID:
        try:
            digests_of(kind, text)
        except InvalidIdentifier:
            return Kind.USER_ID
    return kind


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
