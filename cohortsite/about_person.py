"""What do we know about this person? Everything that names a user id, as one download."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.utils import timezone

from cohortsite import where
from events.engine_errors import EngineError
from events.user_ids import InvalidUserId, check_user_id
from events.workspace_folders import Refused
from people.models import Suppression
from receiving.models import RequestLog
from receiving.search import names_user

PERMISSION = "people.read_person"
PAGE = 200


def download(request: HttpRequest) -> HttpResponse:
    """GET /admin/where/download/?user=ID."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    try:
        found = about(check_user_id(request.GET.get("user", "")))
    except InvalidUserId as error:
        return HttpResponseBadRequest(f"The user id {error}.", content_type="text/plain")
    except (EngineError, Refused, OSError) as error:
        return HttpResponse(f"Events could not be read: {error}", status=503, content_type="text/plain")
    name = {"Content-Disposition": 'attachment; filename="person.json"'}
    return JsonResponse(found, json_dumps_params={"indent": 2, "ensure_ascii": False}, headers=name)


def about(user_id: str) -> dict[str, Any]:
    """Return all that is kept under a user id, as JSON values. Raises EngineError, Refused or OSError."""
    from events.inserting import all_workspaces
    from events.person import rows_of  # here: the engine takes long to import

    memberships = where.memberships_of(user_id)
    rejections = list(where.rejections_of(user_id))
    where.tell(user_id, memberships, {rejection.sync_id: rejection for rejection in rejections})
    return {
        "user_id": user_id,
        "as_of": timezone.now().isoformat(),
        "suppressed": [
            {"reason": row.reason, "source": row.source, "since": row.since.isoformat(), "active": row.active}
            for row in Suppression.objects.filter(kind="user_id", value=user_id)
        ],
        "cohorts": [
            {
                "cohort": mine.cohort.key,
                "name": mine.cohort.name,
                "is_in": mine.is_in,
                "versions": [{"entered": entered, "left": left} for entered, left in mine.intervals],
                "destinations": [{"sync": str(one.sync), "says": one.sentence} for one in mine.sent],
            }
            for mine in memberships
        ],
        "rejected": [{"sync": str(one.sync), "message": one.message} for one in rejections],
        "received": [
            {**held, "workspace": held["workspace"].slug, "calls": _calls(held["workspace"].pk, user_id)}
            for held in where.holdings(user_id)
        ],
        "events": {workspace: rows_of(workspace, user_id) for workspace in all_workspaces()},
    }


def _calls(workspace: int, user_id: str) -> list[dict[str, Any]]:
    """Return the logged calls that named the person; not their bodies, which may name others."""
    found, last = [], 0
    rows = RequestLog.objects.filter(workspace=workspace, body__isnull=False).order_by("pk")
    while page := list(rows.filter(pk__gt=last).values("pk", "received_at", "method", "path", "body")[:PAGE]):
        last = page[-1]["pk"]
        found += [
            {"request": row["pk"], "at": row["received_at"].isoformat(), "path": row["path"]}
            for row in page
            if names_user(bytes(row["body"] or b""), user_id)
        ]
    return found
