"""Logging in: who gets in, how many tries there are, and the second factor from set-up to loss."""

import base64
import hashlib
import hmac
import importlib
import json
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from types import SimpleNamespace

import pytest
from allauth.core.internal import ratelimit
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import clear_url_caches

from cohortsite import account_urls, roles, urls

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
LOGIN = "/account/login/"
WRONG = "The user name or the password is not right."
TOO_MANY = "Too many tries have failed. Wait 5 minutes"
CODE_WRONG = "The code is not right"


@pytest.fixture(autouse=True)
def _quick_passwords_and_no_tries_yet(settings, db):
    """The real hasher takes half a second a try, as it should."""
    cache.clear()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def clock(monkeypatch):
    """The time that tries and codes are counted by; `.now` may be moved."""
    time = SimpleNamespace(now=1_800_000_000.0)
    for module in (ratelimit, totp):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: time.now, monotonic=lambda: 0.0))
    return time


def person(name, role="viewer", **fields):
    user = User.objects.create_user(name, password=PASSWORD, **{"is_staff": True, **fields})
    roles.grant()
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def ann():
    return person("ann")


def try_in(client, name="ann", password=PASSWORD, **extra):
    return client.post(f"{LOGIN}?next=/admin/", {"login": name, "password": password}, **extra)


