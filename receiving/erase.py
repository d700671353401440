"""Erasing a person from what partners sent: lists, traits, known users, the request log, searches."""

import zlib
from collections.abc import Mapping
from typing import Any

from django.db import transaction

from people.scrubbing import GONE, Scrubber
from receiving.models import BodySearch, MemberSet, RequestLog, Trait, Workspace
from receiving.search import names_user
from receiving.statements import run

PAGE = 200


def erase(user_id: str) -> dict[str, int]:
    """Erase the user in every workspace; return how much of what there was."""
    tables = {
        "lists": ("receiving_listmember", "set_id", MemberSet._meta.db_table),
        "traits": ("receiving_usertrait", "trait_id", Trait._meta.db_table),
        "known users": ("receiving_knownuser", "workspace_id", Workspace._meta.db_table),
    }
    found = {}
    for words, (table, part, owner) in tables.items():
        # One look-up by key for each list, trait or workspace: an index by user would make every add slower.
        with transaction.atomic():
            found[words] = run(
                f"DELETE FROM {table} WHERE user_id = %s AND {part} IN (SELECT id FROM {owner})", [user_id]
            )
    found["searches"] = BodySearch.objects.filter(user_id=user_id).delete()[0]
    return found | {"logged calls": _log(user_id)}


def _log(user_id: str) -> int:
    """Take the user out of the request log: the body of a call that named them goes whole."""
    scrubber, changed, last = Scrubber(user_id), 0, 0
    rows = RequestLog.objects.order_by("pk")
    while page := list(rows.filter(pk__gt=last).values("pk", "body", "body_head", "message", "path")[:PAGE]):
        last = page[-1]["pk"]
        for row in page:
            if new := _without(row, user_id, scrubber):
                changed += RequestLog.objects.filter(pk=row["pk"]).update(**new)
    return changed


def _without(row: Mapping[str, Any], user_id: str, scrubber: Scrubber) -> dict[str, Any]:
    texts = {name: scrubber.text(row[name]) for name in ("message", "path")}
    new: dict[str, Any] = {name: text for name, text in texts.items() if text != row[name]}
    if row["body"] is not None and _names(bytes(row["body"]), user_id, scrubber):
        new |= {"body": None, "body_head": GONE}
    elif scrubber.is_in(row["body_head"]):
        new |= {"body_head": GONE}
    return new


def _names(body: bytes, user_id: str, scrubber: Scrubber) -> bool:
    if names_user(body, user_id):
        return True
    try:
        return scrubber.is_in(zlib.decompress(body, 16 + zlib.MAX_WBITS).decode("utf-8", "replace"))
    except zlib.error:
        return False
