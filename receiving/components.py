"""The named schemas of the partners' calls. Plain values: the settings read COMPONENTS from here."""

from typing import Any


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def obj(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def array(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
LIST_NUMBER = {"type": "integer", "minimum": 1}
NEXT = {
    "type": ["string", "null"],
    "description": "What to send as `after` for the next page; null at the end.",
}

COMPONENTS: dict[str, Any] = {
    "securitySchemes": {
        "keyAsUserName": {
            "type": "http",
            "scheme": "basic",
            "description": "The API key as user name, with an empty password; or as password.",
        },
        "keyAsBearer": {"type": "http", "scheme": "bearer"},
        "keyAsHeader": {"type": "apiKey", "in": "header", "name": "api_key"},
    },
    "schemas": {
        "UserId": {
            "description": "1 to 1,024 UTF-8 bytes, compared byte for byte; an integer counts as its digits.",
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 1024, "pattern": r"\S"},
                {"type": "integer", "minimum": -(2**63), "maximum": 2**64 - 1},
            ],
        },
        "UserIds": array(ref("UserId"), minItems=1),
        "PartnerError": obj(
            ["error"],
            error=obj(["code", "message"], code=TEXT, message=TEXT),
            limit={**COUNT, "description": "With 413: the most bytes or items that are taken."},
            invalidUserIds={**array(TEXT), "description": "With 404 `invalid_user_id`: who is refused."},
        ),
        "Traits": {"type": "object", "description": "Any keys, stored as they came; any values."},
        "Identify": obj(
            ["userId"],
            type={"const": "identify"},
            userId=ref("UserId"),
            traits=ref("Traits"),
            messageId={"type": "string", "description": "A repeated one changes nothing."},
            context={"type": "object"},
        ),
        "Changed": obj(["received", "changed"], received=COUNT, changed=COUNT),
        "Identified": obj(
            ["success", "received", "identified", "repeated", "changed", "ignored"],
            success={"const": True},
            **dict.fromkeys(
                ("received", "identified", "repeated", "changed", "ignored", "refused", "notInCohorts"), COUNT
            ),
            errors=array(ref("RefusedItem")),
        ),
        "RefusedItem": obj(
            ["index", "field", "message"],
            index=COUNT | {"description": "Where the item stands in the call."},
            field=TEXT,
            message=TEXT,
        ),
        "PartnerList": obj(
            ["listId", "name", "createdAt", "size"],
            listId=LIST_NUMBER,
            name=TEXT,
            createdAt={"type": "string", "format": "date-time"},
            size=COUNT,
        ),
        "Digest": obj(
            ["count", "digest"],
            count=COUNT,
            digest={
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
                "description": "The SHA-256 of each user id as a number, summed modulo 2^256.",
            },
        ),
        "MemberPage": obj(["userIds", "next"], userIds=array(TEXT), next=NEXT),
    },
}
