"The training command where it can go wrong: killed, on two processes, on a full disk, with bad input; and that every ablation runs"
import contextlib
import errno
import functools
import io
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from project import ROOT
from safetensors.torch import load_file

from vec2text_nb import run as R
from vec2text_nb import stores, training, utilities
from vec2text_nb.baselines import BagOfWordsInverter, DecoderOnlyInverter
from vec2text_nb.commands import only_writer
from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.embedders import load_embedder, packaged_minilm
from vec2text_nb.hypothesizer import InversionModel
from vec2text_nb.initialization import make_backbone
from vec2text_nb.inversion import Corrector
from vec2text_nb.pretrained import load_corrector, load_tokenizer
from vec2text_nb.run import Experiment, main, make_trainer, parse_flags
from vec2text_nb.stores import embed_texts
from vec2text_nb.training import Pairs, store_hypotheses, tokenize
from vec2text_nb.utilities import quiet

pytestmark = pytest.mark.skipif(packaged_minilm() is None, reason="needs the extra [minilm]")

WORDS = ["small old red quiet tall", "boat dog train child cat", "sees leaves finds follows", "harbour house river garden"]
SENTENCES = [f"the {a} {b} {c} the {d}." for a, b, c, d in itertools.product(*map(str.split, WORDS))]
TOKEN = "hf_" + "0123456789abcdef" * 2
ENV = os.environ | dict(OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT/"tests")]))
MOVING = ("runtime", "per_second")  # metrics that differ from run to run


# the small world

@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "A folder with texts, a tiny T5, a tiny GPT-2 and a tiny untrained embedder"
    from transformers import AutoTokenizer, BertConfig
    folder = tmp_path_factory.mktemp("training")
    (folder/"texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    make_backbone(folder/"t5", SENTENCES, vocab_size=90, d_model=32, d_ff=64, num_heads=2)
    shutil.copytree(folder/"t5", folder/"gpt2")
    sizes = dict(model_type="gpt2", vocab_size=90, n_embd=32, n_layer=1, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1)
    (folder/"gpt2"/"config.json").write_text(json.dumps(sizes), encoding="utf-8")
    with quiet(): tokenizer = AutoTokenizer.from_pretrained(packaged_minilm())
    tokenizer.save_pretrained(folder/"bert")
    sizes = dict(hidden_size=16, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16)
    BertConfig(vocab_size=len(tokenizer), **sizes).save_pretrained(folder/"bert")
    return folder


def command(place: Path, out: Path, **changes) -> list[str]:
    "The published command with every flag it has, its sizes scaled down; and `changes`, where None takes a flag away"
    published = dict(
        per_device_train_batch_size=32, per_device_eval_batch_size=64, max_seq_length=16, model_name_or_path=place/"t5",
        dataset_name=place/"texts.txt", embedder_model_name="all-MiniLM-L6-v2", num_repeat_tokens=4, embedder_no_grad=True,
        num_train_epochs=5, max_eval_samples=16, eval_steps=40, warmup_steps=5, bf16=0, use_wandb=0, use_frozen_embeddings_as_input=True,
        experiment="inversion", lr_scheduler_type="constant_with_warmup", exp_group_name="oct-gtr", learning_rate=.003, output_dir=out,
        save_steps=10)
    local = dict(fresh_backbone=True, held_out=.1, cache_dir=place/"cache", use_cpu=True, logging_steps=1)
    flags = published | local | changes
    return [part for name, value in flags.items() if value is not None for part in (f"--{name}", str(value))]


def short(place: Path, out: Path, **changes) -> list[str]:
    "The command for a run of two steps on 48 texts and an untrained embedder, 16 wide"
    few = dict(embedder_model_name="bert__random_init", embedder_folder=place/"bert", max_steps=2, use_less_data=48, max_eval_samples=6,
               eval_steps=2, per_device_train_batch_size=16, disable_tqdm=True)
    return command(place, out, **few | changes)


def trainer_for(argv: list[str]): return make_trainer(Experiment(*parse_flags(argv)))


def silent(argv: list[str]) -> dict:
    "What `run_training` returns, and nothing printed"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): return R.run_training(argv)


@pytest.fixture(scope="module", autouse=True)
def load_once():
    "Within this process every embedder is loaded once"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(R, "load_embedder", functools.cache(load_embedder))
        yield


@pytest.fixture(scope="module")
def hypothesizer(place):
    "An unbroken run of the first command"
    silent(command(place, place/"hypothesizer"))
    return place/"hypothesizer"


def second(place: Path) -> dict: return dict(experiment="corrector", corrector_model_alias=place/"hypothesizer")


@pytest.fixture(scope="module")
def corrector(place, hypothesizer):
    "An unbroken run of the second command"
    silent(command(place, place/"corrector", **second(place)))
    return place/"corrector"


