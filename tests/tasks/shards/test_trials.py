"""A search whose trials are shards finds the plan that it finds alone, to the last bit."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.errors import ConfigError, DataError
from autocast_core.pipeline.saved import JobRequest, perform
from tasks.shards.runner import LocalRunner
from tasks.shards.shard_inputs import ShardInputs
from tasks.shards.trials import TrialShard, measure_trial, trial_measurer
from tasks.stages.search import Budgets, SearchFiles, search_plan
from tasks.storage.data import fetch_data
from tasks.storage.local import model_ref
from tests.autocast_core.search.planted import planted_model

BUDGETS = Budgets(("sqnr_db>=55", "no_new_nonfinite"), workers=2)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The planted model and its data: the request, the sanitized model, and what a worker reads."""
    folder = tmp_path_factory.mktemp("trials")
    proto, arrays = planted_model()
    onnx.save(proto, folder / "planted.onnx")
    np.savez(folder / "data.npz", **arrays)
    ref, config = model_ref(folder / "planted.onnx"), ConversionConfig()
    request = JobRequest(ref, config, folder / "work", evaluation=folder / "data.npz")
    data = str(folder / "data.npz")
    inputs = ShardInputs(str(ref.path), ref.digest, data, fetch_data(data).digest, config)
    return request, perform("sanitize", request, (ref,)), inputs


class _Counting(LocalRunner):
    """Counts the shards that it does."""

    done: int = 0

    def map(self, function, work):
        object.__setattr__(self, "done", self.done + len(work))
        return super().map(function, work)


def _searched(job, folder, elsewhere=None):
    request, sanitized, _ = job
    files, trials = SearchFiles(folder / "trials.jsonl", folder / "plan.json"), []
    found = search_plan(request, sanitized, BUDGETS, files, elsewhere=elsewhere, callback=trials.append)
    return found.plan.read_bytes(), [(trial.kept, trial.metrics) for trial in trials]


def test_trials_done_as_shards_lead_to_the_plan_and_the_trials_of_a_search_alone(job, tmp_path):
    runner = _Counting()
    alone = _searched(job, tmp_path / "alone")
    shared = _searched(job, tmp_path / "shared", trial_measurer(runner, job[2]))
    assert runner.done > 1
    assert shared == alone


def test_an_isolated_search_is_not_shared_out(job):
    with pytest.raises(ConfigError, match="cannot be shared out: give runner local, or isolation none"):
        trial_measurer(LocalRunner(), replace(job[2], isolated=True))


def test_a_worker_that_has_other_data_is_an_error(job):
    shard = TrialShard(replace(job[2], data_digest="0" * 64), ())
    with pytest.raises(DataError, match="workers have read other files than this process"):
        measure_trial(shard, None)
