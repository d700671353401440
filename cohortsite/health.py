"""`/healthz`: whether this process can do its work, for load balancers and people with curl."""

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when the database can be reached and all migrations are applied, else 503."""
    database, pending = _look()
    healthy = database and pending == 0
    content = {
        "status": "ok" if healthy else "unhealthy",
        "database": "ok" if database else "unreachable",
        "pending_migrations": pending,
    }
    return JsonResponse(content, status=200 if healthy else 503, headers={"Cache-Control": "no-store"})


def _look() -> tuple[bool, int | None]:
    """Return whether the database answers, and how many migrations it lacks."""
    try:
        executor = MigrationExecutor(connection)
        return True, len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    except DatabaseError:
        return False, None
