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
    return parts[2] == mine[2] and _start(parts[3]) != parts[4]


@lru_cache(maxsize=2)
def _name_of(pid: int) -> str:
    return "/".join([*_place(), str(pid), _start(str(pid))])


def _place() -> list[str]:
    machine = f"{_read('/etc/machine-id')}@{socket.gethostname()}"
    return [machine.replace("/", "-")[:100], _read("/proc/sys/kernel/random/boot_id"), _namespace()]


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _start(pid: str) -> str:
    """The process's start in clock ticks since boot (proc(5), field 22), or '' if there is none."""
    stat = _read(f"/proc/{pid}/stat")
    # Field 2 is the command in brackets and may hold blanks and brackets itself.
    fields = stat.rpartition(")")[2].split()
    return "" if not fields or fields[0] == "Z" else fields[19]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
