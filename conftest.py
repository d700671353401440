"""For all tests: their order, a SQLite database in a file, tables that are emptied at little cost."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_django
from django.conf import settings
from django.db import connection, transaction
from django.test import TransactionTestCase

from chaos import migrated


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long begin first: one at the end would keep a process while the others are done."""
    long = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in long)


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
    elif name := os.environ.get(migrated.POSTGRES):
        database["TEST"]["TEMPLATE"] = name


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> dict[str, set[tuple[str, str]]]:
    """Return what migrations gave each group, by app and permission: a test that commits takes it away."""
    from django.contrib.auth.models import Group

    with django_db_blocker.unblock():
        return {
            group.name: set(group.permissions.values_list("content_type__app_label", "codename"))
            for group in Group.objects.all()
        }


# What migrations make of the models alone: no test changes it.
OF_THE_MODELS = {"django_migrations", "django_content_type", "auth_permission"}
# Bytes of a table on PostgreSQL from which it is truncated; of a smaller one, rows are quicker deleted.
LARGE = 1_000_000


def _empty_tables(case: TransactionTestCase) -> None:
    """Delete all rows after a test that commits, in place of Django's flush.

    That one truncates each table, a second in all on PostgreSQL, and makes every permission anew.
    """
    tables = set(connection.introspection.django_table_names(only_existing=True, include_views=False))
    sizes = dict.fromkeys(tables - OF_THE_MODELS, 1)
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT relname, pg_relation_size(oid) FROM pg_class WHERE relkind = 'r'")
            sizes = {table: size for table, size in cursor.fetchall() if table in sizes and size}
        else:
            cursor.execute("PRAGMA defer_foreign_keys = ON")
        quoted = connection.ops.quote_name
        if large := [quoted(table) for table, size in sizes.items() if size >= LARGE]:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        for table in [table for table, size in sizes.items() if size < LARGE]:
            cursor.execute(f"DELETE FROM {quoted(table)}")


@pytest.fixture(scope="session", autouse=True)
def _tables_are_emptied_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_tables)
        yield


@pytest.fixture
def groups(db: None) -> None:
    """The three roles, even if a test that emptied the tables ran before."""
    from cohortsite import roles

    roles.grant()
