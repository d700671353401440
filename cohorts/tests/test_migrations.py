"""What people have survives the migrations: rows of an earlier release, taken to this one."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

pytestmark = pytest.mark.slow


@pytest.fixture
def at(transactional_db):
    """Return a function that takes the app `cohorts` to a migration and gives its models."""

    def migrated(name):
        executor = MigrationExecutor(connection)
        executor.migrate([("cohorts", name)])
        return MigrationExecutor(connection).loader.project_state([("cohorts", name)]).apps

    yield migrated
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_a_cohort_of_an_earlier_release_goes_on_unheld_and_a_new_one_is_guarded(at):
    at("0003_preview_as_of").get_model("cohorts", "Cohort").objects.create(key="old", name="Old", size=500)
    cohorts = at("0004_hold_if_halved").get_model("cohorts", "Cohort").objects
    cohorts.create(key="new", name="New")
    assert dict(cohorts.values_list("key", "hold_if_halved")) == {"old": False, "new": True}
    assert cohorts.get(key="old").size == 500
