"Each check of the notebooks' style passes a good notebook and fails the fault it is there for."
import ast

import nbstyle
import pytest
from nbstyle import LONGEST_CELL, MEDIAN_CELL

FLAGS = ["slow"]


def md(source): return {"cell_type": "markdown", "source": source}
def code(source, *outputs): return {"cell_type": "code", "source": source, "outputs": list(outputs)}
def nb(*cells): return {"cells": list(cells), "metadata": {"kernelspec": {"name": "python3"}}}
def result(text): return {"output_type": "execute_result", "data": {"text/plain": [text]}}
def lines(n): return "#| export\n" + "\n".join(f"x{i} = {i}" for i in range(n))


TITLE = md("# Words\n\n> What a word is")
GOOD = nb(TITLE, code("#| default_exp words"), code("#| export\nimport re"), md("A word."),
          code("#| export\ndef words(s): return re.findall(r'\\w+', s)"), code("words('a b')", result("['a', 'b']")),
          code("assert words('') == []"), code("#| hide\nimport nbdev; nbdev.nbdev_export()"))
HOME, TMP, OPT = "/" + "home", "/" + "tmp", "/" + "opt"  # in parts: no file of the project names such a folder
NUMBERS = {"words": "01", "search": "02"}


def test_a_good_notebook_passes_every_check():
    assert nbstyle.module(GOOD) == "words"
    for check in (nbstyle.first_cell, nbstyle.kernel, nbstyle.exported_size, nbstyle.machine_paths, nbstyle.stored_outputs,
                  nbstyle.prose_leads):
        assert check(GOOD) == []
    assert nbstyle.flag_spelling(GOOD, FLAGS) == nbstyle.visible_tests(GOOD, FLAGS) == []
    assert nbstyle.import_order(GOOD, "01_words.ipynb", NUMBERS) == []
    assert nbstyle.shared_modules({"01_words.ipynb": GOOD, "index.ipynb": nb(TITLE)}) == []


@pytest.mark.parametrize("check, fault", [
    (nbstyle.first_cell, nb(code("1"), TITLE)),
    (nbstyle.first_cell, nb(md("## Words\n> small"))),
    (nbstyle.first_cell, nb(md("# Words"))),
    (nbstyle.kernel, {"cells": [TITLE], "metadata": {}}),
    (nbstyle.exported_size, nb(code(lines(LONGEST_CELL + 1)), *[code(lines(1))]*2)),
    (nbstyle.exported_size, nb(*[code(lines(MEDIAN_CELL + 1))]*3)),
    (nbstyle.machine_paths, nb(md(f"It is in `{HOME}/me`."))),
    (nbstyle.machine_paths, nb(code("1", result(f"'{OPT}/x.py'")))),
    (nbstyle.machine_paths, nb(code("1", {"output_type": "stream", "name": "stdout", "text": ["file ", f"{TMP}/a\n"]}))),
    (nbstyle.machine_paths, nb(code("open('C:" + "\\\\Users\\\\me')"))),
    (nbstyle.machine_paths, nb(md("see .." + "/shared/x"))),
    (nbstyle.stored_outputs, nb(TITLE, code("1"))),
    (nbstyle.stored_outputs, nb(code("1/0", {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "", "traceback": []}))),
    (nbstyle.stored_outputs, nb(code("1", {"output_type": "stream", "name": "stderr", "text": "UserWarning"}))),
    (nbstyle.prose_leads, nb(TITLE, *[code("1")]*4)),
])
def test_faults_are_found(check, fault): assert len(check(fault)) == 1


@pytest.mark.parametrize("source", [
    "# slow\n1", "#|slow\n1", "# | slow\n1", "#| Slow\n1", "#| sloww\n1", "#slow", "# eval: false\n1", "#| eval false\n1",
    "#| slow:\n1", "#| slow really\n1", "x = 1\n#| slow", "#| export:\n1", " #| export\n1", "# hide", "#|  hide\n1",
])
def test_misspelt_flags_are_found(source): assert len(nbstyle.flag_spelling(nb(code(source)), FLAGS)) == 1


@pytest.mark.parametrize("source", [
    "#| slow\n1", "#| eval: false\n#| export\n1", "#| default_exp words", "# slow on a CPU\n1", "x = 1  # slow", "#| code-fold: true\n1",
])
def test_well_spelt_flags_pass(source): assert nbstyle.flag_spelling(nb(code(source)), FLAGS) == []


@pytest.mark.parametrize("source, wrong", [
    ("p.read_text()", 1), ("p.read_text(encoding='utf-8')", 0), ("p.write_text('a')", 1), ("open('a')", 1),
    ("open('a', 'w')", 1), ("p.open('w')", 1), ("open('a', 'rb')", 0), ("open('a', mode='wb')", 0), ("open('a', mode='w')", 1),
    ("p.open('rb')", 0), ("self.open()", 0), ("open('a', mode)", 0)])
def test_texts_without_an_encoding_are_found(source, wrong): assert len(nbstyle.without_encoding(ast.parse(source))) == wrong


def test_hidden_cells_and_pictures_are_not_read_as_prose_or_paths():
    assert nbstyle.prose_leads(nb(*[code("1")]*3, code("#| hide\n1"), md("And"), code("1"))) == []
    assert nbstyle.machine_paths(nb(code("1", {"output_type": "display_data", "data": {"image/png": f"a+{TMP}+b"}}))) == []


@pytest.mark.parametrize("source", [
    "from vec2text_nb.search import beam", "import vec2text_nb.search", "from vec2text_nb import search", "from .search import beam",
    "def f():\n    from vec2text_nb import invert", "from vec2text_nb.words import words", "from vec2text_nb.gone import x",
    "#| export\nfrom vec2text_nb.words import words",
])
def test_imports_upwards_or_of_oneself_are_found(source):
    found = nbstyle.import_order(nb(code("#| default_exp words"), code(source)), "01_words.ipynb", NUMBERS, names={"invert": "search"})
    assert len(found) == 1


@pytest.mark.parametrize("source", [
    "from vec2text_nb.words import words", "import vec2text_nb", "import torch", "#| hide\nfrom vec2text_nb.search import beam",
    "%matplotlib inline\nfrom vec2text_nb import words",
])
def test_imports_downwards_pass(source):
    assert nbstyle.import_order(nb(code("#| default_exp search"), code(source)), "02_search.ipynb", NUMBERS) == []


def test_a_module_of_two_notebooks_is_found():
    assert len(nbstyle.shared_modules({"01_a.ipynb": GOOD, "02_b.ipynb": GOOD})) == 1


@pytest.mark.parametrize("test", [
    "#| hide\nassert f()", "#| slow\nassert f()", "#| eval: false\nassert f()", "#| export\nassert True", "f()",
])
def test_missing_tests_are_found(test):
    notebook = nb(code("#| export\ndef f(): return 1"), code(test))
    assert len(nbstyle.visible_tests(notebook, FLAGS)) == 1
    assert nbstyle.visible_tests(nb(*notebook["cells"], code("test_eq(f(), 1)")), FLAGS) == []
