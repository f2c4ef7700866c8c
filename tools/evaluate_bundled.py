"""Score the bundled inverter on nine kinds of held-out texts, keep the scores in results/bundled/, and write the model card from them.

    python tools/evaluate_bundled.py             # hours; can be stopped and resumed
    python tools/evaluate_bundled.py --n 40 --settings 0 20x8 --sets code docstrings english german french spanish polish
    python tools/evaluate_bundled.py --cosines   # the cosine of each answer of a beam of 8 to its target, which the page below reads
    python tools/evaluate_bundled.py --card      # only rewrite the card from the JSON files

The models were trained on other texts of the first three kinds, on mails and speeches, and on messages of other templates, and on none of
the rest. WordNet, the manuals and the King James Bible come from Debian packages; mails, speeches, tweets, reviews and editorials from
archives of package indexes (vec2text_nb.corpora says how to get them); records and messages are invented. A set that cannot be read is
"not run".

Code and languages, of which nbs/guides/how_good.ipynb shows what comes back, are further sets: they run only if --sets names them, their
scores are kept in results/bundled_kinds/, and the card is not about them."""
import argparse
import shlex
import sys
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT/'results'/'bundled'
KIND_RESULTS = ROOT/'results'/'bundled_kinds'
SENTENCES = ROOT/'nbs'/'guides'/'sentences.csv'
CARD = ROOT/'vec2text_nb'/'pretrained'/'all-MiniLM-L6-v2'/'README.md'
RECORDS = 60_000  # the first ones; the models were trained on texts of the train split alone
SETS = {  # name -> title, what the texts are
    'wordnet': ('WordNet', 'WordNet 3.0, definitions and examples, test split'),
    'records': ('invented records', f'invented records, the first {RECORDS:,} texts, test split'),
    'manuals': ('manuals', 'sentences of the manuals of Python, PostgreSQL, SQLite and Rust and of the Jargon File, test split'),
    'messages': ('messages of other templates',
                 'invented messages of held-out templates: tickets, orders, bank and clinic; none of these templates in training'),
    'people': ('mails and speeches', 'sentences of mails and State of the Union addresses, test split'),
    'tweets': ('tweets (out of domain)', 'tweets of Hutto and Gilbert (2014); none in training'),
    'reviews': ('product and film reviews (out of domain)', 'reviews of products and films of Hutto and Gilbert (2014); none in training'),
    'editorials': ('editorials (out of domain)', 'editorials of Hutto and Gilbert (2014); none in training'),
    'kjv': ('King James Bible (out of domain)', 'verses of the King James Bible of 3 to 24 words, lower-cased; none in training'),
}
LANGUAGES = ('english', 'german', 'french', 'spanish', 'polish')
KINDS = {  # name -> what the texts are
    'code': 'statements of the Python standard library; none in training',
    'docstrings': "sentences of the Python standard library's docstrings that are not in the manuals, "
                  "on other sentences of which the models were trained",
    **{name: f'thirty everyday sentences in {name.title()}, the same in five languages, without accents; none in training'
       for name in LANGUAGES},
}
SETTINGS = ('0', '1', '5', '20', '20x4', '20x8')


def results(name): return (KIND_RESULTS if name in KINDS else RESULTS)/f'{name}.json'


def without_accents(text):
    "The text as the embedder's tokenizer reads it, which keeps neither case nor accents"
    return ''.join(c for c in unicodedata.normalize('NFD', text) if unicodedata.category(c) != 'Mn')


def texts_of(name):
    "All texts of a set that the models were not trained on"
    from vec2text_nb.data import clean_text
    from vec2text_nb.paper.out_of_domain import code_texts, comparable, docstring_texts
    from vec2text_nb.sources import load_splits, load_texts
    if name in ('wordnet', 'manuals'): return load_splits(name)['test']
    if name == 'records': return load_splits(f'records:{RECORDS}')['test']
    if name == 'people': return load_splits('mails+speeches')['test']
    if name == 'messages': return load_texts('messages', 'test')
    if name == 'kjv': return comparable(load_texts('kjv'), min_words=3)
    if name == 'code': return [text for text in code_texts() if text[0] not in '\'"']  # no docstrings
    if name == 'docstrings': return docstring_texts()
    if name in LANGUAGES: return [clean_text(without_accents(text)) for text in load_texts(SENTENCES, text_column=name)]
    return list(dict.fromkeys(load_texts({'reviews': 'products+films'}.get(name, name), 'test')))


