"""The product on a GPU: a line for each check, and all figures in results/speed/gpu.json. Exit status 1 if a check failed.

    python tools/check_gpu.py

The bundled models invert held-out texts on the CPU and on the device, and the answers must be the same but for rounding. Then what only a
device can break is tried: the same beams twice, a default device, vectors that are there already, half precision, training. Last come the
times. With --device cpu the same checks run where there is no GPU, to try this tool.
"""
import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
import time
from datetime import date
from itertools import chain, product, zip_longest
from pathlib import Path

import torch

from vec2text_nb import invert_embeddings, load_pretrained_corrector
from vec2text_nb.evaluation import source_texts
from vec2text_nb.initialization import make_backbone
from vec2text_nb.pretrained import model_digest
from vec2text_nb.results import machine_class
from vec2text_nb.run import main as train
from vec2text_nb.utilities import default_device, one_line, write_json

FILE = Path(__file__).resolve().parent.parent/'results'/'speed'/'gpu.json'
NAME, SEED = 'all-MiniLM-L6-v2', 0
EQUAL = .99             # share of answers that must be the same on both devices; a rounding error can change the rest
CLOSE = 1e-4            # largest difference between two vectors of a text
SOURCES = dict(wordnet='wordnet', records='records:60000')
EVERYDAY = """the train to the airport leaves every twenty minutes from platform four.
could you please send me the minutes of last week's meeting?
we had soup and fresh bread for lunch, and then went for a walk.
the heating in the office has been broken since monday morning.
my sister is learning to play the cello.
take two of these tablets a day, with a glass of water.
thank you for your order, which will arrive by the end of the week.
it rained all night, and the cellar is full of water.
i have lost my keys, so i will wait for you at the cafe.
the museum is closed on tuesdays.
how much is a ticket for two adults and one child?
the children built a hut out of old boards behind the garage.
please turn off the lights when you leave the room.
the bank will not lend them any more money.
he apologized for being late and blamed the traffic.
her new novel is about a lighthouse keeper and his daughter.""".splitlines()
BEAMS = dict(num_steps=3, sequence_beam_width=4)
SEARCHES = {'first guess': dict(num_steps=0), '5 greedy steps': dict(num_steps=5), '3 steps with 4 beams': BEAMS}
LONG, SHORT = dict(num_steps=20, sequence_beam_width=8), dict(num_steps=5)              # those whose times are taken


def held_out(corrector, n):
    "Source -> at most `n` held-out texts; a source that is missing is named and left out"
    found = {}
    for name, source in SOURCES.items():
        try: found[name] = source_texts(corrector, source, 'validation', n, SEED)
        except (OSError, ValueError) as err: print(f'{name}: skipped, {one_line(err)}', flush=True)
    return found | dict(everyday=EVERYDAY[:n])


class World:
    "Models on the CPU and on the device, and texts with their vectors"
    def __init__(self, device, n, speed_n, greedy_n):
        self.device, self.n, self.speed_n, self.greedy_n = device, n, speed_n, greedy_n
        self.cpu, self.there = (load_pretrained_corrector(NAME, device=d) for d in ('cpu', device))
        found = held_out(self.cpu, max(n, speed_n, greedy_n))
        self.texts = {name: texts[:n] for name, texts in found.items()}
        self.many = [t for t in chain(*zip_longest(*found.values())) if t]       # of all sources in turn
        self.flat = [*chain(*self.texts.values())]
        self.vectors = self.cpu.embedder.encode(self.flat, progress=False).cpu()

    @property
    def few(self): return self.vectors[:self.n]

    def invert(self, corrector, vectors, **options): return corrector.invert(vectors, progress=False, **options)


def timed(f):
    "What `f` gives, and the seconds it took"
    started = time.perf_counter()
    return f(), time.perf_counter()-started


def same(a, b): return sum(x == y for x, y in zip(a, b))


def mean(values): return sum(values)/len(values)


def embeddings(w):
    "The embedder on both devices"
    off = (w.there.embedder.encode(w.flat, progress=False).cpu()-w.vectors).abs().max().item()
    return off < CLOSE, f'{len(w.flat)} texts, vectors differ by at most {off:.1e}', dict(n=len(w.flat), largest_difference=off)


