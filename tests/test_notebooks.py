"Every notebook runs from top to bottom, the cells flagged slow, paper or online left out: they are the tests of the package."
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT, notebooks

NOTEBOOKS = notebooks()
TIMEOUT = 60 * 60  # seconds for all notebooks together


def nbdev_test(root: Path) -> dict[str, str]:
    "Run the notebooks of `root` one after the other in one process, which imports torch once. Name -> what went wrong, empty for nothing"
    args = [Path(sys.executable).parent/"nbdev_test", "--n_workers", "0", "--do_print"]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    run = subprocess.run(args, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    _, *rest = re.split(r"^Starting (.+\.ipynb)$", run.stdout, flags=re.M)
    res = {}
    for path, text in zip(rest[::2], rest[1::2]):
        passed = f"- Completed {path}\n" in text and not re.search(rf"^\w+ in {re.escape(path)}:$", text, re.M)
        res[Path(path).relative_to(root/"nbs").as_posix()] = "" if passed else text
    assert run.returncode == 0 or any(res.values()), run.stdout
    return res


@pytest.fixture(scope="module")
def errors() -> dict[str, str]: return nbdev_test(ROOT)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs(name, errors):
    assert name in errors, "not run: an earlier notebook ended the process"
    assert not errors[name], errors[name]


def test_a_failing_cell_fails_its_notebook_only(tmp_path):
    def notebook(*sources):
        cells = [{"id": f"c{i}", "cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": s}
                 for i, s in enumerate(sources)]
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    (tmp_path/"nbs"/"paper").mkdir(parents=True)
    (tmp_path/"settings.ini").write_text((ROOT/"settings.ini").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path/"nbs"/"00_bad.ipynb").write_text(notebook("x = 1", "assert x == 2, 'it is one'"), encoding="utf-8")
    (tmp_path/"nbs"/"paper"/"10_good.ipynb").write_text(notebook("#| slow\n1/0", "#| eval: false\n1/0", "print('Error')"), encoding="utf-8")
    errors = nbdev_test(tmp_path)
    assert "AssertionError: it is one" in errors.pop("00_bad.ipynb")
    assert errors == {"paper/10_good.ipynb": ""}
