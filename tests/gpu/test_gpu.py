"""`pytest -m gpu -n 0 -s tests/gpu`: the checks as tests, one JSON line each; skipped with the reason without a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu import checks, estimates

pytestmark = pytest.mark.gpu


def _run(name: str, check: Callable[[], checks.Facts]) -> None:
    try:
        checks.require_gpu()
        facts = check()
    except checks.Skipped as reason:
        pytest.skip(str(reason))
    print(json.dumps({"check": name, **facts}, default=str))


@pytest.mark.parametrize("name", checks.CHECKS)
def test_the_gpu_check(name: str, tmp_path: Path) -> None:
    _run(name, lambda: checks.CHECKS[name](tmp_path))


def test_estimates_rank_engines_as_their_times_do(tmp_path: Path) -> None:
    _run("estimates", lambda: estimates.estimates_rank_engines_as_their_times_do(tmp_path))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", checks.BENCHMARKED)
@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_the_benchmark(backend: str, name: str, precision: str, tmp_path: Path) -> None:
    measure = checks.benchmark if backend == "tensorrt" else checks.benchmark_onnxruntime
    _run(f"benchmark {backend} {name} {precision}", lambda: measure(tmp_path, name, precision))