def same_texts(options):
    "A check that both devices give the same answers"
    def check(w):
        (a, on_cpu), (b, there) = (timed(lambda c=c: w.invert(c, w.vectors, **options).texts) for c in (w.cpu, w.there))
        starts = [sum(len(t) for t in [*w.texts.values()][:k]) for k in range(len(w.texts))]
        by = {name: dict(n=len(t), equal=same(a[i:i+len(t)], b[i:i+len(t)])) for (name, t), i in zip(w.texts.items(), starts)}
        equal = same(a, b)
        what = f'{equal} of {len(a)} texts equal, {on_cpu:.1f} s on cpu and {there:.1f} s on {w.device}'
        return equal >= EQUAL*len(a), what, dict(n=len(a), equal=equal, sources=by, cpu_seconds=on_cpu, device_seconds=there)
    return check


def beams_twice(w):
    "Nothing in a search is left to chance"
    a, b = (w.invert(w.there, w.few, **BEAMS) for _ in range(2))
    equal = same(zip(a.texts, a.cosines), zip(b.texts, b.cosines))
    return equal == len(w.few), f'{equal} of {len(w.few)} texts and cosines equal', dict(n=len(w.few), equal=equal)


def default_device_set(w):
    "A default device changes nothing, neither for models that were there nor for those loaded under it"
    wanted = w.invert(w.there, w.few, **BEAMS).texts
    torch.set_default_device(w.device)
    try:
        loaded = load_pretrained_corrector(NAME, device=w.device)
        off = (loaded.embedder.encode(w.flat, progress=False).cpu()-w.vectors).abs().max().item()
        answers = [w.invert(c, w.few, **BEAMS).texts for c in (w.there, loaded)]
    finally: torch.set_default_device(None)
    equal = [same(wanted, a) for a in answers]
    what = f'{equal[0]} and, by models loaded under it, {equal[1]} of {len(wanted)} texts equal'
    figures = dict(n=len(wanted), equal=equal[0], equal_loaded=equal[1], largest_difference=off)
    return min(equal) == len(wanted) and off < CLOSE, what, figures


def vectors_there(w):
    "Vectors on the device, given to models there and on the CPU"
    steps = dict(num_steps=2, progress=False)
    pairs = [(invert_embeddings(w.few.to(w.device), c, **steps), invert_embeddings(w.few, c, **steps)) for c in (w.there, w.cpu)]
    equal = [same(*p) for p in pairs]
    what = f'{equal[0]} and, by models on the cpu, {equal[1]} of {len(w.few)} texts equal'
    return min(equal) == len(w.few), what, dict(n=len(w.few), equal=equal[0], equal_on_cpu=equal[1])


def half_precision(dtype):
    "A check of models of that type: they may answer otherwise, but hardly worse"
    def check(w):
        models = load_pretrained_corrector(NAME, device=w.device, dtype=dtype)
        full, half = (w.invert(c, w.vectors, num_steps=5) for c in (w.there, models))
        a, b, equal = mean(full.cosines), mean(half.cosines), same(full.texts, half.texts)
        what = f'mean cosine {b:.4f}, in float32 {a:.4f}; {equal} of {len(w.flat)} texts equal'
        ok = all(map(math.isfinite, half.cosines)) and b > a-.1
        return ok, what, dict(n=len(w.flat), mean_cosine=b, mean_cosine_float32=a, equal=equal)
    return check


def training(w):
    "Four steps of a tiny hypothesizer, then four of its corrector"
    parts = ['small old red quiet', 'boat dog train child', 'sees leaves finds', 'harbour house']
    texts = [f'the {a} {b} {c} the {d}.' for a, b, c, d in product(*map(str.split, parts))]
    figures = dict(n=4, bf16=w.device.type == 'cuda')
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder/'texts.txt').write_text('\n'.join(texts), encoding='utf-8')
        make_backbone(folder/'t5', texts, vocab_size=90, d_model=32, d_ff=64, num_heads=2)
        flags = dict(
            dataset_name=folder/'texts.txt', cache_dir=folder/'cache', model_name_or_path=folder/'t5', fresh_backbone=True,
            embedder_model_name=NAME, use_frozen_embeddings_as_input=True, max_seq_length=16, num_repeat_tokens=4, held_out=.1,
            max_eval_samples=6, max_steps=4, per_device_train_batch_size=16, learning_rate=.003, warmup_steps=1, logging_steps=1,
            logging_nan_inf_filter=False, eval_strategy='no', save_strategy='no', bf16=figures['bf16'], use_cpu=w.device.type == 'cpu',
            seed=SEED, disable_tqdm=True)
        for kind, more in [('inversion', {}), ('corrector', dict(corrector_model_alias=folder/'inversion'))]:
            given = flags | more | dict(experiment=kind, output_dir=folder/kind)
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                status = train([part for flag, value in given.items() for part in (f'--{flag}', str(value))])
            if status: raise RuntimeError(f'{kind}: {said.getvalue().strip().splitlines()[-1]}')
            record = json.loads((folder/kind/'training.json').read_text(encoding='utf-8'))
            figures[kind] = dict(losses=[loss for _, loss in record['losses']], metrics=record['metrics'])
    losses = [figures[kind]['losses'] for kind in ('inversion', 'corrector')]
    what = 'losses of hypothesizer and corrector ' + ' and '.join(f'from {x[0]:.2f} to {x[-1]:.2f}' for x in losses)
    return all(len(x) == 4 and all(map(math.isfinite, x)) for x in losses), what, figures


