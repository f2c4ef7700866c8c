"The bundled models: their size, their card, their figures, and that the figures are theirs."
import json
import shutil
import subprocess
import sys

import pytest
from project import ROOT

sys.path.insert(0, str(ROOT/"tools"))
import evaluate_bundled

from vec2text_nb.results import read_object

FOLDER = evaluate_bundled.CARD.parent
RESULTS = {path.stem: read_object(path) for path in sorted(evaluate_bundled.RESULTS.glob("*.json"))}
by_set = pytest.mark.parametrize("name", RESULTS)


@pytest.fixture(scope="module")
def corrector():
    from vec2text_nb import load_pretrained_corrector
    return load_pretrained_corrector("all-MiniLM-L6-v2", device="cpu")


def test_small_enough():
    assert sum(f.stat().st_size for f in FOLDER.rglob("*") if f.is_file()) <= 60e6


def test_the_sets_are_known():
    assert "wordnet" in RESULTS and set(RESULTS) <= set(evaluate_bundled.SETS)


@by_set
def test_the_result_says_where_it_comes_from(name):
    result = RESULTS[name]
    assert {"command", "date", "n", "seed", "machine", "model_digest", "embedder_digest", "data"} <= result.keys()
    assert result["n"] == len(result["references"]) == len(set(result["references"])) >= 200
    for run in result["runs"]:
        assert len(run["texts"]) == run["n"] <= result["n"] and run["date"] and run["machine"]
        assert all(score["sem"] > 0 or score["mean"] in (0, 1) for score in run["scores"].values())


@pytest.mark.parametrize("name", [name for name in RESULTS if name in ("wordnet", "records", "manuals")])
def test_scored_texts_are_held_out(name):
    from vec2text_nb.data import split_of
    assert {split_of(t) for t in RESULTS[name]["references"]} == {"test"}


@by_set
def test_the_result_is_of_these_models(name, corrector):
    from vec2text_nb.pretrained import model_digest
    assert model_digest(corrector) == RESULTS[name]["model_digest"]
    assert corrector.embedder.digest[:16] == RESULTS[name]["embedder_digest"]


@by_set
def test_scores_follow_from_the_texts(name):
    from vec2text_nb.metrics import text_metrics
    for run in RESULTS[name]["runs"]:
        scores = text_metrics(run["texts"], RESULTS[name]["references"][:run["n"]])
        for metric in ("token_f1", "bleu", "exact_match"):
            assert (scores[metric].mean, scores[metric].sem) == pytest.approx([run["scores"][metric][k] for k in ("mean", "sem")], abs=1e-4)


@by_set
def test_names_follow_from_the_texts(name):
    "Records have names, and their scores are kept; the other sets have none"
    assert all(("full_name" in run["scores"]) == (name == "records") for run in RESULTS[name]["runs"])
    if name != "records": return
    from vec2text_nb.evaluation import name_scores
    shares = name_scores(RESULTS[name]["references"])
    for run in RESULTS[name]["runs"]:
        for metric, values in shares(run["texts"]).items():
            assert sum(values)/len(values) == pytest.approx(run["scores"][metric]["mean"], abs=1e-4)


@by_set
def test_texts_come_again(name, corrector):
    "The stored texts are what the models give; one in eight may differ by rounding on another processor"
    targets = corrector.embedder.encode(RESULTS[name]["references"][:8])
    for run in RESULTS[name]["runs"]:
        if run["num_steps"] > 5: continue
        texts = corrector.invert(targets, run["num_steps"], run["sequence_beam_width"]).texts
        assert sum(a == b for a, b in zip(texts, run["texts"])) >= 7, (run["setting"], texts)


def test_the_curves_are_of_these_models(corrector):
    from vec2text_nb.pretrained import model_digest
    runs = json.loads((FOLDER/"training.json").read_text(encoding="utf-8"))["runs"]
    assert runs[-1]["model_digest"] == model_digest(corrector)
    for before, run, name in zip(runs[:-1], runs[1:], ("bundled_gpu.json", "bundled.json"), strict=True):
        curves = json.loads((ROOT/"results"/"training"/name).read_text(encoding="utf-8"))
        assert {"command", "date", "n", "seed", "machine", "data"} <= curves.keys() and curves["texts"] == run["texts"]
        assert (curves["started_from"], curves["model_digest"]) == (before["model_digest"], run["model_digest"])
        assert len(run["stages"]) == 3
        for stage in run["stages"]:
            last = [point for point in curves["curve"] if point["stage"] == stage["name"]][-1]
            assert all(last[k] == stage[k] for k in ("seconds", "step", "samples", "held_out"))


@by_set
def test_steps_and_beams_help(name):
    "More steps never end farther away, and on the same texts the hardest search is better than the hypothesizer"
    from vec2text_nb.metrics import text_metrics
    result, hardest = RESULTS[name], RESULTS[name]["runs"][-1]
    greedy = [run["scores"]["cos_sim"]["mean"] for run in result["runs"] if not run["sequence_beam_width"]]
    assert greedy == sorted(greedy) and greedy[0] < hardest["scores"]["cos_sim"]["mean"]
    first = text_metrics(result["runs"][0]["texts"][:hardest["n"]], result["references"][:hardest["n"]])
    for metric in ("token_f1", "bleu"): assert first[metric].mean < hardest["scores"][metric]["mean"]


def test_the_card_is_written_from_the_results():
    assert evaluate_bundled.CARD.read_text(encoding="utf-8") == evaluate_bundled.card()


