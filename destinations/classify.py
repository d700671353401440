"""What a reply means: the failure table of `docs/delivery.md`, and a destination's rules before it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from destinations import rules, suggested_rules
from destinations.claims import Claim, claims, counts_failed, is_page
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
from destinations.reasons import said_of
from destinations.reply_paths import find, look, parse_reply, texts
from destinations.rules import CODE_PATHS, USER_PATHS, Then
from destinations.waits import asked_wait, is_about_pace, is_used_up, retry_after

MESSAGE_PATHS = ("error.message", "message", "detail", "errors.message", "error", "errors")
# What a message such as "Validation failed" leaves unsaid.
DETAIL_PATHS = ("details.message", "error.details.message", "errors.message")
LIST_CODES = frozenset(
    {"list_not_found", "unknown_list", "list_gone", "cohort_not_found", "audience_not_found"}
)
USER_CODES = frozenset({"invalid_user_id", "invalid_user_ids", "unknown_user", "user_not_found"})
RETRIED = frozenset({408, 409, 423, 424, 425, 429})
NEVER = frozenset({501, 505})
WORDS_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a complete reply means. `error` is None for a delivery; then `named_users` failed within it."""

    error: type[DeliveryError] | None
    code: str = ""
    message: str = ""
    named_users: tuple[str, ...] = ()
    unknown_outcome: bool = False
    list_id: str | None = None
    job_id: str | None = None
    retry_after: float | None = None
    suggested_rule: Mapping[str, Any] | None = None
    said: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reply to a request, on its way to a verdict."""

    endpoint: Endpoint
    request: Request
    status: int
    headers: Mapping[str, str]
    body: bytes
    data: object

    @property
    def creates(self) -> bool:
        return self.request.operation == Operation.CREATE

    @property
    def polls(self) -> bool:
        return self.request.operation == Operation.POLL

    @property
    def codes(self) -> list[str]:
        return texts(self.data, CODE_PATHS)


def classify(
    endpoint: Endpoint,
    request: Request,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    cut: bool = False,
    now: float = 0.0,
) -> Verdict:
    """Return what the reply to this request means. `headers` is looked up without regard to capitals.

    cut: the reply went on after `body`. now: the partner's clock, in Unix seconds.
    """
    if cut and 200 <= status < 300 and request.operation != Operation.CREATE and _reads(endpoint, status):
        # Whom it names as failed must not pass for delivered: fewer users make a shorter reply.
        text = f"The partner answered {status}, too long to read whom it names as failed."
        return Verdict(TooLarge, "long_reply", text, unknown_outcome=True)
    data = parse_reply(body, cut=cut)
    verdict = _decide(_Answer(endpoint, request, status, headers, body, data))
    said = said_of(frozenset(verdict.named_users), data) if verdict.named_users else {}
    shown = {user: _head(endpoint, words, WORDS_LENGTH) for user, words in said.items()}
    return replace(verdict, retry_after=asked_wait(status, headers, data, now=now), said=shown)


def _decide(answer: _Answer) -> Verdict:
    matching = [
        rule
        for rule in answer.endpoint.rules
        if rules.matches(rule, answer.request.operation, answer.status, answer.data)
    ]
    first = matching[0] if matching else None
    succeeded = 200 <= answer.status < 300
    if succeeded and (first is None or first["then"] in (Then.SUCCESS, Then.USERS_FAILED)):
        if answer.polls:
            return _job(answer, matching)
        verdict = _success(answer, matching)
        sends = (Operation.ADD, Operation.REMOVE, Operation.CHANGE)
        waits = answer.endpoint.poll_path and answer.request.operation in sends
        settled = first is not None and first["then"] == Then.SUCCESS
        return _accepted(answer, verdict) if waits and not settled and verdict.error is None else verdict
    if first is not None:
        return _by_rule(first, answer)
    return _poll_failure(answer) if answer.polls else _failure(answer)


def _reads(endpoint: Endpoint, status: int) -> bool:
    """Say whether a rule about this status asks what the body says."""
    asking = [rule for rule in endpoint.rules if rules.asks_for_body(rule)]
    return any(rules.is_about(rule, status) for rule in asking)


def _by_rule(rule: Mapping[str, Any], answer: _Answer) -> Verdict:
    then, code, message = Then(rule["then"]), rule["reason"], rule["message"]
    unknown = _may_be_applied(answer.status)
    if then == Then.SUCCESS:
        return _with_list_id(answer)
    if then == Then.RETRY:
        return Verdict(Temporary, code, message, unknown_outcome=unknown)
    # A create names no user and has no list yet: there is nothing to reject or to make anew.
    if then == Then.REJECT and not answer.creates:
        named = rules.failed([rule], answer.request.user_ids, answer.data).users
        return Verdict(Rejected, code, message, named, unknown)
    if then == Then.RECREATE and not answer.creates and answer.endpoint.kind == Kind.LIST:
        return Verdict(ListGone, code, message, unknown_outcome=unknown)
    return Verdict(Misconfigured, code, message, unknown_outcome=unknown)


# --- 2xx ----------------------------------------------------------------------------------------


def _success(answer: _Answer, matching: Sequence[Mapping[str, Any]]) -> Verdict:
    """A 2xx, and the rules that are about it: delivered, unless the body says otherwise."""
    if is_page(answer.headers.get("Content-Type") or "", answer.body):
        answered = f"The partner answered {answer.status} with a web page"
        text = f"{answered}, not with an API's reply: check the address."
        return Verdict(Misconfigured, "html", text, unknown_outcome=True)
    reading = [rule for rule in matching if rule["then"] == Then.USERS_FAILED]
    failed = rules.failed(reading, answer.request.user_ids, answer.data)
    words = {"code": reading[0]["reason"], "message": reading[0]["message"]} if reading else {}
    unclear = failed.unclear or (bool(failed.users) and _more_failed(answer, len(failed.users)))
    if unclear and not answer.creates:
        # More failed than it names: those named are at fault, and the others are narrowed down.
        return Verdict(Rejected, **words, named_users=failed.users, unknown_outcome=True)
    if left := _unread_claims(answer, matching, failed):
        return _says_otherwise(answer, left)
    if answer.creates:
        return _with_list_id(answer)
    return Verdict(None, **words, named_users=failed.users)


def _more_failed(answer: _Answer, named: int) -> bool:
    """Say whether a count that no rule reads speaks of more failed users than are named."""
    request = answer.request
    adding = request.operation != Operation.REMOVE
    made = claims(answer.status, answer.data, answer.body, users=request.users - named, adding=adding)
    return any(
        # A list is no count: {"failed": [7]} names the user at 7.
        counts_failed(claim.path, next(iter(find(answer.data, claim.path)), None), named)
        for claim in made
        if claim.path
    )


def _unread_claims(
    answer: _Answer, matching: Sequence[Mapping[str, Any]], failed: rules.Failed
) -> list[Claim]:
    """Return what the reply says of failures beside that which the destination's rules read."""
    request = answer.request
    made = claims(
        answer.status,
        answer.data,
        answer.body,
        users=request.users,
        adding=request.operation != Operation.REMOVE,
    )
    if not made:
        return []
    read = [answer.endpoint.list_id_place] if answer.creates else []
    fine: set[str] = set()
    for rule in matching:
        # Whom `users_failed` names explains the reply; when it names nobody, the reply stands as it is.
        if rule["then"] == Then.SUCCESS or failed.users:
            read += rules.paths_read(rule)
            fine |= {str(rule["code"])} if rule["then"] == Then.SUCCESS and "code" in rule else set()
    return [claim for claim in made if not _is_read(claim, answer, read, fine, explained=bool(failed.users))]


