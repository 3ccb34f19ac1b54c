import pytest

from autocast_core.config import Precision
from autocast_core.errors import ConfigError
from autocast_core.operators import parse_plugin_precisions


def test_one_precision_speaks_for_all_operands():
    plugin = parse_plugin_precisions(["Foo:fp16"])["Foo"]
    assert plugin.wants_low(0, output=False) and plugin.wants_low(5, output=False) and plugin.wants_low(1, output=True)


def test_lists_speak_for_inputs_and_outputs_in_turn():
    plugin = parse_plugin_precisions(["Foo:[fp16, fp32]:[bf16]"])["Foo"]
    assert plugin.inputs == (Precision.FP16, Precision.FP32)
    assert plugin.outputs == (Precision.BF16,)
    assert [plugin.wants_low(index, output=False) for index in range(3)] == [True, False, False]


@pytest.mark.parametrize("text", ["Foo", ":fp16", "Foo:fp16:fp16:fp16", "Foo:fp8", "Foo:[fp16", "Foo:[]"])
def test_other_texts_are_refused_with_the_syntax(text):
    with pytest.raises(ConfigError, match="trt_plugins_precision"):
        parse_plugin_precisions([text])
