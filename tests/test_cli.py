"`v2t-invert` from a file to a file: killed and resumed, refused for bad files; and what all commands share"
import gzip
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import numpy as np
import pytest
from golden import GOLDEN, STORED
from project import ROOT

from vec2text_nb import audit_command, cli
from vec2text_nb.cli import invert_main
from vec2text_nb.commands import only_writer
from vec2text_nb.vector_files import vector_blocks

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
MODEL = [part for name, folder in dict(model="inverter", corrector="corrector", embedder="embedder", backbone="backbone").items()
         for part in (f"--{name}", str(GOLDEN/folder))] + ["--device", "cpu"]
QUICK = [*MODEL, "--steps", "0", "--max_length", "6"]     # 768 wide, 64 at a time; the texts are gibberish
SMALL = [*QUICK, "--batch_size", "1"]                     # one at a time


def vectors(n: int) -> np.ndarray: return np.random.default_rng(0).standard_normal((n, 768)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def load_once():
    "Within this process every pair is loaded once"
    loaded, read_models = {}, cli.read_models

    def read(a):
        key = (a.model, a.corrector, a.embedder, a.backbone, a.device)
        if key not in loaded: loaded[key] = read_models(a)
        return loaded[key]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "read_models", read)
        yield


@pytest.fixture
def run(capsys, monkeypatch):
    "Runs the command: status, standard output, standard error"
    def call(*argv, stdin="", main=invert_main):
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        capsys.readouterr()
        return main([str(part) for part in argv]), *capsys.readouterr()
    return call


def rows_of(path: Path) -> list[dict]: return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def save_parquet(path: Path, **columns):
    import pyarrow as pa
    import pyarrow.parquet as pq
    pq.write_table(pa.table(columns), path)


# killed

