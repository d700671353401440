"""What a destination's fields mean together: problems are told when it is saved, with what would be right."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from destinations import leaks, templates, validators
from destinations.endpoint import MOST_USERS, AuthMode, BodyFormat, Delivery, Kind, ListIdFrom
from destinations.payloads import LINES
from destinations.rules import By
from destinations.secrets import SecretUnreadable
from destinations.templates import COHORT, KNOWN, SECRET, TRAIT

if TYPE_CHECKING:
    from destinations.models import Destination

NAMES_COHORT = COHORT | {"external_name"}
# A key that names one user cannot hold the whole batch.
ONE_USER = re.compile(
    r"(?:(?:user|external|customer|distinct|profile|person|member|contact|subscriber|record|client)_?)?"
    r"(?:id|identifier|email|username|user|member|identity|uid|uuid)",
    re.IGNORECASE,
)
# A user's id as a segment of a path that stands within a body.
ID_IN_PATH = re.compile(r"/\$(?:user_id\b|\{user_id(?![^}]*\|\s*url\b)[^}]*\})")
# What is encoded holds no quote.
ID_IN_JSON = re.compile(
    r'"\$(?:user_id\b|\{user_id(?![^}]*\|\s*(?:json|url|digits|sha256|md5|hex|base64)\b)[^}]*\})"'
)
HOLDER_ALONE = [f"${name}" for name in templates.HOLDERS]
MUSTACHE = re.compile(r"\{\{\s*([A-Za-z_][\w.]*).*?\}\}|(?<![${])\{([a-z_]+)\}(?!\})")

Problem = tuple[str, str]
Used = dict[str, set[str]]


def problems_of(row: "Destination") -> Iterator[Problem]:
    """Yield field and problem of what cannot work."""
    used: Used = {}
    for field in KNOWN:
        text = str(getattr(row, field))
        if field in templates.OPTIONAL and not text:
            continue
        try:
            used[field] = validators.used_variables(field, text)
        except ValidationError as error:
            yield from ((field, message) for message in error.messages)
    yield from (_list_problems if row.kind == Kind.LIST else _property_problems)(row, used)
    if "name_template" in used and not used["name_template"] & COHORT:
        yield "name_template", "Use $cohort_id or $cohort_name, or all cohorts get the same name."
    if row.read_path and not row.read_places:
        yield "read_places", 'Where does that reply have the members? {"rows": "members", "id": "userId"}'
    if row.read_path and not used.get("read_path", {"list_id"}) & {"list_id", "external_name"}:
        yield "read_path", "$list_id is missing: the partner could not tell which list."
    if row.change_template:
        yield from _change_problems(row, used)
    whole = row.replaces_lists and not templates.SESSION & used.get("add_template", set())
    if isinstance(row.batch_size, int) and row.batch_size > MOST_USERS and not whole:
        yield "batch_size", f"{MOST_USERS:,} at most: only a whole list in one request may have more."
    if row.replaces_lists and row.kind != Kind.LIST:
        yield "replaces_lists", "A property is kept by each user: there is no list to replace."
    yield from _poll_problems(row, used)
    yield from _mapping_problems(row, used)
    yield from _meaningless(row, used)
    yield from _secret_problems(row, used)
    yield from _credential_problems(row)
    yield from _header_problems(row)
    yield from leaks.problems_of(row)


def _poll_problems(row: "Destination", used: Used) -> Iterator[Problem]:
    if bool(row.poll_path) != bool(row.poll_fields):
        text = 'Both say how a request is asked about: /jobs/$job_id, and {"id": "requestId", "state": …}.'
        yield ("poll_path" if row.poll_fields else "poll_fields"), text
    if row.poll_path and "job_id" not in used.get("poll_path", {"job_id"}):
        yield "poll_path", "$job_id is missing: the partner could not tell which request."
    if row.poll_path and row.kind == Kind.PROPERTY and row.delivery == Delivery.SINGLE:
        yield "poll_path", "Asking what became of a request needs many users a request."


def _change_problems(row: "Destination", used: Used) -> Iterator[Problem]:
    """Yield why adds and removes cannot travel in one request."""
    field = "change_template"
    if row.kind != Kind.LIST or row.replaces_lists or row.body_format in LINES or row.batch_size == 1:
        text = "Adds and removes in one request are for lists, in JSON or a form, of several users a request"
        yield field, f"{text}; not where whole lists are sent."
        return
    holders = used.get(field, {"items"}) & templates.HOLDERS
    if holders not in ({"items"}, {"added", "removed"}):
        yield field, 'Write "$added" and "$removed", or "$items" for all: else somebody would not be sent.'
    is_said = row.remove_item_template or "value" in used.get("list_item_template", {"value"})
    if holders == {"items"} and not is_said:
        yield field, 'With "$items" nothing tells who leaves: put $value into the template of one user.'
    if "list_id" not in used.get(field, {"list_id"}) and "list_id" in used.get("add_template", ()):
        yield field, "$list_id is missing: the partner could not tell which list."
    if holders == {"added", "removed"} and (rule := _counting_rule(row)):
        yield "rules", f"Rule {rule} counts users in the batch, which has two parts here: say 'for'."
    kinds = [rule.get("for") for rule in _rules(row)]
    if ("add" in kinds or "remove" in kinds) and "change" not in kinds:
        text = "A rule for 'add' or 'remove' says nothing of a request that does both"
        yield "rules", f"{text}: add one for 'change'."


def _counting_rule(row: "Destination") -> int:
    """Return the number of a rule that says of a change by position who failed; 0 without one."""
    for number, rule in enumerate(_rules(row), 1):
        about = rule.get("for", "change") in ("change", "poll")
        if about and rule.get("by") in (By.INDEX, By.POINTER, By.ORDER):
            return number
    return 0


def _rules(row: "Destination") -> list[dict[str, Any]]:
    """Return the rules, or none where they cannot be read: what is wrong is said elsewhere."""
    rules = row.rules
    return rules if isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules) else []


def _mapping_problems(row: "Destination", used: Used) -> Iterator[Problem]:
    asks = row.identifiers or row.traits or row.consent_field
    if asks and not row.profiles_workspace:
        yield "profiles_workspace", "Say whose profiles have these fields."
    if not isinstance(row.traits, list) or not all(isinstance(one, dict) for one in row.traits):
        return  # named by the field's own check
    names = {one.get("as") or one.get("field") for one in row.traits}
    for field in ("item_template", "list_item_template", "remove_item_template"):
        asked = {name.removeprefix(TRAIT) for name in used.get(field, ()) if name.startswith(TRAIT)}
        if missing := sorted(asked - names):
            yield field, f"${TRAIT}{missing[0]}: no field that goes along is called {missing[0]!r}."


def _list_problems(row: "Destination", used: Used) -> Iterable[Problem]:
    def lacks(field: str, *names: str) -> bool:
        return field in used and not used[field] & set(names)

    creates = row.list_id_from in (ListIdFrom.CREATED, ListIdFrom.FOUND)
    with_user = creates and "items" in used.get("create_template", ())
    if with_user and "list_id" in used.get("list_item_template", ()):
        yield "list_item_template", "$list_id is not known yet when the list is made with its first user."
    if creates and lacks("create_template", *NAMES_COHORT) and lacks("create_path", *NAMES_COHORT):
        yield "create_template", "Use $external_name, or all lists get the same name."
    if row.replaces_lists and (row.poll_path or row.batch_size == 1):
        field = "poll_path" if row.poll_path else "batch_size"
        yield field, "A whole list is many users a request, and each reply says what became of it."
    yield from _session_problems(row, used)
    for operation in ("add",) if row.replaces_lists else ("add", "remove"):
        path, template = f"{operation}_path", f"{operation}_template"
        single = row.batch_size == 1
        if not single and any("user_id" in used.get(field, ()) for field in (path, template)):
            yield "batch_size", f"$user_id in {operation} needs a batch size of 1: one user a request."
        if lacks(template, "items") and not (
            single and not (lacks(path, "user_id") and lacks(template, "user_id"))
        ):
            yield template, '"$items" is missing: no user would be sent.'
        if lacks(path, "list_id", "external_name") and lacks(template, "list_id", "external_name"):
            if "list_id" not in used.get("list_item_template", ()):
                yield path, "$list_id is missing: the partner could not tell which list."
        elif row.list_id_from != ListIdFrom.NAMED and lacks(path, "list_id") and lacks(template, "list_id"):
            yield path, "$list_id is missing: the partner could not tell which list."
    if lacks("list_item_template", "user_id"):
        yield "list_item_template", "$user_id is missing: the partner could not tell which user."
    if row.remove_item_template and lacks("remove_item_template", "user_id"):
        yield "remove_item_template", "$user_id is missing: the partner could not tell which user."
    yield from _list_id_problems(row, used)


def _session_problems(row: "Destination", used: Used) -> Iterable[Problem]:
    """Yield what is wrong with a whole list that travels in several requests."""
    field = "add_path" if used.get("add_path", set()) & templates.SESSION else "add_template"
    names = (used.get("add_path", set()) | used.get("add_template", set())) & templates.SESSION
    if names and not row.replaces_lists:
        yield field, f"${min(names)} is for whole lists that travel in several requests: tick “whole lists”."
    elif missing := sorted({"session", "is_last"} - names) if names else []:
        text = "the partner could not tell which requests are one list, or when it is whole"
        yield field, f"${missing[0]} is missing: {text}."


def _list_id_problems(row: "Destination", used: Used) -> Iterable[Problem]:
    """Yield what keeps the list's id from ever being known."""
    if row.list_id_from == ListIdFrom.GIVEN and not row.given_lists:
        yield "given_lists", 'Write the id of each cohort\'s list: {"buyers": "123"}.'
    if row.list_id_from == ListIdFrom.FOUND:
        if not used.get("find_path", set()) and not row.find_path:
            yield "find_path", "Where is the list looked for? /lists?name=$external_name"
        if not row.find_places:
            yield (
                "find_places",
                'Where does that reply have the lists? {"rows": "lists", "name": "name", "id": "id"}',
            )


