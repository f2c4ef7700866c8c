"""The golden checkpoints, put together from what fixtures/golden stores once; fixtures/README.md says what they are.

The weights were drawn by torch, whose normal numbers depend on the processor in their last bits. Here NumPy draws them, and the stored
corrections say by how many units in the last place the reference's differ."""
import hashlib
import json
import lzma
import shutil
import tempfile
from pathlib import Path

import numpy as np

STORED = Path(__file__).parent/"fixtures"/"golden"
RECIPE = json.loads((STORED/"weights.json").read_text(encoding="utf-8"))
FOLDER = tempfile.TemporaryDirectory(prefix="golden-")
GOLDEN = Path(FOLDER.name)  # empty until a test asks for the fixture golden_checkpoints


def standard_normals(seed: int, start: int, end: int) -> np.ndarray:
    "Numbers start to end of the seed's stream, made normal as torch does it: of 16, eight give the radii and eight the angles"
    bits = np.random.RandomState(seed).randint(0, 2**32, end, dtype=np.uint32)[start:] & 0xFFFFFF
    u = bits.reshape(-1, 2, 8) * 2.**-24
    radius = np.sqrt(np.float32(-2) * np.log(1 - u[:, 0]).astype(np.float32))
    angle = (np.float32(2*np.pi) * u[:, 1].astype(np.float32)).astype(np.float64)
    return np.stack([radius * f(angle).astype(np.float32) for f in (np.cos, np.sin)], 1).ravel()


def reference_normals(streams: dict) -> dict[str, np.ndarray]:
    "Streams of normals, bit for bit as the reference drew them"
    corrections = np.frombuffer(lzma.decompress((STORED/"corrections.xz").read_bytes()), np.int8)
    found = {}
    for seed, (start, end) in streams.items():
        mine, corrections = corrections[:end-start], corrections[end-start:]
        found[seed] = np.zeros(end, np.float32)
        found[seed][start:] = (standard_normals(int(seed), start, end).view(np.int32) + mine).view(np.float32)
    assert not len(corrections)
    return found


def make_tensors() -> dict[str, dict[str, np.ndarray]]:
    "Checkpoint -> name -> tensor, in the order of weights.json; aliases are the same array"
    normals, made = reference_normals(RECIPE["streams"]), {}
    for checkpoint, tensors in RECIPE["checkpoints"].items():
        made[checkpoint] = {}
        for name, t in tensors.items():
            if "like" in t:
                folder, _, other = t["like"].partition("/")
                x = made[folder][other]
            else: x = np.full(t["shape"], t.get("fill", 0), np.float32)
            if "seed" in t:
                drawn = normals[t["seed"]][t["start"]:t["start"]+x.size].reshape(x.shape)
                for factor in t["scale"]: drawn = drawn*np.float32(factor)
                x = x + drawn
            if "eos_times" in t: x[1] *= t["eos_times"]
            made[checkpoint][name] = x
    return made


def write_shards(tensors: dict[str, np.ndarray], shards: dict[str, int], folder: Path) -> None:
    "As the reference's `save_pretrained` writes .bin files: every alias, one storage for all names of a tensor, an index"
    import torch
    once = {id(x): torch.from_numpy(x) for x in tensors.values()}
    files = {name: f"pytorch_model-{shard:05}-of-{max(shards.values()):05}.bin" for name, shard in shards.items()}
    for file in {*files.values()}:
        torch.save({name: once[id(x)].detach() for name, x in tensors.items() if files[name] == file}, folder/file)
    index = {"metadata": {"total_size": sum(x.nbytes for x in once.values())}, "weight_map": files}
    (folder/"pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_golden(folder: Path) -> None:
    "The checkpoints in the layouts they are published in, with configs and tokenizers"
    from safetensors.numpy import save_file
    for checkpoint, tensors in make_tensors().items():
        path, recipe = folder/checkpoint, RECIPE["checkpoints"][checkpoint]
        shutil.copytree(STORED/("inverter" if checkpoint == "corrector" else checkpoint), path)
        if checkpoint == "corrector":  # its config names another class, and is the same otherwise
            config = (path/"config.json").read_text(encoding="utf-8")
            (path/"config.json").write_text(config.replace("InversionModel", "CorrectorEncoderModel"), encoding="utf-8")
        if checkpoint in ("inverter", "corrector"):
            sharded = shutil.copytree(path, folder/f"{checkpoint}_bin_sharded")
            write_shards(tensors, {name: t["shard"] for name, t in recipe.items()}, sharded)
        else: shutil.copytree(STORED/"tokenizer", path, dirs_exist_ok=True)
        save_file({name: x for name, x in tensors.items() if "alias" not in recipe[name]}, path/"model.safetensors", {"format": "pt"})
    (folder/"corrector_bin_sharded"/"generation_config.json").unlink()  # the reference wrote none


def digest(tensors: dict) -> str:
    "Of names, types, shapes and bits"
    told = hashlib.sha256()
    for name in sorted(tensors):
        x = np.ascontiguousarray(tensors[name])
        told.update(f"{name} {x.dtype} {x.shape}".encode() + x.tobytes())
    return told.hexdigest()
