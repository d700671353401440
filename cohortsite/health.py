"""`/healthz`: whether this process can do its work, for load balancers and people with curl."""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from cohortsite import silence


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database can be reached and all migrations are applied, else 503.

    Work that waits while there is no worker is said, and is no 503: this process can do its own work, and
    a load balancer that takes it away would mend nothing.
    """
    database, pending = _look()
    healthy = database and pending == 0
    waits = silence.waiting_for_worker(timezone.now()) if healthy else ""
    content: dict[str, object] = {
        "status": ("no worker" if waits else "ok") if healthy else "unhealthy",
        "database": "ok" if database else "unreachable",
        "pending_migrations": pending,
    }
    if waits:
        content["waiting_for_a_worker"] = waits
    return JsonResponse(content, status=200 if healthy else 503, headers={"Cache-Control": "no-store"})


def _look() -> tuple[bool, int | None]:
    """Return whether the database answers, and how many migrations it lacks."""
    try:
        executor = MigrationExecutor(connection)
        return True, len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError:
        return False, None
