"""Partners' folders: reading them, an operator's own, and writing a new one."""

import json

import pytest
from django.core.management import CommandError, call_command

from destinations.models import Destination
from destinations.partners.folder import BadFolder, read
from destinations.presets import PRESETS


def test_a_new_partner_of_an_operator_is_a_preset_without_a_release(tmp_path, settings, capsys):
    settings.PARTNERS_DIR = str(tmp_path)
    call_command("new_partner", "our-crm")
    data = json.loads((tmp_path / "our-crm" / "partner.json").read_text())
    data["label"] = "Our CRM"
    data["fields"]["add_path"] = "/groups/$list_id/people"
    (tmp_path / "our-crm" / "partner.json").write_text(json.dumps(data))
    call_command("new_partner", "our-crm", "--renew")
    assert "requests/add.http" in capsys.readouterr().out
    assert "POST /groups/1001/people HTTP/1.1" in (tmp_path / "our-crm" / "requests" / "add.http").read_text()
    settings.PARTNERS_DIR = f"{tmp_path}/"  # as a process that begins anew
    row = Destination.from_preset("our-crm")
    row.name, row.base_url, row.credential = "crm", "https://crm.example", "key-of-crm"
    row.clean_fields()
    row.clean()
    assert PRESETS["our-crm"].label == "Our CRM" and "amplitude-list" in PRESETS


def test_a_request_of_an_operation_that_the_data_has_no_more_is_taken_out(tmp_path, capsys):
    call_command("new_partner", "our-crm", "--into", str(tmp_path))
    folder = tmp_path / "our-crm"
    data = json.loads((folder / "partner.json").read_text())
    data["fields"]["list_id_from"] = "given"
    (folder / "partner.json").write_text(json.dumps(data))
    call_command("new_partner", "our-crm", "--into", str(tmp_path), "--renew")
    assert "requests/create.http" in capsys.readouterr().out
    assert sorted(path.stem for path in (folder / "requests").iterdir()) == ["add", "remove"]


def test_a_folder_that_cannot_be_used_says_why(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "partner.json").write_text("{")
    with pytest.raises(BadFolder, match="partner.json"):
        read(tmp_path / "bad")
    (tmp_path / "bad" / "partner.json").write_text('{"label": "x", "fields": {}, "surprise": 1}')
    with pytest.raises(BadFolder, match="surprise"):
        read(tmp_path / "bad")


@pytest.mark.parametrize(
    ("slug", "problem"), [("No Name", "no name for a partner"), ("taken", "there already")]
)
def test_a_name_that_is_none_or_taken_is_refused(tmp_path, slug, problem):
    (tmp_path / "taken").mkdir()
    with pytest.raises(CommandError, match=problem):
        call_command("new_partner", slug, "--into", str(tmp_path))


def test_a_destination_does_not_share_its_fields_with_its_preset():
    row = Destination.from_preset("klaviyo-list")
    row.extra_headers["X-More"] = "1"
    assert "X-More" not in PRESETS["klaviyo-list"].fields["extra_headers"]
