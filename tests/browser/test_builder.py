"""The builder reads like its sentence: numbers follow, lines move, undo, templates, copies, values."""

import os
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from cohorts.models import Cohort
from events import spool
from events.compact import compact
from tests.browser import axe
from tests.browser.conftest import labelled
from tests.browser.test_builder_kinds import chosen

ADD = "/admin/cohorts/cohort/add/"


@pytest.fixture
def shop(site: str) -> None:
    """Seven who put something into a cart, of whom two bought, one for much."""
    now = timezone.now().isoformat()
    rows = [
        {
            "user_id": f"u{n}",
            "event": "add_to_cart",
            "time": now,
            "properties": {"plan": "pro" if n < 5 else "free"},
        }
        for n in range(7)
    ]
    bought = [
        {"user_id": f"u{n}", "event": "purchase", "time": now, "properties": {"revenue": 80 * n}}
        for n in (1, 2)
    ]
    spool.append("default", [*rows, *bought])
    compact("default")


def begun(page: Page, with_: str = "") -> None:
    page.goto(ADD)
    labelled(page, "Name").fill("Built")
    labelled(page, "Source").select_option("behavioral")
    if with_:
        begin = page.get_by_label("Begin with")
        expect(begin.locator("option", has_text=with_)).to_have_count(1)
        begin.select_option(begin.locator("option", has_text=with_).get_attribute("value"))
        page.get_by_role("button", name="Use it").click()


def said(page: Page) -> Locator:
    return page.get_by_role("status").first


def picture(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        page.evaluate(axe.SETTLED)
        page.locator(".cs-frame").screenshot(path=Path(folder) / f"{name}.png")


def test_a_template_uses_the_names_that_came_and_the_numbers_follow(page: Page, worker: None, shop: None):
    begun(page, "Left a cart")
    expect(said(page)).to_have_text(
        'Users who performed "add_to_cart" in the last 7 days '
        'and did not perform "purchase" in the last 7 days.'
    )
    expect(page.get_by_text("5 of 7 known people belong to it now.")).to_be_visible()
    expect(page.locator(".cs-share")).to_have_text(["7 pass · 100 %", "5 pass · 71 %"])
    picture(page, "builder-light")
    assert not axe.everywhere(page)
    page.emulate_media(color_scheme="dark")
    picture(page, "builder-dark")
    page.set_viewport_size(axe.TELEPHONE)
    picture(page, "builder-phone")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    # While something else is typed, the last answer stays, in grey.
    page.get_by_label("Event (* is any)").first.fill("")
    expect(page.locator(".cs-size.cs-stale > span")).to_have_text("5 of 7 known people belong to it now.")
    expect(page.get_by_text("Still to fill in.")).to_be_visible()
    page.get_by_label("Event (* is any)").first.fill("purchase")
    expect(page.get_by_text("0 of 7 known people belong to it now.")).to_be_visible()


def test_values_that_came_are_suggested_with_their_numbers(page: Page, shop: None):
    begun(page)
    page.get_by_role("button", name="Add condition").click()
    page.get_by_label("Event (* is any)").fill("add_to_cart")
    page.get_by_role("button", name="with a property").click()
    page.get_by_label("Property", exact=True).fill("plan")
    value = page.get_by_label("Value", exact=True)
    value.focus()
    options = page.locator(f'datalist[id="{value.get_attribute("list")}"] option')
    expect(options).to_have_count(2)
    assert [(one.get_attribute("value"), one.text_content()) for one in options.all()] == [
        ("pro", "5 times"),
        ("free", "2 times"),
    ]
    value.fill("pro")
    expect(said(page)).to_have_text(
        'Users who performed "add_to_cart" with "plan" equal to "pro" at any time.'
    )
    # A property of numbers is compared with a number, without a word about types.
    page.get_by_label("Event (* is any)").fill("purchase")
    page.get_by_label("Property", exact=True).fill("revenue")
    value.fill("")
    expect(page.locator("datalist option[value=revenue]")).to_have_count(1)
    value.blur()
    value.focus()
    value.fill("80")
    expect(said(page)).to_contain_text('"revenue" equal to 80')


def test_lines_move_by_mouse_and_by_keyboard_are_doubled_and_undone(page: Page):
    begun(page)
    for name in ("first", "second"):
        page.get_by_role("button", name="Add condition").click()
        page.get_by_label("Event (* is any)").last.fill(name)
    page.get_by_role("button", name="Add group").click()
    page.get_by_label("Event (* is any)").last.fill("third")
    expect(said(page)).to_contain_text(
        '"first" at any time, performed "second" at any time, and performed "third"'
    )
    # Down once: past the second; again: into the group; there it is the first.
    page.get_by_role("button", name="Move condition 1 of 3 by the arrow keys").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="Move condition 2 of 3 by the arrow keys")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(said(page)).to_contain_text('performed "second" at any time and (performed "first" at any time or')
    page.get_by_role("button", name="Duplicate condition 1 of 1").or_(
        page.get_by_role("button", name="Duplicate condition 1 of 2")
    ).first.click()
    expect(page.get_by_label("Event (* is any)")).to_have_count(4)
    page.keyboard.press("Control+z")
    expect(page.get_by_label("Event (* is any)")).to_have_count(3)
    page.get_by_role("button", name="Redo").click()
    expect(page.get_by_label("Event (* is any)")).to_have_count(4)
    page.get_by_role("button", name="Undo").click()
    # By the mouse: the last of the group before everything.
    last = page.get_by_role("button", name="Move condition 2 of 2 by the arrow keys")
    last.drag_to(page.locator('[data-item="/where/all/0"]'), target_position={"x": 200, "y": 4})
    expect(said(page)).to_contain_text('Users who performed "third" at any time, performed "second"')
    assert not axe.violations(page)


