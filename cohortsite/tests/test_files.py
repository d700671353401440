"""FILES_URL: where uploaded files are kept."""

from typing import Any

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from cohortsite import checks as ours
from cohortsite.files import storage_of

pytestmark = pytest.mark.once


def test_without_an_address_it_is_a_folder() -> None:
    assert storage_of("") == {"BACKEND": "django.core.files.storage.FileSystemStorage"}


def test_an_address_names_the_bucket_and_what_else_is_needed() -> None:
    assert storage_of("s3://Bucket")["OPTIONS"] == {"bucket_name": "Bucket"}
    url = "s3://id:a%2Fb@bucket/a/prefix/?endpoint=https://s3.example:9000&region=eu-central-1"
    assert storage_of(url) == {
        "BACKEND": "cohortsite.s3.S3",
        "OPTIONS": {
            "bucket_name": "bucket",
            "location": "a/prefix",
            "endpoint_url": "https://s3.example:9000",
            "region_name": "eu-central-1",
            "access_key": "id",
            "secret_key": "a/b",
        },
    }


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "/srv/uploads", "s3://bucket?endpont=https://x"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="FILES_URL must be like s3://"):
        storage_of(url)


def test_a_store_without_its_library_is_reported_at_start(settings: Any, monkeypatch: Any) -> None:
    settings.FILES_URL = "s3://bucket"
    assert not [one for one in checks.run_checks(tags=["settings"]) if one.id == "cohortsite.E004"]
    monkeypatch.setattr(ours, "find_spec", lambda name: None)
    assert [message.id for message in ours.check_files(None)] == ["cohortsite.E004"]
