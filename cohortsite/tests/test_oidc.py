"""Logging in at a real identity server: who is let in, with which roles, and what is said to who is not."""

import importlib
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from allauth.mfa.totp.internal import auth as totp
from allauth.socialaccount.models import SocialAccount
from django.conf import settings as site_settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import clear_url_caches

from cohortsite import account_urls, login_checks, oidc, roles, tokens, urls
from tests.identity_server import identity_server

pytestmark = [pytest.mark.django_db, pytest.mark.once]
START = "/account/oidc/"
PASSWORD = "correct horse battery"
ROLES = {"admins": "administrator", "ops": "operator", "all": "viewer"}


@pytest.fixture(scope="module")
def server():
    with identity_server() as started:
        yield started


def reload_urls():
    importlib.reload(account_urls)
    importlib.reload(urls)
    clear_url_caches()


@pytest.fixture(autouse=True)
def _site(settings, server, db):
    """A site that knows the server."""
    cache.clear()
    roles.grant()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.OIDC_SERVER_URL = server.url
    settings.OIDC_CLIENT_ID = "cohort-sync"
    settings.OIDC_CLIENT_SECRET = "s3cret"
    settings.OIDC_ROLES = ROLES
    reload_urls()
    yield
    settings.OIDC_SERVER_URL = ""
    reload_urls()


def begin(client, query=""):
    """Follow the button; return the address at the identity server."""
    reply = client.get(START + query)
    assert reply.status_code == 302
    return reply.url


def back(client, address):
    """Come back from the identity server."""
    parts = urlsplit(address)
    assert parts.path == "/account/oidc/callback/"
    return client.get(f"{parts.path}?{parts.query}")


def enter(server, client, sub, query=""):
    return back(client, server.agree(begin(client, query), sub))


def names(user):
    return sorted(user.groups.values_list("name", flat=True))


def said(reply):
    return re.sub(r"\s+", " ", reply.content.decode())


# --- who is let in --------------------------------------------------------------------------------


def test_the_login_page_offers_the_server_and_remembers_where_one_wanted_to_go(client, settings):
    settings.OIDC_LABEL = "Log in with Acme"
    page = client.get("/admin/syncs/sync/", follow=True)
    assert "Log in with Acme" in said(page)
    assert 'href="/account/oidc/?next=%2Fadmin%2Fsyncs%2Fsync%2F"' in said(page)
    assert 'name="password"' in said(page)


def test_a_new_person_gets_an_account_with_the_roles_of_their_groups(server, client):
    server.tell(
        "s-1", preferred_username="ada", given_name="Ada", family_name="Lovelace", groups=["ops", "x"],
        email="ada@example.com", email_verified=True,
    )  # fmt: skip
    reply = enter(server, client, "s-1", "?next=/admin/syncs/sync/")
    assert (reply.status_code, reply.url) == (302, "/admin/syncs/sync/")
    assert client.get("/admin/syncs/sync/").status_code == 200
    ada = User.objects.get(username="ada")
    assert (ada.get_full_name(), ada.email, names(ada)) == ("Ada Lovelace", "ada@example.com", ["operator"])
    assert ada.is_staff and not ada.is_superuser and not ada.has_usable_password()
    # Of what the server tells the groups alone are kept.
    assert SocialAccount.objects.get().extra_data == {"groups": ["ops", "x"]}
    assert "operator (before: none)" in LogEntry.objects.get(object_id=ada.pk).get_change_message()


def test_the_same_subject_is_the_same_account_whatever_its_name_is_now(server, client):
    server.tell("s-2", preferred_username="bob", groups=["all"])
    enter(server, client, "s-2")
    server.tell("s-2", preferred_username="robert", groups=["all"])
    enter(server, Client(), "s-2")
    assert list(User.objects.values_list("username", flat=True)) == ["bob"]


def test_roles_follow_the_groups_at_each_login_and_other_groups_stay(server, client):
    server.tell("s-3", preferred_username="cy", groups=["admins", "ops"])
    enter(server, client, "s-3")
    cy = User.objects.get()
    cy.groups.add(Group.objects.create(name="night shift"))
    assert names(cy) == ["administrator", "night shift", "operator"]
    server.tell("s-3", preferred_username="cy", groups=["all"])
    enter(server, client, "s-3")
    assert names(cy) == ["night shift", "viewer"]
    # Nothing changed: nothing is written into the account's history.
    before = LogEntry.objects.count()
    enter(server, client, "s-3")
    assert LogEntry.objects.count() == before == 2


