"""The vendors' bundles for web pages, unmodified, in a real browser, from another origin than the site's."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Request, Response

from receiving.models import RequestLog
from receiving.tests.clients.test_clients import (
    EVENTS,
    HERE,
    LEAVERS,
    USERS,
    check,
    node_modules,
)
from receiving.tests.conftest import Partner, Site
from tests.browser import chromium

__all__ = ["node_modules"]
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.once]
CLIENTS = ["segment", "rudderstack", "amplitude"]


class Quiet(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def shop(node_modules: Path) -> Iterator[str]:
    """Serve the page; return its port. By its two names, 127.0.0.1 and localhost, it is of two origins."""
    if not chromium.find():
        if os.environ.get("CI", "") not in ("", "false", "0"):
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(HERE))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def page_partners(site: Site, shop: str) -> dict[str, tuple[Partner, str]]:
    """Make a workspace for each client; return it with the key of its pages."""
    made = {client: site.partner() for client in CLIENTS}
    origin = f"http://localhost:{shop}"
    return {
        client: (partner, site.another_key(partner.workspace, write_only=True, origins=origin))
        for client, partner in made.items()
    }


def address(host: str, shop: str, client: str, partner: Partner, key: str) -> str:
    numbers = {"users": USERS, "leavers": LEAVERS, "events": EVENTS}
    return f"http://{host}:{shop}/page.html?" + urlencode(
        {"client": client, "address": partner.url, "key": key, **numbers}
    )


def items(request: Request) -> int:
    """Count what a client's call brings: identifies and events."""
    if request.method != "POST":
        return 0
    document = json.loads(request.post_data or "{}")
    found = document.get("batch") or document.get("events") or [document]
    return sum(item.get("event", item.get("event_type")) in ("bought", None, "$identify") for item in found)


def in_a_browser(does: Callable[[Browser], None]) -> None:
    """Do something with a browser in a thread of its own: a thread has one loop of playwright's."""

    def run() -> None:
        with chromium.browser() as browser:
            does(browser)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(run).result()


def test_bundles_in_a_page_of_an_allowed_origin_bring_what_they_sent(
    gunicorn_site: Site, served_database: dict[str, str], shop: str
) -> None:
    partners = page_partners(gunicorn_site, shop)

    def send(browser: Browser) -> None:
        for client, (partner, key) in partners.items():
            page = browser.new_page()
            came = 0

            def is_all(response: Response) -> bool:
                nonlocal came
                came += items(response.request) if response.ok else 0
                return came >= USERS + LEAVERS + EVENTS

            with page.expect_response(is_all, timeout=60_000):
                page.goto(address("localhost", shop, client, partner, key))
            page.close()

    in_a_browser(send)
    check({client: (partner, []) for client, (partner, _) in partners.items()}, served_database)
    for partner, _ in partners.values():  # what the next test looks for is there
        assert list(Path(served_database["VAR_DIR"]).rglob(partner.workspace.slug))


def test_bundles_in_a_page_of_another_origin_bring_nothing(
    gunicorn_site: Site, served_database: dict[str, str], shop: str
) -> None:
    partners = page_partners(gunicorn_site, shop)

    def send(browser: Browser) -> None:
        for client, (partner, key) in partners.items():
            page = browser.new_page()
            with page.expect_event("requestfailed", lambda request: items(request) > 0, timeout=60_000):
                page.goto(address("127.0.0.1", shop, client, partner, key))
            page.close()

    in_a_browser(send)
    for client, (partner, _) in partners.items():
        assert not list(Path(served_database["VAR_DIR"]).rglob(partner.workspace.slug)), client
        assert partner.get("/traits/digest", params={"name": "vip"}).status_code == 404, client
        refused = RequestLog.objects.using("served").filter(workspace_id=partner.workspace.pk, method="POST")
        assert set(refused.values_list("status", "code")) == {(403, "origin_not_allowed")}, client
