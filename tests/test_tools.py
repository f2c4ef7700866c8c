"The runner of the notebooks and the writer of the README, on small projects."
import json
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT

TINY_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def notebook(*sources: str, **outputs) -> str:
    "A notebook as JSON: a source that begins with `# ` is markdown, others are code; `outputs` are named c0, c1, ... after their cells"
    cells = []
    for i, source in enumerate(sources):
        cells.append({"id": f"c{i}", "cell_type": "markdown" if source.startswith("# ") else "code", "metadata": {}, "source": source})
        if cells[i]["cell_type"] == "code": cells[i] |= {"outputs": outputs.get(f"c{i}", []), "execution_count": None}
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def nbs(tmp_path) -> Path:
    "The folder of notebooks of an empty project with this one's settings"
    (tmp_path/"settings.ini").write_text((ROOT/"settings.ini").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path/"nbs").mkdir()
    return tmp_path/"nbs"


def tool(name: str, *args, cwd: Path) -> tuple[int, str]:
    run = subprocess.run([sys.executable, ROOT/"tools"/name, *args], cwd=cwd, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def outputs(path: Path) -> list[str]:
    "What each cell shows, as one string"
    def text(output): return "".join(output.get("text") or output["data"]["text/plain"])
    return ["".join(map(text, cell["outputs"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]


def test_a_run_stores_outputs_and_honours_flags(nbs):
    path, stored = nbs/"00_a.ipynb", [{"output_type": "stream", "name": "stdout", "text": ["kept\n"]}]
    path.write_text(notebook("import os; print(os.path.basename(os.getcwd()))", "#| paper\n1/0", "#| eval: false\n1/0", "#| slow\nprint(2)",
                             "nbdev.nbdev_export()", "object()", c1=stored), encoding="utf-8")
    status, log = tool("run_nbs.py", path, "--flags", "slow", cwd=nbs.parent)
    assert status == 0, log
    assert outputs(path) == ["nbs\n", "kept\n", "", "2\n", "", "<object>"]
    once = path.read_bytes()
    subprocess.run([Path(sys.executable).parent/"nbdev_clean"], cwd=nbs.parent, check=True)
    assert path.read_bytes() == once
    assert tool("run_nbs.py", path, "--check", cwd=nbs.parent)[0] == 0
    assert [p.name for p in nbs.iterdir()] == [path.name]


def test_a_failing_cell_is_named_and_nothing_is_written(nbs):
    bad, good = nbs/"00_bad.ipynb", nbs/"01_good.ipynb"
    bad.write_text(notebook("print(1)", "1/0"), encoding="utf-8")
    good.write_text(notebook("print(1)"), encoding="utf-8")
    before = bad.read_bytes()
    status, log = tool("run_nbs.py", bad, good, cwd=nbs.parent)
    assert status == 1 and "00_bad.ipynb: cell 1 (id c1)" in log and "ZeroDivisionError" in log and "1 passed, 1 failed" in log
    assert bad.read_bytes() == before and outputs(good) == ["1\n"]


def test_check_finds_other_kinds_of_output_and_writes_nothing(nbs):
    path = nbs/"00_a.ipynb"
    path.write_text(notebook("1", "2", c0=[{"output_type": "stream", "name": "stdout", "text": ["1\n"]}]), encoding="utf-8")
    before = path.read_bytes()
    status, log = tool("run_nbs.py", path, "--check", cwd=nbs.parent)
    assert status == 1 and "cell 0: stored [('stream', 'stdout')]" in log and "cell 1: stored []" in log
    assert path.read_bytes() == before


def test_the_readme_shows_what_a_reader_of_the_index_sees(nbs):
    printed = [{"output_type": "stream", "name": "stdout", "text": ["2\n"]}]
    drawn = [{"output_type": "display_data", "data": {"image/png": TINY_PNG, "text/plain": ["<Figure>"]}}]
    table = [{"output_type": "execute_result", "data": {"text/markdown": ["| a |\n", "|---|"], "text/plain": ["x"]}}]
    (nbs/"index.ipynb").write_text(notebook(
        "# Title\n[a](00_a.ipynb) [b](../LICENSE) [c](https://c.org) [d](#d)\n```sh\n[e](e)\n```",
        "#| hide\n1", "#| slow\nprint(2)", "#| echo: false\ndraw()", "table()", c1=printed, c2=printed, c3=drawn, c4=table),
        encoding="utf-8")
    root = nbs.parent
    args = ("readme.py", "--root", root)
    assert tool(*args, "--check", cwd=root)[0] == 1
    assert tool(*args, cwd=root) == (0, "")
    text = (root/"README.md").read_text(encoding="utf-8")
    assert text.partition("\n\n")[2] == ("# Title\n[a](nbs/00_a.ipynb) [b](LICENSE) [c](https://c.org) [d](#d)\n```sh\n[e](e)\n```\n\n"
                                         "```python\nprint(2)\n```\n\n```\n2\n```\n\n![](assets/readme/figure-1.png)\n\n"
                                         "```python\ntable()\n```\n\n| a |\n|---|\n")
    assert tool(*args, "--check", cwd=root) == (0, "")
    (root/"assets"/"readme"/"figure-2.png").write_bytes(b"left behind")
    status, log = tool(*args, "--check", cwd=root)
    assert status == 1 and "assets/readme/figure-2.png" in log


def test_training_steps_are_timed_cell_by_cell(tmp_path):
    texts, out, kept = tmp_path/"texts.txt", tmp_path/"training.json", {"ratio": 1}
    texts.write_text("\n".join("a small dog barks at the old cat. "*(1+i%4) for i in range(24)), encoding="utf-8")
    out.write_text(json.dumps({"cells": {"toy-32-inversion-float32": kept}}), encoding="utf-8")
    small = ("--toy", "--only", "toy-32-*-float32", "--texts", texts, "--repeats", "2", "--batch", "4")
    status, log = tool("bench_training.py", *small, "--out", out, cwd=tmp_path)
    assert status == 0, log
    cells = json.loads(out.read_text(encoding="utf-8"))["cells"]
    cell = cells.pop("toy-32-corrector-float32")
    assert cells == {"toy-32-inversion-float32": kept}
    assert cell["n"] == {"steps": 2, "repeats": 2} and cell["ratio"] > 0 and cell["ratio_sem"] >= 0
    for loop in (cell["plain"], cell["ours"]):
        assert loop["tokens_per_second"]*loop["seconds_per_step"] == pytest.approx(4*cell["mean_tokens"], rel=.01)
        assert sum(loop["shares"].values()) == pytest.approx(1, abs=.001)
