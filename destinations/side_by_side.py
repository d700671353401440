"""What a destination makes of one user: the input, the templates and the request, beside each other.

Nothing is sent, and nothing needs to be saved. Secrets are not opened: a mask stands in their place.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from destinations import templates
from destinations.endpoint import MASK, Delivery, Endpoint, Kind, ListIdFrom
from destinations.payloads import Encoder, Operation, Request, external_name, needs_first_user
from destinations.sessions import alone
from destinations.transport import describe
from destinations.try_out import operations_of

LIST_ID = "123"
ANOTHER = "another-user"
JOB_ID = "id-of-the-request"
SECRET_NAMES = re.compile(rf"\$\{{?{templates.SECRET}([a-z][a-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Shown:
    """A request. inputs: variables that it uses, and what they are. templates: fields and their texts.

    output: the request as it would be sent; empty where `problem` says why there is none.
    """

    operation: str
    title: str
    inputs: Mapping[str, str]
    templates: Mapping[str, str]
    output: str = ""
    problem: str = ""


def side_by_side(
    endpoint: Endpoint, *, user_id: str, cohort_name: str, cohort_key: str, list_id: str = ""
) -> Iterator[Shown]:
    """Yield each request that this destination knows, for a user who enters the cohort or leaves it."""
    masked = replace(endpoint, credential="", secrets=dict.fromkeys(_secret_names(endpoint), MASK))
    wanted = list_id or str(endpoint.given_lists.get(cohort_key, "")) or LIST_ID
    more = [Operation.CHANGE] if masked.change_template else []
    more += [Operation.POLL] if masked.poll_path else []
    for operation in (*operations_of(masked), *more):
        for title, fields, made in _ways(masked, operation):
            yield _show(masked, operation, title, fields, made, user_id, cohort_name, cohort_key, wanted)


def _ways(endpoint: Endpoint, operation: Operation) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield title, fields and how it is made; a create that may find its list first is two requests."""
    if operation in (Operation.TEST, Operation.READ):
        title = "The test call" if operation == Operation.TEST else "Reading the members"
        yield title, (f"{operation}_path",), "look"
    elif operation == Operation.POLL:
        yield "Asking what became of an accepted request", ("poll_path",), "poll"
    elif operation == Operation.CHANGE:
        items = ("list_item_template", *(("remove_item_template",) if endpoint.remove_item_template else ()))
        yield "A user enters, and another leaves", ("add_path", "change_template", *items), "change"
    elif operation == Operation.CREATE:
        if endpoint.list_id_from == ListIdFrom.FOUND:
            yield "Looking for the list", ("find_path",), "find"
        items = ("list_item_template",) if needs_first_user(endpoint) else ()
        yield "Creating the list", ("create_path", "create_template", *items), "create"
    else:
        title = "A user enters" if operation == Operation.ADD else "A user leaves"
        if endpoint.replaces_lists:
            title = "The whole list"
        item = "item_template" if endpoint.kind == Kind.PROPERTY else "list_item_template"
        if operation == Operation.REMOVE and endpoint.remove_item_template:
            item = "remove_item_template"
        single = endpoint.kind == Kind.PROPERTY and endpoint.delivery == Delivery.SINGLE
        if single:
            yield title, ("identify_path", item), "single"
        elif endpoint.kind == Kind.PROPERTY:
            yield title, ("batch_path", "batch_template", item), "batch"
        else:
            fields = (f"{operation}_path", f"{operation}_template", item)
            yield title, fields, "batch"


def _show(
    endpoint: Endpoint,
    operation: Operation,
    title: str,
    fields: tuple[str, ...],
    made: str,
    user_id: str,
    cohort_name: str,
    cohort_key: str,
    list_id: str,
) -> Shown:
    texts = {name: str(getattr(endpoint, name)) for name in fields}
    try:
        name = external_name(endpoint, cohort_name, cohort_key)
        encoder = Encoder(
            endpoint,
            cohort_name=cohort_name,
            cohort_key=cohort_key,
            external_name=name,
            list_id=list_id,
        )
        used = {one for text in texts.values() for one in templates.variables(text)}
        known = encoder.values | {"user_id": user_id, "items": f"[{user_id}]", "job_id": JOB_ID}
        known |= alone(1).values
        known |= {"added": f"[{user_id}]", "removed": f"[{ANOTHER}]"}
        known["value"] = json.dumps(endpoint.value_word(operation == Operation.ADD), ensure_ascii=False)
        inputs = {f"${one}": known[one] for one in sorted(used) if one in known}
        request = _request(encoder, operation, made, user_id)
    except ValueError as error:  # a template that cannot be used, or a user id that cannot be one
        return Shown(operation, title, {}, texts, problem=str(error))
    return Shown(operation, title, inputs, texts, describe(request, endpoint))


def _request(encoder: Encoder, operation: Operation, made: str, user_id: str) -> Request:
    match made:
        case "look":
            return encoder.look(operation)
        case "poll":
            return encoder.poll(JOB_ID, [user_id])
        case "find":
            return encoder.create([user_id]).find or encoder.create([user_id])
        case "create":
            return replace(encoder.create([user_id]), find=None)
        case "change":
            return encoder.change([user_id], [ANOTHER])
        case "single":
            return encoder.single(operation, user_id)
        case _:
            return encoder.batch(operation, [user_id])


def _secret_names(endpoint: Endpoint) -> set[str]:
    texts = [str(getattr(endpoint, name)) for name in templates.KNOWN]
    texts += map(str, endpoint.extra_headers.values())
    signing = str(endpoint.signature.get("secret", "")) if endpoint.signature else ""
    return {name for text in texts for name in SECRET_NAMES.findall(text)} | ({signing} if signing else set())
