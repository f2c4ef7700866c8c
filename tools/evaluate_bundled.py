"""Score the bundled inverter on three sets of held-out texts, keep the figures in results/bundled/, and write the model card from them.

    python tools/evaluate_bundled.py             # hours; can be stopped and started again
    python tools/evaluate_bundled.py --card      # only write the card again from the JSON

The sets are WordNet and invented records, of whose other texts the models were trained on, and, out of their domain, the King James
Bible. They need WordNet (Debian's wordnet-base), Faker, and Debian's bible-kjv; a set that cannot be read is "not run"."""
import argparse
import json
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT/'results'/'bundled'
CARD = ROOT/'vec2text_nb'/'pretrained'/'all-MiniLM-L6-v2'/'README.md'
RECORDS = 60_000  # those that the models were trained on the train split of
TITLES = {'wordnet': 'WordNet', 'records': 'invented records', 'kjv': 'King James Bible (out of domain)'}
DATA = {'wordnet': 'WordNet 3.0, definitions and examples, test split',
        'records': f'invented records, the first {RECORDS:,} texts, test split',
        'kjv': 'verses of the King James Bible of 3 to 24 words, lower-cased; none in training'}
SETTINGS = ('0', '1', '5', '20', '20x4', '20x8')


def results(name): return RESULTS/f'{name}.json'


def texts_of(name):
    "All texts of a set that the models were not trained on"
    from vec2text_nb.paper.out_of_domain import comparable
    from vec2text_nb.sources import load_splits, load_texts
    if name == 'wordnet': return load_splits('wordnet')['test']
    if name == 'records': return load_splits(f'records:{RECORDS}')['test']
    return comparable(load_texts('kjv'), min_words=3)


def evaluate(name, corrector, a, command):
    "Run what results/bundled/NAME.json lacks; say why, if the set cannot be read"
    from vec2text_nb.evaluation import draw_texts, name_scores, parse_setting, run_evaluation
    try: texts = draw_texts(texts_of(name), a.n, a.seed)
    except (ImportError, OSError) as err:
        print(f'{name}: not run: ' + ("Debian's bible-kjv-text is not installed" if name == 'kjv' else err))
        return
    settings = [parse_setting(s, a.n_beam if 'x' in s else None) for s in a.settings]

    def report(run):
        scores = ', '.join(f"{k} {v['mean']} ± {v['sem']}" for k, v in run['scores'].items())
        time = f"; {run['seconds_per_text']} s a text" if run['seconds_per_text'] else ''
        print(f"{name}, {run['setting']}, n = {run['n']}: {scores}{time}", flush=True)
    run_evaluation(corrector, texts, settings, results(name), DATA[name], command, a.seed, overwrite=a.overwrite, report=report,
                   also=name_scores(texts) if name == 'records' else None)


CARD_TEXT = '''# Bundled inverter for all-MiniLM-L6-v2

Two small T5 models that read short English texts back out of their all-MiniLM-L6-v2 embeddings: a hypothesizer and a corrector, in
the published vec2text layout, half precision. They make the method visible without network or GPU.

- **Texts**: {data},
  3 to 24 words, lower-cased (the embedder's tokenizer lower-cases, so case is not in the vector): {texts}.
  Held out were {held_out}. A hash of the text decides its split, so no held-out text was trained on.
- **Models**: T5, {models}.
  The corrector has {copy_heads} more heads in each attention, which began wired to copy the hypothesis (`--copy_heads`).
- **Training**: {made_by}.
  Seeds {seed}, AdamW, batch {batch_size}; the hypothesizer {steps[first_hypothesizer]:,} steps on unchanged texts and half of the records
  to a loss of {losses[first_hypothesizer]}, then {steps[hypothesizer]:,} on all to {losses[hypothesizer]}; the corrector
  {steps[first_corrector]:,} steps on {corr_texts} texts to {losses[first_corrector]}, then {steps[corrector]:,} on all to
  {losses[corrector]} (training losses of the last 100 steps). Of the hypotheses that it corrects, {corrupted} are the text itself with
  words exchanged, left out or moved, the others the hypothesizer's.
- **Decoding**: no {ngram} tokens come twice in a text (`no_repeat_ngram_size` in the config, which `invert` can overrule).
- **Files**: {size:.0f} MB; model digest `{digest}`.

```sh
{commands}
```

## Held-out scores

Texts that the models were neither trained nor chosen on, mean ± standard error over n texts. Cosine is between the embeddings of the
recovered and the true text.

{table}

{sources}

## What it can and cannot do

It recovers what a short text is about and many of its words, sometimes the sentence. It knows no names, numbers, code or other
languages beyond those of the texts that it was trained on, and a text longer than {longest} tokens cannot come back whole. What it
fails to recover may still be recoverable: a larger model trained for longer gets much further (arXiv 2310.06816).

## Licence

The weights are under Apache-2.0 like the code. WordNet 3.0 is Copyright 2006 by Princeton University, all rights reserved; its
licence permits use, copying, modification and distribution for any purpose without fee.{licence} The embedder is not included.
'''


