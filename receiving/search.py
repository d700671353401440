"""Which calls touched a user? A search through the kept bodies, done by a worker, page by page."""

import zlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import orjson
from django.db.models import Q, QuerySet
from django.utils import timezone

from receiving.models import BodySearch, RequestLog

PAGE = 200
# A worker that was killed leaves its search running; another takes it over after this.
STALE = timedelta(minutes=2)


def users_of(document: Any) -> Iterator[Any]:
    """The user ids that a call's body names, as they came, in whichever dialect."""
    if not isinstance(document, dict):
        return
    for name in ("userIds", "user_ids"):
        if isinstance(document.get(name), list):
            yield from document[name]
    yield document.get("userId")
    parameters = document.get("parameters")
    members = parameters.get("members") if isinstance(parameters, dict) else None
    for items, name in (
        (document.get("batch"), "userId"),
        (document.get("events"), "user_id"),
        (members, "mixpanel_distinct_id"),
    ):
        if isinstance(items, list):
            yield from (item.get(name) for item in items if isinstance(item, dict))


def names_user(body: bytes, user_id: str) -> bool:
    """Whether a kept body names the user; one that is no JSON names nobody."""
    try:
        document = orjson.loads(zlib.decompress(body, 16 + zlib.MAX_WBITS))
    except (orjson.JSONDecodeError, zlib.error):
        return False
    # An integer is stored as its digits; True is an integer for Python, and nobody's id.
    return any(
        value == user_id if isinstance(value, str) else type(value) is int and str(value) == user_id
        for value in users_of(document)
    )


def run_searches(stopping: Callable[[], bool] = lambda: False) -> int:
    """Do the searches that wait, oldest first; return how many were finished.

    For a worker's loop: `stopping` is asked between pages, and a search that was left goes on later.
    """
    done = 0
    while not stopping() and (search := _claim()) is not None:
        if not _go_through(search, stopping):
            break
        done += 1
    return done


def waiting_searches() -> QuerySet[BodySearch]:
    """Return the searches that wait, or whose worker gives no sign any more."""
    stale = Q(state=BodySearch.State.RUNNING, beat_at__lt=timezone.now() - STALE)
    return BodySearch.objects.filter(Q(state=BodySearch.State.WAITING) | stale)


def _claim() -> BodySearch | None:
    for search in waiting_searches().order_by("pk"):
        taken = waiting_searches().filter(pk=search.pk)
        if taken.update(state=BodySearch.State.RUNNING, beat_at=timezone.now()):
            return search
    return None


def _go_through(search: BodySearch, stopping: Callable[[], bool]) -> bool:
    """Search from the newest entry, or from where a worker left it; False if it was left again."""
    while not stopping():
        page = _page(search)
        for number, body in page:
            search.cursor = number
            search.scanned += 1
            if names_user(bytes(body), search.user_id) and not search.is_full:
                search.found.append(number)
        over = len(page) < PAGE or search.is_full
        _save(search, BodySearch.State.DONE if over else BodySearch.State.RUNNING)
        if over:
            return True
    _save(search, BodySearch.State.WAITING)
    return False


def _page(search: BodySearch) -> list[tuple[int, Any]]:
    mine = RequestLog.objects.filter(workspace=search.workspace_id, body__isnull=False)
    if search.cursor is not None:
        mine = mine.filter(pk__lt=search.cursor)
    return list(mine.order_by("-pk").values_list("pk", "body")[:PAGE])


def _save(search: BodySearch, state: str) -> None:
    BodySearch.objects.filter(pk=search.pk, state=BodySearch.State.RUNNING).update(
        state=state,
        cursor=search.cursor,
        scanned=search.scanned,
        found=search.found,
        beat_at=timezone.now(),
        finished_at=timezone.now() if state == BodySearch.State.DONE else None,
    )
