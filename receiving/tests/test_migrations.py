"""What a workspace of the last release has survives the migrations of this one."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from events.times import from_micros
from receiving.models import ApiKey, UserTrait, Workspace
from receiving.shapes import Change
from receiving.traits import write

pytestmark = pytest.mark.django_db(transaction=True)


def migrated(name: str) -> Any:
    executor = MigrationExecutor(connection)
    executor.migrate([("receiving", name)])
    return MigrationExecutor(connection).loader.project_state([("receiving", name)]).apps


def test_traits_without_a_time_were_the_last_word_until_now() -> None:
    latest = max(
        name for app, name in MigrationExecutor(connection).loader.graph.leaf_nodes() if app == "receiving"
    )
    try:
        old = migrated("0003_receipt")
        workspace = old.get_model("receiving", "Workspace").objects.create(slug="acme")
        old.get_model("receiving", "ApiKey").objects.create(
            workspace=workspace, prefix="cs_", sha256="0" * 64
        )
        trait = old.get_model("receiving", "Trait").objects.create(workspace=workspace, name="vip")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO receiving_usertrait (trait_id, user_id, value) VALUES (%s, 'u', 'true')",
                [trait.pk],
            )
        before = datetime.now(UTC)
    finally:
        migrated(latest)
    held = UserTrait.objects.get()
    assert (held.value, before <= from_micros(held.time) <= datetime.now(UTC)) == ("true", True)
    assert not ApiKey.objects.get().write_only
    write(Workspace.objects.get(), [Change("u", {"vip": False}, held.time - 1)])
    assert UserTrait.objects.get().value == "true"
    write(Workspace.objects.get(), [Change("u", {"vip": False}, held.time + 1)])
    assert UserTrait.objects.get().value == "false"
