"""Real pages in a real browser: the site served over HTTP, a worker beside it, partners on loopback.

One browser for the session; each test has its own data, its own person and its own window. A message of
the console, a script that raises, a violation of the content security policy or a reply of 500 fails
the test that saw it. A test that failed leaves a picture in a temporary folder, whose name is printed.
"""

import os
import re
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Response,
    ViewportSize,
    expect,
)

from cohortsite import roles
from cohortsite.worker import work
from receiving.keys import create_key
from receiving.models import Workspace
from tests.browser import chromium
from tests.partner import Partner

Open = Callable[..., Page]
FAILED = pytest.StashKey[bool]()
# Milliseconds that an expected thing may take to appear, on a busy machine too.
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)
DESK: ViewportSize = {"width": 1280, "height": 900}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not chromium.find():
        if os.environ.get("CI", "") not in ("", "false", "0"):
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    # playwright's loop runs in this thread; Django then takes every query for one of async code.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with chromium.browser() as started:
        yield started
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(autouse=True)
def _folders(settings, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"
    settings.MEDIA_ROOT = tmp_path / "uploads"
    # What people see is a deployed site, and a token of the page must do.
    settings.DEBUG = False


@pytest.fixture
def site(live_server, settings) -> str:
    """Return the address of the site as it is served, with the three roles."""
    roles.grant()  # the tables were emptied before
    return str(live_server.url)


@pytest.fixture
def worker(site) -> Iterator[None]:
    """Run a worker beside the site, as `manage.py sync_worker` does."""
    stop = threading.Event()

    def run() -> None:
        try:
            work(stop=stop)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="worker")
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def key(site: str) -> str:
    """Return a key to the site's own receiving side, in the workspace "partner"."""
    return create_key(Workspace.objects.create(slug="partner"), name="a test")[1]


@pytest.fixture
def partner() -> Iterator[Partner]:
    with Partner() as started:
        yield started


@pytest.fixture
def open_page(browser: Browser, site: str, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens a window for somebody of a role, and watches what goes wrong in it.

    Who has no role has not logged in.
    """
    windows: list[tuple[BrowserContext, Page]] = []
    wrong: list[str] = []

    def open_as(role: str = "administrator") -> Page:
        context = browser.new_context(base_url=site, viewport=DESK, locale="en-US")
        if role:
            context.add_cookies([{"name": "sessionid", "value": session_of(role), "url": site}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.bring_to_front()  # while another window closes, the new one may not have the keyboard
        watch(page, wrong)
        windows.append((context, page))
        return page

    yield open_as
    if request.node.stash.get(FAILED, False) or wrong:
        folder = Path(tempfile.mkdtemp(prefix="cohort-sync-browser-"))
        for number, (_, page) in enumerate(windows):
            page.screenshot(path=folder / f"{number}.png", full_page=True)
        print(f"What the browser showed is in {folder}")
    for context, _ in windows:
        context.close()
    assert not wrong


@pytest.fixture
def page(open_page: Open) -> Page:
    """Return a window of an administrator."""
    return open_page("administrator")


def labelled(page: Page | Locator, label: str) -> Locator:
    """Return the field of a label, which has a star if the field must be filled in."""
    return page.get_by_label(re.compile(rf"^\s*{re.escape(label)}\s*\*?\s*:?\s*$")).first


def session_of(role: str) -> str:
    """Return the session of a new person of a role, who has logged in."""
    name = f"{role}-{User.objects.count()}"
    user = User.objects.create(username=name, is_staff=True, is_superuser=role == "superuser")
    if role in roles.RULES:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return str(client.cookies["sessionid"].value)


def watch(page: Page, wrong: list[str]) -> None:
    """Write down what must not happen on any page."""

    def said(message: ConsoleMessage) -> None:
        # A page that says no is a page of ours; what it loads must be there.
        refused = "status of 403" in message.text and message.location["url"] == page.url
        if message.type in ("error", "warning") and not refused:
            wrong.append(f"{page.url}: {message.text} ({message.location['url']})")

    def answered(response: Response) -> None:
        if response.status >= 500:
            wrong.append(f"{response.url}: {response.status}")

    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(f"{page.url}: {error}"))
    page.on("response", answered)
