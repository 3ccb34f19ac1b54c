"""The executed depth with an engine made of NumPy: feeds, buffers, outputs, timing, the inspector's layers, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core.backends.tensorrt import gpu as tensorrt_gpu
from autocast_core.backends.tensorrt import validate as tensorrt
from autocast_core.backends.tensorrt.engine_view import engine_view
from autocast_core.backends.tensorrt.execution import EngineTrial, execution_of, write_feeds
from autocast_core.backends.tensorrt.findings import has_remedy, with_remedy
from autocast_core.backends.tensorrt.gpu import EngineError, LoadedEngine
from autocast_core.data import input_specs, open_batches
from autocast_core.engine.validation import FP32, MIXED, Execution, Spread, Validation
from autocast_core.engine.view import EngineView
from autocast_core.errors import DataError
from autocast_core.model import load_model

TEXT = """
<ir_version: 10, opset_import: ["" : 22]>
main (float16[n, 2] x) => (float16[n, 2] y) { [double] d = Add (x, x) [negate] y = Neg (d) }
"""
INSPECTED = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to double",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [{"Name": "r", "Format/Datatype": "Row major linear FP16 format"}],
            "Metadata": "[ONNX Layer: double]",
        },
        {
            "Name": "double + negate",
            "LayerType": "kgen",
            "Inputs": [{"Name": "r", "Format": "linear", "Datatype": "Half"}],
            "Outputs": [{"Name": "y", "Format": "linear", "Datatype": "BF16"}],
            "Metadata": "[ONNX Layer: double]\x1e[ONNX Layer: negate]",
        },
    ]
}


class Device:
    """Host memory that behaves as the device's: addresses, sizes, a clock that ticks by one millisecond a run."""

    stream = 7
    name, compute_capability, driver = "Fake", "9.9", "CUDA 0.0"

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}

    def allocate(self, size):
        pointer = 1000 + len(self.memory)
        self.memory[pointer] = bytearray(max(1, size))
        return pointer

    def free(self, pointer):
        self.memory[pointer] = bytearray()

    def free_bytes(self):
        return 10**6 - sum(map(len, self.memory.values()))

    def write(self, pointer, array):
        self.memory[pointer][: array.nbytes] = array.tobytes()

    def read(self, array, pointer):
        array[...] = np.frombuffer(bytes(self.memory[pointer][: array.nbytes]), array.dtype).reshape(array.shape)

    def synchronize(self): ...

    def milliseconds(self, work):
        work()
        return 2.0


class Engine:
    """x (n, 2) -> y = factor * x, in one element type; at most four rows."""

    num_io_tensors = 2

    def __init__(self, device, kind, factor):
        self.device, self.kind, self.factor = device, kind, factor
        self.addresses, self.shape = {}, ()
        self.dtype = {"HALF": np.float16, "BF16": ml_dtypes.bfloat16, "FLOAT": np.float32}[kind]

    def create_execution_context(self):
        return self

    def create_engine_inspector(self):
        return SimpleNamespace(get_engine_information=lambda form: json.dumps(INSPECTED))

    def get_tensor_name(self, index):
        return "xy"[index]

    def get_tensor_mode(self, name):
        return "input" if name == "x" else "output"

    def get_tensor_dtype(self, name):
        return SimpleNamespace(name=self.kind)

    def set_input_shape(self, name, shape):
        self.shape = tuple(shape)
        return shape[0] <= 4

    def get_tensor_shape(self, name):
        return self.shape

    def set_tensor_address(self, name, pointer):
        self.addresses[name] = pointer

    def execute_async_v3(self, stream):
        array = np.empty(self.shape, self.dtype)
        self.device.read(array, self.addresses["x"])
        self.device.write(self.addresses["y"], (array * self.dtype(self.factor)).astype(self.dtype))
        return stream == self.device.stream


def _trt(device):
    kinds = {b"mixed": ("HALF", -2), b"bf16": ("BF16", -2), b"fp32": ("FLOAT", -2.002), b"broken": None}

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, serialized):
            if kinds[bytes(serialized)] is None:
                self.logger.errors.append("The engine does not support this compute capability.")
                return None
            return Engine(device, *kinds[bytes(serialized)])

    return SimpleNamespace(
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="input"),
        LayerInformationFormat=SimpleNamespace(JSON="json"),
    )


def _engine(kind: bytes, device: Device) -> LoadedEngine:
    logger = SimpleNamespace(errors=[])
    trt = _trt(device)
    return LoadedEngine(trt, trt.Runtime(logger), kind, device, logger)


def _trial(folder: Path, rows: int = 6, batch: int = 4) -> EngineTrial:
    path = folder / "model.onnx"
    onnx.save(onnx.parser.parse_model(TEXT.replace("float16", "float")), str(path))
    data = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return EngineTrial(path, open_batches({"x": data}, input_specs(load_model(path)), batch_size=batch), rounds=3)


