"""Logging in, by allauth: who is let in, how many tries there are, and the pages' frame.

Tries are counted in the database (the setting CACHES), so that every process of every server counts the
same. They count for a person *and* an address: who knows a user name cannot keep its owner out.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

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
        anywhere = ratelimit.consume(
            request, app="allauth.account", action="login_failed_anywhere", key=_name(credentials)
        )
        if not anywhere:
            raise self.validation_error("too_many_anywhere")
        self._login_failed_rl_usage.usage += anywhere.usage


def _name(credentials: dict[str, Any]) -> str:
    return str(credentials.get("username", "")).casefold()


def in_admin(view: View, title: str) -> View:
    """Give a view of allauth what the admin's templates need, and a title."""

    @wraps(view)
    def framed(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if isinstance(response, TemplateResponse):
            context = {**admin.site.each_context(request), "title": title}
            response.context_data = {**context, **(response.context_data or {})}
        return response

    return framed


def too_many_requests(request: HttpRequest) -> HttpResponseBase:
    """The page of allauth's limits that are not told on a form's field: urls.py names it handler429."""
    context = {**admin.site.each_context(request), "title": "Too many tries", "wait": wait_of("login")}
    return TemplateResponse(request, "429.html", context, status=429).render()
