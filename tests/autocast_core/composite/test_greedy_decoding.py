"""Generation: the same tokens as the whole model run on all of them, whatever the form."""

import numpy as np
import onnx
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.composite import CompositeModel, GreedyDecoding, ModelStage
from autocast_core.composite.execution import run_composite
from autocast_core.composite.wiring import wire
from autocast_core.errors import DataError
from autocast_core.model import load_model
from tests.autocast_core.composite.conftest import STEPS, cached
from tests.models.cached_decoder import build_cached_decoder
from tests.onnx_models import run_in_onnxruntime

RUNTIME = OnnxRuntime(("cpu",), threads=1)


def decoded_anew(folder, row):
    """The oracle: the model without a cache, run on all tokens for each new one; and the logits of each step."""
    data = np.load(folder / "prompts.npz")
    ids = data["input_ids"][row][data["attention_mask"][row] == 1][None]
    tokens, logits = [], []
    for _ in range(STEPS):
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
        logits.append(run_in_onnxruntime(folder / "prompt.onnx", feeds)[0][0, -1])
        tokens.append(int(logits[-1].argmax()))
        ids = np.concatenate([ids, [[tokens[-1]]]], axis=1)
    return tokens, np.stack(logits)


def run(folder, stages, models, reference=None, rows=slice(None)):
    opened = {name: load_model(path) for name, path in models.items()}
    wiring = wire(CompositeModel(stages), opened)
    arrays = {name: value[rows] for name, value in np.load(folder / "prompts.npz").items()}
    sessions = {name: RUNTIME.open(model) for name, model in opened.items()}
    try:
        return run_composite(wiring, sessions, {spec.name: arrays[spec.name] for spec in wiring.data}, reference)
    finally:
        for session in sessions.values():
            session.close()


def test_a_cached_decoder_chooses_what_the_model_without_a_cache_does(decoders):
    made = run(decoders, (ModelStage("decoder", {}, cached()),), {"decoder": decoders / "decoder.onnx"})
    for row in range(3):
        tokens, logits = decoded_anew(decoders, row)
        assert made.generated["decoder"].tokens[row].tolist() == tokens
        found = made.generated["decoder"].logits[row * STEPS : (row + 1) * STEPS]
        np.testing.assert_allclose(found, logits, atol=1e-4)


def test_a_model_for_the_prompt_and_one_for_each_token_choose_the_same(decoders):
    stages = (ModelStage("prompt"), ModelStage("decoder", {}, cached(prefill="prompt")))
    made = run(decoders, stages, {"prompt": decoders / "prompt.onnx", "decoder": decoders / "decoder.onnx"})
    assert made.generated["decoder"].tokens.tolist() == [decoded_anew(decoders, row)[0] for row in range(3)]


def test_without_a_cache_all_tokens_are_fed_in_every_run(decoders):
    stage = ModelStage("prompt", {}, cached(cache={}))
    made = run(decoders, (stage,), {"prompt": decoders / "prompt.onnx"})
    assert made.generated["prompt"].tokens.tolist() == [decoded_anew(decoders, row)[0] for row in range(3)]


def test_a_row_ends_with_its_end_token_and_the_others_go_on(decoders):
    expected = [decoded_anew(decoders, row)[0] for row in range(3)]
    end = expected[0][2]
    made = run(
        decoders, (ModelStage("decoder", {}, cached(end_tokens=(end,))),), {"decoder": decoders / "decoder.onnx"}
    )
    lengths = [tokens.index(end) + 1 if end in tokens else STEPS for tokens in expected]
    found = made.generated["decoder"]
    assert found.lengths.tolist() == lengths and lengths[0] <= 3
    for row, (tokens, length) in enumerate(zip(expected, lengths, strict=True)):
        assert found.tokens[row].tolist() == tokens[:length] + [end] * (STEPS - length)
    assert len(found.logits) == sum(lengths)


def test_another_models_logits_are_those_behind_the_references_tokens_and_its_tokens_its_own(decoders, tmp_path):
    stages = (ModelStage("decoder", {}, cached()),)
    other = build_cached_decoder(tmp_path / "other.onnx", seed=1)
    reference = run(decoders, stages, {"decoder": decoders / "decoder.onnx"}, rows=slice(1))
    alone = run(decoders, stages, {"decoder": other}, rows=slice(1)).generated["decoder"]
    beside = run(decoders, stages, {"decoder": other}, reference, rows=slice(1)).generated["decoder"]
    assert beside.tokens.tolist() == alone.tokens.tolist() != reference.generated["decoder"].tokens.tolist()
    np.testing.assert_allclose(beside.logits[0], alone.logits[0], atol=1e-5)  # the prompt is the same
    assert np.abs(beside.logits[2] - alone.logits[2]).max() > 0.1


def test_prompts_padded_on_the_right_are_refused(decoders, tmp_path):
    data = dict(np.load(decoders / "prompts.npz"))
    data["attention_mask"] = data["attention_mask"][:, ::-1]
    np.savez(tmp_path / "prompts.npz", **data)
    with pytest.raises(
        DataError, match="stage 'decoder': 'attention_mask' of the data ends with 0: pad prompts on the"
    ):
        run(tmp_path, (ModelStage("decoder", {}, cached()),), {"decoder": decoders / "decoder.onnx"})


def test_an_empty_output_leaves_the_cache_as_it_is(tmp_path):
    """Merged decoders give no keys of the encoder's result from the second run on."""
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    merged (int64[batch, sequence] ids, float[batch, past, 2] past, bool[1] use_cache)
        => (float[batch, sequence, 3] logits, float[batch, total, 2] present)
    <int64[3] kept = {1, 1, 2}, int64[3] none = {1, 0, 2}, float[2, 3] head = {0.0, 1.0, 0.0, 0.0, 0.0, 2.0}>
    {
        size = Where(use_cache, none, kept)
        present = ConstantOfShape<value = float[1] {1.0}>(size)
        axis = Constant<value = int64[1] {1}>()
        sum = ReduceSum<keepdims = 1>(past, axis)
        logits = MatMul(sum, head)
    }
    """
    onnx.save(onnx.parser.parse_model(text), tmp_path / "merged.onnx")
    np.savez(tmp_path / "prompts.npz", ids=np.zeros((1, 1), np.int64))
    decoding = GreedyDecoding("ids", STEPS, cache={"past": "present"}, use_cache="use_cache")
    stage = ModelStage("merged", {}, decoding)
    made = run(tmp_path, (stage,), {"merged": tmp_path / "merged.onnx"}).generated["merged"]
    assert made.logits[0].tolist() == [0.0, 0.0, 0.0]  # nothing cached yet
    assert made.logits[1:].tolist() == [[0.0, 1.0, 2.0]] * (STEPS - 1)
