"""Who holds a claim or a lease: a name for this process, and whether the process of a name is dead.

A name is `machine/boot/pid-namespace/pid/start`, where machine is the machine's id and host name:
containers made from one image share the id. Of a process on this machine we can be certain that
it is gone (another boot, no such pid, or a pid that was given to a younger process); of any other
we only know when its claim runs out.
"""

import os
import secrets
import socket
from functools import lru_cache
from pathlib import Path


def random_name() -> str:
    """32 characters that nobody guesses and every file system takes."""
    return secrets.token_hex(16)


def me() -> str:
    """This process's name, at most 200 characters."""
    return _name_of(os.getpid())


def is_dead(name: str) -> bool:
    """True only when the process of that name has certainly ended."""
    parts, mine = name.split("/"), me().split("/")
    if len(parts) != 5 or "" in parts or parts[0] != mine[0]:
        return False
    if parts[1] != mine[1]:
        return True
    return parts[2] == mine[2] and _has_ended(parts[3], parts[4])


def _has_ended(pid: str, start: str) -> bool:
    """True when there is no such process, or only a younger one that was given the same pid."""
    if stat := _stat(pid):
        return stat[0] == "Z" or stat[19] != start
    # /proc may hide other users' processes (hidepid), so that nothing to read proves nothing.
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, OverflowError):
        return False
    return False


@lru_cache(maxsize=2)
def _name_of(pid: int) -> str:
    stat = _stat(str(pid))
    return "/".join([*_machine(), str(pid), stat[19] if stat else ""])


def _machine() -> list[str]:
    machine = f"{_read('/etc/machine-id')}@{socket.gethostname()}"
    return [machine.replace("/", "-")[:100], _read("/proc/sys/kernel/random/boot_id"), _namespace()]


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _stat(pid: str) -> list[str]:
    """Return fields 3 and on of proc(5)'s stat (3 is the state, 22 the start in ticks since boot), or []."""
    # Field 2 is the command in brackets and may hold blanks and brackets itself.
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].split()


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
