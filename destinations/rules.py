"""A destination's own rules about replies, before the usual table. Pure.

A rule is `{"status", "then", "reason", "message", "code"?, "at"?, "equals"?, …}`:

    status       a number (409) or a class ("5xx")
    for          the rule holds only for this operation: create, add, remove or change (adds and removes);
                 or poll, for the reply that says what became of an accepted request: no rule without it is
                 about that one
    code         the rule holds only for replies that carry this code, in one of CODE_PATHS
    at, equals   the rule holds only for replies in which this stands at this path: a value, a list of
                 them, or a class ("4xx"); without `equals`, anything that is not empty
    then         retry | reject | recreate | pause | success | users_failed
    reason       a short word, kept with the batch or the rejected user (`DeliveryError.code`)
    message      a sentence for people
    users_place  where the reply names users; without it USER_PATHS are looked through

`reject` is about users: those named, else the batch is narrowed down. `recreate` makes the list anew.
`success` is for an error that is none (409: is a member already), or, with `code` or `at`, for what in a
2xx sounds like a failure and is none. `users_failed` is for a 2xx whose body says who failed: the others
are delivered. The first rule that matches decides; of `users_failed`, all that match name users. With it,
and with `reject`:

    by           what `users_place` (or `field` in it) holds: id (the default), index (into the batch, from
                 0), pointer (a text with the index in it: /data/3/id), key (ids are an object's keys), or
                 order (the rows stand in the batch's order, one for each user)
    field        where in each row that stands
    where        only rows in which each of these paths has this value: {"status": "4xx"}
    unless       … and none of these: {"status": "2xx"}
    taken_place  where the reply counts users that were taken, failed_place those that failed: unless
                 that fits those who were named, the batch is narrowed down

Codes and users are compared as text. Paths are dotted: see `reply_paths`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from destinations.reply_paths import find, look, texts

CODE_PATHS = ("error.code", "code", "errorCode", "error_code", "errors.code", "error")
USER_PATHS = (
    "invalidUserIds",
    "invalid_user_ids",
    "error.invalidUserIds",
    "error.invalid_user_ids",
    "errors.userId",
    "errors.user_id",
)
CODE_LENGTH = 100
NEEDED = ("status", "then", "reason", "message")
PATHS = ("at", "users_place", "field", "taken_place", "failed_place")
OPERATIONS = ("create", "add", "remove", "change", "poll")
OF_USERS_FAILED = ("by", "field", "where", "unless", "taken_place", "failed_place")
KNOWN = {*NEEDED, "for", "code", "equals", *PATHS, *OF_USERS_FAILED}
CLASS = re.compile(r"[1-5]xx")


class Then(StrEnum):
    RETRY = "retry"
    REJECT = "reject"
    RECREATE = "recreate"
    PAUSE = "pause"
    SUCCESS = "success"
    USERS_FAILED = "users_failed"


class By(StrEnum):
    ID = "id"
    INDEX = "index"
    POINTER = "pointer"
    KEY = "key"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Failed:
    """Whom a reply names as failed. `unclear`: it says that more failed than it names."""

    users: tuple[str, ...]
    unclear: bool


def matches(rule: Mapping[str, Any], operation: str, status: int, data: object) -> bool:
    """Say whether the rule is about this reply."""
    asked = rule.get("for", "" if operation == "poll" else operation)
    if not is_about(rule, status) or asked != operation:
        return False
    if "code" in rule and str(rule["code"]) not in texts(data, CODE_PATHS):
        return False
    if "at" not in rule:
        return True
    found = list(look(data, rule["at"])) + list(find(data, rule["at"]))
    if "equals" in rule:
        return any(is_equal(one, rule["equals"]) for one in found)
    return any(one not in (None, "", [], {}) for one in found)


def is_about(rule: Mapping[str, Any], status: int) -> bool:
    return rule["status"] in (status, f"{status // 100}xx")


def asks_for_body(rule: Mapping[str, Any]) -> bool:
    return "code" in rule or "at" in rule or rule["then"] == Then.USERS_FAILED


def paths_read(rule: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a rule of `users_failed` or `success` reads: what stands there is understood."""
    yield from (rule[name] for name in ("at", "taken_place", "failed_place") if name in rule)
    if rule["then"] == Then.USERS_FAILED:
        yield from (rule["users_place"],) if "users_place" in rule else USER_PATHS


