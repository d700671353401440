"""Whose turn it is at the database: drivers of one process that wait for their partners hold no connection.

A driver is a thread that mostly waits. So that a slow partner slows no other, there are many; what they
share is the processor and the database, so only a few of them use these at once.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

# Drivers of a process that use the database at once.
AT_ONCE = 16


class Turns:
    """`drivers` says how many drivers the process has."""

    def __init__(self, drivers: Callable[[], int], at_once: int = AT_ONCE) -> None:
        self._drivers, self._at_once = drivers, at_once
        self._free = threading.BoundedSemaphore(at_once)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A driver's life: it has the turn, but while it rests."""
        with self._free:
            try:
                yield
            finally:
                connection.close()

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Let others have the turn while this driver waits; in a crowd, its connection goes, too."""
        if self.crowd > 1:
            connection.close()
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()

    @property
    def crowd(self) -> float:
        """How many drivers share a turn; 1 when there is one for each."""
        return max(self._drivers() / self._at_once, 1.0)


def alone() -> Turns:
    """Return the turns of a driver that is its process's only one."""
    turns = Turns(lambda: 1, at_once=1)
    turns._free.acquire()
    return turns
