"""What a 2xx reply says beside its status: "success": false, a list of errors, a failed count. Pure.

A partner that answers 200 and says that it failed has not taken the users. Nobody can know every
partner's words, but many say it plainly, and `claims` finds these. What is empty, null, 0 or "ok" claims
nothing: `errors: []`, `error: null`, `code: 0` are how success looks with many.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# A word of a key says failure, ...
FAILURE = _set(
    "fail fails failed failing failure failures error errors errored err errs exception exceptions fault "
    "faults invalid invalids rejected rejects reject rejections refused denied unprocessed unsuccessful "
    "undelivered malformed missing notfound nonexistent unknown problem problems violation violations bad"
)
# ... of these only where users were to be added: who is not there has left.
ABSENCE = frozenset({"missing", "notfound", "nonexistent", "unknown"})
# ... and its other words say nothing else (`errorRate`, `failOnError`, `failedAt` claim nothing).
NEUTRAL = _set(
    "count counts cnt num number total n nr of the is has have with any users user userids ids id uids uid "
    "records record rows row items item entries entry members member identifiers identifier profiles "
    "profile contacts contact emails email subscribers subscriber recipients events event objects object "
    "list lists samples sample updates update operations operation requests request results result "
    "details detail messages message msg description desc reason reasons text string code codes no type "
    "name info title summary status partial validation field fields data api response body input batch "
    "processing server all keys key size recordids usernames names"
)
SUCCESS_FLAGS = _set(
    "success succeeded successful successfull issuccess issuccessful wassuccess wassuccessful ok isok "
    "accepted processed delivered valid isvalid completed passed"
)
SUCCESS_COUNTS = _set(
    "successcount successcnt successescount numsuccess numsuccesses numsuccessful successfulcount "
    "succeededcount numsucceeded successtotal totalsuccess recordssucceeded"
)
STATUSES = _set(
    "status state result outcome stat ack statuscode httpstatus httpcode httpstatuscode responsecode "
    "responsestatus resultcode resultstatus statustext statusmessage requeststatus subrequeststatus "
    "callstatus apistatus operationstatus batchstatus uploadstatus updatestatus syncstatus processingstatus"
)
CODES = _set("code errno errcode returncode retcode ret rc")
TYPES = frozenset({"type", "kind", "object", "level", "severity", "typename"})
MESSAGES = _set("message msg detail details description reason title")
NO_FAILURE = _set(
    "0 00 000 0000 00000 000000 0.0 none null nil no false n/a na - ok okay success successful succeeded "
    "noerror noerrors none. error_none no_error"
)
FAILED_WORDS = _set(
    "error errored err fail failed failure failing ko ng nok notok invalid rejected refused denied "
    "unauthorized unauthorised forbidden exception fault bad badrequest notfound partial partialfailure "
    "partialsuccess partiallyfailed partiallysuccessful false aborted cancelled canceled timeout "
    "unprocessable unsuccessful unprocessed"
)
HTTP_FAILURE = re.compile(r"(?:HTTP/\S+ )?[345][0-9]{2}(?![0-9.])", re.IGNORECASE)
FAILED_TEXT = re.compile(
    r"\W*(?:an? |the |internal |fatal |server |request |unexpected )*"
    r"(?:errors?|exception|fail(?:ed|ure)?|failures|invalid|unauthori[sz]ed|forbidden|denied|rejected|"
    r"access denied|bad request|not found)\b(?!\W*0\b)(?! ?-?free)",
    re.IGNORECASE,
)
BAD_CODE = re.compile(
    r"err(?:or)?(?:[^a-z]|$)|fail|invalid|denied|unauth|forbidden|not.?found|exceed|unknown|exception|reject|"
    r"missing|unavailable|time.?out|throttl|expired|bad[_.-]",
    re.IGNORECASE,
)
# error, error.list, errors; and, of a union of types, NotFoundError.
ERROR_TYPE = re.compile(r"(?i:errors?|fault)(?![A-Za-z0-9])|[A-Z][A-Za-z]*(?:Error|Fault|Exception)$")
# A word for each user: {"results": {"u1": "error"}}.
ROWS = _set("results result statuses responses items rows users members records")
# What a text or XML says without JSON: success=false, <status>failed</status>, stat='fail'.
SAYS_NO = re.compile(
    r"\b(?:status|stat|result|outcome)[\"'\s]*[=:>][\"'\s]*(?:fail|error)|"
    r"\b(?:success|succeeded|successful|ok)[\"'\s]*[=:>][\"'\s]*(?:false|no|0)\b",
    re.IGNORECASE,
)
ERROR_ROOT = re.compile(rb"<(?:\w+:)?(?:error|errors|fault|exception|failure)\b", re.IGNORECASE)
# What echoes the request or belongs to the user claims nothing of the call.
ECHOES = _set(
    "traits properties attributes userproperties userattributes customattributes context request params "
    "parameters payload input links dependencies datafields profiledata tags settings config schema "
    "example"
)
DEEP = 8
SHOWN = 120


@dataclass(frozen=True, slots=True)
class Claim:
    """`path` is dotted; `says` is what stands there, as people read it."""

    path: str
    says: str


def claims(status: int, data: object, body: bytes, *, users: int, adding: bool) -> list[Claim]:
    """Return what in a 2xx reply says that something was not taken; none of a reply that is plain.

    data: the parsed body (`reply_paths.parse_reply`). users: how many the request was about.
    adding: an add (or a create), not a remove.
    """
    found = list(_walk(data, "", users, adding, 0)) if data is not None else list(_text_claims(body))
    if status == 207 and not found and not _all_rows_succeeded(data):
        found.append(Claim("", "207, that parts of it may have failed"))
    return found


def counts_failed(path: str, value: object, named: int) -> bool:
    """Say whether a claim is a count: of users taken, found too low, or of more failed than named."""
    number = _number(value)
    key = path.rpartition(".")[2]
    if number is None or _in_row(path):
        return False
    if _folded(key) in SUCCESS_COUNTS:
        return True
    words = _words(key)
    is_code = bool(words & {"code", "codes", "no", "status", "id", "type"})
    return bool(words & FAILURE) and not is_code and number > named


def is_page(content_type: str, body: bytes) -> bool:
    """Say whether a body is a web page: by its type, or by its first byte whatever its type."""
    kind = content_type.partition(";")[0].strip().lower()
    head = body.lstrip(b" \t\r\n\0\xef\xbb\xbf\xff\xfe")[:1024].replace(b"\0", b"")
    if "html" in kind or not head.startswith(b"<"):
        return "html" in kind
    return not kind.endswith("xml") or b"<html" in head.lower() or b"doctype html" in head.lower()


def _walk(value: object, path: str, users: int, adding: bool, depth: int) -> Iterator[Claim]:
    if depth > DEEP:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}.{index}" if path else f"{index}", users, adding, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            in_rows = _folded(path.rpartition(".")[2]) in ROWS
            if _key_claims(str(key), item, users, adding, in_row=_in_row(path), in_rows=in_rows):
                yield Claim(where, f'"{key}": {_shown(item)}')
            elif _folded(str(key)) not in ECHOES:
                yield from _walk(item, where, users, adding, depth + 1)
    elif not path and (value is False or (isinstance(value, str) and _is_failure_text(value, top=True))):
        yield Claim("", _shown(value))


def _in_row(path: str) -> bool:
    return any(part.isdecimal() for part in path.split("."))


def _key_claims(
    key: str, value: object, users: int, adding: bool, *, in_row: bool, in_rows: bool = False
) -> bool:
    """Say whether this key with this value says that something failed. `in_rows`: it may be a user's."""
    folded = _folded(key)
    if folded in SUCCESS_FLAGS:
        return _is_no(value) and not (
            folded in ("processed", "accepted", "delivered", "completed") and value == "0"
        )
    if folded in SUCCESS_COUNTS:
        number = _number(value)
        return number is not None and number < users
    if folded in STATUSES:
        return value is False or (isinstance(value, str) and _is_failed_status(value))
    if folded in CODES:
        return _is_bad_code(value, in_row=in_row, named=folded != "code")
    if folded in TYPES:
        return isinstance(value, str) and bool(ERROR_TYPE.match(value))
    if in_rows and isinstance(value, str) and _folded_text(value) in FAILED_WORDS:
        return True
    if folded in MESSAGES:
        return isinstance(value, str) and bool(FAILED_TEXT.match(value))
    words = _words(key)
    failing = words & FAILURE
    if not failing or (failing <= ABSENCE and not adding) or words - FAILURE - NEUTRAL - {"not", "found"}:
        return False
    if "code" in words or "codes" in words or "no" in words:
        return _is_bad_code(value, in_row=False, named=True)
    return _has_substance(value)


