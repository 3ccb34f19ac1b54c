"""What the flow tests share: a small model, data, the flow as a call, and what the tracking store holds."""

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

MLP = """
<ir_version: 9, opset_import: ["": 17]>
mlp (float[N, 8] x) => (float[N, 4] y)
<float[8, 16] w1 = {WEIGHTS1}, float[16, 4] w2 = {WEIGHTS2}>
{
    [first] h = MatMul(x, w1)
    [relu] r = Relu(h)
    [second] y = MatMul(r, w2)
}
"""


def mlp(path, seed=0):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=n).astype("f4").tolist() for n in (128, 64)]
    text = MLP.replace("WEIGHTS1", ", ".join(f"{v:.6f}" for v in weights[0]))
    text = text.replace("WEIGHTS2", ", ".join(f"{v:.6f}" for v in weights[1]))
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def batches(path, **arrays):
    np.savez(path, **(arrays or {"x": np.random.default_rng(1).normal(size=(6, 8)).astype("f4")}))
    return path


def convert(model, *, dry_run=False, **options):
    from flows.convert_model import convert_model
    from flows.request.spec import Spec

    given = {key: str(value) if isinstance(value, os.PathLike) else value for key, value in options.items()}
    return convert_model(str(model), Spec(**given), dry_run)


def client():
    from mlflow import MlflowClient

    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


@contextmanager
def working_in(folder):
    """The current folder is `folder`, with a home below it, for a fixture of a module: `workplace` is one test's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("AUTOCAST_HOME", str(folder / ".autocast"))
        yield patch


def registered_folder(name, version):
    """Where the files of a registered version are."""
    source = client().get_model_version(name, version).source.removeprefix("models:/")
    return Path(client().get_logged_model(source).artifact_location.removeprefix("file://"))


def runs_of(model):
    """The tracked runs whose source is `model`, newest first."""
    experiment = client().get_experiment_by_name("autocast")
    if experiment is None:
        return []
    return client().search_runs([experiment.experiment_id], filter_string=f"params.model = '{model}'")


def registered(name):
    return client().search_model_versions(f"name = '{name}'")
