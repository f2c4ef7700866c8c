"`v2t-audit`: its exit statuses, killed and resumed, silent about texts and passwords, and not fooled by chance"
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from project import ROOT

from vec2text_nb import audit, audit_command, leak_scores, store_clients
from vec2text_nb.audit import TRIED, audit_store
from vec2text_nb.audit_command import audit_main, audit_parser
from vec2text_nb.commands import only_writer
from vec2text_nb.pretrained import default_corrector

KINDS = [f"{size} {kind}" for size in ("large", "thin") for kind in ("sheet", "piece", "ball")]
TEXTS = [f"a {kind} of {stuff}" for kind in KINDS for stuff in ("paper", "wood", "iron")]
TEXTS += [f"write to {name}@example.org" for name in ("ann", "bob", "office", "john.smith")]
WHOLE = ["--steps", "0", "--n", str(len(TEXTS)), "--device", "cpu"]
QUICK = [*WHOLE, "--n", "10"]


def save_store(path: Path, vectors: np.ndarray, texts: list[str] | None = None) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table(dict(embedding=vectors.tolist()) | (dict(text=texts) if texts else {})), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def load_once():
    "The bundled pair is loaded once, unless another is asked for"
    read_models = audit_command.read_models
    with pytest.MonkeyPatch.context() as patch:
        def read(a): return default_corrector().to(a.device) if a.model == "all-MiniLM-L6-v2" else read_models(a)
        patch.setattr(audit_command, "read_models", read)
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
    figures = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    recall = figures["leak"]["token_recall"]
    assert recall["low"] <= recall["value"] <= recall["high"] and recall["chance"] < recall["value"] and figures["fit"]["same"] == 1
    assert figures["leak"]["email_recall"]["n"] == 4 <= figures["leak"]["fact_recall"]["n"]
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
    (tmp_path/"r.html").write_text("x", encoding="utf-8")
    assert run(*argv) == first and (tmp_path/"r.html").read_bytes() == page


def test_damaged_figures(run, tmp_path, vectors):
    "One line, and the report again with --overwrite"
    np.save(tmp_path/"v.npy", vectors[:4])
    argv = [tmp_path/"v.npy", *QUICK, "--n", "4", "--out", tmp_path/"r.html"]
    first, told = run(*argv), (tmp_path/"r.json").read_bytes()
    figures = json.loads(told)
    for damaged in ({k: v for k, v in figures.items() if k != "leak"}, *(figures | change for change in (
            dict(leak=None), dict(leak="high"), dict(leak={}), dict(leak=dict(cosine=figures["leak"]["cosine"] | dict(value=None))),
            dict(fit=[]), dict(sample=None)))):
        (tmp_path/"r.json").write_text(json.dumps(damaged), encoding="utf-8")
        status, out, err = run(*argv)
        assert (status, out, err.count("\n")) == (2, "", 1) and "its figures are damaged" in err and "--overwrite" in err
    assert run(*argv, "--overwrite") == first and (tmp_path/"r.json").read_bytes() == told


def test_other_runs_are_refused(run, store, tmp_path):
    out = tmp_path/"r.html"
    assert run(store, *QUICK, "--out", out)[0] == 0
    before = out.read_bytes()
    for more in (["--seed", "1"], ["--n", "5"], ["--show-texts"], ["--steps", "1"], ["--edits", "1"], ["--defenses"]):
        status, printed, err = run(store, *QUICK, *more, "--out", out)
        assert (status, printed, err.count("\n")) == (2, "", 1) and "--overwrite" in err
        assert out.read_bytes() == before
    assert run(store, *QUICK, "--n", "5", "--out", out, "--overwrite")[0] == 0 and out.read_bytes() != before
    (tmp_path/"mine.html").write_text("my notes", encoding="utf-8")
    assert run(store, *QUICK, "--out", tmp_path/"mine.html")[0] == 2
    assert (tmp_path/"mine.html").read_text(encoding="utf-8") == "my notes"


