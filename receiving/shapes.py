"""What a body asks for: validated whole, before anything is touched.

A body is told apart by its shape, because the source page prints the list paths for identify bodies:
`userIds` (or `user_ids`) makes a list call, `batch`, `type` or `traits` an identify call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from events.user_ids import MAX_BYTES, InvalidUserId, check_user_id
from receiving.errors import BadRequest, TooLarge

LIST_NAME_LENGTH = 1_000


def read_items(document: dict[str, Any], place: str, max_items: int, *, empty: bool = False) -> list[Any]:
    """Return the list at this place of the body. Raises BadRequest, TooLarge."""
    if place not in document:
        raise BadRequest(f"{place} is missing.")
    items = document[place]
    if not isinstance(items, list):
        raise BadRequest(f"{place} is not a list.")
    if not items and not empty:
        raise BadRequest(f"{place} is empty.")
    if len(items) > max_items:
        raise TooLarge(
            f"{place} holds {len(items):,} items; this workspace takes {max_items:,} in a call.",
            code="too_many_items",
            limit=max_items,
        )
    return items


def distinct_ids(values: list[Any], place: str) -> list[str]:
    """Return the ids, distinct and sorted. Raises BadRequest that names the index.

    A list of nothing but short ASCII strings is passed by a few operations on the whole list.
    """
    if values and _all_plain(values):
        return sorted(set(values))
    ids = set()
    for index, value in enumerate(values):
        try:
            ids.add(check_user_id(value))
        except InvalidUserId as error:
            raise BadRequest(f"{place.replace('[]', f'[{index}]')} {error}.") from None
    return sorted(ids)


def _all_plain(values: list[Any]) -> bool:
    """Whether every value is a string, ASCII, not blank and not too long. No to be sure of nothing."""
    try:
        text = "".join(values)
    except TypeError:
        return False
    return (
        text.isascii()
        and max(map(len, values)) <= MAX_BYTES
        and "\x00" not in text
        and all(map(str.strip, values))
    )


def read_list_name(document: dict[str, Any]) -> str:
    """Return the name of the list to create. Raises BadRequest."""
    name = document.get("name")
    if not isinstance(name, str) or not name.strip():
        raise BadRequest("name is not a string with something in it.")
    if len(name) > LIST_NAME_LENGTH:
        raise BadRequest(f"name is longer than {LIST_NAME_LENGTH:,} characters.")
    return name


def is_list_change(document: dict[str, Any]) -> bool:
    return "userIds" in document or "user_ids" in document


def is_identify(document: dict[str, Any]) -> bool:
    return not is_list_change(document) and bool(document.keys() & {"batch", "traits", "type"})


def read_list_change(document: dict[str, Any], max_items: int) -> list[str]:
    """Return the ids of an add or a remove: distinct and sorted."""
    place = "user_ids" if "user_ids" in document and "userIds" not in document else "userIds"
    return distinct_ids(read_items(document, place, max_items), f"{place}[]")


class Identify(NamedTuple):
    user_id: str
    traits: dict[str, Any]
    message_id: str | None = None
    timestamp: Any = None  # as it came


@dataclass(slots=True)
class Batch:
    """A batch's items: what is applied, and what is left to others or left out."""

    identifies: list[Identify] = field(default_factory=list)
    # Items of another type, with their type: see incoming.py.
    others: list[dict[str, Any]] = field(default_factory=list)
    anonymous: int = 0

    @property
    def received(self) -> int:
        return len(self.identifies) + len(self.others) + self.anonymous


class BadField(ValueError):
    """Two arguments: a field of an item (empty: the item itself), and a phrase that follows it."""


def read_batch(document: dict[str, Any], max_items: int, *, default_type: str | None = None) -> Batch:
    """Return the items of `{"batch": […]}`, or of the one item that the document itself is.

    `default_type` is what an item without a type is, on a path that says it. Raises BadRequest, TooLarge.
    """
    items = read_items(document, "batch", max_items) if "batch" in document else [document]
    batch, index = Batch(), 0
    try:
        for index, item in enumerate(items):  # noqa: B007  # the error says which
            _take(batch, item, default_type)
    except BadField as error:
        name, phrase = error.args
        place = f"batch[{index}]" if "batch" in document else ""
        raise BadRequest(f"{'.'.join(filter(None, (place, name)))} {phrase}.") from None
    return batch


def _take(batch: Batch, item: Any, default_type: str | None) -> None:
    if not isinstance(item, dict):
        raise BadField("", "is not an object")
    kind = item.get("type", default_type)
    if kind != "identify":
        if not isinstance(kind, str) or not kind:
            raise BadField("type", "is not a string with something in it")
        batch.others.append({**item, "type": kind})
    elif item.get("userId") is None and item.get("anonymousId"):
        batch.anonymous += 1
    else:
        batch.identifies.append(_identify(item))


def _identify(item: dict[str, Any]) -> Identify:
    if "userId" not in item:
        raise BadField("userId", "is missing")
    try:
        user_id = check_user_id(item["userId"])
    except InvalidUserId as error:
        raise BadField("userId", str(error)) from None
    message_id = item.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        raise BadField("messageId", "is not a string")
    traits = _check_traits("traits", item.get("traits"))
    context = item.get("context")
    # RudderStack's clients put traits there; the item's own are the later word.
    if isinstance(context, dict) and context.get("traits") is not None:
        traits = _check_traits("context.traits", context["traits"]) | traits
    return Identify(user_id, traits, message_id or None, item.get("timestamp"))


def _check_traits(place: str, traits: Any) -> dict[str, Any]:
    if traits is None:
        return {}
    if not isinstance(traits, dict):
        raise BadField(place, "is not an object")
    for name in traits:
        if not name or len(name) > MAX_BYTES or (not name.isascii() and len(name.encode()) > MAX_BYTES):
            raise BadField(place, f"has a key that is empty or longer than {MAX_BYTES:,} bytes")
    return traits


def check_traits(place: str, traits: dict[str, Any]) -> dict[str, Any]:
    """Return the traits if their names can be stored. Raises BadRequest."""
    try:
        return _check_traits(place, traits)
    except BadField as error:
        raise BadRequest(f"{' '.join(error.args)}.") from None


def trait_rows(identifies: Sequence[Identify]) -> dict[str, dict[str, str]]:
    """Return {trait: {user id: value as JSON}}; of a user's repeated trait the last counts.

    Raises BadRequest for a value nested deeper than it can be written again.
    """
    rows: dict[str, dict[str, str]] = {}
    for identify in identifies:
        for name, value in identify.traits.items():
            users = rows.get(name)
            if users is None:
                users = rows[name] = {}
            users[identify.user_id] = (
                "true" if value is True else "false" if value is False else _json(name, value)
            )
    return rows


def _json(name: str, value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise BadRequest(f"The trait {name[:100]!r} is nested too deep.") from None