def _property_problems(row: "Destination", used: Used) -> Iterable[Problem]:
    def lacks(field: str, *names: str) -> bool:
        return field in used and not used[field] & set(names)

    batched = row.delivery == Delivery.BATCH
    outer = "batch" if batched else "identify"
    if lacks("item_template", "user_id") and (batched or lacks("identify_path", "user_id")):
        yield "item_template", "$user_id is missing: the partner could not tell which user."
    tells = "value" in used.get("batch_template" if batched else "identify_path", ())
    apart = "remove" in row.methods or row.remove_item_template
    if lacks("item_template", "value") and not tells and not apart:
        yield "item_template", '"$value" is missing: entering and leaving would look the same.'
    holders = ["item_template", f"{outer}_path"] + (["batch_template"] if batched else [])
    if all(lacks(field, *NAMES_COHORT) for field in holders):
        yield "item_template", "Use $external_name, or all cohorts share one property."
    # Else whoever has the property under the name of before keeps it when the cohort is renamed.
    elif "item_template" in used and "cohort_name" in _variables_in_keys(row):
        yield "item_template", "Name the property by $external_name: it stays when a cohort is renamed."
    elif all(lacks(field, *(NAMES_COHORT - {"cohort_name"})) for field in holders):
        yield "item_template", "Use $external_name: it stays when a cohort is renamed."
    if batched and lacks("batch_template", "items"):
        yield "batch_template", '"$items" is missing: no user would be sent.'