def code_of(key, at):
    """Return what an authenticator app shows for a key at a time: RFC 6238, six digits, 30 seconds."""
    digest = hmac.new(base64.b32decode(key), struct.pack(">Q", int(at) // 30), hashlib.sha1).digest()
    number = struct.unpack_from(">I", digest, digest[-1] & 15)[0] & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


def set_up(client, clock):
    """Switch the second factor on, as a person does; return its key and the recovery codes."""
    asked = client.get("/account/two-factor/on/")
    assert asked.status_code == 302 and asked.url.startswith("/account/confirm/")
    assert client.post(asked.url, {"password": PASSWORD}).status_code == 302
    page = client.get("/account/two-factor/on/").content.decode()
    key = re.search(r'id="totp-key">(\w+)<', page)[1]
    done = client.post("/account/two-factor/on/", {"code": code_of(key, clock.now)})
    assert done.status_code == 302 and done.url == "/account/two-factor/codes/"
    codes = re.findall(r"<li>(\d{8})</li>", client.get(done.url).content.decode())
    assert len(codes) == 10
    return key, codes


# --- by password ----------------------------------------------------------------------------------


def test_the_admin_s_own_form_leads_to_ours_and_back(client, ann):
    reply = client.get("/admin/syncs/sync/", follow=True)
    assert reply.redirect_chain[-1][0] == "/account/login/?next=%2Fadmin%2Fsyncs%2Fsync%2F"
    assert b'name="password"' in reply.content
    # Nothing is checked there, so that nothing can be guessed there.
    posted = client.post("/admin/login/", {"username": "ann", "password": PASSWORD})
    assert posted.status_code == 302 and posted.url.startswith("/account/login/")
    entered = client.post(reply.redirect_chain[-1][0], {"login": "ann", "password": PASSWORD})
    assert entered.status_code == 302 and entered.url == "/admin/syncs/sync/"
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/login/").url == "/admin/"


def test_after_login_nobody_is_sent_to_another_site(client, ann):
    reply = client.post(f"{LOGIN}?next=https://evil.example/", {"login": "ann", "password": PASSWORD})
    assert reply.status_code == 302 and reply.url == "/admin/"


@pytest.mark.parametrize("name", ["ann", "nobody", "", "a\x00b", "x" * 5000])
def test_a_wrong_name_and_a_wrong_password_look_alike(client, ann, name):
    reply = try_in(client, name, "wrong")
    assert reply.status_code == 200
    assert (WRONG in reply.content.decode()) == (name in ("ann", "nobody"))
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize(("fields", "said"), [
    ({"is_staff": False}, "This account may not use these pages."),
    ({"is_active": False}, WRONG),
])  # fmt: skip
def test_who_may_not_use_the_admin_gets_no_session(client, fields, said):
    person("bob", **fields)
    assert said in try_in(client, "bob").content.decode()
    assert not Session.objects.exists()


def test_nobody_signs_up(client):
    assert client.get("/account/signup/").status_code == 404
    assert client.get("/account/password/").status_code == 404  # no mail is configured


@pytest.fixture
def _mail(settings):
    """As when EMAIL_URL names a server: the pages are there."""
    settings.PASSWORD_RESET = True
    importlib.reload(account_urls)
    importlib.reload(urls)
    clear_url_caches()
    yield
    settings.PASSWORD_RESET = False
    importlib.reload(account_urls)
    importlib.reload(urls)
    clear_url_caches()


@pytest.mark.usefixtures("_mail")
def test_with_mail_a_password_is_reset_and_the_second_factor_stays(client, mailoutbox, clock):
    ann = person("ann", email="ann@example.com")
    client.force_login(ann)
    set_up(client, clock)
    other = Client()
    assert b"I forgot my password" in other.get(LOGIN).content
    for address in ("stranger@example.com", "ann@example.com"):
        assert other.post("/account/password/", {"email": address}).url == "/account/password/sent/"
    assert b"a link is on its way" in other.get("/account/password/sent/").content
    assert [mail.to for mail in mailoutbox] == [["ann@example.com"]]
    link = re.search(r"http://testserver(/account/password/\S+)", mailoutbox[0].body)[1]
    form = other.get(link, follow=True)
    assert b"Change the password" in form.content
    chosen = {"password1": "another good one", "password2": "another good one"}
    assert other.post(form.redirect_chain[-1][0], chosen).url == "/account/password/done/"
    assert b"holds from now on" in other.get("/account/password/done/").content
    assert b"used already" in Client().get(link, follow=True).content
    assert try_in(other, password="another good one").url.startswith("/account/two-factor/code/")
    assert other.get("/admin/").status_code == 302


# --- too many tries -------------------------------------------------------------------------------


def test_after_five_failures_the_right_password_waits_too(client, ann, clock):
    for _ in range(5):
        assert WRONG in try_in(client, password="wrong").content.decode()
    assert TOO_MANY in try_in(client, password="wrong").content.decode()
    clock.now += 299
    assert TOO_MANY in try_in(client).content.decode()
    assert client.get("/admin/").status_code == 302
    clock.now += 2
    assert try_in(client).status_code == 302
    assert client.get("/admin/").status_code == 200


def test_who_fails_keeps_nobody_else_out(ann, clock):
    person("bob")
    for _ in range(6):
        try_in(Client(), password="wrong")
    assert TOO_MANY in try_in(Client()).content.decode()
    # Neither another person at this address, nor the same one at another.
    assert try_in(Client(), "bob").status_code == 302
    assert try_in(Client(), REMOTE_ADDR="192.0.2.7").status_code == 302
    # A forged address does not get round it.
    assert TOO_MANY in try_in(Client(), headers={"X-Forwarded-For": "192.0.2.9"}).content.decode()


@pytest.mark.parametrize("name", ["ANN", " ann "])
def test_another_spelling_of_the_name_is_no_new_start(ann, clock, name):
    for _ in range(5):
        try_in(Client(), password="wrong")
    assert TOO_MANY in try_in(Client(), name, "wrong").content.decode()


def test_logins_that_succeed_do_not_count_and_do_not_wipe_the_count(ann, clock):
    for _ in range(4):
        try_in(Client(), password="wrong")
    clock.now += 1
    for _ in range(10):
        assert try_in(Client()).status_code == 302
    try_in(Client(), password="wrong")
    assert TOO_MANY in try_in(Client()).content.decode()


def test_guessing_from_many_addresses_ends_too(ann, clock, settings):
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login_failed_anywhere": "8/h/key"}
    for n in range(8):
        assert WRONG in try_in(Client(), password="wrong", REMOTE_ADDR=f"192.0.2.{n}").content.decode()
    said = try_in(Client(), REMOTE_ADDR="192.0.2.99").content.decode()
    assert "Too many tries have failed for this user name. Wait 1 hour" in said


def test_many_tries_of_one_address_get_a_page_that_says_how_long(ann, clock):
    for n in range(30):
        try_in(Client(), f"guess-{n}", "wrong")
    reply = try_in(Client())
    assert reply.status_code == 429
    assert "Wait 1 minute," in reply.content.decode()
    assert try_in(Client(), REMOTE_ADDR="192.0.2.7").status_code == 302


@pytest.mark.django_db(transaction=True)
def test_tries_at_the_same_moment_are_counted_one_by_one():
    person("ann", role=None)

    def tries(_):
        try:
            return [WRONG in try_in(Client(), password="wrong").content.decode() for _ in range(3)]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        checked = [each for three in threads.map(tries, range(8)) for each in three]
    cache.clear()  # it is no model's table: nothing empties it after the test
    assert len(checked) == 24
    assert sum(checked) == 5


def test_tries_are_counted_where_every_process_sees_them(settings):
    """In a process's memory each server's workers would count by themselves."""
    assert settings.CACHES["default"]["BACKEND"].endswith("DatabaseCache")
    cache.set("x", 1)
    call_command("migrate", "cohortsite", verbosity=0)  # the table came by a migration, and stays
    assert cache.get("x") == 1


# --- the second factor ----------------------------------------------------------------------------


def test_a_viewer_sets_it_up_and_then_a_password_is_half_of_it(client, ann, clock):
    client.force_login(ann)
    assert "Two-factor login" in client.get("/admin/").content.decode()
    key, _ = set_up(client, clock)
    other = Client()
    half = try_in(other)
    assert half.status_code == 302 and half.url.startswith("/account/two-factor/code/")
    clock.now += 30
    wrong = other.post(half.url, {"code": "000000"})
    assert CODE_WRONG in wrong.content.decode()
    assert other.get("/admin/").status_code == 302
    entered = other.post(half.url, {"code": code_of(key, clock.now)})
    assert entered.status_code == 302 and entered.url == "/admin/"
    assert other.get("/admin/").status_code == 200


def test_half_a_login_opens_nothing(client, ann, clock):
    client.force_login(ann)
    set_up(client, clock)
    thief = Client()
    try_in(thief)
    assert thief.session.session_key  # there is a session, and it is nobody's
    for url in ("/admin/", "/admin/cohorts/cohort/", "/admin/password_change/", "/account/two-factor/",
                "/account/two-factor/on/", "/account/two-factor/off/", "/account/two-factor/codes/",
                "/account/two-factor/codes/new/", "/account/confirm/"):  # fmt: skip
        for method in (thief.get, thief.post):
            reply = method(url)
            assert reply.status_code in (302, 403), url
            assert "/login/" in reply.headers.get("Location", "/login/"), url
    assert thief.get("/api/v1/cohorts/").status_code == 401
    assert Authenticator.objects.count() == 2
    # Who has only the session can give the login up, not finish it.
    assert thief.post("/account/logout/").status_code == 302
    assert thief.get("/account/two-factor/code/").url == LOGIN


def test_a_code_works_once_and_guessing_it_ends(client, ann, clock):
    client.force_login(ann)
    key, _ = set_up(client, clock)
    clock.now += 30
    first, second = Client(), Client()
    for each in (first, second):
        try_in(each)
    code = code_of(key, clock.now)
    assert first.post("/account/two-factor/code/", {"code": code}).status_code == 302
    assert CODE_WRONG in second.post("/account/two-factor/code/", {"code": code}).content.decode()
    clock.now += 30
    for _ in range(4):
        second.post("/account/two-factor/code/", {"code": "000000"})
    right = {"code": code_of(key, clock.now)}
    assert TOO_MANY in second.post("/account/two-factor/code/", right).content.decode()
    clock.now += 300
    right = {"code": code_of(key, clock.now)}
    assert second.post("/account/two-factor/code/", right).status_code == 302
    assert second.get("/admin/").status_code == 200


def test_a_recovery_code_logs_in_once(client, ann, clock):
    client.force_login(ann)
    _, codes = set_up(client, clock)
    assert "not shown again" in client.get("/account/two-factor/codes/").content.decode()
    assert codes[0] not in client.get("/account/two-factor/codes/").content.decode()
    first, second = Client(), Client()
    for each in (first, second):
        try_in(each)
    assert first.post("/account/two-factor/code/", {"code": codes[0]}).status_code == 302
    assert first.get("/admin/").status_code == 200
    assert CODE_WRONG in second.post("/account/two-factor/code/", {"code": codes[0]}).content.decode()
    assert "9 recovery codes left" in first.get("/account/two-factor/").content.decode()


def test_switching_it_off_or_making_codes_asks_for_the_password_again(client, ann, clock):
    client.force_login(ann)
    _, old = set_up(client, clock)
    stolen = Client()
    stolen.cookies["sessionid"] = _session_of(ann)
    for url in ("/account/two-factor/off/", "/account/two-factor/codes/new/"):
        assert stolen.post(url).url.startswith("/account/confirm/"), url
    assert Authenticator.objects.count() == 2
    new = client.post("/account/two-factor/codes/new/", follow=True).content.decode()
    assert re.findall(r"<li>(\d{8})</li>", new) and old[0] not in new
    client.post("/account/two-factor/off/")
    assert not Authenticator.objects.exists()
    assert try_in(Client()).url == "/admin/"


def _session_of(user):
    """Return the key of a session as a thief has it: logged in, without the password."""
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def test_a_guessed_password_at_the_confirmation_is_counted(client, ann, clock):
    client.force_login(ann)
    for _ in range(5):
        said = client.post("/account/confirm/?next=/account/two-factor/on/", {"password": "wrong"})
        assert "The password is not right." in said.content.decode()
    said = client.post("/account/confirm/?next=/account/two-factor/on/", {"password": PASSWORD})
    assert TOO_MANY in said.content.decode()


def test_its_secrets_are_encrypted_and_rotate_with_the_keys(client, ann, clock, settings):
    client.force_login(ann)
    client.post("/account/confirm/?next=/account/two-factor/on/", {"password": PASSWORD})
    page = client.get("/account/two-factor/on/").content.decode()
    key = re.search(r'id="totp-key">(\w+)<', page)[1]
    waiting = [session.get_decoded() for session in Session.objects.all()]
    assert key not in json.dumps(waiting)
    assert CODE_WRONG in client.post("/account/two-factor/on/", {"code": "000000"}).content.decode()
    client.post("/account/two-factor/on/", {"code": code_of(key, clock.now)})
    stored = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert key not in stored and stored.count("gAAAA") == 2

    old = settings.FIELD_KEYS
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), *old]
    out = StringIO()
    call_command("rotate_keys", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"rotated": 2, "unreadable": []}
    settings.FIELD_KEYS = settings.FIELD_KEYS[:1]
    clock.now += 30
    other = Client()
    try_in(other)
    other.post("/account/two-factor/code/", {"code": code_of(key, clock.now)})
    assert other.get("/admin/").status_code == 200

    settings.FIELD_KEYS = old
    with pytest.raises(SystemExit):
        call_command("rotate_keys", "--json", stdout=(out := StringIO()), stderr=StringIO())
    assert json.loads(out.getvalue())["rotated"] == 0