def _has_substance(value: object) -> bool:
    """Say whether what stands under a key of failures names one."""
    if isinstance(value, str):
        return bool(value.strip()) and _folded_text(value) not in NO_FAILURE
    if isinstance(value, list):
        return any(item not in (None, "", {}, []) for item in value)
    if isinstance(value, dict):
        code = next((str(value[key]) for key in value if _folded(str(key)) in CODES), None)
        if code is not None and not _is_bad_code(code, in_row=False, named=True):
            return False
        return any(_has_substance(item) for item in value.values())
    return value is True


def _is_no(value: object) -> bool:
    return value is False or (
        isinstance(value, str) and value.strip().lower() in ("false", "no", "n", "f", "0", "failed", "error")
    )


def _is_failed_status(value: str) -> bool:
    return _folded_text(value) in FAILED_WORDS or bool(HTTP_FAILURE.match(value.strip()))


def _is_bad_code(value: object, *, in_row: bool, named: bool) -> bool:
    """Not 0, a 2xx or a word that is no error. In rows a bare number that is no status may be anything."""
    if not isinstance(value, str):
        return value is False if not named else value is True
    text = value.strip()
    number = _number(text)
    if number is None:
        return bool(BAD_CODE.search(text)) or (named and bool(text) and _folded_text(text) not in NO_FAILURE)
    if number == 0 or re.fullmatch(r"2[0-9]{2}(?:\.0)?", text):
        return False
    return bool(HTTP_FAILURE.fullmatch(text)) if in_row and not named else True


