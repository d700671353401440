import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest

from destinations import errors
from destinations.addresses import parse_networks
from destinations.endpoint import MASK, AuthMode
from destinations.payloads import Encoder
from destinations.tests.partner import answer, partner, says
from destinations.transport import KEEP_AT_MOST, Transport, describe, excerpt

pytestmark = pytest.mark.once

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def failure(make_endpoint, add_request, script, **fields):
    """Send one request to a partner that behaves so; return the error that comes of it."""
    with partner(script) as server:
        endpoint = make_endpoint(base_url=server.url, **fields)
        transport = Transport(endpoint)
        with pytest.raises(errors.DeliveryError) as caught:
            transport.send(add_request(endpoint))
        transport.close()
        assert "s3cret" not in str(caught.value) + repr(caught.value.reply)
        return caught.value


def success(make_endpoint, add_request, script, **fields):
    with partner(script) as server:
        endpoint = make_endpoint(base_url=server.url, **fields)
        transport = Transport(endpoint)
        reply = transport.send(add_request(endpoint))
        transport.close()
        return reply


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (says(), "reset"),
        (reset, "reset"),
        (says(HEAD + b"Content-Length: 100\r\n\r\nhalf"), "truncated"),
        (says(HEAD + b"Content-Length: 2\r\n\r\n"), "truncated"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), "truncated"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"), "truncated"),
        (says(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), "truncated"),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "garbled"),
        (says(b"HTTP/1.1 abc OK\r\n\r\n"), "garbled"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"), "garbled"),
        (says(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!"), "garbled"),
    ],
)
def test_a_broken_reply_is_temporary_and_may_have_been_applied(make_endpoint, add_request, script, code):
    error = failure(make_endpoint, add_request, script)
    assert type(error) is errors.Temporary
    assert (error.code, error.unknown_outcome) == (code, True)


def test_a_truncated_429_still_says_how_long_to_wait(make_endpoint, add_request):
    script = says(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 100\r\n\r\n{")
    assert failure(make_endpoint, add_request, script).retry_after == 7.0


@pytest.mark.parametrize("head", [HEAD + b"Content-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Drip: "])
def test_a_reply_that_drips_does_not_outlive_the_deadline(make_endpoint, add_request, head):
    enough = threading.Event()

    def drip(sock: socket.socket) -> None:
        sock.sendall(head.replace(b"Content-Length: 5", b"Content-Length: 5000"))
        for _ in range(200):
            if enough.wait(0.05):
                return
            sock.sendall(b"x")

    started = time.monotonic()
    with partner(drip) as server:
        endpoint = make_endpoint(base_url=server.url, read_timeout=5.0, deadline=0.5)
        transport = Transport(endpoint)
        with pytest.raises(errors.Temporary) as caught:
            transport.send(add_request(endpoint))
        took = time.monotonic() - started
        enough.set()
    assert caught.value.code == "deadline"
    assert caught.value.unknown_outcome
    assert 0.5 <= took < 2.0


def test_a_partner_that_hangs_meets_the_read_timeout(make_endpoint, add_request):
    enough = threading.Event()

    def hang(sock: socket.socket) -> None:
        enough.wait(10)

    with partner(hang) as server:
        endpoint = make_endpoint(base_url=server.url, read_timeout=0.2)
        with pytest.raises(errors.Temporary) as caught:
            Transport(endpoint).send(add_request(endpoint))
        enough.set()
    assert caught.value.code == "timeout"


def test_a_body_that_nobody_reads_meets_the_deadline(make_endpoint, add_request):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = make_endpoint(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", deadline=0.5)
        encoder = Encoder(endpoint, cohort_name="b", cohort_key="b", external_name="b", list_id="1")
        request = encoder.batch(add_request(endpoint).operation, ["u" * 1000] * 20_000)
        with pytest.raises(errors.Temporary) as caught:
            Transport(endpoint).send(request)
    assert (caught.value.code, caught.value.unknown_outcome) == ("deadline", True)


def test_what_never_reached_the_partner_was_not_applied(make_endpoint, add_request):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url, code in ((f"http://127.0.0.1:{port}", "connect"), ("http://nowhere.invalid", "dns")):
        endpoint = make_endpoint(base_url=url)
        with pytest.raises(errors.Temporary) as caught:
            Transport(endpoint).send(add_request(endpoint))
        assert (caught.value.code, caught.value.unknown_outcome) == (code, False)


def test_interrupt_breaks_off_what_is_in_flight_and_refuses_what_follows(make_endpoint, add_request):
    arrived, enough = threading.Event(), threading.Event()

    def hang(sock: socket.socket) -> None:
        arrived.set()
        enough.wait(10)

    with partner(hang) as server:
        endpoint = make_endpoint(base_url=server.url)
        transport = Transport(endpoint)
        caught: list[errors.DeliveryError] = []

        def send() -> None:
            try:
                transport.send(add_request(endpoint))
            except errors.DeliveryError as error:
                caught.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        assert arrived.wait(5)
        transport.interrupt()
        thread.join(2)
        assert not thread.is_alive()
        enough.set()
        send()
    assert [(error.code, error.unknown_outcome) for error in caught] == [
        ("interrupted", True),
        ("interrupted", False),
    ]


def test_interim_replies_are_not_the_reply(make_endpoint, add_request):
    interim = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    body = HEAD + b"Content-Length: 2\r\n\r\n{}"
    assert success(make_endpoint, add_request, says(interim + body)).status == 200
    refused = failure(make_endpoint, add_request, says(interim + b"HTTP/1.1 503 Busy\r\n\r\n"))
    assert refused.reply.status == 503


def test_interim_replies_without_end_meet_the_deadline(make_endpoint, add_request):
    def hint(sock: socket.socket) -> None:
        with suppress(OSError):
            while True:
                sock.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")

    error = failure(make_endpoint, add_request, hint, deadline=0.3)
    assert (error.code, error.unknown_outcome) == ("deadline", True)


def test_at_most_64_kib_are_read_of_a_huge_reply(make_endpoint, add_request):
    written = []

    def flood(sock: socket.socket) -> None:
        sock.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        for _ in range(1000):
            written.append(sock.send(b"x" * 1_000_000))

    reply = success(make_endpoint, add_request, flood)
    assert len(reply.excerpt) == KEEP_AT_MOST
    assert sum(written) < 50_000_000


def test_a_compressed_bomb_takes_no_memory(make_endpoint, add_request):
    bomb = gzip.compress(b"\0" * 200_000_000)
    headers = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"
    tracemalloc.start()
    try:
        reply = success(make_endpoint, add_request, says(HEAD + headers.encode() + bomb))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reply.status == 200
    assert peak < 5_000_000


def test_an_endless_redirect_is_neither_followed_nor_read(make_endpoint, add_request):
    written = []

    def redirect(sock: socket.socket) -> None:
        sock.sendall(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 900000000\r\n\r\n"
        )
        for _ in range(900):
            written.append(sock.send(b"x" * 1_000_000))

    error = failure(make_endpoint, add_request, redirect)
    assert type(error) is errors.Misconfigured
    assert "http://127.0.0.1:1/" in error.message
    assert not error.unknown_outcome
    assert sum(written) < 50_000_000


def test_a_login_page_is_no_delivery(make_endpoint, add_request):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<html>"
    error = failure(make_endpoint, add_request, says(page))
    assert type(error) is errors.Misconfigured
    assert error.code == "html"


def test_a_partner_that_hangs_up_between_requests_is_connected_to_anew(make_endpoint, add_request):
    with partner(says(answer())) as server:
        endpoint = make_endpoint(base_url=server.url)
        transport = Transport(endpoint)
        transport.send(add_request(endpoint))
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and server.connections < 2:
            try:
                transport.send(add_request(endpoint))
            except errors.Temporary as error:
                assert error.code == "reset", "the hang-up crossed the request"
        assert server.connections == 2


def test_each_thread_keeps_a_connection_of_its_own(make_endpoint, add_request):
    with partner(says(answer()), keep_alive=True) as server:
        endpoint = make_endpoint(base_url=server.url)
        transport = Transport(endpoint)
        gate = threading.Barrier(4)

        def work() -> None:
            gate.wait(5)
            for _ in range(10):
                transport.send(add_request(endpoint))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        transport.close()
        assert (server.connections, len(server.requests)) == (4, 40)


def test_a_refused_address_names_the_setting_and_nothing_is_sent(make_endpoint, add_request):
    with partner(says(answer())) as server:
        endpoint = make_endpoint(base_url=server.url, allow_nets=parse_networks(["10.0.0.0/8"]))
        with pytest.raises(errors.Misconfigured, match="OUTBOUND_ALLOW_NETS") as caught:
            Transport(endpoint).send(add_request(endpoint))
        assert server.connections == 0
    assert caught.value.code == "address_refused"
    assert "127.0.0.1" in caught.value.message


@pytest.mark.parametrize("host", ["localhost", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0"])
def test_a_loopback_address_is_refused_in_every_spelling(make_endpoint, add_request, host):
    endpoint = make_endpoint(base_url=f"http://{host}:9", allow_nets=())
    with pytest.raises(errors.Misconfigured) as caught:
        Transport(endpoint).send(add_request(endpoint))
    assert caught.value.code == "address_refused"


def test_without_a_credential_nothing_is_sent(make_endpoint, add_request):
    endpoint = make_endpoint(credential="")
    with pytest.raises(errors.Misconfigured, match="no credential"):
        Transport(endpoint).send(add_request(endpoint))


def tls_context(directory, name: str) -> ssl.SSLContext:
    """Make a certificate for the name, and a server context with it."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "partner.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_tls_works_with_an_authority_of_ones_own(make_endpoint, add_request, tmp_path, monkeypatch):
    context = tls_context(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with partner(says(answer()), tls=context) as server:
        endpoint = make_endpoint(base_url=f"https://localhost:{server.port}")
        transport = Transport(endpoint)
        assert transport.send(add_request(endpoint)).status == 200
        assert transport.probe().tls.startswith("TLSv1")
        transport.close()


def test_tls_keeps_the_deadline_too(make_endpoint, add_request, tmp_path, monkeypatch):
    context = tls_context(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    enough = threading.Event()

    def drip(sock: socket.socket) -> None:
        sock.sendall(HEAD + b"Content-Length: 5000\r\n\r\n")
        for _ in range(200):
            if enough.wait(0.05):
                return
            sock.sendall(b"x")

    with partner(drip, tls=context) as server:
        endpoint = make_endpoint(base_url=f"https://localhost:{server.port}", deadline=0.5)
        with pytest.raises(errors.Temporary) as caught:
            Transport(endpoint).send(add_request(endpoint))
        enough.set()
    assert caught.value.code == "deadline"


@pytest.mark.parametrize("name", ["localhost", "other.example"])
def test_a_certificate_that_does_not_fit_is_misconfigured(
    make_endpoint, add_request, tmp_path, monkeypatch, name
):
    context = tls_context(tmp_path, name)
    if name != "localhost":  # trusted, but for another host
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with partner(says(answer()), tls=context) as server:
        endpoint = make_endpoint(base_url=f"https://localhost:{server.port}")
        with pytest.raises(errors.Misconfigured) as caught:
            Transport(endpoint).send(add_request(endpoint))
        assert server.requests == []
    assert caught.value.code == "certificate"


def test_plain_http_where_tls_is_expected_is_temporary(make_endpoint, add_request):
    with partner(says(answer())) as server:
        endpoint = make_endpoint(base_url=f"https://127.0.0.1:{server.port}", deadline=1.0)
        with pytest.raises(errors.Temporary) as caught:
            Transport(endpoint).send(add_request(endpoint))
    assert caught.value.unknown_outcome is False


def test_probe_connects_and_sends_nothing(make_endpoint):
    with partner(says(answer())) as server:
        contact = Transport(make_endpoint(base_url=server.url)).probe()
        assert (contact.address, contact.port, contact.tls) == ("127.0.0.1", server.port, "")
        assert server.requests == []


SECRET = 'pa"ss wörd+/=&<1>'


@pytest.mark.parametrize("mode", [AuthMode.KEY, AuthMode.BASIC, AuthMode.BEARER])
def test_an_echo_of_the_request_shows_no_credential(make_endpoint, add_request, mode):
    """A partner that answers with all it got, in the forms that frameworks echo things in."""
    import base64
    import html
    import json
    import urllib.parse

    endpoint = make_endpoint(credential=SECRET, auth_mode=mode, auth_username="user")
    header = endpoint.auth()[1]
    forms = [
        SECRET,
        header,
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        html.escape(SECRET),
        repr(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"someone:{SECRET}".encode()).decode(),
    ]
    text = " | ".join(forms)
    shown = endpoint.redact(text)
    assert shown.count(MASK) >= len(forms)
    for form in ('pa"ss', "wörd", "w%C3%B6rd", "w\\u00f6rd", "&lt;1", header.split(" ", 1)[1]):
        assert form not in shown
    assert SECRET not in repr(endpoint) + describe(add_request(endpoint), endpoint)
    assert header not in describe(add_request(endpoint), endpoint)


def test_a_secret_cut_in_two_at_the_end_of_what_is_read_stays_hidden(make_endpoint):
    endpoint = make_endpoint(credential="k" * 3 + "Q" * 997)
    shown = excerpt((b"k" * 3 + b"Q" * 997) * 100, endpoint)
    assert "Q" not in shown


def test_an_echo_in_utf_16_shows_no_credential(make_endpoint):
    endpoint = make_endpoint()
    assert MASK in excerpt(f"key={endpoint.credential}".encode("utf-16"), endpoint)


def test_an_excerpt_can_be_stored(make_endpoint):
    shown = excerpt(b"a\0b\xff\xed\xa0\x80" + "é".encode() * 2000, make_endpoint())
    assert "\0" not in shown
    assert len(shown.encode()) <= KEEP_AT_MOST


def test_describe_shows_the_request_as_it_is_sent(make_endpoint, add_request):
    endpoint = make_endpoint(base_url="https://partner.example/api")
    head, _, body = describe(add_request(endpoint), endpoint).partition("\n\n")
    assert head.splitlines()[0] == "POST /api/lists/7/add HTTP/1.1"
    assert f"Authorization: Basic {MASK}" in head.splitlines()
    assert body.startswith('{"userIds":["u1","u2"]')
