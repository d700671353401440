"""For all tests: a SQLite database in a file, as people run it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.conf import settings


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, request: pytest.FixtureRequest
) -> None:
    """One in memory locks whole tables, and a thread that meets such a lock does not wait: it fails."""
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        memory = Path("/dev/shm")
        folder = TemporaryDirectory(dir=memory if memory.is_dir() else None)
        request.addfinalizer(folder.cleanup)
        database["TEST"]["NAME"] = f"{folder.name}/test.sqlite3"


@pytest.fixture
def groups(db: None) -> None:
    """The three roles, even if a test that emptied the tables ran before."""
    from cohortsite import roles

    roles.grant()
