"""The job of scale `paper` that evaluates the published pair, offline: tiny checkpoints in the published layout under the published names,
and cosines that equal those of the reference's answers."""
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
from huggingface_hub.errors import LocalEntryNotFoundError

from vec2text_nb.embedders import load_embedder
from vec2text_nb.experiments import run_job, shrink
from vec2text_nb.metrics import cosine, mean_and_sem
from vec2text_nb.paper.reproduce_published import PAPER

GOLDEN = Path(__file__).parent/"fixtures"/"golden"
CASES = json.loads((GOLDEN/"cases.json").read_text())
HUB = {"jxm/gtr__nq__32": "inverter", "jxm/gtr__nq__32__correct": "corrector", "t5-base": "backbone",
       "sentence-transformers/gtr-t5-base": "embedder"}
NQ = {"train": ["a text to train on"], "dev": CASES["source_texts"]}
SETTINGS = {"1": (1, 0), "3x2": (3, 2), "4x4": (4, 4)}
JOB = replace(PAPER[0], settings=tuple(SETTINGS), n=len(CASES["source_texts"]))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "Answers under the published names; the configs name t5-base, as the published ones do. Returns what was asked for."
    asked = []
    for name in set(HUB.values()):
        shutil.copytree(GOLDEN/name, tmp_path/"hub"/name)
        config = json.loads((GOLDEN/name/"config.json").read_text())
        if name in ("inverter", "corrector"): config["model_name_or_path"] = "t5-base"
        (tmp_path/"hub"/name/"config.json").write_text(json.dumps(config))

    def snapshot_download(repo_id, **kwargs):
        asked.append(repo_id)
        if repo_id not in HUB: raise LocalEntryNotFoundError(f"{repo_id} is not here")
        return str(tmp_path/"hub"/HUB[repo_id])

    def load_dataset(path, name=None, *, split=None, revision=None):
        asked.append(path)
        return Dataset.from_dict({"text": NQ[split]})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setenv("VEC2TEXT_NB_CACHE", str(tmp_path/"cache"))
    monkeypatch.chdir(tmp_path)
    return asked


def cosine_of_reference(steps, width):
    "Mean cosine of the golden vectors and those of the reference's answers: random models score nothing else than 0"
    case = next(c for c in CASES["cases"] if (c["num_steps"], c["sequence_beam_width"]) == (steps, width))
    written = load_embedder("gtr_base", folder=GOLDEN/"embedder", device="cpu").encode(case["texts"], max_tokens=CASES["max_seq_length"])
    return mean_and_sem(cosine(written, torch.from_numpy(np.load(GOLDEN/"embeddings.npz")["embeddings"])))


def test_the_published_names_give_the_references_scores(hub, tmp_path):
    path = run_job(JOB, tmp_path/"results", "v2t-reproduce --scale paper --only published")
    assert {*HUB, "jxm/nq_corpus_dpr"} == set(hub)
    found = json.loads(path.read_text())
    assert found["data"] == "nq, validation split, cut to 24 tokens" and len(found["runs"]) == len(SETTINGS)
    for run, (steps, width) in zip(found["runs"], SETTINGS.values()):
        want, got = cosine_of_reference(steps, width), run["scores"]["cos_sim"]
        assert run["n"] == JOB.n and got["mean"] == pytest.approx(want.mean, abs=1e-4) and got["sem"] == pytest.approx(want.sem, abs=1e-4)
    assert len({run["scores"]["cos_sim"]["mean"] for run in found["runs"]}) == len(SETTINGS), "settings that score the same compare nothing"
    assert len({run["loss"] for run in found["runs"]}) == 1 and not (tmp_path/"cache").exists()


def test_a_stopped_run_goes_on(hub, tmp_path):
    "A setting that is there is not run again; the others are added"
    path = run_job(replace(JOB, settings=("1",)), tmp_path/"results", "first")
    results = json.loads(path.read_text())
    results["runs"][0]["loss"] = 42.
    path.write_text(json.dumps(results))
    run_job(replace(JOB, settings=("1", "3")), tmp_path/"results", "second")
    runs = json.loads(path.read_text())["runs"]
    assert [run["setting"] for run in runs] == ["1 step", "3 steps"] and runs[0]["loss"] == 42.


def test_the_smoke_size(hub, tmp_path):
    found = json.loads(run_job(shrink(PAPER[0]), tmp_path, "smoke").read_text())
    assert [run["setting"] for run in found["runs"]] == ["1 step", "2 steps", "2 steps, beam 2"]
    assert {run["n"] for run in found["runs"]} == {4}


def test_without_the_hub_the_job_says_what_is_missing(monkeypatch, tmp_path):
    def snapshot_download(repo_id, **kwargs): raise LocalEntryNotFoundError(f"{repo_id} is not here")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    with pytest.raises(FileNotFoundError, match="'jxm/gtr__nq__32__correct' is neither a folder nor"):
        run_job(JOB, tmp_path, "no network")
