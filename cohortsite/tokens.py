"""How a call of the REST API says who makes it: `Authorization: Token cst_…`.

A token is 256 random bits, looked up by its SHA-256; nothing is compared byte by byte, so the work does
not tell how near a guess was.
"""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from cohortsite import roles
from cohortsite.models import ApiToken, Scope

KEYWORD = "Token"
PREFIX_LENGTH = 10
# How long a token is good for, in days, unless one says otherwise.
DAYS = 365
# Last use is written at most this often: a poll is not to become a write.
LAST_USED_STEP = timedelta(minutes=1)


def create(
    user: Any, name: str, *, scope: Scope = Scope.READ, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Return the stored token and its text, which cannot be had again."""
    text = f"cst_{secrets.token_urlsafe(32)}"
    stored = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        prefix=text[:PREFIX_LENGTH],
        sha256=_digest(text.encode()),
        expires_at=expires_at,
    )
    return stored, text


class TokenAuthentication(BaseAuthentication):
    """Also takes `Bearer`, which is what most clients send by themselves."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, ApiToken] | None:
        parts = get_authorization_header(request).split()
        if not parts or parts[0].lower() not in (b"token", b"bearer"):
            return None
        found = (
            ApiToken.objects.usable()
            .select_related("user")
            .filter(sha256=_digest(b" ".join(parts[1:])))
            .first()
        )
        if found is None:
            raise AuthenticationFailed("This token is not known, was revoked or has expired.")
        self._used(found)
        return _limited(found.user, found.scope), found

    def authenticate_header(self, request: Request) -> str:
        return KEYWORD

    def _used(self, token: ApiToken) -> None:
        now = timezone.now()
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_STEP)
        if token.last_used_at is None or token.last_used_at < now - LAST_USED_STEP:
            ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


def _limited(user: Any, scope: str) -> Any:
    """Return `user` as a token sees them: without the permissions beyond its scope, of superusers too."""

    def has_perm(permission: str, obj: Any = None) -> bool:
        return roles.within(scope, permission) and type(user).has_perm(user, permission, obj)

    # Whatever asks for permissions, Django's has_perms and DRF included, asks this one.
    user.has_perm = has_perm
    return user


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "cohortsite.tokens.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token cst_…`: a personal token, made in the admin or by create_api_token.",
        }


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