def _executed(folder: Path, engines: dict[str, bytes]) -> tuple[EngineTrial, dict]:
    events: dict = {}
    device, trial = Device(), _trial(folder)
    request = write_feeds(trial, folder)
    logger = SimpleNamespace(errors=[])
    blobs = {name: memoryview(blob) for name, blob in engines.items()}
    emit = lambda event, **facts: events.__setitem__(event, facts)  # noqa: E731
    emit("device", name=device.name, capability=device.compute_capability, driver=device.driver)
    tensorrt_gpu._execute(_trt(device), logger, blobs, request, device, emit)
    return trial, json.loads(json.dumps(events))


def test_an_engine_computes_in_its_type_and_hands_out_fp32():
    found = _engine(b"mixed", Device()).run({"x": np.array([[1, 0.1]], dtype=np.float32)})
    assert found[0].dtype == np.float32
    np.testing.assert_array_equal(found[0], np.float32(np.float16([[-2, -0.2]])))


def test_bfloat16_goes_in_and_out():
    found = _engine(b"bf16", Device()).run({"x": np.array([[1, 3]], dtype=np.float32)})
    np.testing.assert_array_equal(found[0], [[-2, -6]])


def test_buffers_grow_and_are_used_again():
    device = Device()
    engine = _engine(b"mixed", device)
    for rows in (1, 2, 1):
        x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
        np.testing.assert_array_equal(engine.run({"x": x})[0], -2 * x)
    assert len(device.memory) == 4


def test_a_shape_outside_the_profile_is_named():
    with pytest.raises(EngineError, match=r"input 'x' of shape \(5, 2\) is outside the optimisation profile"):
        _engine(b"mixed", Device()).run({"x": np.ones((5, 2), dtype=np.float32)})


def test_an_engine_for_another_device_is_said_with_the_remedy():
    with pytest.raises(EngineError, match="cannot be loaded: The engine does not support this compute") as raised:
        _engine(b"broken", Device())
    assert with_remedy(str(raised.value)).endswith("the engine is for another device: build it on this one")


def test_an_execution_has_fidelity_times_and_memory(tmp_path):
    trial, events = _executed(tmp_path, {MIXED: b"mixed", FP32: b"fp32"})
    model = onnx.parser.parse_model(TEXT)
    onnx.save(model, str(tmp_path / "low.onnx"))
    execution = execution_of(trial, events, load_model(tmp_path / "low.onnx"), tmp_path, "tensorrt 11")
    assert execution.fidelity["tensorrt/fidelity/outputs/y/rel_l2"] == pytest.approx(0.001, rel=0.1)
    assert (execution.batches, execution.reference) == (2, "tensorrt 11 FP32, TF32 off")
    assert execution.latency_ms == {MIXED: Spread(2, 2, 2, 3), FP32: Spread(2, 2, 2, 3)}
    assert execution.speedup == Spread(1, 1, 1, 3)
    assert execution.memory_bytes == {MIXED: 2 * 4 * 2 * 2, FP32: 2 * 4 * 2 * 4}
    assert sorted(path.name for path in tmp_path.glob("*-?.npz") if "feeds" not in path.name) == []


def test_where_tensorrt_has_no_fp32_engine_onnx_runtime_is_the_reference(tmp_path):
    trial, events = _executed(tmp_path, {MIXED: b"mixed"})
    execution = execution_of(trial, events, load_model(trial.reference), tmp_path, "tensorrt 11")
    assert execution.reference == "onnxruntime-cpu"
    assert execution.speedup is None
    assert execution.fidelity["tensorrt/fidelity/outputs/y/max_abs"] == 0


def test_metrics_have_the_documented_names(tmp_path):
    trial, events = _executed(tmp_path, {MIXED: b"mixed", FP32: b"fp32"})
    execution = execution_of(trial, events, load_model(trial.reference), tmp_path, "tensorrt 11")
    found = Validation("executed", engine_bytes=5, execution=execution).metrics()
    assert {
        "tensorrt/depth",
        "tensorrt/engine_bytes",
        "tensorrt/latency_ms/fp32",
        "tensorrt/latency_ms/mixed",
        "tensorrt/speedup",
        "tensorrt/fidelity/sqnr_db",
    } <= set(found)
    assert found["tensorrt/depth"] == 3


