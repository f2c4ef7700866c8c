"Evaluation: killed runs that go on, files that are not overwritten, and the command"
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from project import ROOT

from vec2text_nb.cli import eval_main
from vec2text_nb.commands import only_writer
from vec2text_nb.evaluation import Setting, draw_texts, evaluate_inversion, results_table, run_evaluation
from vec2text_nb.metrics import text_metrics
from vec2text_nb.results import read_object, texts_beside

TEXTS = [f"a {size} {kind} of {stuff}" for size in ("large", "small") for kind in ("sheet", "piece", "ball") for stuff in ("paper", "wood")]


@pytest.fixture(scope="module")
def corrector():
    from vec2text_nb import load_pretrained_corrector
    return load_pretrained_corrector("all-MiniLM-L6-v2", device="cpu")


def evaluate(corrector, path, settings, texts=TEXTS, **options):
    return run_evaluation(corrector, texts, settings, path, "made up", "python example.py", seed=0, **options)


def lasting(results):
    "What does not depend on when and how fast it was made"
    runs = [{k: v for k, v in run.items() if k not in ("date", "seconds_per_text")} for run in results["runs"]]
    return {**results, "date": None, "runs": runs}


def refuse(*args, **options): raise AssertionError("nothing should be inverted")


def test_a_first_part_of_the_draw_is_the_smaller_draw():
    assert draw_texts(TEXTS, 9, seed=1)[:4] == draw_texts(TEXTS, 4, seed=1) != draw_texts(TEXTS, 4, seed=2)
    assert sorted(draw_texts(TEXTS, 100)) == sorted(TEXTS)


def test_scores_are_those_of_the_metrics(corrector):
    run, vectors = evaluate_inversion(corrector, TEXTS, 1), corrector.embedder.encode(TEXTS)
    scores = text_metrics(run["texts"], TEXTS, corrector.embedder.encode(run["texts"]), vectors)
    for name, score in run["scores"].items():
        assert (score["mean"], score["sem"]) == pytest.approx((scores[name].mean, scores[name].sem), abs=1e-4)


def test_a_second_writer_is_refused(corrector, tmp_path):
    with only_writer(tmp_path/"r.json"), pytest.raises(BlockingIOError, match="Another process is writing"):
        evaluate(corrector, tmp_path/"r.json", ["0"])
    evaluate(corrector, tmp_path/"r.json", ["0"])
    assert {f.name for f in tmp_path.iterdir()} == {"r.json", "r.texts.json.gz"}


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_chunks_change_nothing(corrector, chunk):
    whole = corrector.invert(corrector.embedder.encode(TEXTS), 2, 2).texts
    assert evaluate_inversion(corrector, TEXTS, 2, 2, chunk=chunk)["texts"] == whole


def test_goes_on_in_the_middle_of_a_setting(corrector, tmp_path, monkeypatch):
    settings = ["0", "1", "2x2"]
    whole = evaluate(corrector, tmp_path/"whole.json", settings, chunk=4)
    calls, invert = [], type(corrector).invert

    def breaking(self, targets, *args, **options):
        calls.append(len(targets))
        if len(calls) == 5: raise KeyboardInterrupt
        return invert(self, targets, *args, **options)
    monkeypatch.setattr(type(corrector), "invert", breaking)
    with pytest.raises(KeyboardInterrupt): evaluate(corrector, tmp_path/"r.json", settings, chunk=4)
    assert len(json.loads((tmp_path/"r.json").read_text(encoding="utf-8"))["runs"]) == 2
    assert len(list(tmp_path.glob("r.json.*.partial"))) == 1
    assert lasting(evaluate(corrector, tmp_path/"r.json", settings, chunk=4)) == lasting(whole)
    expected = {f"{name}{end}" for name in ("whole", "r") for end in (".json", ".texts.json.gz")}
    assert calls == [4]*7 and {f.name for f in tmp_path.iterdir()} == expected
    assert (tmp_path/"r.json").read_bytes()[:1] == b"{"


def test_a_partial_file_serves_its_own_work_only(corrector, tmp_path, monkeypatch):
    "Neither another beam nor other texts go on with it"
    part = {}
    for name, setting, texts in [("a", "2", TEXTS), ("b", "2x2", TEXTS), ("c", "2", TEXTS[::-1]), ("d", Setting(2, n=3), TEXTS),
                                 ("e", Setting(2, options=dict(keep_best=False)), TEXTS)]:
        with monkeypatch.context() as m:
            m.setattr("vec2text_nb.evaluation.score_texts", refuse)    # all chunks are done, the run is not
            with pytest.raises(AssertionError): evaluate(corrector, tmp_path/"r.json", [setting], texts)
        part[name] = {f.name for f in tmp_path.iterdir()} - set().union(*part.values())
    assert all(len(names) == 1 for names in part.values())


def test_one_search_serves_all_steps(corrector, tmp_path, monkeypatch):
    "A search is as long as the longest setting, and each setting has the scores of its own search"
    alone = [evaluate_inversion(corrector, TEXTS, steps, 2*(steps > 0)) for steps in (0, 1, 4)]
    calls, invert = [], type(corrector).invert
    monkeypatch.setattr(type(corrector), "invert", lambda self, e, *a, **kw: calls.append(a) or invert(self, e, *a, **kw))
    runs = evaluate(corrector, tmp_path/"r.json", ["1x2", "0", "4x2"])["runs"]
    assert calls == [(4, 2), (0, 0)]
    assert [(run["texts"], run["scores"]) for run in runs] == [(run["texts"], run["scores"]) for run in alone]
    assert [run["seconds_per_text"] is None for run in runs] == [False, True, False]


