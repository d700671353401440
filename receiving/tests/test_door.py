"""Whatever goes wrong behind a partner's address, the reply is JSON and tells nothing of the inside."""

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from receiving import store
from receiving.keys import create_key
from receiving.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def headers() -> dict[str, str]:
    key = create_key(Workspace.objects.create(slug="acme"))[1]
    return {"Authorization": f"Bearer {key}"}


def create(headers: dict[str, str], **more: Any) -> Any:
    return Client().post("/lists", {"name": "n"}, content_type="application/json", headers=headers, **more)


def test_a_call_without_tls_is_refused_and_not_redirected(headers: dict[str, str], settings: Any):
    settings.SECURE_SSL_REDIRECT = True
    reply = create(headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "https_required")
    assert create(headers, secure=True).status_code == 200


@pytest.mark.parametrize(
    "error, status, code",
    [(RuntimeError("secret inside"), 500, "internal_error"), (OperationalError("locked"), 503, "busy")],
)
def test_a_failure_is_json_and_keeps_its_reason(
    headers: dict[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
):
    def fail(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(store, "create_list", fail)
    reply = create(headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert "secret" not in reply.content.decode()
    assert ("Retry-After" in reply.headers) == (status == 503)


def test_a_partners_reply_sets_no_cookie_and_is_not_stored(headers: dict[str, str]):
    reply = create(headers)
    assert not reply.cookies
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


def test_a_partners_session_in_a_browser_opens_nothing(admin_client: Client):
    """A person who is logged in is no partner: the calls know keys alone, and so need no CSRF token."""
    assert admin_client.post("/lists", {"name": "n"}, content_type="application/json").status_code == 401
