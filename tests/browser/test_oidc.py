"""The way of a person who logs in at an identity server, and of one whom it does not help."""

import importlib
import re

import pytest
from django.core.cache import cache
from django.urls import clear_url_caches
from playwright.sync_api import Page, expect

from cohortsite import account_urls, urls
from tests.browser import axe
from tests.browser.conftest import Open
from tests.identity_server import IdentityServer, identity_server


@pytest.fixture
def server(settings, site):
    """An identity server that the site knows; passwords are off."""
    with identity_server() as started:
        cache.clear()
        settings.OIDC_SERVER_URL = started.url
        settings.OIDC_CLIENT_ID = "cohort-sync"
        settings.OIDC_CLIENT_SECRET = "s3cret"
        settings.OIDC_LABEL = "Log in with Acme"
        settings.OIDC_ROLES = {"ops": "operator"}
        reload_urls()
        yield started
    settings.OIDC_SERVER_URL = ""
    reload_urls()


def reload_urls() -> None:
    importlib.reload(account_urls)
    importlib.reload(urls)
    clear_url_caches()


def agree(page: Page, sub: str) -> None:
    """Log in on the identity server's own page."""
    page.locator('input[name="sub"]').fill(sub)
    page.keyboard.press("Enter")


def test_a_person_is_led_to_the_identity_server_and_back(open_page: Open, server: IdentityServer, settings):
    page = open_page("")
    # Its pages name an icon that is not there, and a style sheet of the internet's.
    for loaded in (f"{server.url}/favicon.ico", "https://cdn.jsdelivr.net/**"):
        page.route(loaded, lambda route: route.fulfill(status=200, content_type="text/css", body=""))
    wrong: list[str] = []

    def look(name: str) -> None:
        wrong.extend(f"{name}: {line}" for line in axe.everywhere(page))

    page.goto("/admin/syncs/run/")
    expect(page.get_by_label("Password")).to_be_visible()
    look("both ways")
    settings.PASSWORD_LOGIN = False
    page.reload()
    expect(page.get_by_label("Password")).to_have_count(0)
    look("identity server alone")

    server.tell("ada", preferred_username="ada", groups=["none of ours"])
    page.get_by_role("link", name="Log in with Acme").click()
    agree(page, "ada")
    expect(page.get_by_text("none of your groups")).to_be_visible()
    look("no role")

    server.tell("ada", preferred_username="ada", groups=["ops"])
    page.goto("/admin/syncs/run/")
    page.get_by_role("link", name="Log in with Acme").click()
    agree(page, "ada")
    expect(page).to_have_url(re.compile("/admin/syncs/run/$"))
    expect(page.get_by_text("ada").first).to_be_visible()
    assert not wrong