def record(out: Path) -> dict: return json.loads((out/"training.json").read_text(encoding="utf-8"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def check_same_end(out: Path, unbroken: Path):
    "The two runs logged the same losses and metrics at every step and left the same weights"
    def steady(scores): return {k: v for k, v in scores.items() if not k.endswith(MOVING)}
    a, b = record(out), record(unbroken)
    assert a["steps"] == b["steps"] and a["losses"] == b["losses"]
    assert steady(a["metrics"]) == steady(b["metrics"])
    assert [steady(e) for e in a["evaluations"]] == [steady(e) for e in b["evaluations"]]
    mine, theirs = (load_file(folder/"model.safetensors") for folder in (out, unbroken))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


# processes

@pytest.fixture(scope="module")
def fork():
    "Starts processes that are forked from one in which torch and transformers are imported already"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_training", "nltk.tokenize.destructive"])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "PYTHONPATH"): patch.setenv(name, ENV[name])
        started = []

        def start(function, *args):
            started.append(context.Process(target=function, args=args))
            started[-1].start()
            return started[-1]
        yield start
        for process in started:
            if process.is_alive(): process.kill()
            process.join()


def run_command(argv: list[str], log: Path, env: dict):
    "In a process of its own: the command, what it prints in `log`"
    with open(log, "ab") as f: os.dup2(f.fileno(), 1), os.dup2(f.fileno(), 2)
    os.environ.update(env)
    torch.set_num_threads(1)
    sys.exit(main(argv))


def wait_for(file: Path, running, seconds: float = 200):
    "Until the file is there. Fails if the process ends before, or after so many seconds."
    end = time.monotonic() + seconds
    while not file.exists():
        assert running() and time.monotonic() < end, f"{file.name} did not appear"
        time.sleep(.002)


def losses_printed(log: Path) -> int: return log.read_text(encoding="utf-8").count("'loss': ")


def test_a_killed_hypothesizer_goes_on_to_the_same_end(place, hypothesizer, tmp_path, fork):
    argv = [sys.executable, "-m", "vec2text_nb.run", *command(place, tmp_path/"out")]
    with open(tmp_path/"killed.log", "wb") as log, subprocess.Popen(argv, cwd=ROOT, env=ENV, stdout=log, stderr=log) as process:
        try: wait_for(tmp_path/"out"/"checkpoint-20"/"trainer_state.json", lambda: process.poll() is None)    # 10 is whole, 20 perhaps
        finally: process.kill()
    assert process.returncode == -signal.SIGKILL, (tmp_path/"killed.log").read_text(encoding="utf-8")
    assert not (tmp_path/"out"/"training.json").exists()
    again = fork(run_command, argv[3:], tmp_path/"again.log", {}); again.join()
    assert again.exitcode == 0, (tmp_path/"again.log").read_text(encoding="utf-8")
    assert 0 < losses_printed(tmp_path/"again.log") <= record(hypothesizer)["steps"] - 10
    check_same_end(tmp_path/"out", hypothesizer)


def test_a_killed_corrector_goes_on_to_the_same_end(place, corrector, tmp_path, fork):
    argv, out = command(place, tmp_path/"out", **second(place)), tmp_path/"out"
    process = fork(run_command, argv, tmp_path/"killed.log", {})
    wait_for(out/"checkpoint-30"/"trainer_state.json", process.is_alive)
    process.kill(); process.join()
    assert process.exitcode == -signal.SIGKILL and not (out/"training.json").exists()
    process = fork(run_command, argv, tmp_path/"again.log", {}); process.join()
    assert process.exitcode == 0, (tmp_path/"again.log").read_text(encoding="utf-8")
    assert 0 < losses_printed(tmp_path/"again.log") <= record(corrector)["steps"] - 20                            # 30 was perhaps not whole
    check_same_end(out, corrector)


def test_the_corrector_is_better_than_its_hypothesizer(place, hypothesizer, corrector):
    first, then = record(hypothesizer)["metrics"], record(corrector)["metrics"]
    assert then["eval_texts_loss"] < first["eval_texts_loss"] < 1
    assert then["eval_texts_token_set_f1"] > first["eval_texts_token_set_f1"]
    both = load_corrector(str(hypothesizer), str(corrector))
    texts = SENTENCES[::40]
    found = [both.invert(both.embedder.encode(texts), steps).texts for steps in (0, 3)]
    assert sum(a == b for a, b in zip(found[1], texts)) > sum(a == b for a, b in zip(found[0], texts))


# two processes

def test_two_processes_train_as_one_does(place, hypothesizer, tmp_path):
    "Sixteen rows each for thirty-two of one, started with torchrun"
    use_cpu = True if torch.accelerator.is_available() else None  # it goes without saying where there is nothing else
    argv = command(place, tmp_path/"out", per_device_train_batch_size=16, max_steps=20, eval_steps=20, mock_embedder=True, use_cpu=use_cpu)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vec2text_nb.run", *argv]
    done = subprocess.run(launch, cwd=ROOT, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    two, one = record(tmp_path/"out")["losses"], record(hypothesizer)["losses"][:20]
    assert [step for step, _ in two] == [step for step, _ in one] == [*range(1, 21)]
    assert max(abs(a - b) for (_, a), (_, b) in zip(two, one)) < 1e-3
    assert one[-1][1] < one[0][1] - 1


def test_two_processes_precompute_and_accumulate_as_one_does(place, hypothesizer, tmp_path, fork):
    "A corrector whose steps are accumulated from two pieces; both processes start with an empty cache"
    def argv(name, size):
        return command(place, tmp_path/name, **second(place), cache_dir=tmp_path/f"{name}-cache", gradient_accumulation_steps=2,
                       use_less_data=96, per_device_train_batch_size=size, max_steps=9, eval_steps=9, mock_embedder=True)
    silent(argv("one", 16))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    world = dict(WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    ranks = [fork(run_command, argv("two", 8), tmp_path/f"{r}.log", world | dict(RANK=r, LOCAL_RANK=r)) for r in "01"]
    for rank in ranks: rank.join()
    assert [rank.exitcode for rank in ranks] == [0, 0], "".join((tmp_path/f"{r}.log").read_text(encoding="utf-8") for r in "01")
    one, two = record(tmp_path/"one"), record(tmp_path/"two")
    assert [step for step, _ in two["losses"]] == [step for step, _ in one["losses"]] == [*range(1, 10)]
    assert max(abs(a - b) for (_, a), (_, b) in zip(two["losses"], one["losses"])) < 1e-3
    assert abs(two["metrics"]["eval_texts_loss"] - one["metrics"]["eval_texts_loss"]) < 1e-3
    assert files_of(tmp_path/"two-cache") == files_of(tmp_path/"one-cache") and len(files_of(tmp_path/"one-cache")) == 10


# stores

SHARD = dict(shard_size=5, progress=False)


def on_lines(act):
    "Call `act` before each line that is executed in the modules of stores, of files and of training"
    def local(frame, event, arg):
        if event == "line": act()
        return local
    traced = (stores.__file__, utilities.__file__, training.__file__)
    sys.settrace(lambda frame, event, arg: local if frame.f_code.co_filename in traced else None)


def children(*functions) -> list[int]:
    "Forks a process for each function; their exit codes, minus the signal where one killed it"
    pids = []
    for function in functions:
        if (pid := os.fork()) == 0:
            code = 1
            with contextlib.suppress(Exception): function(); code = 0
            os._exit(code)
        pids.append(pid)
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def killed_after(lines: int, function):
    count = itertools.count(1)
    on_lines(lambda: next(count) == lines and os.kill(os.getpid(), signal.SIGKILL))
    function()


def precompute_and_kill(place: Path, root: Path):
    "In a process of its own: fill both stores unbroken, then killed at five random lines and resumed, then by two processes"
    torch.set_num_threads(1)
    embedder, rng, codes = load_embedder("all-MiniLM-L6-v2", device="cpu"), np.random.default_rng(0), {}
    model = InversionModel.from_pretrained(place/"hypothesizer", device="cpu").eval()
    models = Corrector(model, None, embedder, load_tokenizer(place/"hypothesizer"))
    texts = SENTENCES[::10]
    pairs = Pairs(texts, tokenize(texts, models.tokenizer, 16)[0], embedder.encode(texts).numpy(), key=dict(of="these texts"))

    def embed(to, **share): embed_texts(texts, embedder, root/to, **SHARD, **share)
    def guess(to, **share): store_hypotheses(pairs, models, root/to, **SHARD, **share)
    for name, fill in dict(embeddings=embed, hypotheses=guess).items():
        lines = []
        on_lines(lambda: lines.append(1))  # noqa: B023
        fill("unbroken")
        sys.settrace(None)
        steps = np.diff(np.sort(rng.choice(len(lines) - 1, 5, replace=False)) + 1, prepend=0)
        killed = [children(lambda: killed_after(n, lambda: fill("killed")))[0] for n in steps]  # noqa: B023
        codes[name] = [killed, children(lambda: fill("killed")), children(*(lambda r=r: fill("two", rank=r, world=2) for r in (0, 1)))]  # noqa: B023
    (root/"codes.json").write_text(json.dumps(codes), encoding="utf-8")


def test_killed_precomputation_resumes_to_the_same_bytes(place, hypothesizer, tmp_path, fork):
    process = fork(precompute_and_kill, place, tmp_path)
    process.join()
    assert process.exitcode == 0
    kills = [[-signal.SIGKILL]*5, [0], [0, 0]]
    assert json.loads((tmp_path/"codes.json").read_text(encoding="utf-8")) == dict(embeddings=kills, hypotheses=kills)
    unbroken = files_of(tmp_path/"unbroken")
    assert len(unbroken) == 3*8 + 2
    for name in ("killed", "two"):      # a kill may leave a file that was not renamed yet
        assert {k: v for k, v in files_of(tmp_path/name).items() if not k.endswith(".part")} == unbroken


# bad input

def refused(capsys, argv: list[str], *words: str) -> str:
    "The one line on the error stream of a command that ends with 2; it holds these words"
    capsys.readouterr()
    assert main(argv) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("v2t-train: ") and "Traceback" not in lines[0], lines
    assert not [word for word in words if word not in lines[0]], lines[0]
    return lines[0]


def wrong_rows(vectors, **changes):
    vectors = vectors.copy()
    for row, value in changes.items(): vectors[int(row[1:])] = value
    return vectors


BAD_TEXTS = {
    "an empty file": ("texts.txt", "", {}, ["is empty"]),
    "only spaces": ("texts.txt", "  \n\t\n \n", {}, ["no text to use", "only spaces"]),
    "a missing column": ("texts.csv", "id,body\n1,a small boat\n", dict(text_column="text"), ["no column 'text'", "'id', 'body'"]),
    "a broken line": ("texts.jsonl", '{"text": "a small boat"}\n{"text": \n', {}, ["line 2", "not valid JSON"]),
    "no file": (None, None, {}, ["no source or file"]),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_bad_texts_are_refused(place, tmp_path, capsys, name):
    file, content, flags, words = BAD_TEXTS[name]
    if file: (tmp_path/file).write_text(content, encoding="utf-8")
    argv = short(place, tmp_path/"out", dataset_name=tmp_path/(file or "none.txt"), use_less_data=None, cache_dir=tmp_path/"cache", **flags)
    refused(capsys, argv, *words)
    assert not (tmp_path/"cache").exists()


def test_a_refused_run_leaves_the_folder_free(place, tmp_path, capsys):
    "Started again with the right column, it runs"
    (tmp_path/"texts.csv").write_text("body\n" + "\n".join(SENTENCES[:60]), encoding="utf-8")
    flags = dict(dataset_name=tmp_path/"texts.csv", cache_dir=tmp_path/"cache", use_less_data=None)
    refused(capsys, short(place, tmp_path/"out", **flags), "no column 'text'", "'body'")
    assert main(short(place, tmp_path/"out", **flags, text_column="body")) == 0, capsys.readouterr().err


VECTORS = np.random.default_rng(0).standard_normal((len(SENTENCES), 16)).astype(np.float32)
BAD_VECTORS = {
    "the wrong width": (VECTORS[:, :7], ["7", "16"]),
    "NaN": (wrong_rows(VECTORS, _40=np.nan), ["NaN", "row 40"]),
    "zeros": (wrong_rows(VECTORS, _300=0), ["only zeros", "row 300"]),
    "the wrong number": (VECTORS[:-1], ["399 vectors for 400 texts"]),
    "whole numbers": ((VECTORS*100).astype(np.int8), ["int8"]),
    "one flat row": (VECTORS.reshape(-1)[:len(SENTENCES)], ["shape (1, 400)"]),
    "pickles": (np.array([None]*len(SENTENCES)), ["own.npy"]),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
def test_bad_vectors_are_refused(place, tmp_path, capsys, name):
    vectors, words = BAD_VECTORS[name]
    np.save(tmp_path/"own.npy", vectors, allow_pickle=True)
    flags = dict(embeddings_path=tmp_path/"own.npy", use_less_data=None, cache_dir=tmp_path/"cache")
    refused(capsys, short(place, tmp_path/"out", **flags, eval_strategy="no"), *words)
    assert {*files_of(tmp_path)} <= {"own.npy", "out/run.json"}


def test_no_vectors_are_refused(place, tmp_path, capsys):
    argv = short(place, tmp_path/"out", embeddings_path=tmp_path/"own.npy", use_less_data=None)
    refused(capsys, argv, "There is no file", "own.npy")
    (tmp_path/"own.npy").write_bytes(b"")
    refused(capsys, argv, "own.npy")
    (tmp_path/"own.npy").write_text("no array at all, but some text", encoding="utf-8")
    refused(capsys, argv, "own.npy")


def test_other_folders_are_left_alone(place, hypothesizer, tmp_path, capsys):
    before = files_of(hypothesizer)
    refused(capsys, command(place, hypothesizer, learning_rate=.1), "another run", "learning_rate 0.003 there, 0.1 here", "--output_dir")
    refused(capsys, command(place, hypothesizer, **second(place)), "folder of another run")
    assert files_of(hypothesizer) == before
    (tmp_path/"thesis.txt").write_text("precious", encoding="utf-8")
    refused(capsys, short(place, tmp_path), "holds other files")
    (tmp_path/"file").write_text("precious", encoding="utf-8")
    refused(capsys, short(place, tmp_path/"file"), "file")
    assert files_of(tmp_path) == {"thesis.txt": b"precious", "file": b"precious"}


def test_parts_that_are_missing(place, hypothesizer, tmp_path, capsys):
    out = tmp_path/"out"
    nobody = dict(embedder_model_name="no_such_embedder", embedder_folder=None)
    refused(capsys, short(place, out, **nobody), "unknown embedder 'no_such_embedder'", "all-MiniLM-L6-v2")
    refused(capsys, short(place, out/"2", model_name_or_path=tmp_path/"no-t5"), "no-t5")
    refused(capsys, short(place, out/"3", fresh_backbone=None), "weights")     # the folder of the tiny T5 has none
    shutil.copytree(hypothesizer, tmp_path/"empty", ignore=shutil.ignore_patterns("*.safetensors", "checkpoint-*", "best"))
    before = files_of(tmp_path/"empty")
    few = dict(use_less_data=48, cache_dir=tmp_path/"cache")
    refused(capsys, command(place, out/"4", experiment="corrector", corrector_model_alias=tmp_path/"empty", **few), "weights", "empty")
    refused(capsys, command(place, out/"5", experiment="corrector", corrector_model_alias="nobodys", **few), "nobodys")
    refused(capsys, command(place, out/"6", **second(place) | few, max_seq_length=12), "--max_seq_length 16", "12")
    refused(capsys, short(place, out/"7", **second(place)), "all-MiniLM-L6-v2", "bert__random_init")
    assert files_of(tmp_path/"empty") == before


@pytest.mark.parametrize("flags", [
    "--no_such_flag 1", "--max_seq_len 16", "--experiment corrector", "--embedder_no_grad False", "--freeze_strategy all",
    "--mock_embedder True", "--learning_rate fast", "--embeddings_path own.npy --use_less_data 5",
    "--max_seq_length 0", "--per_device_train_batch_size 0", "--per_device_eval_batch_size -1", "--max_steps 0", "--num_repeat_tokens 0",
    "--use_less_data 0", "--max_eval_samples -1", "--seed -1", "--num_train_epochs 0", "--embedder_gaussian_noise_level nan",
    "--learning_rate inf", "--no_repeat_ngram_size -1",
    "--no_repeat_ngram_size 2 --experiment corrector --corrector_model_alias all-MiniLM-L6-v2"])
def test_bad_flags_are_refused(capsys, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    refused(capsys, flags.split(), flags.split()[0])
    assert not files_of(tmp_path)


def test_flags_answer_to_the_names_that_other_commands_have():
    here = parse_flags("--dataset a.txt --embedder bert --max_length 16 --batch_size 3 --out o --use_cpu True".split())
    long = "--dataset_name a.txt --embedder_model_name bert --max_seq_length 16 --per_device_train_batch_size 3 --output_dir o"
    assert R.run_key(*here) == R.run_key(*parse_flags([*long.split(), "--use_cpu", "True"])) and here[-1].output_dir == "o"


# what goes wrong is said early

def test_a_run_that_diverges_ends_in_one_line(place, tmp_path, capsys):
    err = refused(capsys, short(place, tmp_path/"out", learning_rate=1e30, warmup_steps=0, max_steps=30, eval_steps=30))
    assert "The loss is" in err and "--learning_rate, such as 1e+29" in err


def test_the_learning_rate_follows_the_size(place, tmp_path, capsys):
    assert main(short(place, tmp_path/"out", learning_rate=None)) == 0
    assert "learning rate 0.001, chosen by the size" in capsys.readouterr().err
    refused(capsys, short(place, tmp_path/"2", learning_rate=-1), "--learning_rate is -1")


def test_one_training_in_a_folder_and_an_interruption(place, tmp_path, capsys, monkeypatch):
    argv = short(place, tmp_path/"out")
    with only_writer(tmp_path/"out"): refused(capsys, argv, "Another process is writing", "out")
    with monkeypatch.context() as patch:
        def stop(*args): raise KeyboardInterrupt
        patch.setattr(R, "make_trainer", stop)
        assert main(argv) == 130
    assert capsys.readouterr().err == "v2t-train: interrupted: run the same command again to resume from the last checkpoint.\n"


@pytest.mark.filterwarnings("default")
def test_texts_to_evaluate_on_that_are_trained_on(place, tmp_path, capsys):
    shutil.copy(place/"texts.txt", tmp_path/"again.txt")
    twice = short(place, tmp_path/"out", val_dataset_names=place/"texts.txt")
    refused(capsys, twice, "have the name 'texts' already", "are among the texts to train on")
    assert main(short(place, tmp_path/"2", val_dataset_names=tmp_path/"again.txt", max_eval_samples=50)) == 0
    assert "among the texts to train on: its scores say nothing about new texts" in capsys.readouterr().err
    (tmp_path/"one.txt").write_text("all the same text\n"*9, encoding="utf-8")
    assert main(short(place, tmp_path/"3", dataset_name=tmp_path/"one.txt")) == 0
    assert "one.txt has no texts for validation" in capsys.readouterr().err


def test_json_is_all_that_is_printed(place, tmp_path, capsys):
    argv = [*short(place, tmp_path/"out"), "--json"]
    found = []
    for _ in range(2):                                    # the second time there is nothing left to do
        assert main(argv) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1] and found[0]["folder"] == str(tmp_path/"out") and found[0]["steps"] == 2
    assert found[0]["loss"] == record(tmp_path/"out")["losses"][-1][1] and "eval_texts_loss" in found[0]["metrics"]


def test_a_folder_that_cannot_be(place, tmp_path, capsys):
    (tmp_path/"file").write_text("mine", encoding="utf-8")
    refused(capsys, short(place, tmp_path/"file"), "is a file, and not the folder of a run")
    refused(capsys, short(place, "/proc/out"), "/proc takes no files")
    assert (tmp_path/"file").read_text(encoding="utf-8") == "mine"


def test_vectors_and_texts_of_different_numbers(place, tmp_path, capsys):
    np.save(tmp_path/"own.npy", np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    argv = short(place, tmp_path/"out", dataset_name=tmp_path/"t.txt", embeddings_path=tmp_path/"own.npy", use_less_data=None)
    (tmp_path/"t.txt").write_text("\n".join(SENTENCES[:41]), encoding="utf-8")
    refused(capsys, argv, "holds 40 vectors for 41 texts")
    (tmp_path/"t.txt").write_text("\n".join([*SENTENCES[:12], "  ", *SENTENCES[12:39]]), encoding="utf-8")
    refused(capsys, argv, "t.txt, line 13 is empty", "own.npy")


# full disks

def steps_of(argv: list[str]) -> list: return record(Path(argv[argv.index("--output_dir") + 1]))["losses"]


@pytest.fixture
def small_disk(tmp_path):
    "A folder on a file system of its own, and a function that sets its size"
    folder = tmp_path/"disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode: pytest.skip(f"a small disk needs root and mount: {done.stderr.strip()}")
    yield folder, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_for_stores(place, small_disk, tmp_path, capsys):
    disk, resize = small_disk
    argv = short(place, tmp_path/"out", cache_dir=disk)
    refused(capsys, argv, "too little room", "nothing was overwritten")
    assert not [*disk.rglob("*.npy")]
    resize("64m")
    assert main(argv) == 0


def test_a_full_disk_for_the_run(place, hypothesizer, small_disk, capsys):
    "The run stops where the disk is full, once at the weights and once at the optimiser, and goes on when there is room"
    disk, resize = small_disk
    argv = command(place, disk/"out", max_steps=12, eval_steps=12, mock_embedder=True, disable_tqdm=True)
    size = (hypothesizer/"model.safetensors").stat().st_size
    for room in (size//2, int(size*1.5)):
        resize(room)
        assert "space" in refused(capsys, argv)
    resize("64m")
    assert main(argv) == 0
    assert steps_of(argv) == record(hypothesizer)["losses"][:12]
    assert not [*disk.rglob("*.part")]


def full_disk(*args, **kwargs): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills_while_vectors_are_computed(place, tmp_path, monkeypatch):
    embedder, texts = load_embedder("bert__random_init", folder=place/"bert", device="cpu"), SENTENCES[:40]
    whole = embed_texts(texts, embedder, tmp_path/"whole", shard_size=8)
    save, count = np.save, itertools.count(1)
    with monkeypatch.context() as m:
        m.setattr(np, "save", lambda *args, **kwargs: (full_disk if next(count) == 3 else save)(*args, **kwargs))
        with pytest.raises(OSError, match="No space left") as err: embed_texts(texts, embedder, tmp_path/"cut", shard_size=8)
    assert "files written before it are complete" in err.value.__notes__[0]
    assert {*files_of(tmp_path/"cut")} == {k for k in files_of(tmp_path/"whole") if not k.endswith(tuple(f"{n}.npy" for n in (2, 3, 4)))}
    embed_texts(texts, embedder, tmp_path/"cut", shard_size=8)
    assert files_of(tmp_path/"cut") == files_of(whole.folder.parent)


def test_a_full_disk_is_one_line(place, tmp_path, monkeypatch, capsys):
    argv = short(place, tmp_path/"out", cache_dir=tmp_path/"cache")
    with monkeypatch.context() as m:
        m.setattr(np, "save", full_disk)
        refused(capsys, argv, "No space left", "free some space")
    with monkeypatch.context() as m:
        m.setattr(os, "fsync", full_disk)
        refused(capsys, argv, "No space left", "free some space")
    with monkeypatch.context() as m:
        m.setattr(torch, "save", full_disk)
        refused(capsys, argv, "No space left")
    assert main(argv) == 0
    assert not [*tmp_path.rglob("*.part")]


# what else the flags do

def test_help_lists_every_flag(capsys):
    with pytest.raises(SystemExit) as end: main(["--help"])
    printed = capsys.readouterr().out
    names = [f.name for cls in (R.ModelArguments, R.DataArguments, R.RunArguments) for f in fields(cls) if f.init]
    assert end.value.code == 0 and len(names) > 100
    assert not [name for name in names if f"--{name} " not in printed and f"--{name}," not in printed and f"--{name}\n" not in printed]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")])
def test_memory_that_runs_out(place, tmp_path, capsys, monkeypatch, error):
    "One line; what it advises works, and so do the same flags when memory is free again"
    from transformers import Trainer
    flags = dict(max_steps=4, eval_strategy="no", save_steps=1, gradient_accumulation_steps=2, init_from_probe=True)
    argv, step, stop_at = short(place, tmp_path/"out", **flags), Trainer.training_step, 1

    def full(self, *args, **kwargs):
        if self.state.global_step == stop_at: raise error
        return step(self, *args, **kwargs)
    monkeypatch.setattr(Trainer, "training_step", full)
    line, last = refused(capsys, argv), tmp_path/"out"/"checkpoint-1"
    assert line == ("v2t-train: cpu ran out of memory with --per_device_train_batch_size 16. Try --per_device_train_batch_size 8 "
                    "--gradient_accumulation_steps 4, a batch of 32 in smaller parts. This is another run: give it another --output_dir, "
                    f"and --init_from_model {last}, in place of any other --init_ flag, to begin with the weights of that step.")
    stop_at, smaller = None, dict(per_device_train_batch_size=8, gradient_accumulation_steps=4)
    refused(capsys, short(place, tmp_path/"out", **flags | smaller), "is the folder of another run", "--output_dir")
    silent(short(place, tmp_path/"new", **flags | smaller | dict(init_from_probe=None, init_from_model=last, max_steps=1)))
    silent(argv)
    assert record(tmp_path/"new")["steps"] == 1 and record(tmp_path/"out")["steps"] == 4


def test_memory_that_runs_out_at_once(place, tmp_path, capsys, monkeypatch):
    "Nothing is there to begin with, and a batch of one is not halved"
    from transformers import Trainer
    def full(*args, **kwargs): raise torch.OutOfMemoryError("CUDA out of memory.")
    monkeypatch.setattr(Trainer, "training_step", full)
    assert "--init_from_model" not in refused(capsys, short(place, tmp_path/"out"), "size 8 --gradient_accumulation_steps 2")
    refused(capsys, short(place, tmp_path/"one", per_device_train_batch_size=1), "with --per_device_train_batch_size 1. A shorter")


def test_no_secret_and_no_pickled_arguments(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    silent(short(place, tmp_path/"out", cache_dir=tmp_path/"cache", hub_token=TOKEN, save_steps=1, per_device_train_batch_size=16))
    files = files_of(tmp_path)
    assert {Path(name).suffix for name in files} == {".json", ".safetensors", ".npy", ".pt", ".pth"}
    assert not [name for name, content in files.items() if TOKEN.encode() in content or "training_args" in name]
    for name in files:
        if name.endswith(".pt"): torch.load(tmp_path/name, weights_only=True)


ABLATIONS = {
    "zeros": dict(embedder_fake_with_zeros=True),
    "zeros and no embedder": dict(embedder_fake_with_zeros=True, use_frozen_embeddings_as_input=False, mock_embedder=True),
    "noise": dict(embedder_gaussian_noise_level=.1),
    "embedded on the fly": dict(use_frozen_embeddings_as_input=False),
    "half precision on disk": dict(embeddings_dtype="float16"),
    "bag of words": dict(experiment="inversion_bow"),
    "decoder only": dict(experiment="inversion_decoder_only", model_name_or_path="gpt2"),
    "from the probe, frozen": dict(init_from_probe=True, freeze_strategy="encoder"),
    "accumulated, with epochs": dict(gradient_accumulation_steps=2, max_steps=None, num_train_epochs=1, eval_strategy="epoch"),
    "no evaluation": dict(eval_strategy="no"),
}
LOADERS = {"bag of words": BagOfWordsInverter, "decoder only": DecoderOnlyInverter}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_run(place, tmp_path, name):
    "From flags to metrics, and back from the folder"
    flags = dict(ABLATIONS[name])
    if "model_name_or_path" in flags: flags["model_name_or_path"] = place/flags["model_name_or_path"]
    metrics = silent(short(place, tmp_path/"out", save_strategy="no", **flags))
    assert 0 < metrics["eval_texts_loss"] < 50 and all(np.isfinite(v) for v in metrics.values())
    assert ("eval_texts_token_set_f1" in metrics) == ("mock_embedder" not in flags)
    model = LOADERS.get(name, InversionModel).from_pretrained(tmp_path/"out", device="cpu")
    assert model.config.embedder_dim == 16


def test_embeddings_replaced_by_zeros(place, tmp_path):
    trainer = trainer_for(short(place, tmp_path/"out", embedder_fake_with_zeros=True, cache_dir=tmp_path/"cache"))
    batch = trainer.train_dataset.collate([0, 7])
    assert batch["embeddings"].shape == (2, 16) and not batch["embeddings"].any() and not (tmp_path/"cache").exists()


def test_noise_is_added_in_training_alone(place, tmp_path):
    trainer = trainer_for(short(place, tmp_path/"out", embedder_gaussian_noise_level=.5))
    batch = trainer.train_dataset.collate(range(4))
    before = batch["embeddings"].clone()
    for mode, equal in [(True, False), (False, True)]:
        trainer.model.train(mode)
        assert (trainer.compute_loss(trainer.model, batch) == trainer.compute_loss(trainer.model, batch)) == equal
    assert torch.equal(batch["embeddings"], before)


@pytest.mark.parametrize("strategy", ["none", "encoder", "decoder", "encoder_and_decoder"])
def test_frozen_parts_stay(place, tmp_path, strategy):
    trainer = trainer_for(short(place, tmp_path/"out", freeze_strategy=strategy, eval_strategy="no", save_strategy="no", weight_decay=.1))
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): trainer.train()
    moved = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    for part in ("encoder", "decoder"):
        assert any(k.startswith(f"encoder_decoder.{part}.block.") for k in moved) == (part not in strategy.split("_"))
    assert any(k.startswith("embedding_transform.") for k in moved)


@pytest.mark.parametrize("off", [(), ("encoder",), ("decoder",), ("encoder", "decoder")])
def test_dropout_is_switched_off_where_asked(place, tmp_path, off):
    shutil.copytree(place/"t5", tmp_path/"t5")
    config = json.loads((tmp_path/"t5"/"config.json").read_text(encoding="utf-8"))
    (tmp_path/"t5"/"config.json").write_text(json.dumps(config | dict(dropout_rate=.3)), encoding="utf-8")
    flags = {f"{part}_dropout_disabled": part in off for part in ("encoder", "decoder")}
    t5 = trainer_for(short(place, tmp_path/"out", model_name_or_path=tmp_path/"t5", **flags)).model.encoder_decoder.train()
    x, ids = torch.randn(2, 4, 32), torch.ones(2, 3, dtype=torch.long)
    with torch.no_grad():
        encoded = [t5.encoder(inputs_embeds=x).last_hidden_state for _ in range(2)]
        decoded = [t5.decoder(ids, encoder_hidden_states=encoded[0]).last_hidden_state for _ in range(2)]
    assert torch.equal(*encoded) == ("encoder" in off) and torch.equal(*decoded) == ("decoder" in off)


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_own_vectors_train(place, tmp_path, kind):
    "Of a width that no embedder here has; each text gets its own row"
    own = np.random.default_rng(1).standard_normal((len(SENTENCES), 9)).astype(np.float32)
    if kind == "npy": np.save(tmp_path/"own.npy", own)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq
        pq.write_table(pa.table(dict(vectors=list(own))), tmp_path/"own.parquet")
    argv = short(place, tmp_path/"out", embeddings_path=tmp_path/f"own.{kind}", embeddings_column="vectors", use_less_data=None,
                 mock_embedder=True, embedder_model_name="not-here", embedder_folder=None, cache_dir=tmp_path/"cache")
    x = Experiment(*parse_flags(argv))
    for role in ("train", "validation"):
        pairs = x.pairs(role)
        assert np.array_equal(pairs.embeddings[np.arange(len(pairs))], own[[SENTENCES.index(text) for text in pairs.texts]])
    assert 0 < silent(argv)["eval_texts_loss"] < 20 and not (tmp_path/"cache").exists()


def test_a_trained_model_is_the_start_of_the_next(place, hypothesizer, corrector, tmp_path, capsys):
    few = dict(use_less_data=48, max_eval_samples=4)
    for first, flags in ((hypothesizer, {}), (hypothesizer, dict(model_name_or_path=hypothesizer)), (corrector, second(place))):
        model = trainer_for(command(place, tmp_path/"next", **few, **flags, init_from_model=first)).model
        own, theirs = model.state_dict(), load_file(first/"model.safetensors")
        assert theirs and all(torch.equal(own[k], theirs[k]) for k in theirs)
    other = dict(init_from_model=hypothesizer, **few)
    make_backbone(tmp_path/"t5", SENTENCES[:9], vocab_size=90, d_model=32, d_ff=64, num_heads=2)
    refused(capsys, command(place, tmp_path/"1", **other, num_repeat_tokens=3), "--init_from_model", "sizes")
    refused(capsys, command(place, tmp_path/"2", **other | dict(model_name_or_path=tmp_path/"t5")), "another tokenizer")
    refused(capsys, command(place, tmp_path/"3", **other, init_from_probe=True), "--init_from_probe", "at most one")
    refused(capsys, command(place, tmp_path/"4", **other | dict(init_from_model=corrector)), "no checkpoint of InversionModel")


def test_a_corrector_decodes_as_its_hypothesizer(place, hypothesizer, tmp_path):
    assert trainer_for(short(place, tmp_path/"1", no_repeat_ngram_size=3)).model.config.no_repeat_ngram_size == 3
    shutil.copytree(hypothesizer, tmp_path/"without")
    config = json.loads((hypothesizer/"config.json").read_text(encoding="utf-8"))
    (tmp_path/"without"/"config.json").write_text(json.dumps(config | dict(no_repeat_ngram_size=1)), encoding="utf-8")

    def hypotheses(name, source):
        few = dict(use_less_data=48, max_eval_samples=4)
        trainer = trainer_for(command(place, tmp_path/name, **second(place) | dict(corrector_model_alias=source), **few))
        return trainer, [[i for i in row if i] for row in trainer.train_dataset.hypothesis_ids[np.arange(48)].tolist()]
    with_loops, without = hypotheses("2", hypothesizer), hypotheses("3", tmp_path/"without")
    assert [t.model.config.no_repeat_ngram_size for t, _ in (with_loops, without)] == [0, 1]
    assert without[0].corrector.no_repeat_ngram_size == 1
    twice = [sum(len(row) > len({*row}) for row in rows) for _, rows in (with_loops, without)]   # every sentence has "the" twice
    assert twice[0] > 40 and twice[1] == 0


def test_a_corrector_without_feedback(place, hypothesizer, tmp_path):
    few = dict(use_less_data=48, max_steps=2, max_eval_samples=4, eval_steps=2, cache_dir=tmp_path/"cache")
    silent(command(place, tmp_path/"out", **second(place), corrector_ignore_hypothesis_embedding=True, **few))
    model = CorrectorEncoderModel.from_pretrained(tmp_path/"out", device="cpu").eval()
    ids, labels, (e, a, b) = torch.tensor([[0, 5, 6]]), torch.tensor([[7, 8, 1]]), torch.randn(3, 1, 384)
    given = dict(embeddings=e, hypothesis_ids=ids, labels=labels)
    with torch.no_grad(): one, two = (model(**given, hypothesis_embeddings=h).logits for h in (a, b))
    assert model.config.corrector_ignore_hypothesis_embedding and torch.equal(one, two)


def test_a_corrector_wired_to_copy(place, hypothesizer, tmp_path, capsys):
    "It is trained, found again and gone on with, and half of its hypotheses are nearly right"
    few = dict(use_less_data=48, max_steps=2, max_eval_samples=4, eval_steps=2, cache_dir=tmp_path/"cache")
    wired = second(place) | few | dict(copy_heads=2, corrupted_hypotheses=.5)
    assert silent(command(place, tmp_path/"1", **wired, init_from_hypothesizer=True))["eval_texts_loss"] > 0
    models = load_corrector(hypothesizer, tmp_path/"1", device="cpu")
    narrow, wide = (m.encoder_decoder.config.num_heads for m in (models.inversion_model, models.corrector_model))
    assert wide == narrow+2
    trainer = trainer_for(command(place, tmp_path/"2", **wired, init_from_model=tmp_path/"1"))
    own, theirs = trainer.model.state_dict(), load_file(tmp_path/"1"/"model.safetensors")
    assert theirs and all(torch.equal(own[k], theirs[k]) for k in theirs)
    plain = trainer_for(command(place, tmp_path/"3", **second(place) | few)).train_dataset
    same = (plain.hypothesis_ids[np.arange(48)] == trainer.train_dataset.hypothesis_ids[np.arange(48)]).all(1)
    assert .2 < same.mean() < .8
    refused(capsys, command(place, tmp_path/"4", **wired | dict(copy_heads=1), init_from_model=tmp_path/"1"), "--init_from_model", "sizes")


def test_a_second_round_starts_from_better_hypotheses(place, hypothesizer, corrector, tmp_path):
    few = dict(use_less_data=48, max_steps=2, max_eval_samples=4, eval_steps=2, cache_dir=tmp_path/"cache")
    again = dict(hypothesis_steps=2, hypothesis_corrector=corrector, init_from_hypothesizer=True)

    def closeness(argv):
        pairs = trainer_for(argv).train_dataset
        rows = np.arange(len(pairs))
        return (pairs.embeddings[rows]*pairs.hypothesis_embeddings[rows]).sum(1).mean()
    first, further = command(place, tmp_path/"1", **second(place), **few), command(place, tmp_path/"2", **second(place), **few, **again)
    assert closeness(further) > closeness(first) + .01
    assert silent(further)["eval_texts_loss"] > 0


def test_a_best_model_that_a_kill_left_aside_is_found(tmp_path):
    "Whole if it says how good it is, which is written last"
    trainer = SimpleNamespace(args=SimpleNamespace(output_dir=str(tmp_path), should_save=True))
    (tmp_path/"best.part").mkdir()
    assert not training.best_folder(trainer).exists()
    (tmp_path/"best.part"/"best.json").write_text('{"loss": 1}', encoding="utf-8")
    assert training.best_folder(trainer).exists() and not (tmp_path/"best.part").exists()
