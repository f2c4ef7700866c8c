"The repository is in order: notebooks, modules and README say the same, and the notebooks keep the house style."
import ast
import os
import subprocess
import sys
from pathlib import Path

import nbstyle
import pytest
from project import PACKAGE, ROOT, copy, files, lazy_names, notebooks, parsed, setting

NOTEBOOKS = notebooks()
TEST_FLAGS = setting("tst_flags").split()
STYLE = [nbstyle.first_cell, nbstyle.kernel, nbstyle.exported_size, nbstyle.machine_paths, nbstyle.stored_outputs, nbstyle.prose_leads]
by_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def none(complaints: list[str]) -> None: assert not complaints, "\n".join(complaints)


def command(name: str, cwd: Path) -> None:
    "Run one of nbdev's commands of this Python's environment"
    env = {k: v for k, v in os.environ.items() if k != "IN_TEST"}
    run = subprocess.run([Path(sys.executable).parent/name], cwd=cwd, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob(pattern)) if ".ipynb_checkpoints" not in p.parts}


def unlike(old: dict, new: dict) -> list[str]: return sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    "A copy of the project without its generated modules"
    root = copy(tmp_path_factory.mktemp("project"))
    for path in (root/PACKAGE.name).rglob("*.py"):
        if path.name != "__init__.py": path.unlink()
    return root


def test_modules_are_what_the_notebooks_export(fresh):
    command("nbdev_export", fresh)
    stale = unlike(content(PACKAGE, "*.py"), content(fresh/PACKAGE.name, "*.py"))
    none([f"{name}: not what nbdev_export writes, or without a notebook" for name in stale])


def test_notebooks_are_clean(fresh):
    before = content(fresh/"nbs", "*.ipynb")
    command("nbdev_clean", fresh)
    dirty = unlike(before, content(fresh/"nbs", "*.ipynb"))
    none([f"{name}: not as nbdev_clean leaves it" for name in dirty])


def test_readme_is_the_index():
    run = subprocess.run([sys.executable, ROOT/"tools"/"readme.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_two_notebooks_write_one_module():
    none(nbstyle.shared_modules({name: parsed(path) for name, path in NOTEBOOKS.items()}))


@by_notebook
def test_imports_go_down(name):
    numbers = {nbstyle.module(parsed(p)): nbstyle.number(n) for n, p in NOTEBOOKS.items() if nbstyle.module(parsed(p))}
    none(nbstyle.import_order(parsed(NOTEBOOKS[name]), name, numbers, PACKAGE.name, lazy_names()))


@by_notebook
@pytest.mark.parametrize("check", STYLE, ids=lambda f: f.__name__)
def test_style(check, name): none(check(parsed(NOTEBOOKS[name])))


@by_notebook
@pytest.mark.parametrize("check", [nbstyle.flag_spelling, nbstyle.visible_tests], ids=lambda f: f.__name__)
def test_flags_and_tests(check, name): none(check(parsed(NOTEBOOKS[name]), TEST_FLAGS))


def test_no_file_names_a_machine():
    found = []
    for path in files():
        if path.suffix == ".ipynb" or path.is_symlink(): continue  # notebooks are searched cell by cell
        try: text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue                        # not a text
        found += [f"{path.relative_to(ROOT)}: {m[0]}" for p in (nbstyle.MACHINE_PATH, nbstyle.OUTSIDE_FOLDER) for m in p.finditer(text)]
    none(found)


def test_texts_are_utf8_on_every_system():
    found = []
    for path in files():
        if path.suffix == ".py":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(ROOT)}: {complaint}" for complaint in nbstyle.without_encoding(tree)]
    for name, path in NOTEBOOKS.items():
        code = [cell for cell in nbstyle.cells(parsed(path)) if cell.is_code]
        found += [f"{name}, cell {cell.index}: {complaint}" for cell in code for complaint in nbstyle.without_encoding(cell.tree())]
    none(found)


def test_versions_and_pins_agree():
    "Every requirement of settings.ini is pinned in constraints.txt"
    pins = (ROOT/"constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].replace("_", "-").lower() for line in pins if "==" in line}
    keys = ["requirements", "dev_requirements", *(f"{extra}_requirements" for extra in setting("extras").split())]
    wanted = {r.split("=")[0].rstrip("<>~!").split("<")[0].lower() for key in keys for r in setting(key).split()}
    assert wanted <= pinned
    assert f'__version__ = "{setting("version")}"' in (PACKAGE/"__init__.py").read_text(encoding="utf-8")
