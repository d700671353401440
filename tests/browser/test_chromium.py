"""A machine without a browser: tests are skipped and say why, but in CI they fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("ci", "code", "word"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_without_chromium(ci, code, word, tmp_path):
    path = "tests/browser/test_pages.py::test_the_site_is_as_bad_as_it_says"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rsE", path],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "CI": ci, "DATABASE_URL": "sqlite:///:memory:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert word in done.stdout
    assert "There is no chromium on this machine" in done.stdout