# --- somebody lost it -----------------------------------------------------------------------------


def test_an_administrator_removes_another_s_second_factor_and_it_is_recorded(client, ann, clock):
    client.force_login(ann)
    set_up(client, clock)
    boss = person("boss", "administrator")
    url = f"/admin/auth/user/{ann.pk}/do/remove-second-factor/"
    admin = Client()
    admin.force_login(boss)
    assert url in admin.get(f"/admin/auth/user/{ann.pk}/change/").content.decode()
    assert admin.get(url).status_code == 200
    assert Authenticator.objects.count() == 2  # looking is not doing
    assert admin.post(url).status_code == 302
    assert not Authenticator.objects.exists()
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (boss, str(ann.pk))
    assert entry.change_message == "Remove second factor: ann logs in by password alone from now on."
    assert try_in(Client()).url == "/admin/"


@pytest.mark.parametrize("role", ["viewer", "operator", None])
def test_nobody_else_removes_it(client, ann, clock, role):
    client.force_login(ann)
    set_up(client, clock)
    other = Client()
    other.force_login(person("other", role))
    assert other.post(f"/admin/auth/user/{ann.pk}/do/remove-second-factor/").status_code == 403
    assert Authenticator.objects.count() == 2


def test_one_s_own_needs_the_password(clock):
    boss = person("boss", "administrator")
    client = Client()
    client.force_login(boss)
    set_up(client, clock)
    assert client.post(f"/admin/auth/user/{boss.pk}/do/remove-second-factor/").status_code == 403
    assert Authenticator.objects.count() == 2


