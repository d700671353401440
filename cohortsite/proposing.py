"""Four eyes, with the setting FOUR_EYES: a change of a destination, of who is in a cohort, or of what a name
of events means, is proposed by one person and approved by another, who may configure.

    an app saves ─▶ approval.check ─▶ needed ─▶ NeedsApproval ─▶ propose ─▶ approve, refuse or withdraw

Pages and the REST API turn NeedsApproval into a proposal when their transaction is over. `apply_config` asks
nobody: whoever runs it has the database anyway. The history says that it was a file.
"""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from cohorts.choices import CALCULATED
from cohorts.definitions import DefinitionError, parse
from cohorts.models import Cohort
from cohorts.sources import USE_QUERY, sets_query
from cohortsite.models import Proposal, ProposalState, Subject
from cohortsite.records import Change, FieldChange, changes_since, difference, latest_change
from destinations.models import ANOTHER_HOST, Destination
from events.models import NameRule
from events.naming import InvalidName, check, keep

MAY_PROPOSE = "cohortsite.add_proposal"
Proposed = Cohort | Destination | NameRule
ROWS: dict[str, type[Proposed]] = {
    Subject.COHORT: Cohort,
    Subject.DESTINATION: Destination,
    Subject.NAME: NameRule,
}
SECRETS = ("credential", "secrets")
# What says nothing of who is sent where: whoever may configure changes these alone.
WORDS = frozenset({"description", "tags", "owner", "title", "hidden", "forbidden"})


class NothingChanges(Exception):
    """What was sent is what there is: nobody needs to approve it."""


class CannotDecide(Exception):
    """Why a proposal is not decided now, in words for whoever wants it."""


# --- what needs a second person -----------------------------------------------------------------


def needed(row: models.Model, user: Any) -> bool:
    """Say whether the row, as it would be, needs a second person. See pagekit.approval."""
    if not settings.FOUR_EYES or not isinstance(row, Proposed):
        return False
    if not user.has_perm(_configuring(row)):
        return True
    if row._state.adding:
        if isinstance(row, NameRule):
            return bool(row.renamed_to)
        # A cohort that is given its members is an empty one.
        return isinstance(row, Destination) or row.source_kind in CALCULATED
    return bool(_changed(row, _stored(row)) - WORDS)


def may_propose(user: Any, model: type[models.Model] | None) -> bool:
    """Say whether somebody who may not configure these rows may propose what they become."""
    return bool(settings.FOUR_EYES and model in ROWS.values() and user.has_perm(MAY_PROPOSE))


def _configuring(row: Proposed) -> str:
    return f"{row._meta.app_label}.{'add' if row._state.adding else 'change'}_{row._meta.model_name}"


def _stored(row: Proposed) -> Proposed:
    return type(row)._default_manager.get(pk=row.pk)


def _fields(row: Proposed) -> tuple[str, ...]:
    return (*row.CONFIG_FIELDS, *(name for name in SECRETS if hasattr(row, name)))


def _changed(row: Proposed, old: Proposed) -> set[str]:
    return {name for name in _fields(row) if getattr(row, name) != getattr(old, name)}


# --- proposing ----------------------------------------------------------------------------------


def propose(row: Proposed, user: Any) -> Proposal:
    """Write down what the row would be; the row stays as it is. Raises NothingChanges."""
    new = row._state.adding
    old = type(row)() if new else _stored(row)
    changed = _changed(row, old)
    if not new and not changed:
        raise NothingChanges("What was sent is what there is: nothing is proposed.")
    ordered = [name for name in _fields(row) if name in changed]
    said = difference(row, old, ordered)
    if "definition" in changed:
        said.append(FieldChange("", "Definition, in words", _sentence(old), _sentence(row)))
    return Proposal.objects.create(
        subject=str(row._meta.model_name),
        row_id=None if new else row.pk,
        name=str(row if new else old)[:200],
        # Of a new row all that is configured: a default may be another one by then.
        changes={
            name: getattr(row, name)
            for name in (row.CONFIG_FIELDS if new else ordered)
            if name not in SECRETS
        },
        secret_fields=[name for name in SECRETS if name in changed],
        **{name: getattr(row, name) for name in SECRETS if name in changed},
        moves=isinstance(row, Destination)
        and isinstance(old, Destination)
        and not new
        and row.fingerprint != old.fingerprint,
        base=None if new else latest_change(row),
        difference=[[one.name, one.label, one.before, one.after] for one in said],
        proposed_by_id=user.pk,
        proposer=user.get_username(),
    )


def _sentence(row: Proposed) -> str:
    if not isinstance(row, Cohort) or not row.definition:
        return "empty"
    try:
        return parse(row.definition).sentence()
    except DefinitionError as error:
        return str(error)


def difference_of(proposal: Proposal) -> list[FieldChange]:
    return [FieldChange(*one) for one in proposal.difference]


def changed_meanwhile(proposal: Proposal) -> list[Change]:
    """Return what others changed of the row since this was proposed, the oldest first."""
    row = _row(proposal)
    return changes_since(row, proposal.base) if row is not None and proposal.base is not None else []


