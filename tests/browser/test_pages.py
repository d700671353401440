"""Every page, with one of everything, named as badly as can be: shown as text, readable by all."""

import json
import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.browser import axe, fixtures


@pytest.fixture
def looked_at(open_page, partner) -> tuple[Page, fixtures.Made]:
    page = open_page("superuser")
    return page, fixtures.set_up(partner, User.objects.get(is_superuser=True))


def lists_and_forms(page: Page) -> dict[str, str]:
    """Return the lists of rows, and the forms to add one, that there are in the admin."""
    found = {}
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found[f"list of {name}"] = reverse(f"admin:{name}_changelist")
        add = reverse(f"admin:{name}_add")
        if page.request.get(add, max_redirects=0).status != 403:
            found[f"add {name}"] = add
    return found


@pytest.mark.timeout(900)
def test_every_page_is_readable_by_everybody(looked_at):
    """axe, in both themes; no scrolling to the side on a telephone, where targets are large enough too."""
    page, made = looked_at
    wrong = []
    for name, url in {**made.pages, **lists_and_forms(page)}.items():
        reply = page.goto(url)
        assert reply and reply.status == 200, url
        if name == "API docs":
            expect(page.get_by_role("heading", name="Cohort Sync")).to_be_visible()
        found = axe.everywhere(page)
        if page.title() == "taken":
            found.append("markup was run")
        wrong += [f"{name} ({url}): {line}" for line in found]
    assert not wrong, "\n".join(wrong)


SHOWN = {
    "cohort": (fixtures.SCRIPT, fixtures.IMAGE, fixtures.ARABIC),
    "members": (fixtures.SCRIPT, fixtures.IMAGE, fixtures.ARABIC, fixtures.FORMULA),
    "difference": (fixtures.IMAGE + fixtures.ARABIC, "new-1"),
    "cohort, calculated": (fixtures.SCRIPT, fixtures.IMAGE, fixtures.ARABIC, fixtures.LONG),
    "preview": (fixtures.SCRIPT, fixtures.ARABIC),
    "upload, failed": (fixtures.LONG, fixtures.IMAGE),
    "sync": (fixtures.SCRIPT + fixtures.IMAGE + fixtures.ARABIC, fixtures.LONG[:150]),
    "sync, dry run": (fixtures.SCRIPT, fixtures.IMAGE),
    "run": (fixtures.SCRIPT, fixtures.IMAGE),
    "run, held": (fixtures.IMAGE,),
    "run, failed": (fixtures.SCRIPT,),
    "batch": (fixtures.IMAGE, fixtures.SCRIPT),
    "rejected user": (fixtures.IMAGE,),
    "driver": (fixtures.LONG[:150],),
    "list": (fixtures.SCRIPT,),
    "request": (fixtures.IMAGE, fixtures.SCRIPT),
    "where, markup": (fixtures.IMAGE, fixtures.SCRIPT),
    "event": (fixtures.SCRIPT,),
    "event, question": (fixtures.SCRIPT,),
    "destination, paused": (fixtures.SCRIPT,),
}


def test_user_ids_names_and_replies_are_text_on_every_page(looked_at):
    page, made = looked_at
    missing = []
    for name, texts in SHOWN.items():
        page.goto(made.pages[name])
        shown = page.locator("body").inner_text() + page.evaluate(
            "[...document.querySelectorAll('input, textarea')].map((one) => one.value).join(' ')"
        )
        for text in texts:
            within_json = json.dumps(text, ensure_ascii=False)[1:-1]
            if text not in shown and within_json not in shown:
                missing.append(f"{name}: {text}")
        assert page.locator("img[src=x]").count() == 0, name
        assert page.title() != "taken", name
    assert not missing


def test_the_site_is_as_bad_as_it_says(looked_at):
    """Users were refused by a reply that is markup, and the pages that the other tests look at exist."""
    _, made = looked_at
    assert made.rejection.message and fixtures.IMAGE in made.rejection.message
    assert made.sync.cohort.version == 3
    assert {made.guarded.state, made.failed.state, made.waiting.state} == {"held", "failed", "pending"}


def press(page: Page, name: str | re.Pattern[str]) -> None:
    """Press a button by keyboard."""
    page.get_by_role("button", name=name).first.press("Enter")


def test_what_opens_is_readable_by_everybody_too(looked_at):
    """The panel of filters, the menu of the person, an open select, the menu on a telephone."""
    page, made = looked_at
    wrong = []

    def look(name: str) -> None:
        found = axe.violations(page) + axe.in_the_dark(page)
        wrong.extend(f"{name}: {line}" for line in found)

    page.goto("/admin/syncs/run/")
    press(page, "Filters")
    expect(page.get_by_role("button", name="Apply filters", exact=False)).to_be_visible()
    look("filters")
    page.goto("/admin/syncs/sync/add/?schedule_kind=manual")
    page.locator(".field-cohort .select2-selection").click()
    expect(page.get_by_role("searchbox", name="Search")).to_be_visible()
    look("an open select")
    page.goto("/admin/syncs/sync/")
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_role("button", name="Keep the view")).to_be_visible()
    look("columns and views")
    page.locator("#action-toggle").click()
    page.locator("select[name=action]").first.select_option("schedule")
    page.get_by_role("button", name="Run", exact=True).first.click()
    expect(page.get_by_role("heading", name=re.compile("^Change the schedule: "))).to_be_visible()
    look("a question about several")
    page.goto("/admin/")
    press(page, re.compile("superuser-0"))
    expect(
        page.get_by_role("link", name="Change password").or_(page.get_by_text("Log out")).first
    ).to_be_visible()
    look("the menu of the person")
    page.set_viewport_size(axe.TELEPHONE)
    page.goto("/admin/")
    press(page, "Menu")
    expect(page.get_by_role("link", name="Rejected users").last).to_be_visible()
    look("the menu on a telephone")
    assert not wrong, "\n".join(wrong)
