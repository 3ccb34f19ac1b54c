"""What an inspection says of whole models, of conversions of our own, and beside an FP32 original."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.lint import Inspection, Level, LintFinding, inspect_model
from autocast_core.lint.inspect import MOST_FINDINGS
from autocast_core.model import load_model
from autocast_core.model.reader import load_proto
from autocast_core.pipeline.convert import convert_file
from tests.autocast_core.lint.planted import PLANTED, nodes_of
from tests.models import ARCHITECTURES, build

REFUSED_IN_BF16 = {"lstm": ["AC701"], "unet": ["AC701"]}
"""Conversions to BF16 that were not fitted to TensorRT: GRU and ConvTranspose."""


def with_weight(dtype: type[np.generic], weight: np.ndarray, text: str) -> ir.Model:
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(dtype), "w"))
    return load_proto(model)


def beside(weight: np.ndarray, nodes: str = "y = MatMul(x, w)", shape: str = "2,4") -> list[tuple[str, str]]:
    """Code and place of what is found in FP16 beside FP32."""
    texts = [
        f'<ir_version: 10, opset_import: ["" : 22]> main ({kind}[{shape}] x) => ({kind}[{shape}] y) {{ {nodes} }}'
        for kind in ("float16", "float")
    ]
    with np.errstate(over="ignore"):
        model = with_weight(np.float16, np.clip(weight, -65504, 65504), texts[0])
    found = inspect_model(model, with_weight(np.float32, weight, texts[1])).findings
    return [(each.code, each.node) for each in found if each.level > Level.NOTE]


def converted(name: str, folder: Path, precision: Precision) -> Inspection:
    built = build(name, folder, layers=2)
    config = ConversionConfig(precision=precision, decide="measured", repair_ranges=True)
    convert_file(built.path, folder / "low.onnx", config, calibration=built.calibration)
    return inspect_model(load_model(folder / "low.onnx"), load_model(built.path))


def codes(findings: tuple[LintFinding, ...]) -> list[str]:
    return [each.code for each in findings]


def test_weights_that_vanished_are_found_beside_the_original():
    weight = np.full((4, 4), 1e-9, np.float32)
    weight[0, 0] = 1e-7
    assert beside(weight) == [("AC406", "w")]


def test_weights_that_vanished_beside_much_larger_ones_are_not():
    weight = np.full((4, 4), 1e-9, np.float32)
    weight[0, 0] = 1.0
    assert beside(weight) == []


def test_weights_beyond_fp16_are_found_beside_the_original():
    weight = np.ones((4, 4), np.float32)
    weight[1, 1] = -1e6
    assert beside(weight) == [("AC407", "w")]


def test_a_mask_that_was_clamped_is_none():
    weight = np.full((1, 4), -3.4e38, np.float32)
    assert beside(weight, "a = Add(x, w) y = Softmax(a)") == []


@pytest.mark.parametrize(("factor", "found"), [(-3.4e38, []), (1e6, [("AC407", "w")])])
def test_a_factor_in_front_of_a_softmax_is_a_mask_where_it_is_negative(factor, found):
    assert beside(np.full(1, factor, np.float32), "a = Mul(x, w) b = Add(a, x) y = Softmax(b)") == found


def test_without_a_reference_nothing_is_compared():
    planted = PLANTED["a sum in FP16"]
    assert not {"AC406", "AC407"} & set(codes(inspect_model(load_proto(planted.model())).findings))


def test_an_fp32_model_has_notes_at_most():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[1,2,8,16] q, float[1,2,16,8] k, float[1,2,8,16] v) => (float[1,2,8,16] y) {
        a = MatMul(q, k) p = Softmax(a) y = MatMul(p, v)
    }
    """
    inspection = inspect_model(load_proto(onnx.parser.parse_model(text)))
    assert [(each.code, each.level) for each in inspection.findings] == [("AC101", Level.NOTE)]
    assert (inspection.attention_cores, inspection.attention_whole, dict(inspection.types)) == (1, 0, {"fp32": 3})


def test_what_a_local_function_holds_is_found_at_each_call():
    text = """
    <ir_version: 10, opset_import: ["" : 18, "my" : 1]>
    main (float16[4] x) => (float16[4] z) { [first] y = my.turned(x) [second] z = my.turned(y) }
    <domain: "my", opset_import: ["" : 18]>
    turned (p) => (q) { [act] a = Relu(p) [up] b = Cast<to=1>(a) [down] q = Cast<to=10>(b) }
    """
    found = inspect_model(load_proto(onnx.parser.parse_model(text))).findings
    assert [(each.code, each.node) for each in found] == [("AC201", "graph/first/down"), ("AC201", "graph/second/down")]


@pytest.mark.parametrize("name", ["", "[same] "])
def test_nodes_without_names_of_their_own_are_told_apart(name):
    text = f"""
    <ir_version: 10, opset_import: ["" : 18]>
    main (float16[4] x) => (float16[4] y) {{ {name}a = Cast<to=1>(x) {name}y = Cast<to=10>(a) }}
    """
    (found,) = inspect_model(load_proto(onnx.parser.parse_model(text))).findings
    first = found.detail.split("'")[1]
    assert first.startswith("graph/") and first not in ("graph/", found.node)


