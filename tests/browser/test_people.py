"""A cohort's page, one user everywhere, and who sees what."""

import re
from pathlib import Path

from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from cohorts.models import Upload
from destinations.models import Destination
from tests import world
from tests.browser import axe, fixtures
from tests.browser.conftest import Open, labelled
from tests.partner import Partner


def test_a_cohorts_charts_members_difference_and_export(page: Page):
    cohort = world.cohort(world.users(1200), name="Recent buyers")
    world.fill(cohort, world.users(1100, first=150))
    world.fill(cohort, world.users(1300, first=150))
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/")
    chart = page.get_by_role(
        "img", name=re.compile("^Users over time: 1,200 in version 1, 1,300 in version 3")
    )
    expect(chart).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("^Entered and left per version"))).to_be_visible()

    page.get_by_role("link", name="Versions", exact=True).click()
    page.get_by_role("link", name="Compare versions").click()
    labelled(page, "From version").fill("1")
    labelled(page, "to version").fill("2")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("50 entered, 150 left.")).to_be_visible()
    expect(page.get_by_text("u0001249", exact=True)).to_be_visible()

    page.get_by_role("link", name="Members").click()
    expect(page.get_by_text("Version 3 has 1,300 members.")).to_be_visible()
    page.get_by_label("User id, or how it begins").fill("u000020")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("td.user-id")).to_have_count(10)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    assert download.value.path().read_text().split()[-1300:] == world.users(1300, first=150)


def test_an_upload_goes_on_when_its_page_is_left(page: Page, tmp_path: Path, worker):
    cohort = world.cohort(name="Recent buyers", key="buyers")
    file = tmp_path / "buyers.csv"
    file.write_text("customer_id\n" + "".join(f"{user}\n" for user in world.users(30_000)))
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/")
    expect(page.get_by_text("It has no members yet, and syncs skip it.")).to_be_visible()
    page.get_by_role("link", name="Upload users").click()
    labelled(page, "File").set_input_files(file)
    labelled(page, "Column").fill("customer")
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text(re.compile("customer_id"))).to_be_visible()
    labelled(page, "File").set_input_files(file)
    labelled(page, "Column").fill("customer_id")
    page.get_by_role("button", name="Upload", exact=True).click()
    address = f"/admin/cohorts/cohort/{cohort.pk}/uploads/{Upload.objects.get().pk}/"
    page.goto("/admin/")
    page.goto(address)
    expect(page.get_by_text("Imported: 30,000 user ids, version 1.")).to_be_visible()
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/")
    expect(page.get_by_text("Version 1, 30,000 users")).to_be_visible()
    expect(page.get_by_role("link", name="buyers.csv")).to_be_visible()


def test_a_file_is_shown_and_its_column_chosen_before_it_is_sent(page: Page, tmp_path: Path, worker):
    cohort = world.cohort(name="Recent buyers", key="buyers")
    file = tmp_path / "kunden.csv"
    file.write_text("kunde;name\n" + "".join(f"{user};Ann\n" for user in world.users(3)))
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/upload/")
    labelled(page, "File").set_input_files(file)
    look = page.locator("#upload-look")
    expect(look).to_contain_text("separated by semicolons, without a heading")
    expect(look).to_contain_text("none is known to hold user ids: kunde, name")
    look.get_by_role("button", name="column 1").click()
    expect(look).to_contain_text("Is the first line (kunde, name) a heading, or does it hold a user id?")
    labelled(page, "First line").select_option(label="Is a heading")
    expect(look.get_by_role("button", name="kunde")).to_have_attribute("aria-pressed", "true")
    assert not axe.everywhere(page)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("Imported: 3 user ids, version 1.")).to_be_visible()


