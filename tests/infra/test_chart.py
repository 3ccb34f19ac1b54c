"""The Helm chart, rendered by Helm's own library, against Kubernetes' schemas and the house's rules for pods."""

import json
import re
from functools import cache

import jsonschema
import pytest
import yaml

from tests.infra.test_files import DEPLOYMENTS, INFRA, requirements

helm = pytest.importorskip("helm_python", reason="install helm-python-sdk, Helm's library, to render the chart")
kubernetes = pytest.importorskip("kubernetes_validate", reason="install kubernetes-validate for Kubernetes' schemas")

CHART = INFRA / "helm" / "autocast-flow"
VARIANTS = {
    "defaults": {},
    "everything": {
        "gpu": {"enabled": True},
        "logFormat": "json",
        "monitoring": {
            "serviceMonitor": True,
            "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        },
        "settings": {"AUTOCAST_TAG_NAMES": "a: b*", "AUTOCAST_RESULT_STORAGE": "s3://models/results/"},
    },
    "own servers": {
        "prefect": {"enabled": False, "url": "https://prefect.example/api"},
        "mlflow": {"enabled": False, "url": "https://mlflow.example"},
        "prepare": {"enabled": False},
    },
}
READ_ONLY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def render(values):
    with helm.Chart.load(str(CHART)) as chart:
        files = chart.render(values, name="release", namespace="team")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


@cache
def rendered(variant):
    return render(VARIANTS[variant])


def find(variant, kind, name):
    (found,) = [one for one in rendered(variant) if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pools(variant):
    return {name: json.loads(text) for name, text in find(variant, "ConfigMap", "autocast-pools")["data"].items()}


def job_of(template):
    """The job that a pool starts for a run with the template's defaults."""
    from prefect.utilities.templating import apply_values

    properties = template["variables"]["properties"]
    defaults = {name: value["default"] for name, value in properties.items() if "default" in value}
    given = {"labels": {"app": "job"}, "env": [{"name": "A", "value": "b"}], "name": "job", "command": ["prefect"]}
    return apply_values(template["job_configuration"]["job_manifest"], defaults | given)


def pods(variant):
    """Every pod of the chart, and those that its pools start, by name."""
    found = {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in rendered(variant) if has_pod(one)}
    if any(one["metadata"]["name"] == "autocast-pools" for one in rendered(variant)):
        found |= {name: job_of(template)["spec"]["template"]["spec"] for name, template in pools(variant).items()}
    return found


def has_pod(document):
    return document["kind"] in ("Deployment", "Job")


def test_helm_finds_nothing_wrong():
    found = helm.lint(str(CHART))
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_rendered_is_what_kubernetes_accepts(variant):
    for document in rendered(variant):
        assert document["metadata"]["namespace"] == "team"
        # Of the Prometheus operator, not of Kubernetes.
        if document["kind"] != "ServiceMonitor":
            kubernetes.validate(document, "1.31", strict=True)


@pytest.mark.parametrize("variant", ["defaults", "everything"])
def test_what_a_pool_starts_is_what_kubernetes_accepts(variant):
    for name, template in pools(variant).items():
        jsonschema.Draft202012Validator.check_schema(template["variables"])
        for variable in template["variables"]["properties"]:
            assert f"{{{{ {variable} }}}}" in json.dumps(template["job_configuration"]), variable
        job = job_of(template)
        kubernetes.validate(job, "1.31", strict=True)
        limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert limits.get("nvidia.com/gpu") == (1 if name == "gpu.json" else None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pod_runs_as_nobody_in_particular_on_a_file_system_that_it_cannot_write(variant):
    for name, pod in pods(variant).items():
        secure = pod["securityContext"]
        assert (secure["runAsNonRoot"], secure["runAsUser"]) == (True, 10001), name
        assert secure["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == READ_ONLY, name
            mounted = {each["mountPath"] for each in container["volumeMounts"]}
            assert {"/tmp", "/var/lib/autocast"} <= mounted, name
            assert {each["name"] for each in container["volumeMounts"]} <= {each["name"] for each in pod["volumes"]}
            assert container["resources"]["limits"]["memory"], name


def test_only_workers_may_ask_kubernetes_for_anything():
    for name, pod in pods("everything").items():
        assert (pod.get("serviceAccountName") == "worker") == name.startswith("worker")
        assert name.startswith("worker") or pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("variant", VARIANTS)
def test_nothing_that_is_rendered_holds_a_secret(variant):
    secret = re.compile("SECRET|PASSWORD|AUTH_STRING|ACCESS_KEY|ENCRYPTION|DATABASE|STORE_URI")
    for document in rendered(variant):
        assert document["kind"] != "Secret"
        assert not [name for name in document.get("data", {}) if secret.search(name)]
    for pod in pods(variant).values():
        for variable in pod["containers"][0].get("env", ()):
            if secret.search(variable["name"]):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "autocast-secrets", variable["name"]


@pytest.mark.parametrize("variant", ["defaults", "everything"])
def test_conversions_get_no_secret_of_a_database_or_of_the_webhook(variant):
    for template in pools(variant).values():
        (container,) = job_of(template)["spec"]["template"]["spec"]["containers"]
        keys = {each["valueFrom"]["secretKeyRef"]["key"] for each in container["env"]}
        assert {"AWS_SECRET_ACCESS_KEY", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_TOKEN"} <= keys
        assert not [key for key in keys if re.search("DATABASE|WEBHOOK", key)]
        assert container["envFrom"] == [{"configMapRef": {"name": "autocast"}}]


def test_every_key_that_is_taken_from_the_secret_is_named_where_it_is_to_be_made():
    text = (CHART / "values.yaml").read_text(encoding="utf-8").partition("\nsecretName")[0]
    for pod in pods("everything").values():
        for variable in pod["containers"][0].get("env", ()):
            if "valueFrom" in variable:
                key = variable["valueFrom"]["secretKeyRef"]["key"]
                assert key in text or key == "AUTOCAST_WEBHOOK_SECRET_PREVIOUS", key


def test_the_one_setting_of_log_lines_reaches_every_program():
    assert find("everything", "ConfigMap", "autocast")["data"]["AUTOCAST_LOG_FORMAT"] == "json"
    for name, pod in pods("everything").items():
        container = pod["containers"][0]
        variables = {each["name"]: each.get("value") for each in container["env"]}
        shared = {"configMapRef": {"name": "autocast"}} in container.get("envFrom", ())
        assert shared or variables["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] == "json", name


def test_the_hook_deploys_what_its_pools_can_run():
    (script,) = find("defaults", "Job", "prepare")["spec"]["template"]["spec"]["containers"][0]["command"][2:]
    named = set(re.findall(r"--name (\S+)", script))
    assert named == {one["name"] for one in DEPLOYMENTS if one["work_pool"]["name"] == "autocast-cpu"}
    assert "autocast-gpu" not in script
    (script,) = find("everything", "Job", "prepare")["spec"]["template"]["spec"]["containers"][0]["command"][2:]
    assert "deploy --all" in script and "work-pool create autocast-gpu" in script


def test_servers_of_ones_own_take_the_place_of_the_charts():
    names = {one["metadata"]["name"] for one in rendered("own servers")}
    assert not names & {"prefect", "mlflow", "prepare"}
    data = find("own servers", "ConfigMap", "autocast")["data"]
    assert data["PREFECT_API_URL"] == "https://prefect.example/api"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"logFormat": "xml"}, "/logFormat"),
        ({"secretname": "mine"}, "secretname"),
        ({"gpu": {"enabled": "yes"}}, "/gpu/enabled"),
        ({"settings": {"AUTOCAST_BRIDGE_PER_SECOND": 5}}, "/settings/AUTOCAST_BRIDGE_PER_SECOND"),
        ({"mlflow": {"url": "mlflow:5050"}}, "/mlflow/url"),
    ],
    ids=["another format", "a misspelt name", "text for a switch", "a number", "an address without http"],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(values, said):
    with pytest.raises(helm.HelmValuesError, match=said):
        render(values)


def test_versions_agree_with_what_the_images_install():
    prefect = next(line for line in requirements("requirements.txt") if line.startswith("prefect=="))
    version = prefect.partition(" ")[0].partition("==")[2]
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8")
    python = re.search(r"^FROM python:(3\.\d+)", dockerfile, re.MULTILINE)[1]
    worker = find("defaults", "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert worker == f"prefecthq/prefect:{version}-python{python}-kubernetes"
    assert yaml.safe_load((INFRA / "prefect.yaml").read_text(encoding="utf-8"))["prefect-version"] == version


def test_the_chart_and_the_deployments_have_the_projects_version():
    from autocast_core.version import VERSION

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    assert {one["version"] for one in DEPLOYMENTS} == {VERSION}


def test_one_setting_has_results_go_to_s3():
    from tasks.settings import RESULT_BLOCK, RESULT_BLOCK_VARIABLE

    settings, (prepare,) = (
        find("everything", "ConfigMap", "autocast")["data"],
        pods("everything")["prepare"]["containers"],
    )
    assert settings[RESULT_BLOCK_VARIABLE] == RESULT_BLOCK
    assert "autocast results\n" in prepare["command"][-1]
    assert RESULT_BLOCK_VARIABLE not in find("defaults", "ConfigMap", "autocast")["data"]
