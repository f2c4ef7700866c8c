"An alignment from file to command, with an API embedder on the loopback, and with all-mpnet-base-v2 where it is installed"
import json

import pandas as pd
import pytest
import torch
from openai_server import Server, good

from vec2text_nb import load_corrector
from vec2text_nb.alignment import AlignedCorrector, Alignment, align_embedder, load_alignment, pair_texts
from vec2text_nb.api_embedders import OpenAIEmbedder
from vec2text_nb.cli import invert_main
from vec2text_nb.counted_embedders import CountedEmbedder
from vec2text_nb.edits import Edits
from vec2text_nb.embedders import MPNET_COMMAND, MPNET_PARTS, load_embedder, packaged_minilm, zip_parts
from vec2text_nb.inversion import TOGETHER, Corrector, Sampling
from vec2text_nb.pretrained import invert_embeddings_and_return_hypotheses, save_corrector

pytestmark = pytest.mark.skipif(packaged_minilm() is None, reason="needs the extra [minilm]")
TEXTS = ["a small boat on a calm lake", "the law was changed again"]


@pytest.fixture(scope="module")
def pair(): return load_corrector("all-MiniLM-L6-v2", device="cpu")


@pytest.fixture(scope="module")
def texts(): return pair_texts(120, sources=["wordnet"])


def charged(body):
    "A good answer that charges three tokens a text"
    return good(body) | {"usage": {"total_tokens": 3*len(body["input"])}}


def api_at(server, folder, dim, **options):
    "An embedder on the server"
    return OpenAIEmbedder("text-embedding-3-small", dim, api_key="sk-test", base_url=server.url, cache_dir=folder, device="cpu", **options)


def test_an_api_embedder_is_counted_priced_and_asked_once(pair, texts, tmp_path):
    pytest.importorskip("openai")
    with Server(*[charged]*50) as server:
        api = api_at(server, tmp_path, 24, empty="zero")
        alignment = align_embedder(api, pair, texts)
        assert sum(map(len, server.asked)) == 120 and api.tokens_paid == 360
        aligned = AlignedCorrector(pair, api, alignment, price=20.)
        found = aligned.invert(api.encode(TEXTS), 2, 2, edits=Edits(rounds=2, proposals=5))
        asked = [t for body in server.asked for t in body]
        assert len(asked) == len(set(asked)) == api.texts_paid                     # nothing was paid for twice
        count = aligned.embedder
        assert 4 < count.texts <= 2*(3 + 2*(4 + 5)) and count.tokens == 3*count.texts
        assert count.account() == f"{count.texts} texts embedded, {count.tokens} tokens, ${count.tokens*20/1e6:.6f}"
        paid = api.texts_paid
        again = AlignedCorrector(pair, api, alignment).invert(api.encode(TEXTS), 2, 2, edits=Edits(rounds=2, proposals=5))
        assert again.texts == found.texts and api.texts_paid == paid              # the store has everything


def test_a_stream_answers_as_one_call_does(pair, texts):
    "Each target has its own first text and its own draws, in whatever part of the stream it is"
    aligned = AlignedCorrector(pair, pair.embedder, align_embedder(pair.embedder, pair, texts))
    more = texts[:TOGETHER+2]
    options = dict(initial=more[::-1], sampling=Sampling(seed=3), score=False)
    parts = [text for found in aligned.invert_stream(pair.embedder.encode(more), 1, **options) for text in found.texts]
    assert parts == aligned.invert(pair.embedder.encode(more), 1, **options).texts


def test_pairs_in_any_form_and_what_are_none(pair, texts):
    "A column, a generator and rows of lists give the same map; everything else is refused in one line"
    vectors = pair.embedder.encode(texts, max_tokens=32)
    want = align_embedder(pair.embedder, pair, texts, vectors).weight
    for some, rows in ((pd.Series(texts), (row for row in vectors)), ((t for t in texts), vectors.tolist())):
        assert torch.equal(align_embedder(pair.embedder, pair, some, rows).weight, want)
    no_embedder = Corrector(pair.inversion_model, None, None, pair.tokenizer)
    for given, says in [
        ((pair.embedder, pair, "a string of many characters, more than the fifty texts that a map needs"), "texts is one string"),
        ((pair.embedder, pair, pd.DataFrame({"t": texts})), "table['t']"), ((pair.embedder, pair, ["a"]*60), "60 texts (1 distinct) are"),
        ((pair.embedder, pair, [*texts[:-1], None]), "texts has no text in rows 119"), (("gtr_base", pair, texts), "embedder is 'gtr_b"),
        ((pair, pair.embedder, texts), "embedder is Corrector for"), ((pair.embedder, "all-MiniLM-L6-v2", texts), "The pair is 'all-M"),
        ((None, pair, texts), "embedder is None"), ((pair.embedder, None, texts), "The pair is None"),
        ((pair.embedder, no_embedder, texts), "has no embedder"), ((pair.embedder, pair, texts, vectors[:-1]), "119 vectors for 120 texts"),
        ((pair.embedder, pair, texts, torch.full((120, 384), .05)), "are all the same"),
        ((pair.embedder, pair, None, None, "5"), "n is '5': expected a whole"), ((pair.embedder, pair, None, None, 60.), "n is 60.0"),
        ((pair.embedder, pair, None, None, 60, -1), "seed is -1")]:
        with pytest.raises((TypeError, ValueError)) as err: align_embedder(*given)
        assert says in str(err.value) and "\n" not in str(err.value)


