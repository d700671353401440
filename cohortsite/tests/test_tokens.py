"""Personal tokens: hashed, shown once, revoked and expired at once."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from cohortsite import tokens
from cohortsite.models import ApiToken, Scope

pytestmark = pytest.mark.django_db
URL = "/api/v1/cohorts"


@pytest.fixture
def ann():
    user = User.objects.create_user("ann", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_cohort"))
    return user


def get(text, keyword="Token"):
    headers = {"Authorization": f"{keyword} {text}"}
    return Client(raise_request_exception=False).get(URL, headers=headers)


def test_a_token_acts_as_its_user_and_is_stored_as_a_hash(ann):
    stored, text = tokens.create(ann, "airflow")
    assert get(text).status_code == get(text, "Bearer").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM cohortsite_apitoken")
        row = " ".join(map(str, cursor.fetchone()))
    assert text not in row and text[len(stored.prefix) :] not in row
    stored.refresh_from_db()
    assert stored.last_used_at is not None


def test_a_revoked_or_expired_token_or_one_of_a_user_who_left_is_refused(ann):
    revoked, first = tokens.create(ann, "a")
    assert ApiToken.objects.revoke(revoked.pk) and not ApiToken.objects.revoke(revoked.pk)
    _, expired = tokens.create(ann, "b", expires_at=timezone.now() - timedelta(seconds=1))
    for text in (first, expired):
        reply = get(text)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "authentication_failed")
    _, text = tokens.create(ann, "c")
    User.objects.update(is_active=False)
    assert get(text).status_code == 401


@pytest.mark.parametrize("text", ["", "a b", "\xff", "\0", "cst_", "x" * 5000])
def test_what_is_no_token_is_a_401(ann, text):
    reply = get(text)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "authentication_failed")
    assert reply.headers["WWW-Authenticate"] == "Token"


def test_last_use_is_written_once_a_minute(ann, django_assert_num_queries):
    _, text = tokens.create(ann, "poll")
    get(text)
    used = ApiToken.objects.get().last_used_at
    get(text)
    assert ApiToken.objects.get().last_used_at == used


def test_a_person_makes_a_token_sees_it_once_and_revokes_it(ann):
    client = Client()
    client.force_login(ann)
    assert (
        client.post(
            "/admin/cohortsite/apitoken/add/", {"name": "", "scope": "read", "days": "30"}
        ).status_code
        == 200
    )
    assert not ApiToken.objects.exists()
    page = client.post("/admin/cohortsite/apitoken/add/", {"name": "airflow", "scope": "run", "days": "30"})
    text = page.context["token"]
    assert text in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert get(text).status_code == 200
    token = ApiToken.objects.get()
    assert token.scope == Scope.RUN
    assert timedelta(days=29) < token.expires_at - timezone.now() < timedelta(days=31)
    for url in ("/admin/cohortsite/apitoken/", f"/admin/cohortsite/apitoken/{token.pk}/change/"):
        shown = client.get(url).content.decode()
        assert text not in shown and token.sha256 not in shown
    client.post("/admin/cohortsite/apitoken/", {"action": "revoke_selected", "_selected_action": token.pk})
    assert get(text).status_code == 401


def test_the_command_prints_a_token(ann):
    out = StringIO()
    call_command("create_api_token", "ann", "--json", stdout=out)
    assert get(json.loads(out.getvalue())["token"]).status_code == 200
    out = StringIO()
    call_command("create_api_token", "ann", "--days", "7", stdout=out)
    assert get(out.getvalue().strip()).status_code == 200
    assert [made.scope for made in ApiToken.objects.all()] == ["read", "read"]
    call_command("create_api_token", "ann", "--scope", "configure", "--no-expiry", stdout=StringIO())
    latest, _, first = ApiToken.objects.all()
    assert (latest.scope, latest.expires_at) == (Scope.CONFIGURE, None)
    assert timedelta(days=364) < first.expires_at - timezone.now() <= timedelta(days=365)
    both = ["ann", "--days", "7", "--no-expiry"]
    for wrong in (["bob"], ["ann", "--days", "0"], ["ann", "--scope", "all"], both):
        with pytest.raises(CommandError):
            call_command("create_api_token", *wrong)


def test_the_openapi_document_has_no_warnings(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "api.yaml"))
    text = (tmp_path / "api.yaml").read_text()
    assert text.startswith("openapi: 3.1.0")
    assert "Token cst_" in text


def test_the_docs_page_needs_no_inline_script():
    page = Client().get("/api/docs/")
    assert page.status_code == 200
    assert "<script>" not in page.content.decode()
    assert "http" not in "".join(part for part in page.content.decode().split('"') if part.startswith("http"))


def test_a_token_ends_when_its_owner_may_use_the_admin_no_more(ann):
    _, text = tokens.create(ann, "a")
    User.objects.update(is_staff=False)
    assert get(text).status_code == 401
    with pytest.raises(CommandError, match="may not use the admin"):
        call_command("create_api_token", "ann", stdout=StringIO())


def test_a_token_loses_what_its_owner_loses(ann):
    _, text = tokens.create(ann, "a")
    ann.user_permissions.clear()
    assert get(text).status_code == 403


def test_a_token_ends_with_the_password_of_its_owner_and_not_with_another_hash_of_it(ann, settings):
    other = User.objects.create_user("bob", password="y", is_staff=True)
    ann_s, text = tokens.create(ann, "a")
    bob_s, _ = tokens.create(other, "b")
    fast = "django.contrib.auth.hashers.MD5PasswordHasher"
    settings.PASSWORD_HASHERS = [fast, *settings.PASSWORD_HASHERS]
    assert ann.check_password("x") and ann.password.startswith("md5$")
    assert get(text).status_code == 200
    ann.set_password("quite another one")
    ann.save()
    assert get(text).status_code == 401
    ann_s.refresh_from_db()
    bob_s.refresh_from_db()
    assert ann_s.state == "Revoked" and bob_s.state == "Active"


def test_answers_with_people_in_them_are_kept_by_nobody(ann):
    _, text = tokens.create(ann, "a")
    for reply in (get(text), get("wrong")):
        assert reply.headers["Cache-Control"] == "no-store"


def test_a_form_makes_a_token_that_reads_for_a_year_unless_one_says_otherwise(ann):
    client = Client()
    client.force_login(ann)
    form = client.get("/admin/cohortsite/apitoken/add/").context["form"]
    assert (form["scope"].value(), form["days"].value()) == ("read", "365")
    wrong = client.post("/admin/cohortsite/apitoken/add/", {"name": "x", "scope": "all", "days": "30"})
    assert wrong.context["form"].errors["scope"] and not ApiToken.objects.exists()


@pytest.mark.parametrize(("days", "state"), [
    (None, "Active"), (15, "Active"), (13, "Expires soon"), (-1, "Expired"),
])  # fmt: skip
def test_a_token_says_when_its_end_is_near(ann, days, state):
    ends = None if days is None else timezone.now() + timedelta(days=days)
    assert tokens.create(ann, "a", expires_at=ends)[0].state == state
