"""Files of profiles from the browser: the look, the form, the worker, and what is left of them."""

from io import StringIO

import pytest
from django.contrib.auth.models import Group
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db.models.functions import Now
from django.urls import reverse

from people import profile_files, profile_imports, profiles
from people.models import CLAIM_TIME, ImportState, ProfileImport
from people.profile_admin import OPEN
from people.profile_files import Mapped, suggested
from people.scrubbing import FORGOTTEN
from receiving.models import Workspace

pytestmark = pytest.mark.django_db
CSV = b"user_id;E-Mail;Tel;Plan\nu1; Ada@Example.com;+49 30 901820;pro\nu2;none;;free\n"
ADD = reverse("admin:people_profileimport_add")
LOOK = reverse("admin:people_profileimport_look")


@pytest.fixture(autouse=True)
def folders(settings, tmp_path):
    settings.EVENTS_DIR, settings.MEDIA_ROOT = tmp_path / "events", tmp_path / "media"


@pytest.fixture
def shop():
    return Workspace.objects.create(slug="shop")


def give(client, content=CSV, mapped="email=E-Mail", **fields):
    file = SimpleUploadedFile("people.csv", content)
    return client.post(ADD, {"file": file, "workspace": "shop", "mapped": mapped, **fields})


def look(client, mapped="", **fields):
    said = {"file": SimpleUploadedFile("beginning", CSV), "name": "people.csv", "whole": "on", "choose": "on"}
    return " ".join(client.post(LOOK, said | {"mapped": mapped} | fields).content.decode().split())


def known(user_id):
    return {name: one.value for name, one in profiles.store().of("shop", user_id).items()}


def worked() -> ProfileImport:
    [one] = profile_imports.import_waiting()
    return one


def test_the_look_offers_fields_and_shows_values_as_they_will_be_kept(shop, admin_client):
    text = look(admin_client, suggest="on")
    assert 'data-suggested="email=E-Mail phone=Tel"' in text
    text = look(admin_client, mapped="email=E-Mail\nphone=Tel\nplan=Plan")
    assert 'data-field-of="E-Mail" value="email"' in text and "ada@example.com" in text
    assert "none has no @" in text and "+4930901820" in text
    assert "data-suggested" not in text
    assert "The file has no column &#x27;Mail&#x27;." in look(admin_client, mapped="email=Mail")
    assert "says no column" in look(admin_client, mapped="email")
    assert "data-field-of" not in look(admin_client, choose="")


def test_headings_that_say_what_they_are_are_suggested_once():
    found = suggested(["user_id", "E-Mail", "email", "Mobile", "Plan"], 0)
    assert found == [Mapped("email", "email", "E-Mail"), Mapped("phone", "phone", "Mobile")]
    assert suggested(["email", "plan"], 0) == []


def test_a_file_is_stored_and_the_worker_imports_it(shop, admin_client):
    reply = give(admin_client, mapped="email=E-Mail\nplan=Plan", skip_invalid="on")
    stored = ProfileImport.objects.get()
    assert reply.url == reverse("admin:people_profileimport_change", args=[stored.pk])
    assert "Waiting for the worker, 0 %" in admin_client.get(reply.url).content.decode()
    done = worked()
    assert (done.state, done.users, done.changed, done.skipped, done.file.name) == ("done", 2, 3, 1, "")
    assert known("u1") == {"email": "ada@example.com", "plan": "pro"}
    assert not stored.file.storage.exists(str(stored.file.name))
    state = admin_client.get(reverse("admin:people_profileimport_state", args=[done.pk])).json()
    assert done.state not in OPEN
    assert state == {"open": False, "percent": 100, "words": "Imported, 100 %"}


