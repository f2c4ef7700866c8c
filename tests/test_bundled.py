"The bundled models: their size, their card, their figures, and that the figures are theirs."
import json
import subprocess
import sys

import pytest
from project import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import evaluate_minilm

FOLDER = evaluate_minilm.CARD.parent
RESULT = json.loads(evaluate_minilm.RESULT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def corrector():
    from vec2text_nb import load_pretrained_corrector
    return load_pretrained_corrector("all-MiniLM-L6-v2", device="cpu")


def test_small_enough():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) <= 60e6


def test_the_result_says_where_it_comes_from():
    assert {"command", "date", "n", "seed", "machine", "model_digest", "embedder_digest", "data", "training"} <= RESULT.keys()
    assert RESULT["n"] == len(RESULT["references"]) == len(set(RESULT["references"])) >= 200
    assert all(len(run["texts"]) == RESULT["n"] and all(score["sem"] > 0 for score in run["scores"].values()) for run in RESULT["runs"])


def test_scored_texts_are_held_out():
    from vec2text_nb.data import split_of
    assert {split_of(t) for t in RESULT["references"]} == {"test"}


def test_the_result_is_of_these_models(corrector):
    from vec2text_nb.pretrained import model_digest
    assert model_digest(corrector) == RESULT["model_digest"]
    assert corrector.embedder.digest[:16] == RESULT["embedder_digest"]


def test_scores_follow_from_the_texts():
    from vec2text_nb.metrics import text_metrics
    for run in RESULT["runs"]:
        scores = text_metrics(run["texts"], RESULT["references"])
        for name in ("token_f1", "bleu", "exact_match"): assert scores[name].mean == pytest.approx(run["scores"][name]["mean"], abs=1e-4)


def test_texts_come_again(corrector):
    "The stored texts are what the models give; one in eight may differ by rounding on another processor"
    some = RESULT["references"][:8]
    targets = corrector.embedder.encode(some)
    for run in RESULT["runs"][:3]:
        texts = corrector.invert(targets, run["num_steps"], run["sequence_beam_width"]).texts
        assert sum(a == b for a, b in zip(texts, run["texts"])) >= 7, (run["setting"], texts)


@pytest.mark.parametrize("metric", ["token_f1", "cos_sim"])
def test_steps_and_beams_help(metric):
    "From the hypothesizer to 5 steps to 5 steps with a beam of 4"
    means = [run["scores"][metric]["mean"] for run in RESULT["runs"][:3]]
    assert means[0] < means[1] < means[2]


def test_the_card_is_written_from_the_result():
    assert evaluate_minilm.CARD.read_text(encoding="utf-8") == evaluate_minilm.card(RESULT)


def test_loads_quickly_and_without_network():
    "In a new process, sockets forbidden, after torch and transformers: under 5 seconds"
    code = """if True:
        import socket, time
        def refuse(*args, **kwargs): raise OSError("no network in this test")
        socket.socket.connect = socket.create_connection = refuse
        import torch, transformers
        start = time.perf_counter()
        from vec2text_nb import load_pretrained_corrector
        corrector = load_pretrained_corrector("all-MiniLM-L6-v2")
        print(time.perf_counter() - start, len(corrector.invert(corrector.embedder.encode(["a bird"]), 1)))"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    seconds, n = run.stdout.split()
    assert float(seconds) < 5 and n == "1"
