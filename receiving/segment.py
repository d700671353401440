"""Segment's bodies: `{"batch": […]}`, or one item alone. RudderStack's clients send the same.

Identifies become changes of traits, tracks become events, and so do pages, screens and groups where the
workspace wants them. A track that names no user is of its device; whatever names both says whose the device
is, and so does an alias. Items of other types, and identifies that name no user, are counted as ignored.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from events.records import InvalidRecord, event_line
from events.user_ids import InvalidUserId, check_user_id
from receiving.clock import Clock
from receiving.incoming import Receipt
from receiving.shapes import BadField, Batch, check_trait_names, read_items
from receiving.traits import change_of


def read_batch(
    document: dict[str, Any],
    max_items: int,
    clock: Clock,
    receipt: Receipt,
    *,
    default_type: str | None = None,
    page_calls: bool = False,
) -> Batch:
    """Return what the body asks for. `default_type` is what an item without a type is; with `page_calls`
    pages, screens and groups are events.

    Raises BadRequest, TooLarge for the body; an item that cannot be taken is among the batch's refused.
    """
    several = "batch" in document
    items = read_items(document, "batch", max_items) if several else [document]
    batch = Batch(received=len(items))
    reader = _Reader(batch, clock, receipt, default_type, page_calls)
    for index, item in enumerate(items):
        try:
            reader.take(item)
        except BadField as error:
            batch.refuse("batch[{}]" if several else "", index, error)
    return batch


class _Reader:
    def __init__(
        self, batch: Batch, clock: Clock, receipt: Receipt, default_type: str | None, page_calls: bool
    ) -> None:
        self.batch, self.clock, self.receipt, self.default_type = batch, clock, receipt, default_type
        self.others = -1  # the number of the item among those that are no identifies: it may name an event
        self.takers: dict[str, Callable[[dict[str, Any]], None]] = {
            "identify": self.identify,
            "track": self.track,
            "alias": self.alias,
        }
        if page_calls:
            self.takers |= {"page": self.page, "screen": self.page, "group": self.group}

    def take(self, item: Any) -> None:
        if not isinstance(item, dict):
            raise BadField("", "is not an object")
        kind = item.get("type", self.default_type)
        if not isinstance(kind, str) or not kind:
            raise BadField("type", "is not a string with something in it")
        self.others += kind != "identify"
        if kind not in self.takers or _is_nobodys(item, kind):
            self.batch.ignored += 1
        else:
            self.takers[kind](item)

    def identify(self, item: dict[str, Any]) -> None:
        user_id = _user_of(item)
        message_id = _message_of(item)
        traits = check_trait_names("traits", item.get("traits"))
        context = item.get("context")
        # RudderStack's clients put traits there; the item's own are the later word.
        if isinstance(context, dict) and context.get("traits") is not None:
            traits = check_trait_names("context.traits", context["traits"]) | traits
        when = self.when(item)
        self.batch.changes.append(change_of(user_id, traits, self.clock.order(when), message_id))
        self.batch.belongs(item.get("anonymousId"), user_id, when)

    def alias(self, item: dict[str, Any]) -> None:
        self.batch.belongs(item["previousId"], _user_of(item), self.when(item))

    def track(self, item: dict[str, Any]) -> None:
        self.event(item, item.get("event"), _object(item, "properties"))

    def page(self, item: dict[str, Any]) -> None:
        named = {name: item[name] for name in ("name", "category") if item.get(name) is not None}
        self.event(item, item.get("type", self.default_type), {**named, **_object(item, "properties")})

    def group(self, item: dict[str, Any]) -> None:
        self.event(item, "group", {"groupId": item.get("groupId"), **_object(item, "traits")})

    def event(self, item: dict[str, Any], name: Any, properties: dict[str, Any]) -> None:
        user_id = None if _is_empty(item.get("userId")) else _user_of(item)
        event = {
            "user_id": user_id,
            "device_id": item.get("anonymousId"),
            "event": name,
            "time": self.when(item),
            "properties": properties,
            "insert_id": _message_of(item) or self.receipt.id_of(self.others),
        }
        try:
            self.batch.events.append(event_line(event))
        except InvalidRecord as error:
            raise BadField("", f"cannot be taken: {error}") from None
        if user_id is not None:
            self.batch.belongs(item.get("anonymousId"), user_id, event["time"])

    def when(self, item: dict[str, Any]) -> datetime:
        """`originalTimestamp` is by the client's clock; a `timestamp` that differs from it was corrected."""
        said, original = item.get("timestamp"), item.get("originalTimestamp")
        field = "originalTimestamp" if said is None else "timestamp"
        return self.clock.time_of(
            field,
            original if said is None else said,
            sent_at=item.get("sentAt"),
            is_right=said is not None and original is not None and said != original,
        )


def _is_nobodys(item: dict[str, Any], kind: str) -> bool:
    """Whether the item says nothing about anybody: the traits of a device, an event of nobody at all, an
    alias of nothing."""
    nobody, no_device = _is_empty(item.get("userId")), _is_empty(item.get("anonymousId"))
    if kind == "alias":
        return nobody or _is_empty(item.get("previousId"))
    return nobody and (not no_device if kind == "identify" else no_device)


def _is_empty(user_id: Any) -> bool:
    return user_id is None or user_id == ""


def _object(item: dict[str, Any], name: str) -> dict[str, Any]:
    value = item.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadField(name, "is not an object")
    return value or {}


def _user_of(item: dict[str, Any]) -> str:
    if "userId" not in item:
        raise BadField("userId", "is missing")
    try:
        return check_user_id(item["userId"])
    except InvalidUserId as error:
        raise BadField("userId", str(error)) from None


def _message_of(item: dict[str, Any]) -> str | None:
    message_id = item.get("messageId")
    if message_id is not None and not isinstance(message_id, str):
        raise BadField("messageId", "is not a string")
    return message_id or None