def test_an_execution_survives_json(tmp_path):
    trial, events = _executed(tmp_path, {MIXED: b"mixed", FP32: b"fp32"})
    execution = execution_of(trial, events, load_model(trial.reference), tmp_path, "tensorrt 11")
    found = Validation("executed", execution=execution)
    assert Validation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_sequences_are_refused_before_anything_is_built(tmp_path):
    trial = _trial(tmp_path)
    with pytest.raises(DataError, match="tensors only"):
        write_feeds(EngineTrial(trial.reference, [{"x": [np.zeros(2)]}]), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [
        "cuMemAlloc_v2: out of memory (cudaError 2)",
        "does not support this compute capability",
        "CUDA driver version is insufficient for CUDA runtime version",
        "Plugin not found, are the plugin name, version, and namespace correct?",
    ],
)
def test_what_the_machine_lacks_has_a_remedy_on_one_line(words):
    assert has_remedy(words)
    assert with_remedy(words).startswith(f"{words}; ")
    assert "\n" not in with_remedy(words)


def test_other_messages_stay_as_they_are():
    assert with_remedy("must have same input types") == "must have same input types"


def test_a_spread_is_the_median_and_the_quartiles():
    assert Spread.of([4, 1, 2, 3, 5]) == Spread(3, 2, 4, 5)
    assert Spread.of([7]) == Spread(7, 7, 7, 1)
    assert Execution.from_json(
        {
            "device": "",
            "compute_capability": "",
            "driver": "",
            "reference": "",
            "batches": 1,
            "latency_ms": {},
            "speedup": None,
            "layers": [],
        }
    ) == Execution("", "", "", "", 1)


def test_a_trial_on_a_gpu_reaches_the_executed_depth(tmp_path, monkeypatch):
    def child(request, folder, timeout):
        events: dict = {"package": {"name": "tensorrt", "version": "11"}, "log": {"lines": []}}
        events["parsed"] = {"ok": True, "errors": [], "seconds": 0.1, "tensors": {}, "outputs": {"y": "float16"}}
        events["built"] = {"ok": True, "errors": [], "seconds": 0.2, "bytes": 5}
        events["device"] = {"name": "Fake", "capability": "9.9", "driver": "CUDA 0.0"}
        for name in ("engine", "reference engine"):
            events[name] = {"messages": [], "left_out": False}
        device, emit = Device(), lambda event, **facts: events.__setitem__(event, facts)
        blobs = {MIXED: memoryview(b"mixed"), FP32: memoryview(b"fp32")}
        tensorrt_gpu._execute(
            _trt(device), SimpleNamespace(errors=[]), blobs, {**request["trial"], "folder": str(folder)}, device, emit
        )
        return events, None

    monkeypatch.setattr(tensorrt, "has_driver", lambda: True)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: True)
    monkeypatch.setattr(tensorrt, "_run_child", child)
    trial = _trial(tmp_path)
    onnx.save(onnx.parser.parse_model(TEXT), str(tmp_path / "low.onnx"))
    found = tensorrt.validate_model(tmp_path / "low.onnx", trial=trial)
    assert (found.depth, found.accepted, found.skipped) == ("executed", True, ())
    assert found.execution is not None
    assert found.execution.speedup == Spread(1, 1, 1, 3)
    view = found.engine_view
    assert (view.described_by, found.fp32_view.described_by) == ("inspector", "inspector")
    assert [kernel.nodes for kernel in view.kernels] == [(), ("graph/double", "graph/negate")]
    types = [(kernel.reads, kernel.writes) for kernel in view.kernels]
    assert types == [(("float",), ("float16",)), (("float16",), ("bfloat16",))]
    assert [kernel.kind for kernel in view.moving] == ["Reformat"]
    assert found.metrics()["engine/kernels"] == 2
    assert "engine/traffic_bytes" not in found.metrics()


def test_an_inspector_that_tells_names_only_leaves_the_view_to_the_build_log(tmp_path, monkeypatch):
    monkeypatch.setitem(INSPECTED, "Layers", ["double + negate"])
    trial, events = _executed(tmp_path, {MIXED: b"mixed", FP32: b"fp32"})
    log = {"messages": ["Layers:\n\nI/O Tensors:"], "left_out": False}
    view, problem = engine_view(log, load_model(trial.reference), events[f"loaded {MIXED}"]["inspected"])
    assert view == EngineView((), 0, {"graph/double": "unnamed", "graph/negate": "unnamed"})
    assert problem == "the engine inspector tells no more than names of layers"


def test_an_engine_that_does_not_run_stays_built_with_the_reason(tmp_path, monkeypatch):
    def child(request, folder, timeout):
        done = {"ok": True, "errors": [], "seconds": 0.1, "tensors": {}, "outputs": {}, "bytes": 5}
        stopped = {"reason": "the engine cannot be prepared: out of memory"}
        return {"parsed": done, "built": done, "stopped": stopped}, None

    monkeypatch.setattr(tensorrt, "has_driver", lambda: True)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: True)
    monkeypatch.setattr(tensorrt, "_run_child", child)
    trial = _trial(tmp_path)
    (reason,) = tensorrt.validate_model(trial.reference, trial=trial).skipped
    assert reason.startswith("execution: the engine cannot be prepared: out of memory; free memory on the GPU")
