"""Logging in by OpenID Connect: allauth speaks the protocol, here is who is let in and with which roles.

    login ─▶ the identity server ─▶ callback ─▶ Adapter.pre_social_login ─▶ a session, or a sentence

A person is known by the server's address and its subject (`sub`), never by a name. An account that was
made here before is taken by an e-mail address that the server has verified; no superuser's is. Protocol:
OpenID Connect Core 1.0, the code flow, with state, nonce and PKCE.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

from allauth.account.utils import get_next_redirect_url
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError, AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from requests import RequestException

from cohortsite import roles
from cohortsite.login import way_on

log = logging.getLogger(__name__)
# Seconds that the server's description of itself is kept.
CONFIGURATION_AGE = 300
# What an answer raises that is not as the protocol has it.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError)
UNREACHABLE = "The identity server did not answer, or not as it should. Try again in a minute."
NOT_USABLE = "The answer of the identity server could not be used, or is of a login that you began long ago."
LOGGED = "If it stays so, an administrator finds the reason in this site's log."
# What Django's fields for a first and a last name hold; a longer one, or a longer address, is not taken over.
LONGEST = 150
# What a user name may not hold.
NOT_IN_NAMES = re.compile(r"[^\w.@+-]")


def configuration_key(url: str) -> str:
    """Return what the description of the server at `url` is cached as: no cache takes any text for a key."""
    return f"oidc.{hashlib.sha256(url.encode()).hexdigest()}"


class _Server(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    @property
    def openid_config(self) -> dict[str, Any]:
        """Asked for once in a while: whoever opens the login page must not make us wait each time."""
        key = configuration_key(self.provider_id)
        found: dict[str, Any] | None = cache.get(key)
        if found is None:
            found = super().openid_config
            cache.set(key, found, timeout=CONFIGURATION_AGE)
        return found


class _Provider(OpenIDConnectProvider):  # type: ignore[misc]
    oauth2_adapter_class = _Server

    def extract_extra_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of what the server says we keep the groups alone, for whoever asks why somebody has a role."""
        return {"groups": groups_of(_claims(data))}

    def sociallogin_from_response(self, request: HttpRequest, response: Mapping[str, Any]) -> SocialLogin:
        claims = _claims(response)
        login = super().sociallogin_from_response(request, response)
        login.claims = claims
        return login