def test_finished_settings_are_not_run_again(corrector, tmp_path, monkeypatch):
    path = tmp_path/"r.json"
    evaluate(corrector, path, ["0", Setting(1, n=5)])
    before = path.read_bytes()
    with monkeypatch.context() as m:
        m.setattr(type(corrector), "invert", refuse)
        for overwrite in (False, True): evaluate(corrector, path, ["0", Setting(1, n=5)], overwrite=overwrite)
        assert path.read_bytes() == before
        with pytest.raises(AssertionError): evaluate(corrector, path, ["0", Setting(1, n=6)])
    assert [run["n"] for run in evaluate(corrector, path, ["0", Setting(1, n=6)])["runs"]] == [len(TEXTS), 6]


def test_refuses_other_results(corrector, tmp_path):
    path = tmp_path/"r.json"
    evaluate(corrector, path, ["0"])
    before = read_object(path)
    for options in (dict(texts=TEXTS[:5]), dict(texts=TEXTS[::-1]), dict(facts=dict(noise=.1))):
        with pytest.raises(ValueError, match="holds other results"): evaluate(corrector, path, ["0"], **options)
    path.write_text(path.read_text(encoding="utf-8").replace('"model_digest": "', '"model_digest": "x'), encoding="utf-8")
    with pytest.raises(ValueError, match="holds other results .model_digest: 'x"): evaluate(corrector, path, ["0"])
    assert lasting(evaluate(corrector, path, ["0"], overwrite=True)) == lasting(before)
    texts_beside(path).unlink()
    with pytest.raises(ValueError, match="its texts are missing: r.texts.json.gz"): evaluate(corrector, path, ["0"])


def test_a_file_that_is_no_json(corrector, tmp_path):
    (tmp_path/"r.json").write_text('{"runs": [', encoding="utf-8")
    with pytest.raises(ValueError, match="r.json is not JSON.*--overwrite"): evaluate(corrector, tmp_path/"r.json", ["0"])
    assert len(evaluate(corrector, tmp_path/"r.json", ["0"], overwrite=True)["runs"]) == 1


def test_own_scores_and_options(corrector, tmp_path):
    options = [dict(keep_best=False), dict(initial="a dog"), dict(sampling=dict(top_p=.9))]
    settings = [Setting(1, options=o) for o in options[:2]] + [Setting(1, options=options[2], name="nucleus")]
    found = evaluate(corrector, tmp_path/"r.json", settings, also=lambda written: {"first_name": [float("a" in t) for t in written]})
    assert [run["setting"] for run in found["runs"]] == ["1 step, keep_best False", "1 step, initial a dog", "nucleus"]
    assert [run["options"] for run in found["runs"]] == options
    assert results_table(tmp_path/"r.json").splitlines()[0].endswith("| cosine | first name, % |")


def test_survives_kill_9(tmp_path):
    "The command, killed when a first chunk is done, goes on from there"
    texts = [f"{text} in room {i}" for i in range(12) for text in TEXTS]
    (tmp_path/"texts.txt").write_text("\n".join(texts), encoding="utf-8")
    argv = ["--dataset", str(tmp_path/"texts.txt"), "--split", "train", "--n", "110", "--settings", "1", "--out", str(tmp_path/"r.json")]
    code = f"import sys; from vec2text_nb.cli import eval_main; sys.exit(eval_main({argv!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for _ in range(2400):
        if list(tmp_path.glob("r.json.*.partial")) or process.poll() is not None: break
        time.sleep(.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    [part] = tmp_path.glob("r.json.*.partial")
    done = json.loads(part.read_text(encoding="utf-8"))["texts"][0]
    assert len(done) >= 50 and not (tmp_path/"r.json").exists()
    assert eval_main(argv) == 0
    run = read_object(tmp_path/"r.json")["runs"][0]
    assert run["texts"][:len(done)] == done and run["n"] == len(run["texts"]) == 110 and not part.exists()


@pytest.mark.parametrize("more,message", [
    (["--settings", "0x4"], "there are no correction steps"), (["--settings", "five"], "'five' is not a setting"),
    (["--n", "-1"], "at least two"), (["--split", "test"], "the test split of"), (["--dataset", "nowhere.txt"], "no source or file"),
    (["--corrector", "nowhere"], "nowhere"), (["--text_column", "text"], "no columns"), (["--out", "{folder}"], "{folder}"),
    (["--out", ""], "is empty"), (["--out", "/dev/null"], "is a pipe or a device"),
    (["--seed", "-1"], "The seed is -1: expected 0 or more")])
def test_bad_input_is_one_line(more, message, tmp_path, capsys):
    (tmp_path/"texts.txt").write_text("\n".join(TEXTS[:4]), encoding="utf-8")
    argv = ["--dataset", str(tmp_path/"texts.txt"), "--split", "train", "--settings", "0", "--out", str(tmp_path/"r.json")]
    assert eval_main(argv + [m.format(folder=tmp_path) for m in more]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("v2t-eval: ") and err.count("\n") == 1 and message.format(folder=tmp_path) in err
    assert [f.name for f in tmp_path.iterdir()] == ["texts.txt"]


def test_prints_a_table_or_json(tmp_path, capsys):
    (tmp_path/"texts.txt").write_text("\n".join(["A Large Sheet of PAPER", *TEXTS[1:]]), encoding="utf-8")
    argv = ["--dataset", str(tmp_path/"texts.txt"), "--split", "train", "--n", "4", "--settings", "0", "1"]
    argv += ["--out", str(tmp_path/"new"/"r.json")]
    assert eval_main(argv) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| hypothesizer alone | 4 | ")
    assert eval_main([*argv, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["num_steps"], row["n"]) for row in rows] == [(0, 4), (1, 4)]
    found = read_object(tmp_path/"new"/"r.json")
    assert found["command"].startswith("v2t-eval --dataset ") and all(t == t.lower() for t in found["references"])
