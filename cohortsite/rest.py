"""What every view of the REST API shares: strict JSON, permission to read. Settings name these."""

import json
from collections.abc import Mapping
from typing import IO, Any, ClassVar

from django.conf import settings
from rest_framework import exceptions, status
from rest_framework.parsers import BaseParser
from rest_framework.permissions import DjangoModelPermissions


class ModelPermissions(DjangoModelPermissions):
    """Django's permissions of the view's model, for reading too."""

    perms_map: ClassVar[dict[str, list[str]]] = {  # type: ignore[misc]
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


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
            return json.loads(body.decode(), parse_constant=_refuse)
        except RecursionError:
            raise exceptions.ParseError("The JSON is nested too deep.") from None
        except ValueError as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}.") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
