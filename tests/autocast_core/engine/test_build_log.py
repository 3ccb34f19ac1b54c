"""Recorded build logs of the test models (two layers, FP16, TensorRT for RTX 1.7), read without TensorRT."""

from __future__ import annotations

from pathlib import Path

import pytest

from autocast_core.engine.build_log import is_needed, read
from autocast_core.engine.kernels import EngineDescription
from autocast_core.engine.view import Kernel

LOGS = Path(__file__).parent / "logs"
PRODUCT = (
    "Name: product_myl0_1, LayerType: gemm, "
    "Inputs: [ { Name: a, Dimensions: [2,8,64], Strides: [512,64,1], Datatype: Half, Format: (Linear) Row major }], "
    "Constants: [ { Name: b, Dimensions: [2,64,16], Strides: [1024,16,1], Datatype: Half, Format: (Linear) }], "
    "Outputs: [ { Name: c, Dimensions: [2,8,16], Strides: [128,16,1], Datatype: Float, Format: (Linear) Row major }], "
    "TacticName: __myelin_CASK_STUB, StreamId: 1, Metadata: [ONNX Layer: multiply]"
)


def recorded(name: str) -> list[str]:
    """The messages of a recorded log; the last one is the list of kernels."""
    members, _, kernels = (LOGS / f"{name}.2layers.txt").read_bytes().decode().partition("Layers:")
    return [*members.splitlines(), f"Layers:{kernels}"]


def one(line: str) -> Kernel:
    """The kernel of a list of one."""
    found = read([f"Layers:\n{line}\n\nI/O Tensors:\n Name: a"])
    assert found.problem is None
    (kernel,) = found.kernels
    return kernel


def test_a_line_gives_types_bytes_operations_stream_and_nodes():
    assert one(PRODUCT) == Kernel(
        name="product_myl0_1",
        kind="gemm",
        nodes=("multiply",),
        reads=("float16", "float16"),
        writes=("float",),
        read_bytes=2 * (2 * 8 * 64) + 2 * (2 * 64 * 16),
        written_bytes=4 * (2 * 8 * 16),
        flops=2 * (2 * 8 * 16) * 64,
        operand_type="float16",
        stream=1,
    )


@pytest.mark.parametrize(
    ("model", "kernels", "kinds", "read_bytes", "written_bytes", "flops"),
    [
        ("gpt2", 23, {"gemm", "kgen", "runtime_fusion"}, 50_450_720, 8_392_832, 4_479_516_672),
        ("resnet50", 34, {"correlation", "kgen", "maxpool", "runtime_fusion"}, 76_630_792, 31_422_368, 9_526_378_496),
        ("whisper_encoder", 24, {"gemm", "kgen", "runtime_fusion"}, 52_904_476, 40_800_000, 19_408_896_000),
        ("if_loop", 42, {"add", "copy", "gemm", "kgen", "memset", "runtime_fusion"}, 851_323, 18_911, 1_638_400),
    ],
)
def test_the_recorded_engines_have_the_kernels_bytes_and_operations_of_their_logs(
    model, kernels, kinds, read_bytes, written_bytes, flops
):
    # Summed from the logs by another program; GPT-2's and ResNet's operations are those that their ONNX nodes ask for,
    # ResNet's with the image's three channels filled up to four.
    found = read(recorded(model)).kernels
    assert (len(found), {each.kind for each in found}) == (kernels, kinds)
    assert sum(each.read_bytes for each in found) == read_bytes
    assert sum(each.written_bytes for each in found) == written_bytes
    assert sum(each.flops or 0 for each in found) == flops


def test_fused_attention_is_one_kernel_with_its_masks_and_the_operations_of_both_products():
    fused = [each for each in read(recorded("gpt2")).kernels if each.fused_attention]
    assert [each.name for each in fused] == ["_gemm_mha_v2_myl0_5", "_gemm_mha_v2_myl0_15"]
    assert fused[0].nodes == ("node_matmul_1", "node_softmax", "node_add_172", "node_mul_119", "node_matmul")
    assert sorted(fused[0].reads) == ["bool", "bool", "float16", "float16", "float16"]
    # Two batches of 12 heads, 64 tokens, head size 64.
    assert {each.flops for each in fused} == {2 * 24 * 64 * 64 * (64 + 64)}