def is_equal(found: object, wanted: object) -> bool:
    """Compare what a reply says with what a rule expects; numbers as text, "4xx" as a class."""
    if isinstance(wanted, list):
        return any(is_equal(found, one) for one in wanted)
    if isinstance(wanted, bool) or wanted is None:
        return found is wanted
    if isinstance(wanted, str) and CLASS.fullmatch(wanted) and isinstance(found, str):
        return len(found) == 3 and found.isdecimal() and found[0] == wanted[0]
    return isinstance(found, str) and found == str(wanted)


def named(user_ids: Sequence[str], data: object, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the users that the reply names, those of this request only, in the reply's order."""
    found = dict.fromkeys(texts(data, paths))
    if not user_ids:
        return tuple(found)
    sent = set(user_ids) if found else set()
    return tuple(user_id for user_id in found if user_id in sent)


def failed(rules: Sequence[Mapping[str, Any]], user_ids: Sequence[str], data: object) -> Failed:
    """Return whom the reply names as failed, by all of these rules, all of which match it."""
    users: dict[str, None] = {}
    unclear = False
    for rule in rules:
        if "users_place" not in rule:
            users |= dict.fromkeys(named(user_ids, data, USER_PATHS))
            continue
        for value in _of_rows(rule, data):
            found = _user(rule.get("by", By.ID), value, user_ids)
            unclear |= found is None
            users |= {} if found is None else {found: None}
    sent = set(user_ids)
    ours = tuple(user for user in users if user in sent)
    return Failed(
        ours, unclear or any(_counts_differ(rule, data, len(user_ids), len(ours)) for rule in rules)
    )


def _of_rows(rule: Mapping[str, Any], data: object) -> Iterator[object]:
    """Yield what names a user in each row that the rule is about."""
    by, path = rule.get("by", By.ID), rule["users_place"]
    if by == By.KEY:
        for found in look(data, path):
            if isinstance(found, dict):
                yield from (key for key, row in found.items() if _is_meant(rule, row))
        return
    rows = list(look(data, path))
    if by == By.INDEX and "field" not in rule:
        # Amplitude names the field and then the indices: {"time": [3, 4]}.
        rows = [item for row in rows for item in (_flat(row) if isinstance(row, dict) else (row,))]
    for number, row in enumerate(rows):
        if not _is_meant(rule, row):
            continue
        if by == By.ORDER:
            yield str(number)
        elif "field" in rule:
            yield next(iter(look(row, rule["field"])), None)
        else:
            yield row


def _flat(value: object) -> Iterator[object]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _flat(item) if isinstance(item, dict | list) else (item,)


def _is_meant(rule: Mapping[str, Any], row: object) -> bool:
    def has(path: str, wanted: object) -> bool:
        return any(is_equal(found, wanted) for found in look(row, path))

    return all(has(*pair) for pair in rule.get("where", {}).items()) and not any(
        has(*pair) for pair in rule.get("unless", {}).items()
    )


def _user(by: str, value: object, user_ids: Sequence[str]) -> str | None:
    """Return the user whom a row names, or None if that cannot be told."""
    if not isinstance(value, str):
        return None
    if by in (By.ID, By.KEY):
        return value
    if by == By.POINTER:
        numbers = re.findall(r"(?<![0-9])[0-9]{1,6}(?![0-9])", value)
        value = numbers[0] if numbers else ""
    if not (value.isdecimal() and value.isascii()) or int(value[:9]) >= len(user_ids):
        return None
    return user_ids[int(value[:9])]


def _counts_differ(rule: Mapping[str, Any], data: object, sent: int, failed_users: int) -> bool:
    taken = _count(data, rule.get("taken_place"))
    not_taken = _count(data, rule.get("failed_place"))
    return (taken is not None and taken < sent - failed_users) or (
        not_taken is not None and not_taken > failed_users
    )


def _count(data: object, path: str | None) -> int | None:
    found = next((one for one in look(data, path) if isinstance(one, str)), None) if path else None
    return int(found[:18]) if found and found.isdecimal() and found.isascii() else None


def check_rules(rules: object) -> None:
    """Raise ValueError, naming the rule and what is wrong with it, unless all of them can be used."""
    if not isinstance(rules, list):
        raise ValueError("Rules are a list.")
    for number, rule in enumerate(rules, 1):
        try:
            _check_rule(rule)
        except ValueError as error:
            raise ValueError(f"Rule {number}: {error}") from None


def _check_rule(rule: object) -> None:
    if not isinstance(rule, dict):
        raise ValueError("it is no object.")
    if unknown := sorted(set(rule) - KNOWN):
        raise ValueError(f"unknown field {unknown[0]!r}.")
    for name in NEEDED:
        if not rule.get(name):
            raise ValueError(f"{name!r} is missing.")
    for name in ("reason", "message", *PATHS):
        text = rule.get(name, "x")
        if (
            not isinstance(text, str)
            or not text.isprintable()
            or (name in PATHS and not all(text.split(".")))
        ):
            raise ValueError(f"{name!r} must be one line of text.")
    if isinstance(rule.get("code", ""), bool) or not isinstance(rule.get("code", ""), str | int):
        raise ValueError("'code' must be text or a number.")
    if rule["then"] not in list(Then):
        raise ValueError(f"'then' must be one of {', '.join(Then)}.")
    _check_status(rule)
    _check_conditions(rule)
    if len(rule["reason"]) > CODE_LENGTH:
        raise ValueError(f"'reason' is longer than {CODE_LENGTH} characters.")


def _check_status(rule: Mapping[str, Any]) -> None:
    status, then = rule["status"], rule["then"]
    is_number = type(status) is int and 100 <= status <= 599
    if not is_number and not (isinstance(status, str) and CLASS.fullmatch(status)):
        raise ValueError("'status' must be a number from 100 to 599, or a class such as \"5xx\".")
    is_success = str(status).startswith("2")
    if then == Then.USERS_FAILED and not is_success:
        raise ValueError("'users_failed' is for a 2xx: use 'reject' for an error that names users.")
    if then == Then.SUCCESS and is_success and not {"code", "at"} & set(rule):
        raise ValueError("'success' for a 2xx needs 'code' or 'at': what in the reply is no failure?")
    if then == Then.SUCCESS and status in (401, "1xx", "3xx", "4xx", "5xx") and "code" not in rule:
        raise ValueError("'success' for that status needs a 'code': it would hide what goes wrong.")


def _check_conditions(rule: Mapping[str, Any]) -> None:
    if rule.get("for", "add") not in OPERATIONS:
        raise ValueError(f"'for' must be one of {', '.join(OPERATIONS)}.")
    if "equals" in rule and "at" not in rule:
        raise ValueError("'equals' needs 'at': where does that stand?")
    for name in ("where", "unless"):
        if not isinstance(rule.get(name, {}), dict):
            raise ValueError(f"{name!r} must be an object of paths and values.")
    if rule["then"] not in (Then.USERS_FAILED, Then.REJECT) and (
        more := [name for name in OF_USERS_FAILED if name in rule]
    ):
        raise ValueError(f"{more[0]!r} belongs to 'users_failed' and 'reject'.")
    if rule.get("by", By.ID) not in list(By):
        raise ValueError(f"'by' must be one of {', '.join(By)}.")
    if {"by", "field", "where", "unless"} & set(rule) and "users_place" not in rule:
        raise ValueError("'users_place' is missing: where does the reply name users?")
