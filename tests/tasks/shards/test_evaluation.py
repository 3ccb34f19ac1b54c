"""Evaluation shared out: the figures of the stage, to the last bit, whoever measures the shards."""

from dataclasses import replace

import numpy as np
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.data.layout import FileLayout
from autocast_core.errors import DataError, InputError
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.shards.evaluation import cut, evaluate_sharded
from tasks.shards.runner import LocalRunner, opened_runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.storage.data import fetch_data
from tasks.storage.local import model_ref
from tests.flows.conversions import mlp
from tests.tasks.shards.clusters import KillsOne, dask_cluster

FILES = 45


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A model, a folder of data and what the stage makes of them: the request, what the stage takes, the shards' inputs
    and what was evaluated."""
    folder = tmp_path_factory.mktemp("sharded")
    data = folder / "data"
    data.mkdir()
    rng = np.random.default_rng(5)
    for number in range(FILES):
        x = (rng.normal(size=(1 + number % 3, 8)) * 10.0 ** (number % 7 - 3)).astype("f4")
        np.savez(data / f"{number:04}.npz", x=x)
    ref, config = model_ref(mlp(folder / "m.onnx")), ConversionConfig(accumulate="fp16")
    request = JobRequest(ref, config, folder / "work", evaluation=data)
    sanitized = perform("sanitize", request, (ref,))
    plan = perform("decide", request, (sanitized, perform("calibrate", request, (sanitized,))))
    converted = sanitized, perform("apply", request, (sanitized, plan))
    inputs = ShardInputs(str(ref.path), ref.digest, str(data), fetch_data(str(data)).digest, config)
    return request, converted, inputs, perform("evaluate", request, converted)


def test_shards_in_this_process_come_to_the_stages_figures(job):
    request, converted, inputs, expected = job
    made = evaluate_sharded(request, converted, inputs, LocalRunner(2))
    assert made == expected
    assert made.batches > FILES
    assert {"fidelity", "fidelity_onnxruntime", "noise_floor"} <= {name.partition("/")[0] for name in made.metrics}


def test_shards_hold_all_batches_once_and_none_holds_few(job):
    for batches in (33, 100, 10_000):
        layout = FileLayout(tuple(f"{n:05}" for n in range(batches)), (1,) * batches, {"x": (1, 8)})
        for workers in (1, 2, 7, 5000):
            counts = [shard.span.count for shard in cut(job[2], layout, workers, "")]
            assert sum(counts) == batches
            assert 8 <= min(counts) <= max(counts) <= 512


@pytest.mark.parametrize("kind", ["labels", "metric", "judge", "isolated", "few"])
def test_what_cannot_be_shared_out_is_left_to_the_stage(job, tmp_path, kind):
    request, converted, inputs, _ = job
    labels = {"labels": np.zeros(40, "i8")} if kind == "labels" else {}
    np.savez(tmp_path / "data.npz", x=np.ones((32 if kind == "few" else 40, 8), "f4"), **labels)
    request = replace(request, evaluation=tmp_path / "data.npz")
    if kind == "metric":
        request = replace(request, metric="module:function")
    if kind == "judge":
        request = replace(request, config=replace(request.config, judges=("embeddings",)))
    inputs = replace(inputs, isolated=kind == "isolated")
    assert evaluate_sharded(request, converted, inputs, LocalRunner()) is None


def test_a_worker_that_has_another_model_is_an_error(job):
    request, converted, inputs, _ = job
    with pytest.raises(InputError, match=r"a worker reads another file .* instead of 0000000000000000"):
        evaluate_sharded(request, converted, replace(inputs, model_digest="0" * 64), LocalRunner())


def test_data_that_is_not_the_pinned_is_an_error(job):
    request, converted, inputs, _ = job
    with pytest.raises(DataError, match="workers have read other files than this process"):
        evaluate_sharded(request, converted, replace(inputs, data_digest="0" * 64), LocalRunner())


@pytest.mark.slow
def test_a_dask_worker_killed_in_the_middle_changes_nothing(job):
    request, converted, inputs, expected = job
    with dask_cluster(2) as cluster, opened_runner(f"dask={cluster.scheduler_address}") as runner:
        killing = KillsOne(runner, cluster)
        made = evaluate_sharded(request, converted, inputs, killing)
    assert killing.killed
    assert made == expected
