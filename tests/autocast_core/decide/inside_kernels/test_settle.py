"""Which nodes compute in FP32 inside kernels, and that they cost no kernel and no more traffic than is allowed."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.inside_kernels import Look, cast_ends, settle
from autocast_core.engine.view import Kernel
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.plan import PrecisionPlan

BLOCK = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[32, 64] x, float[64, 256] w_up, float[256] w_b, float[256, 64] w_down, float[64] w_c, float[64] w_n)
=> (float[32, 64] y, float[32, 64] z) <float root = {2}, float one = {1}> {
    [up] a = MatMul (x, w_up)
    [bias] b = Add (a, w_b)
    [divide] c = Div (b, root)
    [erf] d = Erf (c)
    [plus] e = Add (d, one)
    [gelu] f = Mul (b, e)
    [down] g = MatMul (f, w_down)
    [offset] h = Add (g, w_c)
    [residual] y = Add (x, h)
    [norm] z = LayerNormalization (y, w_n)
}
"""
GELU = {"bias", "divide", "erf", "plus", "gelu"}


def model(text: str = BLOCK, *, weights: float = 1.0) -> ir.Model:
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    for value in [each for each in proto.graph.input if each.name.startswith("w_")]:
        array = np.full([each.dim_value for each in value.type.tensor_type.shape.dim], weights, np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        proto.graph.input.remove(value)
    return ir.serde.deserialize_model(proto)


def statistics(loaded: ir.Model, **mean_squares: float) -> Statistics:
    """All tensors of mean square 1 unless given."""
    names = [str(value.name) for node in loaded.graph for value in node.outputs] + ["x"]
    known = {
        name: TensorStats(64, -1.0, 1.0, sum_squares=64.0 * mean_squares.get(name, 1.0), examined=64) for name in names
    }
    return replace(Statistics(), tensors=known)


def settled(loaded: ir.Model, extra_traffic: float, look: Look | None = None, **options: float) -> PrecisionPlan:
    known = statistics(loaded)
    plan = decide(loaded, known, {}, ConversionConfig(small_values=False, **options))
    shapes = static_shapes(loaded, {})

    def view(current: PrecisionPlan):
        return estimated_view(apply_plan(loaded, current).model, shapes)

    look = look or Look(view(plan), view, estimated=True)
    return settle(loaded, plan, known, shapes, extra_traffic, look, "free", lambda each: each.rule == "default")


def wide(plan: PrecisionPlan) -> set[str]:
    return {each.id.removeprefix("graph/") for each in plan.nodes if each.precision is Precision.FP32}


def traffic(loaded: ir.Model, plan: PrecisionPlan) -> tuple[int, int]:
    view = estimated_view(apply_plan(loaded, plan).model, static_shapes(loaded, {}))
    return len(view.kernels), view.traffic_bytes


def test_what_computes_inside_a_kernel_is_fp32_and_products_stay_low():
    loaded = model()
    plan = settled(loaded, 0.05)
    assert wide(plan) >= GELU | {"offset", "residual"}
    assert not wide(plan) & {"up", "down"}
    kernels, moved = traffic(loaded, plan)
    before = traffic(loaded, decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False)))
    assert kernels <= before[0]
    assert before[1] < moved <= 1.05 * before[1]


def test_without_traffic_to_spend_only_what_adds_none_is_fp32():
    loaded = model()
    plan = settled(loaded, 0.015)
    assert wide(plan) >= GELU - {"bias"}
    assert "residual" not in wide(plan)


def test_a_plan_says_by_which_rule_why_and_on_what_ground():
    found = settled(model(), 0.05).by_id()["graph/erf"]
    assert (found.rule, found.reason.split(":")[0]) == ("free", "computes in FP32 inside a kernel")
    assert found.evidence[0].detail.startswith("the model of fusion has no more kernels")


def test_nodes_that_the_caller_included_stay_low():
    loaded = model()
    known = statistics(loaded)
    plan = decide(loaded, known, {}, ConversionConfig(nodes_to_include=("erf",)))
    view = estimated_view(apply_plan(loaded, plan).model, static_shapes(loaded, {}))
    look = Look(view, lambda _: view)
    found = settle(
        loaded, plan, known, static_shapes(loaded, {}), 1.0, look, "free", lambda each: each.rule == "default"
    )
    assert "erf" not in wide(found)
    assert "bias" in wide(found)


def test_where_an_engine_makes_more_kernels_of_some_nodes_those_stay_low():
    loaded = model()
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, static_shapes(loaded, {}))

    def of(plan: PrecisionPlan):
        if "norm" not in wide(plan):
            return before
        (last,) = [each for each in before.kernels if "graph/norm" in each.nodes]
        return replace(before, kernels=(*before.kernels, last))

    plan = settled(loaded, 10.0, Look(before, of))
    assert wide(plan) >= GELU
    assert not wide(plan) & {"norm"}


def cast_kernel(*nodes: str) -> Kernel:
    return Kernel("move", "kgen", nodes, ("float16",), ("float",), 2, 4, only_moves=True)


def test_a_cast_that_is_a_kernel_of_its_own_is_the_fault_of_the_nodes_at_its_ends_alone():
    loaded = model()
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, static_shapes(loaded, {}))
    asked: list[PrecisionPlan] = []

    def of(plan: PrecisionPlan):
        alone = (cast_kernel("graph/y_cast_fp32"),) if "norm" in wide(plan) else ()
        return replace(before, kernels=(*before.kernels, *alone))

    def ends(plan: PrecisionPlan):
        asked.append(plan)
        return {"graph/y_cast_fp32": {"graph/residual", "graph/norm"}}

    plan = settled(loaded, 10.0, Look(before, of, cast_ends=ends))
    assert wide(plan) == GELU
    assert len(asked) == 1


