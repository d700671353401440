"""What people have survives the migrations."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


@pytest.mark.django_db(transaction=True)
def test_imports_of_an_earlier_release_are_done_and_keep_their_columns():
    executor = MigrationExecutor(connection)
    leaves = executor.loader.graph.leaf_nodes()
    executor.migrate([("people", "0003_profile_imports")])
    before = executor.loader.project_state([("people", "0003_profile_imports")]).apps
    columns = {"email": "E-Mail", "plan": "Plan"}
    before.get_model("people", "ProfileImport").objects.create(
        workspace="shop", source="people.csv", columns=columns, users=7
    )
    executor = MigrationExecutor(connection)
    executor.migrate([("people", "0004_profile_uploads")])
    after = executor.loader.project_state([("people", "0004_profile_uploads")]).apps
    kept = after.get_model("people", "ProfileImport").objects.get()
    executor = MigrationExecutor(connection)
    executor.migrate(leaves)
    assert (kept.state, kept.percent, kept.users, kept.file.name) == ("done", 100, 7, "")
    assert kept.finished_at == kept.created_at
    assert sorted(kept.columns) == [["email", "email", "E-Mail"], ["plan", "text", "Plan"]]
