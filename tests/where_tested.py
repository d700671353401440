"""Which tests are about a module: the map from code to tests, read from the imports.

    python -m tests.where_tested cohorts/conditions.py

Many tests are named for behaviour and not for a module. Those that import a module are about it, a command's
name it, and of what only other modules use, the tests of these are: the nearest are printed, with the way.
"""

import ast
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
APPS = ("pagekit", "events", "people", "cohorts", "destinations", "syncs", "receiving", "cohortsite", "demo")
# What Django finds by its name, and what only lists others: nobody imports it, whatever uses the app runs it.
BY_NAME = ("apps", "urls", "wsgi", "account_urls", "models", "admin", "settings", "__main__")
# Django calls these when it starts, and their tests ask Django.
NAMED = {
    "events.checks": "events/tests/test_admin.py",
    "cohorts.checks": "cohorts/tests/test_query.py",
    "cohortsite.checks": "cohortsite/tests/test_broker.py",
    # Imported only where a broker or a store is set.
    "cohortsite.s3": "tests/test_object_store.py",
    "cohortsite.celery": "cohortsite/tests/test_tasks.py",
    "cohortsite.tasks": "cohortsite/tests/test_tasks.py",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """Return what must be tested, by its dotted name: packages that hold only words are left out."""
    paths = [path for app in APPS for path in (ROOT / app).rglob("*.py")]
    kept = [path for path in paths if not {"tests", "migrations"} & set(path.parts)]
    return {name_of(path): path for path in kept if len(ast.parse(path.read_text()).body) > 1}


@cache
def tests() -> list[Path]:
    found = (path for path in ROOT.rglob("test_*.py") if ".venv" not in path.parts)
    return sorted(path for path in found if path.name != "test_where_tested.py")


@cache
def named_by(path: Path) -> frozenset[str]:
    """Return what a file imports, and what it names in a text: settings name middleware, tests commands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 100:
            found |= {node.value, node.value.rpartition(".")[0]}
    return frozenset(found)


def names_of(module: str) -> set[str]:
    """Return by what names others may call a module: a command by its own, a tag by its file's."""
    last = module.rpartition(".")[2]
    return {module} | ({last} if ".commands." in module or ".templatetags." in module else set())


@cache
def users() -> dict[str, list[str]]:
    """Return the modules that use each module."""
    found = defaultdict(list)
    for other, path in modules().items():
        for module in modules():
            if module != other and names_of(module) & named_by(path):
                found[module].append(other)
    return found


def of(module: str) -> tuple[list[Path], list[str]]:
    """Return the test files about a module, and the way to them: the module, then who uses it."""
    ways, seen = [[module]], {module}
    while ways:
        found = [(way, near) for way in ways if (near := _near(way[-1]))]
        if found:
            way, near = min(found, key=lambda each: -len(each[1]))
            return near, way
        ways = [[*way, user] for way in ways for user in users()[way[-1]] if user not in seen]
        seen |= {way[-1] for way in ways}
    return [], [module]


def _near(module: str) -> list[Path]:
    if module in NAMED:
        return [ROOT / NAMED[module]]
    last = module.rpartition(".")[2]
    return [
        path
        for path in tests()
        if names_of(module) & named_by(path)
        or (
            path.stem == f"test_{last.removesuffix('_api')}"
            and path.relative_to(ROOT).parts[0] == module.split(".")[0]
        )
    ]


def main() -> int:
    module = name_of((ROOT / sys.argv[1]).resolve()) if sys.argv[1].endswith(".py") else sys.argv[1]
    if module not in modules():
        print(f"There is no module {module} with code of its own.")
        return 2
    found, way = of(module)
    if len(way) > 1:
        print(f"by way of {' → '.join(way[1:])}")
    print(*(path.relative_to(ROOT) for path in found), sep="\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