def test_the_members_of_attention_patterns_are_named():
    assert set(read(recorded("gpt2")).attention) == {
        *("node_matmul", "node_softmax", "node_matmul_1"),
        *("node_matmul_2", "node_softmax_1", "node_matmul_3"),
    }


def test_events_between_streams_and_jumps_are_no_kernels():
    log, jumps = recorded("whisper_encoder")[-1], recorded("if_loop")[-1]
    assert (log.count("LayerType: wait"), log.count("LayerType: signal")) == (8, 6)
    assert jumps.count("LayerType: cjmp") == 7
    kinds = {each.kind for name in ("whisper_encoder", "if_loop") for each in read(recorded(name)).kernels}
    assert not kinds & {"wait", "signal", "jmp", "cjmp"}
    assert {each.stream for each in read(recorded("whisper_encoder")).kernels} == {0, 1, 2}


def test_kernels_that_only_move_or_cast_are_told_from_those_that_compute():
    moving = [each.name for each in read(recorded("resnet50")).kernels if each.only_moves]
    assert moving == ["__myl_ConcTran_myl0_0", "__myl_Tran_myl0_31"]


def test_a_suffix_after_the_nodes_is_not_part_of_a_name():
    text = recorded("resnet50")[-1]
    assert "[ONNX Layer: node_Conv_452]__gemm_from_conv1x1" in text
    nodes = {name for each in read([text]).kernels for name in each.nodes}
    assert "node_Conv_452" in nodes
    assert not any("gemm_from" in name for name in nodes)


def test_separators_between_nodes_and_brackets_in_names_are_kept_apart():
    line = PRODUCT.replace("[ONNX Layer: multiply]", "[ONNX Layer: a[0]]\x1e[ONNX Layer: b]\x1f[ONNX Layer: c]")
    assert one(line).nodes == ("a[0]", "b", "c")


def test_nodes_of_bodies_are_named_without_the_way_to_them():
    nodes = {name for each in read(recorded("if_loop")).kernels for name in each.nodes}
    assert {"/cells.0/Mul_3", "/cells.0/If"} <= nodes
    assert not any("|" in name for name in nodes)


def test_sizes_that_only_the_run_decides_leave_bytes_and_operations_unknown():
    kernel = one(PRODUCT.replace("[2,8,", "[-1,8,"))
    assert (kernel.read_bytes, kernel.written_bytes, kernel.flops) == (None, None, None)
    assert kernel.reads == ("float16", "float16")


def test_a_kind_that_is_not_known_is_a_kernel():
    kernel = one(PRODUCT.replace("LayerType: gemm", "LayerType: quantum"))
    assert (kernel.kind, kernel.flops, kernel.written_bytes) == ("quantum", None, 1024)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "the build log lists no kernels"),
        (["Layers:\nproduct (gemm)\n\n"], "the build log describes a kernel in an unknown form: product (gemm)"),
        ([f"Layers:\n{PRODUCT.replace('Dimensions: [2,8,64]', 'Extent: 2x8x64')}\n\n"], "a tensor in an unknown form"),
        ([f"Layers:\n{PRODUCT.replace('Datatype: Float', 'Datatype: E8M0')}\n\n"], "the unknown element type E8M0"),
        ([f"Layers:\n{PRODUCT}\n{PRODUCT[:-4]}"], "the build log ends within its list of kernels"),
    ],
)
def test_a_log_in_another_form_gives_no_kernels_and_says_so(messages, problem):
    found = read(messages)
    assert (found.kernels, found.attention) == ((), ())
    assert problem in found.problem


def test_an_engine_without_kernels_is_no_problem():
    assert read(["Layers:\n\nI/O Tensors:\n"]) == EngineDescription()


def test_only_the_messages_that_are_read_are_needed():
    assert all(map(is_needed, recorded("gpt2")))
    assert not is_needed("Found 3 candidates for fusion")
    assert not is_needed("Layer(Constant): weights")
