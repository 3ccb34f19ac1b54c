"""Hostile files through every command that takes them: one line, exit code 2, in time; nothing written.

Every fourth file goes through one command here, with --nightly all go through all of them; test_hostile_models.py and
test_hostile_data.py have the readers alone.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import onnx.parser
import pytest

from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.security import hostile_data, hostile_models, hostile_texts

pytestmark = [pytest.mark.security, pytest.mark.xdist_group("commands"), pytest.mark.timeout(900)]
SECONDS = 30.0
MEMORY = 3 << 29
EVIL = "evil\x1b[31m\nERROR planted\n"
MODELS = {
    **{f"external data at {name!r}": write for name, write in hostile_models.EXTERNAL.items()},
    **{write.__name__: write for write in (*hostile_models.OTHERS, *hostile_models.RUNAWAYS)},
}
RUNAWAYS = {write.__name__ for write in hostile_models.RUNAWAYS}
MODEL_COMMANDS = ("run", "tune", "validate", "plan apply", "fleet", "core")
DATA_COMMANDS = ("run", "tune", "validate", "core")
PLAN_COMMANDS = ("plan show", "plan diff", "plan apply", "core")
SPEC_COMMANDS = ("run", "fleet", "validate", "tune")
PLAIN = '<ir_version: 9, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'


@pytest.fixture
def ended(autocast, workplace, monkeypatch):  # noqa: F811
    """`ended(command, model, data, spec, plan)`: the code and the line with which the command ends on these files."""
    import mlflow  # noqa: F401

    import flows.convert_model
    import flows.tune_precision  # noqa: F401 - no growth of the process that a file is to blame for

    monkeypatch.setenv("AUTOCAST_ISOLATION", "process")
    monkeypatch.setenv("AUTOCAST_ISOLATION_MEMORY_BYTES", str(MEMORY))
    monkeypatch.setenv("AUTOCAST_ISOLATION_SECONDS", "8")
    monkeypatch.setenv("AUTOCAST_ISOLATION_FILE_BYTES", str(1 << 28))

    def end(command, model=None, data=None, spec=None, plan=None):
        model = model or plain(workplace)
        before = {path for path in workplace.rglob("*") if ".autocast" not in path.parts}
        arguments = globals()[f"_{command.replace(' ', '_')}"](model, data, spec, plan)
        started, most = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code, line = _core_ended(arguments) if command == "core" else _autocast_ended(autocast(*arguments, "--json"))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most
        assert time.monotonic() - started < SECONDS
        assert grown < 200 << 10, f"{grown} KiB in the process that asked"
        left = {path for path in workplace.rglob("*") if ".autocast" not in path.parts} - before
        assert not [path for path in left if path.suffix in (".onnx", ".data") or path.stem == "plan"], left
        return code, line

    return end


def plain(folder):
    path = folder / "plain.onnx"
    path.write_bytes(onnx.parser.parse_model(PLAIN).SerializeToString())
    return path


def _autocast_ended(ended):
    assert "Traceback" not in ended.err
    assert len(ended.errors) == 1, ended.err
    answer = ended.json
    said = answer["error"]
    if answer.get("models"):
        (model,) = answer["models"]
        said = model["error"]
    return ended.code, said


def _core_ended(arguments):
    def limited():
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, "-m", "autocast_core", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        preexec_fn=limited,
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert len(errors) == 1, done.stderr[-3000:]
    return done.returncode, errors[0]


def _run(model, data, spec, plan):
    return ["run", model, "--output", "out", *_given("--calibration", data), *_given("--spec", spec)]


def _tune(model, data, spec, plan):
    Path("random.yaml").write_text("allow_random: true\n")
    spec = spec or (None if data else "random.yaml")
    budget = ["--budget", "sqnr_db>=20", "--output", "out"]
    return ["tune", model, *budget, *_given("--evaluation", data), *_given("--spec", spec)]


def _validate(model, data, spec, plan):
    return ["validate", model, "--reference", model, *_given("--evaluation", data), *_given("--spec", spec)]


def _plan_apply(model, data, spec, plan):
    if plan is None:
        from tests.security.readers import a_plan

        plan = Path("given.json")
        plan.write_text(a_plan())
    return ["plan", "apply", plan, model, "out.onnx"]


def _plan_show(model, data, spec, plan):
    return ["plan", "show", plan]


def _plan_diff(model, data, spec, plan):
    return ["plan", "diff", plan, plan]


def _fleet(model, data, spec, plan):
    if spec is None:
        spec = Path("fleet.yaml")
        spec.write_text(json.dumps({"models": [{"model": str(model)}], "output": "out"}))
    return ["fleet", spec]


def _core(model, data, spec, plan):
    return ["--onnx_path", model, "--output_path", "out.onnx", *_given("-d", data), *_given("--plan", plan)]


def _given(option, value):
    return [] if value is None else [option, value]


def some(commands, name, names, nightly):
    """All commands at night; else one for every fourth file, in turn, and none for the others."""
    turn, other = divmod(list(names).index(name), 4)
    if other and not nightly:
        pytest.skip("every fourth hostile file is tried: all with --nightly")
    return commands if nightly else (commands[turn % len(commands)],)


@pytest.mark.parametrize("name", MODELS)
def test_a_hostile_model(ended, workplace, name, trial, nightly):
    if name in RUNAWAYS and not nightly:
        pytest.skip("ended by the limit of seconds or memory: with --nightly")
    model = MODELS[name](workplace)
    for command in some(MODEL_COMMANDS, name, MODELS, nightly):
        if command == "core" and name in RUNAWAYS:
            continue  # a person's own command, which has no limits
        code, line = ended(command, model)
        assert code == 2, (command, line)
        assert "\n" not in line and len(line) < 1000
        trial(f"{command}: hostile models", 1, line.replace(str(workplace), ""))


@pytest.mark.parametrize("name", hostile_data.FILES)
def test_hostile_data(ended, workplace, name, trial, nightly):
    data = hostile_data.FILES[name](workplace)
    for command in some(DATA_COMMANDS, name, hostile_data.FILES, nightly):
        code, line = ended(command, data=data)
        assert code == 2, (command, line)
        assert "\n" not in line and len(line) < 1000
        trial(f"{command}: hostile data", 1, line.replace(str(workplace), ""))
    assert not (workplace / "opened").exists()


@pytest.mark.parametrize("name", hostile_texts.PLANS)
def test_a_hostile_plan(ended, workplace, name, trial, nightly):
    plan = workplace / "hostile.json"
    plan.write_bytes(hostile_texts.PLANS[name]())
    for command in some(PLAN_COMMANDS, name, hostile_texts.PLANS, nightly):
        code, line = ended(command, plan=plan)
        assert code == 2, (command, line)
        assert "\n" not in line and len(line) < 1000
        trial(f"{command}: hostile plans", 1, line.replace(str(workplace), ""))


@pytest.mark.parametrize("name", hostile_texts.SPECS)
def test_a_hostile_spec_or_fleet_file(ended, workplace, name, trial, nightly):
    spec = workplace / "hostile.yaml"
    spec.write_bytes(hostile_texts.SPECS[name](workplace))
    for command in some(SPEC_COMMANDS, name, hostile_texts.SPECS, nightly):
        code, line = ended(command, spec=spec)
        assert code == 2, (command, line)
        assert "\n" not in line and len(line) < 1000
        trial(f"{command}: hostile spec or fleet file", 1, line.replace(str(workplace), ""))
    assert not (workplace / "opened").exists()


@pytest.fixture
def with_evil_names(workplace):
    """A model and its plan whose names hold terminal commands and line ends."""
    from autocast_core import convert_file

    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) <float w = {1e9}>'
        " { a = Mul(x, w) y = Relu(a) }"
    )
    for number, node in enumerate(model.graph.node):
        node.name = f"{EVIL}{number}"
    model.graph.node[1].output[0] = model.graph.output[0].name = f"y{EVIL}"
    path = workplace / "evil.onnx"
    path.write_bytes(model.SerializeToString())
    plan = workplace / "evil.json"
    plan.write_text(convert_file(path, workplace / "converted.onnx").plan.to_json())
    return path, plan


def test_names_cannot_command_the_terminal(autocast, with_evil_names, workplace, trial):  # noqa: F811
    model, plan = with_evil_names
    commands = [
        ("plan", "show", plan, "--nodes", ".*"),
        ("plan", "apply", plan, model, "again.onnx"),
        ("validate", model, "--reference", model),
        ("run", model, "--dry-run"),
    ]
    commands += [("tune", model, "--spec", "random.yaml", "--budget", "sqnr_db>=20")]
    Path("random.yaml").write_text("allow_random: true\nvalidation: off\n")
    for command in commands:
        done = autocast(*command)
        assert done.code == 0, done.err
        assert "\x1b[31m" not in done.out + done.err and "\nERROR planted" not in done.out + done.err, command
    core = [sys.executable, "-m", "autocast_core", "--onnx_path", str(model), "--log_level", "DEBUG"]
    done = subprocess.run(core, capture_output=True, text=True)
    assert done.returncode == 0 and "\\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr and "\nERROR planted" not in done.stdout + done.stderr
    trial("names that command the terminal", len(commands) + 1, "written as escapes")
