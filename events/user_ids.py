"""The rule for user ids, the column that keeps them, and how a batch of them enters a statement.

A user id is a string of 1 to 1,024 UTF-8 bytes, compared byte for byte (`docs/protocol.md`,
"List-based"). Python orders strings by code point, which is the order of their UTF-8
bytes; `COLLATE "C"` on PostgreSQL and BINARY on SQLite are the same order, so that Python, both
databases and the event engine sort alike.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from events.user_id_rule import MAX_BYTES, InvalidUserId, check_user_id

__all__ = [
    "MAX_BYTES",
    "InvalidUserId",
    "UserIdField",
    "array_literal",
    "check_user_id",
    "digest_of",
    "is_one_of",
    "rows_of",
    "sum_of",
]


class UserIdField(models.TextField):  # type: ignore[type-arg]  # takes none at run time
    """A text column that compares byte for byte.

    Not `db_collation="C"`: SQLite has no collation of that name, and its default, BINARY, is right.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        # The collation apart from the type, which is also cast to: "text COLLATE ..." [] is no type.
        collation = "C" if connection.vendor == "postgresql" else None
        return super().db_parameters(connection) | {"collation": collation}


def array_literal(texts: Sequence[str]) -> str:
    """Return PostgreSQL's text of an array of texts: ten times as fast as what the driver makes of a list."""
    if not texts:
        return "{}"
    joined = '","'.join(texts)
    if "\\" in joined or joined.count('"') != 2 * (len(texts) - 1):
        joined = '","'.join(text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '{"' + joined + '"}'


def rows_of(connection: BaseDatabaseWrapper, user_ids: Sequence[str]) -> tuple[str, Any]:
    """Return SQL for a table of one column `user_id`, in brackets, and its one parameter.

    One parameter whatever the number of ids, so that the statement is one statement, is prepared
    once, and does not meet SQLite's limit of variables.
    """
    if connection.vendor == "postgresql":
        return '(SELECT unnest(%s::text[]) COLLATE "C" AS user_id)', array_literal(user_ids)
    return "(SELECT value AS user_id FROM json_each(%s))", orjson.dumps(list(user_ids)).decode()


def is_one_of(
    connection: BaseDatabaseWrapper, table: str, condition: str, **columns: Sequence[str]
) -> tuple[str, list[Any]]:
    """Return SQL for a condition, that a row is one of these and meets another condition, and what is given.

    columns: the texts, by the name of their column; those of two columns are pairs. The parameters of the
    condition follow those that are given.

    On PostgreSQL each is looked up in an index, and the rows are read by where they lie. Left to itself it
    guesses a table that was filled since it was last analysed to hold few of the wanted rows: it reads all,
    or compares all with all, which is minutes for a million.
    """
    if connection.vendor == "postgresql":
        names = [f"text_{number}" for number in range(len(columns))]
        arrays = ", ".join("%s::text[]" for _ in columns)
        same = " AND ".join(f"{column} = one.{name}" for column, name in zip(columns, names, strict=True))
        # OFFSET 0: a subquery that has one is run for each of them, and is not made a join.
        return (
            f"ctid = ANY(ARRAY(SELECT found.ctid FROM unnest({arrays}) AS one ({', '.join(names)}) "
            f"CROSS JOIN LATERAL (SELECT ctid FROM {table} WHERE {same} AND {condition} OFFSET 0) AS found))",
            [array_literal(texts) for texts in columns.values()],
        )
    paired = len(columns) > 1
    given = list(zip(*columns.values(), strict=True)) if paired else list(*columns.values())
    values = ", ".join(f"value ->> {number}" for number in range(len(columns))) if paired else "value"
    return (
        f"({', '.join(columns)}) IN (SELECT {values} FROM json_each(%s)) AND {condition}",
        [orjson.dumps(given).decode()],
    )


def sum_of(user_ids: Iterable[str]) -> int:
    """Return the sum of the SHA-256 of user ids, as numbers: the same in any order, and of any parts."""
    return sum(int.from_bytes(hashlib.sha256(user_id.encode()).digest()) for user_id in user_ids)


def digest_of(total: int) -> str:
    """Return the digest of a list from the sum of its ids: modulo 2^256, in 64 hexadecimal digits. It is that
    of `docs/partner.md`, "Reading back"."""
    return f"{total % 2**256:064x}"
