"""Each kind of condition is made in the form, and its sentence follows."""

import os

from playwright.sync_api import Page, expect

from cohorts.models import Cohort
from tests.browser import axe
from tests.browser.conftest import labelled


def chosen(page: Page, at: str, value: str) -> None:
    """Choose in the list that stands at a place of the JSON."""
    page.locator(f'[data-at="{at}"]').select_option(value)


def test_more_a_sample_alternatives_and_a_date_are_made_in_the_form(page: Page):
    page.goto("/admin/cohorts/cohort/add/")
    labelled(page, "Name").fill("Often")
    labelled(page, "Source").select_option("behavioral")
    said = page.get_by_role("status").first
    page.get_by_role("button", name="Add condition").click()
    chosen(page, "/where/all/0!kind", "more")
    events = page.get_by_label("Event (* is any)")
    events.nth(0).fill("play")
    events.nth(1).fill("skip")
    chosen(page, "/where/all/0/more/first/window!window", "this")
    page.get_by_label("times as often").fill("2")
    expect(said).to_have_text('Users who performed "play" this month more than 2 times as often as "skip".')
    page.get_by_role("button", name="with a property").nth(0).click()
    page.get_by_role("button", name="Or another property").click()
    names = page.get_by_label("Property", exact=True)
    names.nth(0).fill("plan")
    names.nth(1).fill("trial_end")
    chosen(page, "/where/all/0/more/first/where/0/any/1!op", "next")
    expect(said).to_contain_text('with "plan" equal to "" or "trial_end" in the next 30 days')
    page.get_by_label("Value", exact=True).fill("pro")
    page.get_by_label("in any case").check()
    page.get_by_role("button", name="Add condition").click()
    chosen(page, "/where/all/1!kind", "sample")
    page.get_by_label("Name of the draw").fill("spring")
    expect(said).to_contain_text('"plan" equal to "pro" (in any case) or')
    expect(said).to_contain_text('are in the sample "spring" of 10 %.')
    if folder := os.environ.get("SCREENSHOTS"):
        page.locator(".cs-frame").screenshot(path=f"{folder}/builder-kinds.png")
    assert not axe.violations(page)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Not calculated yet").first).to_be_visible()
    definition = Cohort.objects.get().definition
    assert definition is not None
    [more, sample] = definition["where"]["all"]
    assert sample == {"sample": {"percent": 10, "salt": "spring"}}
    assert more["more"]["times"] == 2 and more["more"]["first"]["window"] == {"this": "month"}
    assert more["more"]["first"]["where"] == [
        {
            "any": [
                {"property": "plan", "=": "pro", "ignore_case": True},
                {"property": "trial_end", "next": "30d"},
            ]
        }
    ]
