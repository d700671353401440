"""The catalogue and the imported files are shown, and cannot be changed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.checks import run_checks
from django.test import Client

from events.catalogue import event_names
from events.importing import import_file
from events.merges import find_devices
from events.models import Correction, ImportedFile

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("page", "shown"),
    [("catalogueentry", ["play", "genre", "(the user)", "string"]), ("importedfile", ["a.jsonl"])],
)
def test_what_has_come_in_is_listed_read_only(
    admin_client: Client, tmp_path: Path, page: str, shown: list[str]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"user_id": "u", "event": "play", "time": "2024-05-01", "properties": {"genre": "jazz"}}\n'
        '{"type": "identify", "user_id": "u", "traits": {"plan": "pro"}}\n'
    )
    import_file("default", path)
    answer = admin_client.get(f"/admin/events/{page}/")
    assert answer.status_code == 200
    for text in shown:
        assert text in answer.content.decode()
    assert admin_client.get(f"/admin/events/{page}/add/").status_code == 403


@pytest.fixture
def imported(tmp_path: Path) -> ImportedFile:
    path = tmp_path / "a.jsonl"
    lines = [{"user_id": user, "event": "play", "time": "2024-05-01"} for user in ("u1", "u2", "u2")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_file("default", path)
    return ImportedFile.objects.get()


def test_an_import_is_undone_after_a_question_that_names_numbers_and_stays_listed(
    admin_client: Client, imported: ImportedFile
) -> None:
    assert imported.key
    listed = admin_client.get("/admin/events/importedfile/", {"q": imported.key[:12]}).content.decode()
    assert f">{imported.key[:12]}<" in listed.replace(" ", "").replace("\n", "")
    assert admin_client.get("/admin/events/importedfile/", {"q": "0" * 12}).context["cl"].result_count == 0
    undo = f"/admin/events/importedfile/{imported.pk}/do/undo/"
    asked = admin_client.get(undo).content.decode()
    assert "3 events of 2 users" in asked and ImportedFile.objects.standing("default").exists()
    answer = admin_client.post(undo, {"seen": ""}, follow=True)
    assert "3 events and 0 users&#x27; properties were taken out" in answer.content.decode()
    imported.refresh_from_db()
    assert imported.undone_at and event_names("default") == []
    for page, shown in (("correction", "undone: the import of a.jsonl"), ("eventfile", "replaced")):
        assert shown in admin_client.get(f"/admin/events/{page}/").content.decode()
    assert "not possible now" in admin_client.get(undo).content.decode()


def buttons(page: str) -> list[str]:
    """What stands on the buttons of a page that send something, icons left out."""
    found = re.findall(r'<button[^>]*type="submit"[^>]*>(.*?)</button>', page, re.DOTALL)
    return [re.sub(r"<span.*?</span>|<[^>]*>", " ", text, flags=re.DOTALL).strip() for text in found]


def test_a_button_says_what_it_does(admin_client: Client, imported: ImportedFile) -> None:
    assert "Upload" in buttons(admin_client.get("/admin/events/eventupload/add/").content.decode())
    page = "/admin/events/correction/add/"
    assert "Count them" in buttons(admin_client.get(page).content.decode())
    asked = admin_client.post(page, {"workspace": "default", "user_id": "u2"}).content.decode()
    assert "Delete 2 events" in buttons(asked)


def test_events_are_deleted_after_a_question_that_names_how_many(
    admin_client: Client, imported: ImportedFile
) -> None:
    page, said = "/admin/events/correction/add/", {"workspace": "default", "user_id": "u2"}
    asked = admin_client.post(page, said).content.decode()
    assert "Delete 2 events" in asked and event_names("default")[0].count == 3
    others = admin_client.post(page, {"workspace": "default", "user_id": "u1", "seen": "2"}).content.decode()
    assert "Delete 1 event" in others and event_names("default")[0].count == 3
    admin_client.post(page, said | {"seen": "2"})
    assert event_names("default")[0].count == 1 and Correction.objects.get().by == "admin"
    for wrong, why in (
        (said, "There is no such event"),
        ({"workspace": "default"}, "Name an event"),
        ({"workspace": "other", "event": "play"}, "There are no events of a workspace"),
        ({"workspace": "default", "import_key": "x"}, "begins no imports&#x27; keys"),
    ):
        assert why in admin_client.post(page, wrong).content.decode()


def test_whose_devices_are_is_shown_and_decided(admin_client: Client, imported: ImportedFile) -> None:
    page = "/admin/events/correction/devices/"
    decision = {"workspace": "default", "device": "d", "user_id": "u1"}
    done = admin_client.post(page, decision, follow=True).content.decode()
    assert "d is u1&#x27;s now" in done and "decided by a person" in done
    shown = admin_client.get(page, {"workspace": "default", "user_id": "u1"}).content.decode()
    assert "<bdi>u1</bdi>'s" in shown
    admin_client.post(page, decision | {"user_id": ""})
    assert find_devices("default", device="d")[0].user_id == ""
    assert (
        "is nobody&#x27;s"
        in admin_client.post(page, decision | {"user_id": ""}, follow=True).content.decode()
    )
    assert (
        "Nothing was said"
        in admin_client.get(page, {"workspace": "default", "user_id": "v"}).content.decode()
    )


@pytest.mark.usefixtures("groups")
def test_a_viewer_deletes_imports_and_decides_nothing(client: Client, imported: ImportedFile) -> None:
    viewer = User.objects.create_user("vera", is_staff=True)
    viewer.groups.set(Group.objects.filter(name="viewer"))
    client.force_login(viewer)
    assert client.get("/admin/events/correction/devices/").status_code == 200
    for page in ("correction/devices/", "correction/add/", "eventupload/add/"):
        assert (
            client.post(f"/admin/events/{page}", {"workspace": "default", "device": "d"}).status_code == 403
        )
    undo = f"/admin/events/importedfile/{imported.pk}/do/undo/"
    assert client.post(undo, {"seen": ""}).status_code == 403
    assert find_devices("default") == [] and event_names("default")[0].count == 3


def test_limits_that_cannot_work_are_reported_at_start(settings: Any) -> None:
    settings.EVENTS_MEMORY_MB = 1
    settings.EVENTS_SECONDS = 0
    said = [str(message) for message in run_checks() if message.id == "events.E001"]
    assert len(said) == 2 and "EVENTS_MEMORY_MB is 1." in said[0]
