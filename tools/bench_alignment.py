"""How well the bundled pair reads another embedder through an alignment, measured on validation texts.

python tools/bench_alignment.py --embedder all-mpnet-base-v2 --dtype bfloat16 --n 8 --rounds 4 --out results/alignment/mpnet.json
With --cache, an interrupted run that is started again embeds no text twice."""
import argparse
import random
import shlex
import sys
from pathlib import Path

import torch

from vec2text_nb.alignment import AlignedCorrector, Alignment, align_embedder
from vec2text_nb.edits import Edits
from vec2text_nb.embedders import Embedder, load_embedder
from vec2text_nb.evaluation import score_texts
from vec2text_nb.inversion import Corrector
from vec2text_nb.pretrained import load_corrector
from vec2text_nb.results import write_results
from vec2text_nb.sources import read_splits
from vec2text_nb.utilities import write_atomically

PAIRS = dict(wordnet=.5, mails=.2, speeches=.15, dialogs=.15)  # shares of the pairs
EVERYDAY = ["my sister called last night and asked for the recipe", "the train to the airport was late again this morning",
            "please send me the signed contract before friday", "our dog ran away when the children opened the gate",
            "the doctor said that the test results look normal", "I forgot my umbrella at the office yesterday",
            "we are planning a small party for his birthday", "the new neighbors play loud music every weekend",
            "can you pick up some milk on your way home?", "he lost his job because the factory was closed",
            "the rent goes up by fifty dollars next month", "she is learning to drive and needs more practice"]


def pairs(n: int, seed: int) -> list[str]:
    "Training texts of up to 20 words, in random order"
    rng, texts = random.Random(seed), []
    for name, share in PAIRS.items(): texts += rng.sample([t for t in read_splits(name)["train"] if len(t.split()) <= 20], round(n*share))
    rng.shuffle(texts)
    return texts


class Kept(Embedder):
    "An embedder whose vectors are kept in a file, so that an interrupted run loses nothing"
    def __init__(self, inside: Embedder, path: Path | None, limit: int):
        self.inside, self.path, self.limit = inside, path, limit
        self.name, self.dim, self.max_tokens = inside.name, inside.dim, limit
        self.normalized, self.device = inside.normalized, inside.device
        self.known = torch.load(path) if path and path.exists() else {}

    @property
    def digest(self): return self.inside.digest

    def encode(self, texts, batch_size=64, max_tokens=None, progress=None):
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        for i in range(0, len(new), 512):
            part = new[i:i+512]
            self.known |= {t: v.clone() for t, v in zip(part, self.inside.encode(part, batch_size, self.limit, progress))}
            if self.path: write_atomically(self.path, lambda f: torch.save(self.known, f))
        return torch.stack([self.known[t] for t in texts])


def measure(pair: Corrector, other: Embedder, alignment: Alignment, texts: list[str], rounds: int, proposals: int) -> list[dict]:
    "Scores of three settings, and the calls that each costs in all"
    vectors, runs, search = other.encode(texts), [], dict(num_steps=5, sequence_beam_width=4)
    for setting, options in [("the map alone", dict(score=False)), ("5 steps, beam 4", search),
                             (f"5 steps, beam 4, {rounds} rounds", search | dict(edits=Edits(rounds, proposals=proposals)))]:
        corrector = AlignedCorrector(pair, other, alignment)
        found = corrector.invert(vectors, progress=False, **options)
        runs.append(dict(setting=setting, n=len(texts), calls=round(corrector.embedder.texts/len(texts), 1), texts=found.texts,
                         scores=score_texts(found.texts, texts, other.encode(found.texts), vectors)))
        print(setting, runs[-1]["calls"], {k: v["mean"] for k, v in runs[-1]["scores"].items()}, flush=True)
    return runs


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--embedder", default="all-mpnet-base-v2", help="name or folder (default: %(default)s)")
    p.add_argument("--dtype", default="float32", help="of the embedder (default: %(default)s)")
    p.add_argument("--pairs", type=int, default=4000, metavar="N", help="texts to align with (default: %(default)s)")
    p.add_argument("--n", type=int, default=12, help="texts of each kind, at most 12 (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=12, help="of refining and editing (default: %(default)s)")
    p.add_argument("--proposals", type=int, default=40, help="texts that the embedder judges in a round (default: %(default)s)")
    p.add_argument("--seed", type=int, default=6)
    p.add_argument("--cache", type=Path, help="file that keeps the embedder's vectors")
    p.add_argument("--out", type=Path, required=True, help="JSON file to write")
    a = p.parse_args()
    pair = load_corrector("all-MiniLM-L6-v2", device="cpu")
    other = Kept(load_embedder(a.embedder, device="cpu", dtype=a.dtype), a.cache, pair.max_length)
    alignment = align_embedder(other, pair, pairs(a.pairs, a.seed))
    print(alignment, flush=True)
    validation = [t for t in read_splits("wordnet")["validation"] if 4 <= len(t.split()) <= 16]
    kinds = dict(wordnet=random.Random(a.seed).sample(validation, a.n), everyday=EVERYDAY[:a.n])
    runs = [dict(run, data=kind) for kind, texts in kinds.items() for run in measure(pair, other, alignment, texts, a.rounds, a.proposals)]
    write_results(a.out, shlex.join(["python", "tools/bench_alignment.py", *sys.argv[1:]]), AlignedCorrector(pair, other, alignment),
                  n=a.n, seed=a.seed, data="WordNet, validation split, and everyday sentences of our own", dtype=a.dtype,
                  alignment=alignment.facts, references=kinds, runs=runs)


if __name__ == "__main__": main()