def _variables_in_keys(row: "Destination") -> set[str]:
    keys = templates.keys(templates.parse_template(str(row.item_template), "item_template"))
    return templates.check_known(keys, "item_template")


def _meaningless(row: "Destination", used: Used) -> Iterable[Problem]:
    """Yield templates that can be filled in, and whose outcome nobody can want."""
    for field in used:
        if not field.endswith("_template") or field == "name_template" or not getattr(row, field):
            continue
        parsed = templates.parse_template(str(getattr(row, field)), field)
        for key in _keys_of_items(parsed):
            if ONE_USER.fullmatch(key):
                yield (
                    field,
                    (
                        f'"$items" is the whole batch, and {key!r} names one user: write '
                        f'{{"{key}s": "$items"}}, or '
                        f'{{"users": "$items"}} and say in the template of one user: {{"{key}": "$user_id"}}.'
                    ),
                )
        if templates.nobody(parsed) is not None and (field != "add_template" or not row.replaces_lists):
            yield field, "`default` is for a whole list without users: no other request is without one."
        for name in sorted(templates.HOLDERS):
            if _holds(parsed, [f"${name}"]):
                text = f'"${name}" is an array already: write {{"users": "${name}"}}, without brackets.'
                yield field, text
        if (twice := _twice(str(getattr(row, field)))) is not None:
            yield field, f"{twice!r} stands twice in one object: only the last would be sent."
        for text in templates.strings(parsed):
            if ID_IN_PATH.search(text):
                yield field, f"A user's id in the path {text[:80]!r} must be quoted: write ${{user_id|url}}."
            if ID_IN_JSON.search(text):
                yield field, f"The id in the JSON {text[:80]!r} must be escaped: write ${{user_id|json}}."
            if (found := MUSTACHE.search(text)) and (found[1] or found[2] in KNOWN[field]):
                yield field, f"{found[0]!r} would be sent as it stands: variables are written $user_id."
    for field in ("create_template", "add_template", "remove_template", "change_template", "batch_template"):
        item = "item_template" if field == "batch_template" else "list_item_template"
        if field == "remove_template" and row.remove_item_template:
            item = "remove_item_template"
        joins = field in used and item in used and "|join" in str(getattr(row, field))
        if joins and not isinstance(templates.parse_template(str(getattr(row, item)), item), str):
            yield item, 'Joined into one text, each user must be a text: "$user_id".'
    if row.body_format in LINES:
        yield from _not_lines(row, used)
    if row.body_format == BodyFormat.FORM and row.kind == Kind.LIST:
        for operation in ("add", "remove"):
            if "${items|join" not in getattr(row, f"{operation}_template") and row.batch_size != 1:
                yield f"{operation}_template", 'A form holds text: write "${items|join:,}".'


