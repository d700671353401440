"""Whatever arrives gets a JSON reply with the status of the contract, and changes nothing."""

import gzip
import json
import socket
import struct
import zlib
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest

from receiving.tests.conftest import Partner, Site

MEGABYTE = 1024 * 1024


def assert_refused(reply: Any, status: int, code: str | None = None) -> None:
    assert reply.status_code == status, reply.text[:300]
    assert reply.headers["Content-Type"] == "application/json"
    assert set(reply.json()["error"]) == {"code", "message"}
    if code is not None:
        assert reply.json()["error"]["code"] == code


def assert_untouched(partner: Partner, number: int) -> None:
    """One list with one member, no trait: what the tests begin with."""
    assert [one["size"] for one in partner.get("/lists").json()["lists"]] == [1]
    assert partner.members(number) == ["first"]
    assert partner.get("/traits").json()["traits"] == []


@pytest.fixture
def number(partner: Partner) -> int:
    made = partner.make_list()
    partner.post(f"/lists/{made}/add", {"userIds": ["first"]})
    return made


# Raw bodies, because a JSON library would not write most of them.
NOT_JSON = {
    "empty": b"", "null": b"null", "a number": b"1", "a string": b'"x"', "a list": b"[]",
    "a boolean": b"true", "NaN": b'{"userIds":["a"],"x":NaN}',
    "Infinity": b'{"userIds":["a"],"x":-Infinity}',
    "1e999": b'{"userIds":["a"],"x":1e999}', "single quotes": b"{'userIds':['a']}",
    "nested 100,000 deep": b'{"userIds":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects nested 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "an integer of 5,000 digits": b'{"userIds":["a"],"x":' + b"9" * 5000 + b"}",
    "lone surrogate in a value": b'{"userIds":["a","\\ud800"]}',
    "lone surrogate in a key": b'{"userIds":["a"],"\\udfff":1}',
    "NUL in a key": b'{"userIds":["a"],"x\\u0000":1}', "a raw NUL": b'{"userIds":["a\x00"]}',
    "BOM": b'\xef\xbb\xbf{"userIds":["a"]}', "UTF-16": '{"userIds":["a"]}'.encode("utf-16"),
    "UTF-32": '{"userIds":["a"]}'.encode("utf-32-le"), "latin-1": b'{"userIds":["\xe9"]}',
    "overlong UTF-8": b'{"userIds":["\xc0\xaf"]}', "truncated": b'{"userIds":["a"',
    "cut UTF-8": b'{"userIds":["\xe2\x82',
    "trailing garbage": b'{"userIds":["a"]} x', "two documents": b'{"userIds":["a"]}{"userIds":["b"]}',
    "trailing comma": b'{"userIds":["a"],}', "comment": b'{"userIds":["a"]/**/}', "form": b"userIds=a",
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_body_that_is_not_a_json_object_is_a_400(partner: Partner, number: int, name: str):
    for path in (
        f"/lists/{number}/add",
        f"/lists/{number}/remove",
        "/lists",
        "/identify",
        "/batch",
        "/mixpanel",
    ):
        assert_refused(partner.post(path, data=NOT_JSON[name]), 400, "invalid_request")
    assert_untouched(partner, number)


BAD_IDS: dict[str, Any] = {
    "null": None, "true": True, "float": 1.0, "object": {}, "list": ["a"], "empty": "", "blank": " \t\u3000",
    "NUL": "a\x00", "1,025 bytes": "x" * 1025, "1,025 bytes of two": "é" * 512 + "x",
    "beyond 64 bits": 2**64, "below 64 bits": -(2**63) - 1, "huge": 10**300,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_user_id_is_a_400_that_says_where(partner: Partner, number: int, name: str):
    bad = BAD_IDS[name]
    for operation in ("add", "remove"):
        reply = partner.post(f"/lists/{number}/{operation}", {"userIds": ["first", "ok", bad]})
        assert_refused(reply, 400, "invalid_request")
        assert "userIds[2]" in reply.json()["error"]["message"]
    item = {"type": "identify", "traits": {"t": True}}
    reply = partner.post("/batch", {"batch": [{**item, "userId": "ok"}, {**item, "userId": bad}]})
    assert_refused(reply, 400)
    assert "batch[1].userId" in reply.json()["error"]["message"]
    assert_refused(partner.post("/identify", {**item, "userId": bad}), 400)
    assert_refused(partner.post("/users", {"userIds": [bad]}), 400)
    assert_untouched(partner, number)


IDENTIFY = {"type": "identify", "userId": "u", "traits": {"t": True}}
NO_IDS: list[Any] = [
    {}, {"userIds": None}, {"userIds": []}, {"userIds": "first"}, {"userIds": {"first": 1}}, {"userIds": 1},
    {"user_ids": []}, {"user_ids": None}, {"userids": ["first"]}, {"context": {}},
]  # fmt: skip
BAD_SHAPES: list[tuple[str, Any]] = [
    ("/lists", {}), ("/lists", {"name": None}), ("/lists", {"name": 1}), ("/lists", {"name": ""}),
    ("/lists", {"name": " "}), ("/lists", {"name": "x" * 1001}), ("/lists", {"name": "a\x00"}),
    ("/lists", {"name": ["a"]}),
    *[(f"/lists/N/{operation}", body) for operation in ("add", "remove") for body in NO_IDS],
    ("/batch", {"batch": None}), ("/batch", {"batch": []}), ("/batch", {"batch": {}}),
    ("/batch", {"batch": [None]}), ("/batch", {"batch": [[]]}), ("/batch", {"batch": [{}]}),
    ("/batch", {}), ("/identify", {}),
    ("/batch", {"batch": [{**IDENTIFY, "type": None}]}), ("/batch", {"batch": [{**IDENTIFY, "type": 1}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": []}]}), ("/batch", {"batch": [{**IDENTIFY, "traits": "x"}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"": 1}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"x" * 1025: 1}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"é" * 600: 1}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"a\x00": 1}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"a": "\x00"}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "traits": {"a": {"b": ["\x00"]}}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "context": {"traits": [1]}}]}),
    ("/batch", {"batch": [{**IDENTIFY, "messageId": 7}]}),
    ("/identify", {**IDENTIFY, "traits": [True]}), ("/identify", {"type": "identify", "traits": {"t": True}}),
    ("/users", {}), ("/users", {"userIds": []}),
]  # fmt: skip


@pytest.mark.parametrize("path, body", BAD_SHAPES, ids=lambda value: str(value)[:60])
def test_a_wrong_shape_is_a_400(partner: Partner, number: int, path: str, body: Any):
    assert_refused(partner.post(path.replace("N", str(number)), body), 400, "invalid_request")
    assert_untouched(partner, number)


def test_a_trait_that_is_nested_too_deep_is_a_400(partner: Partner, number: int):
    value = b"[" * 500 + b"]" * 500
    raw = b'{"type":"identify","userId":"u","traits":{"t":' + value + b"}}"
    assert_refused(partner.post("/identify", data=raw), 400)
    assert_untouched(partner, number)


def test_of_a_key_that_stands_twice_the_last_counts(partner: Partner, number: int):
    raw = b'{"userIds":["x"],"userIds":["y"]}'
    assert partner.post(f"/lists/{number}/add", data=raw).status_code == 200
    assert partner.members(number) == ["first", "y"]


def test_an_escaped_backslash_before_u0000_is_no_nul(partner: Partner, number: int):
    assert partner.post(f"/lists/{number}/add", data=rb'{"userIds":["a\\u0000"]}').status_code == 200
    assert partner.members(number) == ["a\\u0000", "first"]


# --- size ----------------------------------------------------------------------------------


def padded(length: int) -> bytes:
    body = b'{"userIds":["a"],"pad":"'
    return body + b"x" * (length - len(body) - 2) + b'"}'


def test_one_byte_over_the_limit_is_a_413(site: Site):
    partner = site.partner(max_body_bytes=5000)
    number = partner.make_list()
    path = f"/lists/{number}/remove"
    assert partner.post(path, data=padded(5000)).status_code == 200
    reply = partner.post(path, data=padded(5001))
    assert_refused(reply, 413, "too_large")
    assert reply.json()["limit"] == 5000


def test_fifty_megabytes_are_a_413_that_the_sender_gets_to_read(partner: Partner, number: int):
    assert_refused(partner.post(f"/lists/{number}/add", data=padded(50 * MEGABYTE)), 413, "too_large")
    assert_untouched(partner, number)


def test_a_million_ids_are_a_413(site: Site):
    partner = site.partner(max_body_bytes=32 * MEGABYTE)
    number = partner.make_list()
    reply = partner.post(f"/lists/{number}/add", {"userIds": [f"u{n}" for n in range(1_000_000)]})
    assert_refused(reply, 413, "too_many_items")
    assert reply.json()["limit"] == 50_000
    assert partner.members(number) == []


def test_ten_thousand_identifies_fit(partner: Partner):
    items = [
        {
            "type": "identify",
            "userId": f"user-{n:08}",
            "traits": {"[Amplitude] a name: 1": True},
            "context": {},
        }
        for n in range(10_000)
    ]
    assert partner.post("/batch", {"batch": items}).json()["changed"] == 10_000


# --- encodings and types -------------------------------------------------------------------


def test_gzip_is_inflated_with_a_cap(partner: Partner, number: int):
    path = f"/lists/{number}/add"
    good = gzip.compress(b'{"userIds":["zipped"]}')

    def post(data: bytes, encoding: str = "gzip") -> Any:
        return partner.post(path, data=data, headers={"Content-Encoding": encoding})

    bomb = gzip.compress(b" " * (200 * MEGABYTE))
    assert len(bomb) < MEGABYTE
    assert_refused(post(bomb), 413, "too_large")
    assert_refused(post(b'{"userIds":["a"]}'), 400)
    assert_refused(post(good[:-3]), 400)
    assert_refused(post(good + b"x"), 400)
    assert_refused(post(b""), 400)
    assert_refused(post(zlib.compress(b'{"userIds":["a"]}'), "deflate"), 415)
    assert_refused(post(good, "br"), 415)
    assert_refused(post(good, "gzip, gzip"), 415)
    assert_untouched(partner, number)
    assert post(good).status_code == 200
    assert partner.members(number) == ["first", "zipped"]


@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/xml", "application/jsonp", "json", "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=nonsense", "application/json; charset=",
    ],
)  # fmt: skip
def test_what_is_not_json_in_utf_8_is_a_415(partner: Partner, number: int, content_type: str):
    reply = partner.post(
        f"/lists/{number}/add", data=b'{"userIds":["a"]}', headers={"Content-Type": content_type}
    )
    assert_refused(reply, 415)
    assert_untouched(partner, number)


def test_no_content_type_is_a_415(partner: Partner, number: int):
    reply = partner.post(f"/lists/{number}/add", data=b'{"userIds":["a"]}', headers={"Content-Type": None})
    assert_refused(reply, 415)
    assert_untouched(partner, number)


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=UTF-8",
        'application/json;charset="utf8"',
        "APPLICATION/JSON",
        "application/ld+json",
    ],
)
def test_the_spellings_of_json_are_taken(partner: Partner, number: int, content_type: str):
    reply = partner.post(
        f"/lists/{number}/add", data=b'{"userIds":["a"]}', headers={"Content-Type": content_type}
    )
    assert reply.status_code == 200


# --- addresses and methods -----------------------------------------------------------------


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "DELETE", "PROPFIND", "GET"])
def test_another_method_is_a_405(partner: Partner, number: int, method: str):
    reply = partner.call(method, f"/lists/{number}/add", {"userIds": ["a"]})
    assert_refused(reply, 405, "method_not_allowed")
    assert reply.headers["Allow"] == "POST"
    assert_untouched(partner, number)


