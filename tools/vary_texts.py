"""More texts to train on, made of those that there are: parts of the training texts, and training texts with words exchanged.

    python tools/vary_texts.py wordnet runs/bundled/varied.txt

One text a line. Half of the training texts of a source give a run of 40 to 90 % of their words, the other half come back with one to
three of their longer words replaced by words from other texts, drawn by the square root of how often they occur. What they say is often
nonsense. Their vectors are real, and an inverter learns from them to read words that it does not expect. No text of validation or test
is used, and none is written even if it comes about by chance.
"""
import argparse
import random
from collections import Counter
from pathlib import Path

from vec2text_nb.sources import load_splits
from vec2text_nb.utilities import write_atomically


def is_long(word): return word.isalpha() and len(word) > 3


def part(words, rng):
    "A run of the words"
    n = rng.randint(max(3, int(.4*len(words))), max(3, int(.9*len(words))))
    start = rng.randrange(len(words)-n+1)
    return ' '.join(words[start:start+n]).strip(' ,;')


def exchanged(words, pool, rng):
    "The words, up to three long ones replaced by the last of the pool"
    places = [i for i, word in enumerate(words) if is_long(word)]
    for i in rng.sample(places, min(len(places), rng.choice([1, 1, 2, 3]))): words[i] = pool.pop()
    return ' '.join(words)


def vary(splits, seed=0):
    "The new texts, from the split train; 3 to 24 words each"
    rng, train = random.Random(seed), splits['train']
    counts = Counter(word for text in train for word in text.split() if is_long(word))
    pool = rng.choices(list(counts), [n**.5 for n in counts.values()], k=400_000)
    new = []
    for text in train:
        words = text.split()
        if rng.random() < .5:
            if len(words) > 3: new.append(part(words, rng))
        elif any(map(is_long, words)): new.append(exchanged(words, pool, rng))
    known = {text for texts in splits.values() for text in texts}
    return [text for text in dict.fromkeys(new) if text not in known and 3 <= len(text.split()) <= 24]


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', help='as for --dataset_name')
    parser.add_argument('file', type=Path)
    args = parser.parse_args()
    texts = vary(load_splits(args.source))
    write_atomically(args.file, lambda f: f.write('\n'.join([*texts, '']).encode()))
    print(f'{len(texts):,} texts in {args.file}')
