"""What the migrations leave in the database, on both kinds of it."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from receiving.keys import digest
from receiving.models import ApiKey, Workspace

pytestmark = pytest.mark.django_db

KEYS = {
    "receiving_listmember": ["set_id", "user_id"],
    "receiving_usertrait": ["trait_id", "user_id"],
    "receiving_knownuser": ["workspace_id", "user_id"],
    "receiving_seenmessage": ["workspace_id", "message"],
}


@pytest.mark.parametrize("table", KEYS)
def test_keyed_tables_are_stored_in_the_order_of_their_key(table: str):
    with connection.cursor() as cursor:
        found = connection.introspection.get_primary_key_columns(cursor, table)
        assert found == KEYS[table]
        if connection.vendor == "sqlite":
            cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = %s", [table])
            assert cursor.fetchone()[0].endswith("WITHOUT ROWID")


def test_user_ids_compare_byte_for_byte():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite's default is BINARY; the calls' tests see its order")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns "
            "WHERE table_name LIKE 'receiving_%%' AND data_type = 'text' "
            "AND (column_name = 'user_id' OR table_name = 'receiving_trait')"
        )
        found = cursor.fetchall()
    assert len(found) >= 5
    assert {collation for _, _, collation in found} == {"C"}


def test_bodies_are_not_compressed_twice():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite compresses nothing")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attstorage FROM pg_attribute "
            "WHERE attrelid = 'receiving_requestlog'::regclass AND attname = 'body'"
        )
        assert cursor.fetchone()[0] in ("e", b"e")


def test_create_api_key_prints_the_key_once_and_stores_its_hash(capsys: pytest.CaptureFixture[str]):
    call_command("create_api_key", "acme", "--app-id", "APP", "--json")
    text = json.loads(capsys.readouterr().out)["key"]
    stored = ApiKey.objects.get()
    assert (stored.sha256, stored.app_id, stored.workspace.slug) == (digest(text), "APP", "acme")
    assert text.startswith(stored.prefix) and len(stored.prefix) < len(text) / 3
    call_command("create_api_key", "acme")
    assert capsys.readouterr().out.strip() != text
    assert (Workspace.objects.count(), ApiKey.objects.count()) == (1, 2)


def test_create_api_key_refuses_a_name_that_is_no_slug():
    with pytest.raises(CommandError) as raised:
        call_command("create_api_key", "not a slug")
    assert raised.value.returncode == 2
    assert not Workspace.objects.exists()