def test_killed_it_goes_on(run, store, tmp_path, vectors, monkeypatch):
    "kill -9 in the middle, then the same command: what was read is not read again, and the report is that of an unbroken run"
    n, part = 4*len(TEXTS), tmp_path/"killed.html.answers.jsonl.partial"
    many = save_store(tmp_path/"many.parquet", np.tile(vectors, (4, 1)), TEXTS*4)
    argv = [str(many), *QUICK, "--n", str(n)]
    program = "import sys; from vec2text_nb.audit_command import audit_main; sys.exit(audit_main())"
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
    rows = json.loads((tmp_path/"shown.json").read_text(encoding="utf-8"))["rows"]
    secret = {text for row in rows for text in (row["text"], row["recovered"])}
    hidden = run(store, *QUICK, "--out", tmp_path/"hidden.html")
    assert len(rows) == 10 and {row["text"] for row in rows} < set(TEXTS)
    pages = {f.name: f.read_text(encoding="utf-8") for f in tmp_path.iterdir() if f.suffix in (".html", ".json")}
    assert "The texts" in pages["shown.html"]
    for told in (pages["hidden.html"], pages["hidden.json"], hidden[1] + shown[1]):
        assert not [text for text in secret if text in told]


SECRET = "h%40mster-9"


@pytest.mark.parametrize("kind", ["postgresql", "qdrant+http", "chroma+http"])
def test_passwords_do_not_appear(run, tmp_path, monkeypatch, kind):
    "A server that does not answer is one line, soon, without the password"
    monkeypatch.setattr(store_clients, "PATIENCE", 2)
    pytest.importorskip({"postgresql": "pgvector.sqlalchemy", "qdrant+http": "qdrant_client", "chroma+http": "chromadb"}[kind])
    with socket.create_server(("127.0.0.1", 0)) as server: port = server.getsockname()[1]
    start = time.monotonic()
    status, out, err = run(f"{kind}://reader:{SECRET}@127.0.0.1:{port}/notes", *QUICK, "--out", tmp_path/"s.html")
    assert (status, out, err.count("\n")) == (2, "", 1) and str(port) in err and time.monotonic() - start < 6
    assert "h%40mster" not in err and "h@mster" not in err and not [*tmp_path.iterdir()]


def test_random_vectors_leak_what_chance_gives(vectors, tmp_path):
    noise = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    found, real = (audit_store(save_store(tmp_path/"v.parquet", v, TEXTS), n=len(TEXTS), steps=0) for v in (noise, vectors))
    recall, true = (a.leak["token_recall"] for a in (found, real))
    assert abs(recall["value"] - recall["chance"]) < .05 and true["value"] - true["chance"] > .2
    assert found.leak["exact_match"]["value"] == found.leak["fact_recall"]["value"] == 0 and found.figures["fit"]["same"] == 0


@pytest.mark.filterwarnings("default")
def test_a_store_without_texts(run, tmp_path, vectors):
    np.save(tmp_path/"v.npy", vectors)
    status, out, err = run(tmp_path/"v.npy", *QUICK, "--fail-above", "name_recall=0", "--out", tmp_path/"r.html")
    assert status == 2 and err.startswith("v2t-audit: name_recall cannot be checked: the store keeps no texts.") and err.count("\n") == 1
    assert "report: " in out                                       # it was written, and says so
    figures = json.loads((tmp_path/"r.json").read_text(encoding="utf-8"))
    assert [*figures["leak"]] == ["cosine"] and figures["estimate"] is None
    assert "No calibration" in (tmp_path/"r.html").read_text(encoding="utf-8")


