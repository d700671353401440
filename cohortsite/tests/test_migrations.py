"""What people have survives the migrations: rows of an earlier release, taken to this one."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone


@pytest.fixture
def at(transactional_db):
    """Return a function that takes the app `cohortsite` to a migration and gives its models."""

    def migrated(name):
        executor = MigrationExecutor(connection)
        executor.migrate([("cohortsite", name)])
        return MigrationExecutor(connection).loader.project_state([("cohortsite", name)]).apps

    yield migrated
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_a_token_of_an_earlier_release_does_what_it_did_and_a_new_one_reads(at):
    before = at("0021_whole_lists")
    ann = before.get_model("auth", "User").objects.create(username="ann")
    made = {"user_id": ann.pk, "created_at": timezone.now()}
    before.get_model("cohortsite", "ApiToken").objects.create(name="old", sha256="a", **made)
    tokens = at("0022_scopes_of_tokens").get_model("cohortsite", "ApiToken").objects
    tokens.create(name="new", sha256="b", **made)
    assert dict(tokens.values_list("name", "scope")) == {"old": "configure", "new": "read"}
    assert tokens.get(name="old").expires_at is None
