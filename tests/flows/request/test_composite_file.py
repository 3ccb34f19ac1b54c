"""Composite models as people write them."""

import pytest

from autocast_core.errors import ConfigError
from flows.request.composite_file import read_composite

PAIR = """
evaluation: data/prompts.npz
stages:
  encoder: {model: encoder.onnx, candidate: s3://models/encoder.onnx}
  decoder:
    model: /models/decoder.onnx
    spec: {precision: bf16}
    inputs: {states: encoder.last_hidden_state, ids: data.start}
    generate: {tokens: ids, cache: {past_*: present_*}, max_new_tokens: 4, end_token: 2}
outputs: decoder.tokens
gates: [decoder.tokens.equal_share>=0.99]
"""


def written(tmp_path, text):
    path = tmp_path / "pair.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_locations_are_relative_to_the_file_unless_they_are_absolute_or_uris(tmp_path):
    read = read_composite(written(tmp_path, PAIR))
    assert read.evaluation == str(tmp_path / "data" / "prompts.npz")
    encoder, decoder = read.stages["encoder"], read.stages["decoder"]
    assert (encoder.model, encoder.candidate) == (str(tmp_path / "encoder.onnx"), "s3://models/encoder.onnx")
    assert (decoder.model, decoder.spec.precision) == ("/models/decoder.onnx", "bf16")


def test_stages_and_how_one_generates_are_read(tmp_path):
    first, second = read_composite(written(tmp_path, PAIR)).composite.stages
    assert first.generate is None
    assert {name: str(origin) for name, origin in second.inputs.items()} == {
        "states": "encoder.last_hidden_state",
        "ids": "data.start",
    }
    assert second.generate.end_tokens == (2,) and second.generate.cache == {"past_*": "present_*"}


def test_a_spec_may_be_a_file_beside_it(tmp_path):
    (tmp_path / "spec.yaml").write_text("precision: bf16\nseed: 5\n")
    read = read_composite(written(tmp_path, "stages:\n  one: {model: m.onnx, spec: spec.yaml}\n"))
    assert read.stages["one"].spec.seed == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stage: {}\n", "pair.yaml: stages: is missing"),
        ("stages: {}\n", "stages: dictionary should have at least 1 item"),
        ("stages: [a]\n", "line 1: stages: input should be a mapping"),
        ("stages:\n  one:\n    modle: m.onnx\n", "stages.one.model: is missing"),
        (
            "stages:\n  one:\n    model: m.onnx\n    inptus: {}\n",
            "line 4: there is no key 'stages.one.inptus'; did you",
        ),
        (
            "stages:\n  one:\n    model: m.onnx\n    generate:\n      tokens: ids\n      max_tokens: 3\n"
            "      max_new_tokens: 3\n",
            "line 6: there is no key 'stages.one.generate.max_tokens'; did you mean 'max_new_tokens'?",
        ),
        (
            "stages:\n  one:\n    model: m.onnx\n    generate: {tokens: ids, max_new_tokens: 0}\n",
            "line 4: stages.one.generate.max_new_tokens: input should be greater than or equal to 1",
        ),
        ("stages:\n  one: {model: m.onnx, inputs: {x: y}}\n", "stages.one.inputs.x: 'y': give STAGE.OUTPUT or data."),
        ("stages:\n  data: {model: m.onnx}\n", "stages.data: is what inputs call the evaluation data"),
        ("stages:\n  a b: {model: m.onnx}\n", "stages.a b: string should match pattern"),
        (
            "stages:\n  one:\n    model: m.onnx\n    spec:\n      precison: fp16\n",
            "stages.one.spec: line 5: there is no option 'precison'",
        ),
        (
            "stages:\n  one: {model: m.onnx, spec: {calibration: d.npz}}\n",
            "stages.one.spec.calibration: is of a whole conversion",
        ),
        (
            "stages:\n  one: {model: m.onnx, spec: {}, candidate: n.onnx}\n",
            "stages.one: give a `candidate`, or a `spec`",
        ),
        ("stages:\n  one: {model: m.onnx}\njudges: [boxs]\n", "judges: unknown judge 'boxs'; known are boxes, masks"),
        (
            "stages:\n  one: {model: m.onnx, spec: {judges: tokens}}\n",
            "stages.one.spec.judges: is of a whole conversion",
        ),
        ("stages:\n  one: {model: m.onnx}\ngates: [better]\n", "gates: gate 'better' is not a comparison"),
        (
            "stages:\n  one:\n    model: m.onnx\n    generate: {tokens: i, max_new_tokens: 1, cache: {p_*_*: q}}\n",
            "stages.one.generate.cache: p_*_*: q: give both one `*`, or none",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_stage(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        read_composite(written(tmp_path, text))
    assert said in str(error.value) and "pair.yaml" in str(error.value)
