"The checks for a GPU, tried on the CPU: every one runs, a failing one stops no other, and without CUDA nothing is run."
import importlib.util
import json

import pytest
import torch
from project import ROOT

from vec2text_nb import sources
from vec2text_nb.embedders import packaged_minilm


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("check_gpu", ROOT/"tools"/"check_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(packaged_minilm() is None, reason="needs the extra [minilm]")
def test_every_check_passes_on_the_cpu(tool, tmp_path, monkeypatch, capsys):
    def absent(*args): raise FileNotFoundError("No WordNet.")
    monkeypatch.setitem(tool.SOURCES, "records", "records:500")
    monkeypatch.setitem(sources.SOURCES, "wordnet", absent)
    for options in (tool.BEAMS, tool.LONG): monkeypatch.setitem(options, "num_steps", 1)
    monkeypatch.setitem(tool.LONG, "sequence_beam_width", 2)
    out = tmp_path/"gpu.json"
    assert tool.main(["--device", "cpu", "--n", "2", "--speed_n", "2", "--greedy_n", "2", "--out", str(out)]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "wordnet: skipped, No WordNet."
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["sources"] == {"records": 2, "everyday": 2} and found["seed"] == 0 and len(found["model_digest"]) == 16
    assert list(found["checks"]) == [name for name in tool.CHECKS if name != "float16"]
    assert [line.partition(": ")[0] for line in lines] == list(found["checks"]) and all(": ok, " in line for line in lines)
    for name in tool.SEARCHES: assert found["checks"][f"same texts, {name}"]["equal"] == 4
    assert [len(found["checks"]["training"][kind]["losses"]) for kind in ("inversion", "corrector")] == [4, 4]
    assert torch.get_default_device().type == "cpu"


def test_a_failing_check_stops_no_other(tool, capsys):
    def broken(world): raise RuntimeError("out of\nmemory")
    found = tool.run_checks(dict(a=broken, b=lambda w: (False, "1 of 2", dict(n=2)), c=lambda w: (True, "2 of 2", dict(n=2))), None)
    assert [r["ok"] for r in found.values()] == [False, False, True]
    assert [line.rpartition(", ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "a: FAILED, RuntimeError: out of memory", "b: FAILED, 1 of 2", "c: ok, 2 of 2"]


def test_without_cuda_nothing_is_run(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path/"gpu.json"
    assert tool.main(["--out", str(out)]) == 0
    assert capsys.readouterr().out == "not run: this torch has no CUDA\n" and not out.exists()
    with pytest.raises(SystemExit): tool.main(["--device", "cuda", "--out", str(out)])
    assert "device cuda: " in capsys.readouterr().err and not out.exists()
