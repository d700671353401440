"""Calls from web pages: keys that may only write, from the origins that they are for, and CORS.

What a page sends with, everybody can read; such a key therefore is of its own kind. A preflight brings no
key, so it is answered for any origin; the call itself is judged by its key.
"""

import re
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse

from receiving.errors import ApiError
from receiving.models import ApiKey

ANY = "*"
# Seconds for which a browser remembers the answer to a preflight: the most that any takes.
REMEMBERED = 86_400
HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(?:, ?[A-Za-z0-9-]{1,64}){0,30}")


def is_preflight(request: HttpRequest) -> bool:
    asked = request.headers
    return request.method == "OPTIONS" and "Origin" in asked and "Access-Control-Request-Method" in asked


def preflight(request: HttpRequest) -> HttpResponse:
    """Answer whether a page may call: by POST, and with the headers that it asks for."""
    asked = request.headers.get("Access-Control-Request-Headers", "")
    headers = _headers(request.headers["Origin"]) | {
        "Access-Control-Allow-Methods": "POST",
        "Access-Control-Max-Age": str(REMEMBERED),
        "Vary": "Origin, Access-Control-Request-Headers",
    }
    if HEADER_NAMES.fullmatch(asked):
        headers["Access-Control-Allow-Headers"] = asked
    return HttpResponse(status=204, headers=headers)


def check_origin(request: HttpRequest, key: ApiKey, *, takes_browsers: bool) -> dict[str, str]:
    """Return the headers by which a page may read the reply. Raises ApiError if the key may not do this.

    A key of servers is judged as ever, whatever origin is named: it is never sent from a page.
    """
    if not key.write_only:
        return {}
    if not takes_browsers:
        raise ApiError("This key may only write events and traits.", code="write_only_key", status=403)
    origin = request.headers.get("Origin")
    if origin is None:  # an app on a telephone has none
        return {}
    allowed = key.origins.split()
    if ANY not in allowed and origin.lower() not in allowed:
        raise ApiError(
            f"This key is not for pages of {origin[:100]!r}.", code="origin_not_allowed", status=403
        )
    return _headers(origin)


def _headers(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
        "Vary": "Origin",
    }


def clean_origins(text: str) -> str:
    """Return origins, one a line, as browsers write them. Raises ValidationError."""
    return "\n".join(_clean(origin) for origin in text.split())


def _clean(origin: str) -> str:
    if origin == ANY:
        return ANY
    try:
        parts = urlsplit(origin.rstrip("/").lower())
        right = parts.scheme in ("http", "https") and parts.hostname and f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        right = ""
    if not right or right != origin.rstrip("/").lower() or "@" in origin:
        raise ValidationError(f"{origin[:100]!r} is no origin: write https://shop.example, or * for all.")
    return right
