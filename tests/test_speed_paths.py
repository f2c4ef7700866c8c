"""The fast search gives the answers of the slow one, whatever the batches, the order and the threads. Stored measurements are whole."""
import json
import random
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from golden import GOLDEN, STORED
from project import ROOT

from vec2text_nb import decoding, inversion, load_corrector, load_pretrained_corrector

sys.path.insert(0, str(ROOT/"tools"))
import bench

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
FILES = sorted((ROOT/"results"/"speed").glob("*-steps*.json"))
TEXTS = ["a small bird with a red breast", "the act of buying something", "not able to be seen", "he walked home in the rain",
         "a kind of bread", "a person who sings"]


@pytest.fixture(scope="module", params=["golden", "bundled"])
def problem(request):
    "A corrector and its targets: tiny random models, and the bundled ones"
    if request.param == "golden":
        corrector = load_corrector(str(GOLDEN/"inverter"), str(GOLDEN/"corrector"), embedder=GOLDEN/"embedder",
                                   backbone=str(GOLDEN/"backbone"), device="cpu")
        return corrector, torch.from_numpy(np.load(STORED/"embeddings.npz")["embeddings"])
    corrector = load_pretrained_corrector(device="cpu")
    return corrector, corrector.embedder.encode(TEXTS)


@contextmanager
def threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try: yield
    finally: torch.set_num_threads(before)


@pytest.mark.parametrize("steps,beams", [(0, 0), (6, 0), (2, 2)])
def test_equals_the_plain_path(problem, steps, beams):
    corrector, targets = problem
    fast = corrector.invert(targets, steps, beams, keep_best=False).texts
    assert fast == bench.plain_invert(corrector, targets, steps, beams, corrector.max_length, batch=4, decoder="slow")


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.parametrize("steps,beams", [(15, 0), (5, 2)])
def test_stopping_early_changes_no_answer(problem, steps, beams, keep_best, monkeypatch):
    "With a search that never notices that its beam came back, all steps are done"
    corrector, targets = problem
    early = corrector.invert(targets, steps, beams, keep_best=keep_best)
    add = inversion.Search.add
    monkeypatch.setattr(inversion.Search, "add", lambda self, candidates, deterministic=True: add(self, candidates, deterministic=False))
    whole = corrector.invert(targets, steps, beams, keep_best=keep_best)
    assert early.texts == whole.texts and whole.steps == [steps]*len(targets)
    assert [[h.text for h in trace] for trace in early.trace] == [[h.text for h in trace] for trace in whole.trace]
    if beams == 0: assert max(early.steps) < steps, "no search stopped early: the test shows nothing"


@pytest.mark.parametrize("steps,beams", [(6, 0), (2, 3)])
def test_batches_order_and_threads(problem, steps, beams):
    corrector, targets = problem
    given = corrector.invert(targets, steps, beams).texts
    order = random.Random(0).sample(range(len(targets)), len(targets))
    shuffled = corrector.invert(targets[order], steps, beams, batch_size=3).texts
    assert [shuffled[order.index(i)] for i in range(len(order))] == given
    assert [t for part in targets.split(3) for t in corrector.invert(part, steps, beams).texts] == given
    assert corrector.invert(targets, steps, beams, batch_size=1).texts == given
    with threads(2): assert corrector.invert(targets[:3], 2, beams).texts == corrector.invert(targets, 2, beams).texts[:3]


def test_little_memory_changes_no_answer(problem, monkeypatch):
    corrector, targets = problem
    given = corrector.invert(targets, 2, 2).texts
    monkeypatch.setattr(decoding, "free_memory", lambda device: 2**20)
    monkeypatch.setattr(inversion, "KNOWN_BYTES", 4*targets.shape[1]*3)          # three texts
    assert corrector.invert(targets, 2, 2, batch_size=64).texts == given


def test_there_are_measurements(): assert {json.loads(f.read_text(encoding="utf-8"))["model"] for f in FILES} >= {"bundled", "t5-small"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_measurement_says_where_it_comes_from(path):
    res = json.loads(path.read_text(encoding="utf-8"))
    assert {"command", "date", "machine", "threads", "seed", "repeats", "torch", "n", "equal_texts"} <= res.keys()
    assert path.stem.startswith(bench.cell_name(res)) and res["command"].startswith(f"python tools/bench.py --only {bench.cell_name(res)}")
    if "variant" in res: return
    assert res["equal_texts"] == res["n"]
    assert res["ratio"] == pytest.approx(res["plain"]["seconds_per_text"]/res["fast"]["seconds_per_text"], abs=.02)
    assert res["floor"]["seconds_per_text"] < res["fast"]["seconds_per_text"]
