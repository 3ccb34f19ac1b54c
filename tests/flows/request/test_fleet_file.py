import threading

import pytest

from autocast_core.errors import ConfigError
from flows.request.fleet_file import FleetModel, ModelOutcome, read_fleet


def written(tmp_path, text):
    path = tmp_path / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_has_the_shared_options_and_its_own_over_them(tmp_path):
    first, second = read_fleet(
        written(
            tmp_path,
            "spec: {precision: bf16, seed: 3}\noutput: s3://b/out/\nmodels:\n- a/x.onnx\n"
            "- {model: 'models:/bert/3', spec: {precision: fp16}}\n",
        )
    )
    assert (first.model, first.spec.precision, first.spec.seed) == ("a/x.onnx", "bf16", 3)
    assert first.spec.output == "s3://b/out/x-bf16/"
    assert (second.spec.precision, second.spec.seed) == ("fp16", 3)
    assert second.spec.output == "s3://b/out/bert-3-fp16/"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modells: []\n", "line 1: unknown key 'modells'; did you mean 'models'"),
        ("models: []\n", "models: give a list"),
        ("models:\n- {path: x.onnx}\n", "line 2: models"),
        ("models:\n- model: x.onnx\n  spce: {}\n", "line 3: unknown key 'spce'; did you mean 'spec'"),
        ("models:\n- model: x.onnx\n  spec:\n    precison: fp16\n", "line 4: there is no option 'precison'"),
        ("models: [x.onnx]\nspec:\n  data_max: -1\n", "line 3: data_max"),
    ],
)
def test_a_wrong_key_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        read_fleet(written(tmp_path, text))
    assert said in str(caught.value)


def test_two_large_models_do_not_meet():
    from flows.local.memory_budget import MemoryBudget

    budget, running, most, lock = MemoryBudget(100), set(), [], threading.Lock()
    small_met = threading.Barrier(2, timeout=30)

    def use(name, needed):
        with budget.reserve(needed):
            with lock:
                running.add(name)
                most.append(frozenset(running))
            if name.startswith("small"):
                small_met.wait()
            with lock:
                running.remove(name)

    jobs = [("large 1", 60), ("large 2", 70), ("larger than all", 1000), ("small 1", 10), ("small 2", 10)]
    threads = [threading.Thread(target=use, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert all(sum(name.startswith("large") for name in together) <= 1 for together in most)
    assert frozenset(["larger than all"]) in most


def test_an_outcome_is_one_flat_object():
    outcome = ModelOutcome("x.onnx", True, result={"registered": "models:/x-fp16/1"})
    assert outcome.to_json() == {"model": "x.onnx", "ok": True, "error": None, "registered": "models:/x-fp16/1"}
    assert ModelOutcome.from_json(outcome.plain()) == outcome
    assert FleetModel(model="x.onnx").spec.precision == "fp16"


def test_a_fleets_table_links_to_what_was_registered():
    from flows.convert_fleet import summary_rows

    outcomes = [
        ModelOutcome("x.onnx", True, result={"registered": "models:/x-fp16/1"}),
        ModelOutcome("y.onnx", False, "none", 2),
    ]
    rows = summary_rows(outcomes, "http://mlflow:5050/")
    assert [row["page"] for row in rows] == [
        "http://mlflow:5050/#/models/x-fp16/versions/1?workflowType=machine_learning",
        None,
    ]
    assert [row["state"] for row in rows] == ["converted", "failed"]
    assert summary_rows(outcomes, "sqlite:///mlflow.db")[0]["page"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("output: out/\nmodels: [a/model.onnx, b/model.onnx]\n", "both are written to "),
        ("output: s3://bkt/out\nmodels: [a/model.onnx, 's3://bkt/model.onnx']\n", "s3://bkt/out/model-fp16/model.onnx"),
        (
            "models:\n- {model: a.onnx, spec: {output: out/x.onnx, name: a}}\n"
            "- {model: b.onnx, spec: {output: ./out/../out/x.onnx, name: b}}\n",
            "a.onnx and b.onnx both are written to ",
        ),
        ("models: [a/model.onnx, b/model.onnx]\n", "a/model.onnx and b/model.onnx both are registered as model-fp16"),
        ("models:\n- {model: a.onnx, spec: {name: x}}\n- {model: b.onnx, spec: {name: x}}\n", "registered as x"),
        ("models: ['models:/bert/3', 'models:/bert@champion']\n", "both are registered as bert-fp16"),
    ],
)
def test_two_models_of_a_fleet_share_neither_destination_nor_name(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_fleet(written(tmp_path, text))
    assert said in str(caught.value)
    assert "of its own" in str(caught.value)


def test_models_of_one_stem_go_to_one_fleet_with_names_and_outputs_of_their_own(tmp_path):
    text = (
        "models:\n- a/m.onnx\n- {model: b/m.onnx, spec: {name: other}}\n- {model: a/m.onnx, spec: {precision: bf16}}\n"
    )
    found = read_fleet(written(tmp_path, text))
    assert [(each.model, each.spec.name, each.spec.precision) for each in found] == [
        ("a/m.onnx", None, "fp16"),
        ("b/m.onnx", "other", "fp16"),
        ("a/m.onnx", None, "bf16"),
    ]


def test_a_deployed_fleet_is_checked_before_anything_is_started():
    from flows.convert_fleet import convert_fleet

    with pytest.raises(ConfigError, match="both are registered as m-fp16"):
        convert_fleet.fn([FleetModel(model="a/m.onnx"), FleetModel(model="b/m.onnx")])
