"""Proposals over REST: /api/v1/proposals."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from cohortsite import proposing
from cohortsite.models import Proposal, ProposalState, Subject


class ProposedFieldSerializer(serializers.Serializer[Any]):
    """A field that would change. Of a secret it is said only that it is set, changed or not set."""

    field = serializers.CharField(source="name")
    name = serializers.CharField(source="label")
    before = serializers.CharField()
    after = serializers.CharField()


class ProposalSerializer(serializers.ModelSerializer[Proposal]):
    difference = serializers.SerializerMethodField()
    conflicts = serializers.SerializerMethodField(
        help_text="The fields that somebody else has changed since: it cannot be approved then."
    )

    class Meta:
        model = Proposal
        fields = [
            *("id", "subject", "name", "state", "difference", "moves", "conflicts", "proposer", "created_at"),
            *("decided_by", "decided_at", "reason"),
        ]
        read_only_fields = fields

    @extend_schema_field(ProposedFieldSerializer(many=True))
    def get_difference(self, proposal: Proposal) -> Any:
        return ProposedFieldSerializer(proposing.difference_of(proposal), many=True).data

    def get_conflicts(self, proposal: Proposal) -> list[str]:
        waits = proposal.state == ProposalState.WAITING
        return sorted(proposing.conflicts(proposal)) if waits else []


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=500, help_text="Why: it stays with the proposal.")


class NotNow(exceptions.APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "cannot_decide"


class ProposalViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Proposal]):
    queryset = Proposal.objects.order_by("-pk")
    serializer_class = ProposalSerializer
    # Who may decide is a matter of what changes, and of who proposed it.
    action_permissions = dict.fromkeys(("approve", "refuse", "withdraw"), proposing.MAY_PROPOSE)
    filters = {
        "state": ("state", serializers.ChoiceField(ProposalState.choices)),
        "subject": ("subject", serializers.ChoiceField(Subject.choices)),
    }

    @extend_schema(summary="Approve a proposal", request=ReasonSerializer, responses=ProposalSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, **names: Any) -> Response:
        """Make the row what was proposed. 409 for one's own, for a decided one, and for a conflict."""
        reason = _reason(request)
        return self._decided(lambda proposal: proposing.approve(proposal, request.user, reason))

    @extend_schema(summary="Refuse a proposal", request=ReasonSerializer, responses=ProposalSerializer)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, **names: Any) -> Response:
        """Change nothing, and say why."""
        reason = _reason(request)
        return self._decided(lambda proposal: proposing.refuse(proposal, request.user, reason))

    @extend_schema(summary="Withdraw a proposal", request=None, responses=ProposalSerializer)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, **names: Any) -> Response:
        """Take one's own back."""
        return self._decided(lambda proposal: proposing.withdraw(proposal, request.user))

    def _decided(self, decide: Callable[[Proposal], object]) -> Response:
        try:
            decide(self.get_object())
        except proposing.CannotDecide as error:
            raise NotNow(str(error)) from None
        return Response(self.get_serializer(self.get_object()).data)


def _reason(request: Request) -> str:
    body = ReasonSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["reason"])


router = SimpleRouter()
router.trailing_slash = "/?"
router.register("proposals", ProposalViewSet)
