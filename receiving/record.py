"""The request log: what is written of a call, redacted and bounded.

A call that changes something is logged in its own transaction, so that the log costs no commit; others
are logged after their reply is known. Successful reads are not logged.
"""

import base64
import re
import time
import zlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from django.utils import timezone

from receiving.errors import ApiError
from receiving.incoming import Receipt
from receiving.models import ApiKey, Workspace
from receiving.statements import run_unsynced

HEAD_BYTES = 2_000
# What an entry takes beside its body, about.
ROW_BYTES = 300
REDACTED = b"[redacted]"


class Packed(NamedTuple):
    """What is kept of a body."""

    size: int = 0
    head: str = ""
    body: bytes | None = None


@dataclass(slots=True)
class Entry:
    """What is known of a call while it is served."""

    method: str
    path: str
    remote_address: str = ""
    user_agent: str = ""
    workspace: Workspace | None = None
    key: ApiKey | None = None
    list_id: str | None = None
    secrets: tuple[str, ...] = ()
    raw: bytes | None = None
    document: dict[str, Any] | None = None
    replay_of: int | None = None
    receipt: Receipt | None = None
    began: float = field(default_factory=time.perf_counter)
    received_at: datetime = field(default_factory=timezone.now)
    packed: Packed | None = None
    stored: int = 0  # bytes that the log has of it
    reserved: int = 0  # bytes of memory that are set aside for its body

    def pack(self) -> Packed:
        """Return the body as it is kept. Called before a transaction, which then is the shorter."""
        if self.packed is None:
            # Of a caller without a key nothing is kept but that it called.
            keeps = self.raw is not None and self.key is not None
            self.packed = _pack(_redacted(self.raw or b"", self.secrets)) if keeps else Packed()
        return self.packed


def compress(raw: bytes) -> bytes:
    """gzip at its fastest: the log must not cost more than the write that it is about."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


def _pack(raw: bytes) -> Packed:
    head = raw[:HEAD_BYTES].decode("utf-8", "replace")
    return Packed(len(raw), _text(head, HEAD_BYTES), compress(raw))


def _redacted(raw: bytes, secrets: tuple[str, ...]) -> bytes:
    """Segment's and Amplitude's clients repeat the key in the body, others write it as a header has it."""
    for secret in filter(None, secrets):
        for form in _forms(secret):
            if form in raw:
                raw = raw.replace(form, REDACTED)
        if b"\\u00" in raw:
            raw = _escaped(secret).sub(REDACTED, raw)
    return raw


@lru_cache(64)
def _forms(secret: str) -> tuple[bytes, ...]:
    """Return the key as it is, and as Basic credentials have it."""
    pairs = (f"{secret}:", f":{secret}")
    return secret.encode(), *(base64.b64encode(pair.encode()).rstrip(b"=") for pair in pairs)


@lru_cache(64)
def _escaped(secret: str) -> re.Pattern[bytes]:
    """Return a pattern of the key in JSON, where any character may be written as its number."""
    either = (rf"(?:{re.escape(char)}|\\u00(?i:{ord(char):02x}))" for char in secret if ord(char) < 128)
    return re.compile("".join(either).encode())


def _redacted_text(text: str, secrets: tuple[str, ...]) -> str:
    """Of a path, of a header or of a message: also as an address is quoted, once or twice."""
    if not any(secrets):
        return text
    plain = unquote(unquote(text))
    for secret in filter(None, secrets):
        if secret in plain and secret not in text:
            text = plain
    return _redacted(text.encode("utf-8", "replace"), secrets).decode()


def _text(value: str, length: int) -> str:
    """PostgreSQL takes no NUL; a path can hold one."""
    return value.replace("\x00", "\ufffd")[:length]


def log_refusal(entry: Entry, error: ApiError) -> None:
    """Log a call that was refused; of calls with unknown keys one a second, so that a flood costs nothing."""
    if error.status == 405 or (entry.key is None and not _nobodys_turn()):
        return
    write_entry(entry, error.status, code=error.code, message=error.message)


_last_unknown = 0.0


def _nobodys_turn() -> bool:
    global _last_unknown
    now = time.monotonic()
    if now - _last_unknown < 1:
        return False
    _last_unknown = now
    return True


COLUMNS = (
    "workspace_id", "key_id", "received_at", "duration_ms", "method", "path", "list_number", "status", "code",
    "message", "received", "changed", "remote_address", "user_agent", "replay_of", "body_bytes",
    "stored_bytes", "body_head", "body", "receipt", "ignored", "refused",
)  # fmt: skip
INSERT = (
    f"INSERT INTO receiving_requestlog ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
)


class Counted(NamedTuple):
    """What became of a call's users or items."""

    received: int = 0
    changed: int = 0
    ignored: int = 0
    refused: int = 0


NOTHING = Counted()


def write_entry(
    entry: Entry, status: int, *, code: str = "", message: str = "", counted: Counted = NOTHING
) -> None:
    """Add a row to the log: in the transaction that is open, or else without waiting for the disk."""
    size, head, body = entry.pack()
    entry.stored = ROW_BYTES + len(head) + len(body or b"")
    list_id = entry.list_id or ""
    values: list[Any] = [
        entry.workspace and entry.workspace.pk,
        entry.key and entry.key.pk,
        entry.received_at,
        (time.perf_counter() - entry.began) * 1000,
        _text(entry.method, 10),
        _text(_redacted_text(entry.path, entry.secrets), 300),
        int(list_id) if list_id.isascii() and list_id.isdigit() and len(list_id) <= 18 else None,
        status,
        code,
        _text(_redacted_text(message, entry.secrets), 2_000),
        counted.received,
        counted.changed,
        entry.remote_address[:45],
        _text(_redacted_text(entry.user_agent, entry.secrets), 200),
        entry.replay_of,
        size,
        entry.stored,
        head,
        body,
        entry.receipt and entry.receipt.name,
        counted.ignored,
        counted.refused,
    ]
    run_unsynced(INSERT, values)
