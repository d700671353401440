"""From the bytes of a call to a JSON object: bounded, inflated, strict."""

import zlib
from typing import Any

import orjson
from django.http import HttpRequest

from receiving.errors import ApiError, BadRequest, NotJson, TooLarge

GZIP = 16 + zlib.MAX_WBITS
GZIP_MAGIC = b"\x1f\x8b"
# What is read and thrown away of a body that is too large, so that the sender gets to see the 413:
# closing a connection that still has unread bytes resets it.
DRAIN_BYTES = 64 * 1024 * 1024
CHUNK = 64 * 1024


def read_body(request: HttpRequest, limit: int, *, judges_body: bool = False) -> bytes:
    """Return the body, inflated, of a call that says it is JSON. `limit` is in bytes, after inflating.

    With `judges_body` a body is what it is, whatever the call says: clients in browsers say text/plain to be
    spared a preflight, RudderStack's for Node says that its gzip is a form.
    Raises NotJson (type, charset, encoding), TooLarge, BadRequest.
    """
    if judges_body:
        raw = _read(request, limit)
        return _inflate(raw, limit) if raw.startswith(GZIP_MAGIC) else raw
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise NotJson(f"Content-Encoding {encoding[:50]!r} is not taken: send gzip, or none.")
    _check_type(request)
    raw = _read(request, limit)
    if encoding in ("gzip", "x-gzip"):
        raw = _inflate(raw, limit)
    return raw


def _check_type(request: HttpRequest) -> None:
    kind = (request.content_type or "").lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise NotJson(f"Content-Type is {kind[:100]!r}: send application/json.")
    charset = (request.content_params or {}).get("charset", "utf-8").strip("'\"").lower()
    if charset not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise NotJson(f"The charset {charset[:50]!r} is not taken: send UTF-8.")


def _read(request: HttpRequest, limit: int) -> bytes:
    """Django reads nothing of a chunked body, so the server's own stream is read where it knows the end."""
    environ = request.META
    length = _announced(environ)
    if "HTTP_TRANSFER_ENCODING" in environ:
        if not environ.get("wsgi.input_terminated"):
            raise ApiError("This server needs a Content-Length.", status=411, code="length_required")
        stream = environ["wsgi.input"]
    else:
        stream = request
        if length > limit:
            _drain(stream)
            raise too_large(limit)
    try:
        raw = bytes(stream.read(limit + 1))
        if len(raw) > limit:
            _drain(stream)
    except Exception:  # noqa: BLE001  # a server's stream raises errors of its own for a broken body
        raise BadRequest("The body could not be read to its end.") from None
    if len(raw) > limit:
        raise too_large(limit)
    if len(raw) < length:
        raise BadRequest("The body ended before its announced length.")
    return raw


def _drain(stream: Any) -> None:
    left = DRAIN_BYTES
    while left > 0 and (chunk := stream.read(CHUNK)):
        left -= len(chunk)


def _announced(environ: dict[str, Any]) -> int:
    length = environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise BadRequest("The Content-Length is not a number.")
    return int(length)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit:,} bytes.", limit=limit)


def _inflate(raw: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(GZIP)
    try:
        text = inflater.decompress(raw, limit + 1)
    except zlib.error:
        raise BadRequest("The body is not gzip, as its Content-Encoding says.") from None
    if len(text) > limit:
        raise too_large(limit)
    if not inflater.eof or inflater.unused_data:
        raise BadRequest("The gzip body is cut off, or something follows it.")
    return text


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object that the bytes are. Raises BadRequest.

    NUL in any string or key is refused, as are lone surrogates, NaN and numbers that are infinite as a
    double; of a key that stands twice, the last counts; integers beyond 64 bits are read as floats.
    """
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON in UTF-8: {error}") from None
    if not isinstance(document, dict):
        raise BadRequest("The body is not a JSON object.")
    # A NUL can only stand escaped in JSON; the search costs microseconds, the walk is for the few.
    if b"\\u0000" in raw and (path := _find_nul(document)):
        raise BadRequest(f"{path} contains a NUL character.")
    return document


def _find_nul(document: Any) -> str | None:
    """Return where the first NUL is, as `batch[3].traits`; without recursion, bodies may be nested deep."""
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, str):
            if "\x00" in value:
                return path[:200]
        elif isinstance(value, dict):
            for key, inner in value.items():
                if "\x00" in key:
                    return f"a key of {path.lstrip('.')[:200] or 'the body'}"
                stack.append((f"{path}.{key}".lstrip("."), inner))
        elif isinstance(value, list):
            stack.extend((f"{path}[{index}]", inner) for index, inner in enumerate(value))
    return None
