"""Which input takes what; a declaration that does not fit its models."""

import onnx
import onnx_ir as ir
import pytest

from autocast_core.composite import CompositeModel, ModelStage, Origin
from autocast_core.composite.wiring import wire
from autocast_core.errors import ConfigError
from autocast_core.model import load_model
from tests.autocast_core.composite.conftest import cached

FIRST = '<ir_version: 8, opset_import: ["": 17]> f (float[N, 2] x) => (float[N, 2] h) { h = Relu(x) }'
SECOND = '<ir_version: 8, opset_import: ["": 17]> s (float[N, 2] x, float[N, 2] h) => (float[N, 2] y) { y = Add(x, h) }'
INTEGERS = SECOND.replace("float[N, 2] x,", "int64[N, 2] x,").replace("Add(x, h)", "Identity(h)")


def parsed(text):
    return ir.from_proto(onnx.parser.parse_model(text))


def wired(*stages, outputs=(), second=SECOND):
    composite = CompositeModel(stages, outputs, "pair.yaml")
    return wire(composite, {"first": parsed(FIRST), "second": parsed(second)})


def test_an_input_that_is_not_named_takes_the_array_of_its_name():
    found = wired(ModelStage("first"), ModelStage("second", {"h": Origin("first", "h")}))
    assert {name: str(origin) for name, origin in found.stages[1].inputs.items()} == {"h": "first.h", "x": "data.x"}
    assert [str(spec) for spec in found.data] == ["x float [N, 2]"]
    assert [str(output) for output in found.outputs] == ["second.y"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ({"g": Origin("first", "h")}, (), "pair.yaml: stages.second.inputs.g: there is no input 'g'; there are x, h"),
        ({"h": Origin("first", "z")}, (), "stages.second.inputs.h: first.z: there is no output 'z'; there are h"),
        ({"h": Origin("third", "h")}, (), "there is no earlier stage 'third'; there are data, first"),
        ({"h": Origin("second", "y")}, (), "there is no earlier stage 'second'"),
        ({}, (Origin("second", "h"),), "pair.yaml: outputs: second.h: there is no output 'h'; there are y"),
    ],
)
def test_what_a_model_does_not_have_is_named_with_what_it_has(inputs, outputs, said):
    with pytest.raises(ConfigError) as error:
        wired(ModelStage("first"), ModelStage("second", inputs), outputs=outputs)
    assert said in str(error.value)


def test_one_array_is_not_taken_as_two_types():
    with pytest.raises(ConfigError, match=r"stages\.second\.inputs\.x: takes x int64 .* give the data two arrays"):
        wired(ModelStage("first"), ModelStage("second"), second=INTEGERS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokens": "ids"}, "generate.tokens: there is no input 'ids'; there are input_ids, attention_mask"),
        ({"tokens": "past_0_key"}, "does not take integers: name the input of tokens"),
        ({"logits": "scores"}, "generate.logits: there is no output 'scores'; there are logits, present_0_key"),
        ({"cache": {"keys_*": "present_*"}}, "generate.cache: no input matches 'keys_*'"),
        ({"cache": {"past_*": "new_*"}}, "input 'past_0_key' takes 'new_0_key', which is not an output"),
        ({"prefill": "prompt"}, "generate.prefill: there is no earlier stage 'prompt'"),
    ],
)
def test_what_generation_cannot_use_is_named(decoders, changes, said):
    stage = ModelStage("decoder", {}, cached(**changes))
    with pytest.raises(ConfigError) as error:
        wire(CompositeModel((stage,), (), "chat.yaml"), {"decoder": load_model(decoders / "decoder.onnx")})
    assert said in str(error.value)
