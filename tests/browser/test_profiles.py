"""Bringing what people are known by, in the browser: alone, and along with the members of a cohort."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from people import profiles
from people.models import ProfileImport
from receiving.models import Workspace
from tests import world
from tests.browser import axe
from tests.browser.conftest import labelled

CSV = "user_id;E-Mail;Telefon;Plan\nu1;Ada@Example.com;+49 30 901820;pro\nu2;bob@example.com;;free\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(CSV)
    return path


@pytest.fixture
def shop(site: str) -> Workspace:
    return Workspace.objects.create(slug="shop")


def known(user_id: str) -> dict[str, object]:
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def test_a_file_of_profiles_is_shown_its_fields_are_chosen_and_the_worker_imports_it(
    page: Page, shop: Workspace, file: Path, worker: None
) -> None:
    page.goto("/admin/people/profileimport/")
    page.locator('a[href$="/profileimport/add/"]').first.click()
    labelled(page, "File").set_input_files(file)
    look = page.locator("#upload-look")
    # What headings say plainly is suggested, and shown as it will be kept.
    expect(look.get_by_label("Field that E-Mail becomes")).to_have_value("email")
    expect(look).to_contain_text("ada@example.com")
    look.get_by_label("Field that Plan becomes").fill("plan")
    page.keyboard.press("Tab")
    expect(look.get_by_label("Type of Plan")).to_be_visible()
    expect(look.get_by_label("Type of Plan")).to_be_focused()
    expect(labelled(page, "Columns that become fields")).to_have_value(
        "email=E-Mail\nphone=Telefon\nplan=Plan"
    )
    look.get_by_label("Type of Plan").select_option(label="number")
    expect(look).to_contain_text("pro is not a number")
    look.get_by_label("Type of Plan").select_option(label="text")
    expect(look).not_to_contain_text("is not a number")
    assert not axe.everywhere(page)
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("Imported", exact=True).first).to_be_visible()
    assert known("u1") == {"email": "ada@example.com", "phone": "+4930901820", "plan": "pro"}
    assert not axe.everywhere(page)


def test_further_columns_of_members_become_fields_of_their_profiles(
    page: Page, shop: Workspace, file: Path, worker: None
) -> None:
    cohort = world.cohort(name="Recent buyers", key="buyers")
    page.goto(f"/admin/cohorts/cohort/{cohort.pk}/upload/")
    labelled(page, "File").set_input_files(file)
    look = page.locator("#upload-look")
    expect(look).to_contain_text("separated by semicolons")
    expect(look.get_by_label("Field that E-Mail becomes")).to_have_count(0)
    page.get_by_text("Keep further columns as fields").click()
    look.get_by_label("Field that E-Mail becomes").fill("email")
    page.keyboard.press("Enter")
    expect(look).to_contain_text("ada@example.com")
    expect(labelled(page, "Columns that become fields")).to_have_value("email=E-Mail")
    assert not axe.everywhere(page)
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("Profiles: values 2 of email; 2 other than before.")).to_be_visible()
    assert known("u2") == {"email": "bob@example.com"}
    assert ProfileImport.objects.get().created_by.startswith("administrator")
