"The commands that the guides give are run, or where they need GPUs and the hub, parsed."
import json
import re
import shlex
import sys

import pytest
from project import ROOT, notebooks

sys.path.insert(0, str(ROOT/"tools"))
from time_guide import laptop_script, page, run

from vec2text_nb.audit_command import audit_parser
from vec2text_nb.cli import eval_parser, invert_parser
from vec2text_nb.pair import pair_parser
from vec2text_nb.run import parse_flags

NAMES = r"v2t-invert|v2t-eval|v2t-audit|v2t-train-pair|v2t-train|torchrun --nproc_per_node \d -m vec2text_nb\.run"
COMMAND = re.compile(rf"`?\b({NAMES}) ([^`\n#]*)")

PARSERS = {"v2t-invert": invert_parser, "v2t-eval": eval_parser, "v2t-audit": audit_parser, "v2t-train-pair": pair_parser}


def test_a_newcomer_trains_an_inverter_with_the_commands_of_the_page(tmp_path):
    "As they stand in the page, with other numbers in the first block"
    printed = run(laptop_script(RUN="mine", N=100, STEPS=2), tmp_path)
    scores = json.loads((tmp_path/"mine"/"scores.json").read_text(encoding="utf-8"))
    settings = [r["setting"] for r in scores["runs"]]
    assert settings == ["hypothesizer alone", "5 steps", "5 steps, beam 4"] and all(f"| {s} |" in printed for s in settings)
    assert json.loads((tmp_path/"mine"/"corrector"/"run.json").read_text(encoding="utf-8"))["max_steps"] == 2
    assert "(1 inverted)" in printed and [p.name for p in tmp_path.iterdir()] == ["mine"]


def commands(text: str) -> list[tuple[str, list[str]]]:
    "The commands of a page, in its blocks and in its lines: name, arguments"
    prose = re.sub(r"^\|(?!.*`(?:v2t-|torchrun)[^`]* ).*$", "", text, flags=re.M)  # without tables that only name commands
    return [(m[1].split()[0], shlex.split(m[2])) for m in COMMAND.finditer(prose.replace("\\\n", ""))]


@pytest.mark.parametrize("name", [name for name in notebooks() if name.startswith("guides/")])
def test_the_other_commands_have_flags_that_exist(name):
    for command, args in commands(page(name).replace('"$@"', "")):
        if command in ("v2t-train", "torchrun"):
            args = ["10" if a == "$STEPS" else a for a in args]
            parse_flags([*args, "--output_dir", "out", "--use_cpu", "True"])  # no GPU: some flags are refused without
        else: PARSERS[command]().parse_args(args)


def test_the_commands_are_found():
    text = "See `v2t-eval --n 2`.\n```sh\nv2t-train --a 1 \\\n  --b 'c d'\ntorchrun --nproc_per_node 4 -m vec2text_nb.run --e f\n```"
    assert commands(text) == [("v2t-eval", ["--n", "2"]), ("v2t-train", ["--a", "1", "--b", "c d"]), ("torchrun", ["--e", "f"])]
    found = {command for command, _ in commands(page("guides/train_an_inverter.ipynb"))}
    assert {"v2t-train", "v2t-train-pair", "torchrun", "v2t-eval", "v2t-invert"} <= found
