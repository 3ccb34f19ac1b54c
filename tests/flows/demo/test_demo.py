"""The demo's model must be good in FP32, useless in naive FP16, and good again with its preprocessing in FP32."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from flows.demo import DemoMaterials, materials
from tests.onnx_models import run_in_onnxruntime

PREPROCESSING = {"normalize/energy", "normalize/norm", "normalize/unit"}


@pytest.fixture(scope="module")
def demo() -> DemoMaterials:
    return materials()


@pytest.fixture(scope="module")
def model(demo: DemoMaterials) -> onnx.ModelProto:
    return onnx.load_model(str(demo.model))


def test_the_materials_are_small(demo: DemoMaterials):
    sizes = [path.stat().st_size for path in (demo.model, demo.calibration, demo.evaluation)]
    assert sum(sizes) < 600_000


def test_the_model_is_valid_fp32_with_a_dynamic_batch(model: onnx.ModelProto):
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [17]
    (image,) = model.graph.input
    assert image.name == "image"
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT}


def test_every_node_has_its_own_name(model: onnx.ModelProto):
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names) >= 20


def test_images_are_whole_raw_pixels_and_held_out(demo: DemoMaterials):
    with np.load(demo.calibration) as calibration, np.load(demo.evaluation) as evaluation:
        seen, unseen, labels = calibration["image"], evaluation["image"], evaluation["labels"]
    assert sorted(set(labels.tolist())) == list(range(10))
    for images in (seen, unseen):
        assert images.dtype == np.float32
        assert np.array_equal(images, np.round(images))
        assert (images.min(), images.max()) == (0.0, 255.0)
    assert not {image.tobytes() for image in seen} & {image.tobytes() for image in unseen}


def test_only_the_preprocessing_exceeds_the_default_range_limit(model: onnx.ModelProto, demo: DemoMaterials):
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    del probe.graph.output[:]
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    with np.load(demo.calibration) as data:
        image = data["image"]
    values = dict(zip(names, run_in_onnxruntime(probe, {"image": image}), strict=True)) | {"image": image}
    wide = {name for name, value in values.items() if np.abs(value).max() > 512}
    assert {node.name for node in model.graph.node if wide & {*node.input, *node.output}} == PREPROCESSING
    assert values["normalize/energy"].max() > np.finfo(np.float16).max


def test_fp32_recognises_the_held_out_digits(model: onnx.ModelProto, demo: DemoMaterials):
    assert 0.97 <= _top1(model, demo) <= 0.995


def test_fp16_everywhere_guesses(model: onnx.ModelProto, demo: DemoMaterials):
    assert _top1(_rounded(model, keep=()), demo) < 0.2


def test_fp16_with_the_preprocessing_in_fp32_is_as_good_as_fp32(model: onnx.ModelProto, demo: DemoMaterials):
    assert _top1(_rounded(model, keep=PREPROCESSING), demo) == pytest.approx(_top1(model, demo), abs=0.003)


def _rounded(model: onnx.ModelProto, keep: Collection[str]) -> onnx.ModelProto:
    """The model with every weight, and every value that a node outside `keep` reads or writes, rounded to FP16."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for tensor in result.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float16).astype(np.float32), tensor.name))
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        if node.name not in keep:
            for index, name in enumerate(node.input):
                if name not in weights:
                    changed.input[index] = f"{name} rounded for {node.name}"
                    result.graph.node.extend(_round_trip(name, changed.input[index]))
            changed.output[0] = f"{node.output[0]} exact"
            result.graph.node.append(changed)
            result.graph.node.extend(_round_trip(changed.output[0], node.output[0]))
        else:
            result.graph.node.append(changed)
    return result


def _round_trip(source: str, target: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", [source], [f"{target} low"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{target} low"], [target], to=TensorProto.FLOAT),
    ]


def _top1(model: onnx.ModelProto, demo: DemoMaterials) -> float:
    with np.load(demo.evaluation) as data:
        image, labels = data["image"], data["labels"]
    return float((run_in_onnxruntime(model, {"image": image})[0].argmax(axis=1) == labels).mean())
