"""A sync's page, and a run's from its first batch to its last: live, cancelled, resumed, held, rejected."""

import csv
import io
import re

from playwright.sync_api import Page, expect

from syncs.choices import RunState
from syncs.models import Rejection, Run, Sync
from tests import world
from tests.browser import axe
from tests.partner import Fault, Partner


def page_of(page: Page, row) -> None:
    url = f"/admin/syncs/{row._meta.model_name}/{row.pk}/"
    page.goto(url if isinstance(row, Sync) else f"{url}change/")


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def link(page: Page, name: str | re.Pattern[str]) -> None:
    page.get_by_role("link", name=name).first.click()


def test_a_syncs_page_from_dry_run_to_full_resync(page: Page, partner: Partner, worker):
    cohort = world.cohort(world.users(1500), name="Recent buyers")
    sync = world.sync(cohort, world.destination(partner.url, title="Acme"))
    page_of(page, sync)
    expect(page.get_by_text("“Dry run” shows what the first run would send")).to_be_visible()
    link(page, "Dry run")
    expect(page.get_by_text("Nothing is sent.")).to_be_visible()
    facts = page.locator(".cs-facts")
    expect(facts).to_contain_text("1,500")
    expect(page.get_by_text("u0000000", exact=True)).to_be_visible()
    assert partner.calls == []
    link(page, "Back to the sync")

    button(page, "Run now")
    expect(
        page.get_by_text(re.compile(r"Equal to version 1, 1,500 users, (just now|.* ago)"))
    ).to_be_visible()
    expect(page.get_by_role("definition").filter(has_text=re.compile("^1$"))).to_be_visible()
    world.fill(cohort, world.users(1400))
    button(page, "Run now")
    expect(page.get_by_text(re.compile("Equal to version 2, 1,400 users"))).to_be_visible()
    chart = page.get_by_role("img", name=re.compile("^Users added, removed and not taken by each"))
    expect(chart).to_be_visible()
    last = chart.locator("title").all_text_contents()[1]
    assert last.endswith("0 added, 100 removed, 0 rejected, 0 not delivered")

    button(page, "Pause")
    expect(page.get_by_text("The sync is paused: its schedule starts nothing.")).to_be_visible()
    button(page, "Resume")
    expect(page.get_by_text("The sync follows its schedule again.")).to_be_visible()

    link(page, "Full resync")
    expect(page.get_by_role("heading", name="Send everybody again?")).to_be_visible()
    partner.lists["1"].clear()
    button(page, "Full resync")
    expect(page.get_by_role("cell", name="1,400")).to_be_visible()
    assert partner.lists["1"] == set(world.users(1400))


def test_a_run_is_watched_cancelled_and_put_right(page: Page, partner: Partner, worker):
    partner.delay = 0.5
    sync = world.sync(world.cohort(world.users(8000)), world.destination(partner.url, batch_size=50))
    page_of(page, sync)
    button(page, "Run now")
    run = Run.objects.get()
    page_of(page, run)
    label = page.locator("[data-progress-label], .cs-label").first
    expect(label).to_have_text(RunState.RUNNING.label)
    page.wait_for_load_state()
    loaded = page.evaluate("performance.timeOrigin")
    done = page.locator("[data-word=done]")
    expect(done).to_have_text(re.compile(r"^[1-9][\d,]* of 8,000$"))
    first = done.inner_text()
    expect(done).not_to_have_text(first)
    expect(page.locator("[data-word=rate]")).to_have_text(re.compile(r"^\d[\d,]*$"))
    expect(page.locator("[data-word=left]")).to_have_text(re.compile(r"\d s$"))
    expect(page.locator("[data-word=in_flight]")).to_have_text(re.compile("^[1-4]$"))
    assert page.evaluate("performance.timeOrigin") == loaded
    assert not axe.violations(page)

    link(page, "Cancel")
    button(page, "Cancel")
    expect(label).to_have_text(RunState.CANCELLED.label)
    assert 0 < len(partner.lists["1"]) < 8000
    partner.delay = 0
    page_of(page, sync)
    button(page, "Run now")
    expect(page.get_by_text("Equal to version 1, 8,000 users")).to_be_visible()
    assert len(partner.lists["1"]) == 8000


