"""A partner for tests: a real HTTP server on loopback that keeps its own lists and counts what it is sent.

It knows nothing of this project's code. Faults are put in by a function that sees each call before
(and one that sees it after) the partner applies it.
"""

import base64
import json
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Call:
    """One request as it came; `users` are those whom it names."""

    path: str
    body: dict[str, Any]
    authorization: str
    users: list[str]
    at: float
    applied: bool = False
    traceparent: str | None = None

    @property
    def kind(self) -> str:
        if self.path.endswith("/lists"):
            return "create"
        if self.path.endswith(("/add", "/remove")):
            return self.path.rsplit("/", 1)[1]
        return "identify"


@dataclass
class Fault:
    """What the partner does instead of, or (with `apply`) after, what it should."""

    status: int = 0
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    apply: bool = False
    # "reset" the connection, send "half" a reply, or "silence" for `seconds`.
    how: str = "reply"
    seconds: float = 0.0


class Partner:
    """Use as a context manager; `url` is its base URL."""

    def __init__(
        self, *, key: str = "partner-key", delay: float = 0.0, drops_abandoned: bool = False
    ) -> None:
        """`drops_abandoned`: a request whose sender has hung up meanwhile is not applied, as behind nginx."""
        self.key, self.delay, self.drops_abandoned = key, delay, drops_abandoned
        self.lists: dict[str, set[str]] = {}
        self.names: dict[str, str] = {}
        self.traits: dict[str, dict[str, bool]] = defaultdict(dict)
        self.calls: list[Call] = []
        self.fault: Callable[[Call], Fault | None] = lambda call: None
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        partner = self

        class Handler(_Handler):
            owner = partner  # type: ignore[assignment]

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: connections that break are part of the tests."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._server
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, trait: str) -> set[str]:
        """Return the users whose trait is true."""
        return {user for user, traits in self.traits.items() if traits.get(trait)}

    def members(self, name: str) -> set[str]:
        """Return the users of the latest list of a name, or of the trait of that name."""
        ids = [list_id for list_id, called in self.names.items() if called == name]
        return set(self.lists[ids[-1]]) if ids else self.on(name)

    def sent(self, kind: str) -> list[str]:
        """Return the users of all calls of a kind, in order of arrival."""
        return [user for call in self.calls if call.kind == kind for user in call.users]

    def payloads(self) -> Counter[str]:
        """Return how often each payload arrived."""
        return Counter(f"{call.path} {json.dumps(call.body, sort_keys=True)}" for call in self.calls)

    def lose_lists(self) -> None:
        with self.lock:
            self.lists.clear()

    # --- what the handler calls ---

    def answer(
        self, path: str, body: dict[str, Any], authorization: str, traceparent: str | None = None
    ) -> tuple[Call, Fault]:
        call = Call(path, body, authorization, _users(body), time.monotonic(), traceparent=traceparent)
        with self.lock:
            self.calls.append(call)
            fault = self.fault(call)
        if fault and not fault.apply:
            return call, fault
        with self.lock:
            reply = self._apply(call)
        return call, fault or reply

    def _apply(self, call: Call) -> Fault:
        if call.authorization != "Basic " + base64.b64encode(f"{self.key}:".encode()).decode():
            return Fault(401, {"error": {"code": "unauthorized", "message": "Bad key."}})
        if call.kind == "create":
            list_id = str(len(self.names) + 1)
            self.lists[list_id], self.names[list_id] = set(), call.body["name"]
            call.applied = True
            return Fault(200, {"listId": int(list_id)})
        if call.kind in ("add", "remove"):
            return self._change_list(call)
        for item in call.body.get("batch", [call.body]):
            self.traits[str(item["userId"])].update(item["traits"])
        call.applied = True
        return Fault(200, {})

    def _change_list(self, call: Call) -> Fault:
        members = self.lists.get(call.path.split("/")[-2])
        if members is None:
            return Fault(404, {"error": {"code": "list_not_found", "message": "No such list."}})
        members.update(call.users) if call.kind == "add" else members.difference_update(call.users)
        members.difference_update(call.body.get("leaving", ()))
        call.applied = True
        return Fault(200, {})


def _users(body: dict[str, Any]) -> list[str]:
    if "userIds" in body:  # and who leaves, of a call that does both
        return list(map(str, [*body["userIds"], *body.get("leaving", ())]))
    return [str(item["userId"]) for item in body.get("batch", [body]) if "userId" in item]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    owner: Partner

    def do_POST(self) -> None:
        owner = self.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            owner.in_flight += 1
            owner.most_in_flight = max(owner.most_in_flight, owner.in_flight)
        try:
            if owner.delay:
                time.sleep(owner.delay)
            if owner.drops_abandoned and self._is_abandoned():
                self.close_connection = True
                return
            authorization, trace = self.headers.get("Authorization", ""), self.headers.get("traceparent")
            _, reply = owner.answer(self.path, body, authorization, trace)
        finally:
            with owner.lock:
                owner.in_flight -= 1
        self._send(reply)

    def _is_abandoned(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(self, reply: Fault) -> None:
        if reply.how == "silence":
            time.sleep(reply.seconds)
        if reply.how in ("reset", "silence"):
            self.close_connection = True
            # RST, not FIN: what a crashed partner or a firewall does.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            return
        content = b"" if reply.body is None else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + (100 if reply.how == "half" else 0)))
        self.end_headers()
        self.wfile.write(content)
        if reply.how == "half":
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
