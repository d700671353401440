from collections.abc import Callable

import pytest

from destinations.addresses import parse_networks
from destinations.endpoint import Endpoint
from destinations.payloads import Encoder, Operation, Request

LOOPBACK = parse_networks(["127.0.0.0/8"])


@pytest.fixture
def make_endpoint() -> Callable[..., Endpoint]:
    def make(**fields: object) -> Endpoint:
        defaults: dict[str, object] = {
            "name": "acme",
            "base_url": "http://127.0.0.1:9",
            "credential": "s3cret-key-0123",
            "allow_nets": LOOPBACK,
            "connect_timeout": 5.0,
            "read_timeout": 5.0,
            "deadline": 10.0,
        }
        return Endpoint(**(defaults | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture
def add_request() -> Callable[[Endpoint], Request]:
    def make(endpoint: Endpoint) -> Request:
        encoder = Encoder(
            endpoint,
            cohort_name="Buyers",
            cohort_key="buyers",
            external_name="[Amplitude] Buyers: buyers",
            list_id="7",
        )
        return encoder.batch(Operation.ADD, ["u1", "u2"])

    return make
