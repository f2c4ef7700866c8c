"An alignment from file to command, with an API embedder on the loopback, and with all-mpnet-base-v2 where it is installed"
import json

import pytest
from openai_server import Server, good

from vec2text_nb import load_corrector
from vec2text_nb.alignment import AlignedCorrector, align_embedder, pair_texts
from vec2text_nb.api_embedders import OpenAIEmbedder
from vec2text_nb.cli import invert_main
from vec2text_nb.counted_embedders import CountedEmbedder
from vec2text_nb.edits import Edits
from vec2text_nb.embedders import MPNET_COMMAND, MPNET_PARTS, load_embedder, packaged_minilm, zip_parts
from vec2text_nb.inversion import TOGETHER, Sampling

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
