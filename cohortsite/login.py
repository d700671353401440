"""Logging in, by allauth: who is let in, how many tries there are, and the pages' frame.

Tries are counted in the database (the setting CACHES), so that every process of every server counts the
same. They count for a person *and* an address: who knows a user name cannot keep its owner out.
"""

import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import get_next_redirect_url
from allauth.core.internal import ratelimit
from django.conf import settings
from django.contrib import admin
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode

# A cookie of who has logged in with a browser, and for how long it is remembered.
DEVICE = "known_device"
DEVICE_AGE = 365 * 24 * 3600

View = Callable[..., HttpResponseBase]


def wait_of(action: str) -> str:
    """Return how long one waits after too many tries, as settings.ACCOUNT_RATE_LIMITS has it."""
    seconds = int(max(rate.duration for rate in ratelimit.parse_rates(settings.ACCOUNT_RATE_LIMITS[action])))
    number, unit = (seconds // 60, "minute") if seconds < 3600 else (seconds // 3600, "hour")
    return f"{number} {unit}{'' if number == 1 else 's'}"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Nobody signs up: accounts are made by administrators, for people who use the admin."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": "The user name or the password is not right.",
        "incorrect_password": "The password is not right.",
        "no_passwords": "Passwords are switched off here. Use the button above.",
        "by_identity": "This account logs in by the button above: its password is not asked for here.",
        "not_staff": "This account may not use these pages. Ask an administrator.",
        "too_many_login_attempts": f"Too many tries have failed. Wait {wait_of('login_failed')}, then try "
        "again: until then the right answer is refused, too.",
        "too_many_anywhere": "Too many tries have failed for this user name. Wait "
        f"{wait_of('login_failed_anywhere')}, then try again.",
        "rate_limited": f"Too many tries have failed. Wait {wait_of('login_failed')}, then try again.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        """Behind a Unix socket there is no address: then all share one."""
        try:
            return str(super().get_client_ip(request))
        except PermissionDenied:
            return "unknown"

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return f"{_name(credentials)}\n{self.get_client_ip(request)}"

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Take one try, or refuse; a login that succeeds gives it back."""
        super().pre_authenticate(request, **credentials)
        # Who has logged in from this browser before is counted apart: others' guesses keep nobody out there.
        key = "\n".join([_name(credentials), _device(request, _name(credentials))])
        anywhere = ratelimit.consume(request, app="allauth.account", action="login_failed_anywhere", key=key)
        if not anywhere:
            raise self.validation_error("too_many_anywhere")
        self._login_failed_rl_usage.usage += anywhere.usage

    def post_login(self, request: HttpRequest, user: Any, **options: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **options)
        known = signing.dumps([user.get_username().casefold(), secrets.token_urlsafe(12)], salt=DEVICE)
        response.set_cookie(
            DEVICE, known, max_age=DEVICE_AGE, secure=settings.HTTPS, httponly=True, samesite="Lax"
        )
        return response


def _device(request: HttpRequest, name: str) -> str:
    """Return what tells a browser in which `name` has logged in from others; '' where they have not."""
    try:
        whose, device = signing.loads(request.COOKIES.get(DEVICE, ""), salt=DEVICE, max_age=DEVICE_AGE)
    except (signing.BadSignature, ValueError, TypeError):
        return ""
    return str(device) if whose == name else ""


def _name(credentials: dict[str, Any]) -> str:
    return str(credentials.get("username", "")).casefold()


def ways_in(request: HttpRequest) -> dict[str, Any]:
    """What the login page offers: passwords, an identity server, or both."""
    offered: dict[str, Any] = {"passwords": settings.PASSWORD_LOGIN}
    if settings.OIDC_SERVER_URL:
        wanted = get_next_redirect_url(request)
        query = f"?{urlencode({'next': wanted})}" if wanted else ""
        offered |= {"identity_url": reverse("oidc_login") + query, "identity_label": settings.OIDC_LABEL}
    return offered


def in_admin(view: View, title: str, more: Callable[[HttpRequest], dict[str, Any]] | None = None) -> View:
    """Give a view of allauth what the admin's templates need, a title, and what `more` returns."""

    @wraps(view)
    def framed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse):
            context = {**admin.site.each_context(request), "title": title}
            context |= more(request) if more else {}
            response.context_data = {**context, **(response.context_data or {})}
        return response

    return framed


def too_many_requests(request: HttpRequest) -> HttpResponseBase:
    """The page of allauth's limits that are not told on a form's field: urls.py names it handler429."""
    context = {**admin.site.each_context(request), "title": "Too many tries", "wait": wait_of("login")}
    return TemplateResponse(request, "429.html", context, status=429).render()


def way_on(
    request: HttpRequest, status: int, title: str, sentences: list[str], back: str = ""
) -> HttpResponseBase:
    """A page of sentences for who may not be logged in, with a button to go on."""
    context = {**admin.site.each_context(request), "title": title, "sentences": sentences, "back": back}
    return TemplateResponse(request, "way_on.html", context, status=status).render()


def not_allowed(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    """urls.py names it handler403."""
    if request.user.is_authenticated:
        said = [f"You are logged in as {request.user.get_username()}, whose roles do not allow this."]
        said.append("Ask an administrator for the role that does, or go back to the overview.")
    else:
        said = ["You are not logged in, or not any more. Log in, then come back to this page."]
    return way_on(request, 403, "Not allowed", said)


def nothing_there(request: HttpRequest, exception: Exception | None = None) -> HttpResponseBase:
    """urls.py names it handler404."""
    said = ["There is nothing at this address. It may have been deleted, or the address has a slip."]
    return way_on(request, 404, "Nothing there", said)


def another_session(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """What Django calls a CSRF failure; the setting CSRF_FAILURE_VIEW names it. Nothing was saved."""
    said = [
        "Your session has changed since this form was opened: you have logged in again, or out, in another "
        "tab. Nothing was saved, and nothing is lost.",
        "Open the form again, log in if you are asked to, and press “Put it back”: this tab has kept what "
        "you entered, but for passwords, keys and files. Without JavaScript, go back with your browser.",
    ]
    return way_on(request, 403, "Please send it again", said, back=request.get_full_path())
