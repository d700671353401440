"""Profiles of people are the traits of a workspace (`people.profiles.Store`; the site ties them)."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from events.times import from_micros, micros
from people.profiles import Mark, Refused, Said, Value
from receiving import traits
from receiving.errors import ApiError
from receiving.incoming import hand_on
from receiving.models import RequestLog, Workspace
from receiving.operations import GONE
from receiving.shapes import BadField, Change

# What stands in the request log in the place of an address: who follows a trait looks there for news.
LOGGED_AS = "profiles"
# Microseconds. No write is under way for longer: what was noted since may have become visible only now.
UNDER_WAY = 120_000_000
PAGE = 10_000
# A list to choose from is no longer.
CHOSEN_FROM = 1_000
# Changed users are held in memory; of more, all users are looked at.
MOST = 200_000


class Profiles:
    """What is written goes the way of an identify call: to the event store, then to the traits."""

    def workspaces(self) -> list[str]:
        return list(Workspace.objects.order_by("slug").values_list("slug", flat=True)[:CHOSEN_FROM])

    def knows(self, workspace: str) -> bool:
        return Workspace.objects.filter(slug=workspace).exists()

    def write(self, workspace: str, said: Sequence[Said]) -> int:
        owner = _workspace(workspace)
        try:
            changes = traits.last_words([_change(one) for one in said])
            hand_on(owner, [], [one.line for one in changes if one.line is not None])
            with transaction.atomic():
                changed = traits.write(owner, changes)
                if changed:
                    _log(owner, len(said), changed)
            return changed
        except BadField as error:
            raise Refused(f"What is said of a user {error.phrase}.") from None
        except ApiError as error:
            raise Refused(error.message) from None

    def of(self, workspace: str, user_id: str) -> dict[str, Value]:
        return {
            name: Value(orjson.loads(value), from_micros(time))
            for name, value, time in traits.all_of(_workspace(workspace), user_id)
        }

    def values_of(
        self, workspace: str, fields: Sequence[str], user_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        return traits.values_of(_workspace(workspace), fields, user_ids) if fields and user_ids else {}

    def mark(self, workspace: str, fields: Sequence[str]) -> Mark:
        now = micros(timezone.now())
        owner = _workspace(workspace)
        try:
            known = traits.watch(owner, sorted(fields))
        except ApiError as error:
            raise Refused(error.message) from None
        return Mark(now, owner.pk, {name: [one.pk, one.watched_at or now] for name, one in known.items()})

    def changed_since(self, mark: Mark) -> Iterator[str] | None:
        since = mark.at - UNDER_WAY
        # A writer that did not see yet that the field is watched has noted nothing.
        if any(watched_at > since for _, watched_at in mark.fields.values()):
            return None
        changed: set[str] = set()
        for trait_id, _ in mark.fields.values():
            for user_id in _changed(trait_id, since):
                changed.add(user_id)
                if len(changed) > MOST:
                    return None
        return iter(sorted(changed))


def _changed(trait_id: int, since: int) -> Iterator[str]:
    page, after = [(0, "")], (0, "")
    while page:
        page = traits.changed_page(trait_id, since, after, PAGE)
        yield from (user_id for _, user_id in page)
        after = page[-1] if page else after


def _change(said: Said) -> Change:
    values = {name: GONE if value is None else value for name, value in said.fields.items()}
    return traits.change_of(said.user_id, values, said.time)


def _log(owner: Workspace, received: int, changed: int) -> None:
    RequestLog.objects.create(
        workspace=owner,
        received_at=timezone.now(),
        duration_ms=0,
        method="IMPORT",
        path=LOGGED_AS,
        status=200,
        received=received,
        changed=changed,
    )


def _workspace(slug: str) -> Workspace:
    found = Workspace.objects.filter(slug=slug).first()
    if found is None:
        raise Refused(f"There is no workspace {slug!r}.")
    return found
