"""The bytes of a conversion do not depend on the seed of Python's hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import hashlib, logging
from random import Random
logging.disable(logging.CRITICAL)
from autocast_core.config import ConversionConfig, Precision
from tests.conformance.conversion import convert
from tests.properties.random_models import random_feeds, random_model
for seed in range(6):
    model = random_model(Random(seed))
    config = ConversionConfig(precision=[Precision.FP16, Precision.BF16][seed % 2])
    converted, plan = convert(model, config, random_feeds(model))
    print(hashlib.sha256(converted.SerializeToString() + plan.to_json().encode()).hexdigest())
"""


def digests(hash_seed: str) -> list[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("hash_seed", ["1", "4242"])
def test_the_bytes_do_not_depend_on_the_seed_of_hashes(hash_seed):
    assert digests(hash_seed) == digests("0")
