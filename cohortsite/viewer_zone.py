"""Times in the zone of who looks at them, on the pages for people.

static/cohortsite/zone.js puts the browser's zone into a cookie. Whatever else is in there is not believed.
The REST API, downloads and schedules do not depend on who asks.
"""

from collections.abc import Callable
from contextlib import nullcontext
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from cohorts.definitions.parse import timezones

COOKIE = "zone"
PAGES = ("/admin/", "/account/")


def viewer_zone(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: a page is made in its viewer's zone, or in the setting TIME_ZONE when that is not known."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        zone = zone_of(request) if request.path_info.startswith(PAGES) else None
        with timezone.override(zone) if zone else nullcontext():
            return get_response(request)

    return answer


def zone_of(request: HttpRequest) -> ZoneInfo | None:
    """Return the zone that the browser has said, if there is such a zone."""
    name = unquote(request.COOKIES.get(COOKIE, ""))
    return ZoneInfo(name) if name in timezones() else None
