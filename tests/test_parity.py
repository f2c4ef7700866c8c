"""The published layout and the reference implementation's answers, token for token.

The fixtures are tiny random checkpoints written by the reference implementation, with its outputs; fixtures/README.md says how they were
made, and golden.py puts them together again."""
import json
import warnings

import numpy as np
import pytest
import torch
from golden import GOLDEN, RECIPE, STORED, digest
from safetensors.numpy import load_file

from vec2text_nb import invert_embeddings, invert_embeddings_and_return_hypotheses, load_corrector

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
CASES = json.loads((STORED/"cases.json").read_text(encoding="utf-8"))
TARGETS = np.load(STORED/"embeddings.npz")


@pytest.fixture(scope="module", params=["", "_bin_sharded"], ids=["safetensors", "sharded-bin"])
def corrector(request):
    "The golden pair from one of its two layouts; `backbone` stands for the T5 that the config names, `embedder` for gtr_base"
    return load_corrector(str(GOLDEN/f"inverter{request.param}"), str(GOLDEN/f"corrector{request.param}"),
                          embedder=GOLDEN/"embedder", backbone=str(GOLDEN/"backbone"), device="cpu")


def invert(corrector, case, **options):
    return corrector.invert(TARGETS["embeddings"], case["num_steps"], case["sequence_beam_width"], keep_best=False, **options)


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda c: f"steps{c['num_steps']}-beam{c['sequence_beam_width']}")
def test_ids_and_texts_equal_the_references(corrector, case):
    result = invert(corrector, case)
    assert [list(t[-1].ids) for t in result.trace] == case["ids"]
    assert result.texts == case["texts"]


@pytest.mark.parametrize("checkpoint", RECIPE["sha256"])
def test_the_checkpoints_are_the_references_bit_for_bit(checkpoint):
    "Of what the reference wrote the digests are stored; the shards hold the same, and the tied weights under all their names"
    written = load_file(GOLDEN/checkpoint/"model.safetensors")
    assert digest(written) == RECIPE["sha256"][checkpoint]
    if checkpoint in ("backbone", "embedder"): return
    shards = sorted((GOLDEN/f"{checkpoint}_bin_sharded").glob("*.bin"))
    sharded = {name: t.numpy() for file in shards for name, t in torch.load(file, weights_only=True).items()}
    aliases = sharded.keys() - written.keys()
    assert len(shards) == len(aliases) == 3
    for name in aliases: assert np.array_equal(sharded.pop(name), written["encoder_decoder.shared.weight"])
    assert digest(sharded) == RECIPE["sha256"][checkpoint]


def test_the_cases_are_worth_comparing():
    "Nine settings whose answers differ from one another, end at different lengths, and use steps and beams"
    cases = CASES["cases"]
    assert len(cases) == 9
    assert len({json.dumps(c["ids"]) for c in cases}) >= 7
    assert {len(ids) for c in cases for ids in c["ids"]} >= {3, 5, 13, 24}
    assert {c["sequence_beam_width"] > 1 for c in cases} == {True, False}


@pytest.mark.parametrize("batch_size", [1, 5])
def test_batches_do_not_change_the_answers(corrector, batch_size):
    case = max(CASES["cases"], key=lambda c: (c["num_steps"] or 0) * (c["sequence_beam_width"] == 2))
    assert invert(corrector, case, batch_size=batch_size).texts == case["texts"]


def test_embeddings(corrector):
    "The embedder gives the targets, and the trace holds the embeddings of the texts of step 1"
    given = corrector.embedder.encode(CASES["source_texts"], max_tokens=CASES["max_seq_length"])
    np.testing.assert_allclose(given.numpy(), TARGETS["embeddings"], atol=1e-5)
    texts, embeddings = invert_embeddings_and_return_hypotheses(TARGETS["embeddings"], corrector, num_steps=1, keep_best=False)
    assert texts[1] == CASES["cases"][1]["texts"] and CASES["cases"][1]["num_steps"] == 1
    np.testing.assert_allclose(embeddings[1].numpy(), TARGETS["reembedded_step1"], atol=1e-5)


def test_the_embedder_in_the_checkpoint_is_the_one_we_load(corrector):
    "Published hypothesizers carry the embedder's weights: ours, loaded by itself, has the same"
    from vec2text_nb.checkpoints import read_weights
    carried = {k.removeprefix("embedder."): v for k, v in read_weights(GOLDEN/"inverter").items() if k.startswith("embedder.")}
    loaded = read_weights(GOLDEN/"embedder")
    same = [k for k in carried if any(torch.equal(carried[k], v) for v in loaded.values() if v.shape == carried[k].shape)]
    assert len(same) == len(carried) == 11


def test_hypothesizer_alone_needs_no_corrector(corrector):
    alone = load_corrector(str(GOLDEN/"inverter"), embedder=GOLDEN/"embedder", backbone=str(GOLDEN/"backbone"), device="cpu")
    assert invert_embeddings(TARGETS["embeddings"], alone) == CASES["cases"][0]["texts"]
    assert CASES["cases"][0]["num_steps"] is None


def test_saved_and_loaded_again(corrector, tmp_path):
    "In our own layout the pair needs neither backbone nor shards, and answers the same; no secret or training argument is in its config"
    from vec2text_nb.pretrained import save_corrector
    save_corrector(corrector, tmp_path/"pair")
    again = load_corrector(str(tmp_path/"pair"/"hypothesizer"), str(tmp_path/"pair"/"corrector"), embedder=GOLDEN/"embedder", device="cpu")
    case = CASES["cases"][4]
    assert invert(again, case).texts == case["texts"]
    config = json.loads((tmp_path/"pair"/"corrector"/"config.json").read_text(encoding="utf-8"))
    assert not {"hub_token", "learning_rate", "output_dir"} & config.keys() and len(config) < 20


def test_missing_backbone_is_named():
    with pytest.raises(FileNotFoundError, match="names the backbone 'backbone'.*Pass backbone="):
        load_corrector(str(GOLDEN/"inverter"), embedder=GOLDEN/"embedder")


def test_wrong_embedder_is_named(corrector):
    with pytest.raises(ValueError, match="384 wide, but this inverter was trained on gtr_base, which is 768 wide"):
        load_corrector(str(GOLDEN/"inverter"), embedder="all-MiniLM-L6-v2", backbone=str(GOLDEN/"backbone"))


def test_normalised_vectors_are_noticed(corrector):
    "Vectors of the full sentence-transformers pipeline given to an inverter for the bare encoder"
    unit = TARGETS["embeddings"] / np.linalg.norm(TARGETS["embeddings"], axis=1, keepdims=True)
    with pytest.warns(UserWarning, match="gtr_base_st"):
        invert_embeddings(unit, corrector)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        invert_embeddings(TARGETS["embeddings"], corrector)
