"Publishing and aliases: what arrives in a folder and at a hub on the loopback, what never leaves, and what is refused"
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from golden import GOLDEN
from hub_server import SHA, Server
from project import ROOT
from safetensors.torch import load_file
from transformers import AutoTokenizer

from vec2text_nb import cli, load_corrector, load_pretrained_corrector, pretrained
from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.hypothesizer import InversionConfig, InversionModel, t5_architecture
from vec2text_nb.inversion import Corrector
from vec2text_nb.pretrained import alias_file, find_checkpoint, model_digest, read_aliases, register_alias, save_corrector
from vec2text_nb.publishing import publish, push_to_hub

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
TOKEN = "hf_" + "0123456789abcdef" * 2
PAIR_FILES = {"README.md", *(f"{part}/{name}" for part in ("hypothesizer", "corrector")
                             for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"))}


def tiny(cls, **config):
    torch.manual_seed(1)
    backbone = t5_architecture(json.loads((GOLDEN/"backbone"/"config.json").read_text(encoding="utf-8")))
    return cls(InversionConfig(**dict(backbone=backbone, embedder_dim=384, embedder_model_name="all-MiniLM-L6-v2", num_repeat_tokens=2,
                                      max_seq_length=8) | config)).eval()


@pytest.fixture
def tokenizer(): return AutoTokenizer.from_pretrained(GOLDEN/"backbone")


@pytest.fixture
def pair(tokenizer): return Corrector(tiny(InversionModel), tiny(CorrectorEncoderModel), None, tokenizer)


@pytest.fixture
def saved(tmp_path, pair):
    "A pair in a folder, as a training may leave it: with secrets and paths of its own in the configs, and other files beside"
    save_corrector(pair, tmp_path/"saved")
    for part in ("hypothesizer", "corrector"):
        add(tmp_path/"saved"/part/"config.json", hub_token=TOKEN, push_to_hub_token=TOKEN, wandb_api_key="0" * 40, learning_rate=1e-3,
            output_dir=str(tmp_path/"out"), model_name_or_path=str(tmp_path/"t5-tiny"))
        add(tmp_path/"saved"/part/"tokenizer_config.json", name_or_path=str(tmp_path/"t5-tiny"), token=TOKEN)
        (tmp_path/"saved"/part/"optimizer.pt").write_bytes(b"state")
    (tmp_path/"saved"/"train.log").write_text("epoch 1", encoding="utf-8")
    return tmp_path/"saved"


def add(file: Path, **values): file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def texts_of(corrector) -> list[str]:
    vectors = torch.nn.functional.normalize(torch.randn(3, 384, generator=torch.Generator().manual_seed(0)), dim=1)
    return corrector.invert(vectors, 1, 2).texts


def results_for(corrector, **changes) -> dict:
    scores = {"bleu": {"mean": 12.345, "sem": .678}, "exact_match": {"mean": .25, "sem": .05}}
    return {"n": 1000, "seed": 0, "date": "2026-11-20", "data": "WordNet, test split", "command": "python evaluate.py --n 1000",
            "model_digest": model_digest(corrector), "runs": [{"setting": "5 steps, beam 4", "scores": scores}]} | changes


def files_of(folder: Path) -> dict[str, bytes]:
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def check_tree(files: dict[str, bytes], folder: Path):
    "Nothing secret and nothing of this machine is in any file"
    for name, data in files.items():
        for what in (TOKEN, '"token":', "hub_token", "api_key", "output_dir", "learning_rate", str(folder), str(Path.home()) + "/"):
            assert what.encode() not in data, f"{name}: {what}"


# into a folder

def test_a_pair_round_trips(saved, pair, tmp_path):
    record = tmp_path/"results.json"
    record.write_text(json.dumps(results_for(pair)), encoding="utf-8")
    done = publish(saved, tmp_path/"new"/"out", results=record, license="mit", datasets=["ms_marco"], description="Trained on bread.")
    out = tmp_path/"new"/"out"
    files = files_of(out)
    assert files.keys() == PAIR_FILES == done.files.keys() and {k: len(v) for k, v in files.items()} == done.files
    check_tree(files, tmp_path)
    assert set(done.left_out) == {"train.log", "hypothesizer/optimizer.pt", "corrector/optimizer.pt"} and done.url is None
    config = json.loads(files["hypothesizer/config.json"])
    assert config.keys() <= {*InversionConfig.__annotations__, "architectures", "dtype", "model_type", "transformers_version"}
    assert config["model_name_or_path"] == "t5-tiny" and config["embedder_model_name"] == "all-MiniLM-L6-v2"
    again = load_corrector(out, device="cpu")
    by_hand = load_corrector(pair.inversion_model, pair.corrector_model, tokenizer=pair.tokenizer, device="cpu")
    assert model_digest(again) == model_digest(pair) == done.digest and texts_of(again) == texts_of(by_hand)
    assert not [f for f in out.parent.iterdir() if f != out]                              # nothing temporary is left
    assert not (out/"hypothesizer"/"model.safetensors").stat().st_mode & 0o033            # others may read, and no more
    assert (out/"hypothesizer"/"model.safetensors").stat().st_mode & 0o044 == 0o044 and out.stat().st_mode & 0o055 == 0o055


def test_the_card(saved, pair, tmp_path):
    publish(saved, tmp_path/"out", results=results_for(pair), license="mit", datasets=["ms_marco"], description="Trained on bread.")
    _, head, text = (tmp_path/"out"/"README.md").read_text(encoding="utf-8").split("---\n", 2)
    meta = yaml.safe_load(head)
    assert (meta["license"], meta["library_name"], meta["datasets"]) == ("mit", "vec2text_nb", ["ms_marco"])
    assert meta["embedder"] == "sentence-transformers/all-MiniLM-L6-v2" and "embedding-inversion" in meta["tags"]
    for part in ["load_corrector('out')", "Trained on bread.", "| 5 steps, beam 4 | 1,000 | 12.3 ± 0.7 | 25.0 ± 5.0 |", model_digest(pair),
                 "measured on 2026-11-20", "python evaluate.py --n 1000"]: assert part in text
    assert "not run" not in text
    publish(saved, tmp_path/"bare")
    bare = (tmp_path/"bare"/"README.md").read_text(encoding="utf-8")
    assert "| held-out texts | not run | not run | not run | not run | not run |" in bare and "license: unknown" in bare and "±" not in bare


def test_one_checkpoint_lies_at_the_top(saved, pair, tmp_path):
    publish(saved/"hypothesizer", tmp_path/"h")
    publish(saved/"corrector", tmp_path/"c")
    assert files_of(tmp_path/"h").keys() == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert load_corrector(tmp_path/"h", device="cpu").corrector_model is None
    assert model_digest(load_corrector(tmp_path/"h", tmp_path/"c", device="cpu")) == model_digest(pair)
    assert "load_corrector('THE/HYPOTHESIZER', 'c')" in (tmp_path/"c"/"README.md").read_text(encoding="utf-8")


def test_half_precision_stays(pair, tmp_path):
    save_corrector(pair, tmp_path/"half", dtype=torch.bfloat16)
    publish(tmp_path/"half", tmp_path/"out")
    weights = load_file(tmp_path/"out"/"hypothesizer"/"model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.bfloat16}
    before = load_file(tmp_path/"half"/"hypothesizer"/"model.safetensors")
    assert all(torch.equal(before[k], w) for k, w in weights.items())


def test_push_from_memory(pair, tmp_path):
    "The given models are not touched, and their dtype is that of the files"
    half = Corrector(tiny(InversionModel).half(), tiny(CorrectorEncoderModel).half(), None, pair.tokenizer)
    push_to_hub(half, tmp_path/"half")
    assert half.inversion_model.dtype == torch.float16
    assert load_file(tmp_path/"half"/"corrector"/"model.safetensors")["layernorm.weight"].dtype == torch.float16
    push_to_hub(pair.inversion_model, tmp_path/"one", tokenizer=pair.tokenizer)
    assert model_digest(load_corrector(tmp_path/"one", device="cpu")) == model_digest(Corrector(pair.inversion_model, None, None, None))
    alone = Corrector(pair.inversion_model, None, None, pair.tokenizer)
    push_to_hub(alone, tmp_path/"alone")
    assert load_corrector(tmp_path/"alone", device="cpu").corrector_model is None


def test_an_embedder_that_is_a_folder_needs_a_name(pair, tmp_path):
    for model in (pair.inversion_model, pair.corrector_model): model.config.embedder_model_name = str(tmp_path/"minilm")
    with pytest.raises(ValueError, match="give its public name with embedder="): push_to_hub(pair, tmp_path/"out")
    assert not (tmp_path/"out").exists()
    push_to_hub(pair, tmp_path/"out", embedder="all-MiniLM-L6-v2")
    assert json.loads((tmp_path/"out"/"corrector"/"config.json").read_text(encoding="utf-8"))["embedder_model_name"] == "all-MiniLM-L6-v2"


def test_a_published_layout_needs_its_backbone(tmp_path):
    "Config without architecture, no tokenizer: with backbone= both are written into the publication"
    source = tmp_path/"published"
    shutil.copytree(GOLDEN/"inverter", source)
    publish(source, tmp_path/"out", backbone=str(GOLDEN/"backbone"), embedder="gtr_base")
    again = InversionModel.from_pretrained(tmp_path/"out")
    plain = InversionModel.from_pretrained(source, backbone=str(GOLDEN/"backbone"))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in plain.state_dict().items()) and (tmp_path/"out"/"tokenizer.json").exists()


# what is refused

def damage(folder: Path, how: str):
    weights = folder/"corrector"/"model.safetensors"
    if how == "no weights": weights.unlink()
    if how == "pickled weights": torch.save(load_file(weights), weights.with_name("pytorch_model.bin")), weights.unlink()
    if how == "pickled arguments": (folder/"training_args.bin").write_bytes(b"pickle")
    if how == "cut": weights.write_bytes(weights.read_bytes()[:-1000])
    if how == "no config": (folder/"corrector"/"config.json").unlink()
    if how == "broken config": (folder/"corrector"/"config.json").write_text("{", encoding="utf-8")
    if how == "two of a kind": shutil.rmtree(folder/"corrector"), shutil.copytree(folder/"hypothesizer", folder/"corrector")
    if how == "foreign": add(folder/"corrector"/"config.json", architectures=["BertModel"])


@pytest.mark.parametrize("how, error, says", [
    ("no weights", FileNotFoundError, "holds no weights"), ("pickled weights", ValueError, "pytorch_model.bin. Publish safetensors"),
    ("pickled arguments", ValueError, "holds pickles.*training_args.bin"), ("cut", ValueError, "model.safetensors is damaged"),
    ("no config", FileNotFoundError, "config.json"), ("broken config", ValueError, "config.json is not JSON"),
    ("two of a kind", ValueError, "two models of the same kind"),
    ("foreign", ValueError, "expected one of InversionModel, CorrectorEncoderModel"),
])
def test_a_bad_folder_is_refused(how, error, says, saved, tmp_path):
    damage(saved, how)
    with pytest.raises(error, match=says) as raised: publish(saved, tmp_path/"out")
    assert "\n" not in str(raised.value) and [f.name for f in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights_are_refused(value, pair, tmp_path):
    with torch.no_grad(): pair.corrector_model.layernorm.bias[3] = value
    save_corrector(pair, tmp_path/"saved")
    with pytest.raises(ValueError, match="NaN or infinity, in layernorm.bias"): publish(tmp_path/"saved", tmp_path/"out")
    with pytest.raises(ValueError, match="NaN or infinity, in layernorm.bias"): push_to_hub(pair, tmp_path/"out")


def test_models_that_do_not_belong_together_are_refused(tmp_path, tokenizer):
    with pytest.raises(ValueError, match="embedding width 384, the corrector 8"):
        push_to_hub(Corrector(tiny(InversionModel), tiny(CorrectorEncoderModel, embedder_dim=8), None, tokenizer), tmp_path/"out")


@pytest.mark.parametrize("changes, says", [
    ({"model_digest": "0" * 16}, "these are scores of the weights 0000000000000000"),
    ({"runs": []}, "expected an object with a list 'runs'"),
    ({"n": None}, "n is None"), ({"runs": [{"setting": "a", "scores": {"bleu": {"mean": 1.}}}]}, "the standard error"),
    ({"runs": [{"setting": "a", "scores": {"bleu": {"mean": float("nan"), "sem": 0.}}}]}, "the standard error"),
    ({"runs": [{"scores": {}}]}, "no 'setting'"), ({"runs": ["a"]}, "no 'setting'"),
    ({"command": "python evaluate.py /scratch/me/saves"}, "README.md would name a path on this machine, '/scratch/me'"),
    ({"command": f"HF_TOKEN={TOKEN} python evaluate.py"}, "README.md would hold a token"),
])
def test_results_that_cannot_stand(changes, says, pair, tmp_path):
    with pytest.raises(ValueError, match=says) as raised: push_to_hub(pair, tmp_path/"out", results=results_for(pair, **changes))
    assert TOKEN not in str(raised.value) and not list(tmp_path.iterdir())


def test_a_secret_of_the_environment_is_found(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SERVICE_KEY", "correct-horse-battery")
    with pytest.raises(ValueError, match="would hold a token or a key"):
        push_to_hub(pair, tmp_path/"out", description="correct-horse-battery")


def test_a_folder_that_holds_something_is_left_alone(saved, tmp_path):
    (tmp_path/"empty").mkdir()
    publish(saved, tmp_path/"empty")
    before = files_of(tmp_path/"empty")
    with pytest.raises(FileExistsError, match="choose another folder"): publish(saved, tmp_path/"empty")
    (tmp_path/"file").touch()
    with pytest.raises(FileExistsError, match="choose another folder"): publish(saved, tmp_path/"file")
    assert files_of(tmp_path/"empty") == before


def test_a_failure_leaves_nothing(saved, tmp_path, monkeypatch):
    "A disk that is full when the card is written, say"
    def full(*args): raise OSError(28, "No space left on device")
    monkeypatch.setattr("vec2text_nb.publishing.refuse_leaks", full)
    with pytest.raises(OSError, match="No space left"): publish(saved, tmp_path/"out")
    assert [f.name for f in tmp_path.iterdir()] == ["saved"]


# the command

def test_command(saved, tmp_path, capsys):
    argv = [str(saved), str(tmp_path/"out"), "--license", "mit", "--dataset", "a", "--dataset", "b"]
    assert cli.publish_main([*argv, "--dry-run"]) == 0
    assert "would be published to" in capsys.readouterr().out and not (tmp_path/"out").exists()
    assert cli.publish_main([*argv, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["files"].keys() == PAIR_FILES and not done["dry_run"]
    assert "- a\n- b" in (tmp_path/"out"/"README.md").read_text(encoding="utf-8")
    assert cli.publish_main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "exists: choose another folder" in err


# at a hub

WORKER = """
    import json, os, sys, traceback
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO
    from vec2text_nb.cli import publish_main
    for argv, env in json.load(sys.stdin):
        for k, v in env.items():
            os.environ.pop(k, None) if v is None else os.environ.update({k: v})
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err): status = publish_main(argv)
        print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def online(tmp_path, server, **extra) -> dict:
    "The environment of a process that may use the network, and finds the loopback there; xet is a protocol of its own"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_OFFLINE"))}
    return env | {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path/"hf"), "HF_HUB_DISABLE_XET": "1",
                  "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"} | extra


def run(code: str, env: dict, stdin: str = "") -> str:
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(code)], env=env, cwd=ROOT, input=stdin,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(env: dict, *calls: tuple[list, dict]) -> list:
    "Several calls of the command in one process, each with changes to the environment: (status, output, errors) of each"
    return [json.loads(line) for line in run(WORKER, env, json.dumps(calls)).splitlines()]


def test_to_the_hub_and_back(saved, pair, tmp_path):
    with Server() as s:
        env = online(tmp_path, s)
        s.repos["me/old"] = {".gitattributes": b"", "pytorch_model.bin": b"old", "config.json": b"{}", "notes.md": b"mine"}
        s.repos["me/public"] = {".gitattributes": b""}
        new, again, old, single, public = commands(env, *[(argv, {}) for argv in [
            [str(saved), "me/mine", "--private", "--json"], [str(saved), "me/mine", "--license", "mit"], [str(saved), "me/old"],
            [str(saved/"corrector"), "me/old"], [str(saved), "me/public", "--private"]]])
        assert [new[0], again[0], old[0], single[0]] == [0, 0, 0, 0], (new, again, old, single)
        assert json.loads(new[1])["url"] == f"{s.url}/me/mine" and s.private == {"me/mine"} and s.tokens == {TOKEN}
        files = s.repos["me/mine"]
        assert files.keys() == PAIR_FILES | {".gitattributes"} and len(s.commits[0]) == len(PAIR_FILES)     # one commit
        check_tree(files, tmp_path)
        assert b"license: mit" in files["README.md"] and b"load_corrector('me/mine')" in files["README.md"]
        assert {("deletedFile", "pytorch_model.bin"), ("deletedFile", "config.json")} <= set(s.commits[2])
        assert s.repos["me/old"].keys() == {".gitattributes", "notes.md", "README.md", "config.json", "model.safetensors", "tokenizer.json",
                                            "tokenizer_config.json"}          # of the pair that was there nothing is left
        assert public[0] == 2 and "it exists and is public" in public[2] and s.repos["me/public"].keys() == {".gitattributes"}
        back = run("""
            from vec2text_nb import load_corrector
            from vec2text_nb.pretrained import find_checkpoint, model_digest
            corrector = load_corrector('me/mine', device='cpu')
            print(model_digest(corrector), corrector)
            print(find_checkpoint('me/mine', 'corrector'), find_checkpoint('me/old'))
        """, env).splitlines()
        assert back[0].startswith(model_digest(pair)) and "hypothesizer and corrector" in back[0]
        assert back[1].endswith(f"{SHA}/corrector me/old") and "Bearer" not in str(back)


def test_failures_of_the_hub_are_one_line(saved, tmp_path):
    faults = {("unknown", "create"): 401, ("denied", "create"): 403, ("broken", "create"): 500,
              ("late", "commit"): 500, ("full", "put"): 403}
    cases = [("unknown", {}, "answered 401, the token is not valid"), ("denied", {}, "answered 403, the token has no write access"),
             ("broken", {}, "answered 500, the server failed, try again later"), ("late", {}, "answered 500, the server failed"),
             ("full", {}, "answered 403"), ("nobody", {"HF_TOKEN": None}, "there is no token. Set HF_TOKEN"),
             ("me", {"HF_TOKEN": TOKEN, "HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached")]
    with Server(faults) as s:
        done = commands(online(tmp_path, s), *[([str(saved), f"{user}/mine"], env) for user, env, _ in cases],
                        ([str(saved), "me/mine", "--dry-run"], {}))
        for (user, _, says), (status, out, err) in zip(cases, done):
            assert (status, out) == (2, "") and err.count("\n") == 1, err
            assert err.startswith(f"v2t-publish: Nothing was published to {user}/mine: ") and says in err and TOKEN not in err
        assert done[-1][0] == 0 and "would be published to me/mine" in done[-1][1]           # it needs no server
        assert not s.commits and "me/mine" not in s.repos
        assert all(files.keys() == {".gitattributes"} for files in s.repos.values())


def test_offline_is_said(saved, tmp_path):
    with Server() as s:
        [(status, out, err)] = commands(online(tmp_path, s, HF_HUB_OFFLINE="1"), ([str(saved), "me/mine"], {}))
    assert (status, out) == (2, "") and err.endswith("HF_HUB_OFFLINE is set. Unset it to publish.\n") and not s.asked


# aliases

@pytest.fixture
def aliases(tmp_path, monkeypatch):
    monkeypatch.setenv("VEC2TEXT_NB_ALIASES", str(tmp_path/"config"/"aliases.json"))
    return tmp_path/"config"/"aliases.json"


def test_an_alias_is_known_everywhere(aliases, saved, pair, monkeypatch):
    monkeypatch.chdir(saved.parent)
    assert register_alias("both", "saved") == aliases == alias_file()
    register_alias("two", saved/"hypothesizer", "./saved/corrector", embedder="all-MiniLM-L6-v2", backbone=GOLDEN/"backbone")
    monkeypatch.chdir("/")                                                                # folders were kept as absolute ones
    for name in ("both", "two"):
        for load in (load_pretrained_corrector, load_corrector): assert model_digest(load(name, device="cpu")) == model_digest(pair)
        assert find_checkpoint(name) == str(saved/"hypothesizer") and find_checkpoint(name, "corrector") == str(saved/"corrector")
    assert model_digest(load_corrector(saved/"hypothesizer", "two", device="cpu")) == model_digest(pair)
    with pytest.raises(ValueError, match="gtr-base, text-embedding-ada-002, both, two"): load_pretrained_corrector("none")
    assert list(aliases.parent.iterdir()) == [aliases]


def test_arguments_win_over_an_alias(aliases, saved, pair):
    register_alias("mine", saved, embedder="gtr_base", backbone="no/where")
    corrector = load_corrector("mine", embedder="all-MiniLM-L6-v2", backbone=str(GOLDEN/"backbone"), device="cpu")
    assert corrector.embedder.name == "all-MiniLM-L6-v2" and model_digest(corrector) == model_digest(pair)


def test_an_alias_without_a_corrector(aliases, saved):
    register_alias("guess", saved/"hypothesizer")
    assert load_pretrained_corrector("guess", device="cpu").corrector_model is None
    with pytest.raises(ValueError, match="guess has no corrector"): find_checkpoint("guess", "corrector")


def test_no_file_no_aliases(aliases):
    assert read_aliases() == {} and not aliases.parent.exists()
    with pytest.raises(FileNotFoundError, match="Known names: all-MiniLM-L6-v2, gtr-base, text-embedding-ada-002"): find_checkpoint("none")
    assert not aliases.parent.exists()


def test_the_usual_place(monkeypatch, tmp_path):
    monkeypatch.delenv("VEC2TEXT_NB_ALIASES", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert register_alias("mine", "me/mine") == tmp_path/".config"/"vec2text_nb"/"aliases.json"
    assert read_aliases().keys() == {"mine"}


@pytest.mark.parametrize("text, says", [
    ("", "is not JSON"), ("[]", "holds no object"), ("\ufeff{}", "is not JSON"),
    ('{"a": "me/a"}', "the alias 'a' is \"me/a\": expected an object"),
    ('{"a": {}}', "the alias 'a' has no 'hypothesizer'"), ('{"a": {"hypothesizer": ""}}', "has hypothesizer = \"\""),
    ('{"a": {"hypothesizer": "me/a", "token": "x"}}', "unknown key 'token'"),
    ('{"a": {"hypothesizer": "me/a", "corrector": 1}}', "corrector = 1"),
    ('{"gtr-base": {"hypothesizer": "me/a"}}', "'gtr-base' has the name of a pair that the package knows"),
    ('{"me/a": {"hypothesizer": "b"}}', "without a slash"),
])
def test_a_malformed_file_is_named(text, says, aliases):
    aliases.parent.mkdir()
    aliases.write_text(text, encoding="utf-8")
    for call in (read_aliases, lambda: load_pretrained_corrector("gtr-base"), lambda: load_corrector("a"),
                 lambda: register_alias("b", "me/b")):
        with pytest.raises(ValueError) as raised: call()
        assert str(aliases) in str(raised.value) and says in str(raised.value)
    assert aliases.read_text(encoding="utf-8") == text


def test_an_alias_is_written_whole_or_not_at_all(aliases, monkeypatch):
    register_alias("a", "me/a")
    before = aliases.read_bytes()
    def dies(*args): raise OSError("killed")
    monkeypatch.setattr(pretrained.os, "replace", dies)
    with pytest.raises(OSError, match="killed"): register_alias("b", "me/b")
    assert aliases.read_bytes() == before and list(aliases.parent.iterdir()) == [aliases]


def test_a_linked_file_stays_a_link(aliases, tmp_path):
    (tmp_path/"dotfiles").mkdir()
    (tmp_path/"dotfiles"/"aliases.json").write_text("{}", encoding="utf-8")
    aliases.parent.mkdir()
    aliases.symlink_to(tmp_path/"dotfiles"/"aliases.json")
    register_alias("a", "me/a")
    assert aliases.is_symlink() and "me/a" in (tmp_path/"dotfiles"/"aliases.json").read_text(encoding="utf-8")
