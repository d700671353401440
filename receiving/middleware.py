"""Partners' calls, in front of everything that serves people.

A partner's call needs no session, no CSRF token and no page; and whatever goes wrong, it must be answered
with JSON, where Django's own middleware answers with a page or a redirect that loses the body.
"""

import logging
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import OperationalError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from receiving.call import json_reply
from receiving.errors import ApiError, BadRequest, NotFound

ROOTS = (
    "/lists", "/identify", "/batch", "/track", "/v1/", "/2/httpapi", "/mixpanel", "/users", "/traits",
)  # fmt: skip

log = logging.getLogger(__name__)


def partner_calls(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def handle(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(ROOTS):
            return get_response(request)
        response = answer(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    return handle


def answer(request: HttpRequest) -> HttpResponseBase:
    """Serve a partner's call; whatever happens, the reply is JSON."""
    try:
        _check_address(request)
        found = resolve(request.path_info.removesuffix("/"), "receiving.urls")
        reply: HttpResponseBase = found.func(request, *found.args, **found.kwargs)
        return reply
    except Resolver404:
        error: ApiError = NotFound("There is nothing at this address.")
    except SuspiciousOperation:
        error = BadRequest("The Host header is not one of this site's.", code="invalid_host")
    except ApiError as problem:
        error = problem
    except OperationalError:
        log.exception("The database did not take a call of a partner")
        error = ApiError(
            "The database is busy: send the call again.",
            status=503,
            code="busy",
            headers={"Retry-After": "1"},
        )
    except Exception:  # the edge of a request: Django would answer with a page
        log.exception("A call of a partner failed")
        error = ApiError("Something went wrong here; it was noted.", status=500, code="internal_error")
    return json_reply(error.body(), error.status, error.headers)


def _check_address(request: HttpRequest) -> None:
    request.get_host()
    if settings.SECURE_SSL_REDIRECT and not request.is_secure():
        raise BadRequest("Call this address by https: a key must not travel in clear.", code="https_required")