def _is_read(claim: Claim, answer: _Answer, read: Sequence[str], fine: set[str], *, explained: bool) -> bool:
    if not claim.path:  # the whole of the reply: 207, or a text
        return explained or (answer.status == 207 and bool(read))
    path = ".".join(part for part in claim.path.split(".") if not part.isdecimal())
    for read_path in read:
        plain = ".".join(part for part in read_path.split(".") if not part.isdecimal())
        if f"{path}.".startswith(f"{plain}.") or f"{plain}.".startswith(f"{path}."):
            return True
    if fine & set(texts(answer.data, (claim.path,))):
        return True
    # Beside users who are named, a flag or a count only says the same again.
    return explained and not isinstance(next(look(answer.data, claim.path), None), dict | list)


def _says_otherwise(answer: _Answer, left: Sequence[Claim]) -> Verdict:
    said = _head(answer.endpoint, left[0].says, WORDS_LENGTH)
    text = f"The partner answered {answer.status}, and says {said}; tell this destination how to read it."
    suggested_rule = suggested_rules.for_claims(answer.status, left, answer.data, answer.request)
    return Verdict(Misconfigured, "says_otherwise", text, unknown_outcome=True, suggested_rule=suggested_rule)


# --- a 2xx that only says that the request was accepted -------------------------------------------