def test_a_method_override_is_not_obeyed(partner: Partner, number: int):
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        assert_refused(partner.post(f"/lists/{number}", {"_method": "DELETE"}, headers={name: "DELETE"}), 405)
    assert partner.get(f"/lists/{number}", headers={"X-HTTP-Method-Override": "DELETE"}).status_code == 200
    assert_untouched(partner, number)


@pytest.mark.parametrize(
    "list_id",
    [
        "0", "-1", "1.0", "1e3", "abc", "%00", "1%00", "..%2f..%2fadmin", "%2e%2e", "%ff", "%D9%A1",
        "99999999999999999999",
        "9223372036854775808", "1%20", "+1", "%0a1", "1;drop", "null", "__proto__",
        "true", "1%3fx", "x" * 2000,
    ],
)  # fmt: skip
def test_a_list_id_that_is_none_is_a_404(partner: Partner, number: int, list_id: str):
    for method, path in [
        ("POST", "/add"),
        ("POST", "/remove"),
        ("GET", "/members"),
        ("GET", ""),
        ("DELETE", ""),
    ]:
        reply = raw_request(partner, method, f"/lists/{list_id}{path}", b'{"userIds":["a"]}')
        assert reply[0] == 404, (method, path, reply)
        assert json.loads(reply[1])["error"]["code"] in ("list_not_found", "not_found")
    assert_untouched(partner, number)


