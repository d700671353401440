"""A first set-up in the browser, from an empty installation to an audited sync, by counted clicks."""

import base64
import json
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from syncs.models import Sync
from tests import world
from tests.browser import axe
from tests.browser.conftest import labelled

MOST = 14


class Hand:
    """A hand on a mouse: counts each press of a link, a button or an option, and each field clicked into."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def press(self, role: str, name: str | re.Pattern[str]) -> None:
        self._click(self.page.get_by_role(role, name=name, exact=True).first)  # type: ignore[arg-type]

    def write(self, label: str, text: str) -> None:
        field = labelled(self.page, label)
        self._click(field)
        field.fill(text)

    def choose(self, label: str, option: str) -> None:
        """Open a list and press an option: two clicks."""
        labelled(self.page, label).select_option(label=option)
        self.clicks += 2

    def give(self, label: str, file: Path) -> None:
        """Press the field of a file; its own window of the system counts as one more."""
        with self.page.expect_file_chooser() as chooser:
            self._click(labelled(self.page, label))
        chooser.value.set_files(file)
        self.clicks += 1

    def _click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1


def test_a_first_sync_is_set_up_run_and_audited_in_at_most_fourteen_clicks(page, site, key, worker, tmp_path):
    file = tmp_path / "recent-buyers.csv"
    file.write_text("".join(f"user-{number:04d}\n" for number in range(2500)))
    hand = Hand(page)
    page.goto("/admin/")

    hand.press("link", "New sync")
    hand.give("File", file)
    assert not axe.violations(page)
    hand.press("button", "Make a cohort of it")
    expect(page.get_by_text("recent buyers", exact=False).first).to_be_visible()
    assert not axe.violations(page)
    hand.press("link", re.compile("^Amplitude list"))
    hand.write("Base URL", site.replace("localhost", "127.0.0.1"))
    hand.write("Credential", key)
    hand.press("button", "Save")
    hand.press("button", "Send")
    expect(page.get_by_role("status")).to_contain_text("Accepted")
    assert not axe.violations(page)

    hand.press("link", re.compile("Next: when it is sent"))
    hand.choose("Schedule", "Every hour")
    expect(page.get_by_text("creates the list", exact=False)).to_be_visible()
    assert not axe.violations(page)
    hand.press("button", "Save and start")
    expect(page.get_by_text("Equal to version 1, 2,500 users")).to_be_visible()
    hand.press("link", str(Sync.objects.get().runs.get().pk))
    expect(page.get_by_role("row", name="Create list")).to_be_visible()
    expect(page.get_by_role("row", name="user-0999")).to_contain_text("1,000")

    print(f"A first set-up took {hand.clicks} clicks.")
    assert hand.clicks <= MOST
    assert held(page, site, key) == file.read_text().split()


def test_the_steps_are_left_and_taken_up_again(page, partner):
    """What a step made is offered first when one comes back, and nothing has to be made twice."""
    world.cohort(world.users(50), name="Recent buyers")
    page.goto("/admin/syncs/sync/new/")
    page.get_by_role("link", name=re.compile("^Recent buyers.*goes nowhere yet")).click()
    page.get_by_role("link", name=re.compile("^Amplitude list")).click()
    labelled(page, "Base URL").fill(partner.url)
    labelled(page, "Credential").fill(partner.key)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("This is a step of a new sync.")).to_be_visible()

    page.goto("/admin/")
    page.get_by_role("link", name="New sync").first.click()
    page.get_by_role("link", name=re.compile("^Recent buyers")).click()
    page.get_by_role("link", name=re.compile("^amplitude-list")).click()
    expect(page.get_by_text("adds 50 and removes 0 users")).to_be_visible()
    page.get_by_role("link", name="Choose another").first.click()
    expect(page.get_by_role("link", name=re.compile("^Recent buyers"))).to_be_visible()
    page.get_by_role("link", name=re.compile("^Recent buyers")).click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("“Run now” sends it for the first time.")).to_be_visible()
    assert Sync.objects.get().runs.count() == 0 and partner.calls == []


def held(page: Page, site: str, key: str) -> list[str]:
    """Return the users on the list, as the partner tells them over HTTP."""
    address = f"{site}/lists/{Sync.objects.get().list_id}/members?format=ndjson"
    credential = base64.b64encode(f"{key}:".encode()).decode()
    reply = page.request.get(address, headers={"Authorization": f"Basic {credential}"})
    return [json.loads(line)["userId"] for line in reply.text().splitlines()]
