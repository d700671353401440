"""What a body asks for: validated whole, before anything is touched.

A body is told apart by its shape, because the source page prints the list paths for identify bodies:
`userIds` (or `user_ids`) makes a list call, `batch`, `type` or `traits` an identify call.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from events.records import owner_line
from events.user_ids import MAX_BYTES, InvalidUserId, check_user_id
from receiving.errors import BadRequest, TooLarge

LIST_NAME_LENGTH = 1_000
# Of refused items, so many are named in a reply.
MOST_NAMED = 1_000


def read_items(document: dict[str, Any], field: str, max_items: int, *, empty: bool = False) -> list[Any]:
    """Return the list at this place of the body. Raises BadRequest, TooLarge."""
    if field not in document:
        raise BadRequest(f"{field} is missing.")
    items = document[field]
    if not isinstance(items, list):
        raise BadRequest(f"{field} is not a list.")
    if not items and not empty:
        raise BadRequest(f"{field} is empty.")
    if len(items) > max_items:
        raise TooLarge(
            f"{field} holds {len(items):,} items; this workspace takes {max_items:,} in a call.",
            code="too_many_items",
            limit=max_items,
        )
    return items


def distinct_ids(values: list[Any], field: str) -> list[str]:
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
            raise BadRequest(f"{field.replace('[]', f'[{index}]')} {error}.") from None
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
    field = "user_ids" if "user_ids" in document and "userIds" not in document else "userIds"
    return distinct_ids(read_items(document, field, max_items), f"{field}[]")


class BadField(ValueError):
    """Two arguments: a field of an item (empty: the item itself), and a phrase that follows it."""

    @property
    def field(self) -> str:
        return str(self.args[0])

    @property
    def phrase(self) -> str:
        return str(self.args[1])


class Refused(NamedTuple):
    """An item that is not taken: where it stands in the caller's list, which of its fields, and why."""

    number: int
    field: str
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"index": self.number, "field": self.field, "message": self.message}


class Change(NamedTuple):
    """What one item says of a user's traits, at a time: microseconds since 1970, by our clock.

    `operations` are those of Amplitude that build on what the user has (operations.py); `line` is what
    the event store is told of the traits.
    """

    user_id: str
    traits: dict[str, Any]
    time: int
    message_id: str | None = None
    operations: tuple["Operation", ...] = ()
    line: bytes | None = None

    @property
    def only_leaves(self) -> bool:
        """Whether it sets nothing but false: who is not there has left already."""
        return not self.operations and all(value is False for value in self.traits.values())


class Operation(NamedTuple):
    name: str
    trait: str
    value: Any


@dataclass(slots=True)
class Batch:
    """What a call brought: what is applied, what goes to the event store, what is ignored or refused."""

    received: int = 0
    changes: list[Change] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    # Whose devices are: when it was said first.
    owners: dict[tuple[str, str], datetime] = field(default_factory=dict)
    ignored: int = 0
    refused: list[Refused] = field(default_factory=list)

    def belongs(self, device: Any, user_id: str, when: datetime) -> None:
        """Keep that a device is a user's; an id that cannot be stored is none."""
        try:
            key = check_user_id(device), user_id
        except InvalidUserId:
            return
        self.owners[key] = min(self.owners.get(key, when), when)

    def owner_lines(self) -> list[bytes]:
        """What the event store is told of it."""
        return [owner_line(device, user_id, when) for (device, user_id), when in self.owners.items()]

    def refuse(self, field: str, index: int, error: BadField) -> None:
        where = ".".join(filter(None, (field.format(index), error.field)))
        self.refused.append(Refused(index, error.field, f"{where} {error.phrase}."))

    def check(self, *, by_item: bool) -> None:
        """Raise BadRequest if an item is refused and the call is whole or not at all, or all of it is."""
        if self.refused and (not by_item or len(self.refused) == self.received):
            named = [one.as_json() for one in self.refused[:MOST_NAMED]]
            more: dict[str, Any] = {"errors": named} if by_item else {}
            raise BadRequest(self.refused[0].message, **more)


def check_trait_names(field: str, traits: Any) -> dict[str, Any]:
    """Return the traits if they are an object whose names can be stored. Raises BadField."""
    if traits is None:
        return {}
    if not isinstance(traits, dict):
        raise BadField(field, "is not an object")
    for name in traits:
        if not name or len(name) > MAX_BYTES or (not name.isascii() and len(name.encode()) > MAX_BYTES):
            raise BadField(field, f"has a key that is empty or longer than {MAX_BYTES:,} bytes")
    return traits
