"""Sends requests over HTTP: one session a thread, allowed addresses only, never longer than the deadline.

What `requests` and `urllib3` do not give, and this module adds:
- the address is checked that is really connected to (no second look-up, no proxy, no redirect);
- a total deadline for a request. Each wait on the socket is cut to what is left of it, so that a reply
  that drips, in its head or its body, does not hold the thread;
- at most 64 KiB of a reply are read, 2 KiB are kept, and the credential is masked in them;
- another thread can break off what is in flight (`interrupt`).
"""

import gzip
import http.client
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast
from urllib.parse import urlsplit

import certifi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import DecodeError, HTTPError, IncompleteRead

from destinations.addresses import is_allowed
from destinations.claims import is_page
from destinations.classify import Verdict, classify, found_list
from destinations.endpoint import MASK, AuthMode, Endpoint
from destinations.errors import DeliveryError, Misconfigured, Temporary
from destinations.payloads import Request
from destinations.reply import Reply as Reply
from destinations.signing import signature
from destinations.tokens import Tokens
from destinations.waits import asked_wait, parse_http_date

READ_AT_MOST = 64 * 1024
KEEP_AT_MOST = 2 * 1024


@dataclass(frozen=True, slots=True)
class Contact:
    """What `Transport.probe` found. `latency` is in seconds, the handshakes included."""

    address: str
    port: int
    tls: str
    latency: float