def speed(count, options):
    "A check that measures how long so many vectors take"
    def check(w):
        texts = w.many[:getattr(w, count)]
        vectors = w.there.embedder.encode(texts, progress=False)
        w.invert(w.there, vectors[:2], num_steps=1)                             # to warm up
        cuda = w.device.type == 'cuda'
        if cuda: torch.cuda.reset_peak_memory_stats(w.device)
        found, seconds = timed(lambda: w.invert(w.there, vectors, **options))
        peak = dict(peak_bytes=torch.cuda.max_memory_allocated(w.device)) if cuda else {}
        what = f'{len(texts)} vectors in {seconds:.1f} s, {seconds/len(texts)*1e3:.0f} ms each, mean cosine {mean(found.cosines):.4f}'
        return True, what, dict(n=len(texts), inversion_seconds=seconds, mean_cosine=mean(found.cosines), **peak)
    return check


CHECKS = {'embeddings': embeddings} | {f'same texts, {name}': same_texts(options) for name, options in SEARCHES.items()} | {
    'the same beams twice': beams_twice, 'default device': default_device_set, 'vectors on the device': vectors_there,
    'bfloat16': half_precision(torch.bfloat16), 'float16': half_precision(torch.float16), 'training': training,
    'speed, 20 steps with 8 beams': speed('speed_n', LONG),
    'speed, 5 greedy steps': speed('greedy_n', SHORT)}


def run_checks(checks, world):
    "Every check, a line each; what failed does not stop the others"
    out = {}
    for name, check in checks.items():
        started = time.perf_counter()
        try: ok, what, figures = check(world)
        except Exception as err:
            what = f'{type(err).__name__}: {one_line(err)}'
            ok, figures = False, dict(error=what)
        seconds = time.perf_counter()-started
        out[name] = dict(ok=bool(ok), what=what, seconds=seconds) | figures
        print(f'{name}: {"ok" if ok else "FAILED"}, {what}, {seconds:.1f} s', flush=True)
    return out


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', help='default: cuda, and without CUDA nothing is run')
    parser.add_argument('--n', type=int, default=64, help='texts of each source, at least 2')
    parser.add_argument('--speed_n', type=int, default=512, help='vectors for the time of 20 steps with 8 beams')
    parser.add_argument('--greedy_n', type=int, default=192, help='vectors for the time of 5 greedy steps')
    parser.add_argument('--out', type=Path, default=FILE, help='file of results')
    a = parser.parse_args(argv)
    if a.device is None and not torch.cuda.is_available():
        print('not run: this torch has no CUDA')
        return 0
    if min(a.n, a.speed_n, a.greedy_n) < 2: parser.error('--n, --speed_n and --greedy_n must be at least 2')
    try: device = default_device(a.device or 'cuda')
    except ValueError as err: parser.error(str(err))
    command = f'python tools/check_gpu.py --device {device} --n {a.n} --speed_n {a.speed_n} --greedy_n {a.greedy_n}'
    world = World(device, a.n, a.speed_n, a.greedy_n)
    facts = dict(command=command, date=date.today().isoformat(), machine=machine_class(), device=str(device),
                 threads=torch.get_num_threads(), torch=torch.__version__, seed=SEED, n=a.n, model_digest=model_digest(world.cpu),
                 sources={name: len(texts) for name, texts in world.texts.items()})
    checks = {name: check for name, check in CHECKS.items() if name != 'float16' or device.type != 'cpu'}
    results = run_checks(checks, world)
    write_json(a.out, facts | dict(checks=results))
    return int(not all(r['ok'] for r in results.values()))


if __name__ == '__main__':
    sys.exit(main())
