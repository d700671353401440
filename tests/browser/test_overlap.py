"""Two cohorts are chosen in the list, and their overlap is seen."""

import os
from pathlib import Path

from playwright.sync_api import Page, expect

from tests import world
from tests.browser import axe
from tests.browser.conftest import Open
from tests.browser.fixtures import ARABIC, IMAGE


def test_a_viewer_chooses_cohorts_in_the_list_and_sees_how_they_overlap(open_page: Open):
    for name, users in {
        "Buyers": range(60),
        "Visitors": range(20, 200),
        ARABIC + IMAGE: range(55, 80),
    }.items():
        world.cohort([f"u{n:04}" for n in users], name=name)
    page: Page = open_page("viewer")
    page.goto("/admin/cohorts/cohort/")
    for box in page.locator("input.action-select").all():
        box.check()
    page.locator("select[name=action]").select_option("overlap")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("200 users in one of them at least, 5 in all of them.")).to_be_visible()
    expect(page.get_by_role("row").nth(1)).to_contain_text("Only Visitors")
    assert not axe.everywhere(page)
    if folder := os.environ.get("SCREENSHOTS"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.reload()
            page.screenshot(path=Path(folder) / f"overlap-{scheme}.png")
        page.set_viewport_size(axe.TELEPHONE)
        page.screenshot(path=Path(folder) / "overlap-phone.png")
