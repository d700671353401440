"""A strict partner in memory, made from a partner's folder: it takes what the folder says and nothing else.

It reads a request backwards through the templates that made it. What does not fit is refused: another method,
a field more or less, a number where a text belongs, too many users, a wrong key, an unknown list.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from destinations.endpoint import AuthMode, BodyFormat, Delivery, Endpoint, Kind, ListIdFrom
from destinations.filters import JOIN, NUMBER, argument
from destinations.reading import nobody_of
from destinations.templates import HOLDERS, SECRET, VARIABLE, Variable, alone, parse_template, parse_variable

TOKEN = "fake-token"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    """What a request says: variables by name, and users with the value of each."""

    names: dict[str, str] = field(default_factory=dict)
    users: list[tuple[str, bool | None]] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    """A whole list that comes in several requests: what came of it so far, and until when it may end."""

    number: str
    ends_at: float
    parts: int = 0
    users: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Call:
    """One kind of request that this partner takes. `adds` is None where the value of each user says it."""

    name: str
    method: str
    path: str
    template: Any
    adds: bool | None


def _is_mixed(read: _Read) -> bool:
    """Say whether some of the users enter and others leave: that is a change, and no plain add or remove."""
    return {True, False} <= {on for _, on in read.users}


class FakePartner:
    """Keeps lists (or properties) and says who is on them. `unknown`: users whom it does not take."""

    def __init__(self, endpoint: Endpoint, fake: Mapping[str, Any]) -> None:
        self.endpoint, self.fake = endpoint, fake
        self.lists: dict[str, set[str]] = {}
        self.names: dict[str, str] = {}
        self.on: dict[str, set[str]] = {}
        self.unknown: set[str] = set()
        # Requests that were accepted and are worked on: what they say, and how often each was asked about.
        self.jobs: dict[str, tuple[list[tuple[str, bool]], _Read]] = {}
        self.asked: dict[str, int] = {}
        # Of each list the session that is open, and the numbers of those that are over.
        self.sessions: dict[str, _Session] = {}
        self.over: set[str] = set()
        self.refused: list[str] = []
        self.calls: list[str] = []
        # Called with each call's name before it is applied; an answer takes the call's place.
        self.fault: Callable[[str], Answer | None] = lambda name: None
        item = "item_template" if endpoint.kind == Kind.PROPERTY else "list_item_template"
        self._item = parse_template(getattr(endpoint, item), item)
        leaver = endpoint.remove_item_template
        self._leaver = parse_template(leaver, item) if leaver else self._item
        self._one = self._item
        self._nobody = nobody_of(endpoint)
        self._calls = list(self._make_calls())
        for given in endpoint.given_lists.values() if endpoint.list_id_from == ListIdFrom.GIVEN else ():
            self.lists[str(given)] = set()

    def members(self, name: str) -> set[str]:
        """Return who is on the latest list of this name (or this id), or has the property of this name."""
        if self.endpoint.kind == Kind.PROPERTY:
            return set(self.on.get(name, ()))
        ids = [list_id for list_id, called in self.names.items() if called == name and list_id in self.lists]
        return set(self.lists.get(ids[-1] if ids else name, ()))

    def lose_lists(self) -> None:
        self.lists.clear()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take one request and answer it. `headers` has small letters."""
        if self._asks_token(target):
            return self._give_token(body)
        if not self._is_known(headers, body):
            return Answer(401, {"message": "who are you?"})
        fitting = [call for call in self._calls if self._path(call, target) is not None]
        if not fitting:
            return self._refuse(404, f"no such address: {target}")
        if method not in {call.method for call in fitting}:
            return self._refuse(405, f"{method} {target}")
        data = self._parsed(headers, body)
        for call in fitting:
            read = self._path(call, target)
            if call.method != method or read is None:
                continue
            self._one = self._leaver if call.name == "remove" else self._item
            if self._fits(call.template, data, read) and not (call.adds is not None and _is_mixed(read)):
                return self._take(call, read)
        return self._refuse(400, f"not what the documentation says: {body[:300]!r}")

    def _make_calls(self) -> Any:
        endpoint, methods = self.endpoint, self.endpoint.methods
        if endpoint.test_path:
            yield _Call("test", methods.get("test", "GET"), endpoint.test_path, None, None)
        if endpoint.read_path:
            yield _Call("read", "GET", endpoint.read_path, None, None)
        if endpoint.poll_path:
            yield _Call("poll", methods.get("poll", "GET"), endpoint.poll_path, None, None)
        if digest := endpoint.read_places.get("digest"):
            yield _Call("digest", "GET", digest, None, None)
        if endpoint.kind == Kind.PROPERTY:
            batched = endpoint.delivery == Delivery.BATCH
            name = "batch" if batched else "identify"
            frame = parse_template(endpoint.batch_template, "batch_template") if batched else None
            template = frame if batched else self._item
            path = getattr(endpoint, f"{name}_path")
            method = methods.get(name, "POST")
            if "remove" in methods or endpoint.remove_item_template:
                yield _Call("add", method, path, template, True)
                leaver = frame if batched else self._leaver
                yield _Call("remove", methods.get("remove", method), path, leaver, False)
            else:
                yield _Call("set", method, path, template, None)
            return
        kinds = (("add", True), ("remove", False))
        for name, adds in kinds[:1] if endpoint.replaces_lists else kinds:
            template = parse_template(getattr(endpoint, f"{name}_template"), f"{name}_template")
            yield _Call(name, methods.get(name, "POST"), getattr(endpoint, f"{name}_path"), template, adds)
        if endpoint.change_template:
            template = parse_template(endpoint.change_template, "change_template")
            yield _Call("change", methods.get("add", "POST"), endpoint.add_path, template, None)
        if endpoint.list_id_from in (ListIdFrom.CREATED, ListIdFrom.FOUND):
            template = parse_template(endpoint.create_template, "create_template")
            yield _Call("create", methods.get("create", "POST"), endpoint.create_path, template, None)
        if endpoint.list_id_from == ListIdFrom.FOUND:
            yield _Call("find", "GET", endpoint.find_path, None, None)

    # --- reading a request

    def _is_known(self, headers: Mapping[str, str], body: bytes) -> bool:
        auth = self.endpoint.auth(TOKEN)
        if auth is not None and headers.get(auth[0].lower()) != auth[1]:
            return False
        extra = {name.lower(): self._with_secrets(text) for name, text in self.endpoint.extra_headers.items()}
        if not body:
            extra.pop("content-type", None)
        return all(headers.get(name) == text for name, text in extra.items())

    def _with_secrets(self, text: str) -> str:
        for name, secret in self.endpoint.secrets.items():
            text = text.replace(f"${SECRET}{name}", secret)
        return text

    def _asks_token(self, target: str) -> bool:
        url = self.endpoint.oauth.get("token_url", "")
        return self.endpoint.auth_mode == AuthMode.OAUTH2 and urlsplit(url).path == target

    def _give_token(self, body: bytes) -> Answer:
        form = dict(parse_qsl(body.decode()))
        if self.endpoint.credential not in form.values() and "assertion" not in form:
            return Answer(400, {"error": "invalid_client"})
        return Answer(200, {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600})

    def _path(self, call: _Call, target: str) -> _Read | None:
        read = _Read()
        base = urlsplit(self.endpoint.base_url).path.rstrip("/")
        if call.name == "read":
            target = self._without_page(target, read)
        fits = self._text(base + call.path, target, read, within=r"[^/?&]+?", decode=unquote)
        return read if fits else None

    def _parsed(self, headers: Mapping[str, str], body: bytes) -> Any:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if not body:
            return None
        if self.endpoint.body_format == BodyFormat.FORM:
            return dict(parse_qsl(body.decode(), keep_blank_values=True))
        try:
            if headers.get("content-type", "").startswith("application/json"):
                return json.loads(body)
            if self.endpoint.body_format == BodyFormat.NDJSON:
                return [json.loads(line) for line in body.splitlines()]
            if self.endpoint.body_format == BodyFormat.CSV:
                return self._rows(body.decode())
            return json.loads(body)
        except ValueError:
            return body

    def _rows(self, text: str) -> list[Any]:
        if isinstance(self._item, dict):
            return list(csv.DictReader(io.StringIO(text, newline="")))
        rows = list(csv.reader(io.StringIO(text, newline="")))
        return rows if isinstance(self._item, list) else [row[0] for row in rows]

    def _fits(self, template: Any, value: Any, read: _Read) -> bool:
        if isinstance(template, str):
            variable = alone(template)
            if variable is not None:
                return self._variable(variable, value, read)
            return isinstance(value, str) and self._text(template, value, read)
        if isinstance(template, dict):
            return (
                isinstance(value, dict)
                and len(value) == len(template)
                and self._object(template, value, read)
            )
        if isinstance(template, list):
            if not isinstance(value, list) or len(template) != len(value):
                return False
            return all(self._fits(one, other, read) for one, other in zip(template, value, strict=True))
        return type(template) is type(value) and bool(template == value)

    def _object(self, template: Mapping[str, Any], value: Mapping[str, Any], read: _Read) -> bool:
        left = dict(value)
        for key, item in template.items():
            name = key.replace("$$", "$") if key.replace("$$", "$") in left else None
            if name is None:
                name = next((one for one in left if self._text(key, one, read)), None)
            if name is None or not self._fits(item, left.pop(name), read):
                return False
        return True

    def _variable(self, variable: Variable, value: Any, read: _Read) -> bool:
        if variable.name in HOLDERS:
            return self._items(variable, value, read)
        if variable.name == "value" and not variable.filters:
            words = {True: self.endpoint.value_word(True), False: self.endpoint.value_word(False)}
            fitting = [adds for adds, word in words.items() if type(word) is type(value) and word == value]
            read.names["value"] = str(fitting[0]) if fitting else ""
            return bool(fitting)
        if variable.name == "is_last" and not variable.filters:
            return type(value) is bool and self._bind("is_last", str(value).lower(), read)
        if NUMBER in variable.filters:
            return type(value) is int and self._bind(variable.name, str(value), read)
        return isinstance(value, str) and self._bind(variable.name, value, read)

    def _items(self, variable: Variable, value: Any, read: _Read) -> bool:
        if (joiner := argument(variable.filters, JOIN)) is not None:
            value = value.split(joiner or ",") if isinstance(value, str) else None
        is_empty = value == [] and (self._nobody is not None or not self.endpoint.replaces_lists)
        if not isinstance(value, list) or is_empty:
            return False
        for one in value:
            row, adds = self._user(variable.name, one, read)
            if row is None:
                return False
            if row.names["user_id"] == self._nobody and len(value) == 1:
                return True
            read.users.append((row.names["user_id"], adds))
            read.names |= {name: text for name, text in row.names.items() if name not in ("user_id", "value")}
        return bool(len(read.users) <= self.fake.get("most", 10_000))

    def _user(self, holder: str, one: Any, read: _Read) -> tuple[_Read | None, bool | None]:
        """Return what one user of a batch says, and whether they enter; None for both if it is no user."""
        kinds = {"added": (self._item, True), "removed": (self._leaver, False)}
        template, adds = kinds.get(holder, (self._one, None))
        row = _Read(dict(read.names))
        if not self._fits(template, one, row):
            return None, None
        if adds is None and "value" in row.names:
            adds = row.names["value"] == "True"
        return row, adds

    def _text(
        self,
        template: str,
        value: str,
        read: _Read,
        *,
        within: str = ".+?",
        decode: Callable[[str], str] = str,
    ) -> bool:
        pattern, names, end = "", [], 0
        for match in VARIABLE.finditer(template):
            variable = parse_variable(match)
            pattern += re.escape(template[end : match.start()])
            pattern += re.escape("$") if variable is None else f"({within})"
            names += [] if variable is None else [variable]
            end = match.end()
        found = re.fullmatch(pattern + re.escape(template[end:]), value, re.DOTALL)
        if found is None:
            return False
        for variable, text in zip(names, found.groups(), strict=True):
            plain = unquote(text) if "url" in variable.filters else decode(text)
            if not self._bind(variable.name, plain, read):
                return False
        return True

    def _bind(self, name: str, text: str, read: _Read) -> bool:
        if name.startswith(SECRET):
            return text == self.endpoint.secrets.get(name.removeprefix(SECRET))
        if name in ("source_label", "integration_name", "integration_version"):
            return text == str(getattr(self.endpoint, name))
        if name == "value":
            words = {self.endpoint.value_word(adds): adds for adds in (True, False)}
            read.names["value"] = str(words.get(text, text == "true"))
            return True
        return read.names.setdefault(name, text) == text

    # --- doing what it says

    def _refuse(self, status: int, why: str) -> Answer:
        self.refused.append(why)
        return Answer(status, {"message": why})

    def _take(self, call: _Call, read: _Read) -> Answer:
        self.calls.append(call.name)
        if (fault := self.fault(call.name)) is not None:
            return fault
        if call.name == "test":
            return Answer(200, self.fake.get("test", {}))
        if call.name == "read":
            return self._page(read)
        if call.name == "digest":
            return self._digest(read)
        if call.name == "poll":
            return self._poll(read.names.get("job_id", ""))
        if call.name == "find":
            name = read.names.get("external_name", "")
            return Answer(200, self._found(name))
        if call.name == "create":
            return self._create(read)
        # One user a request, named in the path or the body.
        if not read.users and not self.endpoint.replaces_lists:
            read.users = [(read.names.get("user_id", ""), None)]
        value = read.names.get("value")
        users = [
            (user, on if on is not None else call.adds if call.adds is not None else value == "True")
            for user, on in read.users
        ]
        if self.endpoint.poll_path:
            return self._accept(users, read)
        if "session" in read.names:
            return self._part(users, read)
        return self._apply(users, read, self.fake.get("failed", {}))

    def _accept(self, users: list[tuple[str, bool]], read: _Read) -> Answer:
        """Keep a request for later. What it says counts when it is asked about the second time."""
        if self._held(read) is None:
            return self._gone()
        job_id = f"job-{len(self.jobs) + 1}"
        self.jobs[job_id] = (users, read)
        return _with_job(self._ok(users), job_id)

    def _poll(self, job_id: str) -> Answer:
        if job_id not in self.jobs:
            return Answer(404, {"message": "no such request"})
        said: Mapping[str, Any] = self.fake["job"]
        self.asked[job_id] = asked = self.asked.get(job_id, 0) + 1
        if asked <= said.get("polls", 1):
            return _with_job(Answer(said["pending"]["status"], said["pending"].get("body")), job_id)
        users, read = self.jobs[job_id]
        return _with_job(self._apply(users, read, said["failed"], said["done"]), job_id)

    def _apply(
        self,
        users: list[tuple[str, bool]],
        read: _Read,
        failure: Mapping[str, Any],
        done: Mapping[str, Any] | None = None,
    ) -> Answer:
        held = self._held(read)
        if held is None:
            return self._gone()
        bad = [(index, user) for index, (user, on) in enumerate(users) if on and user in self.unknown]
        if bad and not failure:
            return Answer(400, {"message": "a user is not known"})
        if bad and self.fake.get("whole"):  # nobody of a call that names somebody it does not take
            return Answer(failure["status"], filled_reply(failure["body"], bad, users))
        if self.endpoint.replaces_lists:
            held.clear()
        for user, on in users:
            if on and user not in self.unknown:
                held.add(user)
            elif not on:
                held.discard(user)
        if bad:
            return Answer(failure["status"], filled_reply(failure["body"], bad, users))
        return Answer(done["status"], filled_reply(done.get("body"), [], users)) if done else self._ok(users)

    def void_sessions(self) -> None:
        """What time does: a session that has not ended within its own is void."""
        self.over |= {session.number for session in self.sessions.values()}
        self.sessions.clear()

    def _part(self, users: list[tuple[str, bool]], read: _Read) -> Answer:
        """Take one request of a whole list. The list is another one when the last has come."""
        held, number = self._held(read), read.names["session"]
        if held is None:
            return self._gone()
        said: Mapping[str, Any] = self.fake.get("session", {})
        key = read.names.get("list_id") or read.names.get("external_name", "")
        session = self.sessions.get(key)
        if session and session.ends_at <= time.monotonic():
            self.over.add(self.sessions.pop(key).number)
            session = None
        if session and session.number != number:
            return self._session_refused(said.get("overlap", {"status": 409}), "another session is open")
        session = session or _Session(number, time.monotonic() + said.get("seconds", 3600))
        if number in self.over or read.names.get("sequence") not in (None, str(session.parts + 1)):
            return self._session_refused(said.get("wrong", {"status": 400}), f"not its turn: {read.names}")
        bad = [(index, user) for index, (user, _) in enumerate(users) if user in self.unknown]
        failure = self.fake.get("failed", {})
        refused = Answer(failure.get("status", 400), filled_reply(failure.get("body"), bad, users))
        if bad and (not failure or self.fake.get("whole")):
            return refused
        self.sessions[key] = session
        session.parts += 1
        session.users |= {user for user, _ in users} - self.unknown
        if read.names["is_last"] == "true":
            held.clear()
            held |= session.users
            self.over.add(self.sessions.pop(key).number)
        return refused if bad else self._ok(users)

    def _session_refused(self, said: Mapping[str, Any], why: str) -> Answer:
        return replace(self._refuse(said["status"], why), body=said.get("body", {"message": why}))

    def _gone(self) -> Answer:
        gone = self.fake.get("unknown_list", {"status": 404, "body": {"error": {"code": "list_not_found"}}})
        return Answer(gone["status"], gone.get("body"))

    def _ok(self, users: list[tuple[str, bool]]) -> Answer:
        ok = self.fake.get("ok", {"status": 200, "body": {}})
        return Answer(ok["status"], filled_reply(ok.get("body"), [], users), ok.get("headers", {}))

    def _held(self, read: _Read) -> set[str] | None:
        if self.endpoint.kind == Kind.PROPERTY:
            return self.on.setdefault(read.names.get("external_name", ""), set())
        if self.endpoint.list_id_from == ListIdFrom.NAMED:
            named = read.names.get("list_id") or read.names.get("external_name", "")
            return self.lists.setdefault(named, set())
        return self.lists.get(read.names.get("list_id", ""))

    def _create(self, read: _Read) -> Answer:
        first = {user for user, _ in read.users}
        if first & self.unknown:
            return Answer(400, {"message": "a user is not known"})
        list_id = str(len(self.names) + 1001)
        self.lists[list_id] = first
        self.names[list_id] = read.names.get("external_name", "")
        made = self.fake.get("created", {"status": 200, "body": {"listId": "$list_id"}})
        text = json.dumps(made.get("body")).replace('"$list_id|number"', list_id).replace("$list_id", list_id)
        headers = {
            name: value.replace("$list_id", list_id) for name, value in made.get("headers", {}).items()
        }
        return Answer(made["status"], json.loads(text), headers)

    # --- a page of members, in the order of their ids

    @property
    def _parameter(self) -> str:
        return str(self.endpoint.read_places.get("parameter") or "page_token")

    def _without_page(self, target: str, read: _Read) -> str:
        """Return the target without the parameter of the page, which `read` gets."""

        def is_own(part: str) -> bool:
            return unquote(part.partition("=")[0]) == self._parameter

        base, _, query = target.partition("?")
        parts = query.split("&") if query else []
        fixed = [part for part in self.endpoint.read_path.partition("?")[2].split("&") if is_own(part)]
        for part in filter(is_own, parts):
            if part not in fixed:
                read.names["page"] = unquote(part.partition("=")[2])
        query = "&".join([*(part for part in parts if not is_own(part)), *fixed])
        read.names["here"] = f"{base}?{query}&" if query else f"{base}?"
        return f"{base}?{query}" if query else base

    def _page(self, read: _Read) -> Answer:
        held = self._held(read)
        paths = self.endpoint.read_places
        if held is None:
            return self._gone()
        by, first = paths.get("by", "none"), paths.get("first", 1 if paths.get("by") == "page" else 0)
        size = len(held) if by == "none" else self.fake.get("page", 25)
        asked = int(read.names.get("page", str(first)))
        start = (asked - first) * size if by == "page" else asked - first
        ids = sorted(held)[start : start + size]
        if self._nobody is not None and not held:
            ids = [self._nobody]
        rows = [_nested(paths["id"], user) if paths.get("id") else user for user in ids]
        body: Any = _nested(paths["rows"], rows) if paths.get("rows") else rows
        if paths.get("total"):
            body = _merged(body, _nested(paths["total"], len(held)))
        headers = {}
        if by in ("cursor", "link") and start + size < len(held):
            following = str(start + size)
            if by == "link":
                following = f"{read.names['here']}{self._parameter}={following}"
            kind, _, name = paths["next"].partition(":")
            if kind == "header":
                headers[name] = f'<{following}>; rel="next"' if by == "link" else following
            else:
                body = _merged(body, _nested(paths["next"], following))
        if paths.get("lines"):
            body = "\n".join(ids)
        return Answer(200, body, headers)

    def _digest(self, read: _Read) -> Answer:
        held = self._held(read)
        if held is None:
            return self._gone()
        total = sum(int.from_bytes(hashlib.sha256(user.encode()).digest()) for user in held)
        return Answer(200, {"count": len(held), "digest": f"{total % 2**256:064x}"})

    def _found(self, name: str) -> Any:
        paths = self.endpoint.find_places
        rows = [
            _nested(paths["name"], called) | _nested(paths["id"], list_id)
            for list_id, called in self.names.items()
            if called == name and list_id in self.lists
        ]
        return _nested(paths["rows"], rows) if paths.get("rows") else rows


