"""All that the files of events hold of one person."""

from collections.abc import Mapping, Sequence
from typing import Any

from events.compact import limits
from events.convert import Connection, quoted
from events.devices import PREFIX
from events.engine import connect
from events.merges import devices_of
from events.store import read_layout
from events.workspace_folders import Folders


def rows_of(workspace: str, user_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the person's `events`, with those of their devices, and `properties` in the order of time, as
    JSON values.

    What waits in the spool is published first. Raises EngineError or OSError: an answer is whole or none.
    """
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
