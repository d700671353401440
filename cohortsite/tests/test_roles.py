"""Every role, and a stranger, against every page and every call that there is.

The addresses are not written down here: they are read from the site's own table, so that a new one is
tried without anybody thinking of it. What each role may do besides reading is written down.
"""

import re
import sys

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AlterModelOptions, CreateModel
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from cohortsite import roles, tokens
from cohortsite.models import ApiToken, Proposal, Scope
from events.models import EventUpload
from people.models import ProfileImport
from receiving.keys import create_key
from receiving.models import Workspace
from syncs.choices import RejectionKind, RunState
from syncs.models import AlertChannel, Batch, Driver, Rejection, Run, Sync
from tests import world

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PAST_LOGIN = re.compile(r"^admin/(login|logout|jsi18n|autocomplete|password_change|search|r/)")
# What an operator may post to: everything else that changes something is the administrator's.
OPERATOR_ACTIONS = {
    *(f"admin/syncs/sync/1/do/{name}/" for name in ("run", "pause", "resume", "full", "empty", "compare")),
    *(f"admin/syncs/sync/1/do/{name}/" for name in ("repair", "repair-all", "go-back", "go-on")),
    *(f"admin/syncs/sync/1/do/{name}/" for name in ("approve", "refuse", "cancel", "try-now")),
    *(f"admin/syncs/run/1/do/{name}/" for name in ("approve", "refuse", "resume", "try-now", "cancel")),
    *(f"admin/syncs/rejection/1/do/{name}/" for name in ("retry", "dismiss")),
    *(f"admin/syncs/driver/1/do/{name}/" for name in ("try-now", "forget-size")),
    *(f"admin/destinations/destination/1/do/{name}/" for name in ("pause", "pause-until", "resume")),
    *(f"admin/cohorts/cohort/1/do/{name}/" for name in ("approve", "refuse", "calculate")),
    *(f"admin/events/eventupload/1/do/{name}/" for name in ("import", "discard")),
    "admin/people/profileimport/1/do/again/",
}


