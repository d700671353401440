"""What Amplitude says of an event beside its properties: by export, by `/2/httpapi` and `/batch` alike.

The export calls some of it otherwise than the API; here, each has the export's name, or the shorter one where
the export has two.
"""

from collections.abc import Mapping
from typing import Any

# The name that is kept, and what it may be called in a record, in order of preference.
FIELDS: dict[str, tuple[str, ...]] = {
    "platform": ("platform",),
    "os_name": ("os_name",),
    "os_version": ("os_version",),
    "device_type": ("device_type", "device_model"),
    "device_family": ("device_family", "device_brand"),
    "version_name": ("version_name", "app_version"),
    "country": ("country",),
    "region": ("region",),
    "city": ("city",),
    "language": ("language",),
    "price": ("price", "$price"),
    "quantity": ("quantity", "$quantity"),
    "revenue": ("revenue", "$revenue"),
    "productId": ("productId", "product_id", "$productId"),
    "revenueType": ("revenueType", "revenue_type", "$revenueType"),
}


def properties_of(record: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's properties with what the record says beside them; a property's own value goes first.

    Amplitude's clients put what was paid among the properties, as `$price`: it is found there, too.
    """
    found = {}
    for name, spellings in FIELDS.items():
        for source in (record, properties):
            value = next((source[said] for said in spellings if source.get(said) is not None), None)
            if value is not None:
                found[name] = value
                break
    return {**found, **properties}
