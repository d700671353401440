"""A partner that keeps to the protocol, but for one flaw of one's choice: what certification must find."""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "the-partners-key"
PATHS = ("/identify", "/batch", "/v1/identify", "/v1/batch")


class State:
    def __init__(self, flaw: str) -> None:
        self.flaw, self.lists, self.lock = flaw, dict[str, set[str]](), threading.Lock()
        self.on: dict[str, set[str]] = {}
        self.busy = 0
        self.adds: list[float] = []


@contextmanager
def served(flaw: str = "") -> Iterator[tuple[str, State]]:
    """Yield the partner's address and what it holds."""
    state = State(flaw)

    class Handler(_Handler):
        partner = state
        protocol_version = "HTTP/1.0" if flaw == "closes connections" else "HTTP/1.1"

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    partner: State
    disable_nagle_algorithm = True

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        if self.partner.flaw == "shows nothing" or not path.path.endswith("/digest"):
            return self.fail(404, "not_found")
        held = self.partner.lists.get(path.path.split("/")[2], set())
        if path.path.startswith("/traits"):
            held = self.partner.on.get(parse_qs(path.query)["name"][0], set())
        total = sum(int.from_bytes(hashlib.sha256(user.encode()).digest()) for user in held)
        return self.reply(200, {"count": len(held), "digest": f"{total % 2**256:064x}"})

    def do_DELETE(self) -> None:
        if self.partner.flaw == "keeps lists":
            return self.fail(405, "no")
        self.partner.lists.pop(self.path.split("/")[2], None)
        return self.reply(200, {})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        flaw = self.partner.flaw
        key = base64.b64decode(self.headers.get("Authorization", "Basic ").partition(" ")[2]).decode()
        if key != f"{KEY}:" and flaw != "takes any key":
            return self.fail(403 if flaw == "403 for a wrong key" else 401, "unauthorized")
        try:
            body = json.loads(raw)
        except ValueError:
            return self.fail(500 if flaw == "breaks on bad JSON" else 400, "malformed")
        if flaw == "redirects to a final slash" and not self.path.endswith("/"):
            return self.reply(301, {}, {"Location": f"{self.path}/"})
        with self.partner.lock if flaw != "deadlocks" else nullcontext():
            return self.apply(body)

    def apply(self, body: dict[str, Any]) -> None:
        flaw, state = self.partner.flaw, self.partner
        if self.path in PATHS and not {"batch", "traits"} & set(body):
            return self.fail(400, "batch is missing")
        if self.path == "/lists":
            number = str(len(state.lists) + 1)
            state.lists[number] = set()
            every = {"listId": int(number), "list_id": int(number)}
            answers = {"gives no list id": {}, "one list id": {"listId": number}}
            return self.reply(200, answers.get(flaw, {**every, "response": every}))
        if "batch" in body or "traits" in body:
            return self.identify(body)
        found = re.fullmatch(r"/lists/([^/]+)/(add|remove)", self.path)
        if not found or (found[1] not in state.lists and flaw != "takes any list"):
            return self.fail(404, "not_found")
        if "userIds" not in body:
            return self.fail(400, "userIds is missing")
        ids = body["userIds"]
        if refusal := self.refusal(ids, found[2]):
            refusal()
            return None
        held = state.lists.setdefault(found[1], set())
        ids = [str(user) for user in ids]
        if flaw == "trims ids":
            ids = [user.strip() for user in ids]
        if flaw == "forgets removes" and found[2] == "remove":
            ids = []
        (held.update if found[2] == "add" else held.difference_update)(ids)
        return self.reply(200, {"received": len(ids)})

    def refusal(self, ids: list[Any], what: str) -> Any:
        """Return how a call is refused by the flaw; None if it is not."""
        flaw, state = self.partner.flaw, self.partner
        held = set().union(*state.lists.values()) if state.lists else set()
        if flaw == "slow" and len(ids) == 1_000:
            time.sleep(0.25)
        if flaw == "no numbers" and any(not isinstance(user, str) for user in ids):
            return lambda: self.fail(400, "ids are strings")
        if flaw == "short ids" and any(isinstance(u, str) and len(u.encode()) > 255 for u in ids):
            return lambda: self.fail(400, "ids are too long")
        if flaw == "ascii only" and any(isinstance(u, str) and not u.isascii() for u in ids):
            return lambda: self.fail(400, "ids are ascii")
        if flaw == "at most 1,000" and len(ids) > 1_000:
            return lambda: self.fail(413, "too_large")
        if flaw == "at most 500" and len(ids) > 500:
            return lambda: self.fail(413, "too_large")
        if flaw == "adds once" and what == "add" and set(ids) <= held:
            return lambda: self.fail(409, "exists")
        if flaw == "removes once" and what == "remove" and len(ids) == 3 and not set(ids) & held:
            return lambda: self.fail(409, "gone")
        if flaw in ("nameless strangers", "html errors") and "stranger" in str(ids[0]):
            return lambda: self.fail(404, "no such user")
        if flaw == "names strangers" and "stranger" in str(ids[0]):
            return lambda: self.fail(404, f"no such user: {ids[0]}")
        if flaw == "deadlocks" and len(ids) > 500:
            state.busy += 1
            time.sleep(0.05)
            crowded = state.busy > 1
            state.busy -= 1
            return (lambda: self.fail(500, "deadlock")) if crowded else None
        if flaw in ("limits", "limits silently") and len(ids) == 1 and what == "add":
            state.adds = [at for at in state.adds if at > time.monotonic() - 0.5] + [time.monotonic()]
            if len(state.adds) > 20:
                headers = {"Retry-After": "1"} if flaw == "limits" else {}
                return lambda: self.reply(429, {"error": {"code": "rate_limited"}}, headers)
        return None

    def identify(self, body: dict[str, Any]) -> None:
        flaw = self.partner.flaw
        if self.path not in PATHS and not (self.path.startswith("/lists/") and flaw != "two paths"):
            return self.fail(404, "not_found")
        if flaw == "two paths" and self.path.startswith("/v1"):
            return self.fail(404, "not_found")
        for item in body.get("batch", [body]):
            for name, value in item["traits"].items():
                held = self.partner.on.setdefault(name, set())
                (held.add if value or flaw == "never false" else held.discard)(item["userId"])
        return self.reply(200, {})

    def fail(self, status: int, code: str) -> None:
        if self.partner.flaw == "html errors" and status == 404:
            return self.reply(status, "<html>Not found</html>")
        return self.reply(status, {"error": {"code": code, "message": code}})

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