def evaluate(name, corrector, a, command):
    "Run what results/bundled/NAME.json lacks; say why, if the set cannot be read"
    from vec2text_nb.evaluation import draw_texts, name_scores, parse_setting, run_evaluation
    try: texts = draw_texts(texts_of(name), a.n, a.seed)
    except (ImportError, OSError) as err:
        print(f'{name}: not run: {err}')
        return
    settings = [parse_setting(s, a.n_beam if 'x' in s else None) for s in a.settings]

    def report(run):
        scores = ', '.join(f"{k} {v['mean']} ± {v['sem']}" for k, v in run['scores'].items())
        time = f"; {run['seconds_per_text']} s per text" if run['seconds_per_text'] else ''
        print(f"{name}, {run['setting']}, n = {run['n']}: {scores}{time}", flush=True)
    data = KINDS[name] if name in KINDS else SETS[name][1]
    run_evaluation(corrector, texts, settings, results(name), data, command, a.seed, overwrite=a.overwrite, report=report,
                   also=name_scores(texts) if name == 'records' else None)


def keep_cosines(corrector, command):
    "Write the cosine of each answer of 20 steps with a beam of 8 to its target, for all files that hold such answers, to cosines.json"
    from vec2text_nb.metrics import cosine
    from vec2text_nb.results import read_object, write_results
    def cosines(texts, references):
        return [round(c, 4) for c in cosine(*(corrector.embedder.encode(part, progress=False) for part in (texts, references))).tolist()]
    files = {name: read_object(results(name)) for name in [*SETS, *KINDS] if results(name).exists()}
    runs = {name: (content['references'], run) for name, content in files.items() for run in content['runs']
            if run['setting'] == '20 steps, beam 8'}
    found = {name: cosines(run['texts'], texts[:run['n']]) for name, (texts, run) in runs.items()}
    write_results(KIND_RESULTS/'cosines.json', command, corrector, cosines=found)


CARD_TEXT = '''# Bundled inverter for all-MiniLM-L6-v2

Two small T5 models that recover short English texts from their all-MiniLM-L6-v2 embeddings: a hypothesizer and a corrector, in the
layout of the published vec2text checkpoints and in half precision. They show the method without network or GPU.

- **Models**: T5, {models}.
  The corrector has {copy_heads} additional heads in each attention layer, initialized to copy the hypothesis.
- **Decoding**: no sequence of {ngram} tokens occurs twice in a text (`no_repeat_ngram_size` in the config, which `invert` can override).
- **Files**: {size:.0f} MB; model digest `{digest}`.

## Training

Texts of 3 to 24 words, lower-cased (the embedder's tokenizer lower-cases, so case is not in the vector). A hash decides the split of each
text, of mails and speeches as a whole, and templates of messages are held out; no held-out text was trained on. Invented records and
messages are about people who do not exist. Each of these runs began with the pair that the run before it had left:

{runs}

The losses step by step are in `results/training/`. The losses of different runs are on different held-out texts.

{stages}

## Held-out scores

These texts were used neither for training nor for choosing a model. Scores are mean ± standard error over n texts; the cosine is
between the embeddings of the recovered and the true text.

{table}

{sources}

## What it can and cannot do

It recovers the topic of a short text, many of its words, and sometimes the whole sentence. It recovers less of texts unlike its training
texts, and neither code nor other languages. A text longer than {longest} tokens cannot be recovered in full. A miss is not proof of
safety: a larger model trained for longer recovers much more (arXiv 2310.06816).

## License

The weights are under Apache-2.0, like the code. The training texts:

{licenses}

The embedder is not included.
'''

LOSSES = ('wordnet', 'records', 'manuals', 'messages', 'mails', 'speeches', 'novel', 'dialogs')  # the columns, by kind of text


