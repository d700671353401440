"""Amplitude's bodies, `{"api_key", "events": […]}`. User properties become traits.

An event that names no user is of its device; what names both says whose the device is.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from events.amplitude import properties_of
from events.records import InvalidRecord, event_line
from events.user_ids import InvalidUserId, check_user_id
from receiving.clock import Clock
from receiving.errors import ApiError
from receiving.incoming import Receipt
from receiving.operations import read_operations
from receiving.shapes import BadField, Batch, check_trait_names, read_items
from receiving.traits import change_of

IDENTIFY = "$identify"
# About groups of users, which are not kept.
IGNORED = ("$groupidentify",)
# In order of preference. The first is the API's, the others are the export's.
IDENTITIES = ("insert_id", "$insert_id", "uuid")


def is_amplitude(document: Mapping[str, Any]) -> bool:
    return "events" in document and "batch" not in document


def read_events(document: dict[str, Any], max_items: int, received_at: datetime, receipt: Receipt) -> Batch:
    """Return what the body asks for. Raises BadRequest, TooLarge for the body.

    An item that cannot be taken is among the batch's refused.
    """
    items = read_items(document, "events", max_items)
    batch = Batch(received=len(items))
    clock = Clock(received_at, document.get("client_upload_time"))
    for index, item in enumerate(items):
        try:
            _take(batch, index, item, clock, receipt)
        except BadField as error:
            batch.refuse("events[{}]", index, error)
    return batch


def _take(batch: Batch, index: int, item: Any, clock: Clock, receipt: Receipt) -> None:
    if not isinstance(item, dict):
        raise BadField("", "is not an object")
    name = item.get("event_type")
    if not isinstance(name, str) or not name:
        raise BadField("event_type", "is not a string with something in it")
    device_id = item.get("device_id")
    on_device = item.get("user_id") in (None, "") and bool(device_id)
    if name in IGNORED or (on_device and name == IDENTIFY):
        batch.ignored += 1
        return
    user_id = None if on_device else _user_of(item)
    when = clock.time_of("time", item.get("time"))
    identity = _identity_of(item)
    # The event is read before anything is taken: an item is taken whole.
    line = None if name == IDENTIFY else _line(user_id, name, when, item, identity or receipt.id_of(index))
    if user_id is not None:
        _take_properties(batch, user_id, clock.order(when), item, identity)
        batch.belongs(device_id, user_id, when)
    if line is not None:
        batch.events.append(line)


def _take_properties(
    batch: Batch, user_id: str, when: datetime, item: dict[str, Any], identity: str | None
) -> None:
    properties = _object(item, "user_properties")
    values, operations = read_operations(properties, only=item["event_type"] == IDENTIFY)
    check_trait_names(
        "user_properties", dict.fromkeys([*values, *(one.trait for one in operations if one.trait)])
    )
    if values or operations:
        # A repeat of plain values says them of the same time; a repeat of an operation would count twice.
        message = f"amplitude {user_id} {identity}" if identity and operations else None
        batch.changes.append(change_of(user_id, values, when, message, operations))


def _line(user_id: str | None, name: str, when: datetime, item: dict[str, Any], insert_id: str) -> bytes:
    event = {
        "user_id": user_id,
        "device_id": item.get("device_id"),
        "event": name,
        "time": when,
        "properties": properties_of(item, _object(item, "event_properties")),
        "insert_id": insert_id,
    }
    try:
        return event_line(event)
    except InvalidRecord as error:
        raise BadField("", f"cannot be taken: {error}") from None


def _user_of(item: dict[str, Any]) -> str:
    try:
        return check_user_id(item.get("user_id"))
    except InvalidUserId as error:
        raise BadField("user_id", str(error)) from None


def _identity_of(item: dict[str, Any]) -> str | None:
    for name in IDENTITIES:
        value = item.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _object(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadField(name, "is not an object")
    return value


# --- what the reply says, in Amplitude's words ----------------------------------------------


def invalid_fields(batch: Batch) -> dict[str, Any]:
    """Return the refused events as Amplitude names them: `{field: [index]}`."""
    fields: dict[str, list[int]] = {}
    for one in batch.refused:
        fields.setdefault(one.field.split(".")[0] or "event", []).append(one.number)
    return {"events_with_invalid_fields": fields} if fields else {}


def amplitude_error(error: ApiError) -> dict[str, Any]:
    """Amplitude's clients go by a code in the body; of a 400 they want an error that is a text, not ours."""
    return error.body() if error.status == 400 else {"code": error.status, **error.body()}
