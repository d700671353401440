"""Where a query for members runs: our own files, PostgreSQL, ClickHouse, or a folder of files.

Every engine writes its ids to a temporary file first, within the limits; then they are streamed from there.
So no cursor, snapshot or memory of the engine is held while the ids are merged into our database.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import psycopg
import requests

from cohorts.engine_process import EngineProcess, InvalidIds, Job, QueryFailed
from events.convert import quoted
from events.engine import EngineError, Limits, TimedOut, TooLarge, deadline
from events.locks import own_folder
from events.user_ids import InvalidUserId, check_user_id

__all__ = ["Database", "Embedded", "InvalidIds", "QueryFailed", "Unavailable", "open_database"]

BATCH = 10_000
Rows = Iterator[tuple[Any, ...]]


class Unavailable(EngineError):
    code = "unavailable"


class Database(ABC):
    """One place that answers queries. `dialect` is sqlglot's name for its language."""

    dialect: str

    @abstractmethod
    def rows(self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path) -> Rows:
        """Run a query, read-only, and yield its rows. `cohorts` are relations of one column, user_id,
        by the name that the query uses. Raises an EngineError. May be closed early."""

    @contextmanager
    def answer(self, sql: str, limits: Limits, temp: Path) -> Iterator[Callable[[], Rows]]:
        """Run a query; yield what reads its rows, from a file that lasts as long as the context."""
        with own_folder(temp) as folder:
            path = folder / "answer.jsonl"
            with path.open("wb") as file:
                file.writelines(orjson.dumps(row) + b"\n" for row in self.rows(sql, {}, limits, folder))
            yield lambda: map(tuple, read_lines(path))

    @contextmanager
    def ids(
        self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path
    ) -> Iterator[Iterator[str]]:
        """Run a query of one column; yield its ids, from a file that lasts as long as the context."""
        with own_folder(temp) as folder:
            write_ids(folder / "ids.jsonl", self.rows(sql, cohorts, limits, folder))
            yield read_lines(folder / "ids.jsonl")


def write_ids(path: Path, rows: Rows) -> None:
    with path.open("wb") as file:
        for (value,) in rows:
            file.write(orjson.dumps(checked(value)) + b"\n")


def checked(value: object) -> str:
    """Return a user id. Raises InvalidIds."""
    try:
        return check_user_id(value)
    except InvalidUserId as error:
        raise InvalidIds(f"The query returned a user id that {error}: {str(value)[:80]!r}.") from None


def read_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)


# --- DuckDB ---------------------------------------------------------------------------------


class Embedded(Database):
    """Our own files, named in the query itself, read by a process of its own.

    `engine`: one that lasts longer than a query; without it, each query has its own.
    """

    dialect = "duckdb"

    def __init__(self, engine: EngineProcess | None = None) -> None:
        self.engine = engine

    def rows(self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path) -> Rows:
        with self.answered(sql, cohorts, limits, temp, ids=False) as path:
            yield from map(tuple, read_lines(path))

    @contextmanager
    def ids(
        self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path
    ) -> Iterator[Iterator[str]]:
        with self.answered(sql, cohorts, limits, temp, ids=True) as path:
            yield read_lines(path)

    @contextmanager
    def answer(self, sql: str, limits: Limits, temp: Path) -> Iterator[Callable[[], Rows]]:
        with self.answered(sql, {}, limits, temp, ids=False) as path:
            yield lambda: map(tuple, read_lines(path))

    @contextmanager
    def answered(
        self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path, *, ids: bool
    ) -> Iterator[Path]:
        """Yield the file of the query's rows, which lasts as long as the context."""
        with own_folder(temp) as folder, ExitStack() as stack:
            relations = {identifier(name): write_cohort(folder, name, of) for name, of in cohorts.items()}
            target = folder / "answer.jsonl"
            engine = self.engine or stack.enter_context(EngineProcess(limits, folder))
            engine.run(Job(sql, relations, self.prepare(), str(target), ids))
            yield target

    def prepare(self) -> list[str]:
        """Nothing more: the query is our own."""
        return []


def write_cohort(folder: Path, name: str, ids: Iterable[str]) -> str:
    path = folder / f"{name}.ids"
    with path.open("wb") as file:
        file.writelines(orjson.dumps({"user_id": user_id}) + b"\n" for user_id in ids)
    return str(path)


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


READERS = {".parquet": "read_parquet", ".csv": "read_csv"}


class FileFolder(Embedded):
    """Parquet and CSV files of one folder, each a view by its name without the ending; nothing else."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def files(self) -> dict[str, Path]:
        """The folder's files by the names of their views."""
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return {path.stem: path for path in found if path.suffix in READERS and path.is_file()}

    def tables(self) -> set[str]:
        return set(self.files())

    def prepare(self) -> list[str]:
        views = [
            f"CREATE VIEW {identifier(name)} AS SELECT * FROM {READERS[path.suffix]}({quoted(str(path))})"
            for name, path in self.files().items()
        ]
        return [
            *views,
            f"SET allowed_directories = [{quoted(str(self.folder))}]",
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ]