def _not_lines(row: "Destination", used: Used) -> Iterable[Problem]:
    """Yield what cannot be one user a line."""
    format = row.get_body_format_display()
    outer = ("batch_template",) if row.kind == Kind.PROPERTY else ("add_template", "remove_template")
    for field in outer:
        body = templates.parse_template(str(getattr(row, field)), field) if field in used else "$items"
        if body not in ("$items", None):
            yield field, f'{format}: write "$items" alone, the batch is all that such a body holds.'
    if row.kind == Kind.PROPERTY and row.delivery == Delivery.SINGLE:
        yield "body_format", f"{format}: needs many users a request."
    if row.body_format != BodyFormat.CSV:
        return
    item = "item_template" if row.kind == Kind.PROPERTY else "list_item_template"
    for field in (item, "remove_item_template"):
        cells = templates.parse_template(str(getattr(row, field)), field) if field in used else ""
        if any(isinstance(cell, dict | list) for cell in _cells(cells)):
            yield field, 'A line of CSV has texts and numbers: {"email": "$user_id"}, or "$user_id" alone.'


def _cells(row: object) -> Iterable[object]:
    return row.values() if isinstance(row, dict) else row if isinstance(row, list) else ()


def _keys_of_items(value: object, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _keys_of_items(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _keys_of_items(item)
    elif value in HOLDER_ALONE and key:
        yield key


def _holds(value: object, wanted: object) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value == wanted or any(_holds(item, wanted) for item in inner)


def _twice(text: str) -> str | None:
    """Return a key that stands twice in an object of a JSON text, or None."""
    found: list[str] = []

    def take(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        found.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    json.loads(text, object_pairs_hook=take)
    return found[0] if found else None


def _secret_problems(row: "Destination", used: Used) -> Iterable[Problem]:
    """Yield fields that name a secret which is not stored."""
    try:
        stored = set(row.named_secrets.reveal())
    except SecretUnreadable as error:
        yield "secrets", str(error)
        return
    wanted = {
        (field, name.removeprefix(SECRET))
        for field in used
        for name in used[field]
        if name.startswith(SECRET)
    }
    headers = row.extra_headers if isinstance(row.extra_headers, dict) else {}
    for text in map(str, headers.values()):
        wanted |= {("extra_headers", name) for name in re.findall(rf"\${SECRET}([a-z][a-z0-9_]*)", text)}
    if isinstance(row.signature, dict) and row.signature.get("secret"):
        wanted.add(("signature", str(row.signature["secret"])))
    for field, name in sorted(wanted):
        if name not in stored:
            yield field, f"There is no named secret {name!r}: enter it with this destination's secrets."


def _credential_problems(row: "Destination") -> Iterable[Problem]:
    """Yield field and problem of what is sent as the credential."""
    try:
        secret = row.credential.reveal()
    except SecretUnreadable as error:
        yield "credential", str(error)
        return
    if row.auth_mode in (AuthMode.KEY, AuthMode.BEARER, AuthMode.HEADER, AuthMode.OAUTH2) and not secret:
        yield "credential", "This authentication needs a credential."
    if row.auth_mode == AuthMode.OAUTH2:  # a private key has lines
        if not row.oauth:
            yield "oauth", "OAuth 2 needs its grant and the address of its tokens."
        return
    if not secret.isprintable() or secret != secret.strip() or len(secret) > validators.HEADER_LENGTH:
        yield "credential", "The credential has blanks around it, a line break, or is too long."
    if row.auth_mode == AuthMode.KEY and ":" in secret:
        yield "credential", "A key with a colon cannot be sent as a user name."


def _header_problems(row: "Destination") -> Iterable[Problem]:
    """Yield field and problem of the other parts of authentication, and of headers beside it."""
    mode = row.auth_mode
    if mode == AuthMode.BASIC and ":" in row.auth_username:
        yield "auth_username", "A user name with a colon cannot be sent."
    if mode == AuthMode.BASIC and not (row.auth_username or row.credential):
        yield "auth_username", "Basic needs a user name, or a credential that holds it: user:password."
    if mode == AuthMode.HEADER:
        try:
            validators.check_header_name(row.auth_header)
        except ValidationError as error:
            yield "auth_header", error.messages[0]
    if not isinstance(row.extra_headers, dict):
        return
    names = {name.lower() for name in row.extra_headers}
    own = row.auth_header.lower() if mode == AuthMode.HEADER else "authorization"
    if mode != AuthMode.NONE and own in names:
        yield "extra_headers", f"{own} carries the credential already."
    if row.idempotency_key and "idempotency-key" in names:
        yield "extra_headers", "Idempotency-Key is set by the program itself."
