"""What is kept of people who were erased: a keyed hash of the id, so that no old file brings them back.

The key is the site's own, random, and sealed by FIELD_KEYS: whoever has the database alone cannot try ids.
"""

import secrets
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from people.models import Tombstone, TombstoneKey


class Unreadable(ImproperlyConfigured):
    """None of FIELD_KEYS opens the key of the tombstones: erased people could come back unseen."""


class Tombstones:
    """Those that there are now, to be asked about many ids. Raises Unreadable when there are some."""

    def __init__(self) -> None:
        self._digests = frozenset(Tombstone.objects.values_list("digest", flat=True))
        self._key = _key() if self._digests else b""

    def among(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of the users who were erased."""
        if not self._digests:
            return set()
        return {user_id for user_id in user_ids if _digest(self._key, user_id) in self._digests}


def digest_of(user_id: str) -> str:
    """Return the keyed hash of a user id: 32 hexadecimal digits. Raises Unreadable."""
    return _digest(_key(), user_id)


def rotate() -> Iterator[tuple[models.Model, str, bool]]:
    """Seal the key anew with the first of FIELD_KEYS; yield row, field name and whether it was readable."""
    for row in TombstoneKey.objects.all():
        try:
            row.sealed = _cipher().rotate(row.sealed.encode()).decode()
        except InvalidToken:
            yield row, "sealed", False
        else:
            row.save()
            yield row, "sealed", True


def _digest(key: bytes, user_id: str) -> str:
    return blake2b(user_id.encode(), key=key, digest_size=16).hexdigest()


def _key() -> bytes:
    sealed = _cipher().encrypt(secrets.token_bytes(32)).decode()
    row, _ = TombstoneKey.objects.get_or_create(pk=1, defaults={"sealed": sealed})
    try:
        return _cipher().decrypt(row.sealed.encode())
    except InvalidToken:
        raise Unreadable(
            "The key of the tombstones of erased people cannot be read with any of FIELD_KEYS: put the key "
            "back that it was sealed with. Until then nobody is refreshed, or erased people might come back."
        ) from None


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])