def test_the_card_is_of_one_model_only(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_bundled, "RESULTS", tmp_path)
    for name, digest in [("wordnet", "0"*16), ("kjv", "1"*16)]:
        (tmp_path/f"{name}.json").write_text(json.dumps(dict(model_digest=digest)), encoding="utf-8")
    with pytest.raises(ValueError, match="expected those of one model"): evaluate_bundled.card()


def test_records_and_their_names():
    "A text is scored by the record that made it"
    from vec2text_nb.data import clean_text
    from vec2text_nb.evaluation import name_scores
    from vec2text_nb.records import record_at
    records = [record_at(i) for i in (3, 1, 2)]
    texts = [clean_text(r.text) for r in records]
    shares = name_scores(texts)
    assert shares(texts) == {f"{part}_name": [1., 1., 1.] for part in ("first", "last", "full")}
    found = shares([f"about {records[0].first}", f"about {records[1].last}"])
    assert found == {"first_name": [1., 0.], "last_name": [0., 1.], "full_name": [0., 0.]}


def test_evaluation_of_one_set(tmp_path, monkeypatch, capsys):
    "As the tool does it, on few texts; a set that cannot be read is said to be not run"
    shutil.copytree(FOLDER, tmp_path/"pretrained", ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    monkeypatch.setattr(evaluate_bundled, "RESULTS", tmp_path/"results")
    monkeypatch.setattr(evaluate_bundled, "CARD", tmp_path/"pretrained"/"README.md")
    monkeypatch.setattr(evaluate_bundled, "RECORDS", 300)
    monkeypatch.setenv("PATH", str(tmp_path))
    argv = ["--sets", "records", "kjv", "--n", "4", "--n_beam", "2", "--settings", "0", "1x2"]
    evaluate_bundled.main(argv)
    assert "kjv: not run: The command bible gives no text" in capsys.readouterr().out
    result = json.loads((tmp_path/"results"/"records.json").read_text(encoding="utf-8"))
    assert [(run["setting"], run["n"]) for run in result["runs"]] == [("hypothesizer alone", 4), ("1 step, beam 2", 2)]
    assert {"first_name", "last_name", "full_name"} <= result["runs"][0]["scores"].keys()
    card = (tmp_path/"pretrained"/"README.md").read_text(encoding="utf-8")
    assert "| invented records | 1 step, beam 2 | 2 |" in card
    assert "| King James Bible (out of domain) |  | not run |" in card and "| manuals |  | not run |" in card
    assert "| setting | n | token F1, % | BLEU | exact match, % | cosine | first name, % | last name, % | full name, % |" in card


def test_loads_quickly_and_without_network():
    "In a new process, sockets forbidden, after torch and the parts of transformers that are used: under 3 CPU seconds"
    code = """if True:
        import socket, time
        def refuse(*args, **kwargs): raise OSError("no network in this test")
        socket.socket.connect = socket.create_connection = refuse
        import torch
        from transformers import AutoModel, AutoTokenizer, PreTrainedModel, T5ForConditionalGeneration
        start = time.process_time()
        from vec2text_nb import load_pretrained_corrector
        corrector = load_pretrained_corrector("all-MiniLM-L6-v2")
        print(time.process_time() - start, len(corrector.invert(corrector.embedder.encode(["a bird"]), 1)))"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    seconds, n = run.stdout.split()
    assert float(seconds) < 3 and n == "1"


def test_further_kinds_say_where_they_come_from():
    "The files of the page on kinds of texts are of the weights that the card is about, and its cosines are those of the scores"
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in evaluate_bundled.KIND_RESULTS.glob("*.json")}
    cosines = found.pop("cosines")
    assert set(found) <= set(evaluate_bundled.KINDS) and set(evaluate_bundled.LANGUAGES) <= set(found)
    assert {content["model_digest"] for content in [cosines, *found.values()]} == {RESULTS["wordnet"]["model_digest"]}
    runs = {name: run for name, content in (RESULTS | found).items() for run in content["runs"] if run["setting"] == "20 steps, beam 8"}
    assert runs.keys() == cosines["cosines"].keys()
    for name, run in runs.items():
        assert len(cosines["cosines"][name]) == run["n"]
        assert sum(cosines["cosines"][name])/run["n"] == pytest.approx(run["scores"]["cos_sim"]["mean"], abs=1e-4)


def test_sentences_are_the_same_in_five_languages_and_as_the_embedder_reads_them():
    sets = {name: evaluate_bundled.texts_of(name) for name in evaluate_bundled.LANGUAGES}
    assert all(len(set(texts)) == 30 for texts in sets.values())
    assert sets["german"][2] == "ihr paket kommt am donnerstag zwischen zehn und zwolf uhr."
    for name, texts in sets.items():
        stored = read_object(evaluate_bundled.results(name))["references"]
        assert sorted(stored) == sorted(texts)


def test_a_further_kind_leaves_the_card_alone(tmp_path, monkeypatch):
    "It is run by name, beside the sets of the card, and its cosines are kept"
    for name in ("RESULTS", "KIND_RESULTS"): monkeypatch.setattr(evaluate_bundled, name, tmp_path/name)
    assert "not written" in evaluate_bundled.main(["--sets", "polish", "--n", "2", "--settings", "0"])
    result = json.loads((tmp_path/"KIND_RESULTS"/"polish.json").read_text(encoding="utf-8"))
    assert result["n"] == 2 and "Polish" in result["data"] and not (tmp_path/"RESULTS").exists()
    evaluate_bundled.main(["--cosines"])
    assert json.loads((tmp_path/"KIND_RESULTS"/"cosines.json").read_text(encoding="utf-8"))["cosines"] == {}
