import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from destinations.models import Destination
from destinations.tests.partner import answer, partner, says
from tests import world

pytestmark = pytest.mark.django_db
KEY = "s3cret-key-0123"


def check(*arguments: str) -> tuple[int, dict[str, Any]]:
    out, code = StringIO(), 0
    try:
        call_command("check_destination", *arguments, "--json", stdout=out)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        code = stop.code
    assert KEY not in out.getvalue()
    return code, json.loads(out.getvalue())


def make(url: str, **fields: object) -> None:
    Destination.objects.create(name="acme", base_url=url, credential=KEY, **fields)


@pytest.mark.parametrize(
    "more",
    [
        {"replaces_lists": True},
        {"poll_path": "/jobs/$job_id", "poll_fields": {"id": "id", "state": "state", "done": ["done"]}},
    ],
)
def test_a_partner_that_cannot_be_looked_at_at_once_is_not_certified(db, more):
    world.destination("http://127.0.0.1:9", name="later", **more)
    with pytest.raises(CommandError, match="cannot be certified"):
        call_command("certify_partner", "later")


def test_without_send_it_connects_and_sends_nothing():
    with partner(says(answer())) as server:
        make(server.url)
        code, result = check("acme")
        assert server.requests == []
    assert (code, result["ok"], result["address"], result["port"]) == (0, True, "127.0.0.1", server.port)


def test_an_unknown_list_means_that_the_credential_was_accepted():
    reply = answer("404 Not Found", b'{"error": {"code": "list_not_found", "message": "No such list"}}')
    with partner(says(reply)) as server:
        make(server.url)
        code, result = check("acme", "--send", "remove")
        assert b"/lists/0/remove" in server.requests[0]
    assert (code, result["ok"], result["status"]) == (0, True, 404)
    assert "credential was accepted" in result["note"]


def test_a_created_lists_id_is_reported():
    with partner(says(answer(body=b'{"listId": 5}'))) as server:
        make(server.url)
        assert check("acme", "--send", "create")[1]["list_id"] == "5"


@pytest.mark.parametrize("status", ["401 Unauthorized", "500 Oops", "302 Found"])
def test_a_failure_exits_1_with_the_problem(status):
    with partner(says(answer(status))) as server:
        make(server.url)
        code, result = check("acme", "--send", "add")
    assert (code, result["ok"]) == (1, False)
    assert status[:3] in result["problem"]


def test_a_refused_address_names_the_setting(settings):
    settings.OUTBOUND_ALLOW_NETS = []
    make("http://127.0.0.1:9")
    code, result = check("acme")
    assert code == 1
    assert "OUTBOUND_ALLOW_NETS" in result["problem"]


def test_a_configuration_that_no_form_would_take_is_reported():
    make("http://127.0.0.1:9", add_template='{"ids": "$nope"}')
    code, result = check("acme")
    assert code == 1
    assert "$nope" in result["problem"]


def test_wrong_usage_exits_2():
    with pytest.raises(CommandError) as caught:
        call_command("check_destination", "nobody")
    assert caught.value.returncode == 2
    make("http://127.0.0.1:9", kind="property")
    with pytest.raises(CommandError) as caught:
        call_command("check_destination", "acme", "--send", "create")
    assert caught.value.returncode == 2


def test_people_get_lines(capsys):
    with partner(says(answer())) as server:
        make(server.url)
        call_command("check_destination", "acme")
    assert f"port  {server.port}" in capsys.readouterr().out


@pytest.mark.django_db
def test_a_destination_is_paused_and_resumed_by_command(capsys):
    row = Destination.objects.create(name="acme", base_url="https://partner.example", auth_mode="none")
    call_command("pause_destination", "acme", "--reason", "Their maintenance.")
    row.refresh_from_db()
    assert (row.is_paused, row.pause_reason) == (True, "Their maintenance.")
    call_command("pause_destination", "acme", "--reason", "Another.", "--json")
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "destination": "acme",
        "paused": True,
        "changed": False,
        "reason": "Their maintenance.",
    }
    call_command("resume_destination", "acme")
    row.refresh_from_db()
    assert not row.is_paused and "is resumed" in capsys.readouterr().out
    call_command("resume_destination", "acme")
    assert "was not paused" in capsys.readouterr().out


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["pause_destination", "resume_destination"])
def test_pausing_what_is_not_there_is_wrong_usage(command):
    with pytest.raises(CommandError) as refused:
        call_command(command, "nobody")
    assert refused.value.returncode == 2


TESTED = {
    "test_path": "/me",
    "test_proves": "The key may write.",
    "read_path": "/lists/$list_id/members",
    "read_places": {"rows": "members"},
}


def test_the_test_call_is_made_unasked_and_says_what_it_proves():
    with partner(says(answer(body=b'{"account": "acme"}'))) as server:
        make(server.url, **TESTED)
        code, result = check("acme")
        assert [request.split(b"\r\n")[0] for request in server.requests] == [b"GET /me HTTP/1.1"]
    assert (code, result["ok"], result["proves"]) == (0, True, "The key may write.")


@pytest.mark.parametrize("status", ["404 Not Found", "401 Unauthorized"])
def test_a_test_call_that_is_refused_proves_nothing(status):
    with partner(says(answer(status))) as server:
        make(server.url, **TESTED)
        code, result = check("acme")
    assert (code, result["ok"]) == (1, False) and status[:3] in result["problem"]


def test_the_first_page_of_a_list_is_counted():
    with partner(says(answer(body=b'{"members": ["u1", "u2"]}'))) as server:
        make(server.url, **TESTED)
        code, result = check("acme", "--send", "read", "--list-id", "7")
        assert b"GET /lists/7/members" in server.requests[0]
    assert (code, result["members_on_first_page"]) == (0, 2)


@pytest.mark.parametrize("call", ["test", "read"])
def test_a_call_that_the_partner_does_not_have_is_a_usage_error(call):
    make("http://127.0.0.1:9")
    with pytest.raises(CommandError, match=f"{call}_path") as caught:
        check("acme", "--send", call)
    assert caught.value.returncode == 2
