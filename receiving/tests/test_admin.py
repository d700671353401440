"""The partner's side in the admin: who may do what, and what a page shows."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from receiving import store
from receiving.keys import create_key, digest
from receiving.models import ApiKey, BodySearch, KnownUser, List, ListMember, RequestLog, Workspace
from receiving.search import run_searches

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace() -> Workspace:
    return Workspace.objects.create(slug="acme")


@pytest.fixture
def found(workspace: Workspace) -> List:
    made = store.create_list(workspace, "[Amplitude] buyers: 1")
    store.add_members(made.member_set_id, sorted(f"user-{n:03}" for n in range(250)))
    return made


@pytest.fixture
def entry(workspace: Workspace, found: List) -> RequestLog:
    key = create_key(workspace)[1]
    Client().post(
        f"/lists/{found.pk}/add", json.dumps({"userIds": ["<script>alert(1)</script>"]}),
        content_type="application/json", headers={"Authorization": f"Bearer {key}"},
    )  # fmt: skip
    return RequestLog.objects.get()


def page(client: Client, name: str, *arguments: Any) -> str:
    reply = client.get(reverse(f"admin:receiving_{name}", args=arguments))
    assert reply.status_code == 200, name
    return reply.content.decode()


def someone_with(*permissions: str) -> Client:
    user = User.objects.create_user("clerk", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_every_page_opens_empty_and_filled(admin_client: Client, workspace: Workspace):
    names = [f"{model}_changelist" for model in ("workspace", "apikey", "list", "requestlog", "bodysearch")]
    for name in (*names, "workspace_add", "apikey_add", "bodysearch_add"):
        page(admin_client, name)
    made = store.create_list(workspace, "n")
    key, text = create_key(workspace, name="sender")
    Client().post(
        "/lists", b"{}", content_type="application/json", headers={"Authorization": f"Bearer {text}"}
    )
    search = BodySearch.objects.create(workspace=workspace, user_id="u")
    for name in names:
        page(admin_client, name)
    for name, row in [("workspace", workspace), ("apikey", key), ("list", made), ("bodysearch", search)]:
        page(admin_client, f"{name}_change", row.pk)
    assert "name is not a string" in page(admin_client, "requestlog_change", RequestLog.objects.get().pk)


def test_a_new_key_is_shown_once_and_in_no_cookie(admin_client: Client, workspace: Workspace):
    reply = admin_client.post(
        reverse("admin:receiving_apikey_add"), {"workspace": workspace.pk, "name": "Amplitude", "app_id": ""}
    )
    text = re.search(r'id="api-key">([^<]+)<', reply.content.decode())
    assert text is not None
    stored = ApiKey.objects.get()
    assert stored.sha256 == digest(text[1])
    assert "no-store" in reply.headers["Cache-Control"]
    assert text[1] not in str(admin_client.cookies)
    assert text[1] not in page(admin_client, "apikey_change", stored.pk) + page(
        admin_client, "apikey_changelist"
    )


def test_a_key_is_revoked_by_those_with_the_right(admin_client: Client, workspace: Workspace):
    key, text = create_key(workspace)
    url = reverse("admin:receiving_apikey_do", args=[key.pk, "revoke"])
    clerk = someone_with("view_apikey", "change_apikey")
    assert clerk.post(url).status_code == 403
    assert admin_client.get(url).status_code == 200
    key.refresh_from_db()
    assert key.revoked_at is None
    admin_client.post(url)
    reply = Client().get("/lists", headers={"Authorization": f"Bearer {text}"})
    assert reply.status_code == 401


def test_faults_are_set_by_those_with_the_right_and_shown_on_every_page(
    admin_client: Client, workspace: Workspace
):
    url = reverse("admin:receiving_workspace_change", args=[workspace.pk])
    fields = {
        "slug": "acme", "max_body_bytes": 10_000_000, "max_items": 1000, "rate_window_seconds": 60,
        "log_days": 1, "log_max_bytes": 1000, "fault_delay_ms": 0, "fault_429_percent": 30,
        "fault_reset_percent": 0,        "fault_rejected_percent": 0,
    }  # fmt: skip
    clerk = someone_with("view_workspace", "change_workspace")
    assert clerk.post(url, fields).status_code == 302
    workspace.refresh_from_db()
    assert (workspace.max_items, workspace.fault_429_percent) == (1000, 0)
    assert "Fault injection is on" not in page(admin_client, "requestlog_changelist")
    assert admin_client.post(url, {**fields, "fault_429_percent": 101}).status_code == 200
    assert admin_client.post(url, fields).status_code == 302
    workspace.refresh_from_db()
    assert workspace.fault_429_percent == 30
    for name in ("workspace_changelist", "apikey_changelist", "list_changelist", "requestlog_changelist"):
        assert "Fault injection is on" in page(admin_client, name)
    assert "refuses 30 % with 429" in page(admin_client, "workspace_change", workspace.pk)


def test_known_users_are_uploaded(admin_client: Client, workspace: Workspace):
    url = reverse("admin:receiving_workspace_known_users", args=[workspace.pk])
    assert 'enctype="multipart/form-data"' in admin_client.get(url).content.decode()
    file = SimpleUploadedFile("ids.txt", "\ufeffa\r\nb\n\na\nZoë\n".encode())
    admin_client.post(url, {"file": file})
    assert sorted(KnownUser.objects.values_list("user_id", flat=True)) == ["Zoë", "a", "b"]
    for bad, message in [(b"ok\n\xff\n", "Line 2"), (b"x" * 1025, "Line 1"), (b"\n\n", "no user id")]:
        reply = admin_client.post(url, {"file": SimpleUploadedFile("ids.txt", bad)})
        assert message in reply.content.decode()
    assert KnownUser.objects.count() == 3


def test_members_are_paged_and_downloaded(admin_client: Client, found: List):
    first = page(admin_client, "list_members", found.pk)
    assert (
        "user-000" in first
        and "user-100" not in first.split("Next page")[0].split("<ol")[1].split("</ol>")[0]
    )
    url = reverse("admin:receiving_list_members", args=[found.pk])
    assert "user-240" in admin_client.get(url, {"user_id": "user-200"}).content.decode()
    assert "Nobody is on this list from there on" in admin_client.get(url, {"user_id": "z"}).content.decode()
    csv = admin_client.get(reverse("admin:receiving_list_members_csv", args=[found.pk]))
    content = b"".join(csv.streaming_content)  # type: ignore[attr-defined]
    assert content.count(b"\r\n") == 251


def test_a_list_that_people_download_has_no_formulas(admin_client: Client, found: List):
    store.add_members(found.member_set_id, ["=1+1", "@x", "plain"])
    csv = admin_client.get(reverse("admin:receiving_list_members_csv", args=[found.pk]))
    content = b"".join(csv.streaming_content)  # type: ignore[attr-defined]
    assert b'"\'=1+1"\r\n' in content and b'"\'@x"' in content and b'"plain"' in content


def test_a_list_is_emptied_and_deleted_by_those_with_the_right(admin_client: Client, found: List):
    empty = reverse("admin:receiving_list_do", args=[found.pk, "empty"])
    delete = reverse("admin:receiving_list_do", args=[found.pk, "delete"])
    clerk = someone_with("view_list", "delete_list", "change_list")
    for url in (empty, delete):
        assert clerk.post(url).status_code == 403
    assert ListMember.objects.count() == 250
    admin_client.get(empty)
    assert ListMember.objects.count() == 250
    admin_client.post(empty)
    assert (List.objects.count(), ListMember.objects.count()) == (1, 0)
    admin_client.post(delete)
    assert List.objects.count() == 0


def test_a_request_is_replayed_by_those_with_the_right(admin_client: Client, entry: RequestLog):
    url = reverse("admin:receiving_requestlog_do", args=[entry.pk, "replay"])
    clerk = someone_with("view_requestlog", "change_requestlog")
    assert clerk.post(url).status_code == 403
    ListMember.objects.filter(set_id__gt=0).delete()
    admin_client.post(url)
    assert ListMember.objects.count() == 1
    shown = page(admin_client, "requestlog_change", RequestLog.objects.order_by("-pk")[0].pk)
    assert f"request {entry.pk}" in shown


def test_the_log_escapes_what_partners_sent(admin_client: Client, entry: RequestLog):
    shown = page(admin_client, "requestlog_change", entry.pk)
    assert "<script>alert" not in shown and "&lt;script&gt;alert" in shown
    body = admin_client.get(reverse("admin:receiving_requestlog_body", args=[entry.pk]))
    assert b"<script>" in body.content
    assert body.headers["Content-Type"] == "application/octet-stream"


def test_the_log_is_searched_by_list_status_and_key(admin_client: Client, entry: RequestLog, found: List):
    url = reverse("admin:receiving_requestlog_changelist")
    key = ApiKey.objects.get()
    row = f"POST {entry.path}"
    hits: list[dict[str, Any]] = [
        {"list_number": found.pk}, {"status": "200"}, {"key__id__exact": key.pk}, {"q": key.prefix},
        {"received_at_from_0": "2020-01-01", "received_at_from_1": "00:00:00"}, {"q": str(found.pk)},
    ]  # fmt: skip
    for query in hits:
        assert row in admin_client.get(url, query).content.decode(), query
    misses: list[dict[str, Any]] = [
        {"list_number": found.pk + 1}, {"status": "refused"}, {"q": "nothing"},
        {"received_at_to_0": "2020-01-01", "received_at_to_1": "00:00:00"},
    ]  # fmt: skip
    for query in misses:
        assert row not in admin_client.get(url, query).content.decode(), query


def test_a_search_for_a_user_is_ordered_and_shown(admin_client: Client, entry: RequestLog):
    admin_client.post(
        reverse("admin:receiving_bodysearch_add"),
        {"workspace": entry.workspace_id, "user_id": "<script>alert(1)</script>"},
    )
    search = BodySearch.objects.get()
    assert "Waiting" in page(admin_client, "bodysearch_changelist")
    assert run_searches() == 1
    shown = page(admin_client, "bodysearch_change", search.pk)
    assert reverse("admin:receiving_requestlog_change", args=[entry.pk]) in shown


def test_a_workspace_with_lists_cannot_be_deleted(admin_client: Client, workspace: Workspace, found: List):
    url = reverse("admin:receiving_workspace_delete", args=[workspace.pk])
    assert admin_client.post(url, {"post": "yes"}).status_code == 403
    store.delete_list(workspace, str(found.pk))
    assert admin_client.post(url, {"post": "yes"}).status_code == 302
    assert not Workspace.objects.exists()
