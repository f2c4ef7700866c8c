"Loading by name: the hub's part is played by local folders in the published layout."
import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from golden import GOLDEN, STORED
from huggingface_hub.errors import LocalEntryNotFoundError
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from vec2text_nb import invert_embeddings, load_corrector, load_pretrained_corrector
from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.hypothesizer import InversionConfig, InversionModel, t5_architecture
from vec2text_nb.inversion import Corrector
from vec2text_nb.pretrained import PRETRAINED, save_corrector

pytestmark = pytest.mark.usefixtures("golden_checkpoints")
CASE = json.loads((STORED/"cases.json").read_text(encoding="utf-8"))["cases"][1]
TARGETS = np.load(STORED/"embeddings.npz")["embeddings"]
HUB = {"jxm/gtr__nq__32": "inverter", "jxm/gtr__nq__32__correct": "corrector_bin_sharded", "backbone": "backbone",
       "sentence-transformers/gtr-t5-base": "embedder"}


@pytest.fixture
def hub(monkeypatch):
    "A hub that has the golden checkpoints under the published names, and a record of what was asked for"
    asked = []

    def snapshot_download(repo_id, **kwargs):
        asked.append(repo_id)
        if repo_id not in HUB: raise LocalEntryNotFoundError(f"{repo_id} is not here")
        return str(GOLDEN/HUB[repo_id])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return asked


def test_a_published_pair_by_name(hub):
    corrector = load_pretrained_corrector("gtr-base", device="cpu")
    result = corrector.invert(TARGETS, CASE["num_steps"], CASE["sequence_beam_width"], keep_best=False)
    assert result.texts == CASE["texts"]
    assert set(hub) == set(HUB)


def test_a_known_name_alone_is_accepted_by_load_corrector(hub):
    assert load_corrector("gtr-base", device="cpu").embedder.name == "gtr_base"
    assert load_corrector("all-MiniLM-L6-v2", device="cpu").embedder.name == "all-MiniLM-L6-v2"


def test_what_the_hub_lacks_is_named(hub):
    with pytest.raises(FileNotFoundError, match="'jxm/vec2text__openai_ada002__msmarco__msl128__hypothesizer' is neither a folder nor"):
        load_pretrained_corrector("text-embedding-ada-002")


def test_a_hub_that_cannot_be_reached_is_said_to_be(hub, monkeypatch):
    "And a name that is nearly right gets a suggestion all the same"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(FileNotFoundError, match="and the hub cannot be reached: check the"): load_corrector("text-embedding-ada-002")
    with pytest.raises(FileNotFoundError, match="cannot be reached.* Did you mean 'all-MiniLM-L6-v2'?"): load_corrector("All-MiniLM-L6-v2")


def tiny(cls, dim, backbone, **config):
    torch.manual_seed(0)
    return cls(InversionConfig(backbone=backbone, embedder_dim=dim, num_repeat_tokens=2, max_seq_length=8, **config)).eval()


@pytest.fixture
def backbone():
    return t5_architecture(json.loads((GOLDEN/"backbone"/"config.json").read_text(encoding="utf-8")))


def test_an_openai_pair_needs_no_key_without_steps(tmp_path, monkeypatch, backbone):
    "The hypothesizer's text costs nothing: nothing is embedded. The first step wants the key"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    api = dict(embedder_model_api="text-embedding-ada-002", embedder_model_name="gtr_base")
    models = tiny(InversionModel, 1536, backbone, **api), tiny(CorrectorEncoderModel, 1536, backbone, **api)
    save_corrector(Corrector(*models, None, AutoTokenizer.from_pretrained(GOLDEN/"backbone")), tmp_path/"ada")
    corrector = load_corrector(str(tmp_path/"ada"/"hypothesizer"), str(tmp_path/"ada"/"corrector"), device="cpu")
    assert corrector.embedder.name == "text-embedding-ada-002" and corrector.embedder.empty == "zero"
    vectors = torch.nn.functional.normalize(torch.randn(3, 1536), dim=1)
    assert len(invert_embeddings(vectors, corrector)) == 3
    with pytest.raises(Exception, match="OPENAI_API_KEY"): invert_embeddings(vectors, corrector, num_steps=1)


