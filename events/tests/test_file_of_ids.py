"""Files of user ids: what is read, and the exact sentence for each thing that can be wrong."""

import gzip
import io

import pytest

from events import file_of_ids
from events.tables import Hints, InvalidTable


def read(content, **options):
    with file_of_ids.opened(io.BytesIO(content), hints=Hints(**options)) as opened:
        return [user_id for block in opened.blocks() for user_id in block]


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        (b"b\na\n", "", ["b", "a"]),
        (b"b\r\na", "", ["b", "a"]),
        (b"user_id\nb\n\n\na\n\n", "", ["b", "a"]),
        (b"\xef\xbb\xbfUser ID\nb\n", "", ["b"]),
        (b"\xef\xbb\xbfb\n", "", ["b"]),
        (b"id,name\n1,Ann\n2,Bob\n", "id", ["1", "2"]),
        (b'name,id\n"Ann, the first",1\n', "id", ["1"]),
        (b'"a,b"\n"say ""hi"""\n"two\nlines"\n', "", ["a,b", 'say "hi"', "two\nlines"]),
        (b" lead\ntrail \n", "", [" lead", "trail "]),
        (gzip.compress(b"b\na\n", mtime=0), "", ["b", "a"]),
        (gzip.compress(b"b\n", mtime=0) + gzip.compress(b"a\n", mtime=0), "", ["b", "a"]),
    ],
)
def test_ids_are_read_as_they_stand(content, column, expected):
    assert read(content, column=column) == expected


BAD = {
    "nothing": (b"", "", "The file holds no user ids."),
    "blank lines": (b"\n\r\n\n", "", "The file holds no user ids."),
    "only a header": (b"user_id\n", "", "The file holds no user ids."),
    "only a named header": (b"id,name\n", "id", "The file holds no user ids."),
    "a blank id": (b"a\n   \n", "", "Line 2: the user id is blank."),
    "a blank cell": (b"id,name\n,Ann\n", "id", "Line 2: the user id is blank."),
    "NUL": (b"a\nb\0c\n", "", "Line 2 contains a NUL character: this is not a text file."),
    "a lone surrogate": (
        b"a\n\xed\xa0\x80\n",
        "",
        "Line 2: the file is not UTF-8, and 'í\\xa0€' is right only if it is Windows-1252. Say the "
        "encoding, or save the file as UTF-8.",
    ),
    "latin-1": (
        "é\n".encode("latin-1"),
        "",
        "Line 1: the file is not UTF-8, and 'é' is right only if it is Windows-1252. Say the "
        "encoding, or save the file as UTF-8.",
    ),
    "latin-1, far on": (
        b"a\n" * 200_000 + "é\n".encode("latin-1"),
        "",
        "Line 200,001: the file is not valid UTF-8 (invalid continuation byte). Save it as UTF-8.",
    ),
    "cut in a character": (
        b"a\n\xc3",
        "",
        "Line 2: the file is not valid UTF-8 (unexpected end of data). Save it as UTF-8.",
    ),
    "half an archive": (b"PK\x03\x04rest", "", "The archive cannot be unpacked: File is not a zip file."),
    "a cell of 200 KB": (
        b'"' + b"x\n" * 100_000 + b'"\n',
        "",
        "Line 65,537: a cell is longer than 131,072 characters.",
    ),
    "a line of 200 KB": (b"x" * 200_000, "", "Line 1: the user id is longer than 1,024 bytes."),
    "a line of 2 MB": (b"a\n" + b"x" * (2 << 20), "", "Line 2 is longer than 1,048,576 characters."),
    "an id of 1,025 bytes": (b"x" * 1025, "", "Line 1: the user id is longer than 1,024 bytes."),
    "no such column": (
        b"id,name\n1,x\n",
        "uid",
        "The file has no column named 'uid'; its first line says: id, name.",
    ),
    "the column twice": (
        b"id,id\n1,2\n",
        "id",
        "The file has several columns named 'id'; its first line says: id, id.",
    ),
    "two columns": (b"a\nc\nb,c\n", "", "Line 3 has 2 columns; name the one with the ids."),
    "too few columns": (b"name,id\nAnn,1\nBob\n", "id", "Line 3 has 1 column; the heading has 2."),
    "an open quote": (b'a\n"b\nc\n', "", "Line 3: a quoted cell has no closing quote."),
    "text after a quote": (
        b'"a"b\n',
        "",
        'Line 1: a closing quote is followed by more text; write a quote inside a cell twice ("").',
    ),
    "no gzip after all": (
        b"\x1f\x8bxxxxxxxxxxxx",
        "",
        "The file cannot be unpacked: Unknown compression method.",
    ),
    "a packed file cut short": (
        gzip.compress(b"a\n" * 1000, mtime=0)[:-9],
        "",
        "The file cannot be unpacked: Compressed file ended before the end-of-stream marker was reached.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_file_is_said_in_a_sentence(name):
    content, column, message = BAD[name]
    with pytest.raises(InvalidTable) as error:
        read(content, column=column)
    assert str(error.value) == message


def test_a_packed_file_with_a_wrong_checksum_is_refused():
    packed = bytearray(gzip.compress(b"a\n" * 1000))
    packed[-8] ^= 1
    with pytest.raises(InvalidTable, match=r"^The file cannot be unpacked: CRC check failed"):
        read(bytes(packed))


def test_the_file_stays_open_for_its_owner():
    file = io.BytesIO(gzip.compress(b"a\n", mtime=0))
    with file_of_ids.opened(file) as opened:
        assert list(opened.blocks()) == [["a"]]
    assert not file.closed
