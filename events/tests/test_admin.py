"""The catalogue and the imported files are shown, and cannot be changed."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from events.importing import import_file

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


def test_limits_that_cannot_work_are_told_at_start(settings: Any) -> None:
    settings.EVENTS_MEMORY_MB = 1
    settings.EVENTS_SECONDS = 0
    said = [str(message) for message in run_checks() if message.id == "events.E001"]
    assert len(said) == 2 and "EVENTS_MEMORY_MB is 1." in said[0]
