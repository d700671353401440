"""From the login page to the first page: password, too many tries, second factor and recovery codes."""

import re
import time

from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import Group, User
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import Open, labelled

PASSWORD = "long enough and new"


def enter(page: Page, password: str = PASSWORD) -> None:
    """Fill in the form that one is led to, and send it by keyboard."""
    page.goto("/admin/syncs/run/")
    expect(page.get_by_text("Log in", exact=True).first).to_be_visible()
    labelled(page, "Username").fill("ann")
    labelled(page, "Password").fill(password)
    page.keyboard.press("Enter")


def code_now(key: str) -> str:
    """Return what an authenticator app shows now; at the last seconds of a code, what it shows next."""
    if time.time() % totp.app_settings.TOTP_PERIOD > totp.app_settings.TOTP_PERIOD - 5:
        time.sleep(5)
    counter = next(totp.yield_hotp_counters_from_time())
    return str(totp.format_hotp_value(totp.hotp_value(key, counter)))


def test_a_person_logs_in_sets_a_second_factor_and_logs_in_with_it(open_page: Open, mailoutbox):
    page = open_page("")
    ann = User.objects.create_user("ann", "ann@example.com", PASSWORD, is_staff=True)
    ann.groups.add(Group.objects.get(name="viewer"))
    wrong: list[str] = []

    def look(name: str) -> None:
        wrong.extend(f"{name}: {line}" for line in axe.everywhere(page))

    enter(page, "not this one")
    expect(page.get_by_text("The user name or the password is not right.")).to_be_visible()
    look("login, refused")
    enter(page)
    expect(page).to_have_url(re.compile("/admin/syncs/run/$"))

    page.goto("/account/two-factor/on/")
    expect(page.get_by_text("Show that it is you")).to_be_visible()
    look("confirm")
    labelled(page, "Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    key = page.locator("#totp-key").inner_text()
    expect(page.get_by_role("img", name="QR code of the key below")).to_be_visible()
    labelled(page, "Authenticator code").fill("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("not right")).to_be_visible()
    look("set up, refused")
    key = page.locator("#totp-key").inner_text()
    labelled(page, "Authenticator code").fill(code_now(key))
    page.keyboard.press("Enter")
    codes = page.locator("#recovery-codes li")
    expect(codes).to_have_count(10)
    look("recovery codes")
    recovery = codes.first.inner_text()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_text("10 recovery codes left")).to_be_visible()
    look("two-factor login, on")

    page.context.clear_cookies()
    enter(page)
    expect(page.get_by_text("The six digits")).to_be_visible()
    look("code")
    labelled(page, "Code").fill("12345")
    page.keyboard.press("Enter")
    expect(page.get_by_text("not right")).to_be_visible()
    look("code, refused")
    labelled(page, "Code").fill(recovery)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/admin/syncs/run/$"))
    page.goto("/account/two-factor/")
    expect(page.get_by_text("9 recovery codes left")).to_be_visible()
    page.get_by_role("link", name="Switch it off").click()
    expect(page.get_by_text("Show that it is you")).to_be_visible()
    look("switch it off")
    assert not wrong, "\n".join(wrong)


def test_after_too_many_tries_the_page_says_how_long_to_wait(open_page: Open):
    page = open_page("")
    User.objects.create_user("ann", "ann@example.com", PASSWORD, is_staff=True)
    for _ in range(6):
        enter(page, "not this one")
        expect(page.get_by_role("button", name="Log in")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ minutes?"))).to_be_visible()
    assert not axe.everywhere(page)
