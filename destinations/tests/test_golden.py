"""Each call of protocol.md to the byte, as a real server receives it from the real transport."""

import base64

import pytest

from destinations.endpoint import AuthMode, Delivery, Kind
from destinations.payloads import Encoder, Operation, external_name
from destinations.presets import PRESETS
from destinations.tests.partner import answer, partner, says
from destinations.transport import Transport

CONTEXT = b'"context":{"integration":{"name":"Amplitude Cohort Sync","version":"1.0.0"}}'
IDENTIFY = (
    b'{"type":"identify","userId":"%s","traits":{"[Amplitude] Recent buyers: buyers":%s},' + CONTEXT + b"}"
)


def golden(port: int, path: bytes, body: bytes) -> bytes:
    authorization = base64.b64encode(b"s3cret-key-0123:")
    return (
        b"POST " + path + b" HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Content-Type: application/json\r\n"
        b"Accept: application/json\r\n"
        b"User-Agent: Cohort-Sync\r\n"
        b"Authorization: Basic %s\r\n"
        b"Content-Length: %d\r\n"
        b"\r\n"
    ) % (port, authorization, len(body)) + body


def sent(make_endpoint, make_request, **fields):
    """Send a request for real; return the port, and the bytes that arrived."""
    with partner(says(answer(body=b'{"listId": 123}'))) as server:
        endpoint = make_endpoint(base_url=server.url, **fields)
        encoder = Encoder(
            endpoint,
            cohort_name="Recent buyers",
            cohort_key="buyers",
            external_name=external_name(endpoint, "Recent buyers", "buyers"),
            list_id="123",
        )
        transport = Transport(endpoint)
        transport.send(make_request(encoder))
        transport.close()
        return server.port, server.requests[0]


def test_list_create(make_endpoint):
    port, raw = sent(make_endpoint, lambda encoder: encoder.create())
    body = b'{"name":"[Amplitude] Recent buyers: buyers",' + CONTEXT + b"}"
    assert raw == golden(port, b"/lists", body)


@pytest.mark.parametrize("operation", [Operation.ADD, Operation.REMOVE])
def test_list_add_and_remove(make_endpoint, operation):
    port, raw = sent(make_endpoint, lambda encoder: encoder.batch(operation, ["u1", "u2"]))
    body = b'{"userIds":["u1","u2"],' + CONTEXT + b"}"
    assert raw == golden(port, b"/lists/123/" + operation.encode(), body)


@pytest.mark.parametrize(("operation", "value"), [(Operation.ADD, b"true"), (Operation.REMOVE, b"false")])
def test_property_single(make_endpoint, operation, value):
    port, raw = sent(
        make_endpoint,
        lambda encoder: encoder.single(operation, "u1"),
        kind=Kind.PROPERTY,
        delivery=Delivery.SINGLE,
    )
    assert raw == golden(port, b"/identify", IDENTIFY % (b"u1", value))


@pytest.mark.parametrize(("operation", "value"), [(Operation.ADD, b"true"), (Operation.REMOVE, b"false")])
def test_property_batch(make_endpoint, operation, value):
    port, raw = sent(
        make_endpoint, lambda encoder: encoder.batch(operation, ["u1", "u2"]), kind=Kind.PROPERTY
    )
    body = b'{"batch":[' + IDENTIFY % (b"u1", value) + b"," + IDENTIFY % (b"u2", value) + b"]}"
    assert raw == golden(port, b"/batch", body)


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({"auth_mode": AuthMode.KEY}, b"Authorization: Basic " + base64.b64encode("schlüssel:".encode())),
        (
            {"auth_mode": AuthMode.BASIC, "auth_username": "üser"},
            b"Authorization: Basic " + base64.b64encode("üser:schlüssel".encode()),
        ),
        ({"auth_mode": AuthMode.BEARER}, "Authorization: Bearer schlüssel".encode()),
        ({"auth_mode": AuthMode.HEADER, "auth_header": "X-Api-Key"}, "X-Api-Key: schlüssel".encode()),
    ],
)
def test_each_authentication_is_utf_8(make_endpoint, fields, header):
    _, raw = sent(make_endpoint, lambda encoder: encoder.create(), credential="schlüssel", **fields)
    assert header in raw.split(b"\r\n")


@pytest.mark.parametrize(("credential", "pair"), [("us:er:pass", b"us:er:pass"), ("key", b":key")])
def test_basic_without_a_user_name_takes_it_from_the_credential(make_endpoint, credential, pair):
    fields = {"auth_mode": AuthMode.BASIC, "credential": credential}
    _, raw = sent(make_endpoint, lambda encoder: encoder.create(), **fields)
    assert b"Authorization: Basic " + base64.b64encode(pair) in raw.split(b"\r\n")


def test_the_password_of_such_a_credential_is_masked_wherever_it_is_echoed(make_endpoint):
    endpoint = make_endpoint(auth_mode=AuthMode.BASIC, credential="someone:pass-word-1")
    assert "pass-word-1" not in endpoint.redact("you sent pass-word-1, as someone:pass-word-1")


def test_no_authentication_sends_none(make_endpoint):
    _, raw = sent(make_endpoint, lambda encoder: encoder.create(), auth_mode=AuthMode.NONE)
    assert b"authorization" not in raw.lower()
    assert b"s3cret" not in raw


def test_flagsmith_speaks_its_dialect(make_endpoint):
    fields = {name: value for name, value in PRESETS["flagsmith"].fields.items() if name != "base_url"}
    _, raw = sent(make_endpoint, lambda encoder: encoder.batch(Operation.ADD, ["u1"]), **fields)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/v1/cohort-sync/amplitude/lists/123/add/ HTTP/1.1\r\n")
    assert b"Authorization: Bearer s3cret-key-0123" in head
    assert body == b'{"user_ids":["u1"]}'


def test_extra_headers_idempotency_and_message_ids_are_sent_when_asked_for(make_endpoint):
    _, raw = sent(
        make_endpoint,
        lambda encoder: encoder.batch(Operation.ADD, ["u1"]),
        kind=Kind.PROPERTY,
        extra_headers={"X-Source": "crm é", "user-agent": "mine"},
        idempotency_key=True,
        message_ids=True,
    )
    assert "X-Source: crm é".encode() in raw
    assert b"user-agent: mine" in raw and b"Cohort-Sync\r\n" not in raw
    assert b"Idempotency-Key: " in raw
    assert b'"messageId":"' in raw


def test_a_proxy_from_the_environment_is_not_used(make_endpoint, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    port, raw = sent(make_endpoint, lambda encoder: encoder.create())
    assert raw.startswith(b"POST /lists HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)


def test_cookies_of_a_partner_are_neither_kept_nor_sent_back(make_endpoint, add_request):
    with partner(says(answer(headers="Set-Cookie: a=b; Path=/\r\n")), keep_alive=True) as server:
        endpoint = make_endpoint(base_url=server.url)
        transport = Transport(endpoint)
        for _ in range(2):
            transport.send(add_request(endpoint))
        assert [list(line.session.cookies) for line in transport._lines] == [[]]
        transport.close()
        assert server.connections == 1, "the connection is kept alive"
        assert server.requests[0] == server.requests[1]
