"""Run the commands of the section "On a laptop" of nbs/guides/train_an_inverter.ipynb just as they stand, and keep what they printed.

    python tools/time_guide.py                       # minutes; writes results/guides/train_an_inverter.json and train_an_inverter_time.json
    python tools/time_guide.py --set N=100 STEPS=2   # with other values in the first block, to try it out; writes nothing

The times are only worth keeping from a machine that does nothing else."""
import argparse
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT/'results'/'guides'
SHELL = re.compile(r'^```sh\n(.*?)^```$', re.M | re.S)


def page(name):
    "The prose of a notebook"
    cells = json.loads((ROOT/'nbs'/name).read_text(encoding='utf-8'))['cells']
    return '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')


def sections(name):
    "The parts of a page by their headings of the second level"
    parts = re.split(r'^## (.+)$', page(name), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(text): return SHELL.findall(text)


def changed(block, **values):
    "The assignments of a block with other values"
    for name, value in values.items():
        block, n = re.subn(rf'^{name}=\S+', f'{name}={value}', block, flags=re.M)
        if n != 1: raise ValueError(f'{name} is not set once in:\n{block}')
    return block


def laptop_script(**values):
    "The commands of the section, one after the other; the values change those of the first block"
    first, *others = blocks(sections('guides/train_an_inverter.ipynb')['On a laptop'])
    return '\n'.join(['set -eu', changed(first, **values), *others])


def run(script, folder):
    "What the script printed, run with this Python and this package; errors go to the terminal"
    env = os.environ | dict(PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", PYTHONPATH=str(ROOT))
    return subprocess.run(['sh', '-c', script], cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--set', nargs='+', default=[], metavar='NAME=VALUE', help='values of the first block to change')
    argv = sys.argv[1:] if argv is None else argv
    values = dict(pair.split('=', 1) for pair in p.parse_args(argv).set)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        printed = run(laptop_script(**values), folder)
        wall, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        minutes = dict(minutes=round(wall/60, 1), processor_minutes=round((used.ru_utime + used.ru_stime)/60, 1))
        print(printed, minutes, sep='\n')
        if values: return
        from vec2text_nb.results import machine_class
        from vec2text_nb.utilities import write_json
        shutil.copy(Path(folder)/'runs'/'mine'/'scores.json', RESULTS/'train_an_inverter.json')
        write_json(RESULTS/'train_an_inverter_time.json', dict(
            command=shlex.join(['python', 'tools/time_guide.py', *argv]), date=date.today().isoformat(), machine=machine_class(), **minutes,
            answer=printed[printed.rindex('cosine  steps'):].rstrip()))


if __name__ == '__main__':
    sys.exit(main())
