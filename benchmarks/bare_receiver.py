"""What benchmarks/receiving.py compares with: WSGI functions that parse a body and run the statement.

No framework, no key, no log, no validation: the same body, the same SQL over the database's own driver,
one commit. Served by the same server with the same settings.
"""

import os
import sqlite3
import threading
from typing import Any

import orjson

URL = os.environ["DATABASE_URL"]
LOCAL = threading.local()

if URL.startswith("sqlite"):
    ROWS = "(SELECT value AS user_id FROM json_each(?))"
    MARK = "?"
    REMOVE = f"DELETE FROM receiving_listmember WHERE set_id = ? AND user_id IN {ROWS}"
    TRAITS = (
        "(SELECT value ->> 0 AS trait_id, value ->> 1 AS user_id, value ->> 2 AS value FROM json_each(?)) "
        "AS incoming"
    )
else:
    ROWS = '(SELECT unnest(%s::text[]) COLLATE "C" AS user_id)'
    MARK = "%s"
    REMOVE = (
        f"DELETE FROM receiving_listmember AS member USING {ROWS} AS ids "
        "WHERE member.user_id = ids.user_id AND member.set_id = %s"
    )
    TRAITS = "unnest(%s::bigint[], %s::text[], %s::text[]) AS incoming (trait_id, user_id, value)"
ADD = (
    f"INSERT INTO receiving_listmember (set_id, user_id) SELECT {MARK}, user_id FROM {ROWS} AS ids "
    "WHERE true ON CONFLICT DO NOTHING"
)
IDENTIFY = (
    "INSERT INTO receiving_usertrait (trait_id, user_id, value) "
    f"SELECT trait_id, user_id, value FROM {TRAITS} "
    "WHERE true ON CONFLICT (trait_id, user_id) DO UPDATE SET value = excluded.value "
    "WHERE receiving_usertrait.value <> excluded.value"
)


def execute(sql: str, *parameters: Any) -> None:
    """Run one statement in a transaction of its own, over this thread's connection."""
    if not hasattr(LOCAL, "connection"):
        LOCAL.connection = connect()
    if URL.startswith("sqlite"):
        LOCAL.connection.execute("BEGIN IMMEDIATE")
        LOCAL.connection.execute(sql, parameters)
        LOCAL.connection.execute("COMMIT")
    else:
        LOCAL.connection.execute(sql, parameters)


def connect() -> Any:
    if not URL.startswith("sqlite"):
        import psycopg

        return psycopg.connect(URL, autocommit=True)
    connection = sqlite3.connect(URL.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-32000; PRAGMA foreign_keys=ON"
    )
    return connection


def ids_of(user_ids: list[str]) -> str:
    """One parameter for all ids, in the form that is the fastest for the driver."""
    return orjson.dumps(user_ids).decode() if URL.startswith("sqlite") else array(user_ids)


def array(texts: Any) -> str:
    return '{"' + '","'.join(texts) + '"}'


def change(operation: str, set_id: int, document: Any) -> None:
    user_ids = sorted(document["userIds"])
    if operation == "add":
        execute(ADD, set_id, ids_of(user_ids))
    elif URL.startswith("sqlite"):
        execute(REMOVE, set_id, ids_of(user_ids))
    else:
        execute(REMOVE, ids_of(user_ids), set_id)


def identify(trait_id: int, document: Any) -> None:
    """The trait's id is in the address, where the receiver has to look it up."""
    rows = sorted(
        (trait_id, item["userId"], "true" if value else "false")
        for item in document["batch"]
        for value in item["traits"].values()
    )
    if URL.startswith("sqlite"):
        execute(IDENTIFY, orjson.dumps(rows).decode())
    else:
        numbers, users, values = zip(*rows, strict=True)
        execute(IDENTIFY, list(numbers), array(users), array(values))


def application(environ: Any, start_response: Any) -> list[bytes]:
    _, kind, number, operation = environ["PATH_INFO"].split("/")
    document = orjson.loads(environ["wsgi.input"].read())
    if kind == "lists":
        change(operation, int(number), document)
    else:
        identify(int(number), document)
    body = b'{"received":1,"changed":1}'
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
