"""`/healthz` and `/livez`: whether this process can do its work, and whether it answers at all.

For load balancers, orchestrators and people with curl. They are answered before anything looks at the host
or the scheme: a probe calls a container by an address that is in nobody's ALLOWED_HOSTS, and without TLS.
"""

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from cohortsite import silence


def probes(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: answer the two addresses, whatever the host; pass everything else on."""
    answers = {"/healthz": healthz, "/livez": livez}

    def handle(request: HttpRequest) -> HttpResponseBase:
        answer = answers.get(request.path_info)
        return answer() if answer else get_response(request)

    return handle


def livez() -> JsonResponse:
    """Answer 200: the process takes requests and gives replies. It asks nobody else.

    A process that fails here should be started anew; one that only `/healthz` refuses should not, since that
    would not bring its database back.
    """
    return _reply({"status": "ok"}, 200)


def healthz() -> JsonResponse:
    """Answer 200 when the database can be reached and all migrations are applied, else 503.

    Work that waits while there is no worker or no broker is said, and is no 503: this process can do its own
    work, and a load balancer that takes it away would mend nothing.
    """
    database, pending = _look()
    healthy = database and pending == 0
    now = timezone.now()
    waits = silence.waiting_for_worker(now) if healthy else ""
    away = silence.broker_away(now) if healthy else ""
    worker = "no broker" if away else "no worker" if waits else "ok"
    content: dict[str, object] = {
        "status": worker if healthy else "unhealthy",
        "database": "ok" if database else "unreachable",
        "pending_migrations": pending,
    }
    if settings.CELERY_BROKER_URL and healthy:
        content["broker"] = "unreachable" if away else "ok"
    if waits:
        content["waiting_for_a_worker"] = waits
    return _reply(content, 200 if healthy else 503)


def _reply(content: dict[str, object], status: int) -> JsonResponse:
    return JsonResponse(content, status=status, headers={"Cache-Control": "no-store"})


def _look() -> tuple[bool, int | None]:
    """Return whether the database answers, and how many migrations it lacks."""
    try:
        executor = MigrationExecutor(connection)
        return True, len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError:
        return False, None
