"""docs/partner.md: its commands work as printed, and it names every error there is."""

import json
import re
import subprocess

from receiving.tests.conftest import ROOT, Site

TEXT = (ROOT / "docs" / "partner.md").read_text()


def commands() -> list[tuple[str, str]]:
    """The page's commands, each with the reply that is printed after it, or nothing."""
    found: list[tuple[str, str]] = []
    for line in "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).splitlines():
        if line.startswith("curl"):
            found.append((line, ""))
        elif line.startswith("# "):
            found[-1] = (found[-1][0], line[2:])
        else:
            found[-1] = (f"{found[-1][0]}\n{line}", "")
    return found


def test_the_commands_answer_as_the_page_says(gunicorn_site: Site):
    """The list's id is the one thing that differs: the page's is 1."""
    partner = gunicorn_site.partner()
    number = ""
    for command, printed in commands():
        done = subprocess.run(
            ["bash", "-c", f"{command.replace('/lists/1', f'/lists/{number}')}"],
            env={"KEY": partner.key, "SITE": partner.url, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0 and '"error"' not in done.stdout, (command, done.stdout, done.stderr)
        number = number or str(json.loads(done.stdout)["listId"])
        if printed:
            expected = re.sub(r'("list_?[iI]d":)1', rf"\g<1>{number}", printed)
            assert json.loads(done.stdout) == json.loads(expected), command
    assert len(commands()) > 15
    assert partner.get(f"/lists/{number}").status_code == 404


def test_every_code_that_the_receiver_answers_with_is_explained():
    sources = [*(ROOT / "receiving").glob("*.py"), ROOT / "gunicorn.conf.py"]
    codes = {
        code
        for source in sources
        for code in re.findall(r"""(?:\bcode = |\bcode=|"code": )"([a-z_]+)\"""", source.read_text())
    }
    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in TEXT} <= {"internal_error"}
