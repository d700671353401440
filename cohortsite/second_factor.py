"""Two-factor login: its secrets are encrypted with FIELD_KEYS like every other, and rotated with them."""

from collections.abc import Iterator
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken, MultiFernet
from django.db import transaction

from destinations.secrets import Secret, cipher

# Of an Authenticator's data: the key of the app, or the seed of the recovery codes.
SECRETS = ("secret", "seed")


class Adapter(DefaultMFAAdapter):  # type: ignore[misc]
    error_messages = {
        **DefaultMFAAdapter.error_messages,
        "incorrect_code": "The code is not right, or was used already. Enter the one that is shown now.",
    }

    def encrypt(self, text: str) -> str:
        return Secret.seal(text).token

    def decrypt(self, encrypted_text: str) -> str:
        return Secret(encrypted_text).reveal()


def is_on(user: Any) -> bool:
    return bool(Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists())


def remove(user: Any) -> bool:
    """Let a person log in by password alone again, recovery codes and all; False if it was so before."""
    deleted, _ = Authenticator.objects.filter(user=user).delete()
    return bool(deleted)


def rotate() -> Iterator[tuple[Authenticator, str, bool]]:
    """Encrypt each secret with the first key; yield row, its name and whether it was readable."""
    keys = cipher()
    for pk in Authenticator.objects.order_by("pk").values_list("pk", flat=True):
        yield from _rotate_one(keys, pk)


@transaction.atomic
def _rotate_one(keys: MultiFernet, pk: int) -> list[tuple[Authenticator, str, bool]]:
    # Locked where the database can: that a recovery code was used is written into the same column.
    row = Authenticator.objects.select_for_update().get(pk=pk)
    done = []
    for name in row.data.keys() & SECRETS:
        try:
            row.data[name] = keys.rotate(row.data[name].encode()).decode()
        except InvalidToken:
            done.append((row, name, False))
        else:
            done.append((row, name, True))
    row.save(update_fields=["data"])
    return done