def test_a_cohort_is_begun_with_a_copy_of_another_and_the_details_of_a_line_open(page: Page):
    where = {"all": [{"not": {"performed": {"event": "play", "count": {"<": 3}, "or_never": True}}}]}
    Cohort.objects.create(
        key="other", name="Other one", source_kind="behavioral", definition={"version": 1, "where": where}
    )
    begun(page, "Other one")
    expect(said(page)).to_have_text(
        'Users who did not perform "play" fewer than 3 times over all time, or never.'
    )
    assert page.locator('[data-at="/where/all/0!kind"]').input_value() == "!performed"
    page.get_by_label("or never").uncheck()
    chosen(page, "/where/all/0!kind", "performed")
    expect(said(page)).to_have_text('Users who performed "play" fewer than 3 times over all time.')
    # What was there once stays in sight; then it is folded away.
    page.get_by_role("button", name="Less of this condition").click()
    more = page.get_by_role("button", name="More of this condition")
    assert more.get_attribute("aria-expanded") == "false"
    expect(page.get_by_role("button", name="or another event")).to_have_count(0)
    more.click()
    page.get_by_role("button", name="or another event").click()
    page.get_by_label("or event").fill("skip")
    expect(said(page)).to_contain_text('performed "play" or "skip" fewer than')
    chosen(page, "/where!kind", "any")
    page.get_by_role("button", name="Add group").click()
    chosen(page, "/where/any/1!kind", "!any")
    page.get_by_label("Event (* is any)").last.fill("bye")
    expect(said(page)).to_contain_text('or did not perform "bye" at any time.')
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Not calculated yet").first).to_be_visible()
    definition = Cohort.objects.get(key="built").definition
    assert definition is not None
    assert definition["where"]["any"][1] == {"not": {"any": [{"performed": {"event": "bye"}}]}}


def test_what_is_empty_is_asked_for_until_it_is_saved(page: Page):
    begun(page)
    page.get_by_role("button", name="Add condition").click()
    event = page.get_by_label("Event (* is any)")
    event.focus()
    event.blur()
    expect(page.get_by_text("Still to fill in.")).to_be_visible()
    assert event.get_attribute("aria-invalid") is None
    page.get_by_role("button", name="Save", exact=True).click()
    expect(event).to_have_attribute("aria-invalid", "true")
