"""Do a logged call again, as if its sender had repeated it; it is logged as a replay."""

import zlib
from dataclasses import dataclass
from typing import Any

from django.urls import resolve

from receiving.budget import release
from receiving.call import Call
from receiving.errors import ApiError
from receiving.incoming import Receipt
from receiving.models import RequestLog
from receiving.record import Entry, write_entry


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    reply: dict[str, Any]


def can_replay(entry: RequestLog) -> bool:
    """Whether the call's body was kept and its workspace is there."""
    return entry.method == "POST" and entry.body is not None and entry.workspace is not None


def body_of(entry: RequestLog) -> bytes:
    """Return the whole body, inflated, with secrets redacted; empty when none was kept."""
    return b"" if entry.body is None else zlib.decompress(bytes(entry.body), 16 + zlib.MAX_WBITS)


def replay(logged: RequestLog, remote_address: str = "") -> Outcome:
    """Apply a call again, with its effect: message ids that were seen do not hold it back.

    Its events are the events that they were, and count once however often it is replayed.
    """
    assert can_replay(logged) and logged.workspace is not None
    found = resolve(logged.path.removesuffix("/"), "receiving.urls")
    entry = Entry(
        method=logged.method,
        path=logged.path,
        remote_address=remote_address,
        user_agent="replay",
        workspace=logged.workspace,
        key=logged.key,
        list_id=found.kwargs.get("list_id"),
        raw=body_of(logged),
        replay_of=logged.pk,
    )
    view: Any = found.func
    handler = view.view_class(**view.view_initkwargs).post
    call = Call(logged.workspace, entry, replayed=Receipt(logged.received_at, logged.receipt))
    try:
        return Outcome(200, handler(call, **found.kwargs))
    except ApiError as error:
        write_entry(entry, error.status, code=error.code, message=error.message)
        return Outcome(error.status, error.body())
    finally:
        release(entry.reserved)
