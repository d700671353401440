"""A driver's transaction. SQLite has one writer, and who waits for it sleeps and looks again, for longer each
time: with many drivers it is idle while all of them sleep. So those of a process wait for each other here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_writer = threading.Lock()


@contextmanager
def writing() -> Iterator[None]:
    """Begin a transaction, when no other driver of this process has one on SQLite."""
    if connection.vendor == "sqlite":
        with _writer, transaction.atomic():
            yield
    else:
        with transaction.atomic():
            yield
