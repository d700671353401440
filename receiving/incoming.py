"""Events that partners send: `track` items of Segment's clients, and Amplitude's HTTP V2 calls."""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from django.conf import settings

from events import spool
from events.user_ids import InvalidUserId, check_user_id
from receiving.errors import ApiError, BadRequest
from receiving.models import Workspace
from receiving.shapes import Identify, read_items

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Event(TypedDict):
    user_id: str
    event: str
    time: str  # ISO 8601, UTC, with microseconds
    properties: dict[str, Any]
    insert_id: str


class UserTraits(TypedDict):
    user_id: str
    time: str
    traits: dict[str, Any]


@dataclass(slots=True)
class Receipt:
    """When a call came first, and as what: it names the events that bring no id of their own.

    The request log keeps the name, and a replay of the call has the same: its events are then the same
    events, and not counted again. A call's repeats share it when they share an Idempotency-Key.
    """

    at: datetime
    name: str | None = None  # None as long as nothing needed it

    def id_of(self, index: int) -> str:
        """Return the insert id of the item at this place of the call."""
        if self.name is None:
            self.name = uuid.uuid4().hex
        return f"{self.name} {index}"


def receipt_of(at: datetime, idempotency_key: str | None) -> Receipt:
    """Return the receipt of a call that has just come."""
    if idempotency_key is None:
        return Receipt(at)
    encoded = idempotency_key.encode("utf-8", "surrogateescape")
    return Receipt(at, hashlib.blake2b(encoded, digest_size=16).hexdigest())


def hand_on(workspace: Workspace, events: list[Event], traits: list[UserTraits]) -> None:
    """Hand on what a call brought to the event spool: the one place where events leave this room.

    When it returns, they are on disk. It is called when the call can no longer be refused, and before the
    call's transaction: whoever finds a message id in the database may then believe that its events are on
    disk, and no lock of the database waits for the disk. If the process dies in between, the sender has no
    reply and sends again; ids make that harmless. Raises BadRequest for what cannot be stored.

    With EVENTS_URL, traits are only read back from here: the users of cohorts are in that database.
    """
    if settings.EVENTS_URL and not events:
        return
    try:
        spool.append_both(workspace.slug, events, traits)
    except spool.InvalidRecord as error:
        raise BadRequest(f"{error}.") from None
    except spool.Refused as error:
        status = 501 if error.lasting else 503
        raise ApiError(str(error), code="events_not_kept_here", status=status) from None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _time(value: Any, now: str) -> str:
    """Segment's `timestamp`; what cannot be read as a time is taken as now."""
    if not isinstance(value, str):
        return now
    try:
        moment = datetime.fromisoformat(value)
        return _stamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return now


def track_events(items: list[dict[str, Any]], receipt: Receipt) -> list[Event]:
    """Return the `track` items that name a user and an event; the others are nobody's."""
    found: list[Event] = []
    now = _stamp(receipt.at)
    for index, item in enumerate(items):
        name, properties, message = item.get("event"), item.get("properties"), item.get("messageId")
        if item["type"] != "track" or not isinstance(name, str) or not name:
            continue
        try:
            user_id = check_user_id(item.get("userId"))
        except InvalidUserId:
            continue
        found.append(
            {
                "user_id": user_id,
                "event": name,
                "time": _time(item.get("timestamp"), now),
                "properties": properties if isinstance(properties, dict) else {},
                "insert_id": message if message and isinstance(message, str) else receipt.id_of(index),
            }
        )
    return found


def identify_traits(items: list[Identify], received_at: datetime) -> list[UserTraits]:
    now = _stamp(received_at)
    return [
        {"user_id": item.user_id, "time": _time(item.timestamp, now), "traits": item.traits}
        for item in items
        if item.traits
    ]


def amplitude_events(
    document: dict[str, Any], max_items: int, receipt: Receipt
) -> tuple[list[Event], list[UserTraits]]:
    """Return the events of an HTTP V2 call and the user properties that came with them.

    Events of a device alone are left out. Raises BadRequest, TooLarge.
    """
    events: list[Event] = []
    traits: list[UserTraits] = []
    for index, item in enumerate(read_items(document, "events", max_items)):
        place = f"events[{index}]"
        if not isinstance(item, dict):
            raise BadRequest(f"{place} is not an object.")
        name = item.get("event_type")
        if not isinstance(name, str) or not name:
            raise BadRequest(f"{place}.event_type is not a string with something in it.")
        if item.get("user_id") is None and item.get("device_id"):
            continue
        event = _amplitude_event(place, name, item, receipt, index)
        properties = _object(place, item, "user_properties")
        set_now = properties.get("$set", properties)
        if isinstance(set_now, dict) and set_now:
            traits.append({"user_id": event["user_id"], "time": event["time"], "traits": set_now})
        if name != "$identify":
            events.append(event)
    return events, traits


def _amplitude_event(place: str, name: str, item: dict[str, Any], receipt: Receipt, index: int) -> Event:
    try:
        user_id = check_user_id(item.get("user_id"))
    except InvalidUserId as error:
        raise BadRequest(f"{place}.user_id {error}.") from None
    insert_id = item.get("insert_id")
    return {
        "user_id": user_id,
        "event": name,
        "time": _amplitude_time(place, item.get("time"), receipt.at),
        "properties": _object(place, item, "event_properties"),
        "insert_id": insert_id if insert_id and isinstance(insert_id, str) else receipt.id_of(index),
    }


def _amplitude_time(place: str, value: Any, received_at: datetime) -> str:
    """Milliseconds since 1970; none is now."""
    if value is None:
        return _stamp(received_at)
    if type(value) not in (int, float):
        raise BadRequest(f"{place}.time is not a number of milliseconds.")
    try:
        return _stamp(EPOCH + timedelta(milliseconds=value))
    except OverflowError:
        raise BadRequest(f"{place}.time is beyond the calendar.") from None


def _object(place: str, item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{place}.{name} is not an object.")
    return value
