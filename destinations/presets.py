"""Known partners as data: what a new destination's form is filled with (protocol page, "Known dialects").

A preset names only the fields that differ from `endpoint.Endpoint`'s defaults, which are the protocol's.
To add a partner, add a `Preset` here: the form, `apply_config` and the documentation read this table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from destinations.endpoint import AuthMode, Delivery, Kind, to_json


@dataclass(frozen=True, slots=True)
class Preset:
    """label and hint are for people; fields are those of `models.Destination`."""

    label: str
    hint: str
    fields: Mapping[str, Any] = field(default_factory=dict)


PRESETS: Mapping[str, Preset] = {
    "amplitude-list": Preset(
        "Amplitude list",
        "The partner keeps a list of user ids: create once, then add and remove.",
        {"kind": Kind.LIST, "auth_mode": AuthMode.KEY},
    ),
    "amplitude-property": Preset(
        "Amplitude property",
        "The partner keeps a property on each user: true on entry, false on leaving.",
        {"kind": Kind.PROPERTY, "delivery": Delivery.BATCH, "auth_mode": AuthMode.KEY},
    ),
    "segment": Preset(
        "Segment-compatible",
        "Segment's HTTP API, RudderStack and others that take its identify calls. "
        "At most 500 KB a request; use the source's write key as the credential.",
        {
            "kind": Kind.PROPERTY,
            "delivery": Delivery.BATCH,
            "base_url": "https://api.segment.io",
            "auth_mode": AuthMode.KEY,
            "identify_path": "/v1/identify",
            "batch_path": "/v1/batch",
            "max_bytes": 500_000,
        },
    ),
    "flagsmith": Preset(
        "Flagsmith",
        "Flagsmith's receiver of Amplitude cohorts. Use a cohort sync key as the credential.",
        {
            "kind": Kind.LIST,
            "base_url": "https://api.flagsmith.com",
            "auth_mode": AuthMode.BEARER,
            # Without the final slash Flagsmith answers 301 and writes nothing.
            "create_path": "/api/v1/cohort-sync/amplitude/lists/",
            "create_template": to_json({"name": "$external_name"}),
            "add_path": "/api/v1/cohort-sync/amplitude/lists/$list_id/add/",
            "add_template": to_json({"user_ids": "$items"}),
            "remove_path": "/api/v1/cohort-sync/amplitude/lists/$list_id/remove/",
            "remove_template": to_json({"user_ids": "$items"}),
            "list_id_place": "list_id",
            "rules": [
                {
                    "status": 404,
                    "then": "recreate",
                    "reason": "list_deleted",
                    "message": "The cohort was deleted in Flagsmith.",
                }
            ],
        },
    ),
    "custom": Preset(
        "Custom",
        "Anything else that takes JSON over HTTP. Starts from the protocol's list calls, no credential.",
        {"kind": Kind.LIST, "auth_mode": AuthMode.NONE},
    ),
}


def preset_choices() -> list[tuple[str, str]]:
    """Return the presets for a field's choices: a function, so that a new one needs no migration."""
    return [(name, preset.label) for name, preset in PRESETS.items()]
