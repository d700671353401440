"""System checks of who may log in: mistakes in settings are told at start, with what to do."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

ROLES = ("viewer", "operator", "administrator")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@register("settings")
def check_identity_server(**_: Any) -> list[CheckMessage]:
    """E005: passwords are off and nothing is on. E006: an address without TLS. E007: no client id."""
    problems: list[CheckMessage] = []
    if not settings.OIDC_SERVER_URL:
        if not settings.PASSWORD_LOGIN:
            hint = "Set OIDC_SERVER_URL, or leave PASSWORD_LOGIN out."
            said = "PASSWORD_LOGIN is false and there is no identity server: nobody could log in."
            problems.append(Error(said, hint=hint, id="cohortsite.E005"))
        return problems
    address = urlsplit(settings.OIDC_SERVER_URL)
    if not (address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK)):
        hint = "It must begin with https://. Plain http is taken for loopback only."
        problems.append(Error("OIDC_SERVER_URL has no TLS.", hint=hint, id="cohortsite.E006"))
    if not settings.OIDC_CLIENT_ID:
        hint = "It is what this site is registered as at the identity server."
        problems.append(Error("OIDC_CLIENT_ID is empty.", hint=hint, id="cohortsite.E007"))
    return [*problems, *_check_roles()]


def _check_roles() -> list[CheckMessage]:
    """E008: roles that are none. E009: no group has a role, so that nobody would be let in."""
    given = settings.OIDC_ROLES
    values = [*given.values(), settings.OIDC_DEFAULT_ROLE or "viewer"] if isinstance(given, dict) else [None]
    if not all(role in ROLES for role in values):
        hint = 'OIDC_ROLES is JSON: {"group": "operator"}. OIDC_DEFAULT_ROLE is one, or empty.'
        said = f"OIDC_ROLES and OIDC_DEFAULT_ROLE give the roles {', '.join(ROLES)} only."
        return [Error(said, hint=hint, id="cohortsite.E008")]
    if not given and not settings.OIDC_DEFAULT_ROLE:
        hint = 'Set OIDC_ROLES={"group": "administrator"}, or OIDC_DEFAULT_ROLE=viewer for everybody.'
        said = "No group of the identity server has a role here: nobody would be let in by it."
        return [Error(said, hint=hint, id="cohortsite.E009")]
    return []
