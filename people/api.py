"""The REST API of the list of suppressed people, and of erasures."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from people import suppression
from people.erasing import ask, certificate_of
from people.files import Invalid, entries_of
from people.identifiers import Kind
from people.models import Erasure, ErasureState, Suppression
from people.suppression import Entry, InvalidEntry, Said

MOST = 10_000


class SuppressionSerializer(serializers.ModelSerializer[Suppression]):
    state = serializers.SerializerMethodField(help_text="Suppressed, From a later time, Over or Taken off.")

    class Meta:
        model = Suppression
        fields = ["kind", "value", "hint", "state", "reason", "source", "since", "until", "lifted_at"]
        read_only_fields = fields

    def get_state(self, row: Suppression) -> str:
        return suppression.state_of(row)


class PersonField(serializers.CharField):
    """A text, or an integer as its digits; no other number is anybody's id."""

    def to_internal_value(self, data: Any) -> str:
        if type(data) is not int and not isinstance(data, str):
            raise serializers.ValidationError("Send a text.")
        return super().to_internal_value(str(data))


class PeopleSerializer(serializers.Serializer[Any]):
    """Whom a call names. Of addresses and numbers, in clear or hashed, only the hash is kept."""

    kind = serializers.ChoiceField(choices=Kind.choices, default=Kind.USER_ID)
    people = serializers.ListField(
        child=PersonField(max_length=5_000, trim_whitespace=False),
        allow_empty=False,
        max_length=MOST,
        help_text="User ids; or e-mail addresses, or telephone numbers with + and country, or their SHA-256.",
    )
    at_once = serializers.BooleanField(default=False, help_text="Let the syncs run now that it concerns.")

    def entries(self) -> list[Entry]:
        """Return the people. Raises ValidationError that names those that are nobody."""
        invalid = Invalid()
        found = list(entries_of(self.validated_data["kind"], self.validated_data["people"], invalid))
        if invalid.count:
            raise exceptions.ValidationError({"people": invalid.sentence()}, "invalid_person")
        return found


class SuppressSerializer(PeopleSerializer):
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=200)
    since = serializers.DateTimeField(required=False, help_text="Default: now.")
    until = serializers.DateTimeField(required=False, allow_null=True, help_text="Default: never over.")


class CountSerializer(serializers.Serializer[Any]):
    changed = serializers.IntegerField(help_text="People who were not on the list, or were, before.")


class SuppressionViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Suppression]):
    """People who are sent nowhere. Cohorts lose them within seconds, partners with the next run."""

    queryset = Suppression.objects.order_by("-pk")
    serializer_class = SuppressionSerializer
    action_permissions = {"lift": "people.change_suppression"}
    filters = {
        "kind": ("kind", serializers.ChoiceField(Kind.choices, help_text="Named by this.")),
        "value": ("value", serializers.CharField(help_text="This user id, or this hash.")),
        "active": ("active", serializers.BooleanField(help_text="Whether it counts now.")),
    }

    @extend_schema(summary="Suppress people", request=SuppressSerializer, responses={201: CountSerializer})
    def create(self, request: Request) -> Response:
        """Put people on the list; what is said of somebody who is on it replaces what was said before."""
        asked = SuppressSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        known = asked.validated_data
        said = Said(
            reason=known["reason"],
            source=f"REST API by {request.user.get_username()}"[:200],
            since=known.get("since"),
            until=known.get("until"),
            at_once=known["at_once"],
        )
        try:
            new = suppression.add(asked.entries(), said)
        except InvalidEntry as error:
            raise exceptions.ValidationError({"until": str(error)}) from None
        return Response({"changed": new}, status.HTTP_201_CREATED)

    @extend_schema(summary="Take people off the list", request=PeopleSerializer, responses=CountSerializer)
    @action(detail=False, methods=["post"])
    def lift(self, request: Request) -> Response:
        """Their rows stay. They come back to the cohorts that name them."""
        asked = PeopleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        lifted = suppression.lift(asked.entries(), at_once=asked.validated_data["at_once"])
        return Response({"changed": lifted})


class ErasureSerializer(serializers.ModelSerializer[Erasure]):
    class Meta:
        model = Erasure
        fields = ["id", "state", "reference", "asked_by", "asked_at", "finished_at", "digest", "waits"]
        read_only_fields = fields


class ForgetSerializer(serializers.Serializer[Any]):
    userId = PersonField(max_length=1024, trim_whitespace=False)
    reference = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=200, help_text="Such as a ticket's number."
    )


class CertificateSerializer(serializers.Serializer[Any]):
    """See erasing.certificate_of."""

    certificate = serializers.IntegerField()
    reference = serializers.CharField()
    person = serializers.DictField()
    asked_at = serializers.DateTimeField()
    asked_by = serializers.CharField()
    state = serializers.ChoiceField(ErasureState.choices)
    finished_at = serializers.DateTimeField(allow_null=True)
    held = serializers.DictField(help_text="What there was.")
    done = serializers.DictField(help_text="What was done where; of partners: run, batch, reply, time.")
    waits_for = serializers.ListField(child=serializers.CharField())


class ErasureViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Erasure]):
    """People who are to be forgotten, and the certificates of it."""

    queryset = Erasure.objects.order_by("-pk")
    serializer_class = ErasureSerializer
    lookup_value_regex = "[0-9]{1,18}"
    filters = {"state": ("state", serializers.ChoiceField(ErasureState.choices, help_text="In this state."))}

    @extend_schema(summary="Forget a person", request=ForgetSerializer, responses={202: ErasureSerializer})
    def create(self, request: Request) -> Response:
        """They are suppressed at once; the worker erases them when every partner has let go. No way back."""
        asked = ForgetSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wanted = asked.validated_data
        try:
            erasure = ask(wanted["userId"], by=request.user.get_username(), reference=wanted["reference"])
        except InvalidEntry as error:
            raise exceptions.ValidationError({"userId": str(error)}, "invalid_person") from None
        return Response(ErasureSerializer(erasure).data, status.HTTP_202_ACCEPTED)

    @extend_schema(summary="Read a certificate", responses=CertificateSerializer)
    def retrieve(self, request: Request, *arguments: Any, **names: Any) -> Response:
        """What was held where, the batch that removed it, the partner's reply, and when; it names nobody."""
        return Response(certificate_of(self.get_object()))
