"""What a destination's fields may hold. Each function raises ValidationError with a sentence for people."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError

from destinations import mapping, rules, templates
from destinations.payloads import check_list_id
from destinations.templates import TemplateError, check_known

# The program sets these itself, or they would break the framing of the request.
RESERVED_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer"),
        *("upgrade", "expect", "accept-encoding", "proxy-authorization", "proxy-connection"),
    }
)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
HEADER_LENGTH = 4096


def check_base_url(value: str) -> None:
    """An http or https address with a host, and nothing that would change what a path is added to."""
    if any(char.isspace() or not char.isprintable() for char in value) or "\\" in value:
        raise ValidationError("The address contains whitespace, a backslash or a control character.")
    try:
        parts = urlsplit(value)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except (ValueError, UnicodeError):
        raise ValidationError("The address has a host or a port that cannot be.") from None
    if parts.scheme not in ("http", "https"):
        raise ValidationError("The address must begin with https:// or http://.")
    if parts.username is not None or parts.password is not None:
        raise ValidationError(
            "Leave user name and password out of the address: enter them as the credential."
        )
    if not parts.hostname or not parts.hostname.strip("."):
        raise ValidationError("The address has no host.")
    if port == 0:
        raise ValidationError("Port 0 cannot be connected to.")
    if "?" in value or "#" in value:
        raise ValidationError("Leave ? and # out of the base address: they belong to a path.")


def check_path(value: str) -> None:
    """A path below the base URL, with variables that paths know (which, depends on the field)."""
    if not value.startswith("/"):
        raise ValidationError("A path begins with a slash.")
    if any(char.isspace() or not char.isprintable() for char in value) or "#" in value:
        raise ValidationError("The path contains whitespace, # or a control character.")
    if {".", ".."} & set(value.partition("?")[0].split("/")):
        raise ValidationError("The path has a segment that is a dot.")


def check_line(value: str) -> None:
    """One line of printable text: it is sent in a header or stands in a payload."""
    if not value.isprintable():
        raise ValidationError("Control characters and line breaks are not allowed.")


def check_finite(value: float) -> None:
    """A number that comparisons work on: YAML knows `.nan` and `.inf`."""
    if not math.isfinite(value):
        raise ValidationError("Must be a finite number.")


def check_header_name(value: str) -> None:
    """The name of a header that the program does not set itself."""
    if not HEADER_NAME.fullmatch(value):
        raise ValidationError(f"{value[:80]!r} is not the name of a header.")
    if value.lower() in RESERVED_HEADERS:
        raise ValidationError(f"{value} is set by the program itself.")


def check_headers(value: Any) -> None:
    """An object of header names and values."""
    if not isinstance(value, dict):
        raise ValidationError('Must be a JSON object: {"X-Name": "value"}.')
    for name, text in value.items():
        check_header_name(name)
        if not isinstance(text, str) or not text.isprintable() or len(text) > HEADER_LENGTH:
            raise ValidationError(f"The value of {name} must be one line of text.")
    if len({name.lower() for name in value}) < len(value):
        raise ValidationError("A header stands there twice.")


def check_rules(value: Any) -> None:
    """A list of rules: see `rules`."""
    try:
        rules.check_rules(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def check_identifiers(value: Any) -> None:
    """A list of fields by which a partner knows people: see `mapping`."""
    if problems := mapping.problems_with(value, identifiers=True):
        raise ValidationError(problems)


def check_traits(value: Any) -> None:
    """A list of fields that go along."""
    if problems := mapping.problems_with(value, identifiers=False):
        raise ValidationError(problems)


def check_place(value: str) -> None:
    """A dotted path in a reply, or a header of it: header:Location."""
    if value.lower().startswith("header:"):
        check_header_name(value.partition(":")[2])
        return
    if not all(value.split(".")) or not value.isprintable() or " " in value:
        raise ValidationError("Write names with dots between them: response.listId.")


METHODS = ("create", "add", "remove", "identify", "batch", "test", "poll")
VERBS = ("POST", "PUT", "PATCH", "DELETE", "GET")
ALGORITHMS = ("sha256", "sha1", "sha512")


def check_methods(value: Any) -> None:
    """An object of operations and HTTP methods."""
    _check_object(value, METHODS)
    for name, verb in value.items():
        if verb not in VERBS:
            raise ValidationError(f"{name} must be one of {', '.join(VERBS)}.")


def check_value_words(value: Any) -> None:
    """Both words, or none; they differ, or entering and leaving would look the same."""
    _check_object(value, ("in", "out"))
    if value and (len(value) < 2 or value["in"] == value["out"]):
        raise ValidationError('Both words are needed, and must differ: {"in": "1", "out": ""}.')


def check_given_lists(value: Any) -> None:
    """An object of cohort keys and list ids."""
    if not isinstance(value, dict):
        raise ValidationError('Must be a JSON object: {"buyers": "123"}.')
    for key, list_id in value.items():
        if isinstance(list_id, bool) or not isinstance(list_id, str | int):
            raise ValidationError(f"The list id of {key!r} must be text or a number.")
        try:
            check_list_id(str(list_id))
        except ValueError as error:
            raise ValidationError(f"{key!r}: {error}.") from None


def check_find_places(value: Any) -> None:
    """Where a reply has lists, and in each its name and id."""
    _check_object(value, ("rows", "name", "id"))
    if value and not {"name", "id"} <= set(value):
        raise ValidationError("'name' and 'id' are needed.")
    for path in value.values():
        if not isinstance(path, str) or (path and not all(path.split("."))):
            raise ValidationError("Write names with dots between them: data.lists.")


PAGINGS = ("none", "cursor", "link", "page", "offset")


def check_read_places(value: Any) -> None:
    """Where a page of members has them, and how the next page is asked for."""
    _check_object(value, ("rows", "id", "by", "next", "parameter", "first", "total", "lines", "digest"))
    if not value:
        return
    by = value.get("by", "none")
    if by not in PAGINGS:
        raise ValidationError(f"'by' must be one of {', '.join(PAGINGS)}.")
    needed = {"cursor": ("next", "parameter"), "link": ("next",), "page": ("parameter",)}
    needed["offset"] = needed["page"]
    for name in needed.get(by, ()):
        if not value.get(name):
            raise ValidationError(f"'{name}' is missing: it is needed for pages by {by}.")
    for name in ("rows", "id", "next", "total"):
        path = value.get(name, "")
        if not isinstance(path, str):
            raise ValidationError(f"{name!r} must be names with dots between them: data.members.")
        if path:
            check_place(path)
    if value.get("lines", False) not in (True, False) or (
        value.get("lines") and value.keys() & {"rows", "id"}
    ):
        raise ValidationError("'lines' is true for a reply of one id a line, which has no 'rows' or 'id'.")
    if type(value.get("first", 0)) is not int or not 0 <= value.get("first", 0) <= 1:
        raise ValidationError("'first' must be 0 or 1.")
    if not re.fullmatch(r"[\w.$\[\]-]{1,100}", str(value.get("parameter", "page"))):
        raise ValidationError("'parameter' must be the name of a query's parameter.")
    if "digest" in value:
        check_path(value["digest"])
        try:
            check_known(iter((value["digest"],)), "read_path")
        except TemplateError as error:
            raise ValidationError(f"'digest': {error}") from None


POLL_WAITS = {"wait": (0.1, 3600), "longest": (1, 86_400), "most": (1, 7 * 86_400)}


def check_poll_fields(value: Any) -> None:
    """Where replies have the id and the state of an accepted request, what states mean, and the waits."""
    _check_object(value, ("id", "state", "done", "failed", *POLL_WAITS))
    if not value:
        return
    for name in ("id", "state", "done"):
        if not value.get(name):
            raise ValidationError(f"{name!r} is missing.")
    for name in ("id", "state"):
        if not isinstance(value[name], str) or (name == "state" and value[name].startswith("header:")):
            raise ValidationError(f"{name!r} must be names with dots between them: data.status.")
        check_place(value[name])
    words: list[object] = []
    for name in ("done", "failed"):
        states = value.get(name, [])
        if not isinstance(states, list) or any(not isinstance(one, str | bool) for one in states):
            raise ValidationError(f'{name!r} is a list of states: ["SUCCESS"].')
        words += states
    if len({*words}) < len(words):
        raise ValidationError("A state stands twice in 'done' and 'failed'.")
    for name, (low, high) in POLL_WAITS.items():
        seconds = value.get(name, low)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not low <= seconds <= high:
            raise ValidationError(f"{name!r} must be seconds, {low:g} to {high:,}.")


def check_signature(value: Any) -> None:
    """How bodies are signed."""
    _check_object(value, ("header", "secret", "algorithm", "encoding", "prefix"))
    if not value:
        return
    for name in ("header", "secret"):
        if not isinstance(value.get(name), str) or not value[name]:
            raise ValidationError(f"{name!r} is missing.")
    check_header_name(value["header"])
    if value.get("algorithm", "sha256") not in ALGORITHMS:
        raise ValidationError(f"'algorithm' must be one of {', '.join(ALGORITHMS)}.")
    if value.get("encoding", "hex") not in ("hex", "base64"):
        raise ValidationError("'encoding' must be hex or base64.")
    if not isinstance(value.get("prefix", ""), str) or not value.get("prefix", "").isprintable():
        raise ValidationError("'prefix' must be one line of text.")


GRANTS = ("client_credentials", "refresh_token", "jwt_bearer")


def check_oauth(value: Any) -> None:
    """How a token is fetched."""
    known = ("grant", "token_url", "client_id", "scope", "audience", "subject", "issuer", "client_auth")
    _check_object(value, known)
    if not value:
        return
    for name, text in value.items():
        if not isinstance(text, str) or not text.isprintable():
            raise ValidationError(f"{name!r} must be one line of text.")
    if value.get("grant") not in GRANTS:
        raise ValidationError(f"'grant' must be one of {', '.join(GRANTS)}.")
    check_base_url(value.get("token_url", ""))
    if value["grant"] != "refresh_token" and not (value.get("client_id") or value.get("issuer")):
        raise ValidationError("'client_id' is missing.")
    if value.get("client_auth", "body") not in ("body", "basic"):
        raise ValidationError("'client_auth' must be body or basic.")


def _check_object(value: Any, known: Sequence[str]) -> None:
    if not isinstance(value, dict):
        raise ValidationError("Must be a JSON object: {…}.")
    if unknown := sorted(set(value) - set(known)):
        raise ValidationError(f"There is no {unknown[0]!r}. Known: {', '.join(known)}.")


def used_variables(field: str, text: str) -> set[str]:
    """Return the variables that the field `field` uses, or raise ValidationError for what is wrong."""
    try:
        return templates.check_known(_texts(field, text), field)
    except templates.TemplateError as error:
        raise ValidationError(str(error)) from None


def _texts(field: str, text: str) -> Iterator[str]:
    if field.endswith("_template") and field != "name_template":
        return templates.strings(templates.parse_template(text, field))
    return iter((text,))