def test_a_calibration_decides_the_report_alone(run, tmp_path, vectors, monkeypatch):
    "It is checked before the search, and the answers of a run that failed are those of the next one, whatever its calibration"
    np.save(tmp_path/"v.npy", vectors)
    numbers = leak_scores.read_object(leak_scores.CALIBRATION) | dict(attack=dict(steps=0, beam=0, edits=0))
    for name, data in (("one", "some texts"), ("two", "other texts")):
        (tmp_path/f"{name}.json").write_text(json.dumps(numbers | dict(data=data)), encoding="utf-8")
    argv, leak = [tmp_path/"v.npy", *QUICK, "--out", tmp_path/"r.html"], audit.sample_leak
    def fails(*given): raise RuntimeError("out of luck")
    monkeypatch.setattr(leak_scores.Attack, "chunk", lambda self: 5)
    monkeypatch.setattr(audit, "sample_leak", fails)
    assert run(*argv, "--calibration", tmp_path/"one.json")[0] == 2
    monkeypatch.setattr(audit, "sample_leak", leak)
    monkeypatch.setattr(leak_scores.Attack, "invert", fails)
    assert run(*argv, "--calibration", tmp_path/"two.json")[0] == 0
    estimate = json.loads((tmp_path/"r.json").read_text(encoding="utf-8"))["estimate"]
    assert estimate["data"] == "other texts" and "token_recall" in estimate["leak"]
    status, _, err = run(*argv, "--calibration", tmp_path/"one.json")       # the report of another calibration is another report
    assert status == 2 and "--overwrite" in err


def test_texts_as_bytes(tmp_path, vectors):
    found = [audit_store(save_store(tmp_path/f"{k}.parquet", vectors, texts), n=len(TEXTS), steps=0)
             for k, texts in enumerate((TEXTS, [t.encode() for t in TEXTS]))]
    assert found[0].leak == found[1].leak and found[1].figures["fit"]["same"] == 1


@pytest.mark.filterwarnings("default")
def test_texts_of_other_vectors(run, tmp_path, vectors):
    "A warning, and no limit on words can be checked; that of the cosine can"
    store, argv = save_store(tmp_path/"other.parquet", vectors, TEXTS[1:] + TEXTS[:1]), [*WHOLE, "--out", tmp_path/"r.html"]
    for _ in range(2):                                              # the second time, the report is there
        status, _, err = run(store, *argv)
        assert (status, err.count("\n")) == (0, 1)
        assert f"warning: {store}: none of the {len(TEXTS)} texts gives its stored vector again" in err
    status, _, err = run(store, *argv, "--fail-above", "token_recall=1", "--fail-above", "cosine=1")
    assert (status, err.count("\n")) == (2, 2)
    assert "v2t-audit: token_recall cannot be checked: none of the" in err and "--text_column" in err
    assert run(store, *argv, "--fail-above", "cosine=1")[0] == 0


def test_the_embedder_of_the_vectors_judges_the_texts(vectors):
    "Also where the models are those of a pair with another embedder, as in an `AlignedCorrector`"
    from types import SimpleNamespace
    pair = default_corrector()
    turned = SimpleNamespace(name="turned", normalized=True, encode=lambda texts, **more: pair.embedder.encode(texts, **more).roll(1, 1))
    corrector = SimpleNamespace(embedder=turned, pair=pair)
    for rows, same in ((np.roll(vectors, 1, 1), 1), (vectors, 0)):
        assert audit.describe_fit(audit.StoredRows([*map(str, range(len(rows)))], rows, TEXTS), corrector)["same"] == same


@pytest.mark.filterwarnings("default")
def test_more_rows_than_there_are(run, store, tmp_path):
    status, _, err = run(store, *QUICK, "--n", "1000", "--out", tmp_path/"r.html")
    assert status == 0 and err.count("\n") == 1
    assert f"notes.parquet holds {len(TEXTS)} vectors, fewer than the 1,000 asked for: all of them are audited." in err


