"""What a reply means: the design page's "Failure table", and a destination's own rules before it. Pure.

A rule is `{"status", "then", "reason", "message", "code"?, "users_place"?}`:

    status       a number (409) or a class ("5xx")
    code         the rule holds only for replies that carry this code, in one of CODE_PLACES
    then         retry | reject | recreate | pause | users_failed
    reason       a short word, kept with the batch or the rejected user (`DeliveryError.code`)
    message      a sentence for people
    users_place  where the reply names users; without it USER_PLACES are looked through

`reject` is about users: those named, else the batch is narrowed down. `recreate` makes the list anew.
`users_failed` is for a 2xx whose body names users that failed: the others are delivered.
The first rule that matches decides. A place is dotted (`error.code`); lists on the way are looked
through item by item, and a number picks one item. Codes and users are compared as text.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from destinations.endpoint import Endpoint, Kind
from destinations.errors import (
    DeliveryError,
    ListGone,
    Misconfigured,
    NotFound,
    Refused,
    Rejected,
    Temporary,
    TooLarge,
)
from destinations.payloads import Operation, Request, check_list_id

CODE_PLACES = ("error.code", "code", "errorCode", "error_code", "errors.code", "error")
USER_PLACES = (
    "invalidUserIds",
    "invalid_user_ids",
    "error.invalidUserIds",
    "error.invalid_user_ids",
    "errors.userId",
    "errors.user_id",
)
MESSAGE_PLACES = ("error.message", "message", "detail", "errors.message", "error", "errors")
LIST_CODES = frozenset(
    {"list_not_found", "unknown_list", "list_gone", "cohort_not_found", "audience_not_found"}
)
USER_CODES = frozenset({"invalid_user_id", "invalid_user_ids", "unknown_user", "user_not_found"})
RETRIED = frozenset({408, 409, 423, 424, 425, 429})
NEVER = frozenset({501, 505})
CODE_LENGTH = 100
WORDS_LENGTH = 200


class Then(StrEnum):
    RETRY = "retry"
    REJECT = "reject"
    RECREATE = "recreate"
    PAUSE = "pause"
    USERS_FAILED = "users_failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a complete reply means. `error` is None for a delivery; then `named_users` failed within it."""

    error: type[DeliveryError] | None
    code: str = ""
    message: str = ""
    named_users: tuple[str, ...] = ()
    unknown_outcome: bool = False
    list_id: str | None = None


def classify(
    endpoint: Endpoint,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    cut: bool = False,
) -> Verdict:
    """Return what the reply to this request means. `headers` is looked up without regard to capitals.

    cut: the reply went on after `body`.
    """
    if cut and 200 <= status < 300 and request.operation != Operation.CREATE and _reads(endpoint, status):
        # Whom it names as failed must not pass for delivered: fewer users make a shorter reply.
        text = f"The partner answered {status}, too long to read whom it names as failed."
        return Verdict(TooLarge, "long_reply", text, unknown_outcome=True)
    data = parse_reply(body)
    for rule in endpoint.rules:
        if matches(rule, status, data):
            return _by_rule(rule, endpoint, request, status, headers, data)
    if 200 <= status < 300:
        return _success(endpoint, request, status, headers, data)
    return _failure(endpoint, request, status, headers, data)


def check_rules(rules: object) -> None:
    """Raise ValueError, naming the rule and what is wrong with it, unless all of them can be used."""
    if not isinstance(rules, list):
        raise ValueError("Rules are a list.")
    for number, rule in enumerate(rules, 1):
        try:
            _check_rule(rule)
        except ValueError as error:
            raise ValueError(f"Rule {number}: {error}") from None


def matches(rule: Mapping[str, Any], status: int, data: object) -> bool:
    """Say whether the rule is about this reply."""
    if not _is_about(rule, status):
        return False
    return "code" not in rule or str(rule["code"]) in _texts(data, CODE_PLACES)


