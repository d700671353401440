"""Set up in one sitting: a destination and its test, a sync and its schedule; the builder by keyboard."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from cohorts.models import Cohort
from destinations.models import Destination
from events import spool
from events.compact import compact
from syncs.models import Sync
from tests import world
from tests.browser import axe
from tests.browser.conftest import labelled
from tests.partner import Fault, Partner


def test_a_destination_from_a_preset_is_reported_what_is_wrong_with_it(page: Page, partner: Partner):
    """An unknown variable is an error on its field; the test shows request and reply, and what to do."""
    page.goto("/admin/destinations/destination/add/")
    page.get_by_role("link", name=re.compile("^Amplitude list")).click()
    labelled(page, "Name").fill("acme")
    labelled(page, "Base URL").fill(partner.url)
    labelled(page, "Credential").fill("wrong-key")
    expect(labelled(page, "Create template")).to_be_hidden()
    page.get_by_text("Advanced: requests").click()
    expect(page.locator(".field-create_template")).to_contain_text("$cohort_name (Recent buyers)")
    template = labelled(page, "Create template")
    template.fill('{"name": "$cohort_nmae"}')
    page.get_by_role("button", name="Save", exact=True).click()
    row = page.locator(".field-create_template")
    expect(row).to_contain_text("Unknown variable $cohort_nmae. Known here:")
    assert not Destination.objects.exists()
    labelled(page, "Create template").fill('{"name": "$external_name"}')
    labelled(page, "Credential").fill("wrong-key")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("heading", name="Request, not sent")).to_be_visible()
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Correct the credential or its kind.")
    expect(page.get_by_text('"code": "unauthorized"')).to_be_visible()
    expect(page.get_by_text("Authorization: Basic •••")).to_be_visible()
    assert "wrong-key" not in page.content()
    assert not axe.violations(page)

    partner.key = "wrong-key"
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("Accepted; the list's id is 1")
    partner.fault = lambda call: Fault(503, {"error": "<b>busy</b>"})
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("A sync would try this again")
    expect(page.get_by_text("<b>busy</b>").first).to_be_visible()


def test_only_what_a_partner_needs_is_asked_and_the_rest_opens(page: Page):
    page.goto("/admin/destinations/destination/add/")
    page.get_by_role("searchbox", name="Search", exact=True).fill("klaviyo")
    page.get_by_role("button", name="Search", exact=True).click()
    assert not axe.violations(page)
    page.get_by_role("link", name=re.compile("^Klaviyo list")).click()
    expect(labelled(page, "Credential")).to_be_visible()
    expect(labelled(page, "Add template")).to_be_hidden()
    page.get_by_text("Advanced: requests").click()
    expect(labelled(page, "Add template")).to_be_visible()
    assert not axe.violations(page)


def test_a_sync_shows_whom_when_and_the_first_request_before_it_is_saved(page: Page, partner: Partner):
    buyers = world.cohort(world.users(1234), name="Recent buyers")
    world.cohort(name="Others")
    world.destination(partner.url, name="acme", title="Acme")
    world.destination(partner.url, name="other", title="Other")
    page.goto("/admin/syncs/sync/add/?schedule_kind=manual")
    plan = page.locator("#sync-plan")
    expect(plan).to_contain_text("Choose a cohort and a destination")
    for label, option in (("Cohort", "Recent buyers"), ("Destination", "Acme")):
        page.locator(f".field-{label.lower()} .select2-selection").click()
        page.get_by_role("option", name=re.compile(f"^{option}")).click()
    expect(plan).to_contain_text("Recent buyers: 1,234 users, version 1")
    expect(plan).to_contain_text("adds 1,234 and removes 0 users")
    expect(plan).to_contain_text("POST /lists HTTP/1.1")
    expect(plan).to_contain_text(f"[Amplitude] Recent buyers: {buyers.key}")

    labelled(page, "Schedule").select_option(label="Cron expression")
    labelled(page, "Time zone").fill("Asia/Kathmandu")
    labelled(page, "Cron expression").fill("15 7 * *")
    expect(plan).to_contain_text("A cron expression has five fields.")
    labelled(page, "Cron expression").fill("15 7 * * 1")
    expect(plan).to_contain_text("The next times, Asia/Kathmandu:")
    times = plan.get_by_role("listitem")
    expect(times).to_have_count(5)
    for text in times.all_inner_texts():
        assert re.fullmatch(r"Monday \d+ \w+ \d{4}, 07:15", text)
    assert not axe.violations(page)
    assert not Sync.objects.exists()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The next times, Asia/Kathmandu:")).to_be_visible()
    assert Sync.objects.get().timezone == "Asia/Kathmandu"
    assert partner.calls == []


@pytest.fixture
def carts() -> None:
    """Seven who put something into a cart, one of whom bought."""
    now = timezone.now().isoformat()
    rows = [{"user_id": f"u{n}", "event": "cart", "time": now, "properties": {}} for n in range(7)]
    spool.append("default", [*rows, {"user_id": "u1", "event": "buy", "time": now, "properties": {}}])
    compact("default")


def test_a_definition_is_built_by_keyboard_alone(page: Page, worker, carts):
    """Nothing is clicked: Tab, Enter and typing. The sentence follows, an error stands at its field."""
    page.goto("/admin/cohorts/cohort/add/")
    keyboard = page.keyboard
    go_to(page, "Name")
    keyboard.type("Left a cart")
    go_to(page, "Source")
    keyboard.type("What people")
    go_to(page, "Add condition")
    expect(page.get_by_text("Add a condition.")).to_be_visible()
    keyboard.press("Enter")
    # What is empty is asked for, and is no error until one saves.
    expect(page.get_by_text("Still to fill in.")).to_be_visible()
    go_to(page, "Event (* is any)")
    keyboard.type("cart")
    said = page.get_by_role("status").first
    expect(said).to_have_text('Users who performed "cart" at any time.')
    go_to(page, "How often or much")
    keyboard.press("ArrowDown")
    keyboard.press("Shift+Tab")
    keyboard.press("Control+A")
    keyboard.press("Delete")
    field = page.get_by_label("number", exact=True).first
    expect(field).to_have_attribute("aria-describedby", re.compile("."))
    problem = page.locator(f"#{field.get_attribute('aria-describedby')}")
    expect(problem).to_have_text("Still to fill in.")
    keyboard.type("1")
    expect(said).to_contain_text('performed "cart" at least 1 time')
    go_to(page, "Add condition")
    keyboard.press("Enter")
    keyboard.type("did not do")
    go_to(page, "Event (* is any)")
    keyboard.type("buy")
    expect(said).to_contain_text('did not perform "buy"')
    assert not axe.violations(page)
    go_to(page, "Preview")
    keyboard.press("Enter")
    preview = page.locator("#preview")
    expect(preview.get_by_text("6 users")).to_be_visible()
    expect(preview.get_by_role("listitem")).to_have_text(["u0", "u2", "u3", "u4", "u5", "u6"])
    assert not axe.violations(page)
    go_to(page, "Save")
    keyboard.press("Enter")
    expect(page.get_by_text("Not calculated yet").first).to_be_visible()

    page.get_by_role("button", name="Calculate now").click()
    wait_for_version(page, 1)
    page.get_by_role("link", name="Why is a user in or not?").click()
    for user, words in (("u0", "belongs to the cohort"), ("u1", "does not belong to the cohort")):
        labelled(page, "User id").fill(user)
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_text(words).first).to_be_visible()
    expect(page.get_by_text("✗ false").first).to_be_visible()
    assert not axe.violations(page)


# The name of what has the focus, and whether that is seen: a ring around it or the box that it fills.
FOCUSED = """() => {
    const one = document.activeElement, label = one.labels && one.labels[0];
    const named = label ? (label.querySelector("span:not([class])") || label).innerText : one.innerText;
    const styles = [one, one.parentElement || one].map((each) => getComputedStyle(each));
    const seen = styles.some((style) => style.outlineStyle !== "none" || style.boxShadow !== "none");
    return [one.ariaLabel || named || "", seen || one === document.body];
}"""


def go_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, which must be seen."""
    for _ in range(150):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        assert found[1], f"the focus on {found[0]!r} is not seen"
        if found[0].strip().rstrip("*: ").strip() == name:
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


def wait_for_version(page: Page, number: int) -> None:
    """Load the page again until the worker has published a version."""
    for _ in range(60):
        if Cohort.objects.get().version >= number:
            break
        page.wait_for_timeout(250)
    page.reload()
    expect(page.get_by_text(f"Version {number}, 6 users")).to_be_visible()
