"""Files in an S3-compatible object store: streamed, waited for no longer than a person would, private."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files import File
from storages.backends.s3 import S3Storage

# Of a file that is written or read, so much is in memory; the rest is on this machine's disk meanwhile.
IN_MEMORY = 8 * 1024 * 1024
CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"max_attempts": 3, "mode": "standard"},
    # Stores that call themselves compatible know no others.
    s3={"addressing_style": "path"},
    signature_version="s3v4",
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


class S3(S3Storage):  # type: ignore[misc]
    """What goes wrong is an OSError with a sentence, as with files; FileNotFoundError where nothing is."""

    def get_default_settings(self) -> dict[str, Any]:
        ours = {"max_memory_size": IN_MEMORY, "client_config": CONFIG, "default_acl": None}
        given: dict[str, Any] = super().get_default_settings()
        return given | ours | {"file_overwrite": True}  # names are random

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        with _said():
            file: File[bytes] = super()._open(name, mode)
            file.size  # noqa: B018  # asks for it now, and not where nobody expects the network
            file.file  # noqa: B018  # the download, onto the disk
            return file

    def _save(self, name: str, content: "File[bytes]") -> str:
        with _said():
            return str(super()._save(name, content))

    def delete(self, name: str) -> None:
        with _said():
            super().delete(name)


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise OSError(f"The object store did not do it: {str(error).rstrip('.')}.") from error
