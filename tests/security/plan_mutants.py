"""Structural mutants of a plan, and what applying one to its model comes to."""

from __future__ import annotations

import copy
import json
import random
import tempfile
from pathlib import Path
from typing import Any

TEXT = """<ir_version: 9, opset_import: ["": 17]>
g (float[N, 8] x, bool c) => (float[N, 4] y, float[N, 8] z)
<float[8, 8] w = {WEIGHTS8}, float[8, 4] v = {WEIGHTS4}, float e = {1e-5}> {
    [first] h = MatMul(x, w)
    [norm] m = ReduceMean<axes = [-1]>(h)
    [centre] d = Sub(h, m)
    [small] s = Add(d, e)
    [if] b = If(c) <then_branch = t () => (float[N, 8] p) { [inner] p = Exp(s) },
                    else_branch = o () => (float[N, 8] q) { [other] q = Tanh(s) }>
    [second] y = MatMul(b, v)
    [relu] z = Relu(s)
}"""
VALUES = ("fp16", "fp32", "bf16", "none", "graph/first", "", None, True, -1, 0, 1e300, 2**70, [], {}, "x" * 300)


def model_file(folder: Path) -> Path:
    import numpy as np
    import onnx
    import onnx.parser

    rng = np.random.default_rng(0)
    text = TEXT
    for count in (8, 4):
        values = ", ".join(f"{value:.4f}" for value in rng.normal(size=8 * count))
        text = text.replace(f"WEIGHTS{count}", values)
    onnx.save(onnx.parser.parse_model(text), folder / "m.onnx")
    return folder / "m.onnx"


def plan_text() -> str:
    """The plan of the model, with a node that stays FP32."""
    from autocast_core import ConversionConfig, convert_file

    with tempfile.TemporaryDirectory() as folder:
        config = ConversionConfig(nodes_to_exclude=("small",))
        return convert_file(model_file(Path(folder)), Path(folder, "out.onnx"), config).plan.to_json()


def mutants(text: str, count: int, seed: int) -> list[str]:
    """`count` plans, each with one to three values replaced, removed, repeated or exchanged."""
    random_ = random.Random(seed)
    return [_mutated(json.loads(text), random_) for _ in range(count)]


def _mutated(plan: Any, random_: random.Random) -> str:
    for _ in range(random_.randint(1, 3)):
        places = list(_places(plan))
        holder, key = random_.choice(places)
        kind = random_.choice(("replace", "value", "remove", "repeat", "exchange"))
        if kind == "replace":
            holder[key] = random_.choice(VALUES)
        elif kind == "remove":
            del holder[key]
        elif kind == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            other, there = random_.choice(places)
            holder[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(holder[key])
    return json.dumps(plan)


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def outcome(text: str) -> str:
    """What applying the plan comes to: refused, or applied with a valid model that loads and follows the plan."""
    import onnx

    from autocast_core import convert_file
    from autocast_core.errors import InputError
    from autocast_core.plan import PrecisionPlan
    from tests.onnx_models import run_in_onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.onnx")
        try:
            plan = PrecisionPlan.from_json(text)
            done = convert_file(model_file(Path(folder)), out, plan=plan)
        except InputError as error:
            assert str(error).isprintable() and len(str(error)) < 2000, str(error)
            assert not out.exists()
            return "refused"
        onnx.checker.check_model(out, full_check=True)
        if any(str(node.precision) == "bf16" for node in done.plan.nodes):
            return "applied"
        kinds = {value.name: value.type.tensor_type.elem_type for value in onnx.load(out).graph.input}
        run_in_onnxruntime(out, _feeds(kinds))
        return "applied"


def _feeds(kinds: dict[str, int]) -> dict[str, Any]:
    import numpy as np
    import onnx

    x = np.linspace(-1, 1, 16).reshape(2, 8).astype(onnx.helper.tensor_dtype_to_np_dtype(kinds["x"]))
    return {"x": x, "c": np.array(True)}
