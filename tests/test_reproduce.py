"The command that runs the paper's experiments, at their smallest size: one job of each kind. The workflow of CI runs all of them."
import json
from pathlib import Path

import pytest
from project import ROOT

from vec2text_nb import load_pretrained_corrector
from vec2text_nb.experiments import load_inverter
from vec2text_nb.paper.reproduce import NOTEBOOKS, all_jobs, main
from vec2text_nb.pretrained import model_digest
from vec2text_nb.results import read_object
from vec2text_nb.sources import function_splits

JOBS = ["in_domain_token_beam", "in_domain_decoder_only", "no_feedback", "ood_random_strings", "initialisation_rounds", "defence_retrieval",
        "defence_int8", "defence_attacker_rescaling_0_03", "interpolation", "published"]


@pytest.fixture
def made_up_wordnet(tmp_path, monkeypatch):
    "A WordNet in place of the real one, which not every computer has"
    kinds = "dog", "bird", "tower", "song", "river", "garden", "letter", "ship"
    things = [f"the {name} number {n}" for name in kinds for n in range(50)]
    for kind in ("noun", "verb", "adj", "adv"):
        lines = [f'1 {kind} | {thing}; "they saw {thing} of a {kind}"' for thing in things]
        (tmp_path/f"data.{kind}").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("WORDNET", str(tmp_path))
    function_splits.cache_clear()
    yield
    function_splits.cache_clear()


@pytest.mark.slow
def test_the_smoke_size_is_run_once(made_up_wordnet, tmp_path, capsys):
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


def digest_of(path: Path) -> str:
    "The weights that a results file is about; empty for one about none"
    return read_object(path).get("model_digest", "")


@pytest.fixture(scope="module")
def shipped() -> str:
    "The digest of the bundled pair"
    return model_digest(load_pretrained_corrector(device="cpu"))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_page_shows_the_pair_that_ships_or_says_whose_scores_it_shows(notebook, shipped):
    cells = read_object(ROOT/"nbs"/"paper"/f"{notebook}.ipynb")["cells"]
    page = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    jobs = [job.name for name, job in all_jobs("mini") if (name, job.model) == (notebook, "all-MiniLM-L6-v2")]
    files = [ROOT/"results"/"mini"/f"{job}.json" for job in jobs]
    alone = model_digest(load_inverter("all-MiniLM-L6-v2", once=True))      # the hypothesizer, which a beam over tokens needs
    other = {digest_of(path) for path in files if path.exists()} - {shipped, alone}
    assert ("Not yet run with the pair that ships" in page) == bool(other)
    assert all(f"`{digest}`" in page for digest in other)


@pytest.mark.parametrize("folder", ["audit", "bundled", "bundled_kinds", "search"])
def test_other_scores_are_of_the_pair_that_ships(folder, shipped):
    digests = {path.name: digest_of(path) for path in (ROOT/"results"/folder).glob("*.json")}
    assert set(digests.values()) == {shipped}, digests