class Transport:
    """Sends requests to one endpoint. Safe to use from several threads; each has its own connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._threads = threading.local()
        self._lines: list[_Channel] = []
        self._lock = threading.Lock()
        self._interrupted = threading.Event()
        self._tokens = Tokens(endpoint)
        self._context = _tls_context() if urlsplit(endpoint.base_url).scheme == "https" else None

    def send(self, request: Request) -> Reply:
        """Send the request and return the reply to a delivery; raise a DeliveryError for all else.

        A create whose list id is known sends nothing. One that may find its list looks for it first.
        """
        if request.list_id is not None:
            return Reply(0, None, "", "", 0.0, list_id=request.list_id)
        if request.find is not None and (found := self._find(request)) is not None:
            return found
        return self._judge(request, *self._exchange(request))

    def read(self, request: Request, at_most: int) -> tuple[Mapping[str, str], bytes]:
        """Return headers and body of a 2xx to a request that changes nothing; raise for all else.

        at_most: bytes of the body, for what is longer than a reply to a delivery.
        """
        response, body, latency = self._exchange(request, at_most)
        if not 200 <= response.status_code < 300:
            self._judge(request, response, body, latency)
        if is_page(response.headers.get("Content-Type") or "", body):
            raise Misconfigured("The partner answered with a web page: check the address.", code="html")
        if len(body) > at_most:
            text = f"The partner's page is longer than {at_most >> 20} MiB: ask for fewer members a page."
            raise Misconfigured(text, code="long_reply")
        return response.headers, body

    def exchange(self, request: Request) -> tuple[int, Mapping[str, str], bytes, float]:
        """Return status, headers, body and seconds of whatever is answered; raise only where nothing is."""
        response, body, latency = self._exchange(request)
        return response.status_code, response.headers, body[:READ_AT_MOST], latency

    @property
    def connections(self) -> int:
        """Return how many connections this thread has opened to the partner."""
        return self._line().opened

    def _find(self, request: Request) -> Reply | None:
        """Return a reply with the id of the list that has the name already; None if there is none."""
        assert request.find
        response, body, latency = self._exchange(request.find)
        status = response.status_code
        if 200 <= status < 300 and len(body) > READ_AT_MOST:
            text = f"The partner answered {status}, too long to find the list in it: narrow the path."
            raise Misconfigured(text, code="long_reply")
        if status != 404 and not 200 <= status < 300:
            self._judge(request.find, response, body, latency)
        list_id = found_list(self.endpoint, request.find_name, status, body)
        if list_id is None:
            return None
        return self._reply(response, body, latency, Verdict(None, list_id=list_id))

    def _exchange(
        self, request: Request, at_most: int = READ_AT_MOST
    ) -> tuple[requests.Response, bytes, float]:
        """Send a request; with OAuth 2 once more with a new token when the first is not accepted."""
        token = self._token()
        response, body, latency = self._once(request, token, at_most)
        if token and response.status_code == 401:
            self._tokens.forget(token)
            response, body, latency = self._once(request, self._token(), at_most)
        return response, body, latency

    def _token(self) -> str:
        return self._tokens.get(self._once) if self.endpoint.auth_mode == AuthMode.OAUTH2 else ""

    def _once(
        self, request: Request, token: str, at_most: int = READ_AT_MOST
    ) -> tuple[requests.Response, bytes, float]:
        line = self._line(request.url)
        with line.use():
            response = line.session.send(
                self._prepare(request, token),
                stream=True,
                allow_redirects=False,
                timeout=(self.endpoint.connect_timeout, self.endpoint.read_timeout),
            )
            try:
                body = response.raw.read(at_most + 1, decode_content=True)
            except HTTPError:
                line.retry_after = _asked_before_it_broke(response)
                raise
            finally:
                response.close()
        return response, body, time.monotonic() - line.started

    def probe(self) -> Contact:
        """Look the host up, connect and shake hands, send nothing; raise a DeliveryError if that fails."""
        line = self._line()
        with line.use():
            connection = cast(HTTPConnection, line.pool()._new_conn())
            try:
                connection.connect()
                sock = cast(socket.socket, connection.sock)
                address, port = sock.getpeername()[:2]
                tls = (sock.version() or "") if isinstance(sock, ssl.SSLSocket) else ""
            finally:
                connection.close()
        return Contact(address, port, tls, time.monotonic() - line.started)

    def interrupt(self) -> None:
        """Break off what is in flight, and refuse what comes later: Temporary, code `interrupted`."""
        self._interrupted.set()
        with self._lock:
            for line in self._lines:
                line.break_off()

    def close(self) -> None:
        """Close the connections of all threads. Call it when none of them is sending."""
        with self._lock:
            for line in self._lines:
                line.session.close()
            self._lines.clear()
        self._threads = threading.local()

    def _line(self, url: str = "") -> "_Channel":
        """Return this thread's way to the partner, or to the other host that issues its tokens."""
        base_url = self.endpoint.base_url
        if url and _origin(url) != _origin(base_url):
            base_url = url
        lines: dict[str, _Channel] = self._threads.__dict__.setdefault("lines", {})
        origin = _origin(base_url)
        if origin not in lines:
            context = _tls_context() if base_url.startswith("https:") and not self._context else self._context
            line = _Channel(replace(self.endpoint, base_url=base_url), self._interrupted, context)
            lines[origin] = line
            with self._lock:
                self._lines.append(line)
        return lines[origin]

    def _prepare(self, request: Request, token: str) -> requests.PreparedRequest:
        headers = dict(request.headers)
        if self.endpoint.needs_credential and not self.endpoint.credential:
            raise Misconfigured("The destination has no credential.", code="no_credential")
        if not request.asks_token:
            if auth := self.endpoint.auth(token):
                headers[auth[0]] = auth[1]
            headers |= signature(self.endpoint, request.body)
        prepared = requests.PreparedRequest()
        # Bytes: http.client would encode text as latin-1.
        encoded = {name: value.encode() for name, value in headers.items()}
        prepared.prepare(method=request.method, url=request.url, headers=encoded, data=request.body)
        return prepared

    def _judge(self, request: Request, response: requests.Response, body: bytes, latency: float) -> Reply:
        verdict = classify(
            self.endpoint,
            request,
            response.status_code,
            response.headers,
            body[:READ_AT_MOST],
            cut=len(body) > READ_AT_MOST,
            now=_partners_clock(response.headers),
        )
        reply = self._reply(response, body, latency, verdict)
        if verdict.error is None:
            return reply
        raise verdict.error(
            _one_line(self.endpoint.redact(verdict.message)),
            code=_one_line(self.endpoint.redact(verdict.code)),
            reply=reply,
            unknown_outcome=verdict.unknown_outcome,
            retry_after=reply.retry_after,
            named_users=verdict.named_users,
            suggested_rule=verdict.suggested_rule,
        )

    def _reply(self, response: requests.Response, body: bytes, latency: float, verdict: Verdict) -> Reply:
        return Reply(
            status=response.status_code,
            retry_after=verdict.retry_after,
            content_type=self.endpoint.redact(response.headers.get("Content-Type") or "")[:200],
            excerpt=excerpt(body, self.endpoint),
            latency=latency,
            list_id=verdict.list_id,
            job_id=verdict.job_id,
            failed_users=verdict.named_users if verdict.error is None else (),
            said={user: _one_line(words) for user, words in verdict.said.items()},
        )


def excerpt(body: bytes, endpoint: Endpoint) -> str:
    """Return the head of a body as text that can be stored and shown: at most 2 KiB, no secret, no NUL."""
    cut = endpoint.longest_form
    look_at = 2 * (KEEP_AT_MOST + cut)
    # Without NULs a secret in UTF-16 is found, too.
    text = endpoint.redact(body[:look_at].decode(errors="replace").replace("\0", ""))
    if len(body) > look_at:
        # The secret may have been cut in two at the end of what was looked at.
        text = text[: max(len(text) - cut, 0)]
    return text.encode()[:KEEP_AT_MOST].decode(errors="ignore")


