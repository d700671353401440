"""What is asked of a partner, in the order in which it is tried; for people: docs/certification.md."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from destinations.certify.report import Level
from destinations.certify.subject import Held, Subject, expected
from destinations.certify.talk import Answer
from destinations.classify import list_id_of
from destinations.endpoint import Endpoint, Kind
from destinations.payloads import Operation, Request

ADD, REMOVE = Operation.ADD, Operation.REMOVE
THREADS = 4
BURST = 40
OWN_PATHS = "this destination has paths of its own; Amplitude does not call them"
# Seconds in which an add of 1,000 users shall be answered: Amplitude waits one to two.
PATIENCE = 2.0
# How often, and how many seconds apart, it is looked whether a reply's promise was kept.
LOOKS, BETWEEN = 4, 0.3
ODD_IDS = (
    *("two words", " lead and trail ", "Grüße", "Gru\u0308ße", "日本", "😀", "UPPER", "upper", "a/b?c=d&e#f"),
    *('it\'s "quoted"', "back\\slash", "50%", "+1", "12345", "007", "null", "x" * 1024),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """ok: None when it could not be found out. what: in words. answer: the exchange that shows it."""

    ok: bool | None
    what: str
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """stops: the checks after it make no sense when it fails. asks: it sends requests of its own, for which
    there must be time; what does not judges the answers there are.
    """

    name: str
    level: Level
    title: str
    advice: str
    look: Callable[[Subject], Seen]
    kinds: Sequence[Kind] = (Kind.LIST, Kind.PROPERTY)
    stops: bool = False
    asks: bool = True


def of_kind(kind: Kind) -> list[Check]:
    return [check for check in CHECKS if kind in check.kinds]


# --- helpers ----------------------------------------------------------------------------------------


def _ok(answer: Answer, what: str = "") -> Seen:
    """Judge an answer that should be a success: by its status and by what its body says."""
    if answer.is_ok and not _says_otherwise(answer):
        return Seen(True, what or answer.words, answer)
    return Seen(False, f"answered {answer.words}" if answer.status else answer.words, answer)


def _says_otherwise(answer: Answer) -> bool:
    data = answer.data
    head = answer.body.lstrip()[:1]
    return head == b"<" or (isinstance(data, dict) and data.get("success") in (False, "false"))


def _held_as(subject: Subject, wanted: Held, answer: Answer) -> Seen | None:
    """Return what is wrong when the partner shows that it holds others than these; None if nothing is."""
    found: Held | None = None
    for look in range(LOOKS):
        found = subject.held()
        if found is None or found == wanted:
            return None
        if look < LOOKS - 1:
            time.sleep(BETWEEN)
    assert found
    said = "other users" if found[0] == wanted[0] else f"{found[0]:,} users, not {wanted[0]:,}"
    return Seen(False, f"answered {answer.status}, and holds {said}", answer)


def _emptied(subject: Subject) -> None:
    """Remove whom the checks have added so far, so that the next begins with nobody."""
    if subject.touched:
        ids = sorted(subject.touched)
        size = subject.profile.get("batch_size") or 500
        for at in range(0, len(ids), size):
            if not subject.send(REMOVE, ids[at : at + size]).is_ok:
                return
        subject.touched.clear()


def _changes(
    subject: Subject, steps: Sequence[tuple[Operation, Sequence[str]]], wanted: Sequence[str]
) -> Seen:
    """Do the steps one after another; all must be accepted, and `wanted` must be held in the end."""
    for operation, ids in steps:
        answer = subject.send(operation, ids)
        if (seen := _ok(answer)).ok is not True:
            return seen
    return _held_as(subject, expected(wanted), answer) or Seen(True, answer.words, answer)


def _with_body(request: Request, body: bytes) -> Request:
    return replace(request, body=body)


# --- the checks -------------------------------------------------------------------------------------


def _create(subject: Subject) -> Seen:
    answer = subject.talk.ask(subject.encoder.create(subject.ids(1)))
    seen = _ok(answer)
    if not seen.ok:
        return seen
    list_id = list_id_of(subject.endpoint, answer.headers, answer.data)
    if not list_id:
        where = subject.endpoint.list_id_place
        return Seen(False, f"the reply has no list id at {where!r}: {answer.words}", answer)
    subject.use_list(list_id)
    return Seen(True, f"the list's id is {list_id}", answer)


def _list_id_everywhere(subject: Subject) -> Seen:
    if not _is_protocols(subject.endpoint):
        return Seen(None, OWN_PATHS)
    created = next(a for a in subject.talk.answers if a.request.operation == Operation.CREATE and a.is_ok)
    data: Any = created.data
    inner = data.get("response") if isinstance(data, dict) else None
    found = {"listId": data.get("listId"), "list_id": data.get("list_id")}
    for name in ("listId", "list_id"):
        found[f"response.{name}"] = inner.get(name) if isinstance(inner, dict) else None
    missing = [name for name, value in found.items() if value is None]
    if missing:
        return Seen(False, f"not at {', '.join(missing)}", created)
    return Seen(True, "the id stands where the console and the worker look", created)


def _add(subject: Subject) -> Seen:
    ids = subject.ids(3)
    answer = subject.send(ADD, ids)
    if answer.status in (400, 404, 422) and not subject.users:
        named = [user_id for user_id in ids if user_id in answer.body.decode(errors="replace")]
        if named:
            subject.profile["names_bad_users"] = True
            return Seen(False, f"takes only users whom it knows ({answer.words}): give it some", answer)
    return _ok(answer) if not _ok(answer).ok else _held_as(subject, expected(ids), answer) or _ok(answer)


def _again(operation: Operation) -> Callable[[Subject], Seen]:
    def look(subject: Subject) -> Seen:
        ids = subject.ids(3)
        seen = _changes(subject, [(operation, ids), (operation, ids)], ids if operation == ADD else [])
        subject.profile["idempotent"] = bool(seen.ok) and subject.profile.get("idempotent", True)
        return seen

    return look


def _order(subject: Subject) -> Seen:
    ids = subject.ids(3)
    seen = _changes(subject, [(ADD, ids), (REMOVE, ids[:1]), (REMOVE, ids), (ADD, ids[1:])], ids[1:])
    if seen.ok and subject.held() is None:
        return Seen(
            None, "all were accepted; whether the last one won cannot be seen without a digest", seen.answer
        )
    _emptied(subject)
    return seen


def _odd(subject: Subject) -> Seen:
    if subject.users:
        return Seen(None, "only known users were given")
    ids = sorted(ODD_IDS)
    answer = subject.send(ADD, ids)
    seen = _ok(answer)
    if not seen.ok:
        bad = [user_id for user_id in ids if not _ok(subject.send(ADD, [user_id])).ok]
        subject.touched.difference_update(bad)
        _emptied(subject)
        return Seen(
            False, f"refused: {', '.join(repr(user_id[:40]) for user_id in bad) or 'together'}", answer
        )
    wrong = _held_as(subject, expected(ids), answer)
    can_be_read = subject.held() is not None
    _emptied(subject)
    if not can_be_read:
        what = f"{len(ids)} odd ids were accepted; whether as they are cannot be seen without a digest"
        return Seen(None, what, answer)
    return wrong or Seen(True, f"{len(ids)} odd ids were taken as they are", answer)


def _numbers(subject: Subject) -> Seen:
    if subject.users:
        return Seen(None, "only known users were given")
    request = subject.request(ADD, ["170141"])
    subject.touched.add("170141")
    answer = subject.talk.ask(_with_body(request, request.body.replace(b'"170141"', b"170141")))
    seen = _ok(answer)
    wrong = _held_as(subject, expected(["170141"]), answer) if seen.ok else None
    _emptied(subject)
    return wrong or seen


def _many(count: int) -> Callable[[Subject], Seen]:
    def look(subject: Subject) -> Seen:
        if subject.is_single:
            return Seen(None, "this partner takes one user a request")
        ids = subject.ids(count, "m")
        if len(ids) < count:
            return Seen(None, f"only {len(ids):,} known users were given")
        answer = subject.send(ADD, ids)
        seen = _ok(answer, f"{count:,} users in {answer.seconds:.2f} s")
        if not seen.ok:
            _emptied(subject)
            return seen
        if wrong := _held_as(subject, expected(ids), answer):
            return wrong
        subject.profile["batch_size"] = count
        if count == 1_000:
            subject.profile["seconds"] = round(answer.seconds, 3)
        _emptied(subject)
        return seen

    return look


def _overlapping(subject: Subject) -> Seen:
    if subject.is_single:
        return Seen(None, "this partner takes one user a request")
    ids = subject.ids(1_600, "o")
    size = min(1_000, subject.profile.get("batch_size") or 500, len(ids))
    # Each thread has most users of the next one, and every other one comes the other way round.
    starts = [number * (len(ids) - size) // (THREADS - 1) for number in range(THREADS)] * 3
    parts = [ids[at : at + size][:: (-1) ** number] for number, at in enumerate(starts)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda part: subject.send(ADD, part), parts))
    bad = next((answer for answer in answers if not _ok(answer).ok), None)
    wanted = expected({user_id for part in parts for user_id in part})
    seen = _ok(bad) if bad else _held_as(subject, wanted, answers[-1])
    subject.profile["overlapping"] = seen is None
    _emptied(subject)
    return seen or Seen(True, f"{len(parts)} overlapping adds of {size:,} users at once", answers[-1])


def _refused(status: Sequence[int], make: Callable[[Subject], Answer | None]) -> Callable[[Subject], Seen]:
    """Judge what should be refused with one of the statuses."""

    def look(subject: Subject) -> Seen:
        answer = make(subject)
        if answer is None:
            return Seen(None, "this destination sends no key")
        subject.refusals.append(answer)
        right = answer.status in status
        wanted = " or ".join(map(str, status))
        return Seen(right, answer.words if right else f"answered {answer.words}; {wanted} is right", answer)

    return look


def _wrong_key(subject: Subject) -> Answer | None:
    if not subject.asks_key:
        return None
    return subject.send_with_key(subject.request(ADD, subject.ids(1)), f"wrong-{subject.token}")


def _unknown_list(subject: Subject) -> Answer:
    known = subject.list_id or ""
    other = "9" * 12 if known.isdecimal() else f"no-such-{subject.token}"
    return subject.talk.ask(subject.request(ADD, subject.ids(1), other))


def _malformed(subject: Subject) -> Answer:
    request = subject.request(ADD, subject.ids(1))
    return subject.talk.ask(_with_body(request, request.body[:-1]))


def _nobody(subject: Subject) -> Answer:
    """A body without its users: the shape is wrong, the JSON is right."""
    request = subject.request(ADD, subject.ids(1))
    return subject.talk.ask(_with_body(request, b"{}"))


def _unknown_user(subject: Subject) -> Seen:
    stranger = f"certify-{subject.token}-stranger"
    answer = subject.send(ADD, [stranger])
    if answer.is_ok:
        _emptied(subject)
        return Seen(True, "an unknown user is taken in", answer)
    named = answer.status in (400, 404, 422) and stranger.encode() in answer.body
    subject.profile["names_bad_users"] = named
    subject.touched.discard(stranger)
    return Seen(named, f"an unknown user is answered with {answer.words}", answer)


def _errors_are_json(subject: Subject) -> Seen:
    for answer in subject.refusals:
        if answer.status and not answer.is_ok and not isinstance(answer.data, dict | list):
            return Seen(False, f"a {answer.status} has no JSON: {answer.words}", answer)
    return Seen(True, "what is refused is answered with JSON")


def _burst(subject: Subject) -> Seen:
    ids = subject.ids(1)
    subject.touched.update(ids)
    request = subject.request(ADD, ids)
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda _: subject.talk.ask(request, waits=0), range(BURST)))
    took = time.monotonic() - began
    limited = [answer for answer in answers if answer.status == 429]
    broken = next((a for a in answers if not a.is_ok and a.status != 429), None)
    if broken:
        return Seen(False, f"under {BURST} calls at once: {broken.words}", broken)
    if not limited:
        return Seen(True, f"{BURST} calls in {took:.1f} s, and no limit was met", answers[-1])
    subject.profile["rate"] = round((BURST - len(limited)) / max(took, 1.0), 1)
    silent = next((answer for answer in limited if answer.retry_after is None), None)
    time.sleep(min(limited[-1].retry_after or 1.0, 5.0))
    if silent:
        return Seen(False, f"{len(limited)} of {BURST} calls were limited, without Retry-After", silent)
    return Seen(True, f"{len(limited)} of {BURST} calls were limited, with Retry-After", limited[0])


def _in_time(subject: Subject) -> Seen:
    """Judge the adds and removes of up to 1,000 users."""
    asked = [a for a in subject.talk.answers if a.status and 0 < a.request.users <= 1_000]
    if not asked:
        return Seen(None, "nothing was answered")
    slowest = max(asked, key=lambda answer: answer.seconds)
    middle = sorted(answer.seconds for answer in asked)[len(asked) // 2]
    what = f"half within {middle:.2f} s, the slowest {slowest.seconds:.2f} s"
    return Seen(middle <= PATIENCE and slowest.seconds <= 2 * PATIENCE, what, slowest)


def _keep_alive(subject: Subject) -> Seen:
    before = subject.talk.transport.connections
    for _ in range(3):
        answer = subject.send(REMOVE, subject.ids(1))
    opened = subject.talk.transport.connections - before
    return Seen(opened <= 1, f"{opened} connections were opened for three requests", answer)


def _digest(subject: Subject) -> Seen:
    if subject.endpoint.read_path:
        return Seen(True, "the members can be read back")
    shown = subject.held() is not None
    return Seen(shown, "the digest is there" if shown else "what is held cannot be read back")


def _single(subject: Subject) -> Seen:
    ids = subject.ids(1)
    subject.touched.update(ids)
    return _ok(subject.talk.ask(subject.encoder.single(ADD, ids[0])))


def _other_paths(subject: Subject) -> Seen:
    if not _is_protocols(subject.endpoint):
        return Seen(None, OWN_PATHS)
    request = subject.request(ADD, subject.ids(1))
    base = subject.endpoint.base_url.rstrip("/")
    for path in ("/v1/identify", "/v1/batch", "/lists/1/add", "/lists/1/remove"):
        one = subject.encoder.single(ADD, subject.ids(1)[0]) if path.endswith("identify") else request
        answer = subject.talk.ask(replace(one, url=base + path))
        if not _ok(answer).ok:
            return Seen(False, f"{path}: {answer.words}", answer)
    return Seen(True, "every path that senders use is answered", answer)


def _is_protocols(endpoint: Endpoint) -> bool:
    plain = Endpoint("", "")
    names = ("create_path", "add_path") if endpoint.kind == Kind.LIST else ("identify_path", "batch_path")
    return all(getattr(endpoint, name) == getattr(plain, name) for name in names)


LISTS, PROPERTIES = (Kind.LIST,), (Kind.PROPERTY,)
CHECKS = [
    Check(
        "create", Level.MUST, "Creates a list",
        "Answer POST to the create path with 200 and {\"listId\": …}. Mind a final slash: redirects are not "
        "followed.",
        _create, LISTS, stops=True,
    ),
    Check(
        "list_id", Level.SHOULD, "Says the list id wherever Amplitude looks",
        "Answer {\"listId\": 1, \"list_id\": 1, \"response\": {\"listId\": 1, \"list_id\": 1}}: Amplitude's "
        "test console and its worker read different ones.",
        _list_id_everywhere, LISTS,
    ),
    Check(
        "add", Level.MUST, "Takes users in",
        "Answer 200 when all users of the call are in. If you take known users only, run this again with "
        "--user ID for some of them.",
        _add, stops=True,
    ),
    Check(
        "add_again", Level.MUST, "Takes the same users again",
        "Adding somebody who is in already changes nothing and is a 200: calls are "
        "repeated after a lost reply.",
        _again(ADD),
    ),
    Check(
        "remove_again", Level.MUST, "Removes users who are gone already",
        "Removing somebody who is not in is a 200, for the same reason.",
        _again(REMOVE),
    ),
    Check(
        "order", Level.MUST, "Keeps the order of calls",
        "Apply a call before you answer it: the next call may take its users out again.",
        _order,
    ),
    Check(
        "odd_ids", Level.MUST, "Takes any user id, byte for byte",
        "Ids are 1 to 1,024 bytes of UTF-8, compared byte for byte: no trimming, no case, no normalizing.",
        _odd,
    ),
    Check(
        "numbers", Level.NICE, "Takes user ids that are numbers",
        "Some senders write {\"userIds\": [17]}: take it as \"17\".",
        _numbers, LISTS,
    ),
    Check(
        "thousand", Level.MUST, "Takes 1,000 users in a call",
        "1,000 is what senders send by default: raise the limits of body size and items.",
        _many(1_000),
    ),
    Check(
        "ten_thousand", Level.SHOULD, "Takes 10,000 users in a call",
        "Amplitude's portal offers 10,000 users a call.",
        _many(10_000),
    ),
    Check(
        "overlapping", Level.MUST, "Takes overlapping calls from four threads",
        "Senders send four calls at once about one list: write users in one order "
        "(sorted), or lock the list.",
        _overlapping,
    ),
    Check(
        "wrong_key", Level.MUST, "Refuses a wrong key", "Answer 401.", _refused((401,), _wrong_key)
    ),
    Check(
        "unknown_list", Level.MUST, "Refuses an unknown list",
        "Answer 404, with a code like list_not_found: the sender then makes the list anew.",
        _refused((404, 410), _unknown_list), LISTS,
    ),
    Check(
        "malformed", Level.MUST, "Refuses what is no JSON",
        "Answer 400 and change nothing; a 5xx is repeated eight times.",
        _refused((400,), _malformed),
    ),
    Check(
        "no_users", Level.SHOULD, "Refuses a call without users",
        "Answer 400 and say which field is missing.",
        _refused((400, 422), _nobody),
    ),
    Check(
        "unknown_user", Level.SHOULD, "Takes an unknown user, or names it",
        "Answer 200, or 404 with {\"invalidUserIds\": [\"…\"]}: without names the sender has to look for "
        "them by halves.",
        _unknown_user,
    ),
    Check(
        "json_errors", Level.SHOULD, "Says in JSON what is wrong",
        "Answer errors with {\"error\": {\"code\": \"…\", \"message\": \"…\"}}: people read it "
        "on the sync's page.",
        _errors_are_json,
    ),
    Check(
        "single", Level.SHOULD, "Takes one user at the identify path",
        "Answer 200 to a single identify call.",
        _single, PROPERTIES,
    ),
    Check(
        "paths", Level.NICE, "Takes identify calls on every path",
        "Senders use /v1/identify and /v1/batch, too, and Amplitude's page prints the list paths for "
        "identify bodies.",
        _other_paths, PROPERTIES,
    ),
    Check(
        "burst", Level.SHOULD, "Stands a burst, or says when to come back",
        "Answer 429 with Retry-After in seconds when it is too much; never drop the connection.",
        _burst,
    ),
    Check(
        "time", Level.SHOULD, "Answers within two seconds",
        "Amplitude waits one to two seconds: write in bulk, and leave what is slow for after the answer.",
        _in_time, asks=False,
    ),
    Check(
        "keep_alive", Level.NICE, "Keeps connections open",
        "Do not close after each reply: a handshake for each call costs more than the call.",
        _keep_alive,
    ),
    Check(
        "digest", Level.NICE, "Shows what it holds",
        "Offer GET /lists/ID/digest (docs/partner.md, \"Reading back\"), so that a sender can "
        "prove that both are equal.",
        _digest,
    ),
]  # fmt: skip
