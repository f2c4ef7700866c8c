"""How long an inversion takes: this package against the plain path, in one process, cell by cell, written to results/speed/.

    python tools/bench.py --only 't5-small-32-*'                  # cells of the grid by a pattern of their names, see --list
    python tools/bench.py --only 'bundled-*' --redo               # again after the bundled weights have changed: a few minutes
    python tools/bench.py --only 'bundled-32-steps5-*' --variant bfloat16

The plain path is the obvious loop: `transformers.generate`, every pair asked and every text embedded again at each step,
everything padded to the full length. Both paths take `batch` texts at a time, with all hypotheses of their beams. With the
bundled model this package's `CachedDecoder` takes the place of `generate`, which fails with a cache where encoder and decoder
differ in depth (transformers 5.23) and stops beam searches by another rule; it runs the same layers of transformers. A cell runs
both alternately, on the same targets, and compares the texts. A cell whose file exists is skipped.

Times are CPU seconds of this process on one thread: a shared machine blurs them less than the clock's, which are kept
beside them. The floor is the sum over all matrix products of the fast path of the longer of two times: its operations
at the speed of a large product, its bytes at the speed of a large copy. Both speeds are measured in the same run.
"""
import argparse
import ctypes
import datetime
import fnmatch
import gc
import itertools
import os
import platform
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vec2text_nb.corrector import CorrectorEncoderModel
from vec2text_nb.decoding import CachedDecoder, beam_search, pad_ids, trim_ids
from vec2text_nb.embedders import Embedder
from vec2text_nb.hypothesizer import InversionConfig, InversionModel
from vec2text_nb.inversion import Corrector
from vec2text_nb.metrics import cosine
from vec2text_nb.results import read_object
from vec2text_nb.utilities import write_json

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT/'results'/'speed'
SHAPES = {'t5-small': dict(d_model=512, d_ff=2048, num_layers=6, num_heads=8),
          't5-base': dict(d_model=768, d_ff=3072, num_layers=12, num_heads=12)}
GRID = dict(steps=(0, 1, 5, 20, 50), beams=(0, 2, 4, 8), batch=(1, 16, 64))
KIND = dict(mm='products', bmm='products', addmm='products', _scaled_dot_product_flash_attention_for_cpu='products',
            _softmax='softmax and ranking', _log_softmax='softmax and ranking', topk='softmax and ranking', argmax='softmax and ranking',
            copy_='copies', index='copies', cat='copies', _index_put_impl_='copies', clone='copies')


# Random models of a known shape

class Words:
    "A tokenizer whose tokens are numbered words"
    def batch_decode(self, rows, skip_special_tokens=True): return [' '.join(f'w{i}' for i in row if i > 1) for row in rows]

    def __call__(self, texts, truncation=True, max_length=512):
        return {'input_ids': [[int(w[1:]) for w in t.split()][:max_length] for t in texts]}


class MeanEmbedder(Embedder):
    "The mean of a T5 encoder's states, as the GTR embedders; `pad_to` pads every text to that length"
    name, max_tokens, normalized, pad_to = 'random T5 encoder', 512, False, None

    def __init__(self, t5): self.encoder, self.dim, self.device = t5.encoder, t5.config.d_model, torch.device('cpu')

    def _embed(self, texts, limit):
        ids = pad_ids([*Words()(texts, max_length=limit)['input_ids'], *([[0]*self.pad_to] if self.pad_to else [])])[:len(texts)]
        mask = (ids > 0).long()
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return (states*mask[:, :, None]).sum(1)/mask.sum(1, keepdim=True).clamp(1)