def test_the_list_of_users_tells_who_has_it(client, ann, clock, django_assert_max_num_queries):
    client.force_login(ann)
    set_up(client, clock)
    for n in range(20):
        User.objects.create_user(f"user-{n}")
    admin = Client()
    admin.force_login(person("boss", "administrator"))
    admin.get("/admin/auth/user/")
    with django_assert_max_num_queries(10):
        page = admin.get("/admin/auth/user/").content.decode()
    assert page.count("field-two_factor") == 22


@pytest.mark.parametrize("model", ["mfa/authenticator", "account/emailaddress", "account/emailconfirmation"])
def test_its_rows_have_no_page(admin_client, model):
    assert admin_client.get(f"/admin/{model}/").status_code == 404


def test_a_hundred_guesses_from_many_addresses_keep_nobody_out_where_they_logged_in_before(ann, clock):
    home = Client()
    assert try_in(home, REMOTE_ADDR="198.51.100.1").status_code == 302
    del home.cookies["sessionid"]
    for n in range(100):
        said = try_in(Client(), password="wrong", REMOTE_ADDR=f"192.0.2.{n % 20}").content.decode()
    assert "for this user name" in try_in(Client(), REMOTE_ADDR="203.0.113.1").content.decode(), said
    # From a new address, too: the browser is known.
    assert try_in(home, REMOTE_ADDR="203.0.113.2").status_code == 302


