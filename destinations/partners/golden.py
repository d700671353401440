"""The requests of a partner's folder as text: what is sent for each operation, to the byte."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from destinations.endpoint import AuthMode, BodyFormat, Delivery, Endpoint, Kind, ListIdFrom
from destinations.partners.folder import Partner
from destinations.payloads import Encoder, Operation, Request, external_name
from destinations.sessions import alone, has_parts

NAME, KEY, NOW = "Recent buyers", "buyers", 1_795_000_000.0
USERS = ("u1", "ü 2")
CREDENTIAL = "the-credential"
JOB_ID = "job-1"
ENUMS: dict[str, Any] = {
    "kind": Kind,
    "delivery": Delivery,
    "auth_mode": AuthMode,
    "list_id_from": ListIdFrom,
    "body_format": BodyFormat,
}


def endpoint_of(partner: Partner, base_url: str = "", **more: Any) -> Endpoint:
    """Return the endpoint of a destination that has this partner's fields and made-up secrets."""
    fields = {name: ENUMS[name](value) if name in ENUMS else value for name, value in partner.fields.items()}
    fields = {"base_url": "https://partner.example", "auth_username": "user", **fields}
    fields |= {"base_url": base_url} if base_url else {}
    if fields.get("list_id_from") == ListIdFrom.GIVEN:
        fields["given_lists"] = {KEY: "1001"}
    if fields.get("oauth") and base_url:
        fields["oauth"] = {**fields["oauth"], "token_url": f"{base_url}/token"}
    secrets = {name: f"the-{name}" for name in partner.secrets}
    values: dict[str, Any] = {
        "name": partner.slug,
        "credential": CREDENTIAL,
        "secrets": secrets,
        **fields,
        **more,
    }
    if values.get("kind") != Kind.PROPERTY:
        values["delivery"] = Delivery.BATCH
    return Endpoint(**values)


def requests_of(partner: Partner) -> Iterator[tuple[str, Request, Endpoint]]:
    """Yield the name and request of each operation."""
    endpoint = endpoint_of(partner)
    known = endpoint.list_id_from in (ListIdFrom.GIVEN, ListIdFrom.NAMED)
    encoder = Encoder(
        endpoint,
        cohort_name=NAME,
        cohort_key=KEY,
        external_name=external_name(endpoint, NAME, KEY),
        list_id="1001" if endpoint.kind == Kind.LIST else None,
        run_id="run",
        now=NOW,
    )
    for operation in (Operation.TEST, Operation.READ):
        if getattr(endpoint, f"{operation}_path"):
            yield operation.value, encoder.look(operation), endpoint
    if endpoint.kind == Kind.LIST and not known:
        made = encoder.create(USERS[:1])
        if made.find:
            yield "find", made.find, endpoint
        yield "create", replace(made, find=None), endpoint
    single = endpoint.kind == Kind.PROPERTY and endpoint.delivery == Delivery.SINGLE
    users = USERS[:1] if endpoint.batch_size == 1 or single else USERS
    for operation in (Operation.ADD,) if endpoint.replaces_lists else (Operation.ADD, Operation.REMOVE):
        request = encoder.single(operation, users[0]) if single else encoder.batch(operation, users)
        yield operation.value, request, endpoint
    if endpoint.change_template:
        yield Operation.CHANGE.value, encoder.change(USERS[:1], USERS[1:]), endpoint
    if endpoint.replaces_lists:
        yield "empty", encoder.batch(Operation.ADD, []), endpoint
    if has_parts(endpoint):
        part = replace(alone(len(USERS)), is_last=False)
        yield "first-part", encoder.batch(Operation.ADD, USERS[:1], part), endpoint
    if endpoint.poll_path:
        yield Operation.POLL.value, encoder.poll(JOB_ID, users), endpoint


def as_text(request: Request, endpoint: Endpoint) -> str:
    """Return a request as it is kept in a folder: made-up secrets in clear, a gzipped body unpacked."""
    parts = urlsplit(request.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, **request.headers}
    if auth := endpoint.auth("the-token"):
        headers[auth[0]] = auth[1]
    body = gzip.decompress(request.body) if endpoint.gzip and request.body else request.body
    head = "\n".join(f"{name}: {value}" for name, value in headers.items())
    return f"{request.method} {target} HTTP/1.1\n{head}\n\n{body.decode()}\n"
