"`v2t-audit`: its exit statuses, killed and resumed, silent about texts and passwords, and not fooled by chance"
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from project import ROOT

from vec2text_nb import audit, leak_scores
from vec2text_nb.audit import audit_main, audit_parser, audit_store
from vec2text_nb.pretrained import default_corrector

KINDS = [f"{size} {kind}" for size in ("large", "thin") for kind in ("sheet", "piece", "ball")]
TEXTS = [f"a {kind} of {stuff}" for kind in KINDS for stuff in ("paper", "wood", "iron")]
TEXTS += [f"write to {name}@example.org" for name in ("ann", "bob", "office", "john.smith")]
WHOLE = ["--steps", "0", "--n", str(len(TEXTS)), "--device", "cpu"]
QUICK = [*WHOLE, "--n", "10"]


class ArrayStore:
    "A store in memory"
    def __init__(self, name: str, vectors: np.ndarray):
        self.kind, self.name, self.vectors, self.dim, self.embedder_name = "array", name, vectors, vectors.shape[1], None

    def __len__(self): return len(self.vectors)
    def sample(self, n, seed=0): return SimpleNamespace(ids=[*map(str, range(n))], vectors=self.vectors[:n], texts=TEXTS[:n])
    def __enter__(self): return self
    def __exit__(self, *error): pass


def save_store(path: Path, vectors: np.ndarray, texts: list[str] | None = None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table(dict(embedding=vectors.tolist()) | (dict(text=texts) if texts else {})), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def load_once():
    "The bundled pair is loaded once, unless another is asked for"
    read_models = audit.read_models
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "read_models", lambda a: default_corrector().to(a.device) if a.model == "all-MiniLM-L6-v2" else read_models(a))
        yield


@pytest.fixture(scope="module")
def vectors() -> np.ndarray: return default_corrector().embedder.encode(TEXTS, progress=False).cpu().numpy()


@pytest.fixture
def store(tmp_path, vectors) -> Path: return save_store(tmp_path/"notes.parquet", vectors, TEXTS)


@pytest.fixture
def run(capsys):
    "Runs the command: status, standard output, standard error"
    def call(*argv):
        capsys.readouterr()
        return audit_main([str(part) for part in argv]), *capsys.readouterr()
    return call


def test_status_and_files(run, store, tmp_path):
    before, out = store.read_bytes(), tmp_path/"new"/"report.html"
    argv = [store, *WHOLE, "--out", out]
    status, printed, err = run(*argv)
    assert (status, err) == (0, "") and "words" in printed and str(out) in printed
    assert {f.name for f in out.parent.iterdir()} == {"report.html", "report.json"} and store.read_bytes() == before
    figures = json.loads(out.with_suffix(".json").read_text())
    recall = figures["leak"]["token_recall"]
    assert recall["low"] <= recall["value"] <= recall["high"] and recall["chance"] < recall["value"] and figures["fit"]["same"] == 1
    assert figures["leak"]["email_recall"]["n"] == figures["leak"]["fact_recall"]["n"] == 4
    assert run(*argv, "--fail-above", f"token_recall={recall['value']}")[0] == 0
    status, printed, err = run(*argv, "--fail-above", "token_recall=0.01", "--fail-above", "email_recall=1", "--json")
    assert status == 1 and json.loads(printed) == figures and err == f"v2t-audit: token_recall is {recall['value']:.4f}, above its limit\n"


def test_a_complete_report_is_not_made_again(run, store, tmp_path, monkeypatch):
    argv = [store, *QUICK, "--out", tmp_path/"r.html"]
    first, page = run(*argv), (tmp_path/"r.html").read_bytes()
    def again(*given, **more): raise AssertionError("inverted again")
    monkeypatch.setattr(audit, "invert_rows", again)
    assert run(*argv) == first
    (tmp_path/"r.html").unlink()        # killed between the two files
    assert run(*argv) == first and (tmp_path/"r.html").read_bytes() == page


def test_other_runs_are_refused(run, store, tmp_path):
    out = tmp_path/"r.html"
    assert run(store, *QUICK, "--out", out)[0] == 0
    before = out.read_bytes()
    for more in (["--seed", "1"], ["--n", "5"], ["--show-texts"], ["--steps", "1"], ["--edits", "1"]):
        status, printed, err = run(store, *QUICK, *more, "--out", out)
        assert (status, printed, err.count("\n")) == (2, "", 1) and "--overwrite" in err and out.read_bytes() == before
    assert run(store, *QUICK, "--n", "5", "--out", out, "--overwrite")[0] == 0 and out.read_bytes() != before
    (tmp_path/"mine.html").write_text("my notes")
    assert run(store, *QUICK, "--out", tmp_path/"mine.html")[0] == 2 and (tmp_path/"mine.html").read_text() == "my notes"