def test_a_file_that_holds_no_map_is_refused(pair, texts, tmp_path):
    alignment, file = align_embedder(pair.embedder, pair, texts), tmp_path/"map.safetensors"
    for path, says in [(None, "path is None"), ("", "path is empty"), (3, "path is 3")]:
        for call in (alignment.save, load_alignment):
            with pytest.raises((TypeError, ValueError), match=says): call(path)
    for part, tensor, says in [("weight", torch.ones(3, 4), "shapes (3, 4), (384,), (384,)"), ("center", torch.ones(3), "(384, 384), (3,)"),
                               ("offset", torch.ones(384, dtype=torch.int32), "of type float32, int32: expected float32"),
                               ("weight", torch.full((384, 384), float("nan")), "holds NaN or infinity")]:
        damaged = Alignment(alignment.weight, alignment.center, alignment.offset, alignment.facts)
        object.__setattr__(damaged, part, tensor)
        damaged.save(file)
        with pytest.raises(ValueError) as err: load_alignment(file)
        assert says in str(err.value) and f"{file} is damaged: " in str(err.value)
    narrow = Alignment(alignment.weight[:, :9], alignment.center, alignment.offset[:9], alignment.facts)
    with pytest.raises(ValueError, match="from vectors of 384 numbers to those of 9"): AlignedCorrector(pair, pair.embedder, narrow)


def test_an_aligned_pair_is_saved_in_two_parts(pair, texts, tmp_path):
    aligned = AlignedCorrector(pair, pair.embedder, align_embedder(pair.embedder, pair, texts))
    with pytest.raises(ValueError, match="align=FILE"): save_corrector(aligned, tmp_path/"aligned")
    assert not [*tmp_path.iterdir()]


def test_a_text_without_words_has_no_vector(pair, texts):
    "It is not sent to the other embedder; and a pair without an embedder has none at all"
    aligned, e = AlignedCorrector(pair, pair.embedder, align_embedder(pair.embedder, pair, texts)), pair.embedder.encode(TEXTS)
    found, vectors = invert_embeddings_and_return_hypotheses(e, aligned, initial=["", TEXTS[1]])
    assert found == [["", TEXTS[1]]] and vectors[0].isnan().all(1).tolist() == [True, False]
    alone = Corrector(pair.inversion_model, None, None, pair.tokenizer)
    assert invert_embeddings_and_return_hypotheses(e, alone)[1][0].isnan().all() and vectors[0].shape == (2, 384)


def test_an_interrupted_request_is_counted(tmp_path):
    pytest.importorskip("openai")
    with Server(charged, lambda body: (400, {"error": {"message": "no"}}, {})) as server:
        counted = CountedEmbedder(api_at(server, tmp_path, 8, batch_size=2))
        with pytest.raises(Exception, match="no"): counted.encode(["a", "b", "c"])
        assert (counted.texts, counted.tokens) == (2, 6)
        assert counted.encode(["a", "b", "c"]).shape == (3, 8) and counted.texts == 3


def test_the_command_reads_another_embedders_vectors(pair, texts, tmp_path, capsys):
    "Here MiniLM itself, and MiniLM with another pooling"
    other = load_embedder("mini-max", packaged_minilm(), device="cpu", pooling="max", normalize=True)
    align_embedder(other, pair, texts).save(tmp_path/"max.safetensors")
    run = [*TEXTS, "--align", str(tmp_path/"max.safetensors"), "--device", "cpu", "--steps", "1", "--beam", "2", "--json"]
    assert invert_main([*run, "--embedder", str(packaged_minilm())]) == 2              # mean pooling: not the one that was aligned
    assert "The alignment was made for mini-max" in capsys.readouterr().err
    assert invert_main([*run[:3], str(tmp_path/"none.safetensors"), *run[4:]]) == 2 and "There is no alignment" in capsys.readouterr().err
    align_embedder(pair.embedder, pair, texts).save(tmp_path/"same.safetensors")
    assert invert_main([*run[:3], str(tmp_path/"same.safetensors"), *run[4:]]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["given"] for r in rows] == TEXTS and all(r["cosine"] > .3 for r in rows)


@pytest.mark.skipif(zip_parts(MPNET_PARTS) is None, reason=f"all-mpnet-base-v2 is not installed: {MPNET_COMMAND}")
def test_mpnet(pair):
    other = load_embedder("all-mpnet-base-v2", device="cpu")
    assert (other.dim, other.max_tokens, other.normalized) == (768, 384, True)
    alignment = align_embedder(other, pair, pair_texts(400, sources=["wordnet"]))
    assert float(alignment.facts["held_out_cosine"]) > .5
    found = AlignedCorrector(pair, other, alignment).invert(other.encode(TEXTS), 2, 2, edits=Edits(rounds=1, proposals=10))
    assert min(found.cosines) > .5