def test_the_cookie_of_one_person_opens_no_way_to_another_and_a_forged_one_none(ann, clock, settings):
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login_failed_anywhere": "3/h/key"}
    person("bob")
    bobs = Client()
    assert try_in(bobs, "bob", REMOTE_ADDR="198.51.100.1").status_code == 302
    del bobs.cookies["sessionid"]
    forged = Client()
    forged.cookies["known_device"] = "ann:1:x"
    for n in range(3):
        try_in(Client(), password="wrong", REMOTE_ADDR=f"192.0.2.{n}")
    for client in (bobs, forged):
        assert "for this user name" in try_in(client, REMOTE_ADDR="203.0.113.9").content.decode()


def test_guesses_with_a_known_browser_end_too(ann, clock, settings):
    settings.ACCOUNT_RATE_LIMITS = {**settings.ACCOUNT_RATE_LIMITS, "login_failed_anywhere": "3/h/key"}
    home = Client()
    assert try_in(home).status_code == 302
    del home.cookies["sessionid"]
    for n in range(3):
        try_in(home, password="wrong", REMOTE_ADDR=f"192.0.2.{n}")
    assert "known_device" in home.cookies
    assert "for this user name" in try_in(home, REMOTE_ADDR="203.0.113.9").content.decode()


def test_a_form_of_another_session_is_answered_in_plain_words(ann):
    client = Client(enforce_csrf_checks=True)
    reply = client.post("/account/login/", {"login": "ann", "password": "x"})
    page = reply.content.decode()
    assert reply.status_code == 403 and "Nothing was saved" in page
    assert "CSRF" not in page and "DEBUG" not in page


def test_pages_that_are_not_there_or_not_allowed_have_a_way_on(ann):
    client = Client()
    assert try_in(client).status_code == 302
    for url, status, words in (
        ("/nowhere", 404, "There is nothing at this address"),
        ("/admin/auth/user/", 403, "whose roles do not allow this"),
    ):
        reply = client.get(url)
        page = reply.content.decode()
        assert reply.status_code == status and words in page and 'href="/admin/"' in page