def raw_request(partner: Partner, method: str, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Through http.client, which sends the path as it is."""
    connection = HTTPConnection(partner.url.removeprefix("http://"), timeout=20)
    connection.request(
        method, path, body,
        {"Authorization": f"Bearer {partner.key}", "Content-Type": "application/json", **headers},
    )  # fmt: skip
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, content


@pytest.mark.parametrize(
    "path",
    ["/lists//", "/lists/1/2/3", "/v1/", "/v1/nonsense", "/identify/x", "/listsx", "/users/x"],
)
def test_an_unknown_address_is_json_where_partners_call(partner: Partner, path: str):
    assert_refused(partner.post(path, {}), 404, "not_found")


def test_a_forged_host_is_a_400(partner: Partner, number: int):
    for host in ("evil.example", "127.0.0.1.evil.example", "a b", "[::1", "127.0.0.1:x"):
        status, content = raw_request(
            partner, "POST", f"/lists/{number}/add", b'{"userIds":["a"]}', Host=host
        )
        assert status == 400, host
        assert b"<" not in content
    assert_untouched(partner, number)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "limit=-1", "limit=1e3", "format=xml", "after=%00"]
)
def test_a_bad_query_is_a_400(partner: Partner, number: int, query: str):
    assert_refused(partner.get(f"/lists/{number}/members?{query}"), 400)


def test_a_bad_user_or_trait_to_read_is_a_client_error(partner: Partner):
    for path, status in [
        ("/users", 400), ("/users?userId=%00", 400), ("/users?userId=" + "x" * 1025, 400),
        ("/users?userId=%ff", 404),
        ("/traits?name=%00", 404), ("/traits?after=%00", 400), ("/lists?after=x", 400),
        ("/lists?after=" + "9" * 30, 400),
        ("/lists?limit=" + "9" * 3000, 400),
    ]:  # fmt: skip
        assert_refused(partner.get(path), status)


# --- HTTP itself ---------------------------------------------------------------------------


def talk(partner: Partner, text: bytes, *, reset: bool = False) -> bytes:
    """Send bytes, close our side, and return what comes back."""
    host, port = partner.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.settimeout(20)
        connection.sendall(text)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return b""
        answer = b""
        with suppress(OSError):  # a server that refuses may have closed before
            connection.shutdown(socket.SHUT_WR)
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def request_head(partner: Partner, number: int, *lines: str) -> bytes:
    return "\r\n".join(
        [
            f"POST /lists/{number}/add HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {partner.key}",
            "Content-Type: application/json", *lines, "", "",
        ]
    ).encode()  # fmt: skip


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_chunked_bodies(partner: Partner, number: int, request: pytest.FixtureRequest):
    """gunicorn takes them; the development server, which cannot find their end, says so."""
    body = b'{"userIds":["chunked"]}'
    chunks = (
        b"5\r\n" + body[:5] + b"\r\n" + f"{len(body) - 5:x}".encode() + b"\r\n" + body[5:] + b"\r\n0\r\n\r\n"
    )
    answer = talk(partner, request_head(partner, number, "Transfer-Encoding: chunked") + chunks)
    if "gunicorn" in request.node.name:
        assert status_of(answer) == 200
        assert partner.members(number) == ["chunked", "first"]
    else:
        assert status_of(answer) == 411
        assert_untouched(partner, number)


def test_chunked_bodies_have_the_same_limit(site: Site, request: pytest.FixtureRequest):
    partner = site.partner(max_body_bytes=5000)
    number = partner.make_list()
    body = padded(20_000)
    chunks = f"{len(body):x}".encode() + b"\r\n" + body + b"\r\n0\r\n\r\n"
    answer = talk(partner, request_head(partner, number, "Transfer-Encoding: chunked") + chunks)
    assert status_of(answer) == (413 if "gunicorn" in request.node.name else 411)


WRONG_FRAMES: dict[str, tuple[list[str], bytes]] = {
    "length too long": (["Content-Length: 400"], b'{"userIds":["a"]}'),
    "length too short": (["Content-Length: 9"], b'{"userIds":["a"]}'),
    "length negative": (["Content-Length: -5"], b'{"userIds":["a"]}'),
    "length no number": (["Content-Length: abc"], b'{"userIds":["a"]}'),
    "no length": ([], b'{"userIds":["a"]}'),
    "two lengths": (["Content-Length: 17", "Content-Length: 9"], b'{"userIds":["a"]}'),
    "length and chunked": (["Content-Length: 17", "Transfer-Encoding: chunked"], b'{"userIds":["a"]}'),
    "broken chunks": (["Transfer-Encoding: chunked"], b"zz\r\n{}\r\n0\r\n\r\n"),
    "cut chunks": (["Transfer-Encoding: chunked"], b'50\r\n{"userIds":["a"]'),
    "64 KB of Authorization": (
        ["Content-Length: 17", "Authorization: Bearer " + "a" * 65536],
        b'{"userIds":["a"]}',
    ),
    "a header without a colon": (["Content-Length: 17", "nonsense"], b'{"userIds":["a"]}'),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FRAMES)
def test_wrong_lengths_and_broken_http_are_client_errors(partner: Partner, number: int, name: str):
    lines, body = WRONG_FRAMES[name]
    answer = talk(partner, request_head(partner, number, *lines) + body)
    if answer:  # a server may also just close what it cannot read
        assert 400 <= status_of(answer) < 500, answer[:200]
        assert b"<html" not in answer and b"text/html" not in answer
    assert_untouched(partner, number)


def test_a_sender_that_goes_away_in_the_middle_changes_nothing(partner: Partner, number: int):
    talk(partner, request_head(partner, number, "Content-Length: 400") + b'{"userIds":["a"', reset=True)
    assert_untouched(partner, number)
