"""Proposals in the admin: the list, the page that shows the difference, and what waits on a row's page."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from cohorts.models import Cohort
from cohortsite import proposing
from cohortsite.models import Proposal, ProposalState
from destinations.models import Destination
from events.models import NameRule
from pagekit import panels
from pagekit.actions import Action, Page, Person
from pagekit.times import exactly, when
from syncs.admin import columns
from syncs.admin.history import HistoryAdmin
from syncs.status.state import Tone

TONES = {
    ProposalState.WAITING: Tone.CARE,
    ProposalState.APPROVED: Tone.GOOD,
    ProposalState.REFUSED: Tone.BAD,
    ProposalState.WITHDRAWN: Tone.QUIET,
}


def _waits(proposal: Proposal) -> bool:
    return proposal.state == ProposalState.WAITING


def _approvable(proposal: Proposal) -> bool:
    return _waits(proposal) and not proposing.conflicts(proposal)


def _seen(proposal: Proposal) -> str:
    """What else was changed of the row when the person looked."""
    return str(len(proposing.changed_meanwhile(proposal)))


def _approve(proposal: Proposal, by: Person, reason: str) -> str:
    return f"{proposing.approve(proposal, by.user, reason)} is now what was proposed."


def _refuse(proposal: Proposal, by: Person, reason: str) -> str:
    proposing.refuse(proposal, by.user, reason)
    return "Refused: nothing is changed."


def _withdraw(proposal: Proposal, by: Person) -> str:
    proposing.withdraw(proposal, by.user)
    return "Withdrawn: nothing is changed."


ACTIONS = (
    Action(
        "approve",
        "Approve",
        "check",
        _approve,
        _approvable,
        question="Approve this change?",
        consequence=lambda proposal: f"{proposal}: what was proposed holds from then on.",
        text="Why",
        variant="primary",
        seen=_seen,
    ),
    Action(
        "refuse",
        "Refuse",
        "close",
        _refuse,
        _waits,
        question="Refuse this change?",
        consequence="Nothing is changed. Whoever proposed it reads why.",
        text="Why",
    ),
    Action(
        "withdraw",
        "Withdraw",
        "undo",
        _withdraw,
        _waits,
        question="Withdraw your proposal?",
        consequence="Nothing is changed.",
    ),
)


@admin.register(Proposal)
class ProposalAdmin(HistoryAdmin):
    page_template = "cohortsite/proposal.html"
    row_actions = ACTIONS
    refusals = (proposing.CannotDecide,)
    list_display = ("what", "state_shown", "proposer", "proposed", "decided_by", "decided")
    list_filter = (("state", ChoicesDropdownFilter), ("subject", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("name", "proposer", "decided_by")

    def may_do(self, request: HttpRequest, thing: Action | Page, row: Proposal) -> bool:
        own = row.proposed_by_id == request.user.pk
        return own if thing.name == "withdraw" else proposing.may_decide(request.user, row)

    def page_context(self, request: HttpRequest, row: Proposal) -> dict[str, Any]:
        changed = proposing.changed_meanwhile(row) if _waits(row) else []
        labels = {field.name: field.label for field in proposing.difference_of(row)}
        return {
            "proposal": row,
            "label": self.state_shown(row),
            "fields": proposing.difference_of(row),
            "changes": changed,
            "conflicts": sorted(labels.get(name, name) for name in proposing.conflicts(row))
            if changed
            else [],
            "own": row.proposed_by_id == request.user.pk,
            "may_decide": proposing.may_decide(request.user, row),
            "row_url": proposing.address_of_row(row),
            "created": exactly(row.created_at),
            "decided": exactly(row.decided_at),
        }

    @display(description="What", ordering="name")
    def what(self, proposal: Proposal) -> str:
        return str(proposal)

    @display(description="State", ordering="state")
    def state_shown(self, proposal: Proposal) -> SafeString:
        return columns.label(proposal.get_state_display(), TONES[ProposalState(proposal.state)])

    @display(description="Proposed", ordering="pk")
    def proposed(self, proposal: Proposal) -> SafeString:
        return when(proposal.created_at)

    @display(description="Decided", ordering="decided_at")
    def decided(self, proposal: Proposal) -> SafeString:
        return when(proposal.decided_at)


def waiting_of(request: HttpRequest, row: proposing.Proposed) -> tuple[str, dict[str, Any]] | None:
    if not settings.FOUR_EYES or not request.user.has_perm("cohortsite.view_proposal"):
        return None
    found = list(proposing.waiting_for(row))
    return ("cohortsite/proposals_of.html", {"proposals": found}) if found else None


panels.add(Cohort, waiting_of)
panels.add(Destination, waiting_of)
panels.add(NameRule, waiting_of)
