"""What reads untrusted input, as calls for an isolated process: a value, or one of our errors."""

from __future__ import annotations

import functools
import json
import resource
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.errors import ConfigError


def peak() -> int:
    """The most KiB that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def model(data: bytes) -> str:
    """A model file to its plan, and the plan printed out."""
    from autocast_core.apply import apply_plan
    from autocast_core.calibrate import Statistics
    from autocast_core.calibrate.weights import scan_weights
    from autocast_core.config import ConversionConfig, Precision
    from autocast_core.decide import decide
    from autocast_core.model import load_model, model_files, save_model
    from autocast_core.sanitize import sanitize
    from autocast_core.verify import load_checked

    path, config = _file("m.onnx", data), ConversionConfig()
    model_files(path)
    graph = sanitize(load_checked(path), config).model
    load_model(path)
    plan = decide(graph, Statistics(), scan_weights(graph, Precision.FP16), config)
    save_model(apply_plan(graph, plan).model, path.with_name("out.onnx"))
    return plan.summary()


def batches(data: bytes, suffix: str) -> int:
    """A calibration file, every batch of it."""
    from autocast_core.data import InputSpec, open_batches

    found = open_batches(_file(f"d{suffix}", data), [InputSpec("x", ir.DataType.FLOAT, ("N", 4))])
    for batch in found:
        assert batch["x"].dtype == np.float32
    assert found.labels is None or len(found.labels) >= 0
    return len(found)


def plan(text: str) -> str:
    """A plan file, shown and applied to the model that the undamaged one was made for."""
    from autocast_core.apply import apply_plan
    from autocast_core.plan import PrecisionPlan
    from flows.cli.plan import shown

    shown(_file("p.json", text.encode(errors="surrogatepass")), None)
    found = PrecisionPlan.from_json(text)
    again = PrecisionPlan.from_json(found.to_json())
    apply_plan(_planned_graph(), again)
    return again.summary()


@functools.cache
def _planned_model() -> Any:
    import onnx.parser

    from autocast_core.model import load_proto

    return load_proto(
        onnx.parser.parse_model(
            '<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y)'
            " { k = Constant <value = float[2] {1, 65505}> () a = Mul (x, k) y = Relu (a) }"
        )
    )


def _planned_graph() -> ir.Model:
    from autocast_core.config import ConversionConfig
    from autocast_core.sanitize import sanitize

    return sanitize(_planned_model(), ConversionConfig()).model


@functools.cache
def a_plan() -> str:
    """A plan as we write them."""
    from autocast_core.calibrate import Statistics
    from autocast_core.calibrate.weights import scan_weights
    from autocast_core.config import ConversionConfig, Precision
    from autocast_core.decide import decide

    graph = _planned_graph()
    return decide(graph, Statistics(), scan_weights(graph, Precision.FP16), ConversionConfig()).to_json()


def yaml(data: bytes) -> int:
    """A file as a spec and as a fleet; both refuse what is not theirs, so each is tried."""
    from flows.request.fleet_file import read_fleet
    from flows.request.spec import load_spec

    path, read = _file("s.yaml", data), 0
    for reader in (lambda: load_spec(path, {}).config(), lambda: read_fleet(path)):
        try:
            reader()
            read += 1
        except ConfigError as error:
            assert str(error).isprintable() and len(str(error)) < 2000, error
    if not read:
        raise ConfigError("neither a spec nor a fleet")
    return read


def spec(values: Mapping[str, Any]) -> str:
    """Options as a deployment's parameters or a fleet hold them."""
    from flows.request.spec import make_spec

    found = make_spec(values, "fuzz")
    found.config()
    return found.canonical()


def tags(own: Mapping[str, str]) -> str:
    """The tags of a registered version."""
    from flows.request.registry_tags import VersionTags, request_for
    from flows.request.tag_policy import TagPolicy
    from flows.request.yaml_file import read_yaml

    def read(location: str) -> Mapping[str, Any]:
        return read_yaml(_file("t.yaml", location.encode(errors="surrogatepass")))[0]

    policy = TagPolicy(locations=("s3://",))
    return repr(request_for(VersionTags("resnet", "3", own, {"autocast.precision": "fp16"}), read, policy))


def location(text: str) -> str:
    """Where a model or data are said to be."""
    from tasks.storage.uri import parse_uri

    return repr(parse_uri(text))


def delivery(body: bytes, headers: Mapping[str, str], secret: str, now: float) -> str:
    """A webhook's request; one of the bridge's refusals is as good as one of our errors."""
    from flows.bridge.delivery import Delivery, DeliveryRejectedError, check, read
    from flows.bridge.events import event_of, reason_to_skip
    from flows.request.registry_tags import Skipped

    try:
        message = read(body)
        skipped = reason_to_skip(message) or Skipped("fuzz")
        identifier = check(headers, body, secret, now, 300.0)
    except DeliveryRejectedError as error:
        raise ConfigError(str(error)) from error
    return json.dumps(event_of(Delivery(identifier, message), skipped))


def _file(name: str, content: bytes) -> Path:
    path = Path(tempfile.gettempdir()) / name
    path.write_bytes(content)
    return path