@pytest.mark.parametrize("argv,message", [
    (["none.parquet"], "There is no file"), (["narrow.npy"], "width 7, but this inverter reads those of all-MiniLM-L6-v2, of width 384."),
    (["narrow.npy"], "Inverters by name: all-MiniLM-L6-v2 (384), gtr-base (768)"), (["narrow.npy"], "pass the file with --align"),
    (["nan.npy"], "row '4' holds NaN or infinity"), (["zero.npy"], "are all equal"), (["v.npy", "--n", "0"], "n is 0"),
    (["v.npy", "--fail-above", "nmae_recall=0.2"], "'nmae_recall' is not a metric of the audit: expected one of token_recall"),
    (["v.npy", "--fail-above", "name_recall"], "expected METRIC=SHARE"), (["v.npy", "--fail-above", "name_recall=20"], "from 0 to 1"),
    (["v.npy", "--out", "report.pdf"], "should end in .html"), (["v.npy", "--steps", "-1"], "--steps is -1"),
    (["v.npy", "--edits", "-1"], "edits is -1"), (["v.npy", "--model", "word2vec"], "Known names"),
    (["v.npy", "--text_column", "body"], "no use for --text_column"),
    (["v.npy", "--calibration", "none.json"], "none.json"), (["v.npy", "--calibration", ""], "name of the calibration is empty"),
    (["v.npy", "--calibration", "odd.json"], "odd.json is not a calibration"),
    (["notes.parquet", "--calibration", "odd.json"], "odd.json is not a calibration"),
    (["v.npy", "--calibration", leak_scores.CALIBRATION], "calibration.json was made with another attack"),
    (["notes.parquet", "--text_column", "embedding"], "the column of texts, 'embedding', holds a value of type ndarray in row"),
    (["v.npy", "--seed", "-1"], "The seed is -1"),
    (["v.npy", "--best"], "leave --steps out"),
    (["v.npy", "--fail-above", "cosine=0", "--fail-above", "cosine=1"], "cosine has a limit already"),
    (["v.npy", "--out", "folder.html"], "Is a directory")])
