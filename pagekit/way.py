"""A page that is one step of several leads on: `?then=` is where, and is given the key of what was made.

Whoever links to the form of another app so gets its people back, without that app's knowing it.
"""

from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

THEN = "then"


def then(request: HttpRequest, **keys: int) -> str:
    """Return where the page leads when it is done, '' if nowhere. An address of another site is none."""
    given = request.GET.get(THEN, "")
    if not given.startswith("/") or not url_has_allowed_host_and_scheme(given, allowed_hosts=None):
        return ""
    return given + ("&" if "?" in given else "?") + urlencode(keys) if keys else given


def by_way_of(url: str, back: str) -> str:
    """Return the address of a form that leads on to `back`."""
    return url + ("&" if "?" in url else "?") + urlencode({THEN: back})
