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


@contextmanager
def kept_folder(root: Path, name: str) -> Iterator[Path]:
    """Have the folder of this name for a piece of work, as another process that died in it left it. Removed
    afterwards, unless the process is stopped. While another process has it, it is one of our own."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, wait=False) as mine:
        if mine:
            try:
                yield folder
            except Exception:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            shutil.rmtree(folder, ignore_errors=True)
            return
    with own_folder(root) as folder:
        yield folder


def remove_abandoned(root: Path, after: float = ABANDONED_AFTER) -> None:
    """Remove the folders of pieces of work whose process died more than `after` seconds ago."""
    for folder in root.iterdir():
        if not folder.is_dir() or time.time() - folder.stat().st_mtime < after:
            continue
        with locked(folder / LOCK, wait=False) as held:
            if held:
                shutil.rmtree(folder, ignore_errors=True)
