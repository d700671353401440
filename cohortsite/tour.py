"""A tour of the empty installation: a few words on each main page, one after the other.

Where a person is in it is kept in their session, so that they may wander off, leave and take it up again.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_safe

NUMBER, IS_ON = "tour", "tour_is_on"


@dataclass(frozen=True, slots=True)
class Stop:
    """A page of the tour; `page`: its name, `permission`: what it takes to see it."""

    page: str
    permission: str
    title: str
    text: str

    @property
    def url(self) -> str:
        return reverse(self.page)


STOPS = (
    Stop(
        "admin:index",
        "syncs.view_sync",
        "The overview",
        "It begins with three steps. When syncs run, it says first what needs you: what failed, what a "
        "partner refused, what waits for a person. Then what was delivered, what runs next, what does not "
        "run, and why.",
    ),
    Stop(
        "admin:destinations_destination_changelist",
        "destinations.view_destination",
        "Destinations: where to send",
        "A destination is a partner's address and a key. One is chosen from a gallery, and a test request "
        "shows what the partner answers before any user is sent.",
    ),
    Stop(
        "admin:cohorts_cohort_changelist",
        "cohorts.view_cohort",
        "Cohorts: whom to send",
        "A cohort is a group of users: from a file, by what they did, by a query, or by REST. Each refresh "
        "makes a version; one that changes too much is held until a person has looked.",
    ),
    Stop(
        "admin:syncs_sync_changelist",
        "syncs.view_sync",
        "Syncs: one cohort at one destination",
        "The first run of a sync sends everybody, each later one only who moved. It runs by hand or on a "
        "schedule. “New sync” leads through all that it takes.",
    ),
    Stop(
        "admin:syncs_run_changelist",
        "syncs.view_run",
        "Runs: what was sent",
        "Each run keeps its requests and the replies to them. One that failed says why, and goes on where it "
        "stopped when it is tried again.",
    ),
    Stop(
        "where",
        "cohorts.view_cohort",
        "Where is user X?",
        "Why did somebody get a message, or not? Enter a user id: which cohorts they are in, what each "
        "partner was sent, and what it answered.",
    ),
)


def around(request: HttpRequest) -> dict[str, Any] | None:
    """Return where the tour is, for the head of each page; None for who has left it or never began."""
    if not request.session.get(IS_ON):
        return None
    stops = _stops(request.user)
    number = min(_number(request), len(stops))
    if not number:
        return None
    stop = stops[number - 1]
    return {
        "number": number,
        "of": len(stops),
        "stop": stop,
        "is_here": request.path == stop.url,
        "before": number - 1,
        "after": number + 1 if number < len(stops) else 0,
    }


def offer(request: HttpRequest) -> dict[str, Any] | None:
    """Return the step to begin or go on with; None while the tour is on, and for who may see nothing."""
    if request.session.get(IS_ON) or not (stops := _stops(request.user)):
        return None
    return {"number": min(_number(request) or 1, len(stops)), "of": len(stops)}


@require_safe
def go(request: HttpRequest, number: int) -> HttpResponse:
    """GET /admin/tour/NUMBER/: lead to the page of a step."""
    stops = _stops(request.user)
    if not 1 <= number <= len(stops):
        raise Http404
    request.session[NUMBER], request.session[IS_ON] = number, True
    # The keyboard and a screen reader begin at the words about the page.
    return HttpResponseRedirect(f"{stops[number - 1].url}#tour")


@require_safe
def leave(request: HttpRequest) -> HttpResponse:
    """GET /admin/tour/leave/: keep the step, for who takes the tour up again; ?end forgets it."""
    request.session[IS_ON] = False
    if "end" in request.GET:
        request.session.pop(NUMBER, None)
    return HttpResponseRedirect(reverse("admin:index"))


def _number(request: HttpRequest) -> int:
    return int(request.session.get(NUMBER, 0))


def _stops(user: AbstractBaseUser | AnonymousUser) -> list[Stop]:
    return [stop for stop in STOPS if user.has_perm(stop.permission)]  # type: ignore[union-attr]