def test_who_has_no_group_any_more_hears_so_and_everything_of_theirs_ends(server, client):
    server.tell("s-4", preferred_username="di", groups=["ops"])
    enter(server, client, "s-4")
    di = User.objects.get()
    text = tokens.create(di, "a script")[1]
    headers = {"Authorization": f"Token {text}"}
    assert Client().get("/api/v1/cohorts", headers=headers).status_code == 200
    server.tell("s-4", preferred_username="di", groups=["x"])
    reply = enter(server, Client(), "s-4")
    assert reply.status_code == 403 and "none of your groups at the identity server has a role" in said(reply)
    di.refresh_from_db()
    assert names(di) == [] and not di.is_staff and di.is_active
    assert client.get("/admin/").status_code == 302  # the session that was open
    assert client.get("/api/v1/cohorts").status_code == 403
    assert Client().get("/api/v1/cohorts", headers=headers).status_code == 401
    server.tell("s-4", preferred_username="di", groups=["ops"])
    assert enter(server, client, "s-4").status_code == 302


@pytest.mark.parametrize("groups", [None, [], ["x"], [7, {"ops": 1}], {"ops": True}, "opsall", 3])
def test_without_a_mapped_group_no_account_is_made(server, client, groups):
    server.tell("s-5", preferred_username="eve", groups=groups)
    reply = enter(server, client, "s-5")
    assert reply.status_code == 403 and "<title> No role" in said(reply)
    assert not User.objects.exists() and not SocialAccount.objects.exists()


def test_a_default_role_lets_everybody_of_the_server_in(server, client, settings):
    settings.OIDC_DEFAULT_ROLE = "viewer"
    server.tell("s-6", email="flo@example.com")
    assert enter(server, client, "s-6").status_code == 302
    assert names(User.objects.get(username="flo@example.com")) == ["viewer"]


@pytest.mark.parametrize(("claim", "claims"), [
    ("realm_access.roles", {"realm_access": {"roles": ["ops"]}}),
    ("https://acme.example/groups", {"https://acme.example/groups": ["ops"]}),
    ("team", {"team": "ops"}),
])  # fmt: skip
def test_groups_are_found_where_servers_put_them(server, client, settings, claim, claims):
    settings.OIDC_GROUPS_CLAIM = claim
    server.tell("s-7", preferred_username="gus", **claims)
    enter(server, client, "s-7")
    assert names(User.objects.get()) == ["operator"]


# --- accounts that were there before --------------------------------------------------------------


def local(name, **fields):
    return User.objects.create_user(name, password=PASSWORD, **{"is_staff": True, **fields})


