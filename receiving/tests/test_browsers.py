"""Pages in browsers send with keys of their own kind, from where these are for."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from receiving.browsers import clean_origins
from receiving.keys import create_key
from receiving.models import ApiKey, RequestLog, UserTrait, Workspace

pytestmark = pytest.mark.django_db
SHOP = "https://shop.example"
ADDRESSES = [
    "/v1/batch",
    "/v1/i",
    "/v1/t",
    "/v1/p",
    "/v1/page",
    "/2/httpapi",
    "/batch",
    "/identify",
    "/track",
]


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


@pytest.fixture
def page_key(workspace: Workspace) -> str:
    return create_key(workspace, write_only=True, origins=f"{SHOP}\nhttps://www.shop.example")[1]


def send(key: str, path: str, origin: str | None, **more: str) -> Any:
    body = {"type": "identify", "userId": "u", "traits": {"a": 1}}
    document: Any = {"events": [{"user_id": "u", "event_type": "e"}]} if path == "/2/httpapi" else body
    document = {"batch": [body]} if path.endswith("batch") else document
    if path == "/track":
        document = {"userId": "u", "event": "play"}
    headers = {"Authorization": f"Bearer {key}"} | ({"Origin": origin} if origin else {}) | more
    return Client().post(path, json.dumps(document), content_type="application/json", headers=headers)


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_page_asks_first_and_may_then_send_and_read_the_answer(page_key: str, path: str) -> None:
    asked = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,anonymousid,content-type",
    }
    may = Client().options(path, headers=asked)
    assert (may.status_code, may.content) == (204, b"")
    assert may.headers["Access-Control-Allow-Origin"] == SHOP
    assert may.headers["Access-Control-Allow-Methods"] == "POST"
    assert may.headers["Access-Control-Allow-Headers"] == "authorization,anonymousid,content-type"
    reply = send(page_key, path, SHOP)
    assert (reply.status_code, reply.headers["Access-Control-Allow-Origin"]) == (200, SHOP)
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://shop.example", "null", f"{SHOP}.evil.example"]
)
def test_a_page_from_elsewhere_is_refused_and_cannot_read_why(page_key: str, origin: str) -> None:
    reply = send(page_key, "/v1/i", origin)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")
    assert "Access-Control-Allow-Origin" not in reply.headers
    assert send(page_key, "/v1/i", None).status_code == 200


def test_what_segments_clients_measure_of_themselves_needs_no_key_and_is_not_read(page_key: str) -> None:
    body = '{"series": [{"type": "Counter", "metric": "analytics_js.invoke", "value": 1, "tags": {}}]}'
    reply = Client().post("/v1/m", body, content_type="text/plain", headers={"Origin": SHOP})
    assert (reply.status_code, reply.json()["ignored"]) == (200, 1)
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    identify = '{"type": "identify", "userId": "u", "traits": {"a": 1}}'
    assert Client().post("/v1/m", identify, content_type="text/plain").json()["identified"] == 0
    assert not RequestLog.objects.exists() and not UserTrait.objects.exists()
    wrong = Client().post("/v1/m", "{}", content_type="text/plain", headers={"api_key": "cs_wrong"})
    assert wrong.status_code == 401


def test_a_star_allows_every_page(workspace: Workspace) -> None:
    key = create_key(workspace, write_only=True, origins="*")[1]
    assert (
        send(key, "/v1/i", "https://any.example").headers["Access-Control-Allow-Origin"]
        == "https://any.example"
    )


def test_a_key_of_a_page_reads_nothing_and_touches_no_list(page_key: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {page_key}", "Origin": SHOP}
    for path in ("/lists", "/users?userId=u", "/traits", "/traits/members?name=a", "/lists/1/members"):
        reply = Client().get(path, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "write_only_key"), path
    for path in ("/lists", "/lists/1/add", "/users", "/mixpanel"):
        assert send(page_key, path, SHOP).status_code == 403, path
    assert Client().delete("/lists/1", headers=headers).status_code == 403
    assert send(key, "/lists/1/add", None).status_code == 200


def test_an_error_can_be_read_by_the_page_that_caused_it(page_key: str) -> None:
    headers = {"Authorization": f"Bearer {page_key}", "Origin": SHOP}
    reply = Client().post("/v1/i", "{", content_type="text/plain", headers=headers)
    assert (reply.status_code, reply.headers["Access-Control-Allow-Origin"]) == (400, SHOP)


def test_a_key_of_a_server_is_not_opened_to_pages(key: str) -> None:
    reply = send(key, "/v1/i", SHOP)
    assert reply.status_code == 200
    assert "Access-Control-Allow-Origin" not in reply.headers


def test_other_addresses_answer_no_page() -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    assert Client().options("/lists", headers=asked).status_code == 405
    assert Client().options("/v1/i").status_code == 405


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("https://Shop.example/", "https://shop.example"),
        ("http://localhost:3000\n https://a.example", "http://localhost:3000\nhttps://a.example"),
        ("*", "*"), ("", ""),
    ],
)  # fmt: skip
def test_origins_are_kept_as_browsers_write_them(said: str, kept: str) -> None:
    assert clean_origins(said) == kept


@pytest.mark.parametrize(
    "said", ["shop.example", "https://a/b", "ftp://a", "https://", "https://u@a", "https://[x"]
)
def test_what_is_no_origin_is_refused(said: str) -> None:
    with pytest.raises(ValidationError):
        clean_origins(said)


def test_the_command_and_the_admin_make_keys_for_pages(
    admin_client: Client, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("create_api_key", "acme", "--origin", SHOP, "--origin", "http://localhost:3000")
    made = ApiKey.objects.get()
    assert (made.write_only, made.origins) == (True, f"{SHOP}\nhttp://localhost:3000")
    with pytest.raises(CommandError):
        call_command("create_api_key", "acme", "--origin", "shop")
    fields = {"workspace": workspace.pk, "name": "page", "app_id": "", "origins": SHOP}
    url = reverse("admin:receiving_apikey_add")
    assert "Pages can only use" in admin_client.post(url, fields).content.decode()
    assert admin_client.post(url, fields | {"write_only": "on"}).status_code == 200
    assert ApiKey.objects.get(name="page").write_only
