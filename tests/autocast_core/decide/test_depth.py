import pytest

from autocast_core.decide.depth import reduction_depth

CASES = {
    "Conv": ("float[1,6,9,9] x, float[4,6,3,2] w", "Conv(x, w)", 36),
    "grouped Conv": ("float[1,6,9,9] x, float[4,3,3,2] w", "Conv<group = 2>(x, w)", 18),
    "ConvTranspose": ("float[1,2048,4,4] x, float[2048,8,3,3] w", "ConvTranspose(x, w)", 2048 * 9),
    "strided ConvTranspose": ("float[1,8,4,4] x, float[8,8,4,4] w", "ConvTranspose<strides = [2, 2]>(x, w)", 8 * 4),
    "grouped ConvTranspose": ("float[1,8,4,4] x, float[8,8,3,3] w", "ConvTranspose<group = 4>(x, w)", 2 * 9),
    "Gemm": ("float[2,5] x, float[5,3] w", "Gemm(x, w)", 5),
    "transposed Gemm": ("float[5,2] x, float[5,3] w", "Gemm<transA = 1>(x, w)", 5),
    "MatMul": ("float[7,2,5] x, float[5,3] w", "MatMul(x, w)", 5),
    "MatMul of a vector": ("float[N] x, float[5] w", "MatMul(x, w)", 5),
    "Einsum": ("float[2,3,4] x, float[4,5] w", 'Einsum<equation = "abc,cd->ad">(x, w)', 12),
    "implicit Einsum": ("float[2,3] x, float[3,4] w", 'Einsum<equation = "ij,jk">(x, w)', 3),
    "broadcast Einsum": ("float[9,2,3] x, float[9,3,4] w", 'Einsum<equation = "...ij,...jk->...ik">(x, w)', 3),
    "AveragePool": ("float[1,2,9,9] x", "AveragePool<kernel_shape = [3, 5]>(x)", 15),
    "MaxPool": ("float[1,2,9,9] x", "MaxPool<kernel_shape = [3, 5]>(x)", 1),
    "LpPool": ("float[1,2,9,9] x", "LpPool<kernel_shape = [3, 3]>(x)", 9),
    "GlobalAveragePool": ("float[1,2,256,256] x", "GlobalAveragePool(x)", 65536),
    "GlobalMaxPool": ("float[1,2,9,9] x", "GlobalMaxPool(x)", 1),
    "ReduceSum of all": ("float[100,100] x", "ReduceSum(x)", 10000),
    "ReduceSum of an input's axes": ("float[4,5,6] x", "ReduceSum(x, ax)", 20),
    "ReduceSum of the axes that a Constant lists": ("float[4,5,6] x", "ReduceSum(x, listed)", 20),
    "ReduceMean of an attribute's axis": ("float[2,700] x", "ReduceMean<axes = [0]>(x)", 2),
    "ReduceMean of a negative axis": ("float[2,700] x", "ReduceMean<axes = [-1]>(x)", 700),
    "ReduceSum of nothing": ("float[4,5] x", "ReduceSum<noop_with_empty_axes = 1>(x)", 1),
    "ReduceL2": ("float[4,5] x", "ReduceL2<axes = [1]>(x)", 5),
    "ReduceLogSumExp": ("float[4,5] x", "ReduceLogSumExp<axes = [0, 1]>(x)", 20),
    "ReduceMax": ("float[4,5] x", "ReduceMax<axes = [1]>(x)", 1),
    "Softmax": ("float[4,5] x", "Softmax<axis = 0>(x)", 4),
    "LogSoftmax": ("float[4,5] x", "LogSoftmax(x)", 5),
    "LayerNormalization": ("float[2,4,5] x, float[4,5] s", "LayerNormalization<axis = 1>(x, s)", 20),
    "InstanceNormalization": ("float[1,2,7,9] x, float[2] s, float[2] b", "InstanceNormalization(x, s, b)", 63),
    "MeanVarianceNormalization": ("float[2,3,4,5] x", "MeanVarianceNormalization(x)", 40),
    "LpNormalization": ("float[2,9] x", "LpNormalization(x)", 9),
    "BatchNormalization": ("float[2,3,4] x, float[3] s", "BatchNormalization(x, s, s, s, s)", 1),
    "LRN": ("float[1,8,4,4] x", "LRN<size = 5>(x)", 5),
    "CumSum": ("float[3,800] x", "CumSum(x, one)", 800),
    "LSTM": ("float[5,2,7] x, float[1,12,7] w, float[1,12,3] r", "LSTM<hidden_size = 3>(x, w, r)", 10),
    "GRU": ("float[5,2,7] x, float[1,9,7] w, float[1,9,3] r", "GRU<hidden_size = 3>(x, w, r)", 10),
    "RNN": ("float[5,2,7] x, float[1,3,7] w, float[1,3,3] r", "RNN<hidden_size = 3>(x, w, r)", 10),
    "Sum": ("float[2] x", "Sum(x, x, x)", 3),
    "Mean": ("float[2] x", "Mean(x, x)", 2),
    "Add": ("float[2] x", "Add(x, x)", 1),
    "unknown shapes": ("float[2,K] x, float[K,3] w", "MatMul(x, w)", None),
    "computed axes": ("float[4,5] x, int64[1] a", "ReduceSum(x, a)", None),
}


@pytest.mark.parametrize("case", CASES)
def test_depth_is_the_number_of_addends_of_one_output_element(model, case):
    inputs, node, wanted = CASES[case]
    found = model(
        f"g ({inputs}) => (float[*] y) <int64[2] ax = {{0, 1}}, int64 one = {{1}}>"
        f"{{ listed = Constant<value_ints = [0, 1]>() y = {node} }}".replace("[*]", "[a]")
    )
    assert reduction_depth(found.graph[-1]) == wanted


NEWER = {
    "GroupNormalization": ("float[2,8,4,4] x, float[8] s", "GroupNormalization<num_groups = 2>(x, s, s)", 64),
    "RMSNormalization": ("float[2,4,5] x, float[5] s", "RMSNormalization(x, s)", 5),
    "Attention with few keys": ("float[1,2,3,64] x, float[1,2,9,64] k", "Attention(x, k, k)", 64),
    "Attention with many keys": ("float[1,2,3,64] x, float[1,2,900,64] k", "Attention(x, k, k)", 900),
    "Attention with packed heads": (
        "float[1,3,128] x, float[1,9,128] k",
        "Attention<q_num_heads = 2, kv_num_heads = 2>(x, k, k)",
        64,
    ),
}


@pytest.mark.parametrize("case", NEWER)
def test_depth_of_newer_operators(model, case):
    inputs, node, wanted = NEWER[case]
    assert reduction_depth(model(f"g ({inputs}) => (float[a] y) {{ y = {node} }}", 23).graph[-1]) == wanted
