"Checkpoints as strangers publish them: every layout of files through one path, every fault one kind of error, no code run from a file."
import json
import os
import pickle
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from golden import GOLDEN
from safetensors.torch import load_file, save_file

from vec2text_nb import load_corrector, load_embedder
from vec2text_nb.checkpoints import load_tokenizer, read_weights, save_model
from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.embedders import MINILM, find_model
from vec2text_nb.hypothesizer import InversionModel
from vec2text_nb.pretrained import BUNDLED, register_alias
from vec2text_nb.utilities import CheckpointError, read_tensors

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
LAYOUTS = ["model.safetensors", "sharded safetensors", "pytorch_model.bin", "sharded bin"]


class Hostile:
    "A pickle that makes a folder when it is loaded"
    def __init__(self, trace: Path): self.trace = trace
    def __reduce__(self): return os.mkdir, (str(self.trace),)


def write(layout: str, weights: dict, folder: Path) -> Path:
    "A checkpoint of the golden inverter's config with these weights"
    folder.mkdir()
    shutil.copy(GOLDEN/"inverter"/"config.json", folder)
    suffix = "safetensors" if "safetensors" in layout else "bin"
    save, stem = (save_file, "model") if suffix == "safetensors" else (torch.save, "pytorch_model")
    if "sharded" not in layout:
        save(weights, folder/f"{stem}.{suffix}")
        return folder
    names = {k: f"{stem}-{1 + i % 3:05}-of-00003.{suffix}" for i, k in enumerate(sorted(weights))}
    for file in sorted({*names.values()}): save({k: w for k, w in weights.items() if names[k] == file}, folder/file)
    (folder/f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    return folder


def load(folder: Path) -> InversionModel: return InversionModel.from_pretrained(folder, backbone=str(GOLDEN/"backbone"))


def refused(folder: Path, says: str) -> None:
    "Loading ends in one line, of the one kind of error"
    with pytest.raises(CheckpointError, match=says) as error: load(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900


@pytest.fixture
def golden(): return load_file(GOLDEN/"inverter"/"model.safetensors")


@pytest.fixture(params=LAYOUTS)
def folder(request, golden, tmp_path): return write(request.param, golden, tmp_path/"checkpoint")


def last_file(folder: Path) -> Path: return max(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin"))


def test_every_layout_gives_the_same_model(folder, golden):
    state = load(folder).state_dict()
    for name, tensor in golden.items():
        if not name.startswith("embedder."): assert torch.equal(state[name], tensor), name


@pytest.mark.parametrize("keep", [0, 20, -1000])
def test_a_file_cut_short(folder, keep):
    file = last_file(folder)
    file.write_bytes(file.read_bytes()[:keep])
    refused(folder, f"{file.name} (is damaged or incomplete|is refused)")


def test_a_pointer_of_git_lfs(folder):
    last_file(folder).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", encoding="utf-8")
    refused(folder, "pointer of Git LFS and not the weights: run `git lfs pull`")


def test_a_file_that_is_not_there(folder):
    last_file(folder).unlink()
    if [*folder.glob("*.index.json")]: refused(folder, "names 3 files, of which 1 are not in its folder: .*-00003-of-00003")
    else:
        with pytest.raises(FileNotFoundError, match="holds no weights"): load(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change, says", [
    (lambda w: {k: v for k, v in w.items() if "layer_norm" not in k}, r"missing: .*layer_norm.weight and \d+ more\. Do its config"),
    (lambda w: {**w, "lora.A": torch.ones(2)}, "unexpected: lora.A"),
    (lambda w: {f"module.{k}": v for k, v in w.items()}, "weights have no embedding_transform.0.weight"),
    (lambda w: {k: v.to(torch.int8) for k, v in w.items()}, "not floating-point: embedding_transform.0.bias int8.* more"),
    (lambda w: {**w, "embedding_transform.0.bias": torch.ones(5)}, r"wrong shape: embedding_transform.0.bias \(5,\) for \(768,\)"),
], ids=["missing", "extra", "prefixed", "quantized", "shape"])
def test_weights_that_do_not_fit(layout, change, says, golden, tmp_path):
    refused(write(layout, change(golden), tmp_path/"checkpoint"), says)


def test_tied_and_old_names_in_every_layout(golden, tmp_path):
    "Aliases in the file or not, the word embeddings under an alias alone, the second layer under its old name"
    words = golden["encoder_decoder.shared.weight"]
    aliases = {f"encoder_decoder.{k}.weight": words.clone() for k in ("lm_head", "encoder.embed_tokens", "decoder.embed_tokens")}
    old = {k.replace("transform.3.", "transform.2."): v for k, v in golden.items()}
    only_alias = {k: v for k, v in golden.items() if v is not words} | {"encoder_decoder.lm_head.weight": words.clone()}
    for i, weights in enumerate([golden | aliases, old, only_alias]):
        for layout in LAYOUTS:
            model = load(write(layout, weights, tmp_path/f"{i} {layout}"))
            assert torch.equal(model.encoder_decoder.lm_head.weight, words)
            assert torch.equal(model.embedding_transform[3].weight, golden["embedding_transform.3.weight"])


# no code is run

@pytest.mark.parametrize("dump", [lambda x, f: torch.save(x, f), lambda x, f: torch.save(x, f, _use_new_zipfile_serialization=False),
                                  lambda x, f: f.write_bytes(pickle.dumps(x, protocol=2))], ids=["zip", "legacy", "pickle"])
def test_a_hostile_pickle(dump, golden, tmp_path):
    trace, folder = tmp_path/"it ran", write("sharded bin", golden, tmp_path/"checkpoint")
    hostile = {"encoder_decoder.shared.weight": Hostile(trace)}
    dump(hostile, last_file(folder))
    refused(folder, "00003.bin is refused: it holds more than tensors, and such a pickle could run code.*Nothing in it was run")
    for name in ("weights.pt", "weights.pkl"):
        dump(hostile, tmp_path/name)
        with pytest.raises(CheckpointError, match=f"{name} is refused"): read_tensors(tmp_path/name)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Hostile(trace)))
    assert trace.exists()       # the pickle is as hostile as it claims


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "training_args.bin", "optimizer.pt"])
def test_other_pickles_are_never_opened(name, golden, tmp_path):
    folder = write("model.safetensors", golden, tmp_path/"checkpoint")
    torch.save(Hostile(tmp_path/"it ran"), folder/name)
    load(folder)
    (folder/"model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no weights"): load(folder)
    with pytest.raises(FileNotFoundError, match="is a file: expected the folder"): load(folder/name)
    assert not (tmp_path/"it ran").exists()


