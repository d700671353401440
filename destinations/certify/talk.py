"""One request to a partner, raw: what came back, in how many seconds, on which connection."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from destinations.endpoint import Endpoint
from destinations.errors import DeliveryError
from destinations.payloads import Request
from destinations.reply_paths import parse_reply
from destinations.transport import Transport, describe, excerpt
from destinations.waits import retry_after

# Seconds that a 429 is waited for, and how often.
LONGEST_WAIT, WAITS = 10.0, 5


class TimeIsUp(Exception):
    """The time that the run was given is over."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request, in how many seconds. status: 0 when no whole reply came; `problem` says why."""

    request: Request
    endpoint: Endpoint = field(repr=False)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    problem: str = ""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def data(self) -> Any:
        """Return the body as JSON; None if it is none."""
        return parse_reply(self.body)

    @property
    def retry_after(self) -> float | None:
        """Return the seconds that the header Retry-After asks for; None without one that can be read."""
        return retry_after(self.headers.get("Retry-After"), now=time.time())

    @property
    def words(self) -> str:
        """Return what came back, in a few words."""
        if self.problem:
            return self.problem
        said = excerpt(self.body, self.endpoint)[:200].strip()
        return f"{self.status} after {self.seconds:.2f} s" + (f": {said}" if said else "")

    @property
    def asked_text(self) -> str:
        """Return the request for people, secrets masked."""
        return describe(self.request, self.endpoint)

    @property
    def reply_text(self) -> str:
        """Return the reply for people, secrets masked."""
        if self.problem:
            return self.problem
        head = "\n".join(f"{name}: {self.endpoint.redact(value)}" for name, value in self.headers.items())
        return f"HTTP {self.status}\n{head}\n\n{excerpt(self.body, self.endpoint)}"


class Talk:
    """Requests to one partner until a moment of the monotonic clock. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, until: float) -> None:
        self.endpoint, self.until = endpoint, until
        self.transport = Transport(endpoint)
        self.answers: list[Answer] = []
        self._lock = threading.Lock()

    def ask(self, request: Request, *, waits: int = WAITS) -> Answer:
        """Send a request and return what came; a 429 is waited for, up to `waits` times. Raises TimeIsUp."""
        while True:
            if time.monotonic() > self.until:
                raise TimeIsUp
            answer = self._once(request)
            with self._lock:
                self.answers.append(answer)
            if answer.status != 429 or waits <= 0:
                return answer
            waits -= 1
            time.sleep(min(answer.retry_after or 1.0, LONGEST_WAIT))

    def _once(self, request: Request) -> Answer:
        began = time.monotonic()
        try:
            status, headers, body, seconds = self.transport.exchange(request)
        except DeliveryError as error:
            took = time.monotonic() - began
            return Answer(request, self.endpoint, seconds=took, problem=error.message)
        return Answer(request, self.endpoint, status, headers, body, seconds)

    def close(self) -> None:
        self.transport.close()
