"""Seeded random data."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from autocast_core.data import InputSpec, open_batches
from autocast_core.data.readers.random import RandomBatches
from autocast_core.errors import ConfigError, DataError

D = ir.DataType


def test_types_and_ranges() -> None:
    inputs = [
        InputSpec("f", D.FLOAT, (50, 2)),
        InputSpec("h", D.FLOAT16, (50,)),
        InputSpec("ids", D.INT64, (200,)),
        InputSpec("mask", D.INT32, (50,)),
        InputSpec("flag", D.BOOL, ()),
        InputSpec("text", D.STRING, (1,)),
        InputSpec("parts", D.FLOAT, (3,), "sequence"),
    ]
    (batch,) = open_batches(None, inputs, table_sizes={"ids": 7})
    assert batch["f"].dtype == np.float32
    assert -1 <= batch["f"].min() < -0.5 < 0.5 < batch["f"].max() <= 1
    assert batch["h"].dtype == np.float16
    assert set(batch["ids"]) == set(range(7))
    assert set(batch["mask"]) == {0, 1}
    assert batch["flag"].dtype == np.bool_
    assert batch["text"].tolist() == ["a"]
    assert [part.shape for part in batch["parts"]] == [(3,)]


def test_the_seed_decides() -> None:
    inputs = [InputSpec("x", D.FLOAT, (4,))]
    first, same, other = (next(iter(open_batches(None, inputs, seed=seed)))["x"] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_dynamic_dimensions_are_one_unless_given_and_symbols_agree() -> None:
    inputs = [InputSpec("ids", D.INT64, ("batch", "seq")), InputSpec("mask", D.INT64, ("batch", "seq")),
              InputSpec("x", D.FLOAT, (None, 3)), InputSpec("any", D.FLOAT, None)]  # fmt: skip
    (batch,) = open_batches(None, inputs, shapes={"ids": (1, 128)})
    assert [batch[spec.name].shape for spec in inputs] == [(1, 128), (1, 128), (1, 3), ()]


@pytest.mark.parametrize("shapes", [{"y": (1,)}, {"x": (1, 2)}, {"x": (1, 4, 1)}, {"x": (-1, 3)}])
def test_shapes_that_fit_no_input_are_refused(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ConfigError):
        open_batches(None, [InputSpec("x", D.FLOAT, (None, 3))], shapes=shapes)


def test_a_map_cannot_be_made_up() -> None:
    with pytest.raises(DataError, match="random data cannot be made"):
        list(open_batches(None, [InputSpec("m", D.UNDEFINED, None, "other")]))


@pytest.mark.parametrize("dims", [(1 << 40,), (1 << 20, 1 << 20), (1,) * 100], ids=["long", "many", "rank"])
def test_shapes_that_no_machine_holds_are_refused(dims):
    batches = RandomBatches([InputSpec("x", ir.DataType.FLOAT, dims)], {}, 0, {})
    with pytest.raises(DataError, match=r"input x .* is too large for random data"):
        next(iter(batches))