def describe(request: Request, endpoint: Endpoint) -> str:
    """Return the request as it would be sent, for people: secrets masked, the body's head."""
    if request.list_id is not None:
        return f"No request: the list's id is {request.list_id}."
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, **request.headers}
    if auth := endpoint.auth():
        scheme = auth[1].partition(" ")[0] + " " if auth[0] == "Authorization" else ""
        headers[auth[0]] = scheme + MASK
    headers["Content-Length"] = str(len(request.body))
    headers |= dict.fromkeys(signature(endpoint, request.body), MASK)
    head = "\n".join(f"{name}: {value}" for name, value in headers.items())
    plain = gzip.decompress(request.body) if endpoint.gzip and request.body else request.body
    body = excerpt(plain, endpoint)
    more = len(plain) - KEEP_AT_MOST
    tail = f"\n… and {more:,} bytes more" if more > 0 else ""
    return endpoint.redact(f"{request.method} {target} HTTP/1.1\n{head}") + f"\n\n{body}{tail}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return none: `requests` would read the whole body of a redirect that it does not follow."""


class _Channel:
    """One thread's way to the partner: its session, its one connection, and the clock of its request."""

    def __init__(
        self, endpoint: Endpoint, interrupted: threading.Event, context: ssl.SSLContext | None
    ) -> None:
        self.endpoint = endpoint
        self.interrupted = interrupted
        self.context = context
        self.sock: socket.socket | None = None
        self.started = 0.0
        self.sent = False
        self.opened = 0
        self.retry_after: float | None = None
        self.session = _Session()
        self.session.trust_env = False  # no proxy, no .netrc, no CA bundle from the environment
        self.session.headers.clear()
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._pool: HTTPConnectionPool | None = None
        adapter = _Adapter(self)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def pool(self) -> HTTPConnectionPool:
        """Return the pool of this line's one connection."""
        if self._pool is None:
            url = requests.Request("POST", self.endpoint.base_url).prepare().url
            parts = urllib3.util.parse_url(url or "")
            if self.context:
                self._pool = _TLSPool(parts.host or "", parts.port, maxsize=1, ssl_context=self.context)
            else:
                self._pool = _Pool(parts.host or "", parts.port, maxsize=1)
        return self._pool

    def use(self) -> "_Use":
        return _Use(self)

    def left(self) -> float:
        """Return the seconds that are left of the deadline; TimeoutError if none or interrupted."""
        left = self.started + self.endpoint.deadline - time.monotonic()
        if left <= 0 or self.interrupted.is_set():
            raise TimeoutError("no time left")
        return left

    def break_off(self) -> None:
        """Wake the thread that waits on this line's socket. Called by another thread."""
        if self.sock is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown, which changes the object under its reader.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Use:
    """The span of one request on a line: starts its clock, and turns what is raised into our errors."""

    def __init__(self, line: _Channel) -> None:
        self.line = line

    def __enter__(self) -> None:
        self.line.started = time.monotonic()
        self.line.sent = False
        self.line.retry_after = None
        _active.line = self.line

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        _active.line = None
        expected = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError)
        if isinstance(error, expected):
            raise _network_error(error, self.line) from None


class _Active(threading.local):
    """The line whose request this thread is sending: its sockets ask it how long they may wait."""

    line: _Channel | None = None

    def now(self) -> _Channel:
        assert self.line is not None
        return self.line


_active = _Active()


