"""A first set-up in the browser, from an empty installation to an audited sync, by counted clicks."""

import base64
import json
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from syncs.models import Sync
from tests.browser.conftest import labelled

MOST = 20


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


def test_a_first_sync_is_set_up_run_and_audited_in_less_than_twenty_clicks(page, site, key, worker, tmp_path):
    file = tmp_path / "buyers.csv"
    file.write_text("".join(f"user-{number:04d}\n" for number in range(2500)))
    hand = Hand(page)
    page.goto("/admin/")

    hand.press("link", "Add a destination")
    hand.press("link", re.compile("^Amplitude list"))
    hand.write("Name", "acme")
    hand.write("Base URL", site.replace("localhost", "127.0.0.1"))
    hand.write("Credential", key)
    hand.press("button", "Save")
    hand.press("button", "Send")
    expect(page.get_by_role("status")).to_contain_text("Accepted")

    hand.press("link", "Next: make a cohort")
    hand.write("Name", "Recent buyers")
    hand.press("button", "Save")
    hand.give("File", file)
    hand.press("button", "Upload")
    hand.press("link", "Send it to a destination")

    hand.choose("Schedule", "Every hour")
    expect(page.get_by_text("creates the list", exact=False)).to_be_visible()
    hand.press("button", "Save")
    hand.press("button", "Run now")
    expect(page.get_by_text("Equal to version 1, 2,500 users")).to_be_visible()
    hand.press("link", str(Sync.objects.get().runs.get().pk))
    expect(page.get_by_role("row", name="Create list")).to_be_visible()
    expect(page.get_by_role("row", name="user-0999")).to_contain_text("1,000")

    print(f"A first set-up took {hand.clicks} clicks.")
    assert hand.clicks < MOST
    assert held(page, site, key) == file.read_text().split()


def held(page: Page, site: str, key: str) -> list[str]:
    """Return the users on the list, as the partner tells them over HTTP."""
    address = f"{site}/lists/{Sync.objects.get().list_id}/members?format=ndjson"
    credential = base64.b64encode(f"{key}:".encode()).decode()
    reply = page.request.get(address, headers={"Authorization": f"Basic {credential}"})
    return [json.loads(line)["userId"] for line in reply.text().splitlines()]
