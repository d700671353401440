import json
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.serializers import serialize
from django.db import connection

from destinations.checks import check_field_keys, check_outbound_networks, check_retry_time_scale
from destinations.models import Destination
from destinations.secrets import Secret, SecretUnreadable

KEY = "s3cret-key-0123"


@pytest.fixture
def destination(db) -> Destination:
    return Destination.objects.create(name="acme", base_url="https://partner.example", credential=KEY)


def stored(destination: Destination) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT credential FROM destinations_destination WHERE id = %s", [destination.pk])
        return str(cursor.fetchone()[0])


def test_the_database_never_holds_a_secret_in_clear(destination):
    assert KEY not in stored(destination)
    assert Destination.objects.get().credential.reveal() == KEY
    Destination.objects.update(credential="another one")
    assert "another" not in stored(destination)


def test_a_secret_shows_as_set_and_nothing_more(destination):
    secret = Destination.objects.get().credential
    assert (str(secret), repr(secret), bool(secret)) == ("set", "<Secret set>", True)
    assert (str(Secret()), bool(Secret()), Secret().reveal()) == ("not set", False, "")
    assert KEY not in serialize("json", [destination]) and secret.token not in serialize(
        "json", [destination]
    )


def test_an_instance_seals_on_assignment():
    row = Destination(credential=KEY)
    assert KEY not in repr(row.__dict__)
    assert row.credential.reveal() == KEY


def test_a_wrong_key_is_loud_and_never_ciphertext(destination, settings):
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    row = Destination.objects.get()
    with pytest.raises(SecretUnreadable, match="FIELD_KEYS") as caught:
        row.endpoint()
    assert stored(destination) not in str(caught.value)


def test_keys_rotate_while_the_old_one_still_reads(destination, settings):
    old, new = settings.FIELD_KEYS[0], Fernet.generate_key().decode()
    settings.FIELD_KEYS = [new, old]
    before = stored(destination)
    out = StringIO()
    call_command("rotate_keys", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"rotated": 1, "unreadable": []}
    assert stored(destination) != before
    settings.FIELD_KEYS = [new]
    assert Destination.objects.get().credential.reveal() == KEY


def test_rotation_names_what_it_cannot_read_and_exits_1(destination, settings):
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    before, out = stored(destination), StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("rotate_keys", "--json", stdout=out)
    assert caught.value.code == 1
    assert json.loads(out.getvalue())["unreadable"] == ["destinations.Destination acme: credential"]
    assert stored(destination) == before


def test_rotation_passes_over_empty_secrets(db, settings):
    Destination.objects.create(name="open", base_url="https://a.example", auth_mode="none")
    out = StringIO()
    call_command("rotate_keys", stdout=out)
    assert out.getvalue() == "0 rotated, 0 unreadable\n"


@pytest.mark.parametrize("keys", [[], ["short"], ["é" * 44]])
def test_without_usable_keys_nothing_is_stored(settings, keys):
    settings.FIELD_KEYS = keys
    with pytest.raises(ImproperlyConfigured, match="FIELD_KEYS"):
        Secret.seal(KEY)


def test_checks_tell_mistakes_in_settings_with_a_hint(settings):
    assert check_field_keys() == check_outbound_networks() == check_retry_time_scale() == []
    settings.FIELD_KEYS = []
    assert [found.id for found in check_field_keys()] == ["destinations.E001"]
    settings.FIELD_KEYS = [Fernet.generate_key().decode(), "not-a-key"]
    (found,) = check_field_keys()
    assert (found.id, "number 2" in found.msg, "not-a-key" in found.msg) == ("destinations.E002", True, False)
    settings.OUTBOUND_ALLOW_NETS = ["10.0.0.0/8", "10.0.0.1/8"]
    (found,) = check_outbound_networks()
    assert (found.id, "10.0.0.1/8" in found.msg) == ("destinations.E003", True)
    settings.RETRY_TIME_SCALE = 0.0
    assert [found.id for found in check_retry_time_scale()] == ["destinations.E004"]
