"""The measures of "performed", and the times of a sequence, are made in the form."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import labelled
from tests.browser.test_builder_kinds import chosen

AT = "/where/all/0"


def test_a_run_of_days_the_first_event_and_soon_after_are_made_in_the_form(page: Page):
    page.goto("/admin/cohorts/cohort/add/")
    labelled(page, "Name").fill("Streak")
    labelled(page, "Source").select_option("behavioral")
    said = page.get_by_role("status").first
    page.get_by_role("button", name="Add condition").click()
    page.get_by_label("Event (* is any)").fill("play")
    chosen(page, f"{AT}/performed!measure", "periods")
    page.get_by_role("button", name="More of this condition").click()
    page.get_by_label("in a row").check()
    page.get_by_label("so often in each").check()
    expect(said).to_have_text(
        'Users who performed "play" on at least 3 days in a row, at least 2 times in each over all time.'
    )
    chosen(page, f"{AT}/performed!measure", "nth")
    expect(said).to_have_text('Users who performed "play" whose first time was in the last 30 days.')
    chosen(page, f"{AT}/performed!measure", "percentile")
    page.get_by_label("of the property").fill("seconds")
    expect(said).to_contain_text('with a 90th percentile of "seconds" of at least 1')
    page.get_by_label("only soon after their first …").check()
    expect(said).to_contain_text("within 7 days of their first event")
    chosen(page, f"{AT}!kind", "sequence")
    page.get_by_label("Event (* is any)").nth(0).fill("cart")
    page.get_by_label("Event (* is any)").nth(1).fill("buy")
    page.get_by_role("button", name="More of step 2").click()
    page.get_by_label("soon after the step before").check()
    page.get_by_role("button", name="More of the whole").click()
    page.get_by_label("all with the same property (empty: any)").fill("sku")
    expect(said).to_have_text(
        'Users who went through ["cart", then "buy" within 1 day, all with the same "sku"].'
    )
