"""From what a person brought to the bytes of one table: gzip and zip are unpacked within limits.

What is no table is known by its first bytes, in a sentence each.
"""

import gzip
import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from events.tables.errors import InvalidTable

# What is read to understand a file.
HEAD = 256 * 1024
CHUNK = 4 * 1024 * 1024
# What may come out of a packed file: so much at any rate, and so many times its own size.
FREE, RATIO = 32 * 1024 * 1024, 100

GZIP, ZIP, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
NO_TABLES = {
    b"\xd0\xcf\x11\xe0": "The file is a workbook of the old kind (.xls). Save it as .xlsx or as CSV.",
    b"%PDF": "The file is a PDF. Export the ids as CSV.",
    b"{\\rtf": "The file is a text of a word processor (RTF). Save it as plain text or CSV.",
    b"BZh": "The file is packed with bzip2. Pack it with gzip or zip.",
    b"\xfd7zXZ": "The file is packed with xz. Pack it with gzip or zip.",
    b"\x28\xb5\x2f\xfd": "The file is packed with zstd. Pack it with gzip or zip.",
    b"7z\xbc\xaf": "The file is packed with 7-Zip. Pack it with gzip or zip.",
    b"Rar!": "The file is packed with RAR. Pack it with gzip or zip.",
    b"PK\x05\x06": "The zip archive is empty.",
    b"PK\x07\x08": "The zip archive is split into parts. Pack the file as one.",
    b"\x89PNG": "The file is an image.",
    b"\xff\xd8\xff": "The file is an image.",
    b"SQLite format 3": "The file is a database of SQLite. Export the ids as CSV.",
}
WORKBOOK = "xl/workbook.xml"
PACKED_TWICE = "The file is packed twice. Pack it once."
PAGES = (b"<!doctype", b"<html", b"<?xml")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A table's bytes: `head`, then what `read` gives. `how`: in words, '' when it was not packed.

    `whole`: the head is all there is. `name`: the name within the archive, else the file's own.
    """

    head: bytes
    read: Callable[[int], bytes]
    how: str
    name: str
    whole: bool

    def chunks(self) -> Iterator[bytes]:
        yield self.head
        if not self.whole:
            with _explained():
                while chunk := self.read(CHUNK):
                    yield chunk

    @contextmanager
    def on_disk(self) -> Iterator[str]:
        """Give the path of a file with these bytes: some formats are read from their end."""
        with tempfile.NamedTemporaryFile() as file:
            for chunk in self.chunks():
                file.write(chunk)
            file.flush()
            yield file.name


class Counted:
    """A file that knows how much of it was read."""

    def __init__(self, file: IO[bytes], seen: bytes = b"") -> None:
        self._file, self._seen, self.count = file, seen, 0

    def read(self, size: int = -1) -> bytes:
        if self._seen:
            data, self._seen = (self._seen, b"") if size < 0 else (self._seen[:size], self._seen[size:])
        else:
            data = self._file.read(size)
        self.count += len(data)
        return data


@contextmanager
def unpacked(file: IO[bytes], name: str, *, partial: bool = False) -> Iterator[Unpacked]:
    """Open what is in a file; it stays open, for it belongs to the caller. Raises InvalidTable.

    `partial`: the file is only the beginning of one, and may end anywhere.
    """
    first = _exactly(file.read, 4096)
    with ExitStack() as undo, _explained():
        if first[:2] == GZIP:
            yield _gunzipped(Counted(file, first), name, partial, undo)
        elif first[:4] == ZIP and not partial:
            yield _from_zip(file, first, name, undo)
        elif first[:4] == ZIP:
            raise InvalidTable("An archive or a workbook cannot be shown before all of it is here.")
        else:
            counted = Counted(file, first)
            head = _exactly(counted.read, HEAD)
            refuse_what_is_no_table(head)
            yield Unpacked(head, counted.read, "", name, len(head) < HEAD)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the libraries say of a damaged file into a sentence."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidTable(f"The file cannot be unpacked: {str(error).rstrip('.')}.") from None
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise InvalidTable(f"The archive cannot be unpacked: {str(error).rstrip('.')}.") from None


def _gunzipped(packed: Counted, name: str, partial: bool, undo: ExitStack) -> Unpacked:
    stream = undo.enter_context(gzip.GzipFile(fileobj=cast("IO[bytes]", packed)))
    read = _within_limits(stream.read1 if partial else stream.read, lambda: packed.count)
    head = _exactly(read, HEAD, forgiving=partial)
    if head[:2] == GZIP:
        raise InvalidTable(PACKED_TWICE)
    refuse_what_is_no_table(head)
    inner = name[:-3] if name.lower().endswith(".gz") else name
    return Unpacked(head, read, "gzip", inner, len(head) < HEAD)


def _from_zip(file: IO[bytes], first: bytes, name: str, undo: ExitStack) -> Unpacked:
    """Open the one table of an archive; a workbook, which is an archive too, is given as it is."""
    if not file.seekable():
        file = _stored(file, first, undo)
    archive = undo.enter_context(zipfile.ZipFile(file))
    names = {info.filename for info in archive.infolist()}
    if WORKBOOK in names:
        file.seek(0)
        head = _exactly(file.read, HEAD)
        return Unpacked(head, file.read, "", name, len(head) < HEAD)
    if "mimetype" in names or "Index/Document.iwa" in names:
        raise InvalidTable("The file is a document of a program that is not read here. Export it as CSV.")
    tables = [info for info in archive.infolist() if is_content(info)]
    if not tables:
        raise InvalidTable("The zip archive holds no file.")
    if len(tables) > 1:
        shown = ", ".join(info.filename for info in tables[:5]) + (" …" if len(tables) > 5 else "")
        raise InvalidTable(f"The zip archive holds {len(tables)} files: {shown}. Pack the one with the ids.")
    info = tables[0]
    if info.flag_bits & 1:
        raise InvalidTable("The zip archive is encrypted. Pack the file without a password.")
    stream = undo.enter_context(archive.open(info))
    read = _within_limits(stream.read, lambda: info.compress_size)
    head = _exactly(read, HEAD)
    if head[:2] == GZIP:
        raise InvalidTable(PACKED_TWICE)
    refuse_what_is_no_table(head)
    return Unpacked(head, read, f"zip: {info.filename}", info.filename, len(head) < HEAD)


def is_content(info: zipfile.ZipInfo) -> bool:
    """Say whether a member of an archive was packed by a person: not what systems add on their own."""
    parts = info.filename.split("/")
    hidden = parts[0] == "__MACOSX" or parts[-1].startswith("._")
    return not (info.is_dir() or hidden or parts[-1] in (".DS_Store", "Thumbs.db", "desktop.ini"))


def check_workbook(file: IO[bytes]) -> None:
    """Raise InvalidTable unless an archive is a workbook that unpacks to a size that it may have."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise InvalidTable(f"The workbook cannot be unpacked: {str(error).rstrip('.')}.") from None
    if WORKBOOK not in {info.filename for info in members}:
        raise InvalidTable(PACKED_TWICE)
    size = sum(info.file_size for info in members)
    if size > FREE + RATIO * sum(info.compress_size for info in members):
        raise InvalidTable(_too_large(size))
    file.seek(0)


