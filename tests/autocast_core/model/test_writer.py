"""Writing models: inline or beside, whole or not at all, the same bytes every time."""

import errno
import os
import shutil
from collections import namedtuple

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from autocast_core.errors import ModelError, OutputError
from autocast_core.model import (
    ConvertedTensor,
    all_tensors,
    file_digest,
    files_digest,
    load_model,
    load_proto,
    model_files,
    runtime_model,
    save_model,
    save_skeleton,
    weights_digest,
)
from autocast_core.model.protobuf.serialized_parts import structure_of

Usage = namedtuple("Usage", "total used free")


def halved(model):
    """The model with its main weights in FP16, as a conversion leaves them."""
    for value in model.graph.initializers.values():
        value.const_value = ConvertedTensor(value.const_value, ir.DataType.FLOAT16)
        value.dtype = ir.DataType.FLOAT16
    return model


@pytest.mark.parametrize("external", [False, True])
def test_what_is_written_is_what_was_read(weighted_model, save, tmp_path, external):
    source = load_model(save(weighted_model, external=not external))
    saved = save_model(source, tmp_path / "copy.onnx", external_data=external)
    onnx.checker.check_model(saved.path, full_check=True)
    copy = onnx.load(saved.path)
    for ours, theirs in zip(copy.graph.initializer, weighted_model.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(ours), numpy_helper.to_array(theirs))
    assert weights_digest(load_model(saved.path)) == weights_digest(load_proto(weighted_model))


def test_the_graph_is_untouched_by_being_written(weighted_model, save, tmp_path):
    model = load_model(save(weighted_model))
    before = list(all_tensors(model))
    save_model(model, tmp_path / "copy.onnx")
    assert all(now is then for now, then in zip(all_tensors(model), before, strict=True))


def test_converted_weights_are_rounded_on_their_way_out(weighted_model, save, tmp_path):
    saved = save_model(halved(load_model(save(weighted_model))), tmp_path / "half.onnx")
    written = numpy_helper.to_array(onnx.load(saved.path).graph.initializer[0])
    np.testing.assert_array_equal(
        written, numpy_helper.to_array(weighted_model.graph.initializer[0]).astype(np.float16)
    )


def test_another_rounding_may_be_handed_in(weighted_model, save, tmp_path):
    def sevens(source, target):
        target[:] = 7

    saved = save_model(halved(load_model(save(weighted_model))), tmp_path / "half.onnx", round_blocks=sevens)
    assert set(numpy_helper.to_array(onnx.load(saved.path).graph.initializer[0]).flat) == {7.0}


@pytest.mark.parametrize("external", [False, True])
def test_the_same_model_gives_the_same_bytes_and_their_digest(weighted_model, save, tmp_path, external):
    model = load_model(save(weighted_model))
    first = save_model(model, tmp_path / "same.onnx", external_data=external)
    content = [file.read_bytes() for file in model_files(first.path)]
    second = save_model(model, tmp_path / "same.onnx", external_data=external)
    assert [file.read_bytes() for file in model_files(second.path)] == content
    assert first == second
    assert second.sha256 == files_digest(tmp_path, model_files(second.path))
    assert second.bytes == sum(map(len, content))


def test_large_tensors_begin_at_a_page_and_small_ones_stay_in_the_model(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y) {y = Sum (x, a, b, c)}'
    )
    for name, size in (("a", 2000), ("b", 1 << 18), ("c", 3)):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(size, np.float32), name))
    saved = save_model(load_proto(model), tmp_path / "m.onnx", external_data=True)
    written = onnx.load(saved.path, load_external_data=False).graph.initializer
    places = {t.name: {entry.key: entry.value for entry in t.external_data} for t in written}
    assert places["a"] == {"location": "m.onnx.data", "offset": "0", "length": "8000"}
    assert places["b"]["offset"] == "8192"
    assert places["c"] == {}


def test_weights_that_share_a_range_of_the_source_share_one_in_the_data_file(tmp_path, save):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y) {y = Sum (x, a, b)}'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4096, np.float32), "a"))
    path = save(model, external=True)
    linked = onnx.load(path, load_external_data=False)
    linked.graph.initializer.add().CopyFrom(linked.graph.initializer[0])
    linked.graph.initializer[1].name = "b"
    path.write_bytes(linked.SerializeToString())
    saved = save_model(load_model(path), tmp_path / "copy.onnx", external_data=True)
    assert saved.data_path.stat().st_size == 4 * 4096


def test_a_model_over_the_limit_gets_a_data_file_by_itself(weighted_model, tmp_path, monkeypatch):
    monkeypatch.setattr("autocast_core.model.writer.INLINE_LIMIT", 20_000)
    assert save_model(load_proto(weighted_model), tmp_path / "m.onnx").data_path == tmp_path / "m.onnx.data"
    with pytest.raises(OutputError, match="allow external data"):
        save_model(load_proto(weighted_model), tmp_path / "n.onnx", external_data=False)


def test_a_skeleton_is_small_and_refers_to_the_files_of_the_source(weighted_model, save, tmp_path):
    source = load_model(save(weighted_model))
    (tmp_path / "work").mkdir()
    reference = save_skeleton(source, tmp_path / "work" / "skeleton.onnx")
    assert reference.data_folder == tmp_path.resolve()
    assert reference.digest == file_digest(reference.path)
    assert reference.path.stat().st_size < 4096
    assert weights_digest(load_model(reference)) == weights_digest(source)


def test_a_skeleton_of_converted_weights_has_them_beside_it(weighted_model, save, tmp_path):
    reference = save_skeleton(halved(load_model(save(weighted_model))), tmp_path / "skeleton.onnx")
    assert reference.data_folder is None
    assert load_model(reference).graph.initializers["w"].dtype == ir.DataType.FLOAT16


