"""Randomized cross-checks of the metrics against slow or independent counterparts, and that no NLTK data is needed."""
import random
import statistics

import nltk
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from vec2text_nb.metrics import (
    mean_and_sem,
    paired_difference,
    per_sample_metrics,
    rouge1,
    sentence_bleu,
    shared_ngrams,
    token_f1,
    treebank_words,
)

VOCABULARY = ["the", "The", "a", "cat", "dogs", "don't", "U.S.", "1,921", "(sic)", '"so"', "end.", "why?", "naïve", "—", "x"]


def random_pairs(n, seed=0):
    "`n` pairs of random texts of 0 to 12 pieces; the second is often the first with some pieces changed"
    rng = random.Random(seed)
    for _ in range(n):
        true = rng.choices(VOCABULARY, k=rng.randrange(13))
        pred = [rng.choice(VOCABULARY) if rng.random() < .3 else piece for piece in true]
        if rng.random() < .3: pred = rng.choices(VOCABULARY, k=rng.randrange(13))
        yield " ".join(pred), " ".join(true)


def brute_force_f1(pred, true):
    "Precision, recall and F1 by walking lists, F1 from the other two"
    pred_seen, true_seen = [], []
    for word in treebank_words(pred):
        if word not in pred_seen: pred_seen.append(word)
    for word in treebank_words(true):
        if word not in true_seen: true_seen.append(word)
    hits = sum(1 for word in pred_seen if word in true_seen)
    precision = hits / len(pred_seen) if pred_seen else 0
    recall = hits / len(true_seen) if true_seen else 0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0


def brute_force_shared(pred, true, n):
    "Cross out one equal run of `true` for each run of `pred`"
    left = [true[i:i + n] for i in range(len(true) - n + 1)]
    shared = 0
    for i in range(len(pred) - n + 1):
        if pred[i:i + n] in left:
            left.remove(pred[i:i + n])
            shared += 1
    return shared


def test_token_f1_equals_brute_force():
    for pred, true in random_pairs(300):
        assert token_f1(pred, true) == pytest.approx(brute_force_f1(pred, true)), (pred, true)


def test_precision_and_recall_change_places_with_the_texts():
    for pred, true in random_pairs(100, seed=1):
        precision, recall, f1 = token_f1(pred, true)
        assert token_f1(true, pred) == (recall, precision, f1)


def test_shared_ngrams_equals_brute_force():
    for pred, true in random_pairs(300, seed=2):
        pred, true = treebank_words(pred), treebank_words(true)
        for n in (1, 2, 3):
            assert shared_ngrams(pred, true, n) == brute_force_shared(pred, true, n), (pred, true, n)


def test_bleu_equals_corpus_bleu_of_one_pair():
    scores = [(sentence_bleu(pred, true), sacrebleu.corpus_bleu([pred], [[true]], use_effective_order=False).score)
              for pred, true in random_pairs(50, seed=3)]
    assert all(ours == theirs for ours, theirs in scores)
    assert len({round(ours, 3) for ours, _ in scores}) > 10     # the pairs are not all alike


def test_rouge_equals_a_fresh_scorer():
    for pred, true in random_pairs(50, seed=4):
        fresh = rouge_scorer.RougeScorer(["rouge1"]).score(target=true, prediction=pred)["rouge1"].fmeasure
        assert rouge1(pred, true) == fresh


def test_words_need_no_nltk_data(monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])
    for text, _ in random_pairs(100, seed=5):
        assert treebank_words(text) == nltk.word_tokenize(text, preserve_line=True)


def test_sem_equals_the_standard_library():
    rng = random.Random(6)
    before, after = ([rng.gauss(50, 20) for _ in range(40)] for _ in range(2))
    assert mean_and_sem(before).sem == pytest.approx(statistics.stdev(before) / 40 ** .5)
    gain = paired_difference(before, after)
    assert gain.sem == pytest.approx(statistics.stdev([b - a for a, b in zip(before, after)]) / 40 ** .5)


def test_every_value_is_in_its_range():
    pred, true = zip(*random_pairs(100, seed=7))
    for name, values in per_sample_metrics(pred, true).items():
        assert values.shape == (100,) and (values >= 0).all(), name
        top = 100 if name == "bleu" else 12 * 4 if name.startswith(("shared", "num")) else 1
        assert (values <= top + 1e-9).all(), name
