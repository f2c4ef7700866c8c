"""Score the bundled inverter on held-out texts, keep the figures in results/, and write the model card from them.

    python tools/evaluate_minilm.py            # needs WordNet, as tools/train_minilm.py
    python tools/evaluate_minilm.py --card     # only write the card again from the JSON
"""
import argparse
import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT/'results'/'bundled_minilm.json'
CARD = ROOT/'vec2text_nb'/'pretrained'/'all-MiniLM-L6-v2'/'README.md'
SETTINGS = {'hypothesizer alone': (0, 0), '5 steps': (5, 0), '5 steps, beam 4': (5, 4)}
METRICS = ('token_f1', 'bleu', 'exact_match', 'cos_sim')


def evaluate(n, seed):
    "Invert `n` texts of the test split, which no model was trained or chosen on, with every setting"
    from vec2text_nb import load_pretrained_corrector
    from vec2text_nb.data import split_texts, wordnet_texts
    from vec2text_nb.metrics import text_metrics
    from vec2text_nb.pretrained import model_digest
    test = split_texts(wordnet_texts())['test']
    texts = [test[i] for i in np.random.default_rng(seed).permutation(len(test))[:n]]
    corrector = load_pretrained_corrector('all-MiniLM-L6-v2', device='cpu')
    targets = corrector.embedder.encode(texts)
    runs = []
    for name, (steps, beam) in SETTINGS.items():
        start = time.time()
        result = corrector.invert(targets, steps, beam)
        seconds = (time.time()-start)/n
        scores = text_metrics(result.texts, texts, corrector.embedder.encode(result.texts), targets)
        runs.append(dict(setting=name, num_steps=steps, sequence_beam_width=beam, seconds_per_text=round(seconds, 3), texts=result.texts,
                         scores={k: dict(mean=round(scores[k].mean, 5), sem=round(scores[k].sem, 5)) for k in METRICS}))
        print(name, {k: str(scores[k]) for k in METRICS}, f'{seconds:.2f} s a text', flush=True)
    return dict(command=f'python tools/evaluate_minilm.py --n {n} --seed {seed}', date=datetime.date.today().isoformat(), n=n, seed=seed,
                machine=f'{os.cpu_count()} cores, {platform.machine()}, no GPU', model_digest=model_digest(corrector),
                embedder_digest=corrector.embedder.digest[:16], data='WordNet 3.0, test split', references=texts, runs=runs)


CARD_TEXT = '''# Bundled inverter for all-MiniLM-L6-v2

Two small T5 models that read short English texts back out of their all-MiniLM-L6-v2 embeddings: a hypothesizer and a corrector, in
the published vec2text layout, half precision. A first, modest version: trained for about an hour on two CPU cores, to make the
method visible without network or GPU.

- **Texts**: definitions and example sentences of WordNet 3.0, 3 to 24 words, lower-cased (the embedder's tokenizer lower-cases, so
  case is not in the vector): {texts}. A hash of the text decides its split, so no held-out text was trained on.
- **Models**: T5, width 384, 1 encoder and 2 decoder layers, vocabulary 8,192, 8 pseudo-tokens, texts of up to 31 tokens.
- **Training**: `python tools/train_minilm.py`, seed 0, AdamW, batch 64; the hypothesizer {hyp_steps} steps, the corrector
  {corr_steps} steps on {corr_texts} greedy hypotheses.
- **Files**: {size:.0f} MB; model digest `{digest}`.

## Held-out scores

{n} texts of the test split, mean ± standard error. Cosine is between the embeddings of the recovered and the true text.

{table}

From `results/bundled_minilm.json`, written by `{command}` on {date} ({machine}).

## What it can and cannot do

It recovers what a short text is about and many of its words, sometimes the sentence. It does not know names, numbers, code or other
languages, and a text longer than 31 tokens cannot come back whole. What it fails to recover may still be recoverable: a larger
model trained for longer gets much further (arXiv 2310.06816).

## Licence

The weights are under Apache-2.0 like the code. WordNet 3.0 is Copyright 2006 by Princeton University, all rights reserved; its
licence permits use, copying, modification and distribution for any purpose without fee. The embedder is not included.
'''


def table(result):
    "The scores as a Markdown table"
    rows = ['| setting | token F1 | BLEU | exact match | cosine |', '|---|---|---|---|---|']
    for run in result['runs']:
        s = run['scores']
        cells = [f"{s[k]['mean']*scale:.{d}f} ± {s[k]['sem']*scale:.{d}f}"
                 for k, scale, d in [('token_f1', 100, 1), ('bleu', 1, 1), ('exact_match', 100, 1), ('cos_sim', 1, 3)]]
        rows.append('| ' + ' | '.join([run['setting'], *cells]) + ' |')
    return '\n'.join(rows)


def card(result):
    "The model card as text"
    size = sum(f.stat().st_size for f in CARD.parent.rglob('*') if f.is_file() and f != CARD)/1e6
    return CARD_TEXT.format(table=table(result), size=size, digest=result['model_digest'], **result['training'],
                            **{k: result[k] for k in ('n', 'command', 'date', 'machine')})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--n', type=int, default=200)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--card', action='store_true', help='only write the card from the JSON')
    a = p.parse_args()
    old = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result = old if a.card else {**evaluate(a.n, a.seed), 'training': json.loads((CARD.parent/'training.json').read_text())}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + '\n')
    CARD.write_text(card(result))


if __name__ == '__main__':
    sys.exit(main())
