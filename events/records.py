"""One event or one user's traits: what is accepted, and the line that stands for it in the spool.

A spool line is a JSON array's worth in an object with short keys, because the engine reads it back by
name: events have u (user id), e (event), t (microseconds since 1970), i (insert id or null) and p (an
object of texts); traits have u, t and p. c, the last, is the CRC-32 of the line without it.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import orjson

from events.devices import PREFIX, SAID
from events.layout import text_of
from events.times import UnreadableTime, micros, read_time
from events.user_ids import InvalidUserId, check_user_id

# Two names and a workspace fit into one entry of PostgreSQL's index.
MAX_NAME = 255
MAX_PROPERTIES = 1_000
MAX_LINE = 1024 * 1024


class InvalidRecord(ValueError):
    """The message says what is wrong, as a phrase that follows the place: "the user id is blank"."""


def event_line(event: Mapping[str, Any]) -> bytes:
    """Return the spool line of an event with user_id, event, time, properties and insert_id.

    Without a user_id it is of its device_id (devices.py). Raises InvalidRecord. A property that is null is as
    good as missing, and left out.
    """
    insert_id = event.get("insert_id")
    if insert_id is not None and (not isinstance(insert_id, str) or len(insert_id) > MAX_NAME):
        raise InvalidRecord(f"the insert id is not a string of at most {MAX_NAME:,} characters")
    record = {
        "u": who_of(event),
        "e": name_of(event.get("event"), "the event's name"),
        "t": micros_of(event.get("time")),
        "i": insert_id or None,
        "p": texts_of(event.get("properties"), "properties", keep_null=False),
    }
    return line(record)


def traits_line(traits: Mapping[str, Any]) -> bytes:
    """Return the spool line of a user's traits: user_id, time and traits. A null unsets its trait."""
    texts = texts_of(traits.get("traits"), "traits", keep_null=True)
    return line({"u": user_of(traits), "t": micros_of(traits.get("time")), "p": texts})


def owner_line(device_id: object, user_id: object, time: object, name: str = SAID) -> bytes:
    """Return the line that says whose a device is: among the users' properties, see devices.py. An empty
    user id, nobody's, can only be decided."""
    owner = user_id if user_id == "" and name != SAID else user_of({"user_id": user_id})
    return line({"u": device_of(device_id), "t": micros_of(time), "p": {name: owner}})


def line(record: Mapping[str, Any]) -> bytes:
    try:
        encoded = orjson.dumps(record)
    except orjson.JSONEncodeError as error:
        raise InvalidRecord(not_stored(error)) from None
    if len(encoded) > MAX_LINE:
        raise InvalidRecord(f"is larger than {MAX_LINE:,} bytes")
    return b'%s,"c":"%08x"}\n' % (encoded[:-1], zlib.crc32(encoded))


def not_stored(error: orjson.JSONEncodeError) -> str:
    if "surrogates" in str(error):
        return "has text that is not UTF-8: save the file as UTF-8"
    return f"cannot be stored as JSON: {error}"


CHECK = len(b',"c":"00000000"}')


def is_intact(line: bytes) -> bool:
    """Whether a spool line, without its line end, is what was written. Lines of an earlier release have no
    sum: those that can be read are believed."""
    body, sum_ = line[:-CHECK] + b"}", line[-CHECK:]
    if sum_.startswith(b',"c":"'):
        return sum_ == b',"c":"%08x"}' % zlib.crc32(body)
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return (
        isinstance(record, dict)
        and record.keys() in ({"u", "e", "t", "i", "p"}, {"u", "t", "p"})
        and all(isinstance(record[name], str) for name in record.keys() & {"u", "e"})
        and isinstance(record.get("i"), str | None)
        and type(record["t"]) is int
        and isinstance(record["p"], dict)
    )


def user_of(record: Mapping[str, Any]) -> str:
    try:
        user_id = check_user_id(record.get("user_id"))
    except InvalidUserId as error:
        raise InvalidRecord(f"the user id {error}") from None
    if user_id[0] == PREFIX:
        raise InvalidRecord("the user id begins with a control character that is reserved")
    return user_id


def device_of(device_id: object) -> str:
    """Return what stands for a device where a user's id would."""
    try:
        return check_user_id(PREFIX + check_user_id(device_id))
    except InvalidUserId as error:
        raise InvalidRecord(f"the device's id {error}") from None


def who_of(record: Mapping[str, Any]) -> str:
    if record.get("user_id") in (None, "") and record.get("device_id") not in (None, ""):
        return device_of(record["device_id"])
    return user_of(record)


def name_of(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRecord(f"{what} is missing or not a string")
    if len(value) > MAX_NAME or "\x00" in value:
        raise InvalidRecord(f"{what} is longer than {MAX_NAME:,} characters or contains NUL")
    return value


def texts_of(value: object, what: str, *, keep_null: bool) -> dict[str, str | None]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRecord(f"the {what} are not an object")
    if len(value) > MAX_PROPERTIES:
        raise InvalidRecord(f"has more than {MAX_PROPERTIES:,} {what}")
    try:
        texts = {name_of(key, f"a name in {what}"): text_of(item) for key, item in value.items()}
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise InvalidRecord(f"the {what} cannot be stored as JSON: {error}") from None
    if keep_null and any(key[0] == PREFIX for key in texts):
        raise InvalidRecord(f"a name in {what} begins with a control character that is reserved")
    return texts if keep_null else {key: text for key, text in texts.items() if text is not None}


def micros_of(value: object) -> int:
    """Return microseconds since 1970 of a time as it came: see times.py."""
    if value is None:
        raise InvalidRecord("the time is missing")
    try:
        return micros(read_time(value))
    except UnreadableTime as error:
        raise InvalidRecord(str(error)) from None
