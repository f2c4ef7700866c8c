"""How fast a training step is: this package's trainers against a plain loop, cell by cell, written to results/speed/training.json.

    python tools/bench_training.py                               # every cell that is not in the file yet
    python tools/bench_training.py --only 'bundled-*' --redo     # some of them again
    python tools/bench_training.py --only '*-bfloat16' --not_run 'no such unit'   # say why cells are left out

The plain loop is `transformers.Trainer` with the same model class, optimizer and texts, in random batches, every text padded
to the full length. A cell is a shape of T5, a length, an experiment and a precision: fresh weights, random unit vectors as
embeddings, texts of WordNet at length 32 and passages of one to nine of them, joined, at longer ones. The tokenizer is the
bundled one. A corrector's hypothesis is as long as its text. None of this changes the time of a step (tools/bench_denormals.py has the
exception); the lengths do, and they are real.

One repeat is an epoch over the texts of a few length-grouped batches: of the 50 batches that are sorted together in a
training, some at equal distances from the shortest to the longest, other ones in each repeat. Both loops train on the same
texts, one after the other, in one process. Tokens are those of the texts, `</s>` counted and padding not. Times are CPU
seconds on one thread, which a shared machine blurs less than the clock's (kept beside them); with --device cuda the clock's.
"""
import argparse
import datetime
import fnmatch
import itertools
import os
import platform
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import transformers
from torch.nn.functional import normalize
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from vec2text_nb.checkpoints import load_tokenizer
from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.data import wordnet_texts
from vec2text_nb.decoding import pad_ids
from vec2text_nb.hypothesizer import InversionConfig, InversionModel
from vec2text_nb.training import CorrectorTrainer, HypothesizerTrainer, Pairs, Ragged, length_batches, tokenize
from vec2text_nb.utilities import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT/'results'/'speed'/'training.json'
TOKENIZER = ROOT/'vec2text_nb'/'pretrained'/'all-MiniLM-L6-v2'/'hypothesizer'
SHAPES = { # a T5, the width of the embeddings, pseudo-tokens
    't5-small': (dict(vocab_size=32128, d_model=512, d_kv=64, d_ff=2048, num_layers=6, num_heads=8, dropout_rate=.1,
                      feed_forward_proj='relu'), 768, 16),
    'bundled': (dict(vocab_size=8192, d_model=384, d_kv=64, d_ff=768, num_layers=1, num_decoder_layers=2, num_heads=6, dropout_rate=0.,
                     feed_forward_proj='gated-gelu'), 384, 8),
    'toy': (dict(vocab_size=8192, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, dropout_rate=0.), 6, 2)}
STEPS = {('bundled', 32): 4, ('bundled', 128): 2, ('t5-small', 32): 2}     # of a repeat; 1 in other cells
BATCH = {('bundled', 32): 32}                                               # 16 in other cells
PARTS = ('data', 'forward', 'backward', 'optimizer', 'rest')


# Texts and models

def source_texts(path, length, rng):
    "Texts, in random order: lines of a file or WordNet's, joined to passages if there is room"
    texts = path.read_text(encoding='utf-8').splitlines() if path else wordnet_texts()
    texts = [texts[i] for i in rng.permutation(len(texts))]
    if length <= 32: return texts
    ends = np.cumsum(rng.integers(1, 10, len(texts)))
    return [' '.join(texts[i:j]) for i, j in zip(ends, ends[1:]) if j <= len(texts)]


def make_pairs(c, path, seed):
    "The pairs of 50 batches"
    rng = np.random.default_rng(seed)
    texts = source_texts(path, c['length'], rng)[:50*c['batch']]
    labels, cut = tokenize(texts, load_tokenizer(TOKENIZER), c['length'])
    def vectors(): return normalize(torch.from_numpy(rng.standard_normal((len(cut), SHAPES[c['model']][1]), dtype=np.float32))).numpy()
    if c['experiment'] == 'inversion': return Pairs(cut, labels, vectors())
    ids = pad_ids([[0, *labels[i][:-1]] for i in range(len(cut))]).numpy()
    return Pairs(cut, labels, vectors(), ids, vectors())


def strata(lengths, batch, steps, repeats, seed):
    "The rows of each repeat: length-grouped batches at equal distances from the shortest to the longest"
    batches = sorted(length_batches(lengths, batch, seed=seed), key=lambda rows: lengths[rows].mean())
    batches = [rows for rows in batches if len(rows) == batch]
    if len(batches) < steps*repeats:
        raise ValueError(f'{len(batches)} batches of {batch} texts for {repeats} repeats of {steps} steps: give more texts or fewer steps.')
    picks = ((np.arange(steps*repeats)+.5)*len(batches)/(steps*repeats)).astype(int)
    return [np.concatenate([batches[p] for p in picks[r::repeats]]) for r in range(repeats)]


