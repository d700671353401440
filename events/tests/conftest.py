from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.store import read_layout


@pytest.fixture(autouse=True)
def _events_dir(settings: Any, tmp_path: Path) -> None:
    settings.EVENTS_DIR = tmp_path / "events"


Stored = Callable[..., list[Any]]


@pytest.fixture
def stored() -> Stored:
    """Return a function that queries what a cohort would read: `e` for events, `t` for traits."""

    def query(sql: str, workspace: str = "default") -> list[Any]:
        layout = read_layout(workspace)
        with duckdb.connect() as connection:
            for name, files in (("e", layout.events), ("t", layout.traits)):
                if files:
                    paths = ", ".join(f"'{path}'" for path in files)
                    connection.execute(
                        f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{paths}], union_by_name=true)"
                    )
            return connection.execute(sql).fetchall()

    return query