def _is_about(rule: Mapping[str, Any], status: int) -> bool:
    return rule["status"] in (status, f"{status // 100}xx")


def _reads(endpoint: Endpoint, status: int) -> bool:
    """Say whether a rule about this status asks what the body says."""
    asking = [rule for rule in endpoint.rules if "code" in rule or rule["then"] == Then.USERS_FAILED]
    return any(_is_about(rule, status) for rule in asking)


def parse_reply(body: bytes) -> object:
    """Return the parsed JSON of a reply, numbers as the text that they were, or None if it is none.

    Numbers stay text because a list id beyond 64 bits must not become a float.
    """
    try:
        return json.loads(body, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def look(value: object, place: str) -> Iterator[object]:
    """Yield what stands at a dotted place of parsed JSON."""
    key, _, rest = place.partition(".")
    if isinstance(value, list) and not key.isdecimal():
        for item in value:
            yield from look(item, place)
        return
    if isinstance(value, dict) and key in value:
        found = value[key]
    elif isinstance(value, list) and int(key) < len(value):
        found = value[int(key)]
    else:
        return
    if rest:
        yield from look(found, rest)
    else:
        yield from found if isinstance(found, list) else (found,)


def _check_rule(rule: object) -> None:
    if not isinstance(rule, dict):
        raise ValueError("it is no object.")
    if unknown := sorted(set(rule) - {"status", "code", "then", "reason", "message", "users_place"}):
        raise ValueError(f"unknown field {unknown[0]!r}.")
    for name in ("status", "then", "reason", "message"):
        if not rule.get(name):
            raise ValueError(f"{name!r} is missing.")
    for name in ("reason", "message", "users_place"):
        text = rule.get(name, "x")
        if not isinstance(text, str) or not text.isprintable():
            raise ValueError(f"{name!r} must be one line of text.")
    if isinstance(rule.get("code", ""), bool) or not isinstance(rule.get("code", ""), str | int):
        raise ValueError("'code' must be text or a number.")
    if rule["then"] not in list(Then):
        raise ValueError(f"'then' must be one of {', '.join(Then)}.")
    status = rule["status"]
    is_number = type(status) is int and 100 <= status <= 599
    if not is_number and status not in ("1xx", "2xx", "3xx", "4xx", "5xx"):
        raise ValueError("'status' must be a number from 100 to 599, or a class such as \"5xx\".")
    if rule["then"] == Then.USERS_FAILED and not str(status).startswith("2"):
        raise ValueError("'users_failed' is for a 2xx: use 'reject' for an error that names users.")
    if len(rule["reason"]) > CODE_LENGTH:
        raise ValueError(f"'reason' is longer than {CODE_LENGTH} characters.")


def _by_rule(
    rule: Mapping[str, Any],
    endpoint: Endpoint,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    data: object,
) -> Verdict:
    then, code, message = Then(rule["then"]), rule["reason"], rule["message"]
    places = (rule["users_place"],) if "users_place" in rule else USER_PLACES
    named = _named(request, data, places)
    unknown = _may_be_applied(status)
    creating = request.operation == Operation.CREATE
    if then == Then.USERS_FAILED:
        success = _success(endpoint, request, status, headers, data)
        return success if success.error else replace(success, code=code, message=message, named_users=named)
    if then == Then.RETRY:
        return Verdict(Temporary, code, message, unknown_outcome=unknown)
    # A create names no user and has no list yet: there is nothing to reject or to make anew.
    if then == Then.REJECT and not creating:
        return Verdict(Rejected, code, message, named, unknown)
    if then == Then.RECREATE and not creating and endpoint.kind == Kind.LIST:
        return Verdict(ListGone, code, message, unknown_outcome=unknown)
    return Verdict(Misconfigured, code, message, unknown_outcome=unknown)


def _success(
    endpoint: Endpoint, request: Request, status: int, headers: Mapping[str, str], data: object
) -> Verdict:
    if (headers.get("Content-Type") or "").lower().lstrip().startswith("text/html"):
        text = f"The partner answered {status} with a web page, not with an API's reply: check the address."
        return Verdict(Misconfigured, "html", text, unknown_outcome=True)
    if request.operation != Operation.CREATE:
        return Verdict(None)
    list_id = _list_id(endpoint, data)
    if list_id is None:
        text = f"The reply to the create call has no usable list id at {endpoint.list_id_place!r}."
        return Verdict(Misconfigured, "no_list_id", text, unknown_outcome=True)
    return Verdict(None, list_id=list_id)


def _failure(
    endpoint: Endpoint, request: Request, status: int, headers: Mapping[str, str], data: object
) -> Verdict:
    codes = _texts(data, CODE_PLACES)
    code = _head(endpoint, codes[0], CODE_LENGTH) if codes and " " not in codes[0] else f"http_{status}"
    answered = _sentence(endpoint, status, code, data)
    lowered = {text.lower() for text in codes}
    named = _named(request, data, USER_PLACES)

    if status in (401, 403):
        return Verdict(Refused, code, f"The partner does not accept the credential. {answered}")
    if status in RETRIED or (status >= 500 and status not in NEVER):
        return Verdict(Temporary, code, answered, unknown_outcome=_may_be_applied(status))
    if 300 <= status < 400:
        target = _head(endpoint, headers.get("Location") or "nowhere", WORDS_LENGTH)
        text = f"{answered} Redirects are not followed (to {target}): correct the base URL or the path."
        return Verdict(Misconfigured, code, text)
    if request.operation == Operation.CREATE:
        return Verdict(Misconfigured, code, f"The list cannot be created. {answered}")
    if status in (400, 422) or (status == 404 and (named or lowered & USER_CODES)):
        return Verdict(Rejected, code, answered, named)
    if endpoint.kind == Kind.LIST and (status == 410 or (status == 404 and lowered & LIST_CODES)):
        return Verdict(ListGone, code, f"The partner's list does not exist any more. {answered}")
    if status == 404:
        return Verdict(NotFound, code, answered)
    if status == 413:
        return Verdict(TooLarge, code, answered)
    return Verdict(Misconfigured, code, answered, unknown_outcome=_may_be_applied(status))


def _may_be_applied(status: int) -> bool:
    """Say whether a partner that answers so may have applied the request all the same."""
    return status < 300 or status == 408 or status >= 500


def _head(endpoint: Endpoint, text: str, length: int) -> str:
    """Return the beginning of what a partner said. Masked first: half a secret would not be found."""
    return endpoint.redact(text)[:length]


def _sentence(endpoint: Endpoint, status: int, code: str, data: object) -> str:
    words = _head(endpoint, next(iter(_texts(data, MESSAGE_PLACES)), ""), WORDS_LENGTH)
    shown = f"{status}" if code == f"http_{status}" else f"{status} ({code})"
    said = f": {words}" if words and words != code else ""
    return f"The partner answered {shown}{said}" + ("" if said.endswith((".", "!", "?")) else ".")


def _list_id(endpoint: Endpoint, data: object) -> str | None:
    for found in look(data, endpoint.list_id_place):
        try:
            return check_list_id(found) if isinstance(found, str) else None
        except ValueError:
            return None
    return None


def _named(request: Request, data: object, places: Sequence[str]) -> tuple[str, ...]:
    """Return the users that the reply names, those of this request only, in the reply's order."""
    named = dict.fromkeys(_texts(data, places))
    if not request.user_ids:
        return tuple(named)
    sent = set(request.user_ids) if named else set()
    return tuple(user_id for user_id in named if user_id in sent)


def _texts(data: object, places: Sequence[str]) -> list[str]:
    return [found for place in places for found in look(data, place) if isinstance(found, str) and found]
