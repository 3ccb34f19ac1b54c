"""Reading what other tools are told about precisions, and matching it with nodes."""

import pytest

from autocast_core.errors import ConfigError
from autocast_core.plan.foreign_settings import ForeignSettings, NamedNode, match_settings, read_settings
from autocast_core.precision import Precision

FP32, FP16, BF16 = Precision.FP32, Precision.FP16, Precision.BF16
NODES = (
    NamedNode("graph/conv_1", ("conv_1", "node_of_a"), "Conv"),
    NamedNode("graph/conv_2", ("conv_2",), "Conv"),
    NamedNode("graph/If_1:then_branch/norm", ("norm", "mean", "sub"), "LayerNormalization"),
    NamedNode("graph/Softmax", ("Softmax",), "Relu"),
)


def precisions(text):
    found = match_settings(read_settings(text), NODES)
    return {node_id.rpartition("/")[2]: str(each) for node_id, each in found.precisions.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv_1:fp32", {"conv_1": "fp32"}),
        ("conv_1:fp32,conv_2:fp16", {"conv_1": "fp32", "conv_2": "fp16"}),
        ("--layerPrecisions=conv_1:fp32", {"conv_1": "fp32"}),
        ("'conv_1:fp32'", {"conv_1": "fp32"}),
        ("conv_1:fp32\n# a comment\nconv_2:bf16\n", {"conv_1": "fp32", "conv_2": "bf16"}),
        ("--layer-precisions conv_1:float32 conv_2:float16", {"conv_1": "fp32", "conv_2": "fp16"}),
        ("conv_1:float32 conv_2:float16", {"conv_1": "fp32", "conv_2": "fp16"}),
        ("--layerPrecisions conv_2:bfloat16", {"conv_2": "bf16"}),
        ("conv*:fp32", {"conv_1": "fp32", "conv_2": "fp32"}),
        ("*_2:fp32", {"conv_2": "fp32"}),
        ("c*2:fp32", {"conv_2": "fp32"}),
        ("c.*:fp32,norm:fp16", {"norm": "fp16"}),  # no regular expression
        ("*:fp16", {"conv_1": "fp16", "conv_2": "fp16", "norm": "fp16", "Softmax": "fp16"}),
        ("*:fp16,conv*:fp32", {"conv_1": "fp32", "conv_2": "fp32", "norm": "fp16", "Softmax": "fp16"}),
        ("conv_1:fp32,*:fp16", {"conv_1": "fp32", "conv_2": "fp16", "norm": "fp16", "Softmax": "fp16"}),
        ("conv_1:fp16,conv*:fp32", {"conv_1": "fp16", "conv_2": "fp32"}),
        ("conv*:fp32,*_2:fp16", {"conv_1": "fp32", "conv_2": "fp16"}),
        ("*_2:fp16,conv*:fp32", {"conv_1": "fp32", "conv_2": "fp32"}),
        ("conv_1:fp32,conv_1:fp16", {"conv_1": "fp16"}),
        ("mean:fp32", {"norm": "fp32"}),  # of a fused node
        ("node_of_a:fp32", {"conv_1": "fp32"}),
    ],
)
def test_layers_precisions_are_matched_by_exact_name_then_pattern_then_star(text, expected):
    assert precisions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"op_block_list": ["Conv"]}', {"conv_1", "conv_2"}),
        ('{"node_block_list": ["conv_1"]}', {"conv_1"}),
        ('{"op_block_list": ["Relu"], "node_block_list": ["norm"]}', {"Softmax", "norm"}),
        ('{"op_block_list": null, "node_block_list": ["norm"]}', {"norm"}),
        ('{"op_block_list": ["Softmax"]}', set()),  # a node has that name, no operator
        ('["Conv", "norm"]', {"conv_1", "conv_2", "norm"}),
        ("Conv\nnorm\n", {"conv_1", "conv_2", "norm"}),
        ("Conv, Softmax", {"conv_1", "conv_2", "Softmax"}),
        ("# kept\nRelu", {"Softmax"}),
    ],
)
def test_block_lists_keep_operators_and_nodes_in_fp32(text, expected):
    assert precisions(text) == dict.fromkeys(expected, "fp32")


def test_entries_that_name_no_node_are_told():
    found = match_settings(read_settings("conv_1:fp32,absent:fp16,x*:fp32"), NODES)
    assert found.unmatched == ("absent", "x*")


def test_eight_bits_are_no_choice_of_this_converter():
    found = read_settings("a:int8,b:fp16,c:int32,d:fp8")
    assert found == ForeignSettings(layers=(("b", FP16),), ignored=("a:int8", "c:int32", "d:fp8"))


@pytest.mark.parametrize("text", ["a:fp16,b:bf16", "*:bf16,conv_1:fp16"])
def test_two_16_bit_types_are_refused(text):
    nodes = [NamedNode("graph/a", ("a",), "Add"), NamedNode("graph/b", ("b",), "Add"), *NODES]
    with pytest.raises(ConfigError, match="ask for fp16 and for bf16"):
        _ = match_settings(read_settings(text), nodes).low


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "are empty"),
        ("  \n", "are empty"),
        ("a:fp16,b", "'b' is not NAME:TYPE"),
        ("a:fp17", "'a:fp17' is not NAME:TYPE"),
        ("a:FP16", "'a:FP16' is not NAME:TYPE"),
        ("a:float", "is not NAME:TYPE"),
        (":fp16", "':fp16' is not NAME:TYPE"),
        ("a*b*:fp16", "at most one *"),
        ("[1, 2]", "give a list of names"),
        ('{"op_block_list": "Conv"}', "op_block_list of the block list"),
        ('{"node_block_list": [null]}', "node_block_list of the block list"),
        ('{"blocked": []}', "unknown key 'blocked'"),
        ("{}", "has no key"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(ConfigError) as error:
        read_settings(text)
    assert said in str(error.value)


def test_names_of_tensorflow_and_torch_are_no_layers_precisions():
    assert read_settings("dense/MatMul:0\nonnx::Conv_12").names == ("dense/MatMul:0", "onnx::Conv_12")
