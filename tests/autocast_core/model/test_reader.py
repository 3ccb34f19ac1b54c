"""Opening models: what is read, what stays in its file, what is refused."""

import os

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
from onnx import numpy_helper

from autocast_core.model import FileTensor, ModelRef, all_tensors, load_model, load_proto, model_files, weights_digest


def weights(model):
    return {tensor.name: tensor.numpy() for tensor in all_tensors(model) if tensor.size > 1}


def test_large_tensors_stay_in_the_file_wherever_they_are(weighted_model, save):
    model = load_model(save(weighted_model))
    kinds = [type(tensor) is FileTensor for tensor in all_tensors(model) if tensor.size > 1]
    assert kinds == [True, True, True]


def test_lazy_weights_have_the_values_of_the_model(weighted_model, save):
    expected = numpy_helper.to_array(weighted_model.graph.initializer[0])
    for external in (False, True):
        np.testing.assert_array_equal(weights(load_model(save(weighted_model, external)))["w"], expected)


def test_inner_values_have_inferred_types(weighted_model, save):
    model = load_model(save(weighted_model))
    assert model.graph.node(0).outputs[0].shape == ir.Shape([1, 64])


def test_a_model_whose_inference_fails_loads_without_inferred_types(save):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x, float[4,5] z) => (float y) {y = MatMul (x, z)}'
    )
    assert load_model(save(model)).graph.node(0).op_type == "MatMul"


def test_a_model_in_memory_is_read_lazily_and_not_modified(weighted_model):
    before = weighted_model.SerializeToString()
    model = load_proto(weighted_model)
    model.graph.initializers["w"].name = "renamed"
    assert weighted_model.SerializeToString() == before
    expected = numpy_helper.to_array(weighted_model.graph.initializer[0])
    np.testing.assert_array_equal(model.graph.initializers["renamed"].const_value.numpy(), expected)


def test_float_data_is_read_as_well_as_raw_data(save):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> {y=Add(x,w)}'
    )
    assert len(model.graph.initializer[0].float_data) == 3
    assert weights(load_model(save(model)))["w"].tolist() == [1, 2, 3]


def test_a_sparse_initializer_becomes_dense(save):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2,2] x) => (float[2,2] y) {y = Add(x, w)}'
    )
    sparse = model.graph.sparse_initializer.add(dims=[2, 2])
    sparse.values.CopyFrom(numpy_helper.from_array(np.float32([5, 7]), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.int64([1, 2]), ""))
    assert weights(load_model(save(model)))["w"].tolist() == [[0, 5], [7, 0]]


def test_a_map_output_and_training_information_survive(save):
    from autocast_core.model import save_model

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3]> g (float[1,2] x) => (float[1,2] y) {y=Identity(x)}'
    )
    output = model.graph.output.add(name="z")
    entry = output.type.sequence_type.elem_type.map_type
    entry.key_type = onnx.TensorProto.INT64
    entry.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model.graph.node.add(op_type="ZipMap", domain="ai.onnx.ml", input=["y"], output=["z"]).attribute.append(
        onnx.helper.make_attribute("classlabels_int64s", [0, 1])
    )
    model.training_info.add().algorithm.name = "sgd"
    path = save(model)
    save_model(load_model(path).clone(), path.with_name("copy.onnx"))
    copy = onnx.load(path.with_name("copy.onnx"))
    copied = copy.graph.output[1].type.sequence_type.elem_type.map_type
    assert (copied.key_type, copied.value_type.tensor_type.elem_type) == (
        onnx.TensorProto.INT64,
        onnx.TensorProto.FLOAT,
    )
    assert copy.training_info[0].algorithm.name == "sgd"


def test_a_hub_cache_of_links_into_a_folder_of_blobs_loads(weighted_model, save, tmp_path):
    path = save(weighted_model, external=True)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for file, blob in ((path, "aa"), (path.with_name("model.onnx.data"), "bb")):
        file.rename(blobs / blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob}")
    linked = load_model(snapshot / "model.onnx")
    assert weights_digest(linked) == weights_digest(load_proto(weighted_model))
    assert model_files(snapshot / "model.onnx") == (snapshot / "model.onnx", snapshot / "model.onnx.data")


def test_a_link_to_a_model_finds_the_data_beside_the_real_file(weighted_model, save, tmp_path):
    path = save(weighted_model, external=True)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "model.onnx"
    link.symlink_to(path)
    assert weights_digest(load_model(link)) == weights_digest(load_model(path))
    assert model_files(link) == (path.resolve(), path.with_name("model.onnx.data").resolve())


def test_a_hard_linked_model_is_read(weighted_model, save, tmp_path):
    path = save(weighted_model)
    os.link(path, tmp_path / "second.onnx")
    assert weights_digest(load_model(path)) == weights_digest(load_proto(weighted_model))


def test_a_model_without_external_data_is_one_file(weighted_model, save):
    path = save(weighted_model)
    assert model_files(path) == (path,)


def test_a_reference_looks_for_data_in_its_data_folder(weighted_model, save, tmp_path):
    path = save(weighted_model, external=True)
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "model.onnx")
    loaded = load_model(ModelRef(moved, "", tmp_path))
    assert weights_digest(loaded) == weights_digest(load_proto(weighted_model))


def test_a_reference_survives_json(tmp_path):
    reference = ModelRef(tmp_path / "m.onnx", "ab", tmp_path)
    assert ModelRef.from_json(reference.to_json()) == reference