def _is_failure_text(value: str, *, top: bool) -> bool:
    return (top and value == "0") or bool(FAILED_TEXT.match(value))


def _text_claims(body: bytes) -> Iterator[Claim]:
    head = body[:2048].decode("utf-8-sig", errors="replace").replace("\0", "").strip()
    if FAILED_TEXT.match(head) or ERROR_ROOT.search(body[:2048]) or SAYS_NO.search(head):
        yield Claim("", _shown(head.splitlines()[0]))
    elif head.startswith("<") and re.search(r":status>\s*HTTP/\S+ [345]", head):
        yield Claim("", _shown(head))


def _all_rows_succeeded(data: object) -> bool:
    """Say whether a 207 holds rows, each with a 2xx of its own."""
    rows = list(_row_statuses(data, 0))
    return bool(rows) and all(
        re.match(r"(?:HTTP/\S+ )?2[0-9]{2}\b", row) or row.lower() in ("ok", "success") for row in rows
    )


def _row_statuses(value: object, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _row_statuses(item, depth + 1)
    elif isinstance(value, dict) and depth <= DEEP:
        for key, item in value.items():
            if isinstance(item, str) and _folded(str(key)) in STATUSES:
                yield item
            else:
                yield from _row_statuses(item, depth + 1)


def _number(value: object) -> float | None:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?", value.strip()):
        return None
    return float(value)


def _words(key: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", key)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    for index in range(len(words) - 1):
        pair = "".join(words[index : index + 2])
        if pair in ("notfound", "nonexistent", "nonexisting"):
            words[index : index + 2] = ["not", pair.replace("existing", "existent")]
    # Written as one word: `failcount`, `errorcode`.
    more = {part for word in words if word not in FAILURE for part in _parts(word)}
    return {word for word in words if not (word not in FAILURE and _parts(word))} | more


def _parts(word: str) -> list[str]:
    """Return a failure and a neutral word that were written as one, or nothing."""
    for length in range(3, len(word) - 1):
        first, second = word[:length], word[length:]
        if (first in FAILURE and second in NEUTRAL) or (first in NEUTRAL and second in FAILURE):
            return [first, second]
    return []


def _folded(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _folded_text(value: str) -> str:
    text = value.strip().lower()
    return text if text in NO_FAILURE else re.sub(r"[^a-z0-9]", "", text)


def _shown(value: object) -> str:
    """Return parsed JSON as people read it, its head."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        text = value if _number(value) is not None else f'"{value}"'
    elif isinstance(value, list):
        text = "[" + ", ".join(_shown(item) for item in value[:3]) + (", …]" if len(value) > 3 else "]")
    else:
        assert isinstance(value, dict)
        text = "{" + ", ".join(f'"{key}": {_shown(item)}' for key, item in list(value.items())[:4]) + "}"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