DRIVER = """
    "Forks a process for each job from this one, which has imported everything; kills it when its file has so many lines"
    import json, os, signal, sys, time
    import pyarrow.parquet
    from vec2text_nb import cli, pretrained
    jobs, codes = json.load(sys.stdin), []
    models = cli.read_models(cli.invert_parser().parse_args(jobs[0]["argv"]))
    cli.read_models = lambda a: models
    for job in jobs:
        if (pid := os.fork()) == 0:
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)      # all that is printed meets a closed pipe, as behind `head`
            os._exit(cli.invert_main(job["argv"]))
        found = (0, 0)
        while job["lines"] and not found[0]:
            found = os.waitpid(pid, os.WNOHANG)
            if os.path.exists(job["file"]) and open(job["file"], "rb").read().count(b"\\n") >= job["lines"]: break
            time.sleep(.005)
        if job["lines"] and not found[0]: os.kill(pid, signal.SIGKILL)
        codes.append(os.waitstatus_to_exitcode((found if found[0] else os.waitpid(pid, 0))[1]))
    print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    "A folder where two processes that inverted 900 vectors were killed; and the exit codes, also that of a third, whose reader left"
    folder = tmp_path_factory.mktemp("killed")
    save_parquet(folder/"vectors.parquet", embedding=list(vectors(900)))
    np.save(folder/"few.npy", vectors(3))
    argv = ["vectors.parquet", "--out", "texts.jsonl", *QUICK]
    jobs = [dict(argv=argv, file="texts.jsonl.partial", lines=lines) for lines in (1, 600)] + [dict(argv=["few.npy", *QUICK], lines=0)]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(DRIVER)], input=json.dumps(jobs), cwd=folder, timeout=300,
                          capture_output=True, text=True, env=os.environ | dict(PYTHONPATH=str(ROOT)))
    assert done.returncode == 0, done.stderr
    return folder, argv, json.loads(done.stdout)


def lines_in(path: Path) -> int: return path.read_bytes().count(b"\n")


def test_killed_twice_it_loses_nothing(killed, run, monkeypatch):
    "It ends as if it had never stopped"
    folder, argv, codes = killed
    monkeypatch.chdir(folder)
    assert codes[:2] == [-signal.SIGKILL]*2
    assert {f.name for f in folder.iterdir()} == {"vectors.parquet", "few.npy", "texts.jsonl.partial", ".texts.jsonl.v2t-lock"}
    before, invert, inverted = Path("texts.jsonl.partial").read_bytes(), cli.answer_chunks, []
    monkeypatch.setattr(cli, "answer_chunks", lambda *given: (inverted.append(len(chunk)) or chunk for chunk in invert(*given)))
    assert run(*argv) == (0, "texts.jsonl: 900 texts\n", "")
    assert sum(inverted) == 900 - before.count(b"\n") <= 300
    resumed = Path("texts.jsonl").read_bytes()
    assert resumed.startswith(before[:before.rindex(b"\n")+1])
    assert {f.name for f in folder.iterdir()} == {"vectors.parquet", "few.npy", "texts.jsonl"}
    assert [row["row"] for row in rows_of(Path("texts.jsonl"))] == [*range(900)]
    inverted.clear()
    assert run("vectors.parquet", "--out", "unbroken.jsonl", *QUICK)[0] == 0 and max(inverted) == 64
    assert Path("unbroken.jsonl").read_bytes() == resumed


def test_a_reader_that_has_seen_enough(killed): assert killed[2][2] == 0


@pytest.mark.parametrize("ending,cuts", [("jsonl", (0, .001, .4, .999, 1)), ("parquet", (.4, 1))])
def test_cut_anywhere(run, tmp_path, ending, cuts):
    "The partial file cut at any byte, as a crash of the machine may leave it"
    np.save(tmp_path/"v.npy", vectors(21))
    argv = [tmp_path/"v.npy", *SMALL, "--out"]
    run(*argv, tmp_path/"whole.jsonl")
    run(*argv, tmp_path/f"whole.{ending}")
    lines, whole = (tmp_path/"whole.jsonl").read_bytes(), (tmp_path/f"whole.{ending}").read_bytes()
    for cut in cuts:
        out = tmp_path/f"cut-{cut}.{ending}"
        out.with_name(f"{out.name}.partial").write_bytes(lines[:round(cut*len(lines))])
        assert run(*argv, out)[0] == 0
        assert out.read_bytes() == whole and not out.with_name(f"{out.name}.partial").exists()


def test_killed_between_the_two_names(run, tmp_path):
    "The parquet file is there, and so are the lines that it was made of; then nothing is left to do"
    np.save(tmp_path/"v.npy", vectors(3))
    for name in ("v.jsonl", "v.parquet"): run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/name)
    (tmp_path/"v.jsonl").rename(tmp_path/"v.parquet.partial")
    before = (tmp_path/"v.parquet").stat().st_mtime_ns
    assert run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"v.parquet")[0] == 0
    assert (tmp_path/"v.parquet").stat().st_mtime_ns == before and {f.name for f in tmp_path.iterdir()} == {"v.npy", "v.parquet"}


def breaking(monkeypatch, error, at: int):
    "The start of search number `at` meets an error"
    from vec2text_nb import inversion
    calls, start = itertools.count(1), inversion.start_searches

    def once(batch):
        if next(calls) == at: raise error
        start(batch)
    monkeypatch.setattr(inversion, "start_searches", once)


def test_interrupted(run, tmp_path, monkeypatch):
    np.save(tmp_path/"v.npy", vectors(20))
    argv = [tmp_path/"v.npy", *SMALL]
    breaking(monkeypatch, KeyboardInterrupt(), 9)
    kept = f"8 of 20 texts are kept in {tmp_path/'t.jsonl.partial'}"
    assert run(*argv, "--out", tmp_path/"t.jsonl") == (130, "", f"v2t-invert: interrupted: {kept}: run the same command again to resume.\n")
    assert lines_in(tmp_path/"t.jsonl.partial") == 8
    assert run(*argv, "--out", tmp_path/"t.jsonl")[0] == 0 and len(rows_of(tmp_path/"t.jsonl")) == 20
    breaking(monkeypatch, KeyboardInterrupt(), 9)
    status, out, err = run(*argv, "--json")
    assert (status, out.count("\n"), err) == (130, 8, "v2t-invert: interrupted.\n")


def test_a_second_writer_is_refused_in_one_line(run, tmp_path):
    np.save(tmp_path/"v.npy", vectors(3))
    out = tmp_path/"t.jsonl"
    with only_writer(out):
        status, printed, err = run(tmp_path/"v.npy", *SMALL, "--out", out)
        assert (status, printed, err.count("\n")) == (2, "", 1) and f"Another process is writing {out}" in err
    assert run(tmp_path/"v.npy", *SMALL, "--out", out)[0] == 0 and {f.name for f in tmp_path.iterdir()} == {"v.npy", "t.jsonl"}


def test_files_of_the_user_beside_out_are_kept(run, tmp_path):
    "A lock of another program, and a partial file that is none of ours, whole or not"
    np.save(tmp_path/"v.npy", vectors(3))
    (tmp_path/"t.jsonl.lock").write_text("poetry", encoding="utf-8")
    assert run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"t.jsonl")[0] == 0
    assert (tmp_path/"t.jsonl.lock").read_text(encoding="utf-8") == "poetry"
    part, secret = tmp_path/"u.jsonl.partial", tmp_path/"secret.txt"
    for text in ('{"my": "only copy"}', "by hand"):
        part.write_text(text, encoding="utf-8")
        status, printed, err = run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"u.jsonl")
        assert (status, printed, err.count("\n")) == (2, "", 1) and "holds something else" in err
        assert part.read_text(encoding="utf-8") == text
    part.unlink()
    secret.write_text("secret", encoding="utf-8")
    part.symlink_to(secret)
    status, printed, err = run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"u.jsonl")
    assert status == 2 and "is a link" in err and secret.read_text(encoding="utf-8") == "secret"


@pytest.mark.parametrize("damage", [lambda lines: lines[:1], lambda lines: [*lines, b"x\n"], lambda lines: [lines[0], lines[2], lines[1]],
                                    lambda lines: [lines[0], b"\0"*9 + b"\n", lines[2]]])
def test_a_damaged_file_is_not_called_complete(run, tmp_path, damage):
    "Nor is what is behind the damage in a partial file kept"
    np.save(tmp_path/"v.npy", vectors(3))
    out, part = tmp_path/"t.jsonl", tmp_path/"t.jsonl.partial"
    assert run(tmp_path/"v.npy", *SMALL, "--out", out)[0] == 0
    whole = out.read_bytes()
    out.write_bytes(b"".join(damage(whole.splitlines(keepends=True))))
    status, printed, err = run(tmp_path/"v.npy", *SMALL, "--out", out)
    assert (status, printed, err.count("\n")) == (2, "", 1) and "should hold 3 rows" in err and "--overwrite" in err
    out.rename(part)
    assert run(tmp_path/"v.npy", *SMALL, "--out", out)[0] == 0 and out.read_bytes() == whole and not part.exists()


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("argv, said", [
    (["https://host/v.npy"], "is an address"), (["vectors.csv"], "is taken as a text"),
    (["text", "--out", "{tmp}/v.npy/t.jsonl"], "not a folder"), (["text", "--out", ".jsonl"], "a name that ends in .jsonl")])
def test_names_that_are_no_files(run, tmp_path, argv, said):
    np.save(tmp_path/"v.npy", vectors(1))
    status, _, err = run(*SMALL, *(a.replace("{tmp}", str(tmp_path)) for a in argv))
    assert said in err.splitlines()[0] and status == (0 if argv == ["vectors.csv"] else 2)


def test_a_folder_that_takes_no_files(run, tmp_path):
    "Root may write nearly anywhere, but not into the kernel's folders"
    if not Path("/sys/kernel").exists(): pytest.skip("no /sys on this system")
    np.save(tmp_path/"v.npy", vectors(2))
    status, printed, err = run(tmp_path/"v.npy", *SMALL, "--out", "/sys/kernel/t.jsonl")
    assert (status, printed, err.count("\n")) == (2, "", 1) and "/sys/kernel/t.jsonl" in err


def test_paths_with_spaces_and_other_letters(run, tmp_path):
    folder = tmp_path/"mes vecteurs, 世界"
    folder.mkdir()
    for name in ("v 1.npy", "größe.npz", "v.parquet"):
        if name.endswith("npy"): np.save(folder/name, vectors(3))
        elif name.endswith("npz"): np.savez(folder/name, embedding=vectors(3))
        else: save_parquet(folder/name, embedding=list(vectors(3)))
        for ending in ("jsonl", "parquet"):
            assert run(folder/name, *SMALL, "--out", folder/f"réponses {name[:2]}.{ending}")[0] == 0
    assert len([*folder.iterdir()]) == 3 + 3*2


@pytest.mark.filterwarnings("default")
def test_a_file_that_is_not_there_may_be_a_text_but_says_so(run):
    status, out, err = run(*SMALL, "--json", "my vectors.npy")
    assert status == 0 and json.loads(out)["given"] == "my vectors.npy"
    assert "'my vectors.npy' is taken as a text: there is no such file" in err


def test_files_are_read_in_small_blocks(tmp_path):
    "Also where the rows of a parquet file are one group"
    v = np.random.default_rng(0).standard_normal((3000, 2000), dtype=np.float32)
    np.save(tmp_path/"v.npy", v)
    np.savez(tmp_path/"v.npz", embedding=v)
    save_parquet(tmp_path/"v.parquet", embedding=list(v))
    for file in tmp_path.iterdir():
        sizes = [block.nbytes for block in vector_blocks(file)]
        assert sum(sizes) == v.nbytes and max(sizes) <= 2**24, file


def test_a_full_disk(run, tmp_path, monkeypatch):
    np.save(tmp_path/"v.npy", vectors(20))
    argv = [tmp_path/"v.npy", *SMALL, "--out", tmp_path/"t.jsonl"]
    syncs, fsync = itertools.count(1), os.fsync

    def full(fd):
        if next(syncs) == 2: raise OSError(28, "No space left on device")
        fsync(fd)
    monkeypatch.setattr(os, "fsync", full)
    status, out, err = run(*argv)
    assert (status, out, err.count("\n")) == (2, "", 1) and "No space left" in err and "start again" in err
    assert run(*argv)[0] == 0 and [row["row"] for row in rows_of(tmp_path/"t.jsonl")] == [*range(20)]


# other runs

def test_files_of_other_runs_are_refused(run, tmp_path):
    np.save(tmp_path/"v.npy", vectors(9))
    np.save(tmp_path/"w.npy", vectors(9)[::-1])
    argv, out = [tmp_path/"v.npy", *SMALL], tmp_path/"t.jsonl"
    part = out.with_name("t.jsonl.partial")
    assert run(*argv, "--out", out)[0] == 0
    whole = out.read_bytes()
    others = [["--steps", "1"], ["--max_length", "5"], ["--no_repeat_ngram_size", "2"], ["--last"], ["--edits", "1"]]
    for more in others:
        for file in (out, part):
            file.write_bytes(whole)
            status, printed, err = run(*argv, *more, "--out", out)
            assert (status, printed, err.count("\n")) == (2, "", 1) and f"{file} holds" in err and "--overwrite" in err
            assert file.read_bytes() == whole
            file.unlink()
    out.write_bytes(whole)
    assert run(tmp_path/"w.npy", *argv[1:], "--out", out)[0] == 2 and out.read_bytes() == whole
    same = [*argv, "--json", "--batch_size", "4", "--out", out]
    assert run(*same) == (0, json.dumps(dict(out=str(out), rows=9)) + "\n", "") and out.read_bytes() == whole
    assert run(*argv, "--last", "--overwrite", "--out", out)[0] == 0 and out.read_bytes() != whole
    (tmp_path/"mine.jsonl").write_text("my notes\n", encoding="utf-8")
    assert run(*argv, "--out", tmp_path/"mine.jsonl")[0] == 2 and (tmp_path/"mine.jsonl").read_text(encoding="utf-8") == "my notes\n"


@pytest.mark.parametrize("out,message", [("t.csv", "a name that ends in .jsonl or .parquet"), ("v.jsonl", "is the input itself"),
                                         ("folder.jsonl", "Is a directory"), ("v.jsonl/t.jsonl", "v.jsonl"),
                                         ("pipe.jsonl", "is a pipe or a device"), ("device.jsonl", "is a pipe or a device")])
def test_out_files_that_cannot_be(run, tmp_path, out, message):
    (tmp_path/"folder.jsonl").mkdir()
    os.mkfifo(tmp_path/"pipe.jsonl")
    (tmp_path/"device.jsonl").symlink_to(os.devnull)
    (tmp_path/"v.jsonl").write_text("".join(json.dumps(dict(embedding=row)) + "\n" for row in vectors(2).tolist()), encoding="utf-8")
    before = {f.name for f in tmp_path.rglob("*")}
    status, printed, err = run(tmp_path/"v.jsonl", *SMALL, "--overwrite", "--out", tmp_path/out)
    assert (status, printed, err.count("\n")) == (2, "", 1) and message in err
    assert {f.name for f in tmp_path.rglob("*")} == before


def test_a_folder_of_vectors_is_read_and_never_written_to(run, tmp_path):
    (tmp_path/"v").mkdir()
    for part, rows in (("b", vectors(9)[5:]), ("a", vectors(9)[:5])): save_parquet(tmp_path/"v"/f"{part}.parquet", embedding=list(rows))
    (tmp_path/"v"/"_SUCCESS").touch()
    np.save(tmp_path/"v.npy", vectors(9))
    assert run(tmp_path/"v", *SMALL, "--json") == run(tmp_path/"v.npy", *SMALL, "--json")
    before = (tmp_path/"v"/"a.parquet").read_bytes()
    status, _, err = run(tmp_path/"v", *SMALL, "--overwrite", "--out", tmp_path/"v"/"a.parquet")
    assert status == 2 and "is the input itself, or in it" in err and (tmp_path/"v"/"a.parquet").read_bytes() == before


def test_a_link_stays_a_link(run, tmp_path):
    np.save(tmp_path/"v.npy", vectors(3))
    (tmp_path/"link.jsonl").symlink_to(tmp_path/"real.jsonl")
    assert run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"link.jsonl")[0] == 0
    assert (tmp_path/"link.jsonl").is_symlink() and len(rows_of(tmp_path/"real.jsonl")) == 3


# what goes in and what comes out

def test_every_kind_of_file_gives_the_same(run, tmp_path):
    v = vectors(5)
    np.save(tmp_path/"v.npy", v)
    np.savez(tmp_path/"v.npz", text=["a"]*5, vec=v)
    save_parquet(tmp_path/"v.parquet", id=[*range(5)], vec=list(v))
    (tmp_path/"v.jsonl").write_text("".join(json.dumps(dict(id=i, vec=row)) + "\n" for i, row in enumerate(v.tolist())), encoding="utf-8")
    found = {f.suffix: run(f, *SMALL, "--column", "vec", "--json") for f in tmp_path.iterdir()}
    assert len(found) == 4 and len({*found.values()}) == 1
    status, out, err = found[".npy"]
    assert (status, err) == (0, "")
    assert [[*json.loads(line)] for line in out.splitlines()] == [["row", "recovered", "cosine", "possibly_cut"]]*5
    status, out, err = run(tmp_path/"v.npy", *SMALL)
    assert status == 0 and re.fullmatch(r"(row        \d\nrecovered  .*\ncosine     -?\d\.\d{3}\n\n){5}", out)


@pytest.mark.filterwarnings("default")
def test_texts_from_arguments_a_file_and_stdin(run, tmp_path):
    texts = ["a small boat on a lake", "Grüße, 世界", "see notes.txt"]
    (tmp_path/"texts.txt").write_text("\n".join([*texts[:2], "  ", texts[2]]), encoding="utf-8")
    found = [run(*texts, *SMALL, "--json"), run(tmp_path/"texts.txt", *SMALL, "--json"), run(*SMALL, "--json", stdin="\n".join(texts))]
    assert found[0] == found[1] == found[2] and found[0][0] == 0
    assert [json.loads(line)["given"] for line in found[0][1].splitlines()] == texts
    assert found[0][2].count("\n") == 1 and "warning: 3 of 3 strings are longer than the 5 tokens" in found[0][2]    # once, in one line
    run(tmp_path/"texts.txt", *SMALL, "--out", tmp_path/"new"/"t.jsonl")
    written = [{k: v for k, v in row.items() if k != "run"} for row in rows_of(tmp_path/"new"/"t.jsonl")]
    assert written == [*map(json.loads, found[0][1].splitlines())]


def test_a_dash_is_standard_input(run):
    assert run(*SMALL, "--json", "-", stdin="a\nb\n") == run(*SMALL, "--json", stdin="a\nb\n") == run(*SMALL, "--json", "a", "b")


def test_lines_of_old_macs_and_empty_lines_at_the_end(run, tmp_path):
    (tmp_path/"mac.txt").write_bytes(b"a\rb")
    assert run(*SMALL, "--json", tmp_path/"mac.txt") == run(*SMALL, "--json", "a", "b")
    np.save(tmp_path/"v.npy", vectors(1))
    (tmp_path/"v.jsonl").write_text(json.dumps(dict(embedding=vectors(1)[0].tolist())) + "\n\n \n", encoding="utf-8")
    assert run(*SMALL, "--json", tmp_path/"v.jsonl") == run(*SMALL, "--json", tmp_path/"v.npy")


@pytest.mark.parametrize("argv,message", [(["--stepps", "3"], "Did you mean '--steps'?"), (["-v.npy"], "is given after --"),
        (["--steps", "1.5"], "invalid int value")])
def test_mistaken_flags_are_one_line(run, capsys, argv, message):
    with pytest.raises(SystemExit) as end: invert_main(["text", *argv])
    err = capsys.readouterr().err
    assert end.value.code == 2 and message in err and err.count("\n") == 1


def test_flags_with_either_dash(run):
    assert run("a", *QUICK, "--json", "--batch-size", "1") == run("a", *SMALL, "--json")


def test_closed_streams(tmp_path):
    "Neither a traceback nor an answer that goes where nobody looks for it"
    code = "import os, sys; from vec2text_nb.cli import invert_main; sys.exit(invert_main(sys.argv[1:]))"
    lost, wrong = "standard output is closed, so the answers would be lost: give --out", ["--steps", "-1", "text"]
    for closed, argv, said in (("<&-", [], "no text given"), (">&-", ["text"], lost),
                               (">&-", [*wrong, "--out", tmp_path/"t.jsonl"], "--steps is -1"), ("2>&-", wrong, "")):
        done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-c", code, *map(str, argv)],
                              capture_output=True, text=True, cwd=ROOT, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", bool(said)) and said in done.stderr, done


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "vec2text_nb.cli", "--help"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Recover texts" in done.stdout


def test_standard_input_that_is_not_utf8(run):
    status, out, err = run(*SMALL, "--json", stdin="eins\nGröße\n".encode("latin1"))
    assert (status, out, err.count("\n")) == (2, "", 1) and "standard input, line 2: byte 0xf6" in err


def test_parquet_out(run, tmp_path):
    import pyarrow.parquet as pq
    np.save(tmp_path/"v.npy", vectors(9))
    for name in ("t.parquet", "t.jsonl"): assert run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/name)[0] == 0
    assert pq.read_table(tmp_path/"t.parquet").to_pylist() == rows_of(tmp_path/"t.jsonl")
    assert run(tmp_path/"v.npy", *SMALL, "--last", "--out", tmp_path/"t.parquet")[0] == 2


def test_progress_on_a_terminal(run, tmp_path, monkeypatch):
    np.save(tmp_path/"v.npy", vectors(30))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "inverting: 100%" in run(tmp_path/"v.npy", *SMALL, "--out", tmp_path/"t.jsonl")[2]


def test_answers_are_those_of_the_package(run, tmp_path):
    cases = json.loads((STORED/"cases.json").read_text(encoding="utf-8"))["cases"]
    np.savez(tmp_path/"v.npz", embedding=np.load(STORED/"embeddings.npz")["embeddings"])
    for case in cases[:3]:
        options = ["--steps", case["num_steps"] or 0, "--beam", case["sequence_beam_width"], "--last"]
        status, out, _ = run(tmp_path/"v.npz", *MODEL, *options, "--json")
        assert status == 0 and [json.loads(line)["recovered"] for line in out.splitlines()] == case["texts"]


# bad files

def nan_rows(): return np.where(np.arange(9)[:, None] == 4, np.nan, vectors(9))


def write_bad(folder: Path) -> dict[str, str]:
    "Bad files; name -> what the error says of it"
    import pyarrow as pa
    import pyarrow.parquet as pq
    v = vectors(9)
    save_parquet(folder/"whole.parquet", embedding=list(v), title=["a"]*9)
    whole = (folder/"whole.parquet").read_bytes()
    (folder/"truncated.parquet").write_bytes(whole[:-100])
    (folder/"damaged.parquet").write_bytes(whole[:4] + bytes(40) + whole[44:])
    save_parquet(folder/"strings.parquet", embedding=["0.1 0.2"]*9)
    save_parquet(folder/"uneven.parquet", embedding=[[1., 2.], [3.]])
    save_parquet(folder/"missing.parquet", vec=list(v), title=["a"]*9)
    save_parquet(folder/"nan.parquet", embedding=list(nan_rows()))
    save_parquet(folder/"holes.parquet", embedding=[None, [1.]])
    np.save(folder/"narrow.npy", v[:, :7])
    np.save(folder/"strings.npy", np.array([["a"]*768]))
    np.save(folder/"pickled.npy", np.array([{}]), allow_pickle=True)
    np.save(folder/"nan.npy", nan_rows())
    np.save(folder/"quantised.npy", (v*100).astype(np.int8))
    np.save(folder/"no_rows.npy", v[:0])
    (folder/"truncated.npy").write_bytes((folder/"nan.npy").read_bytes()[:-1])
    np.savez(folder/"missing.npz", arr_0=v)
    np.savez(folder/"pickled.npz", embedding=np.array([{}]))
    (folder/"truncated.npz").write_bytes((folder/"missing.npz").read_bytes()[:-50])
    (folder/"missing.jsonl").write_text('{"vec": [1.5], "title": "a"}\n', encoding="utf-8")
    (folder/"strings.jsonl").write_text('{"embedding": ["0.1", "0.2"]}\n', encoding="utf-8")
    (folder/"torn.jsonl").write_text('{"embedding": [0.5]}\n{"embedding": [0.', encoding="utf-8")
    (folder/"latin.txt").write_bytes("Größe".encode("latin1"))
    for name in ("utf-16", "utf-32", "utf-16-le"): (folder/f"{name}.txt").write_text("a boat\n", encoding=name)
    (folder/"packed.jsonl").write_bytes(gzip.compress(b"{}"))
    (folder/"huge.jsonl").write_text('{"embedding": [0.5, ' + "1"*400 + "]}\n", encoding="utf-8")
    (folder/"deep.jsonl").write_text("["*100_000, encoding="utf-8")
    (folder/"gap.jsonl").write_text('{"embedding": [0.5]}\n\n{"embedding": [0.5]}\n', encoding="utf-8")
    (folder/"bare.jsonl").write_text('{"embedding": []}\n', encoding="utf-8")
    save_parquet(folder/"nested.parquet", embedding=[[[1.]]])
    save_parquet(folder/"wide.parquet", **{f"d{i}": [1.] for i in range(30)})
    twice = pa.Table.from_arrays([pa.array([[1.]])]*2, names=["embedding"]*2)
    pq.write_table(twice, folder/"twice.parquet")
    np.save(folder/"complex.npy", v.astype(np.complex64))
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(folder/f"method{method}.npz", "w", method) as archive:
            archive.writestr("embedding.npy", (folder/"nan.npy").read_bytes())
        whole = bytearray((folder/f"method{method}.npz").read_bytes())
        whole[len(whole)//2] ^= 255
        (folder/f"method{method}.npz").write_bytes(whole)
    np.savez(folder/"locked.npz", embedding=v)
    locked = bytearray((folder/"locked.npz").read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)): locked[locked.index(mark)+flags] |= 1
    (folder/"locked.npz").write_bytes(locked)
    (folder/"folder.npy").mkdir()
    (folder/"folder").mkdir()
    for ending in ("npy", "npz", "parquet", "jsonl", "txt"): (folder/f"empty.{ending}").touch()
    return {
        "truncated.parquet": "not a complete parquet file", "damaged.parquet": "damaged.parquet", "strings.parquet": "lists of numbers",
        "uneven.parquet": "lengths are 2, 1", "missing.parquet": "It has: vec, title.", "nan.parquet": "NaN or infinity in row 4",
        "holes.parquet": "lengths are none, 1", "narrow.npy": "7 wide, but this inverter was trained on gtr_base, which is 768",
        "strings.npy": "expected floating-point", "pickled.npy": "not a complete .npy", "nan.npy": "NaN or infinity in row 4",
        "quantised.npy": "int8", "no_rows.npy": "holds no vectors", "truncated.npy": "not a complete .npy", "missing.npz": "It has: arr_0.",
        "pickled.npz": "not a complete .npz", "truncated.npz": "not a complete .npz",
        "missing.jsonl": "line 1 has no column 'embedding'. It has: vec, title.",
        "strings.jsonl": "line 1: 'embedding' is not a list of numbers", "torn.jsonl": "line 2: not JSON",
        "latin.txt": "is not UTF-8", "utf-16.txt": "iconv -f utf-16 -t utf-8", "utf-32.txt": "this is UTF-32",
        "utf-16-le.txt": "iconv -f utf-16le -t utf-8",
        "packed.jsonl": "compressed, as gzip", "huge.jsonl": "line 1: 'embedding' holds a whole number that is too large",
        "deep.jsonl": "line 1: not JSON", "gap.jsonl": "line 2 is empty", "bare.jsonl": "rows without a number",
        "nested.parquet": "but list<", "wide.parquet": "d19 and 10 more", "twice.parquet": "has 2 columns 'embedding'",
        "complex.npy": "gave complex64: expected floating-point numbers.\n", "method14.npz": "method14.npz is not a complete .npz",
        "method12.npz": "method12.npz is not a complete .npz", "locked.npz": "locked.npz is not a complete .npz",
        "folder.npy": "is a folder without parquet files", "folder": "is a folder without parquet files",
        "empty.npy": "not a complete .npy", "empty.npz": "not a complete .npz", "empty.parquet": "not a complete parquet",
        "empty.jsonl": "holds no vectors",
        "empty.txt": "empty.txt has none", "none.npy": "There is no file", "none.txt": "There is no file"}


def test_bad_files_are_one_line(run, tmp_path):
    expected = write_bad(tmp_path)
    before = {f.name for f in tmp_path.iterdir()}
    for name, message in expected.items():
        status, out, err = run(tmp_path/name, *SMALL, "--out", tmp_path/"new"/"t.jsonl")
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith("v2t-invert: ") and message in err, (name, err)
    assert {f.name for f in tmp_path.iterdir()} == before


@pytest.mark.parametrize("argv,message", [
    ([], "no text given"), (["a.npy", "b.npy"], "give one file"), (["text", "v.parquet"], "give one file"),
    (["text", "--steps", "-1"], "--steps is -1"), (["text", "--edits", "-1"], "--edits is -1: expected 0 or more rounds"),
    (["text", "--beam", "-1", "--steps", "1"], "--beam is -1"), (["text", "--batch_size", "0"], "batch_size"),
    (["text", "--max_length", "1"], "max_length"), (["text", "--no_repeat_ngram_size", "-1"], "no_repeat_ngram_size"),
    (["text", "--device", "abacus"], "device abacus: expected cpu, cuda, cuda:1 or mps"),
    (["text", "--model", "word2vec"], "Known names: all-MiniLM-L6-v2"), (["text", "--embedder", "all-MiniLM-L6-v2"], "384"),
    (["half \udce9 text"], "half a surrogate pair"), (["text", "--beam", "8"], "leave --beam out"),
    (["text", "--best"], "leave --steps out"),
    (["text", "--overwrite"], "there is none"), (["text", "--out", ""], "a name that ends in"),
    (["text", "--column", "a"], "has no columns"),
    (["text", "--max_length", str(10**15)], "max_length is 1000000000000000: expected 16384 or less")])
def test_bad_options_are_one_line(run, argv, message, tmp_path):
    status, out, err = run(*MODEL, "--steps", "0", *argv)
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err


@pytest.mark.parametrize("command", ["invert", "eval"])
def test_a_device_that_is_not_there_is_one_line(command, run, monkeypatch, tmp_path):
    import torch
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    argv = ["text"] if command == "invert" else ["--dataset", "wordnet", "--out", tmp_path/"scores.json"]
    status, out, err = run(*argv, "--device", "cuda:3", main=getattr(cli, f"{command}_main"))
    assert (status, out, err) == (2, "", f"v2t-{command}: device cuda:3: there is one GPU, cuda:0; use cuda\n")
    assert not [*tmp_path.iterdir()]


def test_best_stands_for_three_flags(run):
    steps, beam, edits = map(str, cli.BEST)
    best = run(*MODEL, "a b", "--max_length", "6", "--json", "--best")
    assert best == run(*MODEL, "a b", "--max_length", "6", "--json", "--steps", steps, "--beam", beam, "--edits", edits)
    alone = run(*MODEL, "a b", "--max_length", "6", "--json", "--steps", "0", "--edits", "2")
    assert best[0] == alone[0] == 0 and {best[2], alone[2]} == {""}


# what the commands share

@pytest.mark.parametrize("name", ["invert", "eval", "publish", "audit"])
def test_help_has_examples_that_parse_and_the_status(name, capsys):
    import shlex
    module = audit_command if name == "audit" else cli
    main, parser = getattr(module, f"{name}_main"), getattr(module, f"{name}_parser")()
    with pytest.raises(SystemExit) as end: main(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0 and re.search(r"exit status:\n  0 .*\n(  1 .*\n)?  2 .*\n  130 ", text) and "--json" in text
    examples = re.findall(rf"^  v2t-{name} (.*)$", text, re.M)
    assert len(examples) >= 2 and all(parser.parse_args(shlex.split(example)) for example in examples)
    with pytest.raises(SystemExit) as end: main(["--no_such_option"])
    assert end.value.code == 2


def test_a_bug_is_not_said_in_one_line():
    with pytest.raises(KeyError): cli.run_command("v2t", lambda: {}["key"])


def test_errors_of_the_openai_package_are(capsys):
    def ask(): raise type("AuthenticationError", (Exception,), dict(__module__="openai"))("no such key")
    assert cli.run_command("v2t", ask) == 2 and capsys.readouterr().err == "v2t: no such key\n"