def test_a_runtime_gets_references_for_what_lies_in_files_and_bytes_for_the_rest(weighted_model, save):
    model = load_model(save(weighted_model))
    model.graph.initializers["w"].const_value = ir.Tensor(np.zeros((64, 64), np.float32), name="w")
    with runtime_model(structure_of(model)) as content:
        proto = onnx.ModelProto.FromString(content.bytes)
        assert proto.graph.initializer[0].raw_data == bytes(4 * 64 * 64)
        branches = {attribute.name: attribute.g for attribute in proto.graph.node[1].attribute}
        read = onnx.numpy_helper.to_array(branches["then_branch"].initializer[0], str(content.data_folder))
    v = next(attribute.g for attribute in weighted_model.graph.node[1].attribute if attribute.name == "then_branch")
    np.testing.assert_array_equal(read, onnx.numpy_helper.to_array(v.initializer[0]))


def test_a_runtime_gets_a_temporary_file_for_more_than_a_message_can_hold(weighted_model, save, monkeypatch):
    monkeypatch.setattr("autocast_core.model.writer.INLINE_LIMIT", 4096)
    with runtime_model(structure_of(halved(load_model(save(weighted_model))))) as content:
        proto = onnx.ModelProto.FromString(content.bytes)
        entries = {entry.key: entry.value for entry in proto.graph.initializer[0].external_data}
        stored = np.fromfile(content.data_folder / entries["location"], np.float16, 4096, offset=int(entries["offset"]))
        expected = numpy_helper.to_array(weighted_model.graph.initializer[0]).astype(np.float16)
        np.testing.assert_array_equal(stored.reshape(64, 64), expected)
    assert not (content.data_folder / entries["location"]).exists()


def test_a_folder_that_is_missing_or_no_folder_is_refused(weighted_model, tmp_path):
    model = load_proto(weighted_model)
    (tmp_path / "file").touch()
    for target, says in (("none/m.onnx", "no folder"), ("file/m.onnx", "no folder"), ("", "is a folder")):
        with pytest.raises(OutputError, match=says):
            save_model(model, tmp_path / target)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(weighted_model, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(load_proto(weighted_model), tmp_path / "closed" / "m.onnx")


def test_too_little_room_is_refused_before_anything_is_written(weighted_model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 5, 5))
    with pytest.raises(OutputError, match=r"disk is full: \d+ bytes are needed, 5 are free"):
        save_model(load_proto(weighted_model), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("external", [False, True])
def test_a_disk_that_fills_up_leaves_nothing_behind(weighted_model, tmp_path, monkeypatch, external):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "m.onnx").write_bytes(b"the old one")
    monkeypatch.setattr("autocast_core.model.writer._Writer.write", full)
    with pytest.raises(OutputError, match=r"disk is full: \d+ bytes are needed, \d+ are free"):
        save_model(load_proto(weighted_model), tmp_path / "m.onnx", external_data=external)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"m.onnx": b"the old one"}


def test_a_source_that_vanishes_while_it_is_written_leaves_nothing_behind(weighted_model, save, tmp_path):
    path = save(weighted_model)
    model = load_model(path)
    path.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: cannot read tensor 'v'"):
        save_model(model, tmp_path / "copy.onnx")
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_in_bytes(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y) {y=Add(x, a)}'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(9 << 20, np.float32), "a"))
    seen = []
    saved = save_model(load_proto(model), tmp_path / "m.onnx", progress=seen.append)
    assert [step.stage for step in seen] == ["write", "write"]
    assert seen[-1].total == saved.bytes


def test_a_model_may_be_written_over_itself(weighted_model, save):
    path = save(weighted_model, external=True)
    before = weights_digest(load_model(path))
    save_model(load_model(path), path, external_data=True)
    assert weights_digest(load_model(path)) == before


@pytest.mark.slow
def test_a_model_of_more_than_2_gb_is_read_and_written_within_a_tenth_of_its_size(tmp_path):
    """2.4 GB of zeros in a file with holes: 6 weights of 100 Mi elements are read, converted and written."""
    import subprocess
    import sys

    script = """
import resource, sys
from pathlib import Path
import onnx, onnx_ir as ir
from autocast_core.model import ConvertedTensor, load_model, save_model
folder = Path(sys.argv[1])
elements, count = 100 << 20, 6
with open(folder / "w.bin", "wb") as file:
    file.truncate(4 * elements * count)
model = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[1] x) => (float y) {y = Sum (x)}')
for index in range(count):
    tensor = model.graph.initializer.add(name=f"w{index}", data_type=1, dims=[elements], data_location=1)
    for key, value in (("location", "w.bin"), ("offset", 4 * elements * index), ("length", 4 * elements)):
        tensor.external_data.add(key=key, value=str(value))
    model.graph.node[0].input.append(tensor.name)
onnx.save(model, folder / "m.onnx")
loaded = load_model(folder / "m.onnx")
before = save_model(loaded, folder / "same.onnx")
for value in loaded.graph.initializers.values():
    value.const_value = ConvertedTensor(value.const_value, ir.DataType.FLOAT16)
after = save_model(loaded, folder / "half.onnx", external_data=True)
print(before.data_path.name, before.bytes, after.bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    data, before, after, peak = done.stdout.split()
    full = 4 * 6 * (100 << 20)
    assert data == "same.onnx.data"
    assert full <= int(before) < full * 1.001
    assert full / 2 <= int(after) < full / 2 * 1.01
    assert int(peak) < full / 10
    onnx.checker.check_model(tmp_path / "half.onnx")
    assert len(load_model(tmp_path / "same.onnx").graph.initializers) == 6