def test_killed_it_goes_on(run, store, tmp_path, vectors, monkeypatch):
    "kill -9 in the middle, then the same command: what was read is not read again, and the report is that of an unbroken run"
    n, part = 4*len(TEXTS), tmp_path/"killed.html.answers.jsonl.partial"
    many = save_store(tmp_path/"many.parquet", np.tile(vectors, (4, 1)), TEXTS*4)
    argv, program = [str(many), *QUICK, "--n", str(n)], "import sys; from vec2text_nb.audit import audit_main; sys.exit(audit_main())"
    process = subprocess.Popen([sys.executable, "-c", program, *argv, "--out", str(tmp_path/"killed.html")],
                               env=os.environ | dict(PYTHONPATH=str(ROOT)), stdout=subprocess.DEVNULL)
    while process.poll() is None and not (part.exists() and part.read_bytes().count(b"\n") >= 32): time.sleep(.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    done = part.read_bytes().count(b"\n")//32*32
    assert 32 <= done < n and not (tmp_path/"killed.html").exists()
    inverted, invert = [], leak_scores.Attack.invert

    def counted(self, corrector, rows, *more):
        inverted.append(len(rows))
        return invert(self, corrector, rows, *more)
    monkeypatch.setattr(leak_scores.Attack, "invert", counted)
    assert run(*argv, "--out", tmp_path/"killed.html")[0] == 0 and sum(inverted) == n - done
    assert run(*argv, "--out", tmp_path/"whole.html")[0] == 0
    for ending in ("html", "json"): assert (tmp_path/f"killed.{ending}").read_bytes() == (tmp_path/f"whole.{ending}").read_bytes()
    assert not [*tmp_path.glob("*.partial")]


def test_interrupted(run, store, tmp_path, monkeypatch):
    calls, invert = [], leak_scores.Attack.invert

    def once(self, *given):
        calls.append(1)
        if len(calls) == 2: raise KeyboardInterrupt
        return invert(self, *given)
    monkeypatch.setattr(leak_scores.Attack, "invert", once)
    monkeypatch.setattr(leak_scores.Attack, "chunk", lambda self: 8)
    argv = [store, *WHOLE, "--out", tmp_path/"r.html"]
    assert run(*argv) == (130, "", "v2t-audit: interrupted: run the same command again to resume.\n")
    assert (tmp_path/"r.html.answers.jsonl.partial").read_bytes().count(b"\n") == 8
    assert run(*argv)[0] == 0 and len(calls) == 4


def test_texts_are_hidden_until_asked_for(run, store, tmp_path):
    shown = run(store, *QUICK, "--show-texts", "--out", tmp_path/"shown.html")
    rows = json.loads((tmp_path/"shown.json").read_text())["rows"]
    secret = {text for row in rows for text in (row["text"], row["recovered"])}
    hidden = run(store, *QUICK, "--out", tmp_path/"hidden.html")
    assert len(rows) == 10 and {row["text"] for row in rows} < set(TEXTS) and "The texts" in (tmp_path/"shown.html").read_text()
    for told in ((tmp_path/"hidden.html").read_text(), (tmp_path/"hidden.json").read_text(), hidden[1] + shown[1]):
        assert not [text for text in secret if text in told]


SECRET = "h%40mster-9"


@pytest.mark.parametrize("where", [f"postgresql+psycopg://reader:{SECRET}@db/notes", f"qdrant+https://db:6333?api_key={SECRET}"])
def test_passwords_do_not_appear(run, tmp_path, vectors, monkeypatch, where):
    plain = "h@mster-9"
    monkeypatch.setattr(audit, "open_store", lambda given, *a, **k: ArrayStore(given, vectors))
    status, out, err = run(where, *QUICK, "--out", tmp_path/"r.html")
    told = out + err + "".join(f.read_text() for f in tmp_path.iterdir())
    assert status == 0 and "***" in told and SECRET not in told and plain not in told

    def refuse(given, *a, **k): raise ValueError(f"no answer from {given} ({plain})")
    monkeypatch.setattr(audit, "open_store", refuse)
    status, out, err = run(where, *QUICK, "--out", tmp_path/"s.html")
    assert (status, out, err.count("\n")) == (2, "", 1) and "no answer" in err and SECRET not in err and plain not in err


def test_random_vectors_leak_what_chance_gives(vectors):
    noise = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    found, real = (audit_store(ArrayStore("notes", v), n=len(TEXTS), steps=0) for v in (noise, vectors))
    recall, true = (a.leak["token_recall"] for a in (found, real))
    assert abs(recall["value"] - recall["chance"]) < .05 and true["value"] - true["chance"] > .2
    assert found.leak["exact_match"]["value"] == found.leak["fact_recall"]["value"] == 0 and found.figures["fit"]["same"] == 0


@pytest.mark.filterwarnings("default")
def test_a_store_without_texts(run, tmp_path, vectors):
    np.save(tmp_path/"v.npy", vectors)
    status, out, err = run(tmp_path/"v.npy", *QUICK, "--fail-above", "name_recall=0", "--out", tmp_path/"r.html")
    assert status == 0 and err == "v2t-audit: warning: name_recall was not measured: the store keeps no texts.\n"
    figures = json.loads((tmp_path/"r.json").read_text())
    assert [*figures["leak"]] == ["cosine"] and figures["estimate"] is None and "No calibration" in (tmp_path/"r.html").read_text()


@pytest.mark.filterwarnings("default")
def test_more_rows_than_there_are(run, store, tmp_path):
    status, _, err = run(store, *QUICK, "--n", "1000", "--out", tmp_path/"r.html")
    assert status == 0 and err.count("\n") == 1
    assert f"warning: notes.parquet holds {len(TEXTS)} vectors, fewer than the 1,000 asked for: all of them are audited." in err


@pytest.mark.parametrize("argv,message", [
    (["none.parquet"], "There is no file"), (["narrow.npy"], "width 7, but this inverter reads those of all-MiniLM-L6-v2, of width 384."),
    (["narrow.npy"], "Inverters by name: all-MiniLM-L6-v2, gtr-base"), (["narrow.npy"], "align the embedder"),
    (["nan.npy"], "NaN or infinity in row 4"), (["zero.npy"], "only zeros in row 4"), (["v.npy", "--n", "0"], "n is 0"),
    (["v.npy", "--fail-above", "nmae_recall=0.2"], "'nmae_recall' is not a metric of the audit: expected one of token_recall"),
    (["v.npy", "--fail-above", "name_recall"], "expected METRIC=SHARE"), (["v.npy", "--fail-above", "name_recall=20"], "from 0 to 1"),
    (["v.npy", "--out", "report.pdf"], "should end in .html"), (["v.npy", "--steps", "-1"], "num_steps is -1"),
    (["v.npy", "--edits", "-1"], "edits is -1"), (["v.npy", "--model", "word2vec"], "Known names"),
    (["v.npy", "--text_column", "body"], "no column 'body'"),
    (["v.npy", "--calibration", "none.json"], "none.json")])
def test_bad_input_is_one_line(run, tmp_path, vectors, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    fourth = np.arange(len(vectors))[:, None] == 4
    stores = dict(v=vectors, narrow=vectors[:, :7], nan=np.where(fourth, np.nan, vectors), zero=vectors*~fourth)
    for name, rows in stores.items(): np.save(f"{name}.npy", rows)
    before = {f.name for f in tmp_path.iterdir()}
    status, out, err = run(*QUICK, *(["--out", "r.html"] if "--out" not in argv else []), *argv)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err
    assert {f.name for f in tmp_path.iterdir()} == before


def test_bad_rows_of_a_store_are_named(vectors):
    with pytest.raises(ValueError, match="2 of 2 sampled vectors hold NaN or infinity, in the rows 0, 1"):
        audit_store(ArrayStore("s", np.full_like(vectors, np.nan)), n=2)


def test_help_has_examples_that_parse_the_status_and_the_metrics(capsys):
    import shlex
    with pytest.raises(SystemExit) as end: audit_main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and re.search(r"exit status:\n  0 .*\n  1 .*\n  2 .*\n  130 ", text)
    assert re.search(r"^  name_recall  +names of people$", text, re.M)
    examples = re.findall(r"^  v2t-audit (.*)$", text, re.M)
    assert len(examples) >= 2 and all(audit_parser().parse_args(shlex.split(example)) for example in examples)
