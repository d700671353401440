"""Files of events from the browser: shown as they are understood, imported when a person says so."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from events import arrivals, uploads
from events.catalogue import event_names
from events.importing import import_file
from events.locks import locked
from events.models import EventUpload, ImportedFile, UploadState
from events.workspace_folders import Folders

pytestmark = pytest.mark.django_db(transaction=True)
LINES = "who,what,when\nu1,play,2024-05-01\nu2,play,2024-05-02\nu3,,2024-05-02\n"
COLUMNS = {"user_id": "who", "event": "what", "time": "when"}


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


def upload(client: Client, content: str = LINES, name: str = "shop.csv", **more: str) -> Any:
    file = SimpleUploadedFile(name, content.encode())
    said = {"workspace": "default", "source": "shop", **COLUMNS} | more
    return client.post("/admin/events/eventupload/add/", {"file": file, **said}, follow=True)


def do(client: Client, name: str) -> str:
    kept = EventUpload.objects.get()
    answer = client.post(f"/admin/events/eventupload/{kept.pk}/do/{name}/", {"seen": ""}, follow=True)
    return str(answer.content.decode())


def test_a_file_is_shown_as_it_is_understood_and_imported_when_a_person_says_so(admin_client: Client) -> None:
    shown = upload(admin_client).content.decode()
    assert "Waiting for you" in shown and "separated by" in shown and "play (2)" in shown
    assert not ImportedFile.objects.exists()
    kept = EventUpload.objects.get()
    asked = admin_client.get(f"/admin/events/eventupload/{kept.pk}/do/import/").content.decode()
    assert "2 events" in asked and "1 lines are left out as bad" in asked
    assert "Being imported, 0 %" in do(admin_client, "import")
    state = f"/admin/events/eventupload/{kept.pk}/state/"
    assert admin_client.get(state).json()["open"] is True
    assert arrivals.take_in_all()
    kept.refresh_from_db()
    assert (kept.state, admin_client.get(state).json()["open"]) == (UploadState.DONE, False)
    imported = ImportedFile.objects.get()
    assert (imported.key, imported.by, imported.source, imported.rows) == (
        kept.import_key,
        "admin",
        "shop",
        2,
    )
    assert event_names("default")[0].count == 2
    assert list(Folders("default").uploads.iterdir()) == []


def test_a_discarded_file_leaves_nothing(admin_client: Client) -> None:
    upload(admin_client)
    assert "nothing of it was imported" in do(admin_client, "discard")
    assert not EventUpload.objects.exists() and list(Folders("default").uploads.iterdir()) == []
    arrivals.take_in_all()
    assert not ImportedFile.objects.exists()


def test_a_large_file_is_looked_at_by_the_worker(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "AT_ONCE", 10)
    assert "Being looked at" in upload(admin_client).content.decode()
    arrivals.take_in_all()
    assert EventUpload.objects.get().state == UploadState.LOOKED


def test_a_worker_that_died_is_followed_and_the_content_counts_once(admin_client: Client) -> None:
    upload(admin_client)
    do(admin_client, "import")
    kept = EventUpload.objects.get()
    import_file("default", uploads.path_of(kept), uploads.mapping_of(kept))
    arrivals.take_in_all()
    kept.refresh_from_db()
    assert (kept.state, kept.said[:34]) == (UploadState.DONE, "This content was imported before: ")
    assert event_names("default")[0].count == 2


def test_a_file_that_is_of_no_use_says_why(admin_client: Client) -> None:
    shown = upload(admin_client, "x" * 20, "a.parquet").content.decode()
    assert "Failed" in shown and "a.parquet is damaged" in shown
    assert list(Folders("default").uploads.iterdir()) == []


def test_events_with_known_insert_ids_replace_those_that_are_there(admin_client: Client) -> None:
    for event in ("old", "new"):
        EventUpload.objects.all().delete()
        lines = f'{{"user_id": "u", "event": "{event}", "time": "2024-05-01", "insert_id": "1"}}\n'
        said = {"user_id": "", "event": "", "time": "", "replaces_repeats": "on"}
        upload(admin_client, lines, f"{event}.jsonl", **said)
        do(admin_client, "import")
        arrivals.take_in_all()
    assert [entry.event for entry in event_names("default")] == ["new"]
    assert "1 events replaced" in EventUpload.objects.get().said


def test_two_files_of_a_workspace_are_imported_one_after_the_other(admin_client: Client) -> None:
    upload(admin_client)
    do(admin_client, "import")
    with locked(Folders("default").root / "uploads.lock"):
        uploads.work_off("default")
        assert EventUpload.objects.get().state == UploadState.IMPORTING
    uploads.work_off("default")
    assert EventUpload.objects.get().state == UploadState.DONE


def test_what_is_too_large_or_says_nothing_is_refused(admin_client: Client, settings: Any) -> None:
    settings.MAX_UPLOAD_BYTES = 10
    assert "larger than 10" in upload(admin_client).content.decode()
    assert "required" in admin_client.post("/admin/events/eventupload/add/", {}).content.decode()
    assert not EventUpload.objects.exists()
