"""Calibration shared out: the statistics of the stage, to the last bit, whoever measures the shards."""

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.errors import DataError, InputError
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.isolation import ProcessLimits, isolation
from tasks.shards.calibration import calibrate_sharded, cut
from tasks.shards.runner import LocalRunner, opened_runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.storage.data import fetch_data
from tasks.storage.local import model_ref
from tests.flows.conversions import mlp
from tests.tasks.shards.clusters import KillsOne, dask_cluster

FILES = 130


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A model, a folder of data and what the stage makes of them: the request, the shards' inputs and its bytes."""
    folder = tmp_path_factory.mktemp("sharded")
    data = folder / "data"
    data.mkdir()
    rng = np.random.default_rng(5)
    for number in range(FILES):
        x = (rng.normal(size=(1, 8)) * 10.0 ** (number % 7 - 3)).astype("f4")
        np.savez(data / f"{number:04}.npz", x=x)
    ref, config = model_ref(mlp(folder / "m.onnx")), ConversionConfig()
    request = JobRequest(ref, config, folder / "work", calibration=data)
    sanitized = perform("sanitize", request, (ref,))
    made = perform("calibrate", request, (sanitized,))
    inputs = ShardInputs(str(ref.path), ref.digest, str(data), fetch_data(str(data)).digest, config)
    return request, sanitized, inputs, made.path.read_bytes()


def test_shards_in_this_process_come_to_the_stages_statistics(job):
    request, sanitized, inputs, expected = job
    made = calibrate_sharded(request, sanitized, inputs, LocalRunner(2))
    assert made.path.read_bytes() == expected
    assert (made.batches, made.digest, made.origin) == (FILES, inputs.data_digest, "calibration")


def test_shards_of_a_source_in_part_bf16_come_to_the_same(job, tmp_path):
    data = job[0].calibration
    text = """<ir_version: 10, opset_import: ["" : 22]> g (float[N, 8] x) => (float[N, 8] y) {
        low = Cast<to = 16>(x) wide = Mul(low, low) high = Cast<to = 1>(wide) y = Add(high, x) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    ref, config = model_ref(tmp_path / "m.onnx"), ConversionConfig(precision="bf16")
    request = JobRequest(ref, config, tmp_path / "work", calibration=data)
    sanitized = perform("sanitize", request, (ref,))
    inputs = ShardInputs(str(ref.path), ref.digest, str(data), fetch_data(str(data)).digest, config)
    made = calibrate_sharded(request, sanitized, inputs, LocalRunner(2))
    assert made.skipped is None
    assert made.path.read_bytes() == perform("calibrate", request, (sanitized,)).path.read_bytes()


@pytest.mark.slow
def test_shards_that_are_read_in_isolated_processes_come_to_the_same(job):
    request, sanitized, inputs, expected = job
    isolated = ShardInputs(**{**vars(inputs), "isolated": True})
    with isolation(ProcessLimits(memory_bytes=8 << 30)):
        made = calibrate_sharded(request, sanitized, isolated, LocalRunner())
    assert made.path.read_bytes() == expected


def test_less_than_two_stretches_are_left_to_the_stage(job, tmp_path):
    request, sanitized, inputs, _ = job
    np.savez(tmp_path / "few.npz", x=np.ones((32, 8), "f4"))
    few = JobRequest(request.source, request.config, tmp_path, calibration=tmp_path / "few.npz")
    assert calibrate_sharded(few, sanitized, inputs, LocalRunner()) is None


def test_a_worker_that_has_another_model_is_an_error(job):
    request, sanitized, inputs, _ = job
    other = ShardInputs(**{**vars(inputs), "model_digest": "0" * 64})
    with pytest.raises(InputError, match=r"a worker reads another file .* instead of 0000000000000000"):
        calibrate_sharded(request, sanitized, other, LocalRunner())


def test_data_that_is_not_the_pinned_is_an_error(job):
    request, sanitized, inputs, _ = job
    other = ShardInputs(**{**vars(inputs), "data_digest": "0" * 64})
    with pytest.raises(DataError, match="workers have read other files than this process"):
        calibrate_sharded(request, sanitized, other, LocalRunner())


def test_data_that_a_worker_does_not_see_is_named(job, tmp_path):
    request, sanitized, inputs, _ = job
    unseen = ShardInputs(**{**vars(inputs), "data": str(tmp_path / "elsewhere")})
    with pytest.raises(DataError, match=r"elsewhere/0000\.npz does not exist on this machine"):
        calibrate_sharded(request, sanitized, unseen, LocalRunner())


def test_shards_hold_whole_stretches_and_all_batches_once(job):
    from autocast_core.data.layout import FileLayout

    inputs = job[2]
    layout = FileLayout(tuple(f"{n:05}" for n in range(10_000)), (10,) * 10_000, {"x": (1, 8)})
    for workers in (1, 2, 7, 5000):
        spans = [shard.span for shard in cut(inputs, layout, workers)]
        assert sum(span.count for span in spans) == 100_000
        assert {span.count % 32 for span in spans[:-1]} == {0}
        assert max(span.count for span in spans) <= 512


@pytest.fixture(scope="module")
def dask():
    """A cluster of two workers of one thread each, and the runner of its address."""
    with dask_cluster(2) as cluster, opened_runner(f"dask={cluster.scheduler_address}") as runner:
        yield cluster, runner


def test_an_error_of_a_shard_on_dask_is_raised_here_as_it_is(job, dask):
    request, sanitized, inputs, _ = job
    other = ShardInputs(**{**vars(inputs), "model_digest": "0" * 64})
    with pytest.raises(InputError, match="a worker reads another file"):
        calibrate_sharded(request, sanitized, other, dask[1])


def test_a_dask_worker_killed_in_the_middle_changes_nothing(job, dask):
    request, sanitized, inputs, expected = job
    cluster, runner = dask
    assert runner.workers == 2
    killing = KillsOne(runner, cluster)
    made = calibrate_sharded(request, sanitized, inputs, killing)
    assert killing.killed
    assert made.path.read_bytes() == expected


@pytest.mark.slow
def test_one_dask_worker_and_one_ray_worker_come_to_the_same(job):
    request, sanitized, inputs, expected = job
    with dask_cluster(1) as cluster, opened_runner(f"dask={cluster.scheduler_address}") as runner:
        assert calibrate_sharded(request, sanitized, inputs, runner).path.read_bytes() == expected
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with opened_runner("ray") as runner:
        assert calibrate_sharded(request, sanitized, inputs, runner).path.read_bytes() == expected
