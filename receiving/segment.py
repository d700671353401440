"""Segment's bodies: `{"batch": […]}`, or one item alone. RudderStack's clients send the same.

Identifies become changes of traits, tracks become events; items of other types, and those that name no user
but a device, are counted as ignored.
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
) -> Batch:
    """Return what the body asks for. `default_type` is what an item without a type is.

    Raises BadRequest, TooLarge for the body; an item that cannot be taken is among the batch's refused.
    """
    several = "batch" in document
    items = read_items(document, "batch", max_items) if several else [document]
    batch = Batch(received=len(items))
    reader = _Reader(batch, clock, receipt, default_type)
    for index, item in enumerate(items):
        try:
            reader.take(item)
        except BadField as error:
            batch.refuse("batch[{}]" if several else "", index, error)
    return batch


class _Reader:
    def __init__(self, batch: Batch, clock: Clock, receipt: Receipt, default_type: str | None) -> None:
        self.batch, self.clock, self.receipt, self.default_type = batch, clock, receipt, default_type
        self.others = -1  # the number of the item among those that are no identifies: it may name an event
        self.takers: dict[str, Callable[[dict[str, Any]], None]] = {
            "identify": self.identify,
            "track": self.track,
        }

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
        self.batch.changes.append(change_of(user_id, traits, self.clock.order(self.when(item)), message_id))

    def track(self, item: dict[str, Any]) -> None:
        user_id = _user_of(item)
        properties = item.get("properties")
        if properties is not None and not isinstance(properties, dict):
            raise BadField("properties", "is not an object")
        event = {
            "user_id": user_id,
            "event": item.get("event"),
            "time": self.when(item),
            "properties": properties,
            "insert_id": _message_of(item) or self.receipt.id_of(self.others),
        }
        try:
            self.batch.events.append(event_line(event))
        except InvalidRecord as error:
            raise BadField("", f"cannot be taken: {error}") from None

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
    """Whether the item is about a device: of a user there is nothing, or an empty id."""
    return item.get("userId") in (None, "") and (kind == "track" or bool(item.get("anonymousId")))


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
