"""What the image and the manifests say is true of the program: names, commands, folders, rights."""

import copy
import fnmatch
import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands

from cohortsite.metrics import SiteCollector
from tests.brokers import tasks_on

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
ITEMS = yaml.safe_load((ROOT / "deploy/kubernetes.yaml").read_text())["items"]
# Of gunicorn, of Python, and of the image's own: no settings of ours.
PASSWORDS = {"POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "CLICKHOUSE_PASSWORD"}
OTHERS = {"FORWARDED_ALLOW_IPS", "PATH", "PYTHONUNBUFFERED", *PASSWORDS}
# The oldest release that is not out of support by far, and so what the manifests may use.
KUBERNETES = "1.32"
pytestmark = pytest.mark.once


def known() -> set[str]:
    return {*re.findall(r"^#? ?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M), *OTHERS}


def ours() -> dict[str, dict]:
    return {name: it for name, it in COMPOSE["services"].items() if it["image"] == "cohort-sync"}


def pod_specs() -> dict[str, dict]:
    found = {}
    for item in ITEMS:
        spec = item.get("spec", {})
        spec = spec.get("jobTemplate", item).get("spec", {})
        if "template" in spec:
            found[item["metadata"]["name"]] = spec["template"]["spec"]
    return found


def commands() -> list[list[str]]:
    kubernetes = [box.get("command") for pod in pod_specs().values() for box in pod["containers"]]
    return [command for command in [*(it.get("command") for it in ours().values()), *kubernetes] if command]


def test_the_queues_of_celery_are_described():
    page = (ROOT / "docs/machines.md").read_text()
    assert set(re.findall(r"^\| `([a-z]+)` \|", page, re.M)) == set(tasks_on("memory://").app.amqp.queues)


def is_in_image(name: str) -> bool:
    """Whether .dockerignore lets a file in; the last line that fits decides, as Docker has it."""
    let_in = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parents = [name, *map(str, Path(name).parents)]
            nested = pattern.removeprefix("**/")
            fits = pattern == "**" or any(
                fnmatch.fnmatch(each, pattern) or (nested != pattern and Path(each).name == nested)
                for each in parents
            )
            let_in = line.startswith("!") if fits else let_in
    return let_in


def test_each_variable_is_one_that_the_program_knows():
    compose = (ROOT / "compose.yaml").read_text()
    names = {name for it in ours().values() for name in it["environment"]}
    names |= set(re.findall(r"\$\{([A-Z_]+)", compose))
    names |= {name for item in ITEMS if item["kind"] == "ConfigMap" for name in item["data"]}
    names |= set(re.findall(r"([A-Z_]+)=\S", (ROOT / "Dockerfile").read_text())) - {
        *re.findall(r"PIP_[A-Z_]+", (ROOT / "Dockerfile").read_text())
    }
    assert len(names) > 12
    assert names <= known()


def test_each_setting_of_the_file_reaches_each_service_of_ours():
    assert {service["env_file"] for service in ours().values()} == {".env"}
    # What the image and the other services decide must not be what somebody wrote for a machine without them.
    assert all(
        {"DATABASE_URL", "VAR_DIR", "BIND"} <= service["environment"].keys() for service in ours().values()
    )


def test_each_command_exists():
    there = get_commands()
    assert len(commands()) == 9
    for command in commands():
        if command[0] == "celery":
            assert command[:3] == ["celery", "-A", "cohortsite"] and command[3] in ("worker", "beat")
        else:
            assert command[:2] == ["python", "manage.py"]
            assert command[2] in there


def test_the_image_has_the_program_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = [name for name in listed.stdout.splitlines() if is_in_image(name)]
    for needed in ("manage.py", "gunicorn.conf.py", "requirements-machines.txt", "cohortsite/settings.py"):
        assert needed in kept
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}
    assert apps <= {name.split("/")[0] for name in kept}
    assert "templates/admin/index.html" in kept
    assert not [name for name in kept if "/tests/" in name or name.startswith((".", "benchmarks", "chaos"))]


@pytest.mark.parametrize("name", pod_specs())
def test_a_pod_has_no_rights_and_writes_to_its_volumes_alone(name):
    pod = pod_specs()[name]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp"}
        assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", ours())
def test_a_service_has_no_rights_and_writes_to_its_volumes_alone(name):
    service = ours()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert (service["tmpfs"], service["volumes"]) == (["/tmp"], ["data:/data"])


@pytest.mark.django_db
def test_rules_and_dashboard_ask_for_metrics_that_there_are():
    asked = (ROOT / "deploy/prometheus-alerts.yaml").read_text()
    dashboard = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())
    asked += " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    page = (ROOT / "docs/operations.md").read_text()
    table = page[page.index("| metric `cohort_sync_") :].partition("\n\n")[0]
    there = {f"cohort_sync_{name}" for name in re.findall(r"`([a-z0-9_]+)`", table)}
    names = set(re.findall(r"cohort_sync_[a-z0-9_]+", asked))
    assert len(names) > 15
    assert names <= there
    given = {family.name for family in SiteCollector().collect()}
    # A family without a value is left out, so what is given is part of what is written down.
    assert given <= there


def test_each_manifest_is_valid_for_kubernetes():
    for item in ITEMS:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)


def test_a_manifest_with_a_misspelt_field_is_not_valid():
    wrong = copy.deepcopy(next(item for item in ITEMS if item["kind"] == "Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_the_dockerfile_keeps_to_what_hadolint_asks_for():
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_nobody_is_served_by_a_pod_that_cannot_work_and_none_is_restarted_for_its_database():
    site = pod_specs()["cohort-sync-site"]["containers"][0]
    assert site["readinessProbe"]["httpGet"]["path"] == "/healthz"
    assert site["livenessProbe"]["httpGet"]["path"] == "/livez"
