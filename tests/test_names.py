"""Names: what a user could import from a module in the past still comes from there, and one name means one thing."""
import ast
from importlib import import_module

import pytest
from project import PACKAGE

from vec2text_nb.utilities import former_places

FORMER = [(module, name) for module, places in former_places().items() for name in places]


@pytest.mark.parametrize("module, name", FORMER, ids=".".join)
def test_a_former_name_still_works(module, name):
    home, _, new = former_places()[module][name].partition(".")
    found = getattr(import_module(f"vec2text_nb.{module}"), name)
    assert found is getattr(import_module(f"vec2text_nb.{home}"), new)


def test_what_never_was_is_an_error():
    for module in former_places():
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"): _ = import_module(f"vec2text_nb.{module}").nothing


def test_a_function_or_class_has_a_name_of_its_own():
    homes = {}
    for path in PACKAGE.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.stem)
    assert {name: where for name, where in homes.items() if len(where) > 1 and name != "main"} == {}


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_module_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