def test_one_that_failed_kept_nothing_and_can_be_tried_again(shop, admin_client):
    give(admin_client, mapped="email=E-Mail\nplan=Plan")
    failed = worked()
    assert failed.state == "failed" and "Line 3: email 'none' has no @. Nothing was kept." in failed.error
    assert known("u1") == {}
    page = reverse("admin:people_profileimport_change", args=[failed.pk])
    assert "Try again" in admin_client.get(page).content.decode()
    admin_client.post(reverse("admin:people_profileimport_do", args=[failed.pk, "again"]))
    assert ProfileImport.objects.get().state == "waiting"
    assert worked().attempts == 2
    assert profile_imports.forget_files() == 1
    failed.refresh_from_db()
    assert (failed.file.name, failed.error) == ("", FORGOTTEN)
    assert profile_imports.forget_files() == 0


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"mapped": ""}, "mapped", "Choose a column that becomes a field."),
        ({"mapped": "email=Mail"}, "mapped", "The file has no column named 'Mail'"),
        ({"mapped": "email"}, "mapped", "'email' says no column: write email=E-Mail."),
        ({"mapped": "a\0=E-Mail"}, "mapped", "Null characters are not allowed."),
        (
            {"mapped": "\n".join(f"f{n}=E-Mail" for n in range(101))},
            "mapped",
            "There are more than 100 lines.",
        ),
        ({"workspace": "other"}, "workspace", "Select a valid choice."),
        ({"content": b""}, "file", "The submitted file is empty."),
        ({"content": b"\x00\x01"}, "file", "Line 1 contains a NUL character"),
        ({"content": b"a;b\n1;2\n"}, "column", "The file has 2 columns, of which none"),
    ],
)
def test_what_is_wrong_is_said_at_the_form(shop, admin_client, fields, field, said):
    [error] = give(admin_client, **fields).context["form"].errors[field]
    assert error.startswith(said)
    assert not ProfileImport.objects.exists()


def test_without_a_workspace_the_page_says_what_to_do(admin_client):
    assert "Add a workspace" in admin_client.get(ADD).content.decode()


def test_who_may_not_import_sees_the_list_only(shop, client, groups, django_user_model):
    vera = django_user_model.objects.create_user("vera", password="x", is_staff=True)
    vera.groups.add(Group.objects.get(name="viewer"))
    client.force_login(vera)
    assert client.get(reverse("admin:people_profileimport_changelist")).status_code == 200
    assert client.get(ADD).status_code == give(client).status_code == client.post(LOOK).status_code == 403


def stored(shop, client) -> ProfileImport:
    give(client, mapped="plan=Plan")
    return ProfileImport.objects.get()


def test_one_whose_worker_died_is_taken_over_when_its_claim_is_over(shop, admin_client):
    waiting = stored(shop, admin_client)
    assert ProfileImport.objects.start(waiting.pk)
    assert list(profile_imports.import_waiting()) == []
    ProfileImport.objects.update(claim_until=Now() - CLAIM_TIME)
    assert worked().state == "done"


def test_who_was_overtaken_leaves_the_row_to_the_other(shop, admin_client, monkeypatch):
    waiting = stored(shop, admin_client)
    monkeypatch.setattr(profile_imports, "NOTED_EVERY", 0.0)
    monkeypatch.setattr(profile_files, "PAGE", 1)
    ours = profiles.store().write

    class Slow:
        def write(self, workspace, said):
            ProfileImport.objects.update(attempts=7)
            return ours(workspace, said)

    monkeypatch.setattr(profiles, "write", Slow().write)
    assert not profile_imports.bring(waiting)
    waiting.refresh_from_db()
    assert (waiting.state, waiting.attempts) == (ImportState.IMPORTING, 7)


def test_a_file_that_is_gone_is_said(shop, admin_client):
    waiting = stored(shop, admin_client)
    waiting.file.storage.delete(str(waiting.file.name))
    assert worked().error == "The stored file is gone. Upload it again."


def test_a_file_that_cannot_be_deleted_fails_nothing_and_is_deleted_with_the_next(
    shop, admin_client, monkeypatch
):
    def refuse(self, name):
        raise OSError("The store is away.")

    first = stored(shop, admin_client)
    with monkeypatch.context() as patched:
        patched.setattr(FileSystemStorage, "delete", refuse)
        assert (worked().state, bool(ProfileImport.objects.get().file)) == ("done", True)
    give(admin_client, mapped="plan=Plan")
    assert worked().state == "done"
    assert not ProfileImport.objects.exclude(file="").exists()
    assert not first.file.storage.exists(str(first.file.name))


def test_cron_imports_what_waits(shop, admin_client):
    stored(shop, admin_client)
    with pytest.raises(SystemExit) as left:
        call_command("sync_due", "--json", stdout=StringIO())
    assert (left.value.code, ProfileImport.objects.get().state) == (0, "done")
