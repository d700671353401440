"""Mixpanel's cohort webhook: one address, three actions, 1,000 members a page.

`members` replaces the cohort when all its pages have come; until then they are gathered in a set of their
own, so that a session that breaks off changes nothing. `add_members` and `remove_members` are applied
page by page. The list is found by the cohort's id; a cohort that was renamed keeps its list.
Source: Mixpanel's docs, "Cohort Sync: Webhooks".
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from events.user_ids import InvalidUserId, check_user_id
from receiving import store
from receiving.errors import BadRequest, NotFound
from receiving.models import List, MemberSet, Replacement, ReplacementPage, Workspace
from receiving.shapes import LIST_NAME_LENGTH, distinct_ids, read_items

ACTIONS = ("members", "add_members", "remove_members")
MOST_PAGES = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    action: str
    origin: str
    name: str
    session: str
    number: int
    total: int
    user_ids: list[str]


def read_page(document: dict[str, Any], max_items: int) -> Page:
    """Return what a call brings. Raises BadRequest, TooLarge."""
    action = document.get("action")
    if action not in ACTIONS:
        raise BadRequest(f"action is none of {', '.join(ACTIONS)}.")
    parameters = document.get("parameters")
    if not isinstance(parameters, dict):
        raise BadRequest("parameters is not an object.")
    members = read_items(parameters, "members", max_items, empty=True)
    if not all(isinstance(member, dict) for member in members):
        raise BadRequest("parameters.members holds something that is not an object.")
    number, total = _page_numbers(parameters)
    name = parameters.get("mixpanel_cohort_name")
    cohort = _text(parameters, "mixpanel_cohort_id")
    return Page(
        action=action,
        origin=f"mixpanel {hashlib.sha256(cohort.encode()).hexdigest()}",
        name=name[:LIST_NAME_LENGTH] if isinstance(name, str) and name.strip() else cohort,
        session=_text(parameters, "mixpanel_session_id") if total > 1 or "mixpanel_session_id" in parameters
        else "",
        number=number,
        total=total,
        user_ids=distinct_ids(
            [member.get("mixpanel_distinct_id") for member in members],
            "parameters.members[].mixpanel_distinct_id",
        ),
    )  # fmt: skip


def _text(parameters: dict[str, Any], name: str) -> str:
    try:
        return check_user_id(parameters.get(name))
    except InvalidUserId as error:
        raise BadRequest(f"parameters.{name} {error}.") from None


def _page_numbers(parameters: dict[str, Any]) -> tuple[int, int]:
    """Return (number, total) of the page; a call without them is the only page."""
    info = parameters.get("page_info")
    if info is None:
        return 1, 1
    if not isinstance(info, dict):
        raise BadRequest("parameters.page_info is not an object.")
    number, total = info.get("page_count"), info.get("total_pages")
    if type(number) is not int or type(total) is not int or not 1 <= number <= total <= MOST_PAGES:
        raise BadRequest("parameters.page_info does not say page_count from 1 to total_pages.")
    return number, total


def apply_page(workspace: Workspace, page: Page) -> tuple[int, int | None]:
    """Apply a page in the open transaction; return (changed, the set to empty after the commit or None)."""
    if page.action != "remove_members":
        store.check_users(workspace, page.user_ids)
    if page.action == "members":
        return _gather(workspace, page)
    found = List.objects.filter(workspace=workspace, origin=page.origin).first()
    if found is None:
        raise NotFound(
            "This cohort was never sent here: send it whole, by the action members.", code="list_not_found"
        )
    set_id = store.lock_set(workspace, str(found.pk))
    change = store.add_members if page.action == "add_members" else store.remove_members
    return change(set_id, page.user_ids), None


def _gather(workspace: Workspace, page: Page) -> tuple[int, int | None]:
    replacement = _lock_replacement(workspace, page)
    if replacement.finished_at is not None:
        return 0, None
    assert replacement.member_set_id is not None
    changed = store.add_members(replacement.member_set_id, page.user_ids)
    ReplacementPage.objects.bulk_create(
        [ReplacementPage(replacement=replacement, number=page.number)], ignore_conflicts=True
    )
    if replacement.pages.count() < page.total:
        return changed, None
    return changed, _exchange(workspace, page, replacement)


def _lock_replacement(workspace: Workspace, page: Page) -> Replacement:
    """Pages of one session take turns, so that one of them sees that all have come."""
    new: dict[str, Any] = {"total_pages": page.total, "member_set": MemberSet.objects.create}
    # A call without a session is whole in itself: no other may join it.
    session = page.session or f"alone {timezone.now().isoformat()} {id(page)}"
    found, _ = Replacement.objects.get_or_create(
        workspace=workspace,
        session=hashlib.sha256(f"{page.origin} {session}".encode()).hexdigest(),
        defaults=new,
    )
    locked = Replacement.objects.select_for_update().get(pk=found.pk)
    if locked.total_pages != page.total:
        raise BadRequest("parameters.page_info.total_pages is not what this session's other pages said.")
    return locked


def _exchange(workspace: Workspace, page: Page, replacement: Replacement) -> int:
    """Point the list to the gathered set; return the set that it had."""
    assert replacement.member_set_id is not None
    found = store.create_list(workspace, page.name, page.origin)
    gathered = replacement.member_set_id
    Replacement.objects.filter(pk=replacement.pk).update(finished_at=timezone.now(), member_set=None)
    old = store.exchange_set(workspace, found.pk, gathered)
    List.objects.filter(pk=found.pk).update(name=page.name)
    replacement.pages.all().delete()
    return old
