"Importing the package is fast and leaves the world as it was: nothing opened, nothing written, nothing set."
import ast
import re
import subprocess
import sys
import textwrap

import pytest
from project import PACKAGE, ROOT

LAZY = {"accelerate", "datasets", "matplotlib", "nltk", "openai", "rouge_score", "sacrebleu", "sentence_transformers", "sklearn",
        "chromadb", "qdrant_client", "sqlalchemy", "psycopg", "pgvector", "lancedb", "faiss", "sqlite_vec", "apsw"}
# the libraries' own first import sets things and brings accelerate along: it is made first, and not looked at
LIBRARIES = "from transformers import AutoModel, AutoTokenizer, T5ForConditionalGeneration"
SECONDS = 3  # for an import of all of the package, beyond that of torch and transformers

WATCH = """
    import logging, os, random, socket, sys, warnings
    import numpy, torch

    def refuse(*args, **kwargs): raise AssertionError("a socket at import")
    socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
    written = []
    def audit(event, args):
        if event == "open" and args[0] != os.devnull and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT): written.append(args[0])
        if event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "socket.connect"): written.append((event, *args))

    def state():
        return {"environment": dict(os.environ), "dtype": torch.get_default_dtype(), "threads": torch.get_num_threads(),
                "device": torch.get_default_device(), "grad": torch.is_grad_enabled(),
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "torch rng": torch.get_rng_state().tolist(), "numpy rng": str(numpy.random.get_state()), "rng": random.getstate(),
                "logging": (logging.root.level, len(logging.root.handlers)), "warnings": list(warnings.filters), "cwd": os.getcwd()}
"""
REPORT = """
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    assert not changed, f"changed at import: {changed}"
    assert not written, f"written at import: {written}"
    print(*sorted(name for name in sys.modules if "." not in name))
"""


def python(*parts: str, options: tuple = ()) -> subprocess.CompletedProcess:
    code = "\n".join(textwrap.dedent(part) for part in parts)
    run = subprocess.run([sys.executable, "-B", *options, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run


def test_the_package_alone_imports_next_to_nothing():
    modules = set(python("import sys, vec2text_nb; print(*sys.modules)").stdout.split())
    assert not modules & (LAZY | {"torch", "transformers", "numpy"})


@pytest.mark.parametrize("statement, before, allowed", [
    ("import vec2text_nb", "", set()),
    ("from vec2text_nb import *", LIBRARIES, {"accelerate"}),
], ids=["package", "all names"])
def test_an_import_leaves_no_trace(statement, before, allowed):
    run = python(WATCH, before, "before = state(); sys.addaudithook(audit)", statement, REPORT)
    assert not set(run.stdout.split()) & (LAZY - allowed)


def seconds_beyond(log: str, libraries: set[str]) -> float:
    "Time of the imports in a log of `-X importtime`, those of `libraries` and of all that these import left out"
    lines = re.findall(r"^import time:\s+(\d+) \|\s+\d+ \| ( *)(\S+)$", log, re.M)
    total, inside = 0, None
    for own, indent, name in reversed(lines):  # a module comes after those that it imports, so reversed before them
        if inside is not None and len(indent) > inside: continue
        inside = len(indent) if name.split(".")[0] in libraries else None
        if inside is None: total += int(own)
    return total / 1e6


def test_an_import_is_fast():
    log = python("from vec2text_nb import *", options=("-X", "importtime")).stderr
    assert PACKAGE.name in log
    assert seconds_beyond(log, {"torch", "transformers"}) < SECONDS


def test_the_time_of_an_import_is_that_beyond_the_libraries():
    log = "".join(f"import time: {own:9} | {own:10} | {name}\n" for own, name in [
        (5, "re"), (7, "    numpy"), (11, "  torch"), (13, "  helper"), (17, "package"), (19, "torch.nn")])
    assert seconds_beyond(log, {"torch"}) == pytest.approx((5 + 13 + 17) / 1e6)


def test_public_names():
    "`dir` lists them, and static analysers see the same ones; that each is found the imports above show"
    source = (PACKAGE/"__init__.py").read_text(encoding="utf-8")
    block = next(node for node in ast.parse(source).body if isinstance(node, ast.If))
    static = {alias.name: node.module for node in block.body for alias in node.names}
    python("import vec2text_nb as v", "assert set(v.__all__) <= set(dir(v)) and v.__version__",
           f"assert v._MODULES == {static!r} and sorted(v.__all__) == sorted(v._MODULES)")


def test_an_unknown_name_is_an_error():
    run = python("import vec2text_nb", "try: vec2text_nb.nothing", "except AttributeError as error: print(error)")
    assert run.stdout.strip() == "module 'vec2text_nb' has no attribute 'nothing'"


def test_help_loads_no_model():
    "Parsing the arguments takes neither torch nor a client of a store"
    modules = set(python("import sys", "from vec2text_nb import audit_command, cli", "audit_command.audit_parser().format_help()",
                         "cli.invert_parser().format_help()", "print(*sys.modules)").stdout.split())
    assert not modules & (LAZY | {"torch", "transformers", "numpy"})
