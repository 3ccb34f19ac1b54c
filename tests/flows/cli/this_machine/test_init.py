"""`autocast init`: files that their readers take, and the settings of the team's servers."""

import pytest
import typer
import yaml

from flows.local.user_settings import read_settings
from flows.local_stack.default_folder import default_folder
from flows.local_stack.stack_settings import StackStorage, settings_of
from flows.request.fleet_file import read_fleet
from flows.request.spec import load_spec
from tests.flows.conversions import mlp


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty current folder, and a home of its own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("AUTOCAST_SETTINGS", str(tmp_path / "settings.toml"))
    (tmp_path / "team").mkdir()
    monkeypatch.chdir(tmp_path / "team")
    return tmp_path / "team"


def deployments(place):
    from prefect.cli.deploy._models import PrefectYamlModel

    values = yaml.safe_load((place / "prefect.yaml").read_text(encoding="utf-8"))
    PrefectYamlModel.model_validate(values)
    return {one["name"]: one["work_pool"]["name"] for one in values["deployments"]}


def test_the_files_hold_what_was_answered(autocast, place):
    mlp(place / "model.onnx")
    options = ("--model", "model.onnx", "--model", "b.onnx", "--calibration", "d.npz", "--precision", "bf16")
    ended = autocast("init", *options, "--gate", "sqnr_db>=30", "--cpu-pool", "convert", "--output", "s3://m/out/")
    assert (ended.code, ended.err) == (0, "")
    spec = load_spec("spec.yaml", {})
    assert (spec.precision, spec.calibration, spec.gates) == ("bf16", "d.npz", ("sqnr_db>=30",))
    assert "#   x float [N, 8]" in (place / "spec.yaml").read_text().splitlines()
    assert [(one.model, one.spec.output) for one in read_fleet("fleet.yaml")] == [
        ("model.onnx", "s3://m/out/model-bf16/"),
        ("b.onnx", "s3://m/out/b-bf16/"),
    ]
    assert "next: autocast doctor, then autocast run model.onnx --spec spec.yaml" in ended.out


def test_without_answers_the_files_are_those_of_a_newcomer(autocast, place):
    assert autocast("init", "--json").json == {
        "ok": True,
        "error": None,
        "files": ["spec.yaml", "fleet.yaml", "prefect.yaml"],
        "settings": None,
    }
    assert load_spec("spec.yaml", {}) == load_spec(None, {})
    assert [one.model for one in read_fleet("fleet.yaml")] == ["model.onnx"]


def test_without_a_gpu_pool_nothing_is_deployed_to_one(autocast, place):
    autocast("init", "--yes", "--cpu-pool", "convert")
    pools = deployments(place)
    assert set(pools.values()) == {"convert"}
    assert "convert-model" in pools and "validate-on-tensorrt" not in pools


def test_with_a_gpu_pool_validation_goes_to_it(autocast, place):
    autocast("init", "--yes", "--gpu-pool", "l4s")
    pools = deployments(place)
    assert pools["validate-on-tensorrt"] == "l4s"
    assert pools["convert-model"] == "autocast-cpu"


def test_what_exists_stays_and_nothing_is_written_beside_it(autocast, place):
    (place / "fleet.yaml").write_text("mine")
    ended = autocast("init", "--yes")
    assert ended.code == 2
    assert ended.errors == ["error: fleet.yaml exists: --force replaces them, another FOLDER leaves them"]
    assert [path.name for path in place.iterdir()] == ["fleet.yaml"]
    assert autocast("init", "--yes", "--force").code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--precision", "fp8"), "precision: "),
        (("--gate", "x<<3"), "gate 'x<<3' is not a comparison"),
        (("--tracking-uri", "mlflow.example"), "MLFLOW_TRACKING_URI: 'mlflow.example' is not an address"),
        (("--prefect-api", "sqlite:///x"), "PREFECT_API_URL: 'sqlite:///x' is not an address"),
        (("--cpu-pool", "a b"), "pool 'a b': give letters"),
        (("--local",), "run autocast up first"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_before_anything_is_written(autocast, place, options, said):
    ended = autocast("init", "--yes", *options)
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert said in ended.errors[0]
    assert list(place.iterdir()) == []
    assert not (place.parent / "settings.toml").exists()


def test_addresses_go_to_the_settings_file_and_no_secret_is_asked_on_the_command_line(autocast, place):
    ended = autocast("init", "--tracking-uri", "https://m.example", "--prefect-api", "https://p.example/api", "--json")
    assert ended.json["settings"] == str(place.parent / "settings.toml")
    assert read_settings(place.parent / "settings.toml") == {
        "MLFLOW_TRACKING_URI": "https://m.example",
        "PREFECT_API_URL": "https://p.example/api",
    }


@pytest.mark.parametrize("storage", StackStorage)
def test_local_servers_are_those_of_autocast_up(autocast, place, storage):
    folder = default_folder({"XDG_DATA_HOME": str(place.parent / "data")})
    folder.mkdir(parents=True)
    ports = settings_of(folder, storage).ports
    autocast("init", "--local", "--yes")
    settings = read_settings(place.parent / "settings.toml")
    assert settings["PREFECT_API_URL"] == f"http://127.0.0.1:{ports['prefect']}/api"
    assert ("AWS_SECRET_ACCESS_KEY" in settings) is (storage is StackStorage.SERVERS)


def test_who_breaks_off_the_questions_has_nothing_written(autocast, place, monkeypatch):
    def prompt(*_, **__):
        raise typer.Abort

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", prompt)
    ended = autocast("init")
    assert (ended.code, ended.errors) == (1, ["error: interrupted"])
    assert list(place.iterdir()) == []


def test_a_person_at_a_terminal_is_asked_what_no_option_says(autocast, place, monkeypatch):
    asked = []
    answers = {"Calibration": "data.npz", "Prefect's pool with GPUs": "l4s", "MLflow's": "http://127.0.0.1:5"}

    def prompt(question, default, **_):
        asked.append(question)
        return next((answer for begins, answer in answers.items() if question.startswith(begins)), default)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.prompt", prompt)
    assert autocast("init", "--precision", "bf16").code == 0
    assert not [question for question in asked if question.startswith("Precision")]
    assert load_spec("spec.yaml", {}).calibration == "data.npz"
    assert deployments(place)["validate-on-tensorrt"] == "l4s"
    assert read_settings(place.parent / "settings.toml") == {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5"}