def test_where_every_choice_makes_more_kernels_what_crosses_none_is_tried_last():
    loaded = model()
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, static_shapes(loaded, {}))
    looked: list[set[str]] = []

    def of(plan: PrecisionPlan):
        looked.append(wide(plan))
        more = () if "residual" not in wide(plan) else (cast_kernel(f"graph/{len(looked)}"),)
        return replace(before, kernels=(*before.kernels, *more))

    def ends(_: PrecisionPlan):
        return {
            f"graph/{number}": {f"graph/{node}"} for number, node in enumerate(("", "bias", "divide", "gelu", "offset"))
        }

    plan = settled(loaded, 10.0, Look(before, of, cast_ends=ends))
    assert len(looked) == 5
    assert wide(plan) == looked[-1] == {"erf", "plus"}


def test_the_ends_of_a_cast_are_what_computes_its_input_and_what_computes_from_it():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float16[4, 8] x) => (float[32] y, float16[4, 8] z) <int64[1] flat = {-1}> {
        [sine] s = Sin (x)
        [turn] t = Transpose (s)
        [cast] c = Cast <to = 1> (t)
        [flatten] r = Reshape (c, flat)
        [exp] y = Exp (r)
        [same] z = Neg (s)
    }
    """
    assert cast_ends(model(text)) == {"graph/cast": {"graph/sine", "graph/exp"}}


def test_where_no_view_is_known_the_plan_stays_as_it_was():
    assert wide(settled(model(), 0.05, Look(None, lambda _: None))) == set()


def test_a_choice_that_moves_too_much_is_made_smaller():
    loaded = model()
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, static_shapes(loaded, {}))
    looked: list[int] = []

    def of(plan: PrecisionPlan):
        looked.append(len(wide(plan)))
        more = 1_000_000 if "residual" in wide(plan) else 0
        first, *others = before.kernels
        return replace(before, kernels=(replace(first, read_bytes=first.read_bytes + more), *others))

    plan = settled(loaded, 0.05, Look(before, of))
    assert looked[-1] < looked[0]
    assert "residual" not in wide(plan)


def test_bytes_that_are_unforeseen_whatever_is_chosen_leave_less_to_choose():
    layers = "".join(
        f"[product{i}] a{i} = MatMul (x{i}, w_{i}) [sum{i}] x{i + 1} = Add (x{i}, a{i}) [act{i}] t{i} = Tanh (x{i + 1})"
        f"[out{i}] o{i} = MatMul (t{i}, w_{i})"
        for i in range(16)
    )
    weights = ", ".join(f"float[64, 64] w_{i}" for i in range(16))
    outputs = ", ".join(f"float[32, 64] o{i}" for i in range(16))
    head = f'<ir_version: 10, opset_import: ["" : 22]> main (float[32, 64] x, {weights}) => ({outputs})'
    loaded = model(f"{head} {{ [first] x0 = Sigmoid (x) {layers} }}")
    shapes = static_shapes(loaded, {})
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, shapes)
    allowed = 0.3 * before.traffic_bytes

    def of(plan: PrecisionPlan):
        first, *others = estimated_view(apply_plan(loaded, plan).model, shapes).kernels
        more = round(0.8 * allowed) if wide(plan) else 0
        return replace(before, kernels=(replace(first, read_bytes=first.read_bytes + more), *others))

    assert wide(settled(loaded, 0.3, Look(before, of)))


def test_where_far_less_crosses_than_was_foreseen_more_is_chosen():
    loaded = model(weights=0.3)
    low = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    before = estimated_view(apply_plan(loaded, low).model, static_shapes(loaded, {}))
    looked: list[set[str]] = []

    def of(plan: PrecisionPlan):
        looked.append(wide(plan))
        first, *others = before.kernels
        return replace(before, kernels=(replace(first, read_bytes=first.read_bytes - 20_000), *others))

    plan = settled(loaded, 0.08, Look(before, of))
    assert len(looked) == 2
    assert looked[0] < looked[1] == wide(plan)


def test_sizes_that_shapes_do_not_tell_are_those_that_calibration_counted():
    loaded = model()
    plan = decide(loaded, statistics(loaded), {}, ConversionConfig(small_values=False))
    shapes = static_shapes(loaded, {})
    view = estimated_view(apply_plan(loaded, plan).model, shapes)
    known = statistics(loaded)
    counted = {name: replace(each, count=2 * prod(shapes[name]), batches=2) for name, each in known.tensors.items()}
    found = [
        settle(
            loaded, plan, stats, given, 0.05, Look(view, lambda _: view), "free", lambda each: each.rule == "default"
        )
        for stats, given in ((known, shapes), (replace(known, tensors=counted), {}))
    ]
    assert found[0] == found[1]


def test_what_stands_beside_an_attention_product_in_fp32_stays_low():
    loaded = model("""
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[1,4,128,64] q, float[1,4,64,128] k, float[1,4,128,64] v) => (float[1,4,128,64] y)
    <float eighth = {0.125}> {
      [query] a = Sqrt (q) [scale] b = Mul (a, eighth) [key] c = Sqrt (k) [value] d = Sqrt (v)
      [product] e = MatMul (b, c) [soften] f = Softmax (e) [p_v] g = MatMul (f, d)
      [behind] h = Sqrt (g) [next] i = Sin (h) [last] y = Sin (i)
    }
    """)
    plan = settled(loaded, 10.0, upcast_attention=True)
    assert wide(plan) == {"product", "p_v", "next", "last"}
    assert estimated_view(apply_plan(loaded, plan).model, static_shapes(loaded, {})).attention_fused == 1
