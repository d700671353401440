"""The partners' calls as OpenAPI: bodies, replies and examples of each, as plain schemas.

The calls are parsed without serializers, so the schema is written here; tests/test_schema.py sends what it
allows and what it does not, and checks every reply against it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from receiving.components import COUNT, LIST_NUMBER, NEXT, TEXT, array, obj, ref

View = TypeVar("View", bound=Callable[..., Any])

KEY_FORMS: list[dict[str, list[str]]] = [{"keyAsUserName": []}, {"keyAsBearer": []}, {"keyAsHeader": []}]
TRAIT = "[Amplitude] Recent buyers: 7f3a"


WHY = {
    400: "Not valid: which field, and why.",
    401: "The API key is missing, malformed, unknown, expired or revoked.",
    404: "No such list (`list_not_found`), or users who are not taken (`invalid_user_id`).",
    411: "A body of unknown length, on a server that cannot take one.",
    413: "The body, or the number of items, is above the workspace's limit.",
    415: "Not JSON in UTF-8.",
    429: "Too many calls with this key: see Retry-After.",
    503: "The database is busy: send the call again.",
}
READS, WRITES = (400, 401, 404, 429, 503), tuple(WHY)


def _replies(success: Any, statuses: tuple[int, ...], more: dict[Any, Any]) -> dict[Any, Any]:
    error = ref("PartnerError")
    return {200: success, **{code: OpenApiResponse(error, WHY[code]) for code in statuses}, **more}


def reads(summary: str, success: Any, *parameters: OpenApiParameter, **more: Any) -> Callable[[View], View]:
    """Describe a GET or DELETE."""
    return extend_schema(
        summary=summary,
        tags=["Partners: reading back"],
        auth=KEY_FORMS,  # type: ignore[arg-type]  # dicts are taken too, and needed
        parameters=[*parameters],
        responses=_replies(success, READS, more.pop("replies", {})),
        **more,
    )


def writes(
    summary: str, body: Any, success: Any, example: Any, *, tag: str = "Partners"
) -> Callable[[View], View]:
    """Describe a POST with a JSON body."""
    return extend_schema(
        summary=summary,
        tags=[tag],
        auth=KEY_FORMS,  # type: ignore[arg-type]  # dicts are taken too, and needed
        request={"application/json": body},
        responses=_replies(success, WRITES, {}),
        examples=[OpenApiExample(summary, value=example, request_only=True)],
        parameters=[IDEMPOTENCY_KEY],
    )


def _query(
    name: str, schema: dict[str, Any], description: str, *, required: bool = False
) -> OpenApiParameter:
    return OpenApiParameter(name, schema, OpenApiParameter.QUERY, required=required, description=description)


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key", {"type": "string"}, OpenApiParameter.HEADER,
    description="A call with a key that was seen before changes nothing.",
)  # fmt: skip
AFTER = _query("after", TEXT, "The last page's `next`.")
AFTER_LIST = _query("after", {"type": "string", "pattern": "^[0-9]{1,18}$"}, "The last page's `next`.")
LIMIT = _query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}, "How many a page holds.")
FORMAT = _query(
    "format",
    {"type": "string", "enum": ["json", "csv", "ndjson"]},
    "csv and ndjson hold everyone, one a line.",
)
USER = _query("userId", {"type": "string", "minLength": 1}, "The user id, URL-quoted.", required=True)
NAME = _query("name", {"type": "string", "minLength": 1}, "The trait's key, URL-quoted.", required=True)

MEMBERS = {
    (200, "application/json"): ref("MemberPage"),
    (200, "text/csv"): TEXT,
    (200, "application/x-ndjson"): TEXT,
}
ID_LIST = obj([], userIds=ref("UserIds"), user_ids=ref("UserIds")) | {
    "anyOf": [{"required": ["userIds"]}, {"required": ["user_ids"]}]
}
BATCH = obj(["batch"], batch=array(ref("Identify"), minItems=1))
IDENTIFY_BODY = {"anyOf": [ref("Identify"), BATCH]}
CONTEXT = {"integration": {"name": "Amplitude Cohort Sync", "version": "1.0.0"}}
IDENTIFY_EXAMPLE = {"type": "identify", "userId": "u1", "traits": {TRAIT: True}, "context": CONTEXT}

create_list = writes(
    "Create a list",
    obj(["name"], name={"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"\S"}),
    obj(
        ["listId", "list_id", "response"],
        listId=LIST_NUMBER,
        list_id=LIST_NUMBER,
        response=obj(["listId", "list_id"], listId=LIST_NUMBER, list_id=LIST_NUMBER),
    ),
    {"name": TRAIT, "context": CONTEXT},
)
_EITHER = {"anyOf": [ref("Changed"), ref("Identified")]}
_ID_BODY = {"anyOf": [ID_LIST, IDENTIFY_BODY]}
add_to_list = writes("Add users to a list", _ID_BODY, _EITHER, {"userIds": ["u1", "u2"], "context": CONTEXT})
remove_from_list = writes(
    "Remove users from a list", _ID_BODY, _EITHER, {"userIds": ["u1"], "context": CONTEXT}
)
identify = writes("Set traits of users", IDENTIFY_BODY, ref("Identified"), IDENTIFY_EXAMPLE)
amplitude_events = writes(
    "Take events (Amplitude HTTP V2)",
    obj(
        ["events"],
        api_key=TEXT,
        events=array(
            obj(
                ["event_type", "user_id"],
                user_id=ref("UserId"),
                event_type={"type": "string", "minLength": 1},
                time={"type": "integer", "description": "Milliseconds since 1970."},
                event_properties={"type": "object"},
                user_properties={"type": "object"},
                insert_id=TEXT,
            ),
            minItems=1,
        ),
    ),
    obj(
        ["code", "events_ingested", "payload_size_bytes", "server_upload_time"],
        code={"const": 200},
        **dict.fromkeys(("events_ingested", "payload_size_bytes", "server_upload_time"), COUNT),
        **dict.fromkeys(("ignored", "refused", "notInCohorts"), COUNT),
        errors=array(ref("RefusedItem")),
        events_with_invalid_fields={"type": "object", "additionalProperties": array(COUNT)},
    ),
    {"events": [{"user_id": "u1", "event_type": "order", "time": 1767225600000}]},
    tag="Partners: other senders",
)
mixpanel = writes(
    "Take a page of a Mixpanel cohort",
    obj(
        ["action", "parameters"],
        action={"enum": ["members", "add_members", "remove_members"]},
        parameters=obj(
            ["mixpanel_cohort_id", "members"],
            mixpanel_cohort_id=ref("UserId"),
            mixpanel_cohort_name=TEXT,
            mixpanel_session_id=ref("UserId"),
            page_info=obj(
                ["total_pages", "page_count"],
                total_pages={"type": "integer", "minimum": 1},
                page_count={"type": "integer", "minimum": 1},
            ),
            members=array(obj(["mixpanel_distinct_id"], mixpanel_distinct_id=ref("UserId"))),
        ),
    ),
    obj(["action", "status"], action=TEXT, status={"const": "success"}),
    {
        "action": "add_members",
        "parameters": {
            "mixpanel_cohort_id": "7f3a",
            "mixpanel_cohort_name": "Recent buyers",
            "members": [{"mixpanel_distinct_id": "u1"}],
        },
    },
    tag="Partners: other senders",
)
add_known_users = writes("Make users known", ID_LIST, ref("Changed"), {"userIds": ["u1", "u2"]})
read_lists = reads(
    "Lists, oldest first",
    obj(["lists", "next"], lists=array(ref("PartnerList")), next=NEXT),
    AFTER_LIST,
    LIMIT,
    operation_id="lists_list",
)
read_list = reads("A list", ref("PartnerList"))
delete_list = reads("Delete a list and all its members", obj(["removed"], removed=COUNT))
read_members = reads("A list's members", ref("MemberPage"), AFTER, LIMIT, FORMAT, replies=MEMBERS)
read_digest = reads("A list's count and digest", ref("Digest"))
read_user = reads(
    "A user's lists and traits",
    obj(
        ["userId", "known", "lists", "traits"],
        userId=TEXT,
        known={"type": "boolean"},
        lists=array(obj(["listId", "name"], listId=LIST_NUMBER, name=TEXT)),
        traits=ref("Traits"),
    ),
    USER,
)
read_traits = reads(
    "Names of traits; or of one trait, how many users have it",
    {
        "anyOf": [
            obj(["traits", "next"], traits=array(TEXT), next=NEXT),
            obj(["name", "size"], name=TEXT, size=COUNT),
        ]
    },
    _query("name", TEXT, "A trait's key, URL-quoted."),
    AFTER,
    LIMIT,
)
read_holders = reads(
    "The users whose trait is true", ref("MemberPage"), NAME, AFTER, LIMIT, FORMAT, replies=MEMBERS
)
read_holders_digest = reads("Count and digest of the users whose trait is true", ref("Digest"), NAME)