def _accepted(answer: _Answer, verdict: Verdict) -> Verdict:
    """Return the id by which the partner is asked what became of the request; nobody is delivered yet."""
    if verdict.named_users:  # at once: the others are sent again, and asked about
        return replace(verdict, error=Rejected, unknown_outcome=True)
    path = str(answer.endpoint.poll_fields["id"])
    job_id = _said_id(answer, path)
    if job_id is None:
        text = f"The partner answered {answer.status}, without the id of the request at {path!r}."
        return Verdict(Misconfigured, "no_job_id", text, unknown_outcome=True)
    return Verdict(None, job_id=job_id)


def _job(answer: _Answer, matching: Sequence[Mapping[str, Any]]) -> Verdict:
    """Return what became of an accepted request. With several states, one that failed is a failure."""
    fields = answer.endpoint.poll_fields
    states = list(look(answer.data, fields["state"]))
    failed = [state for state in states if rules.is_equal(state, fields.get("failed", []))]
    if failed:
        reading = [rule for rule in matching if rule["then"] == Then.USERS_FAILED]
        named = rules.failed(reading, answer.request.user_ids, answer.data).users
        word = _head(answer.endpoint, str(failed[0]), rules.CODE_LENGTH)
        said = _head(answer.endpoint, next(iter(texts(answer.data, MESSAGE_PATHS)), ""), WORDS_LENGTH)
        text = f"The partner says of the request that it had accepted: {word}" + (
            f" ({said})." if said else "."
        )
        return Verdict(Rejected, "job_failed", text, named)
    if states and all(rules.is_equal(state, fields["done"]) for state in states):
        return _success(answer, matching)
    if states:
        return Verdict(None, job_id=answer.request.job_id)
    page = is_page(answer.headers.get("Content-Type") or "", answer.body)
    what = "with a web page" if page else f"without the state of the request at {fields['state']!r}"
    return Verdict(Misconfigured, "no_job_state", f"The partner answered {answer.status} {what}.")


def _poll_failure(answer: _Answer) -> Verdict:
    """Return what a refusal to say what became of a request means: nothing about its users."""
    verdict = _failure(answer)
    if answer.status in (404, 410):
        return replace(verdict, error=NotFound, named_users=())
    if verdict.error in (Temporary, Refused):
        return verdict
    return replace(verdict, error=Misconfigured, named_users=())


def _with_list_id(answer: _Answer) -> Verdict:
    if not answer.creates:
        return Verdict(None)
    list_id = list_id_of(answer.endpoint, answer.headers, answer.data)
    if list_id is None:
        text = f"The reply to the create call has no usable list id at {answer.endpoint.list_id_place!r}."
        return Verdict(Misconfigured, "no_list_id", text, unknown_outcome=True)
    return Verdict(None, list_id=list_id)


# --- all else -----------------------------------------------------------------------------------


def _failure(answer: _Answer) -> Verdict:
    endpoint, status, data, codes = answer.endpoint, answer.status, answer.data, answer.codes
    code = _head(endpoint, codes[0], rules.CODE_LENGTH) if codes and " " not in codes[0] else f"http_{status}"
    answered = _sentence(endpoint, status, code, data)
    lowered = {text.lower() for text in codes}
    named = rules.named(answer.request.user_ids, data, USER_PATHS)
    if status in (400, 403) and _asks_for_patience(answer):
        return Verdict(Temporary, code, answered)
    if status in (401, 403):
        return Verdict(Refused, code, f"The partner does not accept the credential. {answered}")
    if status in RETRIED or (status >= 500 and status not in NEVER):
        return Verdict(Temporary, code, answered, unknown_outcome=_may_be_applied(status))
    if 300 <= status < 400:
        target = _head(endpoint, answer.headers.get("Location") or "nowhere", WORDS_LENGTH)
        text = f"{answered} Redirects are not followed (to {target}): correct the base URL or the path."
        return Verdict(Misconfigured, code, text)
    if answer.creates:
        # One that is made with its first user may be refused for that user: another is tried.
        error = Rejected if answer.request.user_ids and status in (400, 422) else Misconfigured
        return Verdict(error, code, f"The list cannot be created. {answered}")
    if (
        status in (400, 422)
        and not named
        and endpoint.kind == Kind.LIST
        and _is_about_the_list(data, lowered)
    ):
        # Somebody who is held is asked about first: a new list is not made on a word of a 400.
        return Verdict(
            NotFound, code, answered, suggested_rule=suggested_rules.for_lost_list(status, codes, data)
        )
    if status in (400, 422) or (status == 404 and (named or lowered & USER_CODES)):
        return Verdict(Rejected, code, answered, named)
    if endpoint.kind == Kind.LIST and (status == 410 or (status == 404 and lowered & LIST_CODES)):
        return Verdict(ListGone, code, f"The partner's list does not exist any more. {answered}")
    if status == 404:
        return Verdict(NotFound, code, answered)
    if status == 413:
        return Verdict(TooLarge, code, answered)
    return Verdict(Misconfigured, code, answered, unknown_outcome=_may_be_applied(status))


