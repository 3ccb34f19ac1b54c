"""Every file under infra/ against what will read it."""

import ast
import json
import re
import tomllib
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import yaml

from flows.bridge.prefect_runs import FLOWS

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
DOCKER_POOLS = sorted((INFRA / "docker").glob("work-pool-*.json"))
REQUIREMENTS = ("requirements.txt", "requirements-gpu.txt", "requirements-ci.txt")
DEPLOYMENTS = yaml.safe_load((INFRA / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def documents(path):
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def test_every_file_has_a_test_here():
    known = {"prefect.yaml", "automations.yaml", "compose.yaml", ".env.example", "mkdocs.yml", "contrib_signatures.py"}
    known |= {f"docker/{name}" for name in ("Dockerfile", "Dockerfile.gpu", "inventory", *REQUIREMENTS)}
    known |= {f"local/{name}" for name in ("up", "down", "packages")}
    known |= {f"monitoring/{name}" for name in ("alerts.yaml", "alerts_test.yaml", "dashboard.json", "prometheus.yaml")}
    known |= {str(path.relative_to(INFRA)) for path in DOCKER_POOLS}
    # tests/infra/test_chart.py renders it.
    known |= {str(path.relative_to(INFRA)) for path in (INFRA / "helm").rglob("*") if path.is_file()}
    found = {
        str(path.relative_to(INFRA))
        for path in INFRA.rglob("*")
        if path.is_file()
        and path.suffix not in (".pyc", ".md")
        and path.relative_to(INFRA).parts[0] not in ("docs", "dist", ".cache")
    }
    assert found == known


def test_the_compose_file_is_what_compose_accepts():
    schemas = pytest.importorskip(
        "check_jsonschema.builtin_schemas", reason="install check-jsonschema for the compose specification's schema"
    )
    compose = documents(INFRA / "compose.yaml")[0]
    jsonschema.validate(compose, schemas.get_builtin_schema("vendor.compose-spec"))
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name


def test_every_variable_of_the_compose_file_is_explained():
    text = (INFRA / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) - {"S3_IMAGE"}
    example = (INFRA / ".env.example").read_text(encoding="utf-8").splitlines()
    named = {line.partition("=")[0] for line in example if re.match(r"[A-Z0-9_]+=", line)}
    assert used == named
    explained = [index for index, line in enumerate(example) if line.startswith("#")]
    assert explained


@pytest.mark.parametrize("path", DOCKER_POOLS, ids=lambda path: path.name)
def test_a_work_pools_template_is_what_prefect_accepts(path):
    from prefect.client.schemas.actions import WorkPoolCreate

    template = json.loads(path.read_text(encoding="utf-8"))
    WorkPoolCreate(name="pool", type="docker", base_job_template=template)
    jsonschema.Draft202012Validator.check_schema(template["variables"])
    for name, value in template["variables"]["properties"].items():
        if "default" in value:
            jsonschema.validate(value["default"], value)
        assert f"{{{{ {name} }}}}" in json.dumps(template["job_configuration"]), name


def test_a_container_of_ours_has_no_capabilities_and_writes_only_to_its_folders():
    services = documents(INFRA / "compose.yaml")[0]["services"]
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        if name not in ("postgres", "s3"):
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
            assert "/tmp" in service["tmpfs"], name
    for path in DOCKER_POOLS:
        options = json.loads(path.read_text(encoding="utf-8"))["variables"]["properties"]["container_create_kwargs"]
        assert (options["default"]["read_only"], options["default"]["cap_drop"]) == (True, ["ALL"])
        assert options["default"]["tmpfs"] == {"/tmp": ""}


def test_one_setting_gives_all_programs_of_the_compose_file_their_log_lines():
    services = documents(INFRA / "compose.yaml")[0]["services"]
    chosen = "${AUTOCAST_LOG_FORMAT:-standard}"
    for name in ("prefect", "bridge", "worker", "prepare"):
        variables = services[name]["environment"]
        assert variables["AUTOCAST_LOG_FORMAT"] == chosen, name
        assert variables["PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER"] == chosen, name
    dockerfile = (INFRA / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert "PREFECT_LOGGING_FORMATTERS_JSON_CLASS=tasks.json_log.JsonLines" in dockerfile


@pytest.mark.parametrize("path", DOCKER_POOLS, ids=lambda path: path.name)
def test_a_docker_pools_containers_get_what_compose_makes(path):
    variables = json.loads(path.read_text(encoding="utf-8"))["variables"]["properties"]
    compose = documents(INFRA / "compose.yaml")[0]
    assert variables["networks"]["default"] == [f"{compose['name']}_default"]
    assert [each.partition(":")[0] for each in variables["volumes"]["default"]] == [f"{compose['name']}_work"]
    assert variables["privileged"]["default"] is False
    assert ("device_requests" in variables["container_create_kwargs"]["default"]) is ("gpu" in path.name)


def test_the_deployments_are_what_prefect_accepts():
    from prefect.cli.deploy._models import PrefectYamlModel

    PrefectYamlModel.model_validate(yaml.safe_load((INFRA / "prefect.yaml").read_text(encoding="utf-8")))
    assert {one["name"] for one in DEPLOYMENTS} == set(FLOWS)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_a_deployments_flow_exists_and_takes_its_parameters(deployment):
    from prefect.utilities.callables import parameter_schema
    from prefect.utilities.schema_tools import validate

    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)
    assert flow.name == deployment["name"]
    schema = parameter_schema(flow).model_dump_for_openapi()
    validate(deployment["parameters"], schema, raise_on_error=True, ignore_required=True)
    for schedule in deployment["schedules"]:
        validate(deployment["parameters"] | schedule.get("parameters", {}), schema, raise_on_error=True)
    for trigger in deployment.get("triggers", ()):
        assert set(trigger["parameters"]) <= set(schema["properties"])


def test_the_trigger_takes_what_the_bridge_sends():
    import uuid

    from flows.bridge.delivery import Delivery, read
    from flows.bridge.events import event_of
    from flows.request.registry_tags import ConversionRequest

    (trigger,) = next(one for one in DEPLOYMENTS if one["name"] == "convert-model")["triggers"]
    message = {"entity": "model_version", "action": "created", "timestamp": "2027-01-15T08:00:00Z"}
    body = json.dumps({**message, "data": {"name": "m", "version": "1"}}).encode()
    event = event_of(Delivery(uuid.uuid4(), read(body)), ConversionRequest("models:/m/1", {"precision": "fp16"}))
    assert event["event"] in trigger["expect"]
    for label, wanted in trigger["match"].items():
        assert event["resource"][label].startswith(wanted.rstrip("*"))
    assert set(trigger["for_each"]) <= event["resource"].keys()
    for name, template in trigger["parameters"].items():
        assert template == f"{{{{ event.payload.autocast.{name} }}}}"
        assert name in event["payload"]["autocast"]


def test_the_automations_are_what_prefect_accepts():
    from prefect.automations import AutomationCore

    for automation in documents(INFRA / "automations.yaml")[0]["automations"]:
        AutomationCore.model_validate(automation)


def test_a_run_that_ended_in_any_of_our_states_is_not_taken_for_a_silent_one():
    from flows.conversion.ending_states import ENDING_STATES

    for automation in documents(INFRA / "automations.yaml")[0]["automations"]:
        for state in ("Completed", "Failed", "Cancelled", "Crashed", *ENDING_STATES):
            assert f"prefect.flow-run.{state}" in automation["trigger"]["expect"], (automation["name"], state)


def test_a_run_of_any_flow_that_never_starts_gives_its_slot_back():
    (trigger,) = [
        one["trigger"]
        for one in documents(INFRA / "automations.yaml")[0]["automations"]
        if one["name"] == "autocast-crash-unstarted-runs"
    ]
    assert set(trigger["match_related"]["prefect.resource.name"]) == {one["name"] for one in DEPLOYMENTS}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_requirements_are_pinned_with_their_hashes_and_need_no_address(name):
    for line in requirements(name):
        assert re.match(r"^[a-z0-9._\[\]-]+==[^ ]+( ; .*?)?( --hash=sha256:[0-9a-f]{64})+$", line), line


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_an_image_installs_nothing_without_its_hash(name):
    text = (INFRA / "docker" / name).read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*)", text)
    assert installs
    for options in installs:
        # The project itself is in the image; what builds it is among the requirements.
        assert "--require-hashes -r" in options or options.endswith("--no-deps --no-build-isolation /src"), options


def test_the_images_install_what_builds_the_project():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert wanted["build-system"]["requires"] == wanted["dependency-groups"]["build"]
    assert any(line.startswith("hatchling==") for line in requirements("requirements.txt"))


def test_the_gpu_image_adds_to_what_the_image_has_and_changes_none():
    base, above = (
        {line.partition("==")[0] for line in requirements(name)}
        for name in ("requirements.txt", "requirements-gpu.txt")
    )
    assert {"onnxruntime-gpu", "tensorrt"} <= above and not above & base


def requirements(name):
    """The requirements of a file, one a line, with their hashes."""
    text = (INFRA / "docker" / name).read_text(encoding="utf-8").replace(" \\\n   ", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_images_copy_what_exists():
    for name in ("Dockerfile", "Dockerfile.gpu"):
        for line in (INFRA / "docker" / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("COPY "):
                *sources, _ = line.split()[1:]
                assert all((ROOT / source).exists() for source in sources), line


@pytest.mark.parametrize("name", ["up", "down"])
def test_the_local_scripts_are_python_and_can_be_run(name):
    script = INFRA / "local" / name
    ast.parse(script.read_text(encoding="utf-8"))
    assert script.stat().st_mode & 0o111


def test_requests_go_before_fleets():
    """A queue gets the next priority of its pool when it is deployed first."""
    queues = [one["work_pool"].get("work_queue_name") for one in DEPLOYMENTS if one["name"] != "validate-on-tensorrt"]
    assert queues == [*["requests"] * 4, "fleets", "fleets"]


@pytest.fixture(scope="module")
def form():
    """What Prefect's form of a conversion shows: the schema of the deployment's parameters."""
    from prefect.utilities.callables import parameter_schema

    from flows.convert_model import convert_model

    return parameter_schema(convert_model.fn).model_dump()


def test_the_form_of_a_conversion_has_its_options_by_groups_and_described(form):
    from flows.request.form_groups import GROUPS

    assert list(form["properties"]) == ["model", "spec", "dry_run", "runner"]
    assert all(one["description"] for one in form["properties"].values())
    options = form["definitions"]["Spec"]["properties"]
    in_order = sorted(options, key=lambda name: options[name]["position"])
    assert in_order == [name for members in GROUPS.values() for name in members]
    assert in_order[:5] == ["precision", "calibration", "evaluation", "output", "name"]
    assert [options[name]["title"] for name in ("keep_default_gates", "target")] == [
        "Gates: keep default gates",
        "Engine: target",
    ]
    assert all(option.get("description") for option in options.values())


def test_what_is_chosen_of_few_is_a_drop_down(form):
    options = form["definitions"]["Spec"]["properties"]
    chosen = {
        name
        for name, option in options.items()
        if any("enum" in form_of_it or "const" in form_of_it for form_of_it in (option, *option.get("anyOf", ())))
    }
    assert chosen == {"precision", "validation", "decide", "accumulate", "target", "isolation", "device"}