def card():
    "The model card as text, from the results, the configs and training.json. Raises ValueError if the results are of different weights."
    from vec2text_nb.evaluation import results_table
    folder, found = CARD.parent, {name: json.loads(results(name).read_text()) for name in TITLES if results(name).exists()}
    digests = {r['model_digest'] for r in found.values()}
    if len(digests) != 1: raise ValueError(f'results/bundled is of the weights {sorted(digests)}: expected those of one model')
    size = sum(f.stat().st_size for f in folder.rglob('*') if f.is_file() and f != CARD)/1e6
    config, other = (json.loads((folder/part/'config.json').read_text()) for part in ('hypothesizer', 'corrector'))
    t5, longest = config['backbone'], config['max_seq_length']-1
    models = (f"width {t5['d_model']}, {t5['num_layers']} encoder and {t5['num_decoder_layers']} decoder layers, "
              f"vocabulary {t5['vocab_size']:,}, {config['num_repeat_tokens']} pseudo-tokens, texts of up to {longest} tokens")
    sources = [f"- `results/bundled/{name}.json`: {r['data']}; `{r['command']}`, {r['date']}, {r['machine']}." for name, r in found.items()]
    facts = json.loads((folder/'training.json').read_text())
    return CARD_TEXT.format(**facts | dict(
        models=models, copy_heads=other['backbone']['num_heads']-t5['num_heads'], longest=longest, ngram=config['no_repeat_ngram_size'],
        size=size, digest=digests.pop(),
        commands='\n'.join(facts['commands']), sources='\n'.join(sources),
        table=results_table({TITLES[name]: results(name) for name in TITLES})))


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--n', type=int, default=1000, help='texts of each set (default: %(default)s)')
    p.add_argument('--n_beam', type=int, help='texts for the settings with a beam, the first ones (default: all)')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--sets', nargs='+', default=list(TITLES), choices=list(TITLES), metavar='SET')
    p.add_argument('--settings', nargs='+', default=SETTINGS, metavar='S', help='correction steps, or steps x beams (default: all six)')
    p.add_argument('--overwrite', action='store_true', help='replace results of other weights or other texts')
    p.add_argument('--card', action='store_true', help='only write the card from the JSON')
    argv = sys.argv[1:] if argv is None else argv
    a = p.parse_args(argv)
    if not a.card:
        from vec2text_nb import load_pretrained_corrector
        corrector = load_pretrained_corrector('all-MiniLM-L6-v2')
        for name in a.sets: evaluate(name, corrector, a, shlex.join(['python', 'tools/evaluate_bundled.py', *argv]))
    try: CARD.write_text(card(), encoding='utf-8')
    except ValueError as err: return f'The scores are kept, the card was not written: {err}. Run the other sets too.'


if __name__ == '__main__':
    sys.exit(main())
