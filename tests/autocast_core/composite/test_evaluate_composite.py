"""Composite models end to end: an encoder and a decoder, a decoder with a cache, a detector and a recogniser."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from autocast_core.composite import (
    CompositeModel,
    CompositeRequest,
    GreedyDecoding,
    ModelStage,
    Origin,
    StageFiles,
    evaluate_composite,
)
from autocast_core.errors import BackendError, ConfigError, DataError, OutputError
from tests.autocast_core.composite.conftest import STEPS, cached, ref
from tests.models import build
from tests.models.cached_decoder import build_cached_decoder
from tests.models.encoder_decoder import STATES, split_t5


def chat(decoders, **files):
    given = StageFiles(ref(decoders / "decoder.onnx"), **files)
    return CompositeRequest(
        CompositeModel((ModelStage("decoder", {}, cached()),)), {"decoder": given}, decoders / "prompts.npz"
    )


def test_a_model_beside_itself_is_perfect(decoders):
    found = evaluate_composite(chat(decoders, candidate=ref(decoders / "decoder.onnx")))
    assert found.batches == 3
    assert found.metrics["fidelity/outputs/decoder_tokens/equal_share"] == 1.0
    assert found.metrics["fidelity/outputs/decoder_logits/top1_agreement"] == 1.0
    assert found.metrics["fidelity/sqnr_db"] > 100  # with and without graph optimisation


def test_a_cached_decoder_is_converted_on_what_generation_feeds_it_and_judged_by_its_tokens(decoders, fp16, tmp_path):
    gates = ("sqnr_db>=50", "decoder.tokens.equal_share>=0.99", "decoder.logits.top1_agreement>=0.99", "kl<=1e-4")
    found = evaluate_composite(replace(chat(decoders, config=fp16), gates=gates, output=tmp_path / "out"))
    assert [gate.passed for gate in found.gates] == [True] * 4
    assert found.converted == {"decoder": str(tmp_path / "out" / "decoder.onnx")}
    weights = {w.name: w.data_type for w in onnx.load(found.converted["decoder"]).graph.initializer}
    assert weights["gate_0"] == onnx.TensorProto.FLOAT16


def test_judges_and_their_gates_judge_where_the_chain_ends(decoders, tmp_path):
    other = build_cached_decoder(tmp_path / "other.onnx", seed=1)
    gates = ("tokens.agreement>=0.99", "tokens.worst_batch.agreement>=0.99")
    asked = {"judges": ("tokens:output=decoder.logits",), "gates": gates}
    same = evaluate_composite(replace(chat(decoders, candidate=ref(decoders / "decoder.onnx")), **asked))
    assert [gate.passed for gate in same.gates] == [True, True]
    found = evaluate_composite(replace(chat(decoders, candidate=ref(other)), **asked))
    assert found.metrics["task/tokens/agreement"] < 0.5
    assert [gate.passed for gate in found.gates] == [False, False]
    assert "of 3" in found.gates[1].reason


def test_another_models_tokens_are_found_to_differ(decoders, tmp_path):
    other = build_cached_decoder(tmp_path / "other.onnx", seed=1)
    found = evaluate_composite(
        replace(chat(decoders, candidate=ref(other)), gates=("decoder.tokens.equal_share>=0.9",))
    )
    assert found.metrics["fidelity/outputs/decoder_tokens/equal_share"] < 0.5
    assert not found.gates[0].passed and "equal_share" in found.gates[0].reason


def test_an_overflow_within_a_stage_misses_the_gate_on_new_nan(decoders, tmp_path):
    model = onnx.load(decoders / "decoder.onnx")
    scale = 3e4
    for name, factor in (("gate_1", 1.0), ("up_1", scale), ("down_1", 1 / scale)):
        weight = next(w for w in model.graph.initializer if w.name == name)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(factor), name))
    onnx.save(model, tmp_path / "large.onnx")
    naive = tmp_path / "naive.onnx"
    all_low(tmp_path / "large.onnx", naive)
    request = replace(
        chat(decoders, candidate=ref(naive)),
        files={"decoder": StageFiles(ref(tmp_path / "large.onnx"), ref(naive))},
        gates=("no_new_nonfinite",),
    )
    found = evaluate_composite(request)
    assert not found.gates[0].passed


def all_low(source, target):
    """The model with every node in FP16 and nothing kept."""
    from autocast_core import ConversionConfig, convert_file

    convert_file(source, target, ConversionConfig(data_max=float("inf"), init_max=float("inf"), small_values=False))


def test_an_encoder_and_its_decoder_are_judged_where_the_chain_ends(fp16, tmp_path):
    built = build("t5_small", tmp_path, layers=2)
    encoder, decoder = split_t5(built, tmp_path)
    data = {name: array[:, :16] for name, array in np.load(built.evaluation).items()}
    np.savez(tmp_path / "data.npz", **{**data, "decoder_input_ids": np.zeros((2, 1), np.int64)})
    stages = (
        ModelStage("encoder"),
        ModelStage("decoder", {STATES: Origin("encoder", STATES)}, GreedyDecoding("decoder_input_ids", 5)),
    )
    files = {"encoder": StageFiles(ref(encoder), config=fp16), "decoder": StageFiles(ref(decoder), config=fp16)}
    found = evaluate_composite(CompositeRequest(CompositeModel(stages), files, tmp_path / "data.npz", each_stage=True))
    assert found.metrics["fidelity/outputs/decoder_logits/sqnr_db"] > 50
    assert found.metrics["fidelity/outputs/decoder_logits/top1_agreement"] >= 0.9
    # Errors of both add up: each stage alone is nearer.
    both = found.metrics["fidelity/sqnr_db"]
    assert found.stages["encoder"].worst.sqnr_db > both
    assert found.stages["decoder"].worst.sqnr_db > both - 1
    assert found.converted == {}


DETECTOR = """
<ir_version: 8, opset_import: ["": 17]>
detector (float[N, 1, 8, 8] image) => (float[N, 1, 8, 8] heat)
<float[1, 1, 3, 3] kernel = {0.1, 0.2, 0.1, 0.2, 1.0, 0.2, 0.1, 0.2, 0.1}>
{ heat = Conv<pads = [1, 1, 1, 1]>(image, kernel) }
"""
CROP = """
<ir_version: 8, opset_import: ["": 17]>
crop (float[N, 1, 8, 8] image, float[N, 1, 8, 8] heat) => (float[N, 1, 4, 4] part)
<int64[1] one = {1}, int64[2] flat = {0, -1}, int64[1] middle = {2}, int64[1] end = {6}, int64[2] axes = {2, 3},
 int64[2] start = {2, 2}, int64[2] stop = {6, 6}>
{
    rows = Reshape(heat, flat)
    best, place = TopK(rows, one)
    part = Slice(image, start, stop, axes)
}
"""
RECOGNISER = """
<ir_version: 8, opset_import: ["": 17]>
recogniser (float[N, 1, 4, 4] part, float[1] scale) => (float[N, 3] logits)
<float[16, 3] head = {WEIGHTS}, int64[2] flat = {0, -1}>
{ rows = Reshape(part, flat) scaled = Mul(rows, scale) logits = MatMul(scaled, head) }
"""


@pytest.fixture
def ocr(tmp_path, fp16):
    """A detector, what cuts its finding out of the image (which stays FP32), and a recogniser."""
    rng = np.random.default_rng(3)
    weights = ", ".join(f"{w:.4f}" for w in rng.normal(size=48))
    for name, text in (("detector", DETECTOR), ("crop", CROP), ("recogniser", RECOGNISER.replace("WEIGHTS", weights))):
        onnx.save(onnx.parser.parse_model(text), tmp_path / f"{name}.onnx")
    np.savez(
        tmp_path / "data.npz",
        image=rng.normal(size=(4, 1, 8, 8)).astype(np.float32),
        scale=np.full(1, 0.5, np.float32),
        labels=np.array([0, 1, 2, 0]),
    )
    stages = (
        ModelStage("detector"),
        ModelStage("crop", {"heat": Origin("detector", "heat")}),
        ModelStage("recogniser", {"part": Origin("crop", "part")}),
    )
    files = {name: StageFiles(ref(tmp_path / f"{name}.onnx")) for name in ("detector", "crop", "recogniser")}
    files |= {name: replace(files[name], config=fp16) for name in ("detector", "recogniser")}
    return CompositeRequest(CompositeModel(stages, (), "ocr.yaml"), files, tmp_path / "data.npz")


def test_a_stage_between_two_models_stays_as_it_is(ocr):
    found = evaluate_composite(replace(ocr, each_stage=True))
    assert set(found.stages) == {"detector", "recogniser"}
    assert 50 < found.metrics["fidelity/outputs/recogniser_logits/sqnr_db"] < 100
    # The crop does not depend on the detector's exact heat: its rounding reaches no output.
    assert found.stages["detector"].worst.max_abs < 1e-6


def test_where_nothing_is_converted_there_is_nothing_to_compare(ocr):
    files = {name: StageFiles(each.model) for name, each in ocr.files.items()}
    with pytest.raises(ConfigError, match=r"ocr\.yaml: no stage has a `candidate` or a `spec`"):
        evaluate_composite(replace(ocr, files=files))


def test_a_converted_stage_does_not_take_the_place_of_another_ones_model(ocr, tmp_path):
    (tmp_path / "detector.onnx").rename(tmp_path / "first.onnx")
    files = {**ocr.files, "detector": replace(ocr.files["detector"], model=ref(tmp_path / "first.onnx"))}
    files["crop"] = StageFiles(ref((tmp_path / "crop.onnx").rename(tmp_path / "detector.onnx")))
    with pytest.raises(OutputError, match=r"detector\.onnx"):
        evaluate_composite(replace(ocr, files=files, output=tmp_path))


def test_gates_fail_on_random_data(ocr):
    found = evaluate_composite(replace(ocr, data=None, gates=("sqnr_db>=1",)))
    assert found.random and not found.gates[0].passed and "no data" in found.gates[0].reason


def test_missing_data_is_named(ocr, tmp_path):
    np.savez(tmp_path / "less.npz", scale=np.ones(1, np.float32))
    with pytest.raises(DataError, match="no array 'image'"):
        evaluate_composite(replace(ocr, data=tmp_path / "less.npz"))


def test_a_candidate_of_another_interface_is_named(ocr, tmp_path):
    files = {**ocr.files, "detector": StageFiles(ref(tmp_path / "detector.onnx"), ref(tmp_path / "crop.onnx"))}
    with pytest.raises(ConfigError, match=r"stages\.detector\.candidate: the candidate has no output 'heat'"):
        evaluate_composite(replace(ocr, files=files))


def test_a_stage_that_fails_is_named(ocr, tmp_path):
    model = onnx.load(tmp_path / "recogniser.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 5
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 5
    onnx.save(model, tmp_path / "recogniser.onnx")
    with pytest.raises(BackendError, match="stage 'recogniser': ONNX Runtime refuses the model"):
        evaluate_composite(ocr)


def test_decoding_takes_no_more_steps_than_asked(decoders, fp16):
    found = evaluate_composite(chat(decoders, config=fp16))
    assert next(o for o in found.fidelity.outputs if o.name == "decoder.tokens").elements == 3 * STEPS
