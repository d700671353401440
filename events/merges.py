"""Whose devices are: asked, and decided by a person of this site (devices.py)."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from events import compact
from events.convert import quoted
from events.devices import DECIDED, PREFIX, owners_in
from events.engine import EngineError, connect
from events.inserting import inserted
from events.locks import own_folder
from events.publish import Publication, publish, working
from events.records import device_of, owner_line
from events.store import read_layout
from events.workspace_folders import Folders, check_kept_here


class UnknownDevice(EngineError):
    """Nothing was done on such a device. The message says so."""

    code = "unknown_device"


@dataclass(frozen=True)
class Device:
    """A device, and whose it is; `decided`: by a person of this site, not by what came in."""

    device: str
    user_id: str
    since: datetime
    decided: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "user_id": self.user_id or None,
            "since": self.since.isoformat(),
            "decided": self.decided,
        }


def devices_of(workspace: str, user_ids: Sequence[str]) -> list[str]:
    """Return the ids that stand for some users' devices in the files."""
    if not user_ids:
        return []
    return [PREFIX + one.device for one in devices_in_files(workspace, user_ids=user_ids)]


def find_devices(
    workspace: str,
    *,
    user_ids: Sequence[str] = (),
    device: str | None = None,
    limit: int | None = None,
) -> list[Device]:
    """Return devices and whose they are, in their order: those of some users, or one, or all of which
    anything was said. Raises EngineError, Refused, OSError."""
    if not settings.EVENTS_INSERT:
        return devices_in_files(workspace, user_ids=user_ids, device=device, limit=limit)
    # Nobody decides about them there.
    owners = inserted().owners(workspace, user_ids, device, limit)
    return [Device(*owner, decided=False) for owner in owners]


def devices_in_files(
    workspace: str,
    *,
    user_ids: Sequence[str] = (),
    device: str | None = None,
    limit: int | None = None,
) -> list[Device]:
    """The same of what is in files. What waits in the spool is published first."""
    compact.compact(workspace)
    layout = read_layout(workspace)
    if not layout.owners:
        return []
    asked = [f"person IN ({', '.join(map(quoted, user_ids))})"] if user_ids else []
    asked += [f"device = {quoted(device_of(device))}"] if device is not None else []
    query = f"SELECT * FROM ({owners_in(layout.owners)}) {'WHERE ' * bool(asked)}{' AND '.join(asked)}"
    with connect(compact.limits(), Folders(workspace).temp) as connection:
        rows = connection.execute(f"{query} ORDER BY device {f'LIMIT {limit}' if limit else ''}").fetchall()
    return [Device(row[0][1:], row[1], row[2].replace(tzinfo=UTC), row[3]) for row in rows]


def decide(workspace: str, device: str, user_id: str, by: str) -> Device:
    """Make a device a user's, or nobody's (an empty user id): it goes before whatever was and will be said.

    Who did it and when is kept. Raises UnknownDevice, InvalidRecord; EngineError, Refused, OSError.
    """
    check_kept_here()
    now = timezone.now()
    line = owner_line(device, user_id, now, name=DECIDED)
    if not user_id and not any(one.user_id for one in find_devices(workspace, device=device)):
        raise UnknownDevice(f"The device {device!r} is nobody's.")
    key = uuid.uuid4().hex
    with working(workspace) as folders, own_folder(folders.staging) as staging:
        (staging / "traits-0.jsonl").write_bytes(line)
        prepared = compact.prepare(workspace, folders, staging, key, known=())
        # Nobody is named in what outlives an erasure.
        correction = {
            "key": key,
            "what": "a device was made a user's" if user_id else "a device was taken from its user",
            "events": 0,
            "traits": 0,
            "by": by[:150],
            "at": now.isoformat(),
        }
        publish(workspace, folders, Publication(prepared, correction=correction))
    return Device(device, user_id, now, True)
