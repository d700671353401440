"""What a workspace received, offered as a source of cohorts (`cohorts.received.Offer`; the site ties them).

Whether something has come is asked of the request log, in which each call that changed something stands
since its own transaction: so nothing is added to a call. Calls are numbered before they commit, so
that the highest number seen proves nothing; what is compared is how many changed something since a
moment well before the last look. A log that was shortened meanwhile makes a difference too: it is read again.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Coalesce
from django.utils.dateparse import parse_datetime

from receiving.models import List, RequestLog, Trait, Workspace
from receiving.reading import Members, members_of_set

if TYPE_CHECKING:
    from cohorts.received import News, Source

# No call is under way for longer: what changed something is in the log by then.
UNDER_WAY = timedelta(minutes=2)
# A mark is moved on when it looks back for longer than this, so that little of the log is counted.
MOVE_ON = timedelta(minutes=10)
SHOWN = 5
# Of more than so many, a person types the name or the id.
SUGGESTED = 100


class Offered:
    """The lists and traits of all workspaces. What it raises and answers with are the interface's classes."""

    def __init__(
        self, unavailable: type[Exception], exchanged: type[Exception], news_type: "type[News]"
    ) -> None:
        self.unavailable, self.exchanged, self.news_type = unavailable, exchanged, news_type

    def check(self, source: "Source") -> None:
        workspace = self._workspace(source)
        if source.list_id:
            self._list(workspace, source)

    def choices(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        lists = List.objects.order_by("-pk").values_list("workspace__slug", "pk", "name")[:SUGGESTED]
        return (
            list(Workspace.objects.values_list("slug", flat=True)[:SUGGESTED]),
            [(workspace, str(pk), name) for workspace, pk, name in lists],
        )

    def describe(self, source: "Source") -> str:
        if source.list_id:
            found = self._list(self._workspace(source), source)
            return f"Received by {source.workspace}: list {found.pk}, “{found.name}”"
        return f"Received by {source.workspace}: {source.trait} is {_text(source.equals)}"

    def members(self, source: "Source") -> Iterator[str]:
        workspace = self._workspace(source)
        if not source.list_id:
            yield from _each(self._holders(workspace, source))
            return
        before = self._list(workspace, source).member_set_id
        yield from _each(members_of_set(before))
        # A set that was exchanged is emptied while it is read: what was read may be a part.
        if self._list(workspace, source).member_set_id != before:
            raise self.exchanged("The list was replaced again and again while it was read.")

    def news(self, source: "Source", mark: dict[str, Any], now: datetime) -> "News":
        workspace = self._workspace(source)
        member_set = self._list(workspace, source).member_set_id if source.list_id else None
        since = parse_datetime(str(mark.get("since", ""))) or now - UNDER_WAY
        later = now - UNDER_WAY
        calls = RequestLog.objects.filter(
            workspace=workspace,
            changed__gt=0,
            received_at__gt=min(since, later),
            list_number=int(source.list_id) if source.list_id else None,
        )
        after = Q(pk__gt=mark.get("last", 0))
        counted = calls.aggregate(
            then=Count("pk", filter=Q(received_at__gt=since)),
            now=Count("pk", filter=Q(received_at__gt=later)),
            last=Coalesce(Max("pk"), 0),
            first_at=Min("received_at", filter=after),
            last_at=Max("received_at", filter=after),
        )
        asked = [source.list_id, source.trait, orjson.dumps(source.equals).decode(), workspace.pk, member_set]
        same = mark.get("source") == asked and mark.get("calls") == counted["then"]
        newer = {
            "source": asked,
            "since": later.isoformat(),
            "calls": counted["now"],
            "last": max(counted["last"], mark.get("last", 0)),
        }
        kept = newer if not same or now - since > MOVE_ON else mark
        return self.news_type(kept, not same, counted["first_at"], counted["last_at"])

    def newest(self) -> object:
        return RequestLog.objects.aggregate(last=Max("pk"))["last"]

    def _workspace(self, source: "Source") -> Workspace:
        found = Workspace.objects.filter(slug=source.workspace).first()
        if found is None:
            raise self.unavailable(f"There is no receiving workspace {source.workspace!r}.")
        return found

    def _list(self, workspace: Workspace, source: "Source") -> List:
        number = source.list_id
        valid = number.isascii() and number.isdigit() and len(number) <= 18
        lists = List.objects.filter(workspace=workspace)
        found = lists.filter(pk=int(number)).first() if valid else None
        if found is None:
            there = ", ".join(f"{one.pk} “{one.name[:40]}”" for one in lists.order_by("-pk")[:SHOWN])
            has = f"Its newest are: {there}." if there else "It has received none yet."
            raise self.unavailable(f"“{workspace}” has no list {number[:40]!r}. {has}")
        return found

    def _holders(self, workspace: Workspace, source: "Source") -> Members:
        found = Trait.objects.filter(workspace=workspace, name=source.trait).first()
        if found is None:
            raise self.unavailable(f"“{workspace}” has not received the trait {source.trait[:100]!r} yet.")
        return Members("receiving_usertrait", "trait_id", found.pk, "AND value = %s", (_text(source.equals),))


def _each(members: Members) -> Iterator[str]:
    for page in members.pages():
        yield from page


def _text(value: Any) -> str:
    """As traits are kept."""
    return orjson.dumps(value).decode()