def test_t5_v11_with_a_head_of_its_own(tmp_path):
    "A gated T5 whose config says that head and words are not tied, named as backbone: the published layout keeps both, and so do we"
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
                                             feed_forward_proj="gated-gelu"))
    t5.save_pretrained(tmp_path/"v11")
    config = json.loads((tmp_path/"v11"/"config.json").read_text(encoding="utf-8")) | {"tie_word_embeddings": False}
    (tmp_path/"v11"/"config.json").write_text(json.dumps(config), encoding="utf-8")
    model = tiny(InversionModel, 6, t5_architecture(config))
    with torch.no_grad(): model.encoder_decoder.lm_head.weight.add_(1)
    (tmp_path/"inverter").mkdir()
    torch.save(model.state_dict(), tmp_path/"inverter"/"pytorch_model.bin")
    published = dict(model_name_or_path=str(tmp_path/"v11"), embedder_model_name="gtr_base", num_repeat_tokens=2, max_seq_length=8,
                     learning_rate=1.)
    (tmp_path/"inverter"/"config.json").write_text(json.dumps(published), encoding="utf-8")
    again = InversionModel.from_pretrained(tmp_path/"inverter")
    assert again.config.embedder_dim == 6 and not again.encoder_decoder.config.scale_decoder_outputs
    for name, tensor in model.state_dict().items(): assert torch.equal(tensor, again.state_dict()[name]), name
    again.save_pretrained(tmp_path/"ours")
    ours = InversionModel.from_pretrained(tmp_path/"ours")
    e, labels = torch.randn(2, 6), torch.tensor([[5, 1], [6, 1]])
    assert torch.equal(model(e, labels=labels).logits, ours(e, labels=labels).logits)


@pytest.mark.parametrize("dim", [384, 512, 1024])
def test_any_width(dim, backbone):
    "The correction step is not bound to 768 or 1536"
    corrector = tiny(CorrectorEncoderModel, dim, backbone)
    e = torch.randn(2, dim)
    assert corrector(e, torch.tensor([[0, 5], [0, 6]]), e, labels=torch.tensor([[5, 1], [6, 1]])).loss.isfinite()


def test_half_precision_and_device_options():
    corrector = load_pretrained_corrector(device="cpu", dtype=torch.bfloat16)
    assert corrector.inversion_model.dtype == torch.bfloat16
    assert isinstance(corrector.invert(corrector.embedder.encode(["a bird"]), 1).texts[0], str)


def test_models_loaded_by_hand():
    "The recipe of the public package: two `from_pretrained`, then `load_corrector`"
    pair = PRETRAINED["all-MiniLM-L6-v2"]
    models = InversionModel.from_pretrained(pair.hypothesizer), CorrectorEncoderModel.from_pretrained(pair.corrector)
    by_hand, by_name = load_corrector(*models, device="cpu"), load_pretrained_corrector(device="cpu")
    e = by_name.embedder.encode(["a bird that cannot fly"])
    assert by_hand.invert(e, 2).texts == by_name.invert(e, 2).texts


def test_registry_names():
    assert [*PRETRAINED] == ["all-MiniLM-L6-v2", "gtr-base", "text-embedding-ada-002"]


def test_a_folder_named_like_a_pretrained_model_wins(tmp_path, monkeypatch):
    "A local folder is never shadowed by a known name"
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN/"inverter", tmp_path/"gtr-base")
    corrector = load_corrector("gtr-base", embedder=GOLDEN/"embedder", backbone=str(GOLDEN/"backbone"), device="cpu")
    assert corrector.corrector_model is None and corrector.dim == 768
