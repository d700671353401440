"""`./run`, the shell script: which Python, what is installed when, what is started. Its Python is a fake."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parent.parent
# Says that it is recent enough, makes `.venv` with itself in it, and notes whatever else it is asked.
PYTHON = """\
#!/bin/sh
case "$*" in
    *version_info*) exit {old} ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *) echo "$PWD: $*" >> "$NOTES" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A folder with blanks in its name, holding the script and two locks."""
    folder = tmp_path / "a project's folder"
    folder.mkdir()
    shutil.copy(ROOT / "run", folder)
    (folder / "requirements.txt").write_text("one")
    (folder / "requirements-dev.txt").write_text("two")
    return folder


@pytest.fixture
def machine(tmp_path):
    """A PATH with a stand-in for python3; `recent=False` makes it an old one."""

    def make(*, recent: bool = True) -> dict[str, str]:
        for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(PYTHON.format(old=int(not recent)))
            program.chmod(0o755)
        return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "NOTES": str(tmp_path / "notes")}

    return make


def call(project: Path, environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Call the script from another folder, by its path."""
    command = [str(project / "run"), *arguments]
    return subprocess.run(
        command, cwd="/", env=environment, capture_output=True, text=True, timeout=30, check=False
    )


def noted(environment: dict[str, str]) -> list[str]:
    notes = Path(environment["NOTES"])
    lines = notes.read_text().splitlines() if notes.exists() else []
    notes.unlink(missing_ok=True)
    return [line.partition(": ")[2] for line in lines]


def test_it_installs_once_and_starts_the_demo(project, machine):
    environment = machine()
    assert call(project, environment, "--once").returncode == 0
    installed, started = noted(environment)
    assert installed.endswith("--require-hashes -r requirements.txt")
    assert started == "-m demo --once"
    call(project, environment)
    assert noted(environment) == ["-m demo"]


def test_it_runs_in_its_own_folder(project, machine):
    environment = machine()
    call(project, environment)
    assert Path(environment["NOTES"]).read_text().splitlines()[-1] == f"{project}: -m demo"


def test_a_changed_lock_is_installed(project, machine):
    environment = machine()
    call(project, environment)
    (project / "requirements.txt").write_text("changed")
    noted(environment)
    call(project, environment)
    assert len(noted(environment)) == 2


def test_tests_install_the_other_lock_and_pass_arguments_on(project, machine):
    environment = machine()
    call(project, environment, "test", "-k", "two words")
    installed, started = noted(environment)
    assert installed.endswith("-r requirements-dev.txt")
    assert started == "-m tests.on_databases -k two words"
    call(project, environment)
    assert noted(environment) == ["-m demo"], "what tests need holds what the site needs"


def test_an_old_python_is_reported_what_is_needed(project, machine):
    done = call(project, machine(recent=False))
    assert done.returncode == 1
    assert "Cohort Sync needs Python 3.11 or later" in done.stderr
    assert not (project / ".venv").exists()


def test_a_failed_installation_is_tried_again_the_next_time(project, machine):
    environment = machine()
    call(project, environment)
    (project / "requirements.txt").write_text("changed")
    python = project / ".venv" / "bin" / "python"
    works = python.read_text()
    python.write_text(works.replace("*) echo", "*pip*) exit 1 ;;\n    *) echo"))
    done = call(project, environment)
    assert done.returncode == 1
    assert "could not be installed" in done.stderr
    python.write_text(works)
    noted(environment)
    call(project, environment)
    assert len(noted(environment)) == 2
