"v2t-train-pair as a process and from outside: stopped and gone on with, other sizes, what it refuses"
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from project import ROOT

from vec2text_nb import load_corrector, pair

TINY = ("--texts records:300 --vocab_size 400 --width 96 --max_length 16 --hypothesizer_length 16 --corrector_length 16 "
        "--own_outputs_length 8 --batch_size 16 --pool 60 --device cpu").split()


@pytest.fixture(scope="module")
def cache(tmp_path_factory): return ["--cache_dir", str(tmp_path_factory.mktemp("cache"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    "A run that nobody stopped"
    out = tmp_path_factory.mktemp("runs")/"whole"
    assert pair.main([*TINY, *cache, "--out", str(out)]) == 0
    return out


def losses(out):
    "What does not depend on the clock"
    record = json.loads((out/"curve.json").read_text(encoding="utf-8"))
    return [(p["stage"], p["step"], p["samples"], p["loss"], p["held_out"]) for p in record["curve"]], record["chains"]


@pytest.mark.parametrize("reports", [3, 8, 13, 21])
def test_interrupted_and_gone_on_with(reports, whole, cache, tmp_path, monkeypatch, capsys):
    "Wherever it stops, the same command ends at the same losses"
    argv, seen, report = [*TINY, *cache, "--out", str(tmp_path/"run")], [], pair.report_point

    def stopping(run, point):
        report(run, point)
        seen.append(point)
        if len(seen) == reports: raise KeyboardInterrupt
    monkeypatch.setattr(pair, "report_point", stopping)
    assert pair.main(argv) == 130 and "to resume from the last checkpoint" in capsys.readouterr().err
    assert pair.main(argv) == 0
    assert losses(tmp_path/"run") == losses(whole)
    assert sorted(p.name for p in (tmp_path/"run").iterdir()) == ["backbone", "curve.json", "pair", "run.json"]


def test_killed_and_gone_on_with(whole, cache, tmp_path):
    "kill -9 in the middle of a stage"
    argv = [*TINY, *cache, "--out", str(tmp_path/"run")]
    command = [sys.executable, "-c", "import sys; from vec2text_nb.pair import main; sys.exit(main())", *argv]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic()+120
    while not (tmp_path/"run"/"checkpoint.pt").exists() and time.monotonic() < end: time.sleep(.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path/"run"/"pair").exists()
    (tmp_path/"run"/"checkpoint.pt.1.part").write_bytes(b"half of it")
    assert pair.main(argv) == 0 and losses(tmp_path/"run") == losses(whole)
    assert sorted(p.name for p in (tmp_path/"run").iterdir()) == ["backbone", "curve.json", "pair", "run.json"]


def test_first_hypotheses_are_written_once(whole, cache, tmp_path, monkeypatch):
    "Both corrector stages use them, also after an interruption, and draw the same numbers afterwards"
    argv, calls, make = [*TINY, *cache, "--out", str(tmp_path/"run")], [], pair.first_hypotheses
    monkeypatch.setattr(pair, "first_hypotheses", lambda *args: calls.append(1) or make(*args))
    with monkeypatch.context() as m:
        def interrupted(*args): raise KeyboardInterrupt
        m.setattr(pair, "own_output_hypotheses", interrupted)
        assert pair.main(argv) == 130
    assert pair.main(argv) == 0 and calls == [1] and losses(tmp_path/"run") == losses(whole)


def test_the_pair_is_like_any_other(whole):
    corrector = load_corrector(whole/"pair", device="cpu")
    assert corrector.corrector_model.config.backbone["num_layers"] == 2 and corrector.max_length == 16
    assert len(corrector.invert(corrector.embedder.encode(["mary has asthma"]), 2, 2).texts) == 1
    facts = json.loads((whole/"pair"/"training.json").read_text(encoding="utf-8"))
    assert {"command", "date", "machine", "seed", "n", "texts", "settings", "curve", "chains"} <= facts.keys()


def test_from_a_pair_with_other_texts(whole, cache, tmp_path):
    "The corrector alone goes on; the hypothesizer stays as it is"
    argv = ["--pair", str(whole/"pair"), "--texts", "messages:300", "--hypothesizer", "0", "--corrector", "8", "--own_outputs", "0",
            "--batch_size", "16", "--pool", "60", "--device", "cpu", *cache, "--out", str(tmp_path/"run"), "--optimizer", "adamw"]
    assert pair.main(argv) == 0
    before, after = (load_corrector(folder/"pair", device="cpu") for folder in (whole, tmp_path/"run"))
    def same(part): return all(torch.equal(a, b) for a, b in zip(getattr(before, part).parameters(), getattr(after, part).parameters()))
    assert same("inversion_model") and not same("corrector_model")


def test_by_the_clock(cache, tmp_path):
    lengths = "--hypothesizer_length 1s --corrector_length 0 --own_outputs_length 0".split()
    argv = [*TINY, *lengths, *cache, "--out", str(tmp_path/"run")]
    assert pair.main(argv) == 0
    curve = json.loads((tmp_path/"run"/"curve.json").read_text(encoding="utf-8"))["curve"]
    assert curve[-1]["seconds"] >= 1 and load_corrector(tmp_path/"run"/"pair", device="cpu").corrector_model is None


@pytest.mark.parametrize("argv, message", [
    (["--device", "cuda:7"], "device cuda:7: "),
    (["--batch_size", "0"], "--batch_size is 0: expected 1 or more"),
    (["--texts", "records:4"], "at least two of each are needed"),
    (["--texts", "tweets"], "tweets: no split 'train'"),
    (["--texts", "recrods"], "There is no source or file 'recrods'"),
    (["--embedder", "no-such-embedder"], "no-such-embedder"),
    (["--rate", "-1"], "--rate is -1.0: expected a positive number"), (["--corrector_rate", "nan"], "--corrector_rate is nan"),
    (["--width", "100"], "expected a multiple of 6, such as 96"), (["--width", "0"], "--width is 0"),
    (["--vocab_size", "10"], "--vocab_size is 10"),
    (["--max_length", "1"], "--max_length is 1"), (["--seed", "-1"], "The seed is -1"), (["--out", ""], "--out is empty"),
    (["--hypothesizer", "0", "--corrector", "0", "--own_outputs", "0"], "nothing would be trained")])
def test_bad_input_is_one_line(argv, message, cache, tmp_path, capsys):
    assert pair.main([*TINY, *cache, "--out", str(tmp_path/"run"), *argv]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and err.startswith("v2t-train-pair: ")


@pytest.mark.parametrize("length", ["2m", "-1", "infs", "nans"])
def test_a_length_that_is_none(length, capsys):
    with pytest.raises(SystemExit): pair.main([*TINY, "--out", "x", "--corrector", length])
    err = capsys.readouterr().err
    assert "--corrector: invalid length" in err and err.count("\n") == 1


def test_a_pair_that_is_not_there(cache, tmp_path, capsys):
    small = [part for part in TINY if part not in ("--vocab_size", "400", "--width", "96", "--max_length")]
    small.remove("16")                                    # the value of --max_length
    argv = [*small, *cache, "--out", str(tmp_path/"run"), "--pair", "nowhere/at/all"]
    assert pair.main(argv) == 2 and "nowhere/at/all" in capsys.readouterr().err
    assert pair.main([*argv, "--width", "96"]) == 2
    assert "--pair nowhere/at/all has its sizes already: leave --width out." in capsys.readouterr().err


def test_json_is_all_that_is_printed(whole, cache, capsys):
    capsys.readouterr()
    assert pair.main([*TINY, *cache, "--out", str(whole), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(whole/"pair") and [*found["stages"]] == ["hypothesizer", "corrector", "corrector, own outputs"]
    assert found["stages"]["hypothesizer"].keys() == {"step", "loss", "held_out"}


def test_out_of_memory_says_what_to_do_and_loses_nothing(whole, cache, tmp_path, monkeypatch, capsys):
    argv, step = [*TINY, *cache, "--out", str(tmp_path/"run")], pair.corrector_loss

    def full(*args):
        def loss(rows, width): raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return loss
    monkeypatch.setattr(pair, "corrector_loss", full)
    assert pair.main(argv) == 2
    assert "corrector: the device is out of memory with --batch_size 16. Give --batch_size 8" in capsys.readouterr().err
    monkeypatch.setattr(pair, "corrector_loss", step)
    assert pair.main([*argv, "--batch_size", "8"]) == 0
    assert losses(tmp_path/"run")[0][:8] == losses(whole)[0][:8]
