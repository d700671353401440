"""What a command costs before it does anything: the modules that it imports, which can be counted."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from django.core import checks
from django.core.management import get_commands, load_command_class

from chaos import migrated
from cohortsite.settings import BASE_DIR

pytestmark = pytest.mark.once
# What shows pages, answers scripts, calculates, sends, reads workbooks and draws bars.
HEAVY = {
    "unfold.admin",
    "allauth.account.views",
    "rest_framework.views",
    "drf_spectacular.plumbing",
    "cohortsite.urls",
    "duckdb",
    "sqlglot",
    "psycopg",
    "requests",
    "openpyxl",
    "rich",
    "prometheus_client",
    "celery",
    "kombu",
    "redis",
    "storages",
    "boto3",
    "opentelemetry",
    "django.test",
}
OURS = {name: app for name, app in get_commands().items() if (BASE_DIR / str(app)).is_dir()}
RUN = """
import os, sys
sys.argv[0] = "manage.py"
from django.core.management import execute_from_command_line
try:
    execute_from_command_line(sys.argv)
except SystemExit as ended:
    assert not ended.code, ended.code
os.write(2, " ".join(sys.modules).encode())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an empty site on SQLite."""
    folder = tmp_path_factory.mktemp("site")
    environ = os.environ | {"DATABASE_URL": f"sqlite:///{folder}/db.sqlite3", "VAR_DIR": str(folder)}
    migrated.migrate(environ)
    return environ


def command(environ: dict[str, str], *words: str) -> tuple[str, set[str]]:
    """Run a command in a process of its own; return what it printed, and the modules it ended with."""
    environ = environ | {"DJANGO_SETTINGS_MODULE": "cohortsite.settings", "LOG_LEVEL": "CRITICAL"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=BASE_DIR, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("broker", ["", "redis://127.0.0.1:1/0"])
def test_a_command_that_finds_nothing_due_imports_nothing_heavy(site: dict[str, str], broker: str) -> None:
    said, modules = command(site | {"CELERY_BROKER_URL": broker}, "sync_due", "--json")
    assert orjson.loads(said) == []
    assert sorted(modules & HEAVY) == []


def test_commands_about_keys_and_files_of_events_import_no_page(site: dict[str, str]) -> None:
    said, modules = command(site, "create_api_key", "acme", "--json")
    assert orjson.loads(said)["key"]
    assert sorted(modules & HEAVY) == []


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_command_checks_the_settings_and_not_the_pages(name: str) -> None:
    if name == "runserver":
        return  # which shows them
    assert tuple(load_command_class(OURS[name], name).requires_system_checks) == ("settings",)


def test_a_wrong_setting_is_still_reported_before_a_command_does_anything(site: dict[str, str]) -> None:
    wrong = site | {"RETRY_TIME_SCALE": "0", "EVENTS_THREADS": "0", "QUERY_DATABASES": '{"w": "ftp://x"}'}
    done = subprocess.run(
        [sys.executable, "manage.py", "sync_due"], cwd=BASE_DIR, env=wrong, capture_output=True, text=True
    )
    assert done.returncode == 1
    for number in ("destinations.E004", "events.E001", "cohorts.E001"):
        assert number in done.stderr


def test_checks_of_our_settings_have_the_tag_that_commands_ask_for() -> None:
    known = checks.registry.registry.get_checks(include_deployment_checks=True)
    ours = [check for check in known if check.__module__ in {f"{app}.checks" for app in OURS.values()}]
    assert len(ours) >= 6
    assert all("settings" in check.tags for check in ours)


def test_what_is_made_is_for_its_owner_alone(site: dict[str, str]) -> None:
    folder = Path(site["VAR_DIR"])
    folder.chmod(0o755)  # as an earlier release made it
    command(site, "sync_due")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert folder / "db.sqlite3" in modes
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