def test_one_user_is_found_everywhere(page: Page, site: str, key: str):
    """Our cohorts, what the destination was sent, and what the receiving side, which is ours too, holds."""
    address = site.replace("localhost", "127.0.0.1")
    buyers = world.cohort(["u1", "u2"], name="Recent buyers")
    listed = world.sync(buyers, world.destination(address, title="Acme", credential=key))
    owned = world.sync(buyers, world.destination(address, "amplitude-property", title="Bolt", credential=key))
    world.run(listed)
    world.run(owned)
    world.fill(buyers, ["u2"])
    page.goto("/admin/")
    page.get_by_role("link", name="Where is user X?").click()
    labelled(page, "User id, exactly").fill("u1")
    page.get_by_role("button", name="Find").click()
    sent = page.get_by_role("listitem")
    expect(sent.filter(has_text="Acme")).to_contain_text(
        "has this user as of version 1; the next run tells it"
    )
    expect(sent.filter(has_text="Bolt")).to_contain_text("has this user as of version 1")
    expect(page.get_by_text("Left in version 2")).to_be_visible()
    held = page.locator("section").filter(has_text="What partners sent us")
    expect(held).to_contain_text("[Amplitude] Recent buyers")
    expect(held).to_contain_text("True")
    sent.filter(has_text="Acme").get_by_role("link", name=re.compile("^sent")).click()
    expect(page.get_by_role("heading", name="Last request")).to_be_visible()
    page.goto("/admin/where/?user=nobody")
    expect(page.get_by_text("Nothing is known of nobody.")).to_be_visible()


CHANGES = re.compile(
    "^(Save.*|Delete.*|Add.*|Run now|Pause|Resume|Full resync|Cancel|Approve|Refuse|Upload.*|Rename.*|Archive"
    "|Dismiss|Start over|Empty the.*|Try again.*|Calculate now|Send( .*)?|Replay|Revoke|Forget.*)$"
)
# The pages whose whole point is a change, which a viewer is not let in to.
SHUT = {
    "upload",
    "new sync",
    "new sync, where",
    "new sync, when",
    "cohort from a file",
    "sync, rename",
    "destination, test",
    "preview",
    "user",
    "group",
}


def test_a_viewer_sees_every_page_but_no_secret_and_no_button(open_page: Open, partner: Partner):
    superuser = User.objects.create(username="superuser", is_superuser=True)
    made = fixtures.set_up(partner, superuser)
    page = open_page("viewer")
    looked = 0
    for name, url in made.pages.items():
        if (
            name in SHUT
            or name.endswith((", delete", ", password", ", preset", ", question"))
            or name == "password"
        ):
            continue
        reply = page.goto(url)
        assert reply and reply.status == 200, name
        content = page.content()
        assert world.KEY not in content and "gAAAA" not in content, name
        if name != "API docs":
            buttons = page.locator(
                "#main button, #main a, #content button, form button, form input[type=submit]"
            )
            names = [text.split("\n")[-1].strip() for text in buttons.all_inner_texts()]
            assert not [text for text in names if CHANGES.match(text)], name
        looked += 1
    assert looked > 25
    page.goto(made.pages["destination, form"])
    expect(page).to_have_url(re.compile(re.escape(made.pages["destination"]) + "$"))
    page.get_by_role("link", name="Settings").click()
    expect(page.get_by_text("Create path").first).to_be_visible()
    page.goto(made.pages["cohort, calculated"])
    page.get_by_role("link", name="Definition").click()
    expect(page.get_by_text("Users who").first).to_be_visible()
    assert not axe.violations(page)


def test_every_change_is_in_the_history_with_its_secret_masked(page: Page, partner: Partner):
    made = world.destination(partner.url, name="acme", title="Acme")
    page.goto(f"/admin/destinations/destination/{made.pk}/change/")
    labelled(page, "Title").fill("Acme Ltd")
    labelled(page, "Credential").fill("another-key")
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    page.get_by_role("link", name="History").click()
    row = page.get_by_role("row", name=re.compile("Acme Ltd"))
    expect(row).to_contain_text("administrator")
    expect(row.get_by_role("cell").nth(3)).to_have_text("Acme")
    assert "another-key" not in page.content() and world.KEY not in page.content()
    assert Destination.objects.get().credential.reveal() == "another-key"


def test_an_action_asks_for_its_reason_by_keyboard_alone(page: Page, partner: Partner):
    made = world.destination(partner.url)
    page.goto(f"/admin/destinations/destination/{made.pk}/")
    opener = page.get_by_role("link", name="Pause", exact=True)
    opener.focus()
    page.keyboard.press("Enter")
    expect(labelled(page, "Why")).to_be_focused()
    assert not Destination.objects.get().is_paused
    page.keyboard.type("They asked for it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Resume")).to_be_visible()
    assert Destination.objects.get().is_paused