def _asks_for_patience(answer: _Answer) -> bool:
    """Say whether a refusal is a matter of pace: it names a wait, or speaks of a rate limit."""
    said = [*answer.codes, *texts(answer.data, MESSAGE_PATHS)]
    if answer.data is None:
        said.append(answer.body[:500].decode(errors="replace"))
    if is_about_pace(said):
        return True
    waits = retry_after(answer.headers.get("Retry-After"), now=0.0) is not None
    return answer.status == 403 and (waits or is_used_up(answer.headers))


def _is_about_the_list(data: object, codes: set[str]) -> bool:
    return bool(codes & LIST_CODES) or any(map(suggested_rules.says_list_is_gone, texts(data, MESSAGE_PATHS)))


def _may_be_applied(status: int) -> bool:
    """Say whether a partner that answers so may have applied the request all the same."""
    return status < 300 or status == 408 or status >= 500


def _head(endpoint: Endpoint, text: str, length: int) -> str:
    """Return the beginning of what a partner said. Masked first: half a secret would not be found."""
    return endpoint.redact(text)[:length]


def _sentence(endpoint: Endpoint, status: int, code: str, data: object) -> str:
    words = _head(endpoint, next(iter(texts(data, MESSAGE_PATHS)), ""), WORDS_LENGTH)
    detail = _head(endpoint, next(iter(texts(data, DETAIL_PATHS)), ""), WORDS_LENGTH)
    if words and detail not in words:
        words = detail if words in detail else f"{words} {detail}"
    shown = f"{status}" if code == f"http_{status}" else f"{status} ({code})"
    said = f": {words}" if words and words != code else ""
    return f"The partner answered {shown}{said}" + ("" if said.endswith((".", "!", "?")) else ".")


def list_id_of(endpoint: Endpoint, headers: Mapping[str, str], data: object) -> str | None:
    """Return the list id that a create call's reply has, or None."""
    return _id_at(endpoint.list_id_place, headers, data)


def _said_id(answer: _Answer, path: str) -> str | None:
    """Return the id of an accepted request; of an address (a Location), its last segment."""
    said = _id_at(path, answer.headers, answer.data)
    if said and (said.startswith("/") or "://" in said):
        last = unquote(urlsplit(said).path.rstrip("/").rpartition("/")[2])
        return last if last and last not in (".", "..") and last.isprintable() else None
    return said


def _id_at(path: str, headers: Mapping[str, str], data: object) -> str | None:
    kind, _, name = path.partition(":")
    said = [headers.get(name)] if kind.lower() == "header" else look(data, path)
    for found in said:
        try:
            return check_list_id(found) if isinstance(found, str) else None
        except ValueError:
            return None
    return None


def found_list(endpoint: Endpoint, name: str, status: int, body: bytes) -> str | None:
    """Return the id of the list of this name in the reply to a look-up, or None."""
    if not 200 <= status < 300:
        return None
    paths = endpoint.find_places
    data = parse_reply(body)
    rows = list(look(data, paths["rows"])) if paths.get("rows") else data
    for row in rows if isinstance(rows, list) else [rows]:
        if name in texts(row, (paths["name"],)):
            for list_id in texts(row, (paths["id"],)):
                return check_list_id(list_id)
    return None