@pytest.mark.parametrize("how", ["hostile", "cut"])
@pytest.mark.parametrize("options", [{}, {"truncate_dim": 8}], ids=["transformers", "sentence-transformers"])
def test_an_embedder_in_a_bad_file(how, options, tmp_path):
    "The message does not tell how to run the code in it, as torch's does"
    folder = shutil.copytree(GOLDEN/"embedder", tmp_path/"embedder")
    (folder/"modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]), encoding="utf-8")
    (folder/"1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 768, "pooling_mode_mean_tokens": True}
    (folder/"1_Pooling"/"config.json").write_text(json.dumps(pooling), encoding="utf-8")
    load_embedder(folder, device="cpu", **options)
    weights = folder/"model.safetensors"
    if how == "cut": weights.write_bytes(weights.read_bytes()[:1000])
    else:
        torch.save({"shared.weight": Hostile(tmp_path/"it ran")}, folder/"pytorch_model.bin")
        weights.unlink()
    with pytest.raises(CheckpointError, match="are damaged, or hold more than tensors.*Nothing in it was run") as error:
        load_embedder(folder, device="cpu", **options)
    assert "\n" not in str(error.value) and "weights_only" not in str(error.value) and not (tmp_path/"it ran").exists()


# what is no inverter

def of(*architectures, **config): return {"architectures": [*architectures], **config}


OTHERS = {
    "jxm/t5-base__llama-7b__one-million-instructions":
        (of("InversionFromLogitsModel", embedder_model_name="meta-llama/Llama-2-7b-hf"), "language-model inverter: .*next-token prob"),
    "jxm/t5-base__llama-7b__one-million-instructions__emb":
        (of("InversionFromLogitsEmbModel"), "InversionFromLogitsEmbModel, a language-model inverter"),
    "jxm/t5-base___llama-7b___one-million-instructions__correct": (of("CorrectorEncoderFromLogitsModel"), "language-model inverter"),
    "someone/hidden": (of("InversionFromHiddenStatesModel"), "language-model inverter: it reads a language model's hidden states"),
    "someone/by-embedder": (of(embedder_model_name="gpt2-medium"), "language-model inverter.*its embedder is gpt2-medium"),
    "someone/prompts": (of("PromptInversionModel"), "its config names PromptInversionModel"),
    "someone/joint": (of("JointEmbeddingInverter"), "its config names JointEmbeddingInverter"),
    "someone/bag": (of("InversionModelBagOfWords"), "a baseline"),
    "google/t5": (of("T5ForConditionalGeneration", model_type="t5"), "a plain T5.*backbone="),
    "google/t5-old": (of(model_type="t5"), "a model of type 't5'"),
    "someone/bert": (of("BertModel", model_type="bert"), "a model of type 'bert': one that embeds texts can be the embedder="),
    "openai/gpt2": (of("GPT2LMHeadModel", model_type="gpt2"), "a language model"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("cls", [InversionModel, CorrectorEncoderModel])
def test_another_kind_is_refused_before_its_weights_are_fetched(name, cls, tmp_path, monkeypatch):
    "The hub is asked for no file of weights, and a local folder needs to hold none"
    raw, says = OTHERS[name]
    (tmp_path/"config.json").write_text(json.dumps({"model_name_or_path": "t5-base", **raw}), encoding="utf-8")
    asked = []

    def snapshot_download(repo_id, allow_patterns, **kwargs):
        asked.extend(allow_patterns)
        return str(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    for place in (name, tmp_path):
        message = f"{place} is no checkpoint of {cls.__name__}: .*{says}"
        with pytest.raises(CheckpointError, match=message) as error: cls.from_pretrained(place)
        assert "\n" not in str(error.value)
        if cls is InversionModel:
            with pytest.raises(CheckpointError, match=says): load_corrector(place)
    assert "*.json" in asked and not any("safetensors" in p or ".bin" in p for p in asked)


def test_an_embedder_of_sentence_transformers_is_no_inverter():
    with pytest.raises(CheckpointError, match="a model of type 't5'|a plain T5"): load_corrector(GOLDEN/"embedder")


@pytest.mark.parametrize("files, error, says", [
    ({}, FileNotFoundError, "has no config.json: expected a folder with config.json and weights"),
    ({"adapter_config.json": "{}"}, FileNotFoundError, "is a LoRA adapter.*merge it"),
    ({"config.json": "{"}, CheckpointError, "config.json is not JSON"),
    ({"config.json": "[1]"}, CheckpointError, "holds a list: expected an object"),
], ids=["none", "lora", "broken", "list"])
def test_a_config_that_is_none(files, error, says, tmp_path):
    for name, text in files.items(): (tmp_path/name).write_text(text, encoding="utf-8")
    with pytest.raises(error, match=says): load_corrector(tmp_path)


def test_a_published_pair_fetches_the_backbones_config_and_not_its_weights(monkeypatch):
    here, asked = {"a/inverter": "inverter", "a/corrector": "corrector", "backbone": "backbone"}, {}

    def snapshot_download(repo_id, allow_patterns, **kwargs):
        asked.setdefault(repo_id, set()).update(allow_patterns)
        return str(GOLDEN/here[repo_id])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    load_corrector("a/inverter", "a/corrector", embedder=GOLDEN/"embedder", device="cpu")
    assert {name for name, patterns in asked.items() if "*.safetensors" in patterns} == {"a/inverter", "a/corrector"}


def test_the_errors_are_those_that_earlier_releases_raised():
    assert issubclass(CheckpointError, ValueError) and issubclass(CheckpointError, RuntimeError)
    assert read_weights(GOLDEN/"inverter")


@pytest.mark.parametrize("change, says", [
    (dict(num_repeat_tokens="16"), "num_repeat_tokens = '16': expected a whole number from 1"), (dict(max_seq_length=0),
    "max_seq_length = 0"), (dict(no_repeat_ngram_size="x"), "no_repeat_ngram_size = 'x'"), (dict(embedder_model_name=5),
    "embedder_model_name = 5"),
    (dict(architectures="CorrectorEncoderModel"), "its config names CorrectorEncoderModel"), (dict(backbone="t5"),
    "backbone = 't5': expected an object"), (dict(backbone=dict(d_model=8)), "decoder_start_token_id of its T5 is None"),
    (dict(backbone=dict(d_model="8", vocab_size=9)), "its config describes no InversionModel"),
    (dict(backbone=dict(decoder_start_token_id=0, eos_token_id=10**6)), "eos_token_id of its T5 is 1000000")])
def test_a_config_that_describes_no_model(change, says, golden, tmp_path):
    folder = write("model.safetensors", golden, tmp_path/"checkpoint")
    (folder/"config.json").write_text(json.dumps(json.loads((folder/"config.json").read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(CheckpointError, match=re.escape(says)) as error: InversionModel.from_pretrained(folder,
        backbone=None if "backbone" in change else str(GOLDEN/"backbone"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights, says", [({1: torch.ones(2)}, "expected tensors by name"), ({"w": torch.eye(2).to_sparse()},
    "holds w as a sparse tensor"), ({"embedding_transform.0.weight": torch.ones(2)}, "expected a matrix")])
def test_a_pickle_of_odd_tensors(weights, says, tmp_path):
    refused(write("pytorch_model.bin", weights, tmp_path/"checkpoint"), says)


TOKENIZERS = {"broken": ("tokenizer.json", "{"), "a list": ("tokenizer.json", "[]"), "code": ("tokenizer_config.json",
    json.dumps(dict(tokenizer_class="Own", auto_map=dict(AutoTokenizer=["own.Own", None]))))}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_a_tokenizer_that_cannot_be_loaded(case, tmp_path, monkeypatch):
    "Nobody is asked whether code may run: it may not"
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for leave to run code"))
    folder, (name, text) = shutil.copytree(BUNDLED/"all-MiniLM-L6-v2"/"hypothesizer", tmp_path/"own"), TOKENIZERS[case]
    (folder/name).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match="its tokenizer cannot be loaded") as error: load_corrector(folder, device="cpu")
    assert "\n" not in str(error.value)


def test_a_tokenizer_of_another_model(tmp_path):
    folder = shutil.copytree(BUNDLED/"all-MiniLM-L6-v2"/"hypothesizer", tmp_path/"own")
    for name in ("tokenizer.json", "tokenizer_config.json"): shutil.copy(find_model(MINILM)/name, folder/name)
    with pytest.raises(ValueError, match="is not that of this T5: its eos_token_id is None"): load_corrector(folder, device="cpu")


EMBEDDER_FILES = {"modules.json": ["{", '{"a": 1}', "[1]", '[{"path": ""}]'], "1_Pooling/config.json": ["{", "[]"], "config.json": ["[]"],
    "tokenizer.json": ["{"],
                  "sentence_bert_config.json": ['{"max_seq_length": "x"}', '{"max_seq_length": 0}', "[]"],
                  "config_sentence_transformers.json": ["[]", '{"prompts": {"a": 5}, "default_prompt_name": "a"}']}


@pytest.fixture(scope="module")
def minilm_files(): return find_model(MINILM)


@pytest.mark.parametrize("file, text", [(file, text) for file, texts in EMBEDDER_FILES.items() for text in texts])
def test_an_embedder_whose_files_say_nothing(file, text, tmp_path, minilm_files):
    folder = tmp_path/"own"
    shutil.copytree(minilm_files, folder, copy_function=os.symlink)
    (folder/file).unlink(missing_ok=True)
    (folder/file).write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError) as error: load_embedder(folder, device="cpu")
    assert "\n" not in str(error.value)


# places

def test_a_folder_below_the_home_folder(tmp_path, monkeypatch, golden):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write("model.safetensors", golden, tmp_path/"mine")
    assert load_corrector("~/mine", embedder=GOLDEN/"embedder", backbone=str(GOLDEN/"backbone"), device="cpu").dim == 768


def test_what_the_hub_needs_is_said():
    with pytest.raises(FileNotFoundError,
        match="Pass the id OWNER/NAME, not an address"): load_corrector("https://hub.example/jxm/gtr__nq__32")
    with pytest.raises(FileNotFoundError, match="'jxm/none' .*HF_HUB_OFFLINE is set"): load_corrector("jxm/none")
    with pytest.raises(FileNotFoundError, match=r"\(revision v9\)"): InversionModel.from_pretrained("jxm/none", revision="v9")


def test_a_user_without_a_home_folder(monkeypatch):
    "As in a container that runs under a number that no user has: what needs no alias works, what does says why not"
    def home(): raise RuntimeError("Could not determine home directory.")
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("VEC2TEXT_NB_ALIASES", raising=False)
    assert load_corrector("all-MiniLM-L6-v2", device="cpu").dim == 384
    with pytest.raises(FileNotFoundError, match="no home folder: name a file for aliases in .VEC2TEXT_NB_ALIASES"):
        register_alias("mine", "a/b")


def test_the_tokenizer_is_saved_as_it_was(golden, tmp_path):
    "Not with the length of the texts that were read last"
    tokenizer = load_tokenizer(BUNDLED/"all-MiniLM-L6-v2"/"corrector")
    assert len(tokenizer(["one two three four five"]*2, max_length=3, truncation=True, padding="max_length")["input_ids"][0]) == 3
    save_model(load(write(LAYOUTS[0], golden, tmp_path/"golden")), tokenizer, tmp_path/"saved")
    saved = json.loads((tmp_path/"saved"/"tokenizer.json").read_text(encoding="utf-8"))
    assert saved["truncation"] is None and saved["padding"] is None