def some_pairs(pairs, rows):
    "The pairs of these rows"
    def pick(part): return None if part is None else part[rows]
    return Pairs([pairs.texts[i] for i in rows], Ragged([pairs.labels[i] for i in rows]), pairs.embeddings[rows],
                 pick(pairs.hypothesis_ids), pick(pairs.hypothesis_embeddings))


def make_model(c, seed):
    t5, dim, tokens = SHAPES[c['model']]
    torch.manual_seed(seed)
    config = InversionConfig(backbone=dict(t5, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1), embedder_dim=dim,
                             num_repeat_tokens=tokens, max_seq_length=c['length'], embedder_model_name='random')
    return (InversionModel if c['experiment'] == 'inversion' else CorrectorEncoderModel)(config)


class Padded(torch.utils.data.Dataset):
    "What the plain loop trains on: the same pairs, padded to the full length once and for all"
    def __init__(self, pairs, length):
        def pad(rows, value): return torch.nn.functional.pad(rows, (0, length-rows.shape[1]), value=value)
        batch = pairs.collate(range(len(pairs)))
        self.columns = batch | dict(labels=pad(batch['labels'], -100))
        if 'hypothesis_ids' in batch: self.columns['hypothesis_ids'] = pad(batch['hypothesis_ids'], 0)

    def __len__(self): return len(self.columns['labels'])

    def __getitem__(self, i): return {k: column[i] for k, column in self.columns.items()}


# Measuring

class Laps(TrainerCallback):
    "Seconds of each part of the steps of a trainer, real tokens and steps"
    def __init__(self, trainer, device):
        self.device, self.loss, trainer.compute_loss = device, trainer.compute_loss, self.compute_loss
        trainer.add_callback(self)

    def now(self):
        if self.device == 'cpu': return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def lap(self, part):
        now = self.now()
        self.seconds[part] += now - self.last
        self.last = now

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.tokens += (inputs['labels'] != -100).sum().item()
        out = self.loss(model, inputs, *args, **kwargs)
        self.lap('forward')
        return out

    def on_epoch_begin(self, *args, **kwargs):
        self.seconds, self.tokens, self.steps = dict.fromkeys(PARTS, 0.), 0, 0
        self.last, self.started = self.now(), time.perf_counter()

    def on_step_begin(self, *args, **kwargs): self.lap('data')

    def on_pre_optimizer_step(self, *args, **kwargs): self.lap('backward')      # and the clipping of gradients

    def on_optimizer_step(self, *args, **kwargs): self.lap('optimizer')

    def on_step_end(self, *args, **kwargs):
        self.lap('rest')
        self.steps, self.clock = self.steps+1, time.perf_counter()-self.started


def make_trainer(cls, c, a, folder):
    "A trainer with a fresh model, and its laps"
    args = TrainingArguments(folder, per_device_train_batch_size=c['batch'], num_train_epochs=1, learning_rate=1e-4, seed=a.seed,
                             bf16=c['dtype'] == 'bfloat16', use_cpu=a.device == 'cpu', save_strategy='no', logging_strategy='no',
                             report_to='none', disable_tqdm=True)
    trainer = cls(make_model(c, a.seed), args=args, train_dataset=[])
    trainer.remove_callback(PrinterCallback)
    return trainer, Laps(trainer, a.device)


def ratio(over, under):
    "The ratio of the sums of paired numbers, and its standard error by linearisation"
    over, under = np.array(over), np.array(under)
    value = over.sum()/under.sum()
    error = np.std(over-value*under, ddof=1)/len(over)**.5/under.mean() if len(over) > 1 else float('nan')
    return float(f'{value:.4g}'), float(f'{error:.2g}')


def summary(runs):
    "Of the repeats of one loop: seconds per step and tokens per second with standard errors, and the share of each part"
    seconds, steps, tokens = [sum(r['seconds'].values()) for r in runs], [r['steps'] for r in runs], [r['tokens'] for r in runs]
    shares = {part: round(sum(r['seconds'][part] for r in runs)/sum(seconds), 4) for part in PARTS}
    out = dict(zip(('seconds_per_step', 'seconds_per_step_sem'), ratio(seconds, steps)))
    out |= zip(('tokens_per_second', 'tokens_per_second_sem'), ratio(tokens, seconds))
    return out | dict(clock_seconds_per_step=ratio([r['clock'] for r in runs], steps)[0], shares=shares)


