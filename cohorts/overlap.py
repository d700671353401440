"""How many users are in each combination of several cohorts, counted by the database.

Read in pieces of the order of user ids, each of at most PIECE rows of each cohort, so that no statement runs
long and the memory does not grow with the cohorts.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from cohorts.models import Cohort

MOST_COHORTS = 5
PIECE = 50_000
# Seconds that a request may count for.
MOST_SECONDS = 20.0


class CannotCompare(Exception):
    """These cohorts cannot be compared; the message is for a person."""


class TakesTooLong(CannotCompare):
    """They have too many members for a request."""


@dataclass(frozen=True)
class Part:
    """A combination: those who are in each of `inside`, and in none of the other cohorts."""

    inside: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class Overlap:
    """`cohorts` as they were counted, at their published versions; `parts` the largest first, none empty."""

    cohorts: tuple[Cohort, ...]
    parts: tuple[Part, ...]

    @property
    def anybody(self) -> int:
        """How many are in one of them at least."""
        return sum(part.count for part in self.parts)

    @property
    def everywhere(self) -> int:
        """How many are in all of them."""
        return sum(part.count for part in self.parts if len(part.inside) == len(self.cohorts))

    def size(self, *keys: str) -> int:
        """Return how many are in each of these cohorts, whether in others or not."""
        return sum(part.count for part in self.parts if set(keys) <= set(part.inside))


def overlap_of(cohorts: Sequence[Cohort], *, seconds: float | None = MOST_SECONDS) -> Overlap:
    """Count the combinations of two to five cohorts. Raises CannotCompare; after `seconds`, TakesTooLong."""
    if not 2 <= len({cohort.pk for cohort in cohorts}) <= MOST_COHORTS or len(cohorts) > MOST_COHORTS:
        raise CannotCompare(f"Name two to {MOST_COHORTS} different cohorts.")
    if unready := [cohort.key for cohort in cohorts if not cohort.version]:
        raise CannotCompare(f"{', '.join(unready)}: not calculated yet, so nobody knows who belongs to it.")
    end = None if seconds is None else time.monotonic() + seconds
    found: Counter[int] = Counter()
    after, until = "", _end_of_piece(cohorts, "")
    while True:
        found.update(_counted(cohorts, after, until))
        if until is None:
            break
        if end is not None and time.monotonic() > end:
            raise TakesTooLong(
                f"They have too many members to be counted within {seconds:g} seconds. "
                f"On the server: manage.py overlap {' '.join(cohort.key for cohort in cohorts)}"
            )
        after, until = until, _end_of_piece(cohorts, until)
    parts = [
        Part(tuple(cohort.key for bit, cohort in enumerate(cohorts) if mask >> bit & 1), count)
        for mask, count in found.items()
    ]
    return Overlap(tuple(cohorts), tuple(sorted(parts, key=lambda part: (-part.count, part.inside))))


def _end_of_piece(cohorts: Sequence[Cohort], after: str) -> str | None:
    """Return the last user id of the next piece; None when it is the last one."""
    ends = []
    with connection.cursor() as cursor:
        for cohort in cohorts:
            cursor.execute(
                "SELECT user_id FROM cohorts_member WHERE cohort_id = %s AND user_id > %s "
                "ORDER BY user_id LIMIT 1 OFFSET %s",
                [cohort.pk, after, PIECE],
            )
            ends += [row[0] for row in cursor.fetchall()]
    return min(ends, default=None)


def _counted(cohorts: Sequence[Cohort], after: str, until: str | None) -> dict[int, int]:
    """Return how many users of a piece are in each combination: bit n stands for the cohort n."""
    upto = "" if until is None else "AND user_id <= %s"
    one = f"""SELECT user_id, %s AS bit FROM cohorts_member
              WHERE cohort_id = %s AND user_id > %s {upto} AND entered_version <= %s
                AND (left_version IS NULL OR left_version > %s)"""
    values: list[int | str] = []
    for number, cohort in enumerate(cohorts):
        values += [1 << number, cohort.pk, after, *([] if until is None else [until])]
        values += [cohort.version, cohort.version]
    both = " UNION ALL ".join([one] * len(cohorts))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT mask, COUNT(*) FROM (SELECT SUM(bit) AS mask FROM ({both}) AS a GROUP BY user_id) AS b "
            "GROUP BY mask",
            values,
        )
        return {int(mask): int(count) for mask, count in cursor.fetchall()}
