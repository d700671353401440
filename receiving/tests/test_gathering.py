"""Slow senders keep no thread of the server that is shipped, as the README and ./run start it."""

import io
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from receiving.gathering import Chunks, Gathered, Held
from receiving.tests.conftest import Site


@contextmanager
def slow_senders(site: Site, number: int, beginning: bytes) -> Iterator[list[socket.socket]]:
    host, port = site.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(number)
        ]
        for sender in senders:
            sender.sendall(beginning)
        yield senders


HEAD = b"POST /lists HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
BEGINNINGS = {
    "a byte of a body": HEAD + b"Content-Length: 400\r\n\r\n{",
    "a byte of a chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "a part of a head": HEAD,
    "a byte": b"P",
    "nothing": b"",
    "a body that is announced": HEAD + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_forty_slow_senders_keep_nobody_waiting(gunicorn_site: Site, name: str) -> None:
    requests.get(f"{gunicorn_site.url}/healthz", timeout=60)  # the server may still be starting
    with slow_senders(gunicorn_site, 40, BEGINNINGS[name]):
        for _ in range(10):
            assert requests.get(f"{gunicorn_site.url}/healthz", timeout=10).status_code in (200, 503)


def test_what_came_slowly_is_served_when_all_of_it_is_there(gunicorn_site: Site) -> None:
    partner = gunicorn_site.partner()
    body = b'{"name": "slow"}'
    head = HEAD + b"Authorization: Bearer " + partner.key.encode()
    head += b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    with slow_senders(gunicorn_site, 1, head[:9]) as (sender,):
        for part in (head[9:], body[:3], body[3:]):
            assert requests.get(f"{gunicorn_site.url}/lists", timeout=20).status_code == 401
            sender.sendall(part)
        assert sender.recv(12) == b"HTTP/1.1 200"


def test_two_requests_on_one_connection_and_in_one_packet_are_both_served(gunicorn_site: Site) -> None:
    partner = gunicorn_site.partner()
    one = b"GET /lists HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n\r\n" % partner.key.encode()
    with slow_senders(gunicorn_site, 1, one * 2 + one[:5]) as (sender,):
        answer = b""
        while answer.count(b"HTTP/1.1 200") < 2:
            answer += sender.recv(65536)
        sender.sendall(one[5:])
        while answer.count(b"HTTP/1.1 200") < 3:
            answer += sender.recv(65536)


def test_a_large_body_is_gathered_in_a_file_and_arrives_whole(gunicorn_site: Site) -> None:
    partner = gunicorn_site.partner()
    number = partner.make_list()
    ids = [f"user-{n:06}-{'x' * 80}" for n in range(40_000)]
    assert partner.post(f"/lists/{number}/add", {"userIds": ids}).json()["changed"] == 40_000


def has_ended(request: bytes) -> bool:
    gathered = Gathered()
    with gathered.file:
        return gathered.feed(request)


def test_a_request_ends_where_its_frame_says() -> None:
    plain = HEAD + b"Content-Length: 5\r\n\r\n"
    ends = [has_ended(plain + body) for body in (b"", b"abcd", b"abcde", b"abcdef")]
    assert ends == [False, False, True, True]
    assert has_ended(HEAD + b"\r\n")
    assert not has_ended(HEAD)
    for malformed in (b"Content-Length: x\r\n\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"):
        assert has_ended(HEAD + malformed)


def test_a_chunked_body_ends_with_its_last_chunk_wherever_it_is_cut() -> None:
    body = b"5;x=y\r\nab\r\ne\r\n1a\r\n" + b"0\r\n\r\n" * 5 + b"z\r\n0\r\nTrailer: t\r\n\r\n"
    for cut in range(len(body)):
        chunks = Chunks()
        assert not (cut and chunks.feed(body[:cut]))
        assert chunks.feed(body[cut:])
    assert Chunks().feed(b"zz\r\n")
    assert Chunks().feed(b"-5\r\n")
    assert Chunks().feed(b"1" * 5000)


def test_who_is_too_slow_is_late_and_who_is_not_has_time() -> None:
    gathered = Gathered(began=time.monotonic() - 60)
    assert gathered.is_late(time.monotonic())
    gathered.feed(b"x" * 1_000_000)
    assert not gathered.is_late(time.monotonic())
    gathered.file.close()


def test_small_reads_of_a_large_body_hold_no_more_of_it_than_a_megabyte() -> None:
    body = io.BytesIO(b"x" * 10_000_000)
    mine, other = socket.socketpair()
    with mine, other:
        unreader = Held(mine, body)
        for _ in range(20):
            assert len(unreader.read(65_536, read_ahead=10_000_000)) == 65_536
            assert len(unreader.buf.getvalue()) <= 1_048_576
