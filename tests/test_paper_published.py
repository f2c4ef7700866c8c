"""The jobs of scale `paper`, offline: tiny checkpoints in the published layout and a few texts stand in for the hub, under its names.
For the published pair the cosines equal those of the reference's answers."""
import json
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from datasets import Dataset
from golden import GOLDEN, STORED
from huggingface_hub.errors import LocalEntryNotFoundError
from pipelines import N, P, T, pipeline
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from vec2text_nb.embedders import load_embedder
from vec2text_nb.experiments import SMOKE_FLAGS, run_job, shrink_job
from vec2text_nb.metrics import cosine, mean_and_sem
from vec2text_nb.paper.reproduce import NOTEBOOKS, pick_jobs
from vec2text_nb.paper.reproduce_published import PAPER
from vec2text_nb.sources import function_splits

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
CASES = json.loads((STORED/"cases.json").read_text(encoding="utf-8"))
HUB = {"jxm/gtr__nq__32": "inverter", "jxm/gtr__nq__32__correct": "corrector", "t5-base": "backbone",
       "sentence-transformers/gtr-t5-base": "embedder"}
ADA = "jxm/vec2text__openai_ada002__msmarco__msl128__"
ALL = HUB | {f"{ADA}hypothesizer": "inverter", f"{ADA}corrector": "corrector", "gpt2": "gpt2"}
TEXTS = [f"{who} {does} {what}" for who in ("a cook", "the old dog", "my aunt", "every driver")
         for does in ("sees", "likes", "sells", "paints") for what in ("a boat", "two red apples", "the moon", "a house by the sea", "me")]
NQ = {"train": [f"{text}, {n} times" for text in TEXTS for n in range(2, 6)], "dev": CASES["source_texts"]}
END = "<|endoftext|>"
STAND_IN = ["--max_seq_length", "24", "--use_cpu", "True"]  # the length of the golden checkpoints, and no GPU
JUDGED = {"query-id": ["a", "b", "c", "d"], "corpus-id": ["0", "1", "2", "3"], "score": [1, 2, 1, 1]}
SETTINGS = {"1": (1, 0), "3x2": (3, 2), "4x4": (4, 4)}
JOB = replace(PAPER[0], settings=tuple(SETTINGS), n=len(CASES["source_texts"]))


def table(path: str, config: str | None, split: str | None) -> Dataset:
    "What the hub's set of this name would hold"
    if path == "jxm/nq_corpus_dpr": return Dataset.from_dict({"text": NQ[split]})
    if path.endswith("-qrels"): return Dataset.from_dict(JUDGED)
    names = {"queries": ["a", "b", "c", "d"], "corpus": ["0", "1", "2", "3"]}
    return Dataset.from_dict({"_id": names[config], "text": TEXTS[:4]} if config in names else {"text": NQ["train"]})


