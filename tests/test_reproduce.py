"The command that runs the paper's experiments, at their smallest size: one job of each kind. The workflow of CI runs all of them."
import json

import pytest

from vec2text_nb.paper.reproduce import all_jobs, main
from vec2text_nb.sources import function_splits

JOBS = ["in_domain_token_beam", "in_domain_decoder_only", "no_feedback", "ood_random_strings", "initialisation_rounds", "defence_retrieval",
        "defence_int8", "defence_attacker_rescaling_0_03", "interpolation", "published"]


@pytest.mark.slow
def test_the_smoke_size_is_run_once(tmp_path, monkeypatch, capsys):
    "With a made-up WordNet, which not every computer has"
    kinds = "dog", "bird", "tower", "song", "river", "garden", "letter", "ship"
    things = [f"the {name} number {n}" for name in kinds for n in range(50)]
    for kind in ("noun", "verb", "adj", "adv"):
        lines = [f'1 {kind} | {thing}; "they saw {thing} of a {kind}"' for thing in things]
        (tmp_path/f"data.{kind}").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("WORDNET", str(tmp_path))
    function_splits.cache_clear()
    assert {*JOBS} < {job.name for _, job in all_jobs("smoke")}
    args = ["--scale", "smoke", "--results", str(tmp_path/"results"), "--work", str(tmp_path/"work"), "--only", *JOBS]
    assert main(args) == 0, capsys.readouterr().err
    files = {path.stem: path for path in (tmp_path/"results"/"smoke").glob("*.json")}
    assert files.keys() == {*JOBS}
    for name, path in files.items():
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["command"] == f"v2t-reproduce --scale smoke --only {name}" and found["model_digest"] and found["date"]
    before = {name: path.read_bytes() for name, path in files.items()}
    assert main(args) == 0
    assert {name: path.read_bytes() for name, path in files.items()} == before
    assert f"{len(JOBS)} of {len(JOBS)} jobs have their results" in capsys.readouterr().out
    function_splits.cache_clear()
