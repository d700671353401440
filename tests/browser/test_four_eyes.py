"""Four eyes, in the browser: one person changes a form, another sees the difference and approves it."""

from playwright.sync_api import Page, expect

from cohortsite.models import Proposal
from tests import world
from tests.browser import axe
from tests.browser.conftest import labelled
from tests.browser.test_channels import picture


def test_one_proposes_and_another_approves(settings, open_page):
    settings.FOUR_EYES = True
    acme = world.destination("http://127.0.0.1:9", name="acme", title="Acme")
    operator: Page = open_page("operator")
    operator.goto(acme.get_absolute_url())
    operator.get_by_role("link", name="Edit").click()
    expect(operator.get_by_text("what you save here is a proposal")).to_be_visible()
    picture(operator, "proposing")
    labelled(operator, "Title").fill("Acme, Inc.")
    operator.locator("#id_credential").fill("n3w-s3cret")
    operator.get_by_role("button", name="Save", exact=True).click()
    expect(operator.get_by_text("Proposed, and nothing is changed yet")).to_be_visible()
    expect(operator.get_by_role("link", name="Withdraw")).to_be_visible()
    expect(operator.get_by_role("link", name="Approve")).to_have_count(0)
    assert not axe.everywhere(operator)

    page: Page = open_page("administrator")
    page.goto("/admin/cohortsite/proposal/")
    assert not axe.everywhere(page)
    picture(page, "proposals")
    page.get_by_role("link", name="Change of destination Acme").click()
    expect(page.get_by_role("cell", name="Acme, Inc.")).to_be_visible()
    assert "n3w-s3cret" not in page.content()
    picture(page, "proposal")
    page.get_by_role("link", name="Approve").click()
    page.get_by_label("Why").fill("As agreed")
    picture(page, "proposal-question")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Acme, Inc. is now what was proposed.")).to_be_visible()
    acme.refresh_from_db()
    assert (acme.title, acme.credential.reveal()) == ("Acme, Inc.", "n3w-s3cret")
    assert Proposal.objects.get().state == "approved"
    picture(page, "proposal-approved")