def _with_job(answer: Answer, job_id: str) -> Answer:
    body = json.loads(json.dumps(answer.body).replace("$job_id", job_id))
    headers = {name: value.replace("$job_id", job_id) for name, value in answer.headers.items()}
    return Answer(answer.status, body, headers)


def _nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def _merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return other
    return one | {key: _merged(one.get(key), value) for key, value in other.items()}


def filled_reply(body: Any, bad: list[tuple[int, str]], users: list[tuple[str, bool]]) -> Any:
    """Return a reply's body: {"$each_failed": row} becomes a row for each user that failed."""
    if isinstance(body, dict) and set(body) == {"$each_failed"}:
        return [_row(body["$each_failed"], index, user) for index, user in bad]
    if isinstance(body, dict) and set(body) == {"$each", "failed"}:
        failed = {index for index, _ in bad}
        return [
            _row(body["failed"] if index in failed else body["$each"], index, user)
            for index, (user, _) in enumerate(users)
        ]
    if isinstance(body, dict) and set(body) == {"$by_failed"}:
        return {user: body["$by_failed"] for _, user in bad}
    if isinstance(body, dict):
        return {key: filled_reply(value, bad, users) for key, value in body.items()}
    if isinstance(body, list):
        return [filled_reply(value, bad, users) for value in body]
    counts = {"$failed": len(bad), "$taken": len(users) - len(bad)}
    return counts.get(body, body) if isinstance(body, str) else body


def _row(row: Any, index: int, user: str) -> Any:
    text = json.dumps(row).replace('"$index"', str(index))
    return json.loads(text.replace("$user_id", json.dumps(user)[1:-1]))
