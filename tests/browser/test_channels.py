"""An alert channel is made in the admin and tested by its button; each page is looked at."""

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import labelled
from tests.hooks import Hook


def test_a_channel_is_made_and_tested_and_a_failure_says_why(page: Page):
    with Hook() as hook:
        page.goto("/admin/syncs/alertchannel/add/")
        labelled(page, "Name").fill("data-team")
        labelled(page, "Kind").select_option("pagerduty")
        expect(labelled(page, "Address")).to_be_visible()
        labelled(page, "Kind").select_option("slack")
        expect(labelled(page, "Address")).to_be_hidden()
        page.locator("#id_credential").fill(f"{hook.url}/services/T0/s3cret")
        assert not axe.everywhere(page)
        picture(page, "channel")
        page.get_by_role("button", name="Save and continue editing").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_text("The test was taken.")).to_be_visible()
        assert hook.posts[0].json["text"] == "Test of data-team"
        hook.failing = "/services"
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_text("The test did not arrive.")).to_be_visible()
        assert "s3cret" not in page.content()
        page.goto("/admin/syncs/alertchannel/")
        expect(page.get_by_text("Failing")).to_be_visible()
        assert not axe.everywhere(page)
        picture(page, "channels")


def picture(page: Page, name: str) -> None:
    if not (folder := os.environ.get("SCREENSHOTS")):
        return
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(axe.SETTLED)
        page.screenshot(path=Path(folder) / f"{name}-{scheme}.png")
    before = page.viewport_size
    page.set_viewport_size(axe.TELEPHONE)
    page.screenshot(path=Path(folder) / f"{name}-phone.png")
    page.emulate_media(color_scheme="light")
    assert before
    page.set_viewport_size(before)
