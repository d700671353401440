"""`.env.example` and the settings name the same variables, and each has its sentence."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READ = re.compile(r'env\.\w+\(\s*"([A-Z_]+)"|environ\.get\(\s*"([A-Z_]+)"')


def read_by_the_program() -> set[str]:
    files = [ROOT / "cohortsite" / "settings.py", ROOT / "gunicorn.conf.py"]
    return {name for file in files for names in READ.findall(file.read_text()) for name in names if name}


def explained_in_the_example() -> dict[str, str]:
    """Return the variables, each with the line above it that is not one."""
    explained: dict[str, str] = {}
    comment = ""
    for line in (ROOT / ".env.example").read_text().splitlines():
        if found := re.match(r"(?:# )?([A-Z][A-Z_]+)=", line):
            explained[found[1]] = comment
        else:
            comment = line
    return explained


def test_every_variable_is_in_the_example_and_no_other():
    assert set(explained_in_the_example()) == read_by_the_program()


def test_every_variable_has_a_sentence():
    assert not [name for name, comment in explained_in_the_example().items() if not comment.startswith("# ")]
