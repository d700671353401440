"""ClickHouse for tests: its engine (chdb) in a process of its own, behind its HTTP interface on loopback.

It is the same engine and SQL; not the server: users, quotas, replication, async inserts and the durability of
its disk are not what is tested here.
"""

import json
import subprocess
import sys
import time
from typing import Any

from django.conf import settings

READY = "listens on "


class ClickHouse:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.clickhouse"],
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        said = self.process.stdout.readline()
        assert said.startswith(READY), said
        self.url = f"clickhouse://127.0.0.1:{said.removeprefix(READY).strip()}/{Engine.database}"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Engine:
    database = "kept"

    def __init__(self) -> None:
        from chdb import session

        self.session: Any = session.Session()
        self.run(f"CREATE DATABASE {self.database}")
        self.run(f"USE {self.database}")

    def run(self, sql: str) -> str:
        return str(self.session.query(sql, "JSONCompactEachRow"))

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if rows:
            self.run(f"INSERT INTO {table} FORMAT JSONEachRow " + "\n".join(map(json.dumps, rows)))


def main() -> None:
    from cohorts.tests.clickhouse_http import ClickHouseHTTP

    with ClickHouseHTTP(Engine()) as server:
        print(f"{READY}{server.port}", flush=True)
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