def test_a_run_that_failed_shows_why_and_goes_on_where_it_stopped(page: Page, partner: Partner, worker):
    sync = world.sync(
        world.cohort(world.users(300)), world.destination(partner.url, batch_size=100, threads=1)
    )
    partner.fault = lambda call: Fault(403, {"error": "<i>no</i>"}) if len(partner.calls) > 3 else None
    page_of(page, sync)
    button(page, "Run now")
    expect(page.get_by_text(RunState.FAILED.label, exact=True).first).to_be_visible()
    page_of(page, Run.objects.get())
    expect(
        page.get_by_text("The destination is paused").or_(page.get_by_text("<i>no</i>")).first
    ).to_be_visible()
    table = page.get_by_role("region", name="Batches")
    table.get_by_role("link").nth(1).click()
    expect(page.get_by_text("Authorization: Basic •••").first).to_be_visible()
    assert world.KEY not in page.content()

    partner.fault = lambda call: None
    page.goto(f"/admin/destinations/destination/{sync.destination_id}/")
    link(page, "Resume")
    assert not axe.violations(page)
    button(page, "Resume")
    expect(page.get_by_role("link", name="Pause", exact=True)).to_be_visible()
    page_of(page, Run.objects.get())
    if Run.objects.get().state == RunState.FAILED:
        button(page, "Resume")
    expect(page.locator(".cs-label").first).to_have_text(RunState.SUCCEEDED.label)
    assert Run.objects.count() == 1
    assert partner.lists["1"] == set(world.users(300))
    adds = [user for call in partner.calls if call.kind == "add" and call.applied for user in call.users]
    assert len(adds) == 300


def test_rejected_users_are_filtered_downloaded_retried_and_dismissed(page: Page, partner: Partner, worker):
    bad = ["=cmd()", "bad-1", "bad-2"]
    cohort = world.cohort([*world.users(50), *bad])
    sync = world.sync(cohort, world.destination(partner.url, title="Acme"))

    def refuse(call):
        named = [user for user in call.users if user in bad]
        body = {"error": {"code": "unknown_user", "message": "Who is this?", "invalidUserIds": named}}
        return Fault(400, body) if named and call.kind == "add" else None

    partner.fault = refuse
    page_of(page, sync)
    button(page, "Run now")
    link(page, "3 rejected")
    expect(page.get_by_role("table").get_by_text(re.compile("Who is this"))).to_have_count(3)
    with page.expect_download() as download:
        link(page, "Download as CSV")
    rows = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert len(rows) == 4
    assert not [cell for row in rows for cell in row if cell.startswith("=")]
    page.locator("#searchbar").fill("bad-1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("table").get_by_text(re.compile("Who is this"))).to_have_count(1)

    page_of(page, Rejection.objects.get(user_id="bad-1"))
    button(page, "Dismiss")
    expect(page.get_by_text("Dismissed by a person")).to_be_visible()
    partner.fault = lambda call: None
    page_of(page, Rejection.objects.get(user_id="bad-2"))
    button(page, "Try again at the next run")
    expect(page.get_by_text("1 user will be tried again at the next run of their sync.")).to_be_visible()
    page_of(page, sync)
    button(page, "Run now")
    expect(
        page.get_by_text(RunState.SUCCEEDED.label, exact=True).or_(page.get_by_text("Equal")).first
    ).to_be_visible()
    for _ in range(100):
        if "bad-2" in partner.lists["1"]:
            break
        page.wait_for_timeout(100)
    assert "bad-2" in partner.lists["1"]
    assert "bad-1" not in partner.lists["1"]


def test_a_held_run_shows_what_it_would_do_and_is_refused_or_approved(page: Page, partner: Partner, worker):
    cohort = world.cohort(world.users(100))
    sync = world.sync(cohort, world.destination(partner.url))
    Sync.objects.filter(pk=sync.pk).update(guard_users=10)
    page_of(page, sync)
    button(page, "Run now")
    expect(page.get_by_text("Equal to version 1, 100 users")).to_be_visible()
    world.fill(cohort, world.users(40))
    for decision, left in (("Refuse", 100), ("Approve", 40)):
        page_of(page, sync)
        button(page, "Run now")
        link(page, re.compile(r"^Run \d+$"))
        expect(page.get_by_role("heading", name="What it would do")).to_be_visible()
        expect(page.get_by_text("Add 0 and remove 60 users.")).to_be_visible()
        expect(page.get_by_text("u0000040", exact=True)).to_be_visible()
        link(page, decision)
        assert not axe.violations(page)
        button(page, decision)
        final = RunState.SUCCEEDED if decision == "Approve" else RunState.CANCELLED
        expect(page.locator(".cs-label").first).to_have_text(final.label)
        assert len(partner.lists["1"]) == left
