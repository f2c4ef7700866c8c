"""What numbers too small to matter cost: training steps of the bundled models with such numbers flushed to zero and not.

    python tools/bench_denormals.py

Near 1e-38 a float32 becomes denormal, and a processor may take a hundred times as long for it. The gradients of a trained inverter are
full of them: it gives nearly all of its 8,192 tokens a probability of almost 0. `v2t-train` has them flushed. Forward and backward pass
of a batch of WordNet texts, both ways in turn in one process, CPU seconds on one thread; written to results/speed/denormals.json.
"""
import argparse
import sys
import time
from datetime import date
from pathlib import Path

import torch
from bench_training import ratio

from vec2text_nb import load_pretrained_corrector
from vec2text_nb.data import wordnet_texts
from vec2text_nb.pretrained import model_digest
from vec2text_nb.results import machine_class
from vec2text_nb.sources import sample_texts
from vec2text_nb.training import Pairs, tokenize, write_hypotheses
from vec2text_nb.utilities import write_json

FILE = Path(__file__).resolve().parent.parent/'results'/'speed'/'denormals.json'


def seconds(model, batch, flush):
    "CPU seconds of a forward and backward pass"
    torch.set_flush_denormal(flush)
    started = time.process_time()
    model(**batch).loss.backward()
    return time.process_time()-started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    models = load_pretrained_corrector('all-MiniLM-L6-v2', device='cpu')
    labels, texts = tokenize(sample_texts(wordnet_texts(), a.batch, a.seed), models.tokenizer, models.max_length)
    pairs = Pairs(texts, labels, models.embedder.encode(texts, progress=False).numpy())
    guessed = Pairs(texts, labels, pairs.embeddings, **write_hypotheses(models, pairs.embeddings))
    out = dict(command=f'python tools/bench_denormals.py --batch {a.batch} --repeats {a.repeats} --seed {a.seed}', n=a.repeats, seed=a.seed,
               date=date.today().isoformat(), machine=machine_class(), threads=1, torch=torch.__version__,
               model_digest=model_digest(models), models={})
    for name, model, some in [('hypothesizer', models.inversion_model, pairs), ('corrector', models.corrector_model, guessed)]:
        model, batch, runs = model.float().train(), some.collate(range(a.batch)), {True: [], False: []}
        for k in range(a.repeats+1):                    # the first is to warm up
            for flush, times in runs.items():
                took = seconds(model, batch, flush)
                if k: times.append(took)
        value, error = ratio(runs[False], runs[True])
        out['models'][name] = dict(flushed=sum(runs[True])/a.repeats, kept=sum(runs[False])/a.repeats, ratio=value, ratio_sem=error)
        print(name, out['models'][name])
    write_json(FILE, out)


if __name__ == '__main__':
    sys.exit(main())