def test_bad_input_is_one_line(run, tmp_path, vectors, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    fourth = np.arange(len(vectors))[:, None] == 4
    stores = dict(v=vectors, narrow=vectors[:, :7], nan=np.where(fourth, np.nan, vectors), zero=vectors*0)
    for name, rows in stores.items(): np.save(f"{name}.npy", rows)
    save_store(tmp_path/"notes.parquet", vectors, TEXTS)
    (tmp_path/"odd.json").write_text('{"a": 1}', encoding="utf-8")
    (tmp_path/"folder.html").mkdir()
    before = {f.name for f in tmp_path.iterdir()}
    status, out, err = run(*QUICK, *(["--out", "r.html"] if "--out" not in argv else []), *argv)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err
    assert {f.name for f in tmp_path.iterdir()} == before


def test_bad_stores_are_one_line(run, tmp_path, vectors, monkeypatch):
    chroma, lancedb, apsw = pytest.importorskip("chromadb"), pytest.importorskip("lancedb"), pytest.importorskip("apsw")
    client = chroma.PersistentClient(tmp_path/"chroma")
    for name in ("empty", "notes"): client.create_collection(name)
    lancedb.connect(tmp_path/"lance").create_table("notes", [dict(vector=v.tolist(), content=t) for v, t in zip(vectors, TEXTS)])
    (tmp_path/"folder").mkdir()
    (tmp_path/"table.csv").write_text("a,b", encoding="utf-8")
    np.save(tmp_path/"same.npy", np.tile(vectors[:1], (9, 1)))
    locked = apsw.Connection(str(tmp_path/"v.db"))
    locked.execute("CREATE TABLE t (a)")
    locked.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(store_clients, "PATIENCE", .1)
    for argv, message in [
            (["folder"], "is no store"), (["table.csv"], "is no store"),
            (["chroma"], "more than one collection: empty, notes. Say which with --collection."),
            (["chroma", "--collection", "empty"], "is empty"), (["chroma", "--collection", "none"], "It has: empty, notes."),
            (["lance", "--collection", "none"], "has no table 'none'"), (["lance", "--column", "v"], "It has: content, vector"),
            (["lance", "--text_column", "body"], "no column 'body'"), (["same.npy"], "are all equal"),
            (["same.npy", "--id_column", "a"], "no use for --id_column"),
            (["v.db"], "locked")]:
        status, out, err = run(tmp_path/argv[0], *argv[1:], *QUICK, "--out", tmp_path/"r.html")
        assert (status, out, err.count("\n")) == (2, "", 1) and message in err, (argv, err)
    locked.close()
    assert not [*tmp_path.glob("r.*")]


@pytest.mark.parametrize("where", [
    "postgresql://bob:s3c@r3t#x@localhost:1/db", "postgresql://bob:s3c/r3t@localhost:1/db", "postgresql://bob:s3cr3t@localhost:port/db",
    "postgresql:/bob:s3cr3t@localhost/db", "host=localhost password=s3cr3t", "mysql://bob:s3cr3t@localhost/db", "qdrant+http://:s3cr3t?@localhost:1"])
def test_misspelled_addresses_tell_no_password(run, tmp_path, where):
    status, out, err = run(where, *QUICK, "--out", tmp_path/"r.html")
    assert (status, out, err.count("\n")) == (2, "", 1) and not [part for part in ("s3c", "r3t") if part in err], err


def test_a_folder_of_parquet_files(run, store, tmp_path):
    (tmp_path/"parts").mkdir()
    (tmp_path/"parts"/"a.parquet").write_bytes(store.read_bytes())
    for where, name in ((store, "file"), (tmp_path/"parts", "folder")): assert run(where, *QUICK, "--out", tmp_path/f"{name}.html")[0] == 0
    file, folder = (json.loads((tmp_path/f"{name}.json").read_text(encoding="utf-8")) for name in ("file", "folder"))
    assert folder["leak"] == file["leak"] and folder["store"]["kind"] == "parquet"


@pytest.mark.filterwarnings("default")
def test_a_few_zeros_are_left_out(run, tmp_path, vectors):
    zero = np.arange(len(vectors))[:, None] % 7 == 4
    store = save_store(tmp_path/"zeros.parquet", vectors*~zero, TEXTS)
    status, _, err = run(store, *WHOLE, "--out", tmp_path/"r.html")
    sample = json.loads((tmp_path/"r.json").read_text(encoding="utf-8"))["sample"]
    assert status == 0 and err.count("\n") == 1 and f"{zero.sum()} of {len(TEXTS)} vectors" in err
    assert (sample["n"], sample["zeros"]) == (len(TEXTS) - zero.sum(), zero.sum())
    assert "hold only zeros" in (tmp_path/"r.html").read_text(encoding="utf-8")


def test_one_writer(run, store, tmp_path):
    with only_writer(tmp_path/"r.html"): status, out, err = run(store, *QUICK, "--out", tmp_path/"r.html")
    assert (status, out, err.count("\n")) == (2, "", 1) and "Another process is writing" in err


def test_one_row(run, store, tmp_path):
    "No interval, no chance, no search: dashes on the page, null in the JSON"
    assert run(store, *WHOLE, "--n", "1", "--out", tmp_path/"r.html")[0] == 0
    told = (tmp_path/"r.json").read_text(encoding="utf-8")
    assert "NaN" not in told and json.loads(told)["leak"]["cosine"]["low"] is None
    assert ">nan" not in (tmp_path/"r.html").read_text(encoding="utf-8")


def test_defenses(run, store, tmp_path, monkeypatch):
    "A table and a plot; what is inverted once is not inverted again"
    known = [f"a {kind} of {stuff}" for kind in KINDS for stuff in ("glass", "stone", "gold", "silk")]
    monkeypatch.setattr(audit, "known_texts", lambda: dict(made_up=known))
    inverted, invert = [], leak_scores.Attack.invert

    def counted(self, corrector, rows, *more):
        inverted.append(len(rows))
        return invert(self, corrector, rows, *more)
    monkeypatch.setattr(leak_scores.Attack, "invert", counted)
    assert run(store, *WHOLE, "--defenses", "--out", tmp_path/"r.html")[0] == 0
    figures, page = json.loads((tmp_path/"r.json").read_text(encoding="utf-8")), (tmp_path/"r.html").read_text(encoding="utf-8")
    defenses = {d["name"]: d for d in figures["defenses"]}
    assert [*defenses] == [name for name in TRIED if "principal" not in name] and figures["known"] == dict(made_up=24)
    assert sum(inverted) == len(TEXTS) + 20*13    # of 18 parts: two are the sample itself, three are those of another
    turned, none = defenses["secret rotation, all pairs known"], defenses["none"]
    assert turned["naive"]["value"] < .2 < none["naive"]["value"] == none["adapted"]["value"] and turned["recall_at_10"] > .99
    assert page.count("<svg") == 2 and "24 of made_up" in page and "secret rotation, 100 pairs known" in page
    assert run(store, *WHOLE, "--n", "5", "--defenses", "--out", tmp_path/"few.html")[0] == 0    # too few to search among
    assert json.loads((tmp_path/"few.json").read_text(encoding="utf-8"))["defenses"][0]["recall_at_10"] is None


def write_stores(folder: Path, vectors: np.ndarray) -> dict[str, Path]:
    "The same rows in each kind of store that needs no server"
    chroma, qdrant, lancedb, faiss = map(pytest.importorskip, ("chromadb", "qdrant_client", "lancedb", "faiss"))
    rows = [*enumerate(zip(vectors, TEXTS))]
    chroma.PersistentClient(folder/"chroma").create_collection("notes").add([str(i) for i, _ in rows], vectors, documents=TEXTS)
    client = qdrant.QdrantClient(path=folder/"qdrant")
    client.create_collection("notes", qdrant.models.VectorParams(size=384, distance=qdrant.models.Distance.DOT))
    points = [qdrant.models.PointStruct(id=i, vector=v.tolist(), payload=dict(text=t)) for i, (v, t) in rows]
    client.upsert("notes", points)
    client.close()
    lancedb.connect(folder/"lance").create_table("notes", [dict(id=i, vector=v.tolist(), text=t) for i, (v, t) in rows])
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    faiss.write_index(index, str(folder/"v.faiss"))
    found = {name: folder/name for name in ("chroma", "qdrant", "lance", "v.faiss")}
    return found | dict(parquet=save_store(folder/"v.parquet", vectors, TEXTS))


def test_every_store_gives_the_same_figures(tmp_path, vectors):
    found = {name: audit_store(path, n=20, seed=3, steps=0).figures for name, path in write_stores(tmp_path, vectors).items()}
    blind, first = found.pop("v.faiss"), found["chroma"]
    assert all(figures["leak"] == first["leak"] and figures["fit"] == first["fit"] for figures in found.values())
    assert blind["leak"] == dict(cosine=first["leak"]["cosine"])    # FAISS keeps no texts
    assert {figures["store"]["kind"] for figures in found.values()} == {"chroma", "qdrant", "lancedb", "parquet"}


def test_help_has_examples_that_parse_the_status_and_the_metrics(capsys):
    import shlex
    with pytest.raises(SystemExit) as end: audit_main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and re.search(r"exit status:\n  0 .*\n  1 .*\n  2 .*\n  130 ", text)
    assert re.search(r"^  name_recall  +names of people$", text, re.M)
    examples = re.findall(r"^  v2t-audit (.*)$", text, re.M)
    assert len(examples) >= 2 and all(audit_parser().parse_args(shlex.split(example)) for example in examples)
