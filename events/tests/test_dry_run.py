"""`import_events --dry-run`: what a file is and would bring is said, and nothing is taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from events.models import EventFile, ImportedFile

pytestmark = pytest.mark.django_db(transaction=True)

CSV = """userId;event;timestamp;total
u1;buy;2024-05-01T10:00:00Z;3
u2;buy;1714557600000;
null;look;2024-05-03T10:00:00Z;1
u4;buy;yesterday;1
"""


def look(path: Path, *options: str, capsys: Any) -> Any:
    """The JSON, and the exit code."""
    code = 0
    try:
        call_command("import_events", str(path), "--dry-run", "--json", *options)
    except SystemExit as left:
        code = left.code  # type: ignore[assignment]
    [looked] = json.loads(capsys.readouterr().out)["files"]
    return looked, code


def test_a_text_is_looked_at_as_an_import_would_read_it(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "events.csv"
    path.write_text(CSV)
    looked, code = look(path, capsys=capsys)
    assert code == 3  # one line is bad, as it would be in an import
    assert looked["fields"] == {"user_id": "userId", "event": "event", "time": "timestamp"}
    assert looked["text"] == "A text, separated by semicolons, with a heading."
    assert looked["columns"] == ["userId", "event", "timestamp", "total"]
    assert (looked["rows"], looked["bad_lines"]) == (3, 1) and "yesterday" in looked["problems"][0]
    assert looked["events"] == {"buy": 2, "look": 1}
    assert looked["first"].startswith("2024-05-01T10:00") and looked["last"].startswith("2024-05-03T10:00")
    assert [odd["samples"] for odd in looked["suspicious"]] == [["null"]]
    assert looked["samples"][0]["properties"] == {"total": "3"}
    assert not EventFile.objects.exists() and not ImportedFile.objects.exists()
    with pytest.raises(SystemExit):
        call_command("import_events", str(path), "--dry-run")
    said = capsys.readouterr().out
    assert "Nothing was imported" in said and "user_id = userId" in said and "buy (2)" in said
    with pytest.raises(SystemExit):
        call_command("import_events", str(path), "--json")
    [imported] = json.loads(capsys.readouterr().out)["files"]
    assert (imported["rows"], imported["bad_lines"]) == (looked["rows"], looked["bad_lines"])
    assert look(path, capsys=capsys)[0]["known"] is True


def test_what_cannot_be_read_or_used_fails_as_an_import_would(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(CommandError, match="no line can be used"):
        call_command("import_events", str(path), "--dry-run")
    (tmp_path / "events.zip").write_bytes(b"PK nothing")
    with pytest.raises(CommandError, match="damaged or cut off"):
        call_command("import_events", str(tmp_path / "events.zip"), "--dry-run")


def test_a_mapping_that_is_given_is_shown(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "people.csv"
    path.write_text("Kunde,plan\nu1,pro\n")
    looked, code = look(path, "--traits", "--map", "user_id=Kunde", capsys=capsys)
    assert (looked["users"], looked["rows"], code) == (1, 0, 0)
    assert looked["fields"]["user_id"] == "Kunde"