def run_cell(c, a):
    "Measure one cell"
    pairs = make_pairs(c, a.texts, a.seed)
    rows = strata(pairs.labels.lengths, c['batch'], c['steps'], a.repeats, a.seed)
    inversion = c['experiment'] == 'inversion'
    runs = dict(plain=[], ours=[])
    with tempfile.TemporaryDirectory() as folder:
        ours = HypothesizerTrainer if inversion else partial(CorrectorTrainer, inversion_model=torch.nn.Identity())
        trainers = dict(plain=make_trainer(Trainer, c, a, folder), ours=make_trainer(ours, c, a, folder))
        for k, part in enumerate([rows[0][:c['batch']], *rows]):         # the first is a step to warm up
            some = some_pairs(pairs, part)
            for name, (trainer, laps) in trainers.items():
                trainer.train_dataset = Padded(some, c['length']) if name == 'plain' else some
                trainer.train()
                if k: runs[name].append({x: getattr(laps, x) for x in ('seconds', 'tokens', 'steps', 'clock')})
    totals = {name: [sum(r['seconds'].values()) for r in rs] for name, rs in runs.items()}
    if [r['tokens'] for r in runs['plain']] != [r['tokens'] for r in runs['ours']]: raise RuntimeError('The loops saw different texts.')
    tokens = pairs.labels.lengths[np.concatenate(rows)]
    res = dict(mean_tokens=round(float(tokens.mean()), 2), n=dict(steps=c['steps']*a.repeats, repeats=a.repeats))
    res |= {name: summary(rs) for name, rs in runs.items()}
    return res | dict(zip(('ratio', 'ratio_sem'), ratio(totals['plain'], totals['ours'])))


def cells(toy=False):
    models, dtypes = ['toy'] if toy else ['bundled', 't5-small'], ['float32', 'bfloat16']
    for model, length, experiment, dtype in itertools.product(models, [32, 128], ['inversion', 'corrector'], dtypes):
        yield dict(model=model, length=length, experiment=experiment, dtype=dtype,
                   batch=BATCH.get((model, length), 16), steps=STEPS.get((model, length), 1))


def record(path, name, cell):
    "Put a cell into the file, at once"
    found = read_json(path, dict(cells={}))
    found['cells'][name] = cell
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', default='*', help='pattern of cell names')
    p.add_argument('--steps', type=int, help='of each loop in a repeat; default: 1 to 4, by cell')
    p.add_argument('--batch', type=int, help='texts in a batch; default: 16 or 32, by cell')
    p.add_argument('--repeats', type=int, default=3)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    p.add_argument('--texts', type=Path, help='a file of texts, one a line, instead of WordNet')
    p.add_argument('--not_run', metavar='REASON', help='record that these cells are not run, and why')
    p.add_argument('--out', type=Path, default=FILE, help='file of results')
    p.add_argument('--redo', action='store_true', help='also cells that are in the file')
    p.add_argument('--toy', action='store_true', help='cells of a toy model instead, to try this tool')
    p.add_argument('--list', action='store_true', help='name the cells that are left to do')
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    transformers.logging.set_verbosity_error()
    done = read_json(a.out, dict(cells={}))['cells']
    for c in cells(a.toy):
        name = '{model}-{length}-{experiment}-{dtype}'.format(**c)
        if not fnmatch.fnmatch(name, a.only) or (name in done and not a.redo): continue
        if a.list:
            print(name)
            continue
        c |= {k: getattr(a, k) for k in ('batch', 'steps') if getattr(a, k)}
        given = dict(steps=c['steps'], batch=c['batch'], repeats=a.repeats, seed=a.seed, threads=a.threads, device=a.device)
        command = ' '.join(['python tools/bench_training.py --only', name, *(f'--{k} {v}' for k, v in given.items())])
        machine = f'{os.cpu_count()} cores, {platform.machine()}, ' + ('no GPU' if a.device == 'cpu' else torch.cuda.get_device_name())
        facts = dict(command=command, date=datetime.date.today().isoformat(), machine=machine, threads=a.threads,
                     seed=a.seed, torch=torch.__version__.split('+')[0], transformers=transformers.__version__)
        res = dict(not_run=a.not_run) if a.not_run else facts | run_cell(c, a)
        record(a.out, name, c | res)
        print(name, {k: res[k] for k in ('not_run', 'ratio', 'ratio_sem', 'mean_tokens') if k in res}, flush=True)


if __name__ == '__main__':
    sys.exit(main())
