"""Where uploaded files are kept: a folder of this machine, or an object store that all machines share.

    FILES_URL=s3://bucket/prefix?endpoint=https://s3.example&region=eu-central-1

Credentials are what boto3 finds (AWS_ACCESS_KEY_ID …, a role), or stand in the address: s3://KEY:SECRET@bucket.
"""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

EXAMPLE = "s3://bucket/prefix?endpoint=https://s3.example.com&region=eu-central-1"


def storage_of(url: str) -> dict[str, Any]:
    """Return the entry of STORAGES for a FILES_URL; '' is a folder. Raises ImproperlyConfigured."""
    if not url:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    parts = urlsplit(url)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if parts.scheme != "s3" or not parts.hostname or asked.keys() - {"endpoint", "region"}:
        raise ImproperlyConfigured(f"FILES_URL must be like {EXAMPLE}; empty: a folder in VAR_DIR.")
    options = {
        # As it is written: urlsplit's hostname is in small letters.
        "bucket_name": parts.netloc.rpartition("@")[2],
        "location": parts.path.strip("/"),
        "endpoint_url": asked.get("endpoint"),
        "region_name": asked.get("region"),
        "access_key": unquote(parts.username or "") or None,
        "secret_key": unquote(parts.password or "") or None,
    }
    return {
        "BACKEND": "cohortsite.s3.S3",
        "OPTIONS": {name: value for name, value in options.items() if value},
    }
