"""Plans carried over to another depth."""

import onnx
import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.config import Precision
from autocast_core.errors import PlanError
from autocast_core.pipeline.given_plans.transfer_plan import transfer_plan
from tests.autocast_core.search.layered import layered


def unnamed(proto):
    """The model with names that number all nodes, as some exporters give them."""
    for number, node in enumerate(proto.graph.node):
        node.name = f"node_{node.op_type}_{number}"
    return proto


def plan_of(path, kept=(), **config):
    """The plan of the model at `path` that keeps these nodes."""
    made = convert_file(path, path.with_suffix(".low.onnx"), ConversionConfig(**config))
    changes = dict.fromkeys((f"graph/{name}" for name in kept), Precision.FP32)
    return made.plan.with_precisions(changes, "search", "measured")


def saved(proto, path):
    onnx.save(proto, path)
    return path


def wide(plan):
    return {node.id.removeprefix("graph/") for node in plan.nodes if node.precision is Precision.FP32}


@pytest.fixture
def six(tmp_path):
    return saved(layered(6)[0], tmp_path / "six.onnx")


def test_what_all_layers_do_all_layers_of_another_depth_do(six, tmp_path):
    given = plan_of(six, [f"l{layer}_shift" for layer in range(6)])
    found = transfer_plan(saved(layered(9)[0], tmp_path / "nine.onnx"), given)
    assert {f"l{layer}_shift" for layer in range(9)} <= wide(found.plan)
    assert not {f"l{layer}_down" for layer in range(9)} & wide(found.plan)
    assert not found.left and not found.unused and len(found.carried) == len(found.plan.nodes)


def test_the_first_and_the_last_layer_stay_the_first_and_the_last(six, tmp_path):
    given = plan_of(six, ["l0_shift", "l5_mix", "l2_up", "leave"])
    found = transfer_plan(saved(layered(3)[0], tmp_path / "three.onnx"), given)
    assert {"l0_shift", "l2_mix", "l1_up", "leave"} <= wide(found.plan)


def test_nodes_that_are_numbered_through_are_matched_by_their_order(tmp_path):
    small, large = (saved(unnamed(layered(depth)[0]), tmp_path / f"{depth}.onnx") for depth in (4, 7))
    names = {depth: [node.name for node in layered(depth)[0].graph.node] for depth in (4, 7)}
    place = {depth: {name: number for number, name in enumerate(names[depth])} for depth in names}

    def numbered(name, depth, kind):
        return f"node_{kind}_{place[depth][name]}"

    given = plan_of(
        small, [numbered("l0_shift", 4, "Add"), numbered("l3_mix", 4, "MatMul"), numbered("leave", 4, "Sin")]
    )
    found = transfer_plan(large, given)
    expected = {numbered("l0_shift", 7, "Add"), numbered("l6_mix", 7, "MatMul"), numbered("leave", 7, "Sin")}
    assert expected <= wide(found.plan)


def test_the_same_depth_gets_the_same_decisions(six):
    given = plan_of(six, ["l1_softmax", "l4_norm"])
    found = transfer_plan(six, given)
    assert [n.precision for n in found.plan.nodes] == [n.precision for n in given.nodes]


def test_each_carried_reason_says_from_which_node(six, tmp_path):
    found = transfer_plan(saved(layered(3)[0], tmp_path / "three.onnx"), plan_of(six, ["l5_mix"]))
    decision = found.plan.by_id()["graph/l2_mix"]
    assert (decision.rule, decision.reason) == ("search", "carried over from graph/l5_mix: measured")
    assert "nothing was measured" in found.plan.warnings[0]


def test_nodes_without_a_counterpart_are_named(six, tmp_path):
    proto, _ = layered(6)
    proto.graph.node.append(onnx.helper.make_node("Cos", ["y"], ["z"], name="more"))
    proto.graph.output[0].name = "z"
    found = transfer_plan(saved(proto, tmp_path / "more.onnx"), plan_of(six, ["l3_up"]))
    assert found.left == ("graph/more",)
    assert "l3_up" in wide(found.plan) and "more" not in wide(found.plan)


def test_a_plan_of_another_family_is_refused(six, tmp_path):
    text = '<ir_version: 9, opset_import: ["": 18]> g (float[4] x) => (float[4] y) { [only] y = Cos(x) }'
    other = saved(onnx.parser.parse_model(text), tmp_path / "other.onnx")
    with pytest.raises(PlanError, match="same family"):
        transfer_plan(other, plan_of(six))


def test_the_plan_that_comes_out_can_be_applied(six, tmp_path):
    deep = saved(layered(8)[0], tmp_path / "deep.onnx")
    found = transfer_plan(deep, plan_of(six, ["l0_shift"], keep_io_types=True))
    made = convert_file(deep, tmp_path / "deep.fp16.onnx", plan=found.plan)
    assert made.plan.settings.keep_io_types is True
    assert "l0_shift" in wide(made.plan)
