"""A certification: the checks in order, within a time, and everything that was made is taken away again."""

import json
import secrets
import shlex
import time
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from destinations.certify import checks
from destinations.certify.report import Finding, Level, Profile, Report, State
from destinations.certify.subject import Subject
from destinations.certify.talk import Talk, TimeIsUp
from destinations.endpoint import AuthMode, Endpoint, Kind
from destinations.errors import DeliveryError, Misconfigured

SECONDS = 120.0
# Kept of the time for tidying up.
RESERVE = 5.0
MOCK = "curl -X POST {url} \\\n  {key}--header 'Content-Type: application/json' \\\n  --data-raw '{body}'"


def certify(endpoint: Endpoint, *, users: Sequence[str] = (), seconds: float = SECONDS) -> Report:
    """Try a partner out and return what was found. Sends requests that change things there.

    users: ids that the partner knows, for one that takes known users only; without them, made-up ones.
    seconds: after these no further check begins; those that are left are reported as unseen.
    """
    began = time.monotonic()
    talk = Talk(endpoint, began + seconds)
    report = Report(endpoint.base_url, endpoint.kind, mock_call(endpoint))
    try:
        contact = _reached(talk, report)
        if contact:
            subject = Subject(talk, secrets.token_hex(4), users)
            _check_all(subject, report)
            talk.until = time.monotonic() + max(RESERVE, talk.until - time.monotonic())
            report.left_behind = _tidy_up(subject)
            report.profile = Profile(**subject.profile)
    finally:
        talk.close()
    report.requests, report.seconds = len(talk.answers), time.monotonic() - began
    return report


def mock_call(endpoint: Endpoint) -> str:
    """Return the call of docs/protocol.md, "Trying a receiver by hand", for this address."""
    body = {"traits": {"cohort name:123": True}, "type": "identify", "userId": "u1"}
    path = endpoint.identify_path
    if endpoint.kind == Kind.LIST:
        body = {"name": "[Amplitude] cohort name: 123"}
        path = endpoint.create_path
    key = _key_options(endpoint)
    return MOCK.format(url=endpoint.base_url.rstrip("/") + path, key=key, body=json.dumps(body))


def _key_options(endpoint: Endpoint) -> str:
    """Return how the call of the protocol carries its key, or this destination's own way."""
    match endpoint.auth_mode:
        case AuthMode.KEY:
            return "--header 'api_key: KEY' --header 'app_id: APP' "
        case AuthMode.BASIC:
            return f"--user {shlex.quote((endpoint.auth_username or 'NAME') + ':KEY')} "
        case AuthMode.HEADER:
            return f"--header {shlex.quote(endpoint.auth_header + ': KEY')} "
        case AuthMode.NONE:
            return ""
        case _:
            return "--header 'Authorization: Bearer KEY' "


def _reached(talk: Talk, report: Report) -> bool:
    """Note whether the partner can be connected to, and how."""
    try:
        contact = talk.transport.probe()
    except DeliveryError as error:
        certificate = isinstance(error, Misconfigured) and error.code == "certificate"
        advice = (
            "Serve a certificate of a public authority, with its whole chain, for this host's name."
            if certificate
            else "Start the server, open its port to us, and check the host's name; then run this again."
        )
        report.findings.append(
            Finding("reach", Level.MUST, "Can be reached", State.FAILED, error.message, advice)
        )
        return False
    what = (
        f"{contact.address}, port {contact.port}, {contact.tls or 'no TLS'}, {contact.latency * 1000:.0f} ms"
    )
    report.findings.append(Finding("reach", Level.MUST, "Can be reached", State.PASSED, what))
    secret = bool(contact.tls) or not ip_address(contact.address.partition("%")[0]).is_global
    report.findings.append(
        Finding(
            "tls",
            Level.SHOULD,
            "Talks TLS",
            State.PASSED if secret else State.FAILED,
            contact.tls or ("a private address: none is needed" if secret else "plain http"),
            "Serve https: the key and people's ids travel in clear.",
        )
    )
    return True


def _check_all(subject: Subject, report: Report) -> None:
    over = ""
    for check in checks.of_kind(subject.endpoint.kind):
        seen = checks.Seen(None, over)
        if not over or not check.asks:
            try:
                seen = check.look(subject)
            except TimeIsUp:
                over = "not tried: the time was over; run it again with more"
                seen = checks.Seen(None, over)
        if seen.ok is None and not check.asks:
            seen = checks.Seen(None, over or seen.what)
        state = {True: State.PASSED, False: State.FAILED, None: State.UNSEEN}[seen.ok]
        report.findings.append(
            Finding(check.name, check.level, check.title, state, seen.what, check.advice, seen.answer)
        )
        if check.stops and state == State.FAILED:
            over = f"not tried: first mend “{check.title.lower()}”"


def _tidy_up(subject: Subject) -> list[str]:
    """Take away who was added; return what is still there, in words."""
    left = []
    ids = sorted(subject.touched)
    size = subject.profile.get("batch_size") or 100
    try:
        for at in range(0, len(ids), size):
            answer = subject.send(checks.REMOVE, ids[at : at + size])
            if not answer.is_ok:
                left.append(f"{len(ids) - at:,} users that could not be removed ({answer.words})")
                break
    except TimeIsUp:
        left.append("users that there was no time to remove")
    create = urlsplit(subject.endpoint.base_url).path.rstrip("/") + subject.endpoint.create_path.rstrip("/")
    for list_id in subject.lists:
        name = f"the list {list_id} ({create}/{quote(list_id, safe='')})"
        if not subject.delete_list(list_id):
            left.append(f"{name}, named {subject.name!r}, without members: delete it by hand")
    if subject.endpoint.kind == Kind.PROPERTY:
        left += (
            [f"the property {subject.name!r}, set to false for {subject.ever:,} users"]
            if subject.ever
            else []
        )
    return left