def inspected(text: str) -> Inspection:
    head = '<ir_version: 10, opset_import: ["" : 22]>'
    return inspect_model(load_proto(onnx.parser.parse_model(f"{head} {nodes_of(text)}")))


def test_a_guard_is_found_by_whichever_of_very_many_ways_it_goes():
    rows = [["a"]] + [[f"v{row}_{place}" for place in range(20)] for row in range(6)]
    steps = [f"{each} = Max({', '.join(above)})" for above, row in pairwise(rows) for each in row]
    text = f"m (float16[4] x) => (float16[4] y) {{ a = Add(x, e) {' '.join(steps)} y = Div(x, v5_19) }}"
    found = inspected(text.replace("{", "<float16 e = {0}> {", 1))
    assert [(each.code, each.node) for each in found.findings] == [("AC402", "graph/Add_1")]


def test_casts_in_a_long_row_that_change_nothing_undo_nothing():
    casts = " ".join(f"c{place + 1} = down(c{place})" for place in range(2000))
    found = inspected(f"m (float[4] x) => (float16[4] c2000) {{ c0 = down(x) {casts} }}")
    assert {each.code for each in found.findings} == {"AC203"}


def test_casts_that_undo_each_other_by_way_of_a_narrower_type_round():
    found = inspected("m (double[4] x) => (double[4] y) { a = up(x) y = double(a) }")
    assert [each.detail for each in found.findings] == [
        "undoes 'graph/Cast_1': FP64 to FP32 and back, which rounds for nothing"
    ]


def test_a_constant_without_a_name_is_called_as_its_value():
    text = "m (float16[2] x) => (float16[2] y) { w = Constant<value = float[2] {1e6, 1}>() v = down(w) y = Mul(x, v) }"
    assert [each.detail for each in inspected(text).findings] == [
        "1 of 2 elements of 'w' become infinite in FP16: the largest is 1e+06"
    ]


def test_errors_come_first_and_levels_leave_out_what_is_below():
    nodes = "a = Relu(x) b = up(a) c = Transpose(b) d = down(c) y = Mul(d, big)"
    planted = PLANTED["a stored infinity"]
    both = type(planted)("AC401", nodes, constants={"big": float("inf")})
    inspection = inspect_model(load_proto(both.model()))
    assert codes(inspection.findings) == ["AC401", "AC302"]
    assert codes(inspection.at_least(Level.ERROR)) == ["AC401"]


def test_a_finding_says_all_that_there_is_to_say():
    (found,) = inspect_model(load_proto(PLANTED["casts up and down again"].model())).findings
    assert found.to_json() == {
        "code": "AC201",
        "level": "warning",
        "node": "graph/c",
        "title": "Casts that undo each other",
        "detail": "undoes 'graph/b': FP16 to FP32 and back, which changes nothing",
        "costs": "both casts move the whole tensor, and a 16-bit type between rounds it",
        "bytes": 64 * 64 * (2 + 4 + 4 + 2),
        "remedy": "remove both: read the value in front of the first one; or "
        "`autocast run FP32.onnx --calibration DATA`, which casts each value once",
    }


def test_the_cost_of_an_island_is_what_its_casts_move():
    found = inspect_model(load_proto(PLANTED["an FP32 island"].model())).findings
    assert [(each.bytes, each.detail) for each in found if each.code == "AC301"] == [
        (2 * 64 * 64 * (2 + 4), "2 nodes in FP32 (Exp, Sin) behind 2 casts")
    ]


def test_a_size_that_only_a_run_knows_is_not_given():
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float16[n] x) => (float16[n] y) {
        a = Relu(x) b = Cast<to=1>(a) c = Cast<to=10>(b) y = Abs(c)
    }
    """
    (found,) = inspect_model(load_proto(onnx.parser.parse_model(text))).findings
    assert (found.code, found.bytes) == ("AC201", None)


def test_of_one_check_a_bounded_number_is_told():
    nodes = "".join(f" n{index} = LogSoftmax(x)" for index in range(MOST_FINDINGS + 5))
    text = f'<ir_version: 10, opset_import: ["" : 22]> main (float16[2] x) => (float16[2] n0) {{ {nodes} }}'
    found = inspect_model(load_proto(onnx.parser.parse_model(text))).findings
    assert codes(found) == ["AC504"] * MOST_FINDINGS


def _check(name: str, folder: Path, precision: Precision) -> None:
    findings = converted(name, folder, precision).at_least(Level.WARNING)
    assert codes(findings) == (REFUSED_IN_BF16.get(name, []) if precision is Precision.BF16 else [])


@pytest.mark.parametrize("name", ["bert_base", "if_loop"])
def test_conversions_of_our_own_have_no_findings(name, tmp_path):
    _check(name, tmp_path, Precision.FP16)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_conversions_of_all_models_have_no_findings(name, precision, tmp_path):
    _check(name, tmp_path, precision)