def test_an_account_made_here_is_taken_by_its_verified_address_and_then_its_password_is_not_asked_for(
    server, client
):
    hal = local("hal", email="Hal@example.com")
    assert client.post("/account/login/", {"login": "hal", "password": PASSWORD}).status_code == 302
    server.tell("s-8", preferred_username="h", email="hal@example.com", email_verified=True, groups=["ops"])
    assert enter(server, Client(), "s-8").status_code == 302
    assert SocialAccount.objects.get().user == hal and names(hal) == ["operator"]
    page = Client().post("/account/login/", {"login": "hal", "password": PASSWORD})
    assert page.status_code == 200 and "logs in by the button above" in said(page)
    # Without the server the password is a way again.
    site_settings.OIDC_SERVER_URL = ""
    assert Client().post("/account/login/", {"login": "hal", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_is_not_verified_takes_no_account(server, client, verified):
    ida = local("ida", email="ida@example.com")
    server.tell("s-9", preferred_username="thief", email="ida@example.com", email_verified=verified,
                groups=["all"])  # fmt: skip
    enter(server, client, "s-9")
    thief = User.objects.get(username="thief")
    assert SocialAccount.objects.get().user == thief != ida
    # Nor is it kept, where it might lead to something later.
    assert thief.email == ""


def test_no_superuser_is_taken_and_no_account_of_another_identity(server, client):
    local("root", email="boss@example.com", is_superuser=True)
    claims = {"email": "boss@example.com", "email_verified": True, "groups": ["all"]}
    server.tell("s-10", preferred_username="jo", **claims)
    enter(server, client, "s-10")
    assert SocialAccount.objects.get().user.username == "jo"
    server.tell("s-11", preferred_username="kim", **claims)
    enter(server, Client(), "s-11")
    assert User.objects.get(username="kim").socialaccount_set.get().uid == "s-11"


def test_a_name_that_is_taken_is_not_taken_over(server, client):
    local("lou")
    server.tell("s-12", preferred_username="LOU", groups=["admins"])
    reply = enter(server, client, "s-12")
    assert reply.status_code == 403 and "There is an account “LOU” here already" in said(reply)
    assert User.objects.count() == 1 and not SocialAccount.objects.exists()


def test_who_is_switched_off_here_stays_out(server, client):
    server.tell("s-13", preferred_username="mo", email="mo@example.com", email_verified=True, groups=["ops"])
    enter(server, client, "s-13")
    User.objects.update(is_active=False)
    reply = enter(server, Client(), "s-13")
    assert reply.status_code == 403 and "switched off here" in said(reply)
    assert client.get("/admin/").status_code == 302
    # Also when the account was never connected: no second one is made beside it.
    SocialAccount.objects.all().delete()
    assert "switched off here" in said(enter(server, Client(), "s-13"))
    assert User.objects.count() == 1


def test_a_second_factor_is_asked_for_after_the_identity_server_too(server, client):
    server.tell("s-19", preferred_username="tom", groups=["ops"])
    enter(server, client, "s-19")
    page = said(client.get("/account/two-factor/on/"))  # there is no password to be asked for again
    code = totp.format_hotp_value(
        totp.hotp_value(
            re.search(r'id="totp-key">(\w+)<', page)[1], next(totp.yield_hotp_counters_from_time())
        )
    )
    assert client.post("/account/two-factor/on/", {"code": code}).status_code == 302
    other = Client()
    assert enter(server, other, "s-19").url.startswith("/account/two-factor/code/")
    assert other.get("/admin/").status_code == 302


def test_an_administrator_sees_the_identity_and_disconnects_it(server, client, admin_client):
    server.tell("s-14", preferred_username="ned", groups=["ops"])
    enter(server, client, "s-14")
    ned = User.objects.get(username="ned")
    page = admin_client.get(f"/admin/auth/user/{ned.pk}/change/")
    assert f"s-14 at {server.url}. Groups at the last login: ops." in said(page)
    done = admin_client.post(f"/admin/auth/user/{ned.pk}/do/disconnect-identity/", {"sure": "1"}, follow=True)
    assert "belongs to no identity any more" in said(done)
    assert not oidc.disconnect(ned)
    assert "There is an account “ned” here already" in said(enter(server, Client(), "s-14"))


# --- the protocol ---------------------------------------------------------------------------------


def test_the_request_has_state_nonce_and_a_challenge_and_each_login_its_own(server, client):
    first, second = (parse_qs(urlsplit(begin(client)).query) for _ in range(2))
    assert first["code_challenge_method"] == ["S256"] and first["response_type"] == ["code"]
    assert set(first["scope"][0].split()) == {"openid", "profile", "email"}
    assert first["redirect_uri"] == ["http://testserver/account/oidc/callback/"]
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) >= 16 and first[name] != second[name]


def test_an_answer_counts_once_and_in_the_browser_that_asked(server, client):
    server.tell("s-15", preferred_username="olga", groups=["all"])
    address = server.agree(begin(client), "s-15")
    stolen = back(Client(), address)
    assert stolen.status_code == 403 and "could not be used" in said(stolen)
    assert back(client, address).status_code == 302
    again = back(client, address)
    assert again.status_code == 403


def test_an_id_token_with_another_nonce_is_refused(server, client):
    """As when somebody puts their own code into another person's login."""
    server.tell("s-16", preferred_username="pat", groups=["all"])
    parts = urlsplit(begin(client))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | {"nonce": "another"}
    address = server.agree(parts._replace(query=urlencode(query)).geturl(), "s-16")
    reply = back(client, address)
    assert reply.status_code == 403 and "could not be used" in said(reply)
    assert not User.objects.exists()


def test_a_code_that_was_asked_for_with_another_challenge_is_refused(server, client):
    server.tell("s-17", preferred_username="quin", groups=["all"])
    mine, theirs = Client(), Client()
    code = parse_qs(urlsplit(server.agree(begin(theirs), "s-17")).query)["code"][0]
    state = parse_qs(urlsplit(begin(mine)).query)["state"][0]
    reply = mine.get("/account/oidc/callback/", {"code": code, "state": state})
    assert reply.status_code == 403
    assert not User.objects.exists()


def test_userinfo_about_another_subject_is_refused():
    with pytest.raises(oidc.OAuth2Error, match="another subject"):
        oidc._claims({"id_token": {"sub": "a", "nonce": "n"}, "userinfo": {"sub": "b"}})
    with pytest.raises(oidc.OAuth2Error, match="no ID token"):
        oidc._claims({"userinfo": {"sub": "b"}})
    # The nonce is the signed one.
    assert oidc._claims({"id_token": {"sub": "a"}, "userinfo": {"sub": "a", "nonce": "n"}})["nonce"] == ""


def test_after_login_nobody_is_sent_to_another_site(server, client):
    server.tell("s-18", preferred_username="ray", groups=["all"])
    for wanted in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        assert enter(server, Client(), "s-18", f"?{urlencode({'next': wanted})}").url == "/admin/"


def test_a_cancelled_login_says_so(server, client):
    reply = back(client, server.deny(begin(client)))
    assert reply.status_code == 403 and "cancelled at the identity server" in said(reply)


def test_a_server_that_is_away_is_said_and_so_is_one_that_answers_nonsense(server, client, settings):
    settings.OIDC_SERVER_URL = "http://localhost:1"
    reload_urls()
    reply = client.get(START)
    assert reply.status_code == 503 and "did not answer" in said(reply)
    settings.OIDC_SERVER_URL = f"{server.url}/users"  # a 404
    reload_urls()
    assert client.get(START).status_code == 503
    cache.set(oidc.configuration_key(server.url), {"issuer": server.url})
    settings.OIDC_SERVER_URL = server.url
    reload_urls()
    assert client.get(START).status_code == 503


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=y", "?state=\x00", "?error=access_denied"])
def test_what_is_no_answer_is_refused(client, query):
    reply = client.get(f"/account/oidc/callback/{query}")
    assert reply.status_code == 403
    assert "_auth_user_id" not in client.session


def test_the_server_s_description_is_asked_for_once(server, monkeypatch):
    asked = []
    plain = requests.Session.request

    def noted(self, method, url, *args, **kwargs):
        asked.append(url)
        return plain(self, method, url, *args, **kwargs)

    monkeypatch.setattr(requests.Session, "request", noted)
    for _ in range(3):
        begin(Client())
    assert asked == [f"{server.url}/.well-known/openid-configuration"]


# --- without passwords ----------------------------------------------------------------------------


def test_passwords_can_be_switched_off(client, settings):
    local("sue")
    settings.PASSWORD_LOGIN = False
    page = client.get("/account/login/")
    assert "Log in with your organization" in said(page) and 'name="password"' not in said(page)
    tried = client.post("/account/login/", {"login": "sue", "password": PASSWORD})
    assert tried.status_code == 200 and "Passwords are switched off here" in said(tried)
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(("given", "ids"), [
    ({}, []),
    ({"OIDC_SERVER_URL": "", "PASSWORD_LOGIN": False}, ["cohortsite.E005"]),
    ({"OIDC_SERVER_URL": "http://login.example.com"}, ["cohortsite.E006"]),
    ({"OIDC_SERVER_URL": "https://login.example.com"}, []),
    ({"OIDC_CLIENT_ID": ""}, ["cohortsite.E007"]),
    ({"OIDC_ROLES": {"a": "boss"}}, ["cohortsite.E008"]),
    ({"OIDC_ROLES": {"a": ["viewer"]}}, ["cohortsite.E008"]),
    ({"OIDC_ROLES": ["viewer"]}, ["cohortsite.E008"]),
    ({"OIDC_DEFAULT_ROLE": "boss"}, ["cohortsite.E008"]),
    ({"OIDC_ROLES": {}}, ["cohortsite.E009"]),
    ({"OIDC_ROLES": {}, "OIDC_DEFAULT_ROLE": "viewer"}, []),
])  # fmt: skip
def test_wrong_settings_are_reported_at_start(settings, given, ids):
    for name, value in given.items():
        setattr(settings, name, value)
    assert [problem.id for problem in login_checks.check_identity_server()] == ids


def test_the_roles_that_settings_may_name_are_those_that_there_are():
    assert set(login_checks.ROLES) == set(roles.RULES)
