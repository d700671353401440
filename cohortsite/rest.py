"""What every view of the REST API shares: strict JSON, permissions, pages, filters. Settings name these."""

import json
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError as ModelError
from django.db.models import QuerySet
from rest_framework import exceptions, serializers, status
from rest_framework.filters import BaseFilterBackend, SearchFilter
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.parsers import BaseParser
from rest_framework.permissions import DjangoModelPermissions
from rest_framework.request import Request

from cohortsite.models import ApiToken, Scope

if TYPE_CHECKING:
    from rest_framework.views import APIView

# The longest integer read: a longer one fits no field, and overflows a float.
MOST_DIGITS = 100
# Each word of a search is a condition more.
LONGEST_SEARCH = 200


class ModelPermissions(DjangoModelPermissions):
    """Django's permissions of the view's model, for reading too.

    A view's `action_permissions` names the permission of each action that neither reads nor edits rows.
    """

    perms_map: ClassVar[dict[str, list[str]]] = {  # type: ignore[misc]
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }

    message: str | None = None

    def has_permission(self, request: Request, view: "APIView") -> bool:
        permission = getattr(view, "action_permissions", {}).get(getattr(view, "action", None))
        if permission is None or request.method == "OPTIONS":
            allowed = super().has_permission(request, view)
        else:
            allowed = bool(
                request.user and request.user.is_authenticated and request.user.has_perm(permission)
            )
        allowed = allowed or self._may_propose(request, view)
        if isinstance(request.auth, ApiToken) and request.auth.scope != Scope.CONFIGURE:
            self.message = f"The scope of this token is “{request.auth.scope}”: it, or a role of its owner, "
            self.message += "does not allow this."
        return allowed

    def _may_propose(self, request: Request, view: "APIView") -> bool:
        """With four eyes, who may not configure may yet say what should be."""
        from cohortsite.proposing import may_propose  # here: views import this module while they are made

        writes = getattr(view, "action", None) in ("create", "update", "partial_update")
        model = getattr(getattr(view, "queryset", None), "model", None)
        return writes and may_propose(request.user, model)


class Page(LimitOffsetPagination):
    default_limit = 100
    max_limit = 1000


class Filters(BaseFilterBackend):
    """Filters a list by the query parameters that its view's `filters` names.

    Each is a lookup and the DRF field that checks the value: what does not fit is a 400, not an empty list.
    """

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: "APIView") -> QuerySet[Any]:
        for name, (lookup, field) in getattr(view, "filters", {}).items():
            if name in request.query_params:
                queryset = queryset.filter(**{lookup: self._checked(request, name, field)})
        return queryset

    def _checked(self, request: Request, name: str, field: serializers.Field[Any, Any, Any, Any]) -> Any:
        try:
            return field.run_validation(request.query_params[name])
        except (exceptions.ValidationError, ModelError) as error:
            said = serializers.as_serializer_error(error)["non_field_errors"]
            raise exceptions.ValidationError({name: said}) from None

    def get_schema_operation_parameters(self, view: "APIView") -> list[dict[str, Any]]:
        """What drf-spectacular writes of each filter."""
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": str(field.help_text or ""),
                "schema": _schema_of(field),
            }
            for name, (_, field) in getattr(view, "filters", {}).items()
        ]


class Search(SearchFilter):
    """`?search=` of the views that name `search_fields`: each word is in one of them, as in the admin."""

    def get_search_terms(self, request: Request) -> list[str]:
        if len(request.query_params.get(self.search_param, "")) > LONGEST_SEARCH:
            raise exceptions.ValidationError({self.search_param: f"At most {LONGEST_SEARCH} characters."})
        return super().get_search_terms(request)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        searched = self.get_search_fields(view, None)  # type: ignore[arg-type]
        if not searched:
            return []
        (parameter,) = super().get_schema_operation_parameters(view)
        said = f"Words that stand in one of {', '.join(searched)}."
        return [parameter | {"description": said}]


def _schema_of(field: serializers.Field[Any, Any, Any, Any]) -> dict[str, Any]:
    if isinstance(field, serializers.ChoiceField):
        return {"type": "string", "enum": list(field.choices)}
    if isinstance(field, serializers.BooleanField):
        return {"type": "boolean"}
    return {"type": "string"}


class TooLarge(exceptions.APIException):
    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"


class StrictJSONParser(BaseParser):
    """UTF-8 JSON of a bounded size; whatever is wrong with it is a 400 or a 413, never a 5xx."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise TooLarge(f"The body is larger than {limit:,} bytes.")
        try:
            return json.loads(body.decode(), parse_constant=_refuse, parse_int=_integer)
        except RecursionError:
            raise exceptions.ParseError("The JSON is nested too deep.") from None
        except ValueError as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}.") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has more than {MOST_DIGITS} digits")
    return int(digits)