# --- PostgreSQL -----------------------------------------------------------------------------


class PostgreSQLServer(Database):
    dialect = "postgres"

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """Closed without a commit: whatever a function may have done is undone."""
        try:
            connection = psycopg.connect(self.url, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise Unavailable(f"The database does not answer: {str(error).strip()}") from None
        with closing(connection):
            yield connection

    def rows(self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path) -> Rows:
        with self.connected() as connection, deadline(connection.cancel_safe, limits.seconds):
            try:
                self.load_cohorts(connection, cohorts)
                connection.read_only = True
                # As the parser reads a backslash in a text, whatever the database is set to.
                connection.execute("SET standard_conforming_strings = on")
                if limits.seconds:
                    timeout = f"SET statement_timeout = {int(limits.seconds * 1000)}"
                    connection.execute(timeout)
                with connection.cursor("members") as cursor:
                    cursor.itersize = BATCH
                    cursor.execute(sql.encode())
                    yield from cursor
            except psycopg.errors.QueryCanceled:
                raise too_late(limits) from None
            except psycopg.Error as error:
                raise QueryFailed(str(error).splitlines()[0]) from None

    def load_cohorts(self, connection: psycopg.Connection[Any], cohorts: Mapping[str, Iterable[str]]) -> None:
        for name, ids in cohorts.items():
            table = identifier(name).encode()
            connection.execute(b"CREATE TEMP TABLE " + table + b" (user_id text)")
            with connection.cursor().copy(b"COPY " + table + b" FROM STDIN") as copy:
                for user_id in ids:
                    copy.write_row((user_id,))
        connection.commit()


def too_late(limits: Limits) -> TimedOut:
    return TimedOut(f"The query took longer than {limits.seconds:g} seconds and was stopped.")


# --- ClickHouse -----------------------------------------------------------------------------


class ClickHouseServer(Database):
    """ClickHouse over HTTP. Cohorts travel with the query as external tables."""

    dialect = "clickhouse"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "clickhouses"
        port = parts.port or (8443 if secure else 8123)
        self.address = f"{'https' if secure else 'http'}://{parts.hostname}:{port}/"
        self.database = unquote(parts.path.lstrip("/")) or "default"
        self.login = (unquote(parts.username or "default"), unquote(parts.password or ""))

    def rows(self, sql: str, cohorts: Mapping[str, Iterable[str]], limits: Limits, temp: Path) -> Rows:
        parameters: dict[str, str | int] = {
            "database": self.database,
            "query": f"{sql} FORMAT JSONCompactEachRow",
            "readonly": 1,
            "max_memory_usage": limits.memory_mb * 1_000_000,
            # The status is known only at the end; a failure must not look like a short answer.
            "wait_end_of_query": 1,
        }
        if limits.seconds:
            parameters["max_execution_time"] = max(1, int(limits.seconds))
        files = {}
        for name, ids in cohorts.items():
            parameters[f"{name}_structure"] = "user_id String"
            parameters[f"{name}_format"] = "JSONEachRow"
            files[name] = (name, b"".join(orjson.dumps({"user_id": i}) + b"\n" for i in ids))
        query = parameters.pop("query")
        files["query"] = ("", str(query).encode())
        try:
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    self.address,
                    params=parameters,
                    files=files,
                    headers={"X-ClickHouse-User": self.login[0], "X-ClickHouse-Key": self.login[1]},
                    timeout=(10, (limits.seconds or 3600) + 10),
                    stream=True,
                    allow_redirects=False,
                )
                with response:
                    if response.status_code != 200:
                        raise refused(response, limits)
                    for line in response.iter_lines(chunk_size=1 << 16):
                        yield tuple(orjson.loads(line))
        except requests.Timeout:
            raise too_late(limits) from None
        except (requests.RequestException, orjson.JSONDecodeError) as error:
            raise Unavailable(f"The database does not answer as ClickHouse does: {error}") from None


def refused(response: requests.Response, limits: Limits) -> EngineError:
    said = response.text[:500].strip()
    code = response.headers.get("X-ClickHouse-Exception-Code", "")
    if code in ("159", "160") or "TIMEOUT_EXCEEDED" in said or "TOO_SLOW" in said:
        return too_late(limits)
    if code == "241" or "MEMORY_LIMIT_EXCEEDED" in said:
        return TooLarge(f"The query needed more than {limits.memory_mb:,} MB of memory. ({said})")
    return QueryFailed(said or f"HTTP {response.status_code}")


def open_database(url: str) -> Database:
    """Return the database that an address names: postgres://, clickhouse://, clickhouses:// (TLS) or
    duckdb:///FOLDER. Raises ValueError, without the address, which holds a password."""
    scheme = urlsplit(url).scheme
    if scheme in ("postgres", "postgresql"):
        return PostgreSQLServer(url)
    if scheme in ("clickhouse", "clickhouses"):
        return ClickHouseServer(url)
    if scheme == "duckdb":
        return FileFolder(Path(unquote(urlsplit(url).path)))
    raise ValueError(f"{scheme!r} is no kind of database here: postgres, clickhouse, clickhouses or duckdb")