def random_corrector(shape, length, seed):
    "A pair of models whose texts never end: the word embeddings of </s> and padding are zero, so other tokens are always likelier"
    torch.manual_seed(seed)
    t5 = dict(SHAPES[shape], vocab_size=32128, d_kv=64, num_decoder_layers=SHAPES[shape]['num_layers'], dropout_rate=0.,
              feed_forward_proj='relu', decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
    config = InversionConfig(backbone=t5, embedder_dim=t5['d_model'], max_seq_length=length, embedder_model_name='random')
    models = [InversionModel(config).eval(), CorrectorEncoderModel(config).eval()]
    with torch.no_grad():
        for m in models: m.encoder_decoder.shared.weight[:2] = 0
    return Corrector(*models, MeanEmbedder(InversionModel(config).eval().encoder_decoder), Words())


def problem(model, length, n, seed, dtype=torch.float32):
    "A corrector and the targets of `n` texts"
    if model in SHAPES:
        corrector, g = random_corrector(model, length, seed), torch.Generator().manual_seed(seed)
        texts = Words().batch_decode(torch.randint(2, 32128, (n, length-1), generator=g).tolist())
    else:
        from vec2text_nb import load_pretrained_corrector
        corrector = load_pretrained_corrector(device='cpu')
        texts = read_object(ROOT/"results"/"bundled"/"wordnet.json")['references'][seed:seed+n]
    targets = corrector.embedder.encode(texts, max_tokens=length, progress=False)
    for m in (corrector.inversion_model, corrector.corrector_model): m.to(dtype)
    return corrector, targets


# The plain path

def generated(model, inputs, length, beams, decoder):
    "Proposals for each row: by `generate`, or by this package's slow decoder"
    from transformers import GenerationConfig
    from transformers.modeling_outputs import BaseModelOutput
    with torch.no_grad():
        hidden, mask = model.encode(*inputs)
        t5, n, size = model.encoder_decoder, max(1, beams), model.config.no_repeat_ngram_size
        if decoder == 'slow': return beam_search(t5, hidden, mask, length, n, CachedDecoder, size)
        config = GenerationConfig(max_length=length, num_beams=n, num_return_sequences=n, decoder_start_token_id=0,
                                  pad_token_id=0, eos_token_id=1, no_repeat_ngram_size=size)
        rows = t5.generate(encoder_outputs=BaseModelOutput(hidden), attention_mask=mask, generation_config=config)
        rows = [trim_ids(row) for row in rows.tolist()]
    return [rows[i:i+n] for i in range(0, len(rows), n)]


def plain_embed(corrector, ids, length):
    "Texts and vectors, every text padded to the full length"
    e, texts = corrector.embedder, corrector.tokenizer.batch_decode([list(row) for row in ids], skip_special_tokens=True)
    if isinstance(e, MeanEmbedder):
        e.pad_to = length
        vectors = e.encode(texts, max_tokens=length, progress=False)
        e.pad_to = None
        return texts, vectors
    longest = 'word ' * length          # a text of full length, so that the others are padded to it
    parts = [[*texts[i:i+64], longest] for i in range(0, len(texts), 64)]
    return texts, torch.cat([e.encode(part, 65, max_tokens=length, progress=False)[:-1] for part in parts])


def plain_chunk(corrector, targets, steps, beams, length, batch, decoder):
    "The search for a few targets: beams of (cosine, ids, text, vector)"
    rows_at_once = batch*max(1, beams)
    def scored(rows, owners):
        texts, vectors = plain_embed(corrector, rows, length)
        return [*zip(cosine(vectors, targets[owners]).tolist(), rows, texts, vectors)]
    first = [row[0] for row in generated(corrector.inversion_model, [targets], length, 0, decoder)]
    live = [[h] for h in scored(first, [*range(len(targets))])]
    for _ in range(steps):
        pairs, proposals = [(i, h) for i, beam in enumerate(live) for h in beam], []
        for k in range(0, len(pairs), rows_at_once):
            part = pairs[k:k+rows_at_once]
            ids = pad_ids([*(h[1] for _, h in part), [0]*length])[:-1]
            inputs = [targets[[i for i, _ in part]], ids, torch.stack([h[3] for _, h in part])]
            proposals += generated(corrector.corrector_model, inputs, length, beams, decoder)
        owners = [i for (i, _), rows in zip(pairs, proposals) for _ in rows]
        found = scored([ids for rows in proposals for ids in rows], owners)
        for i in range(len(targets)):
            mine = sorted((h for h, o in zip(found, owners) if o == i), key=lambda h: -h[0])
            live[i] = [*{h[1]: h for h in mine[::-1]}.values()][::-1][:max(1, beams)]
    return [beam[0][2] for beam in live]


def plain_invert(corrector, targets, steps, beams, length, batch, decoder='generate'):
    "The answers of the plain path: the last text of each chain, or the best of each last beam"
    chunks = [targets[k:k+batch] for k in range(0, len(targets), batch)]
    return [text for chunk in chunks for text in plain_chunk(corrector, chunk, steps, beams, length, batch, decoder)]


# Measuring

class Peak(threading.Thread):
    "Peak of the memory that the process holds, above what it held at the start, in bytes"
    def __enter__(self):
        gc.collect()
        if platform.libc_ver()[0] == 'glibc': ctypes.CDLL(None).malloc_trim(0)     # give back what an earlier run freed
        self.on, self.start_, self.peak = True, self.resident(), 0
        self.start()
        return self

    def __exit__(self, *exc):
        self.on = False
        self.join()

    def resident(self): return int(Path('/proc/self/statm').read_text(encoding='utf-8').split()[1])*os.sysconf('SC_PAGE_SIZE')

    def run(self):
        while self.on:
            self.peak = max(self.peak, self.resident()-self.start_)
            time.sleep(.02)


class Floor(TorchDispatchMode):
    "Adds up the time that the matrix products would take at the two measured speeds"
    def __init__(self, speeds):
        super().__init__()
        self.speeds, self.seconds, self.operations, self.bytes = speeds, 0., 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out, name = func(*args, **(kwargs or {})), func._schema.name.split('::')[1]
        if KIND.get(name) == 'products':
            a, b = args[-2:] if name == 'addmm' else args[:2]
            attention = name.startswith('_scaled')
            res = out[0] if attention else out
            ops = 4*a.numel()*b.shape[-2] if attention else 2*res.numel()*a.shape[-1]
            size = sum(t.numel()*t.element_size() for t in ((*args[:3], res) if attention else (a, b, res)))
            self.operations, self.bytes = self.operations+ops, self.bytes+size
            self.seconds += max(ops/self.speeds['operations_per_second'], size/self.speeds['bytes_per_second'])
        return out


def measured_speeds():
    "The best of a few large products and copies"
    a, x = torch.randn(1024, 1024), torch.randn(2**24)
    y = torch.empty_like(x)
    def best(f): return min(timed(f)[0] for _ in range(8))
    return dict(operations_per_second=round(2*1024**3/best(lambda: a@a)), bytes_per_second=round(2*x.numel()*4/best(lambda: y.copy_(x))))


def timed(f):
    "CPU seconds, seconds by the clock, result"
    cpu, clock = time.process_time(), time.perf_counter()
    res = f()
    return time.process_time()-cpu, time.perf_counter()-clock, res


@contextmanager
def profiled():
    "Fills the dictionary that it gives with shares of the operations' CPU time by kind; 'other' is elementwise work"
    from torch.profiler import ProfilerActivity
    shares = {}
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as p: yield shares
    events = [(e.key.split('aten::')[1], e.self_cpu_time_total) for e in p.key_averages() if e.key.startswith('aten::')]
    events = [(KIND.get(name, 'other'), t) for name, t in events]
    for kind, t in events: shares[kind] = round(shares.get(kind, 0) + t/sum(t for _, t in events), 4)


def cell_name(c): return '{model}-{length}-steps{steps}-beams{beams}-batch{batch}'.format(**c)


def cells():
    for model, length in itertools.product(['bundled', 't5-small', 't5-base'], [32, 128]):
        if model == 'bundled' and length != 32: continue
        for values in itertools.product(*GRID.values()):
            c = dict(model=model, length=length, **dict(zip(GRID, values)))
            if not (c['beams'] and not c['steps']): yield c


def run_cell(c, a):
    "Measure one cell"
    corrector, targets = problem(c['model'], c['length'], a.texts or c['batch'], a.seed)
    rule = 'slow' if c['model'] == 'bundled' else 'generate'
    settings = dict(batch_size=c['batch']*max(1, c['beams']), max_length=c['length'], keep_best=False, progress=False)
    def fast(): return corrector.invert(targets, c['steps'], c['beams'], **settings)
    def plain(): return plain_invert(corrector, targets, c['steps'], c['beams'], c['length'], c['batch'], rule)
    corrector.invert(targets[:1], min(1, c['steps']), 0, max_length=c['length'], progress=False)           # warm up
    runs, peaks, texts, steps = {'plain': [], 'fast': []}, {}, {}, []
    for name, f in [('fast', fast), ('plain', plain)]*a.repeats:
        with Peak() as peak: cpu, clock, res = timed(f)
        runs[name].append((cpu, clock))
        peaks[name] = max(peak.peak, peaks.get(name, 0))
        texts[name] = res if name == 'plain' else res.texts
        if name == 'fast': steps = res.steps
    n = len(targets)
    out = dict(n=n, equal_texts=sum(x == y for x, y in zip(texts['fast'], texts['plain'])), steps_computed=steps, plain_search=rule)
    for name, times in runs.items():
        cpu, clock = (round(sum(column)/len(times)/n, 4) for column in zip(*times))
        out[name] = dict(seconds_per_text=cpu, clock_seconds_per_text=clock, peak_bytes=peaks[name])
    out['ratio'] = round(out['plain']['seconds_per_text']/out['fast']['seconds_per_text'], 2)
    speeds = measured_speeds()
    with profiled() as shares, Floor(speeds) as floor: fast()
    out['floor'] = dict(speeds, seconds_per_text=round(floor.seconds/n, 4), operations_per_text=floor.operations//n,
                        bytes_per_text=floor.bytes//n)
    out['profile'] = shares
    weights = [p for m in (corrector.inversion_model, corrector.corrector_model) for p in m.parameters()]
    out['weights_bytes'] = sum(p.numel()*p.element_size() for p in weights)
    return out


def run_variant(c, a):
    "How often the answers of another precision, or of compiled encoders, differ from those of float32, and how long they take"
    n, answers = a.texts or c['batch'], {}
    settings = dict(batch_size=c['batch']*max(1, c['beams']), max_length=c['length'], progress=False)
    for variant in ('float32', a.variant):
        corrector, targets = problem(c['model'], c['length'], n, a.seed, torch.bfloat16 if variant == 'bfloat16' else torch.float32)
        invert, first = partial(corrector.invert, targets, c['steps'], c['beams'], **settings), {}
        if variant == 'compiled':
            for m in (corrector.inversion_model, corrector.corrector_model): m.encode = torch.compile(m.encode, dynamic=True)
            first = dict(first_seconds=round(timed(invert)[1], 1))     # clock: compilers run in processes of their own
        cpu, _, res = timed(invert)
        answers[variant] = dict(seconds_per_text=round(cpu/n, 4), mean_cosine=round(sum(res.cosines)/n, 5), texts=res.texts, **first)
    (x, y) = (answers[v].pop('texts') for v in ('float32', a.variant))
    return dict(n=n, variant=a.variant, equal_texts=sum(s == t for s, t in zip(x, y)), **answers)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--only', default='*', help='pattern of cell names')
    p.add_argument('--repeats', type=int, default=1)
    p.add_argument('--texts', type=int, help='texts in a cell; default: one batch')
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--threads', type=int, default=1)
    p.add_argument('--variant', choices=['bfloat16', 'compiled'], help='compare this with float32, instead of the two paths')
    p.add_argument('--redo', action='store_true', help='also cells that have a file; with the default pattern, only those')
    p.add_argument('--list', action='store_true', help='name the cells')
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for c in cells():
        name = cell_name(c)
        path = FOLDER/f"{name}{'-'+a.variant if a.variant else ''}.json"
        if not fnmatch.fnmatch(name, a.only) or (path.exists() and not a.redo): continue
        if a.list: print(name)
        if a.list or (a.redo and not path.exists()): continue
        res = run_variant(c, a) if a.variant else run_cell(c, a)
        given = {k: vars(a)[k] for k in ('texts', 'repeats', 'seed', 'threads', 'variant') if vars(a)[k] is not None}
        command = ' '.join(['python tools/bench.py --only', name, *(f'--{k} {v}' for k, v in given.items())])
        facts = dict(command=command, date=datetime.date.today().isoformat(),
                     machine=f'{os.cpu_count()} cores, {platform.machine()}, no GPU', threads=a.threads, seed=a.seed, repeats=a.repeats,
                     torch=torch.__version__.split('+')[0])
        write_json(path, {**c, **facts, **res})
        print(name, {k: res[k] for k in ('ratio', 'equal_texts', 'n') if k in res}, flush=True)


if __name__ == '__main__':
    sys.exit(main())
