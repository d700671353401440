"""Locks on files: the system lets go of them when their process dies, however it dies."""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "in-use.lock"
# Between a folder's making and its locking lies an instant in which it looks abandoned.
ABANDONED_AFTER = 60.0


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on a file, made if need be.

    Yields whether the lock is held; it is not when `wait` is false and somebody else has it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


@contextmanager
def own_folder(root: Path) -> Iterator[Path]:
    """Make a folder for one piece of work, locked while it lasts and removed afterwards."""
    folder = root / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        with locked(folder / LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path) -> None:
    """Remove the folders of pieces of work whose process died."""
    for folder in root.iterdir():
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < ABANDONED_AFTER:
            continue
        with locked(folder / LOCK, wait=False) as held:
            if held:
                shutil.rmtree(folder, ignore_errors=True)
