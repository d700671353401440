"""Calls of a partner inside the test's process, and what came of them: here, and in the event store."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client

from events.compact import compact
from events.engine import Limits, connect
from events.models import FileKind
from events.store import read_layout
from events.workspace_folders import Folders


def post(key: str, path: str, document: Any, content_type: str = "application/json", **headers: str) -> Any:
    headers = {"Authorization": f"Bearer {key}"} | headers
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Client().generic("POST", path, body, content_type=content_type, headers=headers)


def traits(key: str, user: str = "u") -> Any:
    found = Client().get("/users", {"userId": user}, headers={"Authorization": f"Bearer {key}"})
    return found.json().get("traits", {})


def rows(kind: FileKind, sql: str) -> list[Any]:
    """Ask the event store, when what has come in is compacted; the table is `t`."""
    compact("acme")
    layout = read_layout("acme")
    files = list(layout.events if kind == FileKind.EVENTS else layout.traits)
    with connect(Limits.configured(), Folders("acme").make().temp) as connection:
        source = "SELECT * FROM read_parquet($1, union_by_name=true)"
        return connection.execute(f"WITH t AS ({source}) {sql}", [files]).fetchall()


def in_cohorts(user: str = "u") -> dict[str, Any]:
    """The user's traits as behavioral cohorts see them."""
    latest = "arg_max(struct_pack(s := s), struct_pack(time := time, s := coalesce(s, ''))).s"
    found = rows(
        FileKind.TRAITS,
        f"SELECT name, {latest} AS s FROM t WHERE user_id = '{user}' AND name <> '' GROUP BY name",
    )
    return {name: value for name, value in found if value is not None}


def times() -> list[datetime]:
    return [
        row[0].replace(tzinfo=UTC) for row in rows(FileKind.EVENTS, "SELECT time FROM t ORDER BY insert_id")
    ]


def near(moment: datetime, expected: datetime) -> bool:
    return abs(moment - expected) < timedelta(minutes=1)
