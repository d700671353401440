"""The published schema: valid, complete, and true to what the calls answer."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest
import requests
from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator

from receiving.tests.conftest import ROOT, Site
from receiving.urls import urlpatterns

# What stands between a sender and its reply: no 5xx but a busy database, nothing that is not described.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)


def schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_schema_is_valid_and_made_without_a_warning(tmp_path: Any):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yml"))


def test_every_address_of_the_partners_is_described_with_its_errors_and_an_example():
    paths = schema()["paths"]
    for pattern in urlpatterns:
        path = "/" + re.sub(r"<str:(\w+)>", r"{\1}", str(pattern.pattern))
        for method, operation in paths[path].items():
            assert {"400", "401", "404", "429"} <= set(operation["responses"]), (path, method)
            if method == "post":
                assert {"413", "415"} <= set(operation["responses"]), path
                assert operation["requestBody"]["content"]["application/json"]["examples"], path
            assert len(operation["security"]) == 3, path


def test_the_schema_is_openapi_3_1():
    assert schema()["openapi"].startswith("3.1")


def test_the_docs_page_is_offline_and_keeps_to_the_policy(gunicorn_site: Site):
    """Everything comes from this site, and no script stands in the page."""
    page = requests.get(f"{gunicorn_site.url}/api/docs/", timeout=20)
    text = page.text
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>\s*\S", text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert address.startswith("/"), address
        assert requests.get(gunicorn_site.url + address, timeout=20).status_code == 200, address


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_whatever_is_sent_the_reply_is_in_the_schema(gunicorn_site: Site, tmp_path: Any):
    """schemathesis, over HTTP; SCHEMA_CASES sets how many cases.

    One worker: in Python 3.11 what it generates code by fails now and then in a thread ("AST constructor
    recursion depth mismatch").
    """
    cases = int(os.environ.get("SCHEMA_CASES", "300"))
    operations = sum(
        len(methods) for path, methods in schema()["paths"].items() if not path.startswith("/api/")
    )
    partner = gunicorn_site.partner()
    number = partner.make_list()
    call_command("spectacular", "--file", str(tmp_path / "schema.yml"))
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", str(tmp_path / "schema.yml"),
            "--url", partner.url, "--include-path-regex", "^/(?!api/)", "--checks", CHECKS,
            "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(max(1, cases // operations)), "--seed", "7", "--no-shrink",
            "--generation-database", "none", "--workers", "1", "--warnings", "off", "--no-color",
            "-H", f"Authorization: Bearer {partner.key}", "--suppress-health-check", "all",
            "--max-failures", "20", "--continue-on-failure",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=3_000,
        env={**os.environ, "SCHEMATHESIS_HOOKS": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    made = re.search(r"Test cases:\s*\n?\s*([\d,]+) generated", done.stdout)
    assert made is not None and int(made[1].replace(",", "")) >= cases / 2, done.stdout[-2000:]
    assert partner.get(f"/lists/{number}").status_code in (200, 404)