def routes(patterns=None, before=""):
    """Yield every route of the site, as Django has it."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, before + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            yield before + str(pattern.pattern)


def filled(route):
    """Return an address for a route: 1 for numbers and ids, an existing name for names."""
    route = re.sub(r"<path:object_id>", "1", route)
    return re.sub(r"<(?:\w+:)?\w+>", "1", route)


def admin_urls():
    found = set()
    for route in routes():
        if not route.startswith("admin/") or PAST_LOGIN.match(route) or "(?P" in route:
            continue
        if "<slug:name>" in route:
            app, model = route.split("/")[1:3]
            names = [action.name for action in actions_of(app, model)]
            found |= {filled(route.replace("<slug:name>", name)) for name in names}
        else:
            found.add(filled(route))
    return sorted(found)


def actions_of(app, model):
    from django.contrib import admin

    return next(
        a.row_actions for m, a in admin.site._registry.items() if m._meta.label_lower == f"{app}.{model}"
    )


@pytest.fixture
def site(settings):
    """One of everything, each with the key 1 where the database gives it."""
    cohort = world.cohort(["a", "b"], pk=1, key="buyers")
    destination = world.destination("http://127.0.0.1:9", pk=1, name="acme")
    sync = Sync.objects.create(pk=1, cohort=cohort, destination=destination)
    AlertChannel.objects.create(pk=1, name="acme", kind="email", address="a@example.com")
    run = Run.objects.create(
        pk=1, sync_id=1, trigger="person", from_version=0, to_version=1, state=RunState.HELD
    )
    Batch.objects.create(run=run, number=1, step="add")
    Driver.objects.create(destination=destination)
    Rejection.objects.create(
        pk=1, sync_id=1, user_id="a", kind=RejectionKind.REJECTED, wanted=True, code="x", message="y",
        run=run, last_at=timezone.now(),
    )  # fmt: skip
    workspace = Workspace.objects.create(pk=1, slug="partner")
    create_key(workspace, name="k")
    EventUpload.objects.create(pk=1, key="k", name="a.csv", state="looked", look={"file": "a.csv"})
    ProfileImport.objects.create(pk=1, workspace="shop", source="a.csv", state="failed", file="a")
    Proposal.objects.create(
        pk=1, subject="destination", row_id=1, name="acme", changes={"rate": 5}, difference=[], proposer="ada"
    )
    return sync


def person(role):
    user = User.objects.create_user(role, password="x", is_staff=role != "nobody")
    if role in roles.RULES:
        roles.grant()  # a test that truncated the tables may have run before
        user.groups.add(Group.objects.get(name=role))
    return user


def client_of(role):
    client = Client(raise_request_exception=False)
    if role != "anonymous":
        client.force_login(person(role))
    return client


OWN = re.compile(r"^admin/(cohortsite/apitoken/|$)")


@pytest.mark.parametrize("role", ["anonymous", "nobody", "stranger"])
def test_who_has_no_role_sees_and_does_nothing(site, role):
    client = client_of(role)
    for url in admin_urls():
        for method in (client.get, client.post):
            reply = method(f"/{url}")
            if role == "stranger" and OWN.match(url):
                continue  # the first page, and one's own tokens
            assert reply.status_code in (302, 403, 404, 405), f"{role} {url}: {reply.status_code}"
            if reply.status_code == 302:
                target = reply.headers["Location"]
                assert target.startswith("/admin/login/") or (
                    role == "stranger" and target in ("/admin/", f"/{url}change/")
                ), url


@pytest.fixture
def everything():
    """Return what the database holds, to see that nothing has changed."""

    def look():
        from django.apps import apps

        models = [m for label in (*roles.APPS, "auth") for m in apps.get_app_config(label).get_models()]
        return {m._meta.label: list(m._default_manager.order_by("pk").values()) for m in models}

    return look


SECRETS = (world.KEY, "gAAAA")


def test_a_viewer_reads_everything_changes_nothing_and_sees_no_secret(site, everything):
    client = client_of("viewer")
    before = everything()
    seen = 0
    for url in admin_urls():
        reply = client.get(f"/{url}")
        assert reply.status_code < 500, url
        text = b"".join(reply) if reply.streaming else reply.content
        assert not [secret for secret in SECRETS if secret.encode() in text], url
        seen += reply.status_code == 200
        posted = client.post(
            f"/{url}", {"_confirm": "yes", "post": "yes", "reason": "x", "decision": "approve"}
        )
        assert posted.status_code < 500, url
    after = everything()
    changed = [name for name in before if before[name] != after[name] and name != "auth.User"]
    assert not changed
    assert seen > 20
    assert [u["is_superuser"] for u in after["auth.User"]] == [False]


def test_an_operator_does_the_actions_and_configures_nothing(site):
    client = client_of("operator")
    administrator = client_of("administrator")
    actions = [url for url in admin_urls() if "/do/" in url]
    assert set(actions) >= OPERATOR_ACTIONS
    for url in actions:
        expected = 200 if url in OPERATOR_ACTIONS else 403
        assert client.get(f"/{url}").status_code == expected, url
        # Of what the site of this test has none: nothing there. A proposal is withdrawn by who made it.
        possible = (403,) if url.endswith("/withdraw/") else (200, 404)
        assert administrator.get(f"/{url}").status_code in possible, url
    uploads = ("people/suppression", "people/profileimport", "events/eventupload")
    added = {f"admin/{model}/add/" for model in uploads}
    for url in added:
        assert client.get(f"/{url}").status_code == 200
    for url in set(admin_urls()) - added:
        if url.endswith(("/add/", "/delete/")) and not OWN.match(url):
            assert client.get(f"/{url}").status_code in (302, 403), url
    assert client.get("/admin/cohorts/cohort/1/upload/").status_code in (200, 302)
    body = {"base_url": "http://127.0.0.1:9/elsewhere", "name": "acme"}
    assert client.post("/admin/destinations/destination/1/change/", body).status_code == 403
    assert client.post("/admin/syncs/sync/1/change/", {"schedule_kind": "hourly"}).status_code == 403


CALLS = {
    # method and address: the least role that may
    ("get", "cohorts"): "viewer",
    ("get", "overlap"): "viewer",
    ("get", "cohorts/buyers"): "viewer",
    ("get", "cohorts/buyers/members"): "viewer",
    ("get", "cohorts/buyers/changes"): "viewer",
    ("get", "cohorts/buyers/calculation"): "viewer",
    ("post", "cohorts/buyers/calculation"): "operator",
    ("post", "cohorts"): "administrator",
    ("patch", "cohorts/buyers"): "administrator",
    ("put", "cohorts/buyers"): "administrator",
    ("delete", "cohorts/buyers"): "administrator",
    ("put", "cohorts/buyers/members"): "operator",
    ("patch", "cohorts/buyers/members"): "operator",
    ("get", "erasures"): "viewer",
    ("get", "erasures/1"): "viewer",
    ("post", "erasures"): "administrator",
    ("get", "suppressions"): "viewer",
    ("post", "suppressions"): "operator",
    ("post", "suppressions/lift"): "operator",
    ("get", "profiles/1"): "administrator",
    ("post", "profiles"): "operator",
    ("get", "profile-uploads"): "viewer",
    ("get", "profile-uploads/1"): "viewer",
    ("post", "profile-uploads"): "operator",
    ("post", "profile-uploads/1/again"): "operator",
    ("get", "event-imports"): "viewer",
    ("get", "event-imports/1"): "viewer",
    ("delete", "event-imports/1"): "administrator",
    ("get", "event-uploads"): "viewer",
    ("get", "event-uploads/1"): "viewer",
    ("post", "event-uploads"): "operator",
    ("post", "event-uploads/1/import"): "operator",
    ("delete", "event-uploads/1"): "operator",
    ("get", "event-corrections"): "viewer",
    ("post", "event-corrections"): "administrator",
    ("get", "event-devices"): "viewer",
    ("get", "event-names"): "viewer",
    ("post", "event-names"): "administrator",
    ("post", "event-devices"): "administrator",
    ("get", "alert-channels"): "viewer",
    ("get", "alert-channels/acme"): "viewer",
    ("post", "alert-channels"): "administrator",
    ("patch", "alert-channels/acme"): "administrator",
    ("delete", "alert-channels/acme"): "administrator",
    ("post", "alert-channels/acme/test"): "administrator",
    ("get", "proposals"): "viewer",
    ("get", "proposals/1"): "viewer",
    ("post", "proposals/1/approve"): "operator",
    ("post", "proposals/1/refuse"): "operator",
    ("post", "proposals/1/withdraw"): "operator",
    ("get", "destinations"): "viewer",
    ("get", "destinations/acme"): "viewer",
    ("post", "destinations"): "administrator",
    ("patch", "destinations/acme"): "administrator",
    ("delete", "destinations/acme"): "administrator",
    ("post", "destinations/preview"): "administrator",
    ("post", "destinations/acme/preview"): "administrator",
    ("post", "destinations/acme/test"): "administrator",
    ("post", "destinations/acme/pause"): "operator",
    ("post", "destinations/acme/resume"): "operator",
    ("get", "syncs"): "viewer",
    ("get", "syncs/1"): "viewer",
    ("get", "syncs/1/preview"): "viewer",
    ("get", "syncs/1/rejections"): "viewer",
    ("post", "syncs"): "administrator",
    ("patch", "syncs/1"): "administrator",
    ("delete", "syncs/1"): "administrator",
    ("get", "syncs/1/comparison"): "viewer",
    ("get", "syncs/1/comparison/differences"): "viewer",
    ("post", "syncs/1/comparison/repair"): "operator",
    ("post", "syncs/1/compare"): "operator",
    ("get", "syncs/1/held"): "viewer",
    ("post", "syncs/1/go-back"): "operator",
    ("post", "syncs/1/go-on"): "operator",
    ("post", "syncs/1/runs"): "operator",
    ("post", "syncs/1/pause"): "operator",
    ("post", "syncs/1/resume"): "operator",
    ("post", "syncs/1/rejections/retry"): "operator",
    ("post", "syncs/1/rejections/dismiss"): "operator",
    ("get", "runs"): "viewer",
    ("get", "runs/1"): "viewer",
    ("post", "runs/1/cancel"): "operator",
    ("post", "runs/1/resume"): "operator",
    ("post", "runs/1/approve"): "operator",
    ("post", "runs/1/refuse"): "operator",
}
RANKS = ["anonymous", "stranger", "viewer", "operator", "administrator"]


def test_every_call_of_the_api_is_in_the_table():
    """Read from the OpenAPI document: a call that is added must be put in its place above."""
    from drf_spectacular.generators import SchemaGenerator

    names = {"{key}": "buyers", "{name}": "acme", "{id}": "1"}
    found = set()
    for path, calls in SchemaGenerator().get_schema(request=None, public=True)["paths"].items():
        if not path.startswith("/api/v1/"):
            continue  # what partners call, with keys of their own
        path = path.replace("event-imports/{key}", "event-imports/1")
        for name, value in names.items():
            path = path.replace(name, value)
        found |= {
            (method, path.removeprefix("/api/v1/").rstrip("/")) for method in calls if method != "parameters"
        }
    assert found == set(CALLS)


def _token(role):
    return tokens.create(person(role), "t", scope=Scope.CONFIGURE)[1]


# Of a token of an administrator: the role that is served alike.
SCOPES = {Scope.READ: "viewer", Scope.RUN: "operator", Scope.CONFIGURE: "administrator"}


@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("role", ["administrator", "superuser"])
def test_each_call_of_the_api_by_each_scope(site, role, scope):
    """The scope of a superuser's token holds as that of any other."""
    owner = person("administrator")
    User.objects.filter(pk=owner.pk).update(is_superuser=role == "superuser")
    headers = {"Authorization": f"Token {tokens.create(owner, 't', scope=scope)[1]}"}
    client = Client(raise_request_exception=False)
    for (method, path), least in CALLS.items():
        reply = getattr(client, method)(
            f"/api/v1/{path}",
            data=None if method == "get" else b"[",
            content_type="application/json",
            headers=headers,
        )
        allowed = RANKS.index(SCOPES[scope]) >= RANKS.index(least)
        said = f"{scope} {method} {path}: {reply.status_code}"
        assert (reply.status_code != 403) == allowed and reply.status_code < 500, said
        if not allowed:
            assert f"The scope of this token is “{scope}”" in reply.json()["error"]["message"], said


