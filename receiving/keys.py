"""API keys: how they are made, and how a call's headers are told apart into one.

A key is 256 random bits, looked up by its SHA-256; nothing is compared byte by byte, so the work does not
tell how near a guess was. Forms taken (`docs/protocol.md`, "Authentication"): Basic with the key as user name
or as password, Bearer, and the headers `api_key` (or `X-API-Key`) and `app_id`.
"""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model, Q
from django.utils import timezone

from receiving.errors import Unauthorized
from receiving.models import ApiKey, Workspace

PREFIX_LENGTH = 10
LAST_USED_STEP = timedelta(minutes=1)
# Keys whose models a process keeps, by their number, with the row that they were made of.
MOST_MADE = 1_000
_made: dict[int, tuple[tuple[Any, ...], ApiKey]] = {}


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(
    workspace: Workspace,
    *,
    name: str = "",
    app_id: str = "",
    expires_at: datetime | None = None,
    write_only: bool = False,
    origins: str = "",
) -> tuple[ApiKey, str]:
    """Return the stored key and its text, which cannot be had again.

    One that is `write_only` is for pages of the `origins`: see browsers.py.
    """
    text = f"cs_{secrets.token_urlsafe(32)}"
    stored = ApiKey.objects.create(
        workspace=workspace,
        name=name,
        app_id=app_id,
        prefix=text[:PREFIX_LENGTH],
        sha256=digest(text),
        expires_at=expires_at,
        write_only=write_only,
        origins=origins,
    )
    return stored, text


def revoke(key: ApiKey) -> bool:
    """Revoke a key at once; False if it was revoked before."""
    return bool(ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()))


@dataclass(frozen=True, slots=True)
class Credential:
    """What a call says it is: one or two texts that can be the key, and the app id if it sent one."""

    candidates: tuple[str, ...]
    app_id: str | None = None


def read_credential(environ: Mapping[str, Any]) -> Credential:
    """Return what the headers carry. Raises Unauthorized when they are missing, double or malformed.

    Only in Basic two texts can be the key: the user name, or with another tool (Mixpanel) the password.
    """
    authorization = environ.get("HTTP_AUTHORIZATION")
    if authorization is not None:
        return Credential(_from_authorization(authorization), environ.get("HTTP_APP_ID"))
    key = environ.get("HTTP_API_KEY", environ.get("HTTP_X_API_KEY"))
    if key is None:
        raise Unauthorized(
            "Send an API key: Basic (as the user name), Bearer, or the header api_key or X-API-Key."
        )
    return Credential((_utf8(key),), environ.get("HTTP_APP_ID"))


def _utf8(header: str) -> str:
    """WSGI hands headers over as latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        raise Unauthorized("The credential is not UTF-8.") from None


def _from_authorization(header: str) -> tuple[str, ...]:
    scheme, _, rest = _utf8(header).partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return (rest,)
    if scheme.lower() != "basic":
        raise Unauthorized("The Authorization header is neither Basic nor Bearer.")
    try:
        pair = base64.b64decode(rest, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized("The Basic credential is not base64 of UTF-8.") from None
    name, colon, password = pair.partition(":")
    if not colon:
        raise Unauthorized("The Basic credential has no colon: it is base64 of `key:`.")
    # Either is looked up: a name that is not a key ("mixpanel") is no error when the password is one.
    return tuple(text for text in (name, password) if text)


def find_key(credential: Credential) -> ApiKey:
    """Return the key, with its workspace, that is good for calls. Raises Unauthorized."""
    key = look_up(credential)
    check_key(key, credential)
    return key


def look_up(credential: Credential) -> ApiKey:
    """Return the key, with its workspace, even if it has ended. Raises Unauthorized if there is none."""
    hashes = [digest(text) for text in credential.candidates]
    with connection.cursor() as cursor:
        cursor.execute(FIND.format(", ".join(["%s"] * len(hashes) or ["NULL"])), hashes)
        found = cursor.fetchall()
    if len(found) != 1:
        raise Unauthorized("The API key is unknown.")
    return _key_of(found[0])


def _key_of(row: tuple[Any, ...]) -> ApiKey:
    """Return the key and its workspace that a row is: those made of the same row before, if it is the same.

    The row is read for each call, so that what was changed or revoked counts at once; to make models of it
    takes longer than to read it.
    """
    known = _made.get(row[0])
    if known is not None and known[0] == row:
        return known[1]
    key = _row_as(ApiKey, row)
    key.workspace = _row_as(Workspace, row[len(ApiKey._meta.concrete_fields) :])
    if len(_made) >= MOST_MADE:
        _made.clear()
    _made[row[0]] = row, key
    return key


# Every call begins with this look-up. It is written out, because to build it anew by the ORM takes ten
# times as long as to run it.
FIND = (
    f"SELECT {', '.join(f'k.{field.column}' for field in ApiKey._meta.concrete_fields)}, "
    f"{', '.join(f'w.{field.column}' for field in Workspace._meta.concrete_fields)} "
    "FROM receiving_apikey AS k JOIN receiving_workspace AS w ON w.id = k.workspace_id "
    "WHERE k.sha256 IN ({})"
)
SomeModel = TypeVar("SomeModel", ApiKey, Workspace)


def _row_as(model: type[SomeModel], row: Sequence[Any]) -> SomeModel:
    """Return the model that the first columns of a row are."""
    names, values = [], []
    for (name, converters), value in zip(_columns(model), row, strict=False):
        for convert, expression in converters:
            value = convert(value, expression, connection)
        names.append(name)
        values.append(value)
    return model.from_db(DEFAULT_DB_ALIAS, names, values)


@cache
def _columns(model: type[Model]) -> list[tuple[str, list[tuple[Any, Any]]]]:
    """Each column's name, and what makes Python's value of the database's (SQLite's times are text)."""
    table = model._meta.db_table
    return [
        (field.attname, [(one, field) for one in connection.ops.get_db_converters(field.get_col(table))])
        for field in model._meta.concrete_fields
    ]


def check_key(key: ApiKey, credential: Credential) -> None:
    """Raise Unauthorized if the key has ended, or the call brings another's app id; else note its use."""
    now = timezone.now()
    if key.revoked_at is not None:
        raise Unauthorized("The API key was revoked.")
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthorized("The API key has expired.")
    if key.app_id and credential.app_id is not None and credential.app_id != key.app_id:
        raise Unauthorized("The app_id does not belong to this API key.")
    note_use(key, now)


def note_use(key: ApiKey, now: datetime) -> None:
    """Write the time of last use, at most once a minute: a write for each call would cost a commit."""
    if key.last_used_at is None or key.last_used_at < now - LAST_USED_STEP:
        ApiKey.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_STEP), pk=key.pk
        ).update(last_used_at=now)