def _claims(response: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ID token and /userinfo say; both must speak of one person (Core 5.3.2)."""
    token, info = response.get("id_token"), response.get("userinfo", {})
    if not token:
        raise OAuth2Error("There is no ID token")
    if info and info["sub"] != token["sub"]:
        raise OAuth2Error("/userinfo is about another subject than the ID token")
    # What is signed for this login cannot be said anew by /userinfo.
    return {**token, **info, "nonce": token.get("nonce", ""), "sub": token["sub"]}


def groups_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the groups in the claim OIDC_GROUPS_CLAIM: its name, or a path with dots; text is one group."""
    found: Any = claims.get(settings.OIDC_GROUPS_CLAIM)
    if found is None:
        found = claims
        for part in settings.OIDC_GROUPS_CLAIM.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return [found]
    return sorted({each for each in found if isinstance(each, str)}) if isinstance(found, list) else []


def roles_of(groups: list[str]) -> set[str]:
    """Return the roles that OIDC_ROLES gives for groups; OIDC_DEFAULT_ROLE where that is none."""
    found = {settings.OIDC_ROLES[group] for group in groups if group in settings.OIDC_ROLES}
    return found or {settings.OIDC_DEFAULT_ROLE} - {""}


class Adapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """The setting SOCIALACCOUNT_ADAPTER names it."""

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> _Provider:
        """Return the one server that the settings name; what allauth has in its tables is not asked."""
        app = SocialApp(
            provider=OpenIDConnectProvider.id,
            provider_id=settings.OIDC_SERVER_URL,
            name=settings.OIDC_LABEL,
            client_id=settings.OIDC_CLIENT_ID,
            secret=settings.OIDC_CLIENT_SECRET,
            settings={
                "server_url": settings.OIDC_SERVER_URL,
                "oauth_pkce_enabled": True,
                "scope": settings.OIDC_SCOPES,
            },
        )
        return _Provider(request, app=app)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Let the person in, with the roles of their groups; or raise the page that says why not."""
        expected = (sociallogin.state.get("data") or {}).get("nonce", "")
        if not expected or not constant_time_compare(str(sociallogin.claims["nonce"]), expected):
            log.warning("OpenID Connect: the nonce is not that of the login that was begun")
            raise _refused(request, "Not logged in", NOT_USABLE, LOGGED)
        try:
            with transaction.atomic():
                refusal = _let_in(request, sociallogin)
        except IntegrityError:  # two windows of a new person at once
            refusal = ("Not logged in", "You logged in twice at the same moment. Log in again.")
        if refusal:
            raise _refused(request, *refusal)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: Any = None,
    ) -> None:
        # Some servers give the state back with an answer only, not with an error.
        if error == AuthError.CANCELLED or request.GET.get("error") == "access_denied":
            raise _refused(request, "Not logged in", "The login was cancelled at the identity server.")
        said = request.GET.get("error_description") or request.GET.get("error") or "no state, or an old one"
        log.warning("OpenID Connect: %.500s", repr(exception or said))
        unreachable = isinstance(exception, RequestException)
        raise _refused(request, "Not logged in", UNREACHABLE if unreachable else NOT_USABLE, LOGGED)


def _refused(request: HttpRequest, title: str, *sentences: str) -> ImmediateHttpResponse:
    return ImmediateHttpResponse(way_on(request, 403, title, list(sentences)))


def _let_in(request: HttpRequest, login: SocialLogin) -> tuple[str, ...]:
    """Give the person the account and the roles that are theirs; return why not, as title and sentences."""
    granted = roles_of(groups_of(login.claims))
    user = login.user if login.is_existing else _made_before(login.claims)
    if user is not None and not user.is_active:
        return ("Account is off", "This account is switched off here. Ask an administrator.")
    if not granted:
        if login.is_existing:
            _follow(login.user, set())
        return (
            "No role",
            "You are known, but none of your groups at the identity server has a role here. Ask whoever "
            "manages groups there, or an administrator here (the setting OIDC_ROLES), then log in again.",
        )
    if not login.is_existing:
        user = user or _new_user(login)
        if user is None:
            return (
                "Name is taken",
                f"There is an account “{_name_of(login.claims)}” here already, and nothing says that it is "
                "yours. An administrator can enter your e-mail address at it, if the identity server "
                "verifies addresses, or rename it; then log in again.",
            )
        login.connect(request, user)
    _follow(login.user, granted)
    _refresh(login.user, login.claims)
    return ()


def _made_before(claims: Mapping[str, Any]) -> User | None:
    """Return the account that an administrator made for the owner of a *verified* address; None if there is
    none, or several, or one that belongs to an identity. Of several, one that is off comes first."""
    address = claims.get("email")
    if not isinstance(address, str) or not address or claims.get("email_verified") is not True:
        return None
    found = User.objects.filter(email__iexact=address, is_superuser=False, socialaccount=None)
    users = list(found.order_by("is_active")[:2])
    return users[0] if users and (len(users) == 1 or not users[0].is_active) else None


def _name_of(claims: Mapping[str, Any]) -> str:
    names = (str(claims.get(key) or "") for key in ("preferred_username", "email", "sub"))
    kept = (NOT_IN_NAMES.sub("", User.normalize_username(name))[:150] for name in names)
    return next(filter(None, kept), "person")


def _new_user(login: SocialLogin) -> User | None:
    name = _name_of(login.claims)
    if User.objects.filter(username__iexact=name).exists():
        return None
    user = User(username=name)
    user.set_unusable_password()
    return user


def _refresh(user: User, claims: Mapping[str, Any]) -> None:
    """Take over the name; and the address, if it is verified: it may lead to the account later."""
    wanted = {"first_name": claims.get("given_name"), "last_name": claims.get("family_name")}
    if claims.get("email_verified") is True:
        wanted["email"] = claims.get("email")
    for field, value in wanted.items():
        if isinstance(value, str) and value.isprintable() and len(value) <= LONGEST:
            setattr(user, field, value)
    user.save(update_fields=list(wanted))


def _follow(user: User, granted: set[str]) -> None:
    """Give `user` exactly these of the three roles, and write what changed into the account's history.

    Groups besides the roles stay, as administrators gave them; without a role everything ends, API tokens
    and other sessions too, since the account has no staff status any more.
    """
    had = set(user.groups.values_list("name", flat=True))
    lost = (had & roles.RULES.keys()) - granted if granted else had
    user.groups.remove(*Group.objects.filter(name__in=lost))
    user.groups.add(*Group.objects.filter(name__in=granted))
    if lost or granted - had or user.is_staff != bool(granted):
        said = f"Roles by the identity server's groups: {', '.join(sorted(granted)) or 'none'}"
        said += f" (before: {', '.join(sorted(had)) or 'none'})."
        LogEntry.objects.log_actions(user.pk, [user], CHANGE, change_message=said, single_object=True)
    user.is_staff = bool(granted)
    user.save(update_fields=["is_staff"])


def identity_of(user: User) -> SocialAccount | None:
    return SocialAccount.objects.filter(user=user).first()


def disconnect(user: User) -> bool:
    """Forget which identity an account belongs to; False if it was so before. The next login by the same
    identity takes it again, if its verified address is the account's."""
    deleted, _ = SocialAccount.objects.filter(user=user).delete()
    return bool(deleted)


def login(request: HttpRequest) -> HttpResponseBase:
    """Lead to the identity server; `next` is where to go afterwards, within this site.

    By GET, unlike what allauth does by default: browsers follow no redirect of a form to an address that the
    policy's form-action does not name, and which address that is only the server knows.
    """
    provider = Adapter(request).get_provider(request, settings.OIDC_SERVER_URL)
    nonce = secrets.token_urlsafe(32)
    try:
        response: HttpResponse = provider.redirect(
            request,
            process=AuthProcess.LOGIN,
            next_url=get_next_redirect_url(request),
            data={"nonce": nonce},
            auth_params={"nonce": nonce},
        )
    except (RequestException, *MALFORMED) as error:
        log.warning("OpenID Connect: %.500s", repr(error))
        return way_on(request, 503, "Not logged in", [UNREACHABLE, LOGGED])
    return response


def callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Where the identity server leads back to."""
    view = OAuth2CallbackView.adapter_view(_Server(request, settings.OIDC_SERVER_URL))
    try:
        response: HttpResponseBase = view(request)
    except MALFORMED as error:
        log.warning("OpenID Connect: %.500s", repr(error))
        return way_on(request, 403, "Not logged in", [NOT_USABLE, LOGGED])
    return response
