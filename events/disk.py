"""What must be on disk before the next step."""

import os
import uuid
from pathlib import Path


def make_durable(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(target: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    new = target.with_name(f".{uuid.uuid4().hex}.new")
    new.write_bytes(data)
    make_durable(new)
    new.replace(target)
    make_durable(target.parent)
