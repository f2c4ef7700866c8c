"The commands that the guides give are run, or where they need GPUs and the hub, parsed."
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT, notebooks, parsed

from vec2text_nb.cli import eval_parser, invert_parser
from vec2text_nb.run import parse_flags

SHELL = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"`?\b(v2t-invert|v2t-eval|v2t-train|torchrun --nproc_per_node \d -m vec2text_nb\.run) ([^`\n#]*)")


def page(name: str) -> str:
    "The prose of a notebook"
    return "\n\n".join("".join(c["source"]) for c in parsed(notebooks()[name])["cells"] if c["cell_type"] == "markdown")


def sections(name: str) -> dict[str, str]:
    "The parts of a page by their headings of the second level"
    parts = re.split(r"^## (.+)$", page(name), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text: str) -> list[str]: return SHELL.findall(text)


def smaller(block: str, **values) -> str:
    "The assignments of a block with other values"
    for name, value in values.items():
        block, n = re.subn(rf"^{name}=\S+", f"{name}={value}", block, flags=re.M)
        assert n == 1, f"{name} is not set once in:\n{block}"
    return block


def test_a_newcomer_trains_an_inverter_with_the_commands_of_the_page(tmp_path):
    "As they stand in the page, with other numbers in the first block"
    first, *others = blocks(sections("guides/train_an_inverter.ipynb")["On a laptop"])
    script = "\n".join(["set -eu", smaller(first, RUN="mine", N=100, STEPS=2), *others])
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    scores = json.loads((tmp_path/"mine"/"scores.json").read_text())
    settings = [r["setting"] for r in scores["runs"]]
    assert settings == ["hypothesizer alone", "5 steps", "5 steps, beam 4"] and all(f"| {s} |" in run.stdout for s in settings)
    assert json.loads((tmp_path/"mine"/"corrector"/"run.json").read_text())["max_steps"] == 2
    assert "(1 inverted)" in run.stdout and [p.name for p in tmp_path.iterdir()] == ["mine"]


def commands(text: str) -> list[tuple[str, list[str]]]:
    "The commands of a page, in its blocks and in its lines: name, arguments"
    return [(m[1].split()[0], shlex.split(m[2])) for m in COMMAND.finditer(text.replace("\\\n", ""))]


@pytest.mark.parametrize("name", [name for name in notebooks() if name.startswith("guides/")])
def test_the_other_commands_have_flags_that_exist(name):
    for command, args in commands(page(name).replace('"$@"', "")):
        if command in ("v2t-train", "torchrun"):
            args = ["10" if a == "$STEPS" else a for a in args]
            parse_flags([*args, "--output_dir", "out", "--use_cpu", "True"])  # no GPU: some flags are refused without
        else: {"v2t-invert": invert_parser, "v2t-eval": eval_parser}[command]().parse_args(args)


def test_the_commands_are_found():
    text = "See `v2t-eval --n 2`.\n```sh\nv2t-train --a 1 \\\n  --b 'c d'\ntorchrun --nproc_per_node 4 -m vec2text_nb.run --e f\n```"
    assert commands(text) == [("v2t-eval", ["--n", "2"]), ("v2t-train", ["--a", "1", "--b", "c d"]), ("torchrun", ["--e", "f"])]
    assert {"v2t-train", "torchrun", "v2t-eval", "v2t-invert"} <= {c for c, _ in commands(page("guides/train_an_inverter.ipynb"))}
