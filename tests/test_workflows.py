"The workflows and the hooks call only what is there: files of the project, and tools that its environment installs."
import importlib.util
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from project import ROOT, files, setting

WORKFLOWS = sorted((ROOT/".github"/"workflows").glob("*.yml"))
TOOLS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def read(path: Path) -> dict: return yaml.safe_load(path.read_text(encoding="utf-8"))


def commands(script: str) -> list[list[str]]:
    "The simple commands of a shell script, without the variables that are set before them"
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if not set(word) <= set(";&|"):
                if words or not re.match(r"\w+=", word): words.append(word)
            elif words:
                found.append(words)
                words = []
    return found


def missing(words: list[str]) -> list[str]:
    "The tool of a command, or the file or module that Python should run, if it is not there"
    tool, *rest = words[1:] if words[0] == "sudo" else words
    if "/" in tool: return [] if os.access(ROOT/tool, os.X_OK) else [tool]
    if not tool.startswith("python"): return [] if shutil.which(tool, path=TOOLS) else [tool]
    if rest[0] == "-m": return [] if importlib.util.find_spec(rest[1]) else [rest[1]]
    return [] if (ROOT/rest[0]).is_file() else [rest[0]]


def test_what_is_missing_is_found():
    script = "A=1 python tools/docs.py --out _docs && nothing_here x\npython -m pip -V; python tools/gone.py | sort\n.ci/gone \\\n  -x"
    assert commands(script)[0] == ["python", "tools/docs.py", "--out", "_docs"]
    assert [m for words in commands(script) for m in missing(words)] == ["nothing_here", "tools/gone.py", ".ci/gone"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_what_is_there(path):
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"} and True in workflow  # YAML reads the key `on` as true
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)
    assert [m for step in steps if "run" in step for words in commands(step["run"]) for m in missing(words)] == []
    wanted = {str(step["with"][k]) for step in steps for k in ("cache-dependency-path",) if k in step.get("with", {})}
    assert all((ROOT/name).is_file() for name in wanted)


def test_the_tests_run_on_every_python_of_the_settings():
    assert read(ROOT/".github"/"workflows"/"test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == setting("pythons").split()


def test_the_hooks_are_local_and_there():
    repos = read(ROOT/".pre-commit-config.yaml")["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    names = [p.relative_to(ROOT).as_posix() for p in files()]
    for hook in repos[0]["hooks"]:
        assert hook["language"] == "system" and missing(shlex.split(hook["entry"])) == [], hook["id"]
        assert any(re.search(hook.get("files", ""), name) for name in names), hook["id"]


def test_the_readme_marks_the_command_that_installs_and_tests():
    marked = re.findall(r"^<!-- tests -->\n```sh\n(.*?)^```$", (ROOT/"README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(marked) == 1 and [words[0] for words in commands(marked[0])] == ["pip", "pytest"]


def test_the_site_is_published_in_one_way():
    "On the branch that Colab reads, not as an artifact too"
    text = (ROOT/".github"/"workflows"/"pages.yml").read_text(encoding="utf-8")
    assert "refs/heads/gh-pages" in text and "deploy-pages" not in text


def test_the_newest_releases_are_tried_every_week():
    "Without constraints.txt, on the newest Python of the settings"
    path = ROOT/".github"/"workflows"/"newest.yml"
    workflow = read(path)
    minute, hour, day, month, weekday = workflow[True]["schedule"][0]["cron"].split()
    assert (day, month) == ("*", "*") and weekday.isdigit()
    steps = workflow["jobs"]["test"]["steps"]
    assert steps[1]["with"]["python-version"] == setting("pythons").split()[-1]
    run = [words for step in steps if "run" in step for words in commands(step["run"])]
    assert run[0][1:4] == ["-m", "pip", "install"] and run[-1] == ["pytest"]
    assert not any("constraint" in w or w == "-c" for words in run for w in words)
