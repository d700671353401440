"""`manage.py fake_partner`: what is wrong with its arguments is said before it listens."""

import socket

import pytest
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.once


def test_an_unknown_partner_and_a_port_that_is_taken_are_said():
    with pytest.raises(CommandError, match="No partner is named 'nobody'. Known: ") as unknown:
        call_command("fake_partner", "nobody")
    assert unknown.value.returncode == 2
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CommandError, match=f"Port {port}: "):
            call_command("fake_partner", "segment", port=port)
