#!/usr/bin/env python3
"Recall and precision of `find_facts` on invented records and messages, which say what facts they hold; writes results/facts/finders.json"
import argparse
import shlex
import sys
from collections.abc import Callable
from datetime import date
from itertools import count, islice
from pathlib import Path

from vec2text_nb.facts import find_facts, finder_scores, record_facts
from vec2text_nb.messages import message_at, message_split
from vec2text_nb.records import Record, make_records
from vec2text_nb.results import machine_class
from vec2text_nb.utilities import write_json

CASES: dict[str, Callable[[str], str]] = {"as written": str, "lower case": str.lower}


def test_messages(n: int, seed: int) -> list[Record]:
    "The first n messages of held-out templates"
    return list(islice((m for m in (message_at(i, seed) for i in count()) if message_split(m.template) == "test"), n))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="records, and messages")
    parser.add_argument("--seed", type=int, default=31, help="of the records and messages")
    parser.add_argument("--out", type=Path, default=Path("results/facts/finders.json"))
    args = parser.parse_args()
    if args.n < 1: parser.error(f"--n is a number of texts, 1 or more, and was {args.n}")
    texts = {}
    for name, records in dict(records=make_records(args.n, args.seed), messages=test_messages(args.n, args.seed)).items():
        known = [record_facts(record) for record in records]
        written = [record.text for record in records]
        texts[name] = {case: finder_scores(known, find_facts([*map(change, written)])) for case, change in CASES.items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, dict(command=shlex.join(["python", "tools/measure_facts.py", *sys.argv[1:]]), n=args.n, seed=args.seed,
                              date=date.today().isoformat(), machine=machine_class(), texts=texts))


if __name__ == "__main__": main()
