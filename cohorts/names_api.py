"""The REST API of what names of events and properties mean."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from cohorts.naming import with_cohorts
from events.models import NameKind, NameRule
from events.naming import InvalidName, check, differences, keep, wanted
from events.store import DEFAULT_WORKSPACE
from pagekit import approval


class NameRuleSerializer(serializers.ModelSerializer[NameRule]):
    class Meta:
        model = NameRule
        fields = list(NameRule.CONFIG_FIELDS)


class DecidedNameSerializer(NameRuleSerializer):
    cohorts = serializers.ListField(
        child=serializers.CharField(), help_text="The keys of those whose definitions name it."
    )

    class Meta(NameRuleSerializer.Meta):
        fields = [*NameRuleSerializer.Meta.fields, "cohorts"]


class NameDecisionSerializer(serializers.Serializer[Any]):
    """What is left out stays as it is; an empty text takes back."""

    workspace = serializers.SlugField(default=DEFAULT_WORKSPACE, max_length=50)
    kind = serializers.ChoiceField(NameKind.choices, default=NameKind.EVENT)
    name = serializers.CharField(max_length=255, trim_whitespace=False)
    renamed_to = serializers.CharField(
        max_length=255, trim_whitespace=False, allow_blank=True, required=False
    )
    hidden = serializers.BooleanField(required=False)
    forbidden = serializers.CharField(
        max_length=500, allow_blank=True, required=False, help_text="Why it is not to be used."
    )


class NameViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[NameRule]):
    queryset = NameRule.objects.order_by("workspace", "kind", "name")
    serializer_class = NameRuleSerializer
    filters = {"workspace": ("workspace", serializers.SlugField(help_text="Names of this workspace."))}

    @extend_schema(
        summary="Rename, hide or forbid an event or a property",
        request=NameDecisionSerializer,
        responses={201: DecidedNameSerializer},
    )
    def create(self, request: Request) -> Response:
        """For all definitions; who decided it and when is among the corrections."""
        said = NameDecisionSerializer(data=request.data)
        said.is_valid(raise_exception=True)
        decision = dict(said.validated_data)
        kind = NameKind(decision.pop("kind"))
        rule = wanted(decision.pop("workspace"), kind, decision.pop("name"), **decision)
        try:
            check(rule)
        except InvalidName as error:
            raise exceptions.ValidationError({"name": str(error)}) from None
        if differences(rule):
            approval.check(rule, request.user)
            keep(rule, str(request.user.get_username()))
        return Response(with_cohorts(rule), status.HTTP_201_CREATED)
