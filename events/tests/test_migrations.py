"""What people have survives the migrations: rows of an earlier release, taken to this one."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


@pytest.fixture
def at(transactional_db):
    """Return a function that takes the app `events` to a migration and gives its models."""

    def migrated(name):
        executor = MigrationExecutor(connection)
        executor.migrate([("events", name)])
        return MigrationExecutor(connection).loader.project_state([("events", name)]).apps

    yield migrated
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_files_and_imports_of_an_earlier_release_stay_what_they_were(at):
    before = at("0001_initial")
    file = {"workspace": "default", "kind": "events", "rows": 1, "size": 9}
    files = before.get_model("events", "EventFile").objects
    files.create(name="live", **file)
    files.create(name="merged", retired_at="2024-05-01T00:00Z", **file)
    imported = {"workspace": "default", "name": "a.csv", "rows": 1, "bad_lines": 0}
    for digest in ("a", "b"):
        before.get_model("events", "ImportedFile").objects.create(digest=digest, **imported)
    after = at("0002_custody")
    rows = after.get_model("events", "EventFile").objects.values_list("name", "state", "sha256")
    assert sorted(rows) == [("live", "listed", ""), ("merged", "retired", "")]
    kept = after.get_model("events", "ImportedFile").objects.values_list("digest", "key", "undone_at")
    assert sorted(kept) == [("a", None, None), ("b", None, None)]
