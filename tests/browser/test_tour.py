"""The tour and the words explained, in a browser: by keyboard, read by axe, on a telephone too."""

import re

from playwright.sync_api import Page, expect

from cohortsite.glossary import meanings
from cohortsite.tour import STOPS
from tests import world
from tests.browser import axe


def below(page: Page) -> str:
    """Return what is shown below the word that has the keyboard."""
    return str(page.evaluate("getComputedStyle(document.activeElement, '::after').display"))


def test_the_tour_is_walked_by_keyboard_from_the_empty_overview(page):
    page.goto("/admin/")
    page.get_by_role("link", name="Take the tour").press("Enter")
    wrong = []
    for number, stop in enumerate(STOPS, 1):
        expect(
            page.get_by_role("heading", name=f"{stop.title} step {number} of {len(STOPS)}")
        ).to_be_visible()
        wrong += [f"{stop.page}: {line}" for line in axe.everywhere(page)]
        if number < len(STOPS):
            # One is past the menu already: the first press of Tab is the way on.
            page.goto(f"/admin/tour/{number}/")
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.innerText") == "Next", stop.page
            page.keyboard.press("Enter")
    assert not wrong, "\n".join(wrong)
    page.get_by_role("link", name="End of the tour: to the overview").press("Enter")
    expect(page.get_by_role("link", name="Take the tour")).to_be_visible()


def test_a_word_is_explained_on_focus_and_on_hover_until_escape(page):
    sync = world.sync(world.cohort(["u1"]), world.destination("http://127.0.0.1:9"))
    page.goto(sync.get_absolute_url())
    word = page.get_by_role("link", name="Name there", exact=True)
    expect(word).to_have_accessible_description(meanings()["external name"])
    page.get_by_role("link", name=re.compile("^Version")).focus()
    page.keyboard.press("Tab")
    assert below(page) == "block"
    assert not axe.violations(page) + axe.in_the_dark(page)
    page.keyboard.press("Escape")
    assert below(page) == "none"
    page.keyboard.press("Tab")
    word.hover()
    assert word.evaluate("one => getComputedStyle(one, '::after').display") == "block"
    page.set_viewport_size(axe.TELEPHONE)
    word.hover()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    word.press("Enter")
    expect(page).to_have_url(re.compile(r"/help/glossary/#external-name$"))
