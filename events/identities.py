"""Who is who, in the words of Segment and Mixpanel: which lines of a file say that a device is a user's.

Mixpanel's export puts everything among an event's properties, and names in `distinct_id` a user or, with or
without `$device:` in front, a device.
"""

from collections.abc import Mapping
from typing import Any

from events.records import InvalidRecord

# The device of a line: its event is the device's if it names no user, and the device the user's if it does.
DEVICES = ("device_id", "$device_id", "anonymousId", "anonymous_id")
ON_DEVICE = "$device:"
Said = tuple[Any, Any]


def device_in(fields: Mapping[str, Any]) -> Any:
    """Return the id of the device that a line names; None if it names none."""
    return next((fields[name] for name in DEVICES if fields.get(name) not in (None, "")), None)


def flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a line of Mixpanel's with its fields in their places; any other as it is."""
    properties = fields.get("properties")
    if "distinct_id" in fields and on_device(fields["distinct_id"]):
        rest = {name: value for name, value in fields.items() if name != "distinct_id"}
        return {**rest, "device_id": on_device(fields["distinct_id"])}
    if not isinstance(properties, dict) or not {"distinct_id", "time"} <= properties.keys():
        return fields
    rest = dict(properties)
    distinct, device, user = rest.pop("distinct_id"), rest.pop("$device_id", None), rest.pop("$user_id", None)
    if found := on_device(distinct):
        device, distinct = found, None
    elif device == distinct:  # the library of web pages, before anybody has said who it is
        distinct = None
    return {
        "event": fields.get("event"),
        "user_id": user or distinct,
        "device_id": device,
        "time": rest.pop("time"),
        "insert_id": rest.pop("$insert_id", None),
        "properties": rest,
    }


def on_device(distinct: Any) -> str:
    """Return the device that a distinct id names for sure; otherwise an empty text."""
    is_one = isinstance(distinct, str) and distinct.startswith(ON_DEVICE)
    return distinct.removeprefix(ON_DEVICE) if is_one else ""


def said_by(fields: Mapping[str, Any]) -> Said | None:
    """Return the device and its user that a line is about, when it is about nothing else. Raises
    InvalidRecord when it would make one of two users."""
    if fields.get("type") == "alias":
        return fields.get("previousId"), fields.get("userId")
    properties = fields.get("properties")
    if not isinstance(properties, dict):
        return None
    event = fields.get("event")
    if event == "$identify" and "$anon_id" in properties:
        return bare(properties["$anon_id"]), properties.get("$identified_id") or fields.get("user_id")
    if event == "$create_alias" and "alias" in properties:
        return bare(fields.get("user_id") or fields.get("device_id")), properties["alias"]
    if event == "$merge" and isinstance(properties.get("$distinct_ids"), list):
        return of_two(properties["$distinct_ids"])
    return None


def bare(device: Any) -> Any:
    return on_device(device) or device


def of_two(ids: list[Any]) -> Said:
    devices = [one for one in ids if on_device(one)]
    if len(ids) != 2 or len(devices) != 1:
        raise InvalidRecord("merges two users: what has a user id of its own stays a person of its own")
    (user,) = (one for one in ids if not on_device(one))
    return on_device(devices[0]), user
