import os
from collections.abc import Iterator

import psycopg
import pytest

from cohorts.tests import engines


@pytest.fixture(scope="session")
def postgresql() -> Iterator[engines.PostgreSQLEngine]:
    url = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
    try:
        engine = engines.PostgreSQLEngine(url)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL at TEST_POSTGRES_URL: {error}")
    yield engine
    engine.connection.close()


@pytest.fixture(scope="session")
def clickhouse() -> Iterator[engines.ClickHouseEngine]:
    engine = engines.ClickHouseEngine()
    yield engine
    engine.session.close()