def _stored(file: IO[bytes], first: bytes, undo: ExitStack) -> IO[bytes]:
    copy = undo.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    copy.write(first)
    while chunk := file.read(CHUNK):
        copy.write(chunk)
    copy.seek(0)
    return cast("IO[bytes]", copy)


def _within_limits(read: Callable[[int], bytes], packed: Callable[[], int]) -> Callable[[int], bytes]:
    """Read, and refuse what inflates without end."""
    produced = 0

    def limited(size: int) -> bytes:
        nonlocal produced
        data = read(size)
        produced += len(data)
        if produced > FREE + RATIO * packed():
            raise InvalidTable(_too_large(produced))
        return data

    return limited


class _Limited(io.RawIOBase):
    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def limited(stream: IO[bytes], packed: Callable[[], int]) -> IO[bytes]:
    """Return an unpacking stream that raises InvalidTable when far more comes out than the `packed` bytes."""
    return io.BufferedReader(_Limited(_within_limits(stream.read, packed)), 1 << 18)


def _too_large(size: int) -> str:
    return (
        f"The file unpacks to more than {size // 1024 // 1024:,} MB, over {RATIO} times its own size. "
        "Bring it unpacked."
    )


def _exactly(read: Callable[[int], bytes], size: int, *, forgiving: bool = False) -> bytes:
    """Read so many bytes, less only at the end; `forgiving`: or where a part of a packed file ends."""
    parts = []
    try:
        while size > 0 and (part := read(size)):
            parts.append(part)
            size -= len(part)
    except (EOFError, InvalidTable):
        if not forgiving or not parts:
            raise
    return b"".join(parts)


def refuse_what_is_no_table(head: bytes) -> None:
    for magic, sentence in NO_TABLES.items():
        if head.startswith(magic):
            raise InvalidTable(sentence)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(PAGES):
        raise InvalidTable("The file is a web page or XML, perhaps of a login. Export the ids as CSV.")


def size_of(file: IO[bytes]) -> int:
    """Return the size of a file in bytes; 0 for a pipe, or what is no file of the system."""
    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, AttributeError, ValueError):
        return 0
