"""The catalogue and the imported files are shown, and cannot be changed."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from events.catalogue import event_names
from events.importing import import_file
from events.models import ImportedFile

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


def test_an_import_is_undone_after_a_question_and_stays_listed(admin_client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"user_id": "u", "event": "play", "time": "2024-05-01"}\n')
    import_file("default", path)
    [imported] = ImportedFile.objects.all()
    form = {"action": "delete_selected", "_selected_action": [imported.pk]}
    asked = admin_client.post("/admin/events/importedfile/", form)
    assert asked.status_code == 200 and ImportedFile.objects.standing("default").exists()
    answer = admin_client.post("/admin/events/importedfile/", form | {"post": "yes"}, follow=True)
    assert "1 events and 0 users&#x27; properties were taken out" in answer.content.decode()
    imported.refresh_from_db()
    assert imported.undone_at and event_names("default") == []
    for page, shown in (("correction", "undone: the import of a.jsonl"), ("eventfile", "replaced")):
        assert shown in admin_client.get(f"/admin/events/{page}/").content.decode()


def test_limits_that_cannot_work_are_reported_at_start(settings: Any) -> None:
    settings.EVENTS_MEMORY_MB = 1
    settings.EVENTS_SECONDS = 0
    said = [str(message) for message in run_checks() if message.id == "events.E001"]
    assert len(said) == 2 and "EVENTS_MEMORY_MB is 1." in said[0]
