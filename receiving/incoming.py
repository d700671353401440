"""What partners send of events and traits, on its way to the event store."""

import hashlib
import logging
import uuid
from dataclasses import dataclass
from datetime import datetime

from events import spool
from events.workspace_folders import takes_events
from receiving.errors import ApiError
from receiving.models import Workspace

# Seconds: a full disk is not emptied at once.
RETRY_AFTER = 30

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Receipt:
    """When a call came first, and as what: it names the events that bring no id of their own.

    The request log keeps the name, and a replay of the call has the same: its events are then the same
    events, and not counted again. A call's repeats share it when they share an Idempotency-Key.
    """

    at: datetime
    name: str | None = None  # None as long as nothing needed it

    def id_of(self, index: int) -> str:
        """Return the insert id of the item at this place of the call."""
        if self.name is None:
            self.name = uuid.uuid4().hex
        return f"{self.name} {index}"


def receipt_of(at: datetime, idempotency_key: str | None) -> Receipt:
    """Return the receipt of a call that has just come."""
    if idempotency_key is None:
        return Receipt(at)
    encoded = idempotency_key.encode("utf-8", "surrogateescape")
    return Receipt(at, hashlib.blake2b(encoded, digest_size=16).hexdigest())


def hand_on(workspace: Workspace, events: list[bytes], traits: list[bytes]) -> None:
    """Hand on what a call brought to the event spool: the one place where events leave this app.

    When it returns, they are on disk. It is called when the call can no longer be refused, and before the
    call's transaction: whoever finds a message id in the database may then believe that its events are on
    disk, and no lock of the database waits for the disk. If the process dies in between, the sender has no
    reply and sends again; ids make that harmless. Raises ApiError when the disk is full.

    With EVENTS_INSERT they are in the database at EVENTS_URL. With that of others' tables, traits are only
    read back from here: the users of cohorts are in that database.
    """
    if not events and not (traits and takes_events()):
        return
    try:
        spool.append_lines(workspace.slug, b"".join(events), b"".join(traits))
    except spool.Refused as error:
        status = 501 if error.lasting else 503
        raise ApiError(str(error), code="events_not_kept_here", status=status) from None
    except OSError as error:
        log.error("Events of %s could not be stored: %s", workspace.slug, error)
        raise ApiError(
            "The events could not be stored; nothing was applied. Send the call again.",
            status=503, code="not_stored", headers={"Retry-After": str(RETRY_AFTER)},
        ) from None  # fmt: skip
