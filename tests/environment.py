"""Settings for tests, read before Django's (a pytest plugin: see pyproject.toml)."""

import os

import pytest

os.environ.update(
    {
        "SECRET_KEY": "a key for tests only, long enough that no check complains about its length",
        "FIELD_KEYS": "Zm9yIHRlc3RzIG9ubHksIDMyIGJ5dGVzIGxvbmchISE=",
        "ALLOWED_HOSTS": "testserver,localhost,127.0.0.1",
        "HTTPS": "false",
        "OUTBOUND_ALLOW_NETS": "127.0.0.0/8,::1/128",
        "RETRY_TIME_SCALE": "0.001",
    }
)
os.environ.setdefault("DEBUG", "false")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite in a file, as people run it: one in memory locks tables, and threads do not wait for it."""
    from django.conf import settings

    database = settings.DATABASES["default"]
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database.setdefault("TEST", {})["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