def run_line(number, run):
    "How one run of the training was made"
    names = {'wordnet': 'WordNet', 'variants': 'parts and variants of these (`tools/vary_texts.py`)'}
    texts = '; texts: ' + ', '.join(f'{names.get(kind, kind)} {n:,}' for kind, n in run['texts'].items()) if run['texts'] else ''
    return f"{number}. {run['made_by']}: {run['settings']}{texts}; the pair `{run['model_digest']}`."


def stage_rows(number, run):
    "The stages of one run: seconds, samples and held-out losses"
    def losses(stage): return [f"{stage['held_out'][kind]:.2f}" if kind in stage['held_out'] else '' for kind in LOSSES]
    return [[str(number), s['name'], f"{s['seconds']:.0f}", f"{s['samples']:,}", *losses(s)] for s in run['stages']]


def card():
    "The model card as text, from the results, the configs and training.json. Raises ValueError if the results are of different weights."
    from vec2text_nb.evaluation import results_table
    from vec2text_nb.results import markdown_table, provenance, read_object
    folder, found = CARD.parent, {name: read_object(results(name)) for name in SETS if results(name).exists()}
    digests = {r['model_digest'] for r in found.values()}
    if len(digests) != 1: raise ValueError(f'results/bundled is of the weights {sorted(digests)}: expected those of one model')
    size = sum(f.stat().st_size for f in folder.rglob('*') if f.is_file() and f != CARD)/1e6
    config, other = (read_object(folder/part/'config.json') for part in ('hypothesizer', 'corrector'))
    (t5, wide), longest = (config['backbone'], other['backbone']), config['max_seq_length']-1
    def layers(t5): return f"{t5['num_layers']} encoder and {t5['num_decoder_layers']} decoder layers"
    models = (f"width {t5['d_model']}, {layers(t5)} (hypothesizer) or {layers(wide)} (corrector), "
              f"vocabulary {t5['vocab_size']:,}, {config['num_repeat_tokens']} pseudo-tokens, texts of up to {longest} tokens")
    sources = [f"- `results/bundled/{name}.json`: {r['data']}; {provenance(r)}." for name, r in found.items()]
    facts = read_object(folder/'training.json')
    runs = [*enumerate(facts['runs'], 1)]
    stages = [['run', 'stage', 'seconds', 'samples', *(f'loss: {kind}' for kind in LOSSES)],
              *(row for run in runs for row in stage_rows(*run))]
    return CARD_TEXT.format(**dict(
        models=models, runs='\n'.join(run_line(*run) for run in runs), copy_heads=wide['num_heads']-t5['num_heads'], longest=longest,
        ngram=config['no_repeat_ngram_size'], size=size, digest=digests.pop(), stages=markdown_table(stages), sources='\n'.join(sources),
        licenses='\n'.join(f'- {what}: {license}' for what, license in facts['licenses'].items()),
        table=results_table({title: results(name) for name, (title, _) in SETS.items()})))


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--n', type=int, default=1000, help='texts of each set (default: %(default)s)')
    p.add_argument('--n_beam', type=int, help='texts for the settings with a beam, the first ones (default: all)')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--sets', nargs='+', default=list(SETS), choices=[*SETS, *KINDS], metavar='SET', help='default: those of the card')
    p.add_argument('--settings', nargs='+', default=SETTINGS, metavar='S', help='correction steps, or steps x beam width (default: all)')
    p.add_argument('--overwrite', action='store_true', help='replace results of other weights or other texts')
    p.add_argument('--card', action='store_true', help='only rewrite the card from the JSON files')
    p.add_argument('--cosines', action='store_true', help='only write results/bundled_kinds/cosines.json')
    argv = sys.argv[1:] if argv is None else argv
    a = p.parse_args(argv)
    if not a.card:
        from vec2text_nb import load_pretrained_corrector
        corrector = load_pretrained_corrector('all-MiniLM-L6-v2')
        command = shlex.join(['python', 'tools/evaluate_bundled.py', *argv])
        if a.cosines: return keep_cosines(corrector, command)
        for name in a.sets: evaluate(name, corrector, a, command)
    try: CARD.write_text(card(), encoding='utf-8')
    except ValueError as err: return f'The scores are kept, the card was not written: {err}. Run the other sets too.'


if __name__ == '__main__':
    sys.exit(main())