class _Adapter(HTTPAdapter):
    def __init__(self, line: _Channel) -> None:
        self.line = line
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        return self.line.pool()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the context of the pool verifies, with authorities that were loaded once."""

    def close(self) -> None:
        if self.line._pool is not None:
            self.line._pool.close()


class _Bounded:
    """Cuts each wait of a socket to what is left of its request's deadline."""

    def _patience(self) -> None:
        line = _active.now()
        cast(socket.socket, self).settimeout(min(line.endpoint.read_timeout, line.left()))

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._patience()
        return super().recv_into(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def send(self, *args: Any, **kwargs: Any) -> int:
        self._patience()
        return super().send(*args, **kwargs)  # type: ignore[misc,no-any-return]

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        self._patience()
        _active.now().sent = True
        super().sendall(*args, **kwargs)  # type: ignore[misc]


class _Socket(_Bounded, socket.socket):
    pass


class _TLSSocket(_Bounded, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        line = _active.now()
        line.sock = self
        self.settimeout(min(line.endpoint.connect_timeout, line.left()))
        super().do_handshake(block)


class _Response(http.client.HTTPResponse):
    """Passes over every interim reply (RFC 9110, 15.2), where Python passes over "100 Continue" alone."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        interim = 102 <= status < 200  # 101 would be final, and was not asked for
        return version, http.client.CONTINUE if interim else status, reason


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connect(_active.now(), self._dns_host, self.port)


class _TLSConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connect(_active.now(), self._dns_host, self.port)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _tls_context() -> ssl.SSLContext:
    """Return a context that verifies, with certifi's authorities or those of SSL_CERT_FILE or _DIR."""
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    context = ssl.create_default_context(cafile=None if own else certifi.where())
    context.sslsocket_class = _TLSSocket
    return context


def _connect(line: _Channel, host: str, port: int) -> socket.socket:
    """Return a socket that is connected to an allowed address of the host."""
    found = list(dict.fromkeys(_resolve(host.strip("[]"), port, line.left())))
    allowed = [address for address in found if is_allowed(address[1][0], line.endpoint.allow_nets)]
    if not allowed:
        refused = ", ".join(str(address[1][0]) for address in found[:3])
        raise Misconfigured(
            f"{host} is at {refused}, which is not a public address. To allow it, add its network to the "
            "setting OUTBOUND_ALLOW_NETS.",
            code="address_refused",
        )
    for number, (family, address) in enumerate(allowed, 1):
        sock = line.sock = _Socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(min(line.endpoint.connect_timeout, line.left()))
            sock.connect(address)
            line.opened += 1
            return sock
        except OSError:
            sock.close()
            if number == len(allowed):
                raise
    raise AssertionError("unreachable")


def _resolve(host: str, port: int, timeout: float) -> Iterator[tuple[int, Any]]:
    """Yield the family and address of each answer of the resolver, which itself knows no timeout."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise socket.gaierror("the name server does not answer") from None
    if isinstance(answer, BaseException):
        raise answer
    for family, _, _, _, address in answer:
        yield family, address


# The first line that fits any error in the chain decides: types, code, words.
_CAUSES: tuple[tuple[tuple[type[BaseException], ...], str, str], ...] = (
    ((socket.gaierror, UnicodeError), "dns", "The host's name cannot be resolved."),
    ((ssl.SSLError,), "tls", "The TLS connection failed."),
    ((TimeoutError, urllib3.exceptions.TimeoutError), "timeout", "The partner did not answer in time."),
    ((ConnectionRefusedError,), "connect", "The partner refused the connection."),
    ((ConnectionError,), "reset", "The partner broke the connection off."),
    ((IncompleteRead, http.client.IncompleteRead), "truncated", "The reply broke off before its end."),
    ((DecodeError, http.client.HTTPException), "garbled", "The reply is not readable HTTP."),
    ((OSError,), "connect", "The partner cannot be reached."),
)


def _network_error(error: BaseException, line: _Channel) -> DeliveryError:
    """Return our error for what was raised below: Temporary, but for certificates and addresses."""
    chain = list(_chain(error))
    for found in chain:
        if isinstance(found, DeliveryError):
            return found
        if isinstance(found, ssl.SSLCertVerificationError):
            text = f"The partner's certificate is not valid: {found.verify_message}."
            return Misconfigured(_one_line(text), code="certificate")
        if isinstance(found, requests.exceptions.InvalidURL | requests.exceptions.InvalidHeader):
            return Misconfigured("The address or a header cannot be sent.", code="bad_request")
    code, words = _cause(chain, line)
    return Temporary(words, code=code, unknown_outcome=line.sent, retry_after=line.retry_after)


def _cause(chain: list[BaseException], line: _Channel) -> tuple[str, str]:
    if line.interrupted.is_set():
        return "interrupted", "The request was broken off by a shutdown."
    if time.monotonic() >= line.started + line.endpoint.deadline:
        return "deadline", f"The request took longer than {line.endpoint.deadline:g} s in all."
    for types, code, words in _CAUSES:
        if any(isinstance(found, types) for found in chain):
            return code, words
    return "garbled", "The reply is not readable HTTP."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all errors that it wraps, in whatever way its library does that."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        nested = (current.__cause__, current.__context__, getattr(current, "reason", None), *current.args)
        waiting.extend(item for item in nested if isinstance(item, BaseException))


def _asked_before_it_broke(response: requests.Response) -> float | None:
    return asked_wait(response.status_code, response.headers, None, now=_partners_clock(response.headers))


def _partners_clock(headers: Mapping[str, str]) -> float:
    """Return the partner's own time, if it tells: its dates were made with that."""
    now = parse_http_date(headers.get("Date"))
    return time.time() if now is None else now


def _one_line(text: str) -> str:
    """Return text that can stand in a log line and in a database: no control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
