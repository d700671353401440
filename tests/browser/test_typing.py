"""What one types is not lost, what is wrong is found, and what one looks for too."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from cohorts.models import Cohort
from tests import world
from tests.browser import axe
from tests.browser.conftest import labelled

ADD = "/admin/cohorts/cohort/add/"


def test_what_was_typed_outlives_its_session_and_is_forgotten_when_it_is_saved(page: Page):
    page.goto(ADD)
    labelled(page, "Name").press_sequentially("Spring")
    labelled(page, "Description").press_sequentially("Who bought")
    page.wait_for_function("sessionStorage.getItem('cohort-sync-draft:/admin/cohorts/cohort/add/')")
    page.wait_for_load_state("networkidle")  # what the builder asks for is not what ends without a session
    cookies: Any = page.context.cookies()
    page.context.clear_cookies()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Please send it again")).to_be_visible()
    assert not axe.violations(page)
    page.context.add_cookies(cookies)
    page.get_by_role("link", name="Open the form again").click()
    expect(page.get_by_text("was not saved")).to_be_visible()
    expect(labelled(page, "Name")).to_have_value("")
    assert not axe.violations(page)
    page.get_by_role("button", name="Put it back").click()
    expect(labelled(page, "Name")).to_have_value("Spring")
    expect(labelled(page, "Description")).to_have_value("Who bought")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("is made", exact=False)).to_be_visible()
    assert Cohort.objects.get().description == "Who bought"
    page.goto(ADD)
    expect(page.get_by_text("was not saved")).to_have_count(0)


def test_no_secret_is_kept_with_what_was_typed(page: Page):
    page.goto("/admin/destinations/destination/add/?preset=amplitude-list")
    labelled(page, "Credential").press_sequentially("very-secret-key")
    labelled(page, "Title").press_sequentially("Acme")
    page.wait_for_function("Object.values(sessionStorage).join().includes('Acme')")
    assert "very-secret" not in page.evaluate("Object.values(sessionStorage).join()")
    page.reload()
    page.get_by_role("button", name="Throw it away").click()
    assert "Acme" not in page.evaluate("Object.values(sessionStorage).join()")


def test_the_note_about_what_is_wrong_leads_to_each_field(page: Page):
    page.goto(ADD)
    labelled(page, "Key").fill("not a key")
    page.get_by_role("button", name="Save", exact=True).click()
    note = page.get_by_role("alert").filter(has_text="Nothing is saved yet")
    expect(note.get_by_role("listitem")).to_have_count(2)
    assert not axe.violations(page)
    note.get_by_role("link", name="Key").click()
    field = labelled(page, "Key")
    expect(field).to_be_focused()
    # Not behind the bar with the buttons.
    bar = page.get_by_role("button", name="Save", exact=True).bounding_box()
    box = field.bounding_box()
    assert box and bar and box["y"] + box["height"] < bar["y"]


def test_one_key_finds_a_sync_by_a_part_of_its_name(page: Page):
    sync = world.sync(
        world.cohort(["u1"], name="Recent buyers"), world.destination("http://127.0.0.1:9", name="acme")
    )
    page.goto("/admin/")
    page.keyboard.press("t")
    expect(page.get_by_placeholder("Find anything")).to_be_focused()
    page.keyboard.type("buy acme")
    expect(page.get_by_role("link", name=re.compile("Recent buyers → acme"))).to_be_visible()
    assert not axe.violations(page)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/syncs/sync/{sync.pk}/")
    page.keyboard.press("t")
    page.keyboard.type("run recent")
    page.get_by_role("link", name="Run now").click()
    expect(page.get_by_role("heading", name="Run now").first).to_be_visible()


def test_the_first_press_of_tab_offers_to_pass_the_menu_by(page: Page):
    page.goto("/admin/syncs/sync/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="To the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    assert not axe.violations(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
