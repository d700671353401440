"""Secrets in the database: encrypted with the keys of the setting FIELD_KEYS, never in clear.

The first key writes, all of them read, so that a key can be rotated (`manage.py rotate_keys`). A secret
is opened only where it is used: pages, logs and exports meet a `Secret`, which shows as "set".
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.query_utils import DeferredAttribute


class SecretUnreadable(Exception):
    """None of FIELD_KEYS opens a stored secret. The message holds nothing of it."""


class Secret:
    """A stored secret, sealed. It is true when there is one, and shows nothing but that."""

    __slots__ = ("token",)

    def __init__(self, token: str = "") -> None:
        self.token = token

    @classmethod
    def seal(cls, text: str) -> "Secret":
        """Encrypt a text; the empty text is no secret at all."""
        return cls(cipher().encrypt(text.encode()).decode() if text else "")

    def reveal(self) -> str:
        """Return the text, or raise SecretUnreadable."""
        if not self.token:
            return ""
        try:
            return cipher().decrypt(self.token.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable(
                "A stored secret cannot be read with any of FIELD_KEYS: put the key back that it was "
                "written with, or enter the secret again."
            ) from None

    def __bool__(self) -> bool:
        return bool(self.token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __str__(self) -> str:
        return "set" if self.token else "not set"

    def __repr__(self) -> str:
        return f"<Secret {self}>"


class _Sealing(DeferredAttribute):
    """Seals text on assignment, so that an instance never holds a secret in clear."""

    def __set__(self, instance: models.Model, value: Secret | str | None) -> None:
        sealed = value if isinstance(value, Secret) else Secret.seal(value or "")
        instance.__dict__[self.field.attname] = sealed


class _SealingSeveral(_Sealing):
    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = _named(value)


def _named(value: Any) -> "NamedSecrets":
    if isinstance(value, NamedSecrets):
        return value
    if isinstance(value, Secret):  # as `rotate` seals it again
        return NamedSecrets(value.token)
    return NamedSecrets.seal(value or {})


if TYPE_CHECKING:
    SecretColumn = models.TextField[Secret | str, Secret]
else:
    SecretColumn = models.TextField


class EncryptedField(SecretColumn):
    """A column for a secret. Assign text; read a `Secret`, and call its `reveal()` to use it."""

    descriptor_class = _Sealing

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("blank", True)
        kwargs.setdefault("default", "")
        super().__init__(*args, **kwargs)

    def from_db_value(self, value: str | None, *_: Any) -> Secret:
        return Secret(value or "")

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret.seal(value or "")

    def get_prep_value(self, value: Any) -> str:
        return self.to_python(value).token

    def value_to_string(self, obj: models.Model) -> str:
        """Leave the secret out of `dumpdata`."""
        return ""


class NamedSecrets:
    """Stored secrets by name, sealed together. It shows their names and nothing else."""

    __slots__ = ("token",)

    def __init__(self, token: str = "") -> None:
        self.token = token

    @classmethod
    def seal(cls, secrets: Mapping[str, str]) -> "NamedSecrets":
        kept = {name: text for name, text in secrets.items() if text}
        return cls(cipher().encrypt(json.dumps(kept).encode()).decode() if kept else "")

    def reveal(self) -> dict[str, str]:
        """Return the secrets by name, or raise SecretUnreadable."""
        text = Secret(self.token).reveal()
        return dict(json.loads(text)) if text else {}

    def with_changes(self, changes: Mapping[str, str]) -> "NamedSecrets":
        """Return these with some set, or forgotten where the text is empty."""
        return self.seal({**self.reveal(), **changes})

    @property
    def names(self) -> list[str]:
        return sorted(self.reveal())

    def __bool__(self) -> bool:
        return bool(self.token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedSecrets) and self.token == other.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __str__(self) -> str:
        return "set" if self.token else "not set"

    def __repr__(self) -> str:
        return f"<NamedSecrets {self}>"


class NamedSecretsField(EncryptedField):
    """A column for several secrets. Assign a mapping of names and texts; read `NamedSecrets`."""

    descriptor_class = _SealingSeveral

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return NamedSecrets(value or "")

    def to_python(self, value: Any) -> Any:
        return _named(value)

    def get_prep_value(self, value: Any) -> str:
        return _named(value).token


def cipher() -> MultiFernet:
    """Return the cipher of FIELD_KEYS; ImproperlyConfigured when there is none or one is malformed."""
    try:
        return MultiFernet([Fernet(key) for key in settings.FIELD_KEYS])
    except (ValueError, TypeError):
        raise ImproperlyConfigured(
            "FIELD_KEYS must hold Fernet keys: 32 random bytes in URL-safe base64, comma-separated."
        ) from None


def rotate() -> Iterator[tuple[models.Model, str, bool]]:
    """Encrypt every stored secret with the first key; yield row, field name and whether it was readable.

    A secret that somebody changes meanwhile is left as they wrote it.
    """
    keys = cipher()
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedField):
                for row in model._default_manager.exclude(**{field.name: Secret()}).order_by("pk"):
                    yield row, field.name, _rotate_one(keys, row, field)


def _rotate_one(keys: MultiFernet, row: models.Model, field: EncryptedField) -> bool:
    old: Secret = getattr(row, field.attname)
    try:
        new = Secret(keys.rotate(old.token.encode()).decode())
    except InvalidToken:
        return False
    type(row)._default_manager.filter(pk=row.pk, **{field.name: old}).update(**{field.name: new})
    return True
