"""Changes of a cohort to be pulled: who entered and left since a version, page by page, and a digest.

A consumer keeps the version that it holds and asks what changed since; with version 0, for all members.
All pages of an answer are about one version, which the cursor names, whatever is published meanwhile.

Everybody who entered or left *at all* since is named, also one who came and went: a consumer that died
halfway through the pages of another version may hold that user, and is put right. Naming twice does no harm.

The digest is that of docs/partner.md, "Reading back": the sum of the SHA-256 of the user ids modulo 2^256.
It is added up along the pages (the cursor carries it, signed) and kept with the version, for the next.
"""

from dataclasses import dataclass
from typing import Any

import orjson
from django.core import signing

from cohorts import members
from cohorts.models import Cohort, CohortVersion
from events.user_ids import digest_of, sum_of

PAGE, LARGEST_PAGE = 1_000, 10_000


class Gone(Exception):
    """What changed since then cannot be said any more; all members can. `code`: version_gone, cursor_gone."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(f"{text} Forget what you hold and begin again with since=0: that gives all members.")
        self.code = code


class WrongCursor(Exception):
    """The cursor is of another cohort or of another `since`."""


@dataclass(frozen=True, slots=True)
class Page:
    """Who is in `version` and who is not, of those who moved since `since` (0: all members, none left).

    `cursor` leads to the next page; on the last it is None, and `digest` is that of all members of `version`.
    """

    since: int
    version: int
    size: int
    entered: list[str]
    left: list[str]
    cursor: str | None
    digest: str | None


class _Utf8:
    """JSON that leaves letters as they are: a cursor names a user, and must fit into an address."""

    def dumps(self, value: Any) -> bytes:
        return orjson.dumps(value)

    def loads(self, data: bytes) -> Any:
        return orjson.loads(data)


_signer = signing.Signer(salt="cohorts.changes")


def page_of(cohort: Cohort, since: int, cursor: str, limit: int) -> Page:
    """Return the first page, or the one to which a cursor leads. Raises Gone, WrongCursor.

    The cohort must have a version. limit: how many users are looked at, 1 to LARGEST_PAGE.
    """
    try:
        version, after, total = _opened(cohort, since, cursor) if cursor else _begun(cohort, since)
        entered, left, last, change = _read(cohort.pk, since, version, after, limit)
        # Pruning notes how far it goes before it drops anybody: what is readable still was read whole.
        members.readable(cohort.pk, since)
        members.readable(cohort.pk, version)
    except members.UnreadableVersion as error:
        raise Gone(str(error), "version_gone") from None
    total += change
    size = members.size_of(cohort.pk, version)
    if last is not None:
        state = [cohort.pk, since, version, last, digest_of(total)]
        return Page(since, version, size, entered, left, _signer.sign_object(state, serializer=_Utf8), None)
    digest = digest_of(total)
    CohortVersion.objects.filter(cohort=cohort, number=version, digest="").update(digest=digest)
    return Page(since, version, size, entered, left, None, digest)


def _begun(cohort: Cohort, since: int) -> tuple[int, str, int]:
    """Return which version the pages are about, where they begin, and the digest of what is held."""
    if since > cohort.version:
        raise Gone(f"{cohort.key} has no version {since}; the latest is {cohort.version}.", "version_gone")
    return cohort.version, "", _digest(cohort, since)


def _opened(cohort: Cohort, since: int, cursor: str) -> tuple[int, str, int]:
    try:
        owner, began, version, after, total = _signer.unsign_object(cursor, serializer=_Utf8)
    except (signing.BadSignature, ValueError):
        raise Gone(
            "This cursor is not one of this site, or its SECRET_KEY was changed.", "cursor_gone"
        ) from None
    if (owner, began) != (cohort.pk, since):
        raise WrongCursor("This cursor belongs to another cohort or another `since`.")
    return version, after, int(total, 16)


def _read(
    cohort_id: int, since: int, version: int, after: str, limit: int
) -> tuple[list[str], list[str], str | None, int]:
    """Return who is in, who is not, the last user if more may follow, and by what the digest changes."""
    if since == 0:
        ids = members.in_version_page(cohort_id, version, after, limit)
        return ids, [], ids[-1] if len(ids) == limit else None, sum_of(ids)
    moves = members.moves_page(cohort_id, since, version, after, limit)
    change = sum_of(m.user_id for m in moves if m.now and not m.was)
    change -= sum_of(m.user_id for m in moves if m.was and not m.now)
    last = moves[-1].user_id if len(moves) == limit else None
    return [m.user_id for m in moves if m.now], [m.user_id for m in moves if not m.now], last, change


def digest_at(cohort: Cohort, number: int) -> str:
    """Return the digest of all members of a version. Raises members.UnreadableVersion."""
    return digest_of(_digest(cohort, number))


def _digest(cohort: Cohort, number: int) -> int:
    """Return the digest of a version: as it was kept, else by reading all its members once."""
    if number == 0:
        return 0
    members.readable(cohort.pk, number)
    row = CohortVersion.objects.get(cohort=cohort, number=number)
    if row.digest:
        return int(row.digest, 16)
    total = sum(map(sum_of, members.pages_of_version(cohort.pk, number)))
    members.readable(cohort.pk, number)
    CohortVersion.objects.filter(pk=row.pk).update(digest=digest_of(total))
    return total
