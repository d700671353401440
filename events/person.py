"""All that is held of one person's events: in files, and in our tables at EVENTS_URL."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from django.conf import settings

from events.compact import limits
from events.convert import Connection, quoted
from events.devices import PREFIX
from events.engine import connect
from events.inserting import inserted
from events.merges import devices_of
from events.store import read_layout
from events.workspace_folders import Folders


def rows_of(workspace: str, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the person's `events`, with those of their devices, and `properties` in the order of time, as
    JSON values; of files that were written before EVENTS_INSERT, too.

    What waits in the spool is published first. Raises EngineError, Refused or OSError: an answer is whole or
    none.
    """
    if not settings.EVENTS_INSERT:
        return _in_files(workspace, user_id)
    found = _inserted(workspace, user_id)
    before = _in_files(workspace, user_id) if Folders(workspace).root.is_dir() else {}
    for kind, rows in before.items():
        found[kind] = sorted([*rows, *found[kind]], key=lambda row: str(row["time"]))
    return found


def _inserted(workspace: str, user_id: str) -> dict[str, list[dict[str, Any]]]:
    tables = inserted()
    return {
        "events": [
            {
                **({"device": event.device} if event.device else {}),
                "event": event.event,
                "time": event.time.isoformat(),
                "insert_id": event.message_id,
                "properties": orjson.loads(event.properties),
            }
            for event in tables.events_of(workspace, user_id)
        ],
        "properties": [
            {"name": trait.name, "value": orjson.loads(trait.value), "time": trait.time.isoformat()}
            for trait in tables.traits_of(workspace, user_id)
            if trait.name
        ],
    }


def _in_files(workspace: str, user_id: str) -> dict[str, list[dict[str, Any]]]:
    devices = devices_of(workspace, [user_id])
    layout = read_layout(workspace)
    names = {number: name for name, number in layout.columns.items()}
    with connect(limits(), Folders(workspace).temp) as connection:
        events = _rows(connection, layout.events, [user_id, *devices])
        traits = _rows(connection, layout.traits, [user_id])
    return {
        "events": [_event(row, names) for row in events],
        # The empty name stands for the person itself.
        "properties": [
            {"name": row["name"], "value": row["s"], "time": row["time"].isoformat()}
            for row in traits
            if row["name"]
        ],
    }


def _rows(connection: Connection, paths: Sequence[str], ids: Sequence[str]) -> list[dict[str, Any]]:
    if not paths:
        return []
    files = ", ".join(map(quoted, paths))
    found = connection.execute(
        f"SELECT * FROM read_parquet([{files}], union_by_name = true) "
        "WHERE user_id IN (SELECT unnest(?)) ORDER BY time",
        [list(ids)],
    )
    columns = [column[0] for column in found.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]


def _event(row: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Return an event with its properties by name; their columns are described in layout.py."""
    properties = dict(row.get("rest") or {})
    for column, value in row.items():
        number = column[1:].partition("_")[0]
        if column.startswith("s") and number.isdigit() and value is not None:
            properties[names[int(number)]] = value
    device = {"device": row["user_id"][1:]} if row["user_id"].startswith(PREFIX) else {}
    return {
        **device,
        "event": row["event"],
        "time": row["time"].isoformat(),
        "insert_id": row["insert_id"],
        "properties": properties,
    }
