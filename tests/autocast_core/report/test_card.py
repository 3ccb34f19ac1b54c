import onnx.parser
import onnx_ir as ir

from autocast_core.report.card import card, port_rows
from autocast_core.verify.interface import model_interface

MODEL = '<ir_version: 9, opset_import: ["": 17]> g (float16[N, 4] x) => (float[N, 4] y) { y = Cast <to = 1> (x) }'


def _card(report, text=MODEL):
    interface = model_interface(ir.serde.deserialize_model(onnx.parser.parse_model(text)))
    return card(report, port_rows(interface), "model.onnx", "Run abc has its report.")


def test_the_card_says_what_the_model_is_and_how_good(make_report):
    text = _card(make_report())
    assert "# digits-fp16" in text
    assert "2 of 3 float nodes (66.67%) compute in fp16" in text
    assert "Passes its gate. Run abc has its report." in text
    assert (
        "| Worst output: relative L2 error, SQNR | exact | 0.000501, 66.25 dB | simulation on onnxruntime-cpu |" in text
    )
    assert "| input | x | float16 | N × 4 |" in text


def test_the_card_says_where_the_model_comes_from_and_what_is_unknown(make_report):
    text = _card(make_report())
    assert "1" * 64 in text and "2" * 64 in text
    assert "- TensorRT: it has not seen the model." in text
    assert "| graph/a | Conv | tensor 'a out' reaches 1000, over data\\_max 512 |" in text


def test_hostile_names_stay_text_in_the_card(make_report):
    text = _card(make_report(names=["<img src=x>|`b`\n\x1b[31m"]))
    assert "<img" not in text and "\x1b" not in text