@pytest.mark.parametrize("role", RANKS)
def test_each_call_of_the_api_by_each_role(site, role):
    headers = {} if role == "anonymous" else {"Authorization": f"Token {_token(role)}"}
    client = Client(raise_request_exception=False)
    for (method, path), least in CALLS.items():
        reply = getattr(client, method)(
            f"/api/v1/{path}",
            data=None if method == "get" else b"[",
            content_type="application/json",
            headers=headers,
        )
        allowed = RANKS.index(role) >= RANKS.index(least)
        said = f"{role} {method} {path}: {reply.status_code}"
        if role == "anonymous":
            assert reply.status_code == 401, said
        elif allowed:
            assert reply.status_code not in (401, 403) and reply.status_code < 500, said
        else:
            assert reply.status_code == 403, said


def test_migrations_give_the_groups_what_the_rules_say(django_db_setup):
    named = {
        name: set(Permission.objects.filter(wanted).values_list("content_type__app_label", "codename"))
        for name, wanted in roles.RULES.items()
    }
    assert django_db_setup == named


def test_what_has_permissions_of_its_own_is_followed_by_a_migration_that_grants_them():
    """Else they are in no group of a site that was there before; a new one's first grant is of all there is.

    A model or permission was added? Add a migration that calls `roles.grant` again.
    """
    loader = MigrationLoader(None)
    ours = {key: one for key, one in loader.disk_migrations.items() if key[0] in (*roles.APPS, "cohortsite")}
    granted = set()
    for key, one in ours.items():
        if getattr(sys.modules[one.__module__], "roles", None) is roles:
            granted |= set(loader.graph.forwards_plan(key))
    makes_some = {
        key
        for key, one in ours.items()
        for operation in one.operations
        if isinstance(operation, CreateModel)
        or (isinstance(operation, AlterModelOptions) and "permissions" in operation.options)
    }
    assert makes_some
    assert makes_some - granted == set()


def test_a_viewer_cannot_see_tokens_of_others(site):
    viewer, other = client_of("viewer"), person("operator")
    token, _ = tokens.create(other, "theirs")
    assert b"theirs" not in viewer.get("/admin/cohortsite/apitoken/").content
    viewer.post("/admin/cohortsite/apitoken/", {"action": "revoke_selected", "_selected_action": token.pk})
    assert ApiToken.objects.usable().filter(pk=token.pk).exists()
