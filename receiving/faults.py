"""Faults that a workspace can be set to answer with, so that people see how their sender behaves."""

import errno
import hashlib
import random
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence

from django.http import HttpRequest, StreamingHttpResponse

from receiving.errors import RateLimited
from receiving.models import Workspace

RETRY_AFTER = 1


class ConnectionToReset(Exception):
    """The call is to end without a reply."""


def _strikes(percent: int) -> bool:
    return random.random() * 100 < percent


def before_call(workspace: Workspace) -> bool:
    """Wait or fail as the workspace is set to; return whether the connection is to be reset afterwards.

    Raises RateLimited, ConnectionToReset. Of the resets, half come when the call has taken effect: these
    are the ones that a sender cannot tell from a call that never arrived.
    """
    if not workspace.injects_faults:
        return False
    time.sleep(workspace.fault_delay_ms / 1000)
    if _strikes(workspace.fault_429_percent):
        raise RateLimited(RETRY_AFTER)
    if not _strikes(workspace.fault_reset_percent):
        return False
    if random.random() < 0.5:
        raise ConnectionToReset
    return True


def rejected_users(workspace: Workspace, user_ids: Iterable[str]) -> Sequence[str]:
    """Return those of the users that the workspace is set to refuse: by their hash, so always the same."""
    percent = workspace.fault_rejected_percent
    if not percent:
        return []
    return [user for user in user_ids if hashlib.sha256(user.encode()).digest()[0] * 100 < percent * 256]


def reset(request: HttpRequest) -> StreamingHttpResponse:
    """A reply that resets the connection when the server begins to send it."""
    connection = request.META.get("gunicorn.socket")
    if isinstance(connection, socket.socket):
        # Closed with this, a socket sends RST instead of a proper end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if (close_afterwards := request.META.get("receiving.close_connection")) is not None:
        close_afterwards()
    return StreamingHttpResponse(_broken_off())


def _broken_off() -> Iterator[bytes]:
    raise ConnectionResetError(errno.ECONNRESET, "fault injection")
    yield b""
