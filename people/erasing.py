"""Asking for a person to be forgotten. What follows is done by the site, which knows every app."""

from typing import Any

from django.db import transaction

from people import suppression
from people.identifiers import Kind
from people.models import Erasure, ErasureState, Suppression
from people.suppression import Entry, Said, entry_of
from people.tombstones import digest_of


def ask(user_id: str, *, by: str, reference: str = "") -> Erasure:
    """Suppress a person at once, and let them be erased; return the erasure, the open one if there is one.

    Raises suppression.InvalidEntry, or tombstones.Unreadable.
    """
    entry = entry_of(Kind.USER_ID, user_id)
    digest = digest_of(entry.value)
    with transaction.atomic():
        _suppress(entry, by)
        asked = {"user_id": entry.value, "asked_by": by[:150], "reference": reference[:200]}
        erasure, _ = Erasure.objects.get_or_create(digest=digest, state=ErasureState.WAITING, defaults=asked)
    return erasure


def keep_suppressed(erasure: Erasure) -> None:
    """Suppress the person again if somebody took them off the list, or let it end: they would come back."""
    if not suppression.among([erasure.user_id]):
        _suppress(entry_of(Kind.USER_ID, erasure.user_id), erasure.asked_by)


def _suppress(entry: Entry, by: str) -> None:
    said = Said(reason="erasure", source=f"erasure by {by}"[:200], at_once=True)
    suppression.add([entry], said, erased_too=True)


def forget_suppressions(user_id: str) -> dict[str, int]:
    """Take the user's id from the list of suppressed people: the tombstone takes its place."""
    return {"suppressions": Suppression.objects.filter(kind=Kind.USER_ID, value=user_id).delete()[0]}


def certificate_of(erasure: Erasure) -> dict[str, Any]:
    """Return what is handed out about an erasure, as JSON values. It does not name the person."""
    return {
        "certificate": erasure.pk,
        "reference": erasure.reference,
        "person": {
            "keyed_hash": erasure.digest,
            "of": "user id",
            "how": "BLAKE2b, 16 bytes, key of the site",
        },
        "asked_at": erasure.asked_at.isoformat(),
        "asked_by": erasure.asked_by,
        "state": erasure.state,
        "finished_at": erasure.finished_at and erasure.finished_at.isoformat(),
        "held": erasure.held,
        "done": erasure.parts,
        "waits_for": erasure.waits,
    }
