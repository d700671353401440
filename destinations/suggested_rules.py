"""Rules that would read a reply which a destination cannot read yet: for a person to judge. Pure."""

import re
from collections.abc import Sequence
from typing import Any

from destinations.claims import Claim
from destinations.payloads import Request
from destinations.reply_paths import find, look

GONE = re.compile(
    r"\b(?:list|cohort|audience|segment|group|tag)(?:[ _-]?id)?s?\b.{0,60}?"
    r"\b(?:not[ _-]?found|(?:does|did|do)(?: not|n't|n’t) exist|no longer exists?|not exist|"
    r"unknown|deleted|archived|is gone|missing)"
    r"|\b(?:unknown|no such|invalid|missing|non-?existent)[ _-](?:list|cohort|audience|segment|group)\b"
    r"|\blist_?(?:does_?)?not_?(?:exist|found)",
    re.IGNORECASE,
)
IDS = (
    "userId",
    "user_id",
    "id",
    "external_id",
    "externalId",
    "identifier",
    "distinct_id",
    "email",
    "uid",
    "key",
)
INDEXES = ("index", "batch_index", "batchIndex", "position", "row", "line", "i")


def says_list_is_gone(text: str) -> bool:
    """Say whether a partner's words are about a list that does not exist."""
    return bool(GONE.search(text))


def for_lost_list(status: int, codes: Sequence[str], data: object) -> dict[str, Any]:
    """Return the rule that makes a list anew at this reply."""
    condition = {"code": codes[0]} if codes else _condition_of_words(data)
    return {"status": status, **condition, "then": "recreate", "reason": "list_gone",
            "message": "The list does not exist at the partner any more."}  # fmt: skip


def for_claims(status: int, claims: Sequence[Claim], data: object, request: Request) -> dict[str, Any]:
    """Return a rule that reads a 2xx which says otherwise: who failed if it says so, else a pause."""
    rule: dict[str, Any] = {"status": status, "then": "users_failed", "reason": "users_failed"}
    for claim in claims:
        if named := _who(claim.path, data, request):
            return {**rule, **named, "message": "The partner did not take these users."}
    claim = claims[0]
    path = claim.path
    value = next(iter(find(data, path)), None) if path else None
    condition: dict[str, Any] = {"at": path} if path else {}
    if isinstance(value, str | bool):
        condition["equals"] = value
    return {
        "status": status,
        **condition,
        "then": "pause",
        "reason": "says_failure",
        "message": "The partner answered with success and says that it failed.",
    }


def _condition_of_words(data: object) -> dict[str, Any]:
    for path in ("error.message", "message", "detail", "error"):
        for found in look(data, path):
            if isinstance(found, str) and says_list_is_gone(found):
                return {"at": path, "equals": found}
    return {}


def _who(path: str, data: object, request: Request) -> dict[str, Any] | None:
    """Return how the rows at a path, or around it, name users; None if they do not."""
    if not path or not request.user_ids:
        return None
    parts = path.split(".")
    if number := next((index for index, part in enumerate(parts) if part.isdecimal() and index), 0):
        # A row of a list speaks of itself: {"responses": [{"status": 400}]}
        rows, within = ".".join(parts[:number]), ".".join(parts[number + 1 :])
        return _by_row(rows, within, data, request)
    rows_found = list(look(data, path))
    if any(isinstance(row, str) and row in request.user_ids for row in rows_found):
        return {"users_place": path}
    for row in rows_found:
        if isinstance(row, dict) and (named := _in_row(path, row, request)):
            return named
        if isinstance(row, dict) and set(row) & set(request.user_ids):
            return {"users_place": path, "by": "key"}
    return None


def _in_row(rows: str, row: dict[str, Any], request: Request) -> dict[str, Any] | None:
    for key in (*IDS, *row):
        if isinstance(row.get(key), str) and row[key] in request.user_ids and key not in INDEXES:
            return {"users_place": rows, "field": key}
    for key in INDEXES:
        if isinstance(row.get(key), str) and row[key].isdecimal():
            return {"users_place": rows, "by": "index", "field": key}
    if isinstance(found := next(look(row, "source.pointer"), None), str) and re.search(r"[0-9]", found):
        return {"users_place": rows, "by": "pointer", "field": "source.pointer"}
    return None


def _by_row(rows: str, within: str, data: object, request: Request) -> dict[str, Any] | None:
    found = list(look(data, rows))
    row = next((row for row in found if isinstance(row, dict) and list(look(row, within))), None)
    if row is None:
        return None
    value = next(iter(find(row, within)), None)
    numeric = isinstance(value, str) and re.fullmatch(r"[1-5][0-9]{2}", value)
    unless = {within: "2xx"} if numeric else {}
    where = {within: value} if isinstance(value, str | bool) and not numeric else {}
    condition = ({"unless": unless} if unless else {}) | ({"where": where} if where else {})
    if named := _in_row(rows, row, request):
        return named | condition
    return {"users_place": rows, "by": "order", **condition} if len(found) == len(request.user_ids) else None
