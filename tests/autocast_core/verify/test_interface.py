"""The inputs and outputs that a conversion must keep."""

import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.model import load_proto
from autocast_core.plan import PlanSettings
from autocast_core.verify import model_interface
from autocast_core.verify.interface import interface_changes

LOW = frozenset({ir.DataType.FLOAT16})


def interface(text: str):
    return model_interface(load_proto(onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 22]>' + text)))


def model(x="float[N,2]", y="float[N,2]", names=("x", "i", "y")):
    a, i, b = names
    return interface(f"g ({x} {a}, int64[2] {i}) => ({y} {b}) {{ r = Gather<axis = 1> ({a}, {i}) {b} = Relu (r) }}")


def broken(before, after, keep=False, kept=()):
    return list(interface_changes(before, after, LOW, PlanSettings(keep_io_types=keep), frozenset(kept)))


def test_a_contract_lists_names_types_and_dimensions_in_order():
    ports = model().inputs
    assert [(port.name, str(port.type), port.dims) for port in ports] == [
        ("x", "FLOAT", ("N", 2)),
        ("i", "INT64", (2,)),
    ]


def test_fp32_ports_become_low_and_others_stay():
    assert broken(model(), model("float16[N,2]", "float16[N,2]")) == []


def test_an_fp32_port_that_stays_must_be_listed_in_the_plan():
    half_way = model("float[N,2]", "float16[N,2]")
    assert broken(model(), half_way) == ["input 'x' was FLOAT and is not listed as kept"]
    assert broken(model(), half_way, kept=["x"]) == []


def test_kept_types_are_kept():
    assert broken(model(), model(), keep=True) == []
    after = model("float16[N,2]", "float16[N,2]")
    assert broken(model(), after, keep=True) == [
        "input 'x' was FLOAT and is FLOAT16",
        "output 'y' was FLOAT and is FLOAT16",
    ]
    assert broken(model(), after, keep=frozenset(["y"])) == ["output 'y' was FLOAT and is FLOAT16"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("z", "i", "y"), "the inputs were x, i and are z, i"),
        (("x", "i", "out"), "the outputs were y and are out"),
    ],
)
def test_names_never_change(names, said):
    assert broken(model(), model(names=names), keep=True) == [said]


def test_a_known_dimension_never_changes():
    assert broken(model(), model("float[N,3]"), keep=True) == ["input 'x' had shape ['N', 2] and has ['N', 3]"]
    assert broken(model(), model("float[4,2]"), keep=True) == []
