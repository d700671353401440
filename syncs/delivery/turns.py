"""Whose turn it is at the database: drivers of one process that wait for their partners hold no connection.

A driver is a thread that mostly waits. So that a slow partner slows no other, there are many; what they
share is the processor and the database, so only a few of them use these at once.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

# Drivers of a process that use the database at once. They share one processor, since they are threads of
# Python: more of them only wait for each other, and a quick one among them.
AT_ONCE = 6
# Who comes back from a partner goes before who has not begun, or a hundred that begin stand before one that
# has nearly ended; but of so many turns, one is for a beginner.
ONE_BEGINS_IN = 4


class Turns:
    """`drivers` says how many drivers the process has."""

    def __init__(self, drivers: Callable[[], int], at_once: int = AT_ONCE) -> None:
        self._drivers, self._at_once = drivers, at_once
        self._lock = threading.Lock()
        self._free = at_once
        self._back: deque[threading.Lock] = deque()
        self._new: deque[threading.Lock] = deque()
        self._given_back = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A driver's life: it has the turn, but while it rests."""
        self._wait_in(self._new)
        try:
            yield
        finally:
            connection.close()
            self._give()

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Let others have the turn while this driver waits; in a crowd, its connection goes, too."""
        if self.crowd > 1:
            connection.close()
        self._give()
        try:
            yield
        finally:
            self._wait_in(self._back)

    @property
    def crowd(self) -> float:
        """How many drivers share a turn; 1 when there is one for each."""
        return max(self._drivers() / self._at_once, 1.0)

    def _wait_in(self, line: deque[threading.Lock]) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            line.append(turn)
        turn.acquire()

    def _give(self) -> None:
        """Hand the turn to whoever is next, or keep it free."""
        with self._lock:
            begins = self._new and (not self._back or self._given_back + 1 >= ONE_BEGINS_IN)
            line = self._new if begins else self._back
            if not line:
                self._free += 1
                return
            self._given_back = 0 if begins else self._given_back + 1
            line.popleft().release()


def alone() -> Turns:
    """Return the turns of a driver that is its process's only one, and has the turn."""
    turns = Turns(lambda: 1, at_once=1)
    turns._free = 0
    return turns