def make_gpt2(folder: Path) -> None:
    "A tiny GPT-2 as it is published: byte pairs, and one token for start and end, which its tokenizer does not add"
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tok.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=[END], initial_alphabet=alphabet))
    PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=END, eos_token=END, unk_token=END).save_pretrained(folder)
    end = tok.token_to_id(END)
    sizes = dict(vocab_size=tok.get_vocab_size(), n_positions=64, n_embd=32, n_layer=2, n_head=2)
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=end, eos_token_id=end)).save_pretrained(folder)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "Answers under the published names; the configs name t5-base, as the published ones do. Returns what was asked for."
    asked = []
    make_gpt2(tmp_path/"hub"/"gpt2")
    pipeline(tmp_path/"hub"/"embedder", GOLDEN/"embedder", [T, P, N], **{"1_Pooling__config": {"pooling_mode_mean_tokens": True}})
    for name in {*HUB.values()} - {"embedder"}:
        shutil.copytree(GOLDEN/name, tmp_path/"hub"/name)
        config = json.loads((GOLDEN/name/"config.json").read_text(encoding="utf-8"))
        if name in ("inverter", "corrector"): config["model_name_or_path"] = "t5-base"
        (tmp_path/"hub"/name/"config.json").write_text(json.dumps(config), encoding="utf-8")

    def snapshot_download(repo_id, **kwargs):
        asked.append(repo_id)
        if repo_id not in ALL: raise LocalEntryNotFoundError(f"{repo_id} is not here")
        return str(tmp_path/"hub"/ALL[repo_id])

    def load_dataset(path, name=None, *, split=None, revision=None):
        asked.append(path)
        return table(path, name, split)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("VEC2TEXT_NB_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(tmp_path)
    function_splits.cache_clear()
    yield asked
    function_splits.cache_clear()


def cosine_of_reference(steps, width):
    "Mean cosine of the golden vectors and those of the reference's answers: random models score nothing else than 0"
    case = next(c for c in CASES["cases"] if (c["num_steps"], c["sequence_beam_width"]) == (steps, width))
    written = load_embedder("gtr_base", folder=GOLDEN/"embedder", device="cpu").encode(case["texts"], max_tokens=CASES["max_seq_length"])
    return mean_and_sem(cosine(written, torch.from_numpy(np.load(STORED/"embeddings.npz")["embeddings"])))


def test_the_published_names_give_the_references_scores(hub, tmp_path):
    path = run_job(JOB, tmp_path/"results", "v2t-reproduce --scale paper --only published")
    assert {*HUB, "jxm/nq_corpus_dpr"} == set(hub)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["data"] == "nq, validation split, cut to 24 tokens" and len(found["runs"]) == len(SETTINGS)
    for run, (steps, width) in zip(found["runs"], SETTINGS.values()):
        want, got = cosine_of_reference(steps, width), run["scores"]["cos_sim"]
        assert run["n"] == JOB.n and got["mean"] == pytest.approx(want.mean, abs=1e-4) and got["sem"] == pytest.approx(want.sem, abs=1e-4)
    assert len({run["scores"]["cos_sim"]["mean"] for run in found["runs"]}) == len(SETTINGS), "settings that score the same compare nothing"
    assert len({run["loss"] for run in found["runs"]}) == 1 and not (tmp_path/"cache").exists()


def test_a_stopped_run_goes_on(hub, tmp_path):
    "A setting that is there is not run again; the others are added"
    path = run_job(replace(JOB, settings=("1",)), tmp_path/"results", "first")
    results = json.loads(path.read_text(encoding="utf-8"))
    results["runs"][0]["loss"] = 42.
    path.write_text(json.dumps(results), encoding="utf-8")
    run_job(replace(JOB, settings=("1", "3")), tmp_path/"results", "second")
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    assert [run["setting"] for run in runs] == ["1 step", "3 steps"] and runs[0]["loss"] == 42.


def test_the_smoke_size(hub, tmp_path):
    found = json.loads(run_job(shrink_job(PAPER[0]), tmp_path, "smoke").read_text(encoding="utf-8"))
    assert [run["setting"] for run in found["runs"]] == ["1 step", "2 steps", "2 steps, beam 2"]
    assert {run["n"] for run in found["runs"]} == {4}


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_every_job_of_scale_paper_runs(notebook, hub, tmp_path):
    "With four texts, fewer steps, and a few updates where something is trained"
    for _, job in pick_jobs("paper", [notebook]):
        path = run_job(shrink_job(job), tmp_path/"results", "a command", tmp_path/"work", [*SMOKE_FLAGS, *STAND_IN])
        assert json.loads(path.read_text(encoding="utf-8"))["command"] == "a command", job.name


def test_without_the_hub_the_job_says_what_is_missing(monkeypatch, tmp_path):
    def snapshot_download(repo_id, **kwargs): raise LocalEntryNotFoundError(f"{repo_id} is not here")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match="'jxm/gtr__nq__32__correct' is neither a folder nor"):
        run_job(JOB, tmp_path, "no network")