def conflicts(proposal: Proposal) -> set[str]:
    """Return the fields that this would change and somebody else has changed since.

    A change of nothing that shows is one of a secret.
    """
    mine = {*proposal.changes, *proposal.secret_fields}
    found: set[str] = set()
    for change in changed_meanwhile(proposal):
        found |= mine & {field.name for field in change.fields}
        found |= set(proposal.secret_fields) if not change.fields else set()
    return found


def waiting_for(row: models.Model) -> Iterable[Proposal]:
    return Proposal.objects.waiting().filter(subject=str(row._meta.model_name), row_id=row.pk)


def _row(proposal: Proposal) -> Proposed | None:
    """Return the row as it is; None for one that would be new, or that is gone."""
    model: Any = ROWS[proposal.subject]
    found: Proposed | None = model.objects.filter(pk=proposal.row_id).first()
    return found


def address_of_row(proposal: Proposal) -> str:
    """Return the address of the page of what changes; '' when it is not there."""
    row = _row(proposal)
    return row.get_absolute_url() if row else ""


# --- deciding -----------------------------------------------------------------------------------


def may_decide(user: Any, proposal: Proposal) -> bool:
    """Another person than the one who proposed it, who may configure such a row."""
    row = _row(proposal) or ROWS[proposal.subject]()
    if user.pk == proposal.proposed_by_id or not user.has_perm(_configuring(row)):
        return False
    reads = isinstance(row, Cohort) and sets_query(proposal.changes, row if row.pk else None)
    return not reads or bool(user.has_perm(USE_QUERY))


def refuse(proposal: Proposal, user: Any, reason: str) -> None:
    _check_may(user, proposal)
    _end(proposal, ProposalState.REFUSED, user, reason)


def withdraw(proposal: Proposal, user: Any) -> None:
    if user.pk != proposal.proposed_by_id:
        raise CannotDecide("Only the person who proposed it withdraws it.")
    _end(proposal, ProposalState.WITHDRAWN, user, "")


def approve(proposal: Proposal, user: Any, reason: str) -> models.Model:
    """Make the row what was proposed, and return it. Raises CannotDecide; nothing is changed then."""
    _check_may(user, proposal)
    try:
        with transaction.atomic():
            _end(proposal, ProposalState.APPROVED, user, reason)
            row = _locked(proposal)
            if found := conflicts(proposal):
                raise CannotDecide(f"Changed by somebody else since: {', '.join(sorted(found))}.")
            _become(row, proposal, user.get_username())
            return row
    except InvalidName as error:
        raise CannotDecide(str(error)) from None
    except ValidationError as error:
        raise CannotDecide(" ".join(error.messages)) from None
    except IntegrityError:
        raise CannotDecide("Another one has its name, or something else changed meanwhile.") from None


def _check_may(user: Any, proposal: Proposal) -> None:
    if user.pk == proposal.proposed_by_id:
        raise CannotDecide("Another person than the one who proposed it must decide.")
    if not may_decide(user, proposal):
        raise CannotDecide("You may not decide: that takes the right to configure what changes.")


def _end(proposal: Proposal, state: ProposalState, user: Any, reason: str) -> None:
    if not Proposal.objects.decide(proposal.pk, state, by=user.get_username(), reason=reason):
        raise CannotDecide("It was decided already.")


def _locked(proposal: Proposal) -> Proposed:
    """Return the row that changes, for nobody else to change meanwhile; or a new one."""
    model: Any = ROWS[proposal.subject]
    if proposal.row_id is None:
        made: Proposed = model()
        return made
    found: Proposed | None = model.objects.select_for_update().filter(pk=proposal.row_id).first()
    if found is None:
        raise CannotDecide("What would change is not there any more.")
    return found


def _become(row: Proposed, proposal: Proposal, by: str) -> None:
    new = row._state.adding
    origins = row.origins if isinstance(row, Destination) and not new else set()
    held = {name for name in SECRETS if getattr(row, name, None)}
    for name, value in proposal.changes.items():
        field: Any = row._meta.get_field(name)
        setattr(row, name, field.to_python(value))
    for name in proposal.secret_fields:
        setattr(row, name, getattr(proposal, name))
    names = [*proposal.changes, *proposal.secret_fields]
    if isinstance(row, Destination):
        # What others changed may lead it to another host than when its secrets were entered.
        if row.secrets_for_another_host(origins, held, set(proposal.secret_fields)):
            raise CannotDecide(ANOTHER_HOST)
        if proposal.moves:
            row.accepted_fingerprint = row.fingerprint
            names.append("accepted_fingerprint")
        names.append("updated_at")
    elif isinstance(row, Cohort) and (new or set(names) & set(Cohort.DUE_FIELDS)):
        row.reschedule(timezone.now())
        names.append("next_due_at")
    row.full_clean()
    row._change_reason = f"Proposal {proposal.pk} by {proposal.proposer}"[:100]  # type: ignore[union-attr]
    if isinstance(row, NameRule):
        check(row)
        keep(row, by)
        return
    row.save(update_fields=None if new else names)
