"What users give: vectors, strings, arguments and devices in any form are taken, or refused in one line that says what to do."
import array
import base64
import collections
import ctypes
import enum
import json
import multiprocessing
import sys
import threading
import warnings
from decimal import Decimal
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from transformers.utils import ModelOutput

import vec2text_nb as v
from vec2text_nb import decoding, inputs
from vec2text_nb.edits import Edits
from vec2text_nb.inputs import as_matrix, as_texts, text_ids, what_is_lost, writing_losses
from vec2text_nb.inversion import Sampling, interpolate

E = torch.tensor([[.5, .25], [1., 0.], [-2., 8.]])
A, L = E.numpy(), E.tolist()


@pytest.fixture(scope="module")
def pair(): return v.load_pretrained_corrector(device="cpu")


@pytest.fixture(scope="module")
def target(pair): return pair.embedder.encode(["a small boat on a calm lake"])


def refused(call, *kinds):
    "The message of the error, which must be one of ours and not empty"
    with pytest.raises(kinds or (TypeError, ValueError)) as err: call()
    assert str(err.value)
    return str(err.value)


# vectors

class Cupy:
    "As CuPy does it: no implicit way to NumPy, but DLPack"
    def __array__(self, *_): raise TypeError("Implicit conversion to a NumPy array is not allowed")
    def __dlpack__(self, **how): return E.__dlpack__()
    def __dlpack_device__(self): return E.__dlpack_device__()


class DlpackOnly:
    "As JAX and the like: DLPack, and nothing else"
    def __init__(self, x): self.x = x
    def __dlpack__(self, **how): return self.x.__dlpack__()
    def __dlpack_device__(self): return self.x.__dlpack_device__()


class Interface:
    "An object with no more than NumPy's older protocol"
    def __init__(self, x): self.x, self.__array_interface__ = x, x.__array_interface__


class Sequence:
    "A sequence that has no __iter__, as some database clients give rows"
    def __init__(self, rows): self.rows = rows
    def __len__(self): return len(self.rows)
    def __getitem__(self, i): return self.rows[i]


class Point:
    "A row as a client of a vector store returns it"
    vector = L[0]


def objects(rows):
    "An object array whose cells are arrays"
    out = np.empty(len(rows), object)
    for i, row in enumerate(rows): out[i] = row
    return out


FORMS = {
    "tensor": E, "half": E.half(), "bfloat16": E.bfloat16(), "double": E.double(), "needs grad": E.clone().requires_grad_(),
        "not contiguous": E.t().contiguous().t(),
    "parameter": torch.nn.Parameter(E.clone()), "sparse": E.to_sparse(), "nested": torch.nested.nested_tensor([*E], layout=torch.jagged),
    "list of tensors": [*E], "list of tensors that need grad": [*E.clone().requires_grad_()], "mixed": [E[0], L[1], A[2]],
        "bfloat16 rows": [*E.bfloat16()],
    "tuple of arrays": (*A,), "big-endian": A.astype(">f4"), "longdouble": A.astype(np.longdouble), "fortran": np.asfortranarray(A),
        "read only": np.broadcast_to(A, A.shape),
    "matrix": np.matrix(A), "unmasked": np.ma.masked_array(A), "object array of arrays": objects([*A]),
        "object array of lists": objects(L), "object matrix": A.astype(object),
    "scipy": scipy.sparse.csr_array(A), "scipy rows": [*scipy.sparse.csr_array(A).toarray()],
    "series of lists": pd.Series(L), "series of arrays": pd.Series([*A], index=[9, 4, 7]), "series of tensors": pd.Series([*E]),
        "frame": pd.DataFrame(A), "nullable frame": pd.DataFrame(A).convert_dtypes(dtype_backend="numpy_nullable"),
    "arrow series": pd.Series(pa.array(L), dtype=pd.ArrowDtype(pa.list_(pa.float64()))), "arrow": pa.array(L), "fixed size": pa.array(L,
        pa.list_(pa.float32(), 2)), "halffloat": pa.array(L, pa.list_(pa.float16(), 2)),
    "large list": pa.array(L, pa.large_list(pa.float64())), "chunked": pa.chunked_array([L[:1], L[1:]]),
        "arrow table": pa.table(dict(x=A[:, 0], y=A[:, 1])),
    "dlpack alone": DlpackOnly(E), "rows of dlpack": [DlpackOnly(row) for row in E], "array interface": Interface(A),
    "sequence": Sequence(L), "ctypes": ((ctypes.c_float*2)*3)(*[(ctypes.c_float*2)(*row) for row in L]),
        "dictionary of keys": scipy.sparse.dok_array(A), "subclass": E.as_subclass(type("Mine", (torch.Tensor,), {})),
    "generator": (row for row in L), "map": map(np.array, L), "deque": collections.deque(L), "dict values": dict(enumerate(L)).values(),
        "decimals": [[Decimal(str(x)) for x in row] for row in L],
    "NumPy scalars": [[np.float16(x) for x in row] for row in L], "tensor scalars": [[*row] for row in E], "array.array": [array.array("f",
        row) for row in L], "memoryview": memoryview(A), "dlpack": Cupy(),
    "whole numbers among fractions": [[.5, .25], [1, 0], [-2, 8]]}


@pytest.mark.parametrize("form", FORMS)
def test_a_matrix_in_any_form(form):
    got = as_matrix(FORMS[form])
    assert got.dtype == torch.float32 and got.device.type == "cpu" and not got.requires_grad and torch.equal(got, E)


def test_one_vector_and_none():
    for one in (E[0], A[0], L[0], pd.Series(L[0]), [*E[0]], (x for x in L[0]), array.array("f", L[0]), L[:1],
        pa.array(L[0])): assert torch.equal(as_matrix(one), E[:1])
    for nothing in ([], (), np.empty((0, 2)), np.empty(0), torch.empty(0, 2), pd.Series([], dtype=object), pa.array([],
        pa.list_(pa.float32())), iter(())): assert as_matrix(nothing).shape == (0, 0)


def test_the_callers_vectors_stay_as_they_are():
    for mine in (E.clone(), A.copy(), [E[0].clone(), E[1].clone()]):
        as_matrix(mine).zero_()
        assert np.asarray(mine[1]).tolist() == L[1]


@pytest.mark.parametrize("given, says", [
    ("a text", "use invert_strings"), (["a text", "another"], "use invert_strings"), (["[0.1, 0.2]"], "json.loads"), ([[".1", ".2"]],
        "holds '.1' (str) at position 0"), (np.array([[".1"]]), "astype('float32')"),
    (b"0000", "np.frombuffer"), ([b"0000"], "np.frombuffer"), (None, "is None"), (3., "is 3.0 (float)"), ({"id 1": L[0]},
        "list(x.values())"), ([{"id": 1, "values": L[0]}], "the keys id, values"), ({1., 2.}, "no order"),
    (A.astype(np.int8), "scale them back"), ((A > 0), "scale them back"), (E.to(torch.int8), "type int8"), ([1, 0], "scale them back"),
        ([[1, 0], [0, 1]], "scale them back"), ([A[0], A[1].astype(np.int8)], "Row 1 of the embeddings has type int8"),
    (A.astype(complex), "complex"), (E.to(torch.complex64), "complex"), ([[1j, 0]], "1j (complex)"), (np.zeros(2, [("x", "f4")]),
        "expected floats"), (np.zeros(2, "datetime64[s]"), "expected floats"),
    ([[1., 2.], [3.]], "row 1 has 1"), ([[1.], [1., 2.], [1.], []], "row 1 has 2, row 3 has 0"), (pd.Series([[1.], None]),
        "missing in rows 1"), (pd.Series([[1.], np.nan]), "missing in rows 1"), (pa.array([[1.], None]), "missing in rows 1"),
    ([[1., None]], "nothing (None) at position 1"), ([[1.], 2.], "Row 1 of the embeddings is one number"), ([[], []],
        "2 rows without a number"), (np.empty((2, 0)), "2 rows without a number"), (np.float32(1), "shape ()"),
    (E[None], "shape (1, 3, 2)"), ([E], "shape (3, 2)"), ([[L[0]]], "rows of its own"), ([E[:1], E[1:2]], "np.concatenate"),
        (np.ma.masked_array(A, A < 0), "masked in rows 2"), (E.to("meta"), "meta device"),
    (pd.DataFrame(dict(id=["x"], v=[L[0]])), "table['v']"), (pa.table(dict(id=["x"], v=[L[0]])), "table['v']"),
        (pd.DataFrame(dict(v=[L[0]])), "table['v']"), (object(), "object"), (A.astype(object).astype(str), "as text"),
    ([base64.b64encode(np.ones(64, "f4").tobytes()).decode()], "b64decode"), ("[1, 2]", "json.loads"), (["{.1,.2}"], "strip('{}')"),
    ([".1, .2"], "text.split(',')"), (np.array(["[.1]"]), "json.loads"),
    ([memoryview(b"0000")], "np.frombuffer"), (np.array([b"\x01\x02"*4]), "np.frombuffer(x"), (np.array([b"0000"*2], "V8"),
    "np.frombuffer(x"), ([(b"0000",)], "[row[0] for row in x]"), ([("a", L[0]), ("b", L[1])], "[row[1] for row in x]"),
    (np.zeros(2, [("id", "i4"), ("v", "f4", 2)]), "Pass x['v']"), (np.zeros(2, [("x", "f4"), ("y", "f4")]), "structured_to_unstructured"),
    ([*np.zeros(2, [("id", "i4"), ("v", "f4", 2)])], "record with the fields id, v"),
    (dict(ids=["a"], embeddings=A), "x['embeddings']"), (dict(arr_0=A), "x['arr_0']"), ({}, "empty dict"), (pd.DataFrame(dict(id=["x"],
    a=[.5], b=[.5])), "drop(columns=['id'])"), (E[None, :1], "x.squeeze()"),
    ([Point()], "pass its .vector"), (torch.nn.Linear(2, 2), "Linear"), (torch.Tensor, "Tensor"), (pd.Series(["a"]).str, "StringMethods")])
def test_what_is_no_vector_is_one_line(given, says):
    message = refused(lambda: as_matrix(given))
    assert says in message and "\n" not in message and len(message) < 300


POINT = SimpleNamespace(vector=L[0])


class Response:
    "As the responses of clients that are made with pydantic: its fields can be looped over"
    model_fields = {"points": None, "time": None}
    def __init__(self, points): self.points = points
    def __iter__(self): return iter(vars(self).items())


@pytest.mark.parametrize("given, says", [
    ({"object": "list", "data": [{"object": "embedding", "embedding": L[0]}]}, "pass [d['embedding'] for d in x['data']]"),
    (ModelOutput(last_hidden_state=E[None], pooler_output=E[:1]), "pass x['pooler_output'], or x['last_hidden_state'] pooled"),
    (ModelOutput(last_hidden_state=E[None]), "pass x['last_hidden_state'] pooled over the tokens"),
    ({"ids": ["a"], "embeddings": None, "documents": ["a"]}, "include=['embeddings']"),
    (([POINT, POINT], None), "pass [point.vector for point in x[0]]"), (([POINT], "next"), "pass [point.vector for point in x[0]]"),
    (([SimpleNamespace(vector=None)], None), "with_vectors=True"), (Response([POINT]), "pass [point.vector for point in x.points]"),
    (Response([]), "the fields points, time (Response): pass the one"), (memoryview(A[0].tobytes()), "np.frombuffer(embeddings"),
    ([np.ma.masked_array(A[0], [0, 1]), A[1]], "Row 0 of the embeddings is masked at positions 1"),
    (np.ma.masked_array(A[0], [0, 1]), "The embeddings are masked at positions 1"), (np.ma.masked, "masked at positions 0"),
    (pd.DataFrame({"1": [".5"], "2": ["-1e-3"]}), "np.asarray(table).astype('float32')"),
    ([[.5, 10**400], [1., 2.]], "Row 0 of the embeddings holds at position 1 what cannot be a float (int: int too large"),
    ([10**400, 1], "The vector holds at position 0"), ([[.5, Fraction(10**400, 3)]], "(Fraction: "), ([[Decimal("sNaN")]], "(Decimal: "),
    (np.ma.masked_array(3.), "shape ()"), (np.array(None, object), "an array without dimensions that holds None"),
    (np.array({"a": L}, object), "x.item() is what is in it")])
def test_what_libraries_give_is_named(given, says):
    message = refused(lambda: as_matrix(given))
    assert says in message and "\n" not in message and len(message) < 300


def test_no_vectors_under_a_mask(): assert as_matrix(np.ma.masked_array(np.empty((0, 2)))).shape == (0, 0)


def test_numbers_that_numpy_was_told_to_watch():
    "A number that is too small for float32 is zero there"
    with np.errstate(all="raise"): assert as_matrix(np.array([[1., 1e-60, 1e-45]])).tolist()[0][:2] == [1., 0.]


def test_numbers_that_float32_cannot_hold():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "infinity in rows 1." in refused(lambda: inputs.check_embeddings(np.array([[1., 1.], [1e300, 1.]]), 2, "a toy"))


@pytest.mark.parametrize("given, says", [(A.T, "pass x.T"), (pd.DataFrame(np.c_[[1, 2, 3], A], columns=["id", "a", "b"]),
    "The table has the columns id, a, b"), (np.c_[[1e-6]*3, [1e-6]*3], "a norm of 1.41e-06 in rows 0, 1, 2"),
    (A.astype("f8")*1e9, "Undo the scaling"), (np.array([[1., 0.], [1e-42, 0.]]), "in rows 1"), (np.array([[1., 0.], [1e-60, 0.]]),
    "zero in rows 1")])
def test_numbers_that_no_embedder_gives(given, says):
    assert says in refused(lambda: inputs.check_embeddings(given, 2, "a toy"))


@pytest.mark.filterwarnings("ignore:The embeddings have norms")
def test_numbers_that_a_model_cannot_compute():
    "Half precision, a damaged checkpoint, an embedder that fails: an error instead of an empty text"
    broken = v.load_pretrained_corrector(device="cpu", dtype="float16")
    e = broken.embedder.encode(["a boat"])
    with torch.no_grad(): broken.inversion_model.embedding_transform[0].weight.mul_(6e4)
    assert "in rows 0: they are too large for float16" in refused(lambda: v.invert_embeddings(e*1e3, broken), ValueError)
    broken = v.load_pretrained_corrector(device="cpu", dtype="float16")
    with torch.no_grad(): broken.corrector_model.layernorm.weight.mul_(6e4)
    assert "in rows 0: they are too large for float16" in refused(lambda: broken.invert(e, 1), ValueError)
    broken = v.load_pretrained_corrector(device="cpu")
    with torch.no_grad(): broken.corrector_model.embedding_transform_1[0].bias[0] = float("nan")
    more = broken.embedder.encode(["a boat", "the law"])
    for options in (dict(), dict(keep_best=False), dict(initial=["a", "b"]), dict(sampling=Sampling())):
        assert "for the embeddings in rows 0, 1: they are" in refused(lambda o=options: broken.invert(more, 2, 2, **o), ValueError)
    assert "for some of the embeddings: they are" in refused(lambda: broken.invert(more, edits=Edits(rounds=1)), ValueError)
    broken = v.load_pretrained_corrector(device="cpu")
    broken.embedder.encode = lambda texts, **_: torch.full((len(texts), 384), float("nan"))
    assert "gives NaN or infinity for" in refused(lambda: broken.invert(e, 1), ValueError)


def test_nothing_of_any_type():
    for nothing in (np.empty((0, 2), int), np.array([], str), torch.empty(0, 2, dtype=torch.int8)): assert as_matrix(nothing).shape == (0,
        0)


def test_polars():
    pl = pytest.importorskip("polars")
    for form in (pl.Series(L), pl.Series(L, dtype=pl.Array(pl.Float32, 2)), pl.DataFrame(A)): assert torch.equal(as_matrix(form), E)
    assert "table['v']" in refused(lambda: as_matrix(pl.DataFrame(dict(id=["x"], v=[L[0]]))))
    assert as_texts(pl.Series(["a", "b"])) == ["a", "b"] and "rows 1" in refused(lambda: as_texts(pl.Series(["a", None])))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_vectors_on_a_gpu():
    for form in (E.cuda(), [*E.cuda()], [E[0].cuda(), L[1], A[2]]): assert torch.equal(as_matrix(form).cpu(), E)


def test_every_way_in_takes_the_same(pair, target):
    want = v.invert_embeddings(target, pair)
    for form in (pd.Series([target[0].numpy()]), [target[0].tolist()], pa.array(target.tolist()), target.clone().requires_grad_()):
        assert v.invert_embeddings(form, pair) == pair.invert(form, score=False).texts == want
    assert v.invert_embeddings_and_return_hypotheses(pd.Series([*target.numpy()]), pair)[0] == [want]
    from vec2text_nb.evaluation import evaluate_inversion
    two = pd.Series(["a small boat", "the price of bread"])
    vectors = pair.embedder.encode([*two])
    found = [evaluate_inversion(pair, two, targets=targets)["texts"] for targets in (None, pd.Series([*vectors.numpy()]))]
    assert all(texts == found[0] for texts in found)
    assert "1 targets for 2 texts" in refused(lambda: evaluate_inversion(pair, two, targets=vectors[:1]))


# strings

@pytest.mark.parametrize("form", [("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object), np.array(["a", "b"],
    np.dtypes.StringDType()), pd.Series(["a", "b"], index=[5, 2]), pd.Series(["a", "b"], dtype="category"), pd.Series(["a", "b"],
    dtype="string"),
                                  pd.Index(["a", "b"]), pa.array(["a", "b"]), pa.chunked_array([["a"], ["b"]]), pa.array(["a",
                                      "b"]).dictionary_encode(), (c for c in "ab"), {"a": 1, "b": 2}.keys(), map(str, "ab"),
                                      collections.deque("ab")], ids=lambda form: type(form).__name__)
def test_strings_in_any_form(form):
    got = as_texts(form)
    assert got == ["a", "b"] and {type(t) for t in got} == {str}


@pytest.mark.parametrize("given, says", [
    ("one", "such as [text]"), (np.array("one"), "is one string"), (b"one", "decode"), ([b"one"], "strings[0] is bytes"), (["a", None],
        "rows 1"), (pd.Series(["a", np.nan, "b", None]), "rows 1, 3"), (pd.Series(["a", None], dtype="string"), "rows 1"),
    (pa.array(["a", None]), "rows 1"), ({1: "a"}, "list(x.values())"), ({"a"}, "no order"), (None, "is None"), (3, "is 3 (int)"), (["a",
        3], "strings[1] is 3 (int)"), (E, "use invert_embeddings"), ([["a"]], "strings[0] is ['a'] (list)"), (np.array([["a"]]), "(list)"),
    (pd.DataFrame(dict(text=["a"])), "table['text']"), (["\ud800"], "strings[0] contains half a surrogate"), (["\ud83d\ude00"],
    "encode('utf-16', 'surrogatepass')"), (open, "function"),
    ([bytearray(b"a")], "decode"), ([["a", "b"], ["c"]], "one list, with no lists in it"), ([("a", 1)], "[row[0] for row in strings]"),
    ([dict(text="a")], "the keys 'text'"), (dict(documents=["a"], ids=[1]), "x['documents']"),
    ([enum.Enum("Kind", "A").A], "expected a string."), (pd.Series(["a"]).str, "StringMethods")])
def test_what_is_no_list_of_strings_is_one_line(given, says):
    message = refused(lambda: as_texts(given))
    assert says in message and "\n" not in message and len(message) < 200


def test_the_text_of_a_kind_of_string():
    "The text itself, where str() shows another"
    class Kind(str, enum.Enum): A = "a small boat"     # noqa: UP042, as it was written before StrEnum
    assert as_texts([Kind.A]) == ["a small boat"] == as_texts(np.array([Kind.A], object))


@pytest.mark.parametrize("text, written, lost", [("雪", "", ["'雪'"]), ("a\0b", "a b", ["control characters"]), ("\u202eabc", "abc",
    ["control characters"]), ("a\n\nb", "a b", ["line breaks"])])
def test_what_is_lost_has_a_name(text, written, lost): assert what_is_lost(text, written) == lost


def test_special_tokens_in_a_text_are_text(pair):
    text = "a </s> b <pad> c <extra_id_0>"
    assert pair.tokenizer.decode(text_ids(pair.tokenizer, [text])[0], skip_special_tokens=True).startswith("a </s> b <pad> c")
    assert pair.invert(pair.embedder.encode([text]), 0, initial=[text]).texts[0].startswith("a </s> b <pad> c")


def test_what_cannot_be_written_is_said_once_and_answered(pair):
    given = ["A Small Boat", "two\nlines", "naïve {café} 雪 😀", "a small boat", "word "*60, "</s>"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = v.invert_strings(given, pair)
    (one,) = [str(w.message) for w in caught]
    assert len(answers) == 6 and all(isinstance(a, str) for a in answers) and answers[3] == "a small boat"
    assert "1 of 6 strings are longer than the 31 tokens" in one
    assert all(said in one for said in ("3 of 6 strings hold", "upper case", "line breaks"))
    assert writing_losses(["a small boat"], pair.tokenizer, 32) is None and what_is_lost("Ab", "ab") == ["upper case"]
    assert v.invert_strings([], pair) == [] == v.invert_embeddings([], pair)


def test_texts_at_the_limit_are_marked(pair, target):
    found = pair.invert(torch.cat([target, pair.embedder.encode(["a boat"])]), 1, max_length=6)
    assert found.possibly_cut == [True, False] and repr(found).count("(possibly cut)") == 1 == found._repr_html_().count("(possibly cut)")
    assert repr(found.compare(np.array(["a small boat on a calm lake", "a boat"]))).count("(possibly cut)") == 1


@pytest.mark.filterwarnings("default")
def test_the_command_says_what_is_cut_and_what_is_lost(capsys, tmp_path):
    from vec2text_nb.cli import invert_main
    assert invert_main(["A small boat on a calm lake by the sea", "a boat", "--steps", "0", "--max_length", "6", "--device", "cpu",
        "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["possibly_cut"] for line in out.splitlines()] == [True, False]
    assert err.count("warning") == 1 and "upper case" in err and "1 of 2 strings are longer" in err
    (tmp_path/"vectors.csv").write_text("0.1,0.2\n", encoding="utf-8")
    assert invert_main([str(tmp_path/"vectors.csv")]) == 2
    assert "is a file, but not one of .npy" in capsys.readouterr().err


# arguments

def test_arguments_in_the_wrong_place(pair, target):
    for call in (v.invert_embeddings, v.invert_strings, v.invert_embeddings_and_return_hypotheses):
        assert "come first" in refused(partial(call, pair, target), TypeError)
        assert "load_pretrained_corrector(NAME)" in refused(partial(call, ["a"], "gtr-base"), TypeError)
        assert "Did you mean 'num_steps'?" in refused(partial(call, ["a"], num_step=3), TypeError)
    assert "Did you mean 'keep_best'?" in refused(lambda: pair.invert(target, keepbest=False), TypeError)
    assert "use invert_embeddings" in refused(lambda: v.invert_strings(target, pair))
    assert "use invert_strings" in refused(lambda: v.invert_embeddings(["a text"], pair))


def test_whole_numbers_of_numpy(pair, target):
    want = v.invert_embeddings(target, pair, 2, 2, max_length=9, batch_size=3, keep_best=False)
    assert v.invert_embeddings(target, pair, np.int64(2), np.int32(2), max_length=np.uint8(9), batch_size=np.array(3),
        keep_best=np.bool_(False)) == want
    for bad in (np.float64(2), np.bool_(True), "2", 2., True):
        assert "expected a whole number" in refused(partial(v.invert_embeddings, target, pair, bad), TypeError)


@pytest.mark.parametrize("options, says", [
    (dict(keep_best="False"), "keep_best is 'False': expected True or False"),
    (dict(progress="no"), "progress is 'no': expected True"), (dict(sampling=True), "expected Sampling()"),
    (dict(sampling=dict(top_p=.9)), "expected Sampling()"), (dict(sampling=Edits()), "expected Sampling()"),
    (dict(num_steps=10**9), "10000 or less"), (dict(num_steps=np.array([1, 2])), "whole number"), (dict(num_steps=1,
    sequence_beam_width=10**9), "1024 or less"), (dict(num_steps=1, max_length=10**30), "16384 or less")])
def test_options_that_cannot_be_meant(pair, target, options, says):
    assert says in refused(lambda: v.invert_embeddings(target, pair, **options))


def test_switches_are_true_or_false(pair, target):
    for options in (dict(score="False"), dict(score=None), dict(progress="no"), dict(progress=1)):
        message = refused(lambda options=options: pair.invert(target, **options), TypeError)
        assert "expected True or False" in message and message.startswith(next(iter(options)))
        if "progress" in options: assert message == refused(lambda options=options: pair.embedder.encode(["a"], **options), TypeError)


@pytest.mark.parametrize("how, says", [
    (dict(prior="x"), "prior is 'x': expected a number"), (dict(prior=None), "prior is None"), (dict(prior=True), "prior is True"),
    (dict(prior=float("nan")), "prior is nan: expected a finite number"), (dict(prior=-float("inf")), "prior is -inf"),
    (dict(rounds=10**9), "rounds is 1000000000: expected 10000 or less"), (dict(beam=2000), "1024 or less"),
    (dict(proposals=10**9), "10000 or less")])
def test_edits_that_cannot_be_meant(how, says): assert says in refused(lambda: Edits(**how))


def test_the_command_limits_edits(capsys):
    from vec2text_nb.cli import invert_main
    assert invert_main(["hello", "--steps", "0", "--edits", "1000000000", "--device", "cpu"]) == 2
    assert "1000000000: expected 10000 or less" in capsys.readouterr().err


def test_models_left_in_training_mode_answer_as_in_eval_mode(pair, target):
    "Without dropout; and each part is in the mode that it was in"
    models = pair.inversion_model, pair.corrector_model, pair.embedder.model
    want = pair.invert(target, 2, 2)
    for m in models: m.train()
    pair.embedder.model.embeddings.eval()
    try:
        assert torch.equal(pair.embedder.encode(["a small boat on a calm lake"]), target)
        found = pair.invert(target, 2, 2)
        assert (found.texts, found.cosines) == (want.texts, want.cosines)
        assert all(m.training for m in models) and not pair.embedder.model.embeddings.training
    finally:
        for m in models: m.eval()


@pytest.mark.parametrize("a, b", [([0, 10], [10, 0]), (torch.tensor([0, 10]), torch.tensor([10., 0.])),
    (np.array([0, 10], "i2"), (10., 0.)), (torch.tensor([[0., 10.]]), torch.tensor([10., 0.]).half()),
    (pd.Series([0., 10.]), np.array([[10., 0.]]))])
def test_vectors_in_any_form_are_interpolated(a, b):
    for weights in (.5, [.5], np.array([.5]), pd.Series([.5]), (w for w in [.5]), np.float32(.5), torch.tensor([.5], dtype=torch.float64)):
        assert interpolate(a, b, weights).tolist() == [[5., 5.]]
    assert torch.allclose(interpolate(a, b, [0, 1, .5], True), torch.tensor([[0., 10.], [10., 0.], [50**.5]*2]), atol=1e-5)
    assert interpolate(a, b, []).shape == (0, 2)


@pytest.mark.parametrize("given, says", [
    ((E[:2], E[1:], [0, 1]), "a holds 2 vectors: expected one"), ((E[0]*0, E[0], [.5], True), "zero vector has no direction"),
    ((E[0], E[0, :1], [.5]), "a is 2 wide, and b is 1 wide"), ((E[0], E[0], "half"), "weights holds 'h' (str)"),
    ((E[0], E[0], None), "weights holds nothing (None)"), ((E[0], E[0], [float("nan")]), "weights holds NaN"),
    ((E[0], E[0], E), "weights has shape (3, 2)"), ((E[0], E[0], {"a": 1}), "weights is a dict"),
    ((E[0], [float("inf"), 1.], 0), "b holds"),
    ((E[0], "a text", 0), "b: embeddings is a string"), ((None, E[0], 0), "a: embeddings is None"), (([], E[0], 0), "a holds 0 vectors"),
    ((E[0], E[0], 0, "yes"), "spherical is 'yes': expected True or False")])
def test_what_cannot_be_interpolated_is_one_line(given, says):
    message = refused(lambda: interpolate(*given))
    assert says in message and "\n" not in message


def test_sampling_that_cannot_be_meant(pair, target):
    for how in (dict(top_p="a"), dict(seed=-1), dict(seed=1.5),
        dict(temperature=None)): assert "Sampling: " in refused(lambda how=how: Sampling(**how))
    for how in (dict(temperature=float("nan")), dict(temperature=float("inf")), dict(top_p=0)):
        assert "needs temperature > 0" in refused(lambda how=how: v.invert_embeddings(target, pair, 1, sampling=Sampling(**how)))
    assert v.invert_embeddings(target, pair, 1, None) == v.invert_embeddings(target, pair, 1)


@pytest.mark.parametrize("call, says", [
    (lambda: v.load_corrector(""), "inversion_model is empty"), (lambda: v.load_corrector("x"*5000), "neither a folder"),
    (lambda: v.load_corrector("all-MiniLM-L6-v2", backbone=5), "backbone is 5 (int)"),
    (lambda: v.load_corrector("all-MiniLM-L6-v2", align=5), "align is 5"), (lambda: v.load_corrector("all-MiniLM-L6-v2", embedder=" "),
    "embedder is empty"), (lambda: v.load_corrector("all-MiniLM-L6-v2", tokenizer="t5-base"), "the loaded tokenizer"),
    (lambda: v.load_corrector("all-MiniLM-L6-v2", dtype=torch.float8_e4m3fn), "expected float32"),
    (lambda: v.load_pretrained_corrector(["gtr-base"]), "name is ['gtr-base'] (list)"),
    (lambda: v.load_pretrained_corrector("sentence-transformers/All-MiniLM-L6-v2"), "Did you mean 'all-MiniLM-L6-v2'?"),
    (lambda: v.load_embedder("x", folder=3), "folder is 3"), (lambda: v.load_embedder(random_init="no"), "random_init is 'no'"),
    (lambda: v.load_embedder(seed="x", random_init=True), "seed is 'x'"), (lambda: v.load_embedder(truncate_dim=-1), "truncate_dim is -1"),
    (lambda: v.load_embedder(truncate_dim=999), "gives 384 dimensions"), (lambda: v.load_embedder(trust_remote_code="no"),
    "expected True or False"),
    (lambda: v.load_embedder(prompts="query: "), "expected a dict"), (lambda: v.load_embedder(prompts={"a": "b"}, prompt_name="c"),
    "prompts has a"), (lambda: v.load_embedder(backend="tf"), "cannot be loaded by SentenceTransformer"),
    (lambda: v.load_embedder("text-embedding-3-small", dimensions="5"), "dimensions is '5'")])
def test_places_and_options_of_loading(call, says):
    message = refused(call, TypeError, ValueError, FileNotFoundError)
    assert says in message


def test_parts_of_a_corrector_in_the_wrong_place(pair):
    p, (i, c, e, t) = v.Corrector, (pair.inversion_model, pair.corrector_model, pair.embedder, pair.tokenizer)
    for parts, says in [((c, i, e, t), "inversion_model is CorrectorEncoderModel"), ((i, i, e, t), "corrector_model is InversionModel"),
        ((i, c, t, e), "expected what load_embedder returns"), ((i, c, e, "t5-base"), "expected the loaded tokenizer"),
                        ((i, c, e, pair.embedder.tokenizer), "is not that of this T5"), ((None, c, e, t), "inversion_model is None")]:
        message = refused(lambda parts=parts: p(*parts))
        assert says in message and "\n" not in message


def test_a_corrector_without_a_tokenizer_writes_no_texts(pair, target):
    "It may be kept and published, but not searched with"
    alone = v.Corrector(pair.inversion_model, None, None, None)
    assert "has no tokenizer" in refused(lambda: alone.invert(target), ValueError)


def test_how_an_embedder_is_asked(pair):
    for options in (dict(batch_size="5"), dict(batch_size=5.), dict(batch_size=None), dict(max_tokens="7"), dict(max_tokens=7.5)):
        assert "expected a whole number" in refused(lambda options=options: pair.embedder.encode(["a"], **options), TypeError)


def test_models_in_the_wrong_place(pair):
    from vec2text_nb.pretrained import BUNDLED
    both = BUNDLED/"all-MiniLM-L6-v2"
    for folders, says in [(["corrector"], "InversionModel: its config names CorrectorEncoderModel"),
                          (["hypothesizer"]*2, "CorrectorEncoderModel: its config names InversionModel")]:
        assert says in refused(partial(v.load_corrector, *(both/f for f in folders)), RuntimeError)
    assert "loaded already" in refused(lambda: v.load_corrector(pair), TypeError)
    assert "The hypothesizer comes first" in refused(lambda: v.load_corrector(pair.corrector_model, pair.inversion_model), TypeError)
    assert "Did you mean 'embedder'?" in refused(lambda: v.load_corrector(both, embeder="x"), TypeError)
    assert "embedder is a Linear" in refused(lambda: v.load_corrector(both, embedder=torch.nn.Linear(2, 2)), TypeError)
    assert "dtype is 'int8'" in refused(lambda: v.load_corrector(both, dtype="int8"))
    assert "Did you mean 'gtr-base'?" in refused(lambda: v.load_pretrained_corrector("gtr_base"))


@pytest.mark.parametrize("given", ["~/no/such/embedder", "./no/such", None])
def test_an_embedder_that_is_not_there(pair, given, monkeypatch):
    home = "/" + "home/somebody/embedder"
    monkeypatch.setattr(pair.inversion_model.config, "embedder_model_name", home)
    message = refused(lambda: v.load_corrector(pair.inversion_model, embedder=given, tokenizer=pair.tokenizer), FileNotFoundError)
    assert "Pass embedder=" in message and "folder=" not in message and (given or home) in message


# embedders with options

def test_options_of_sentence_transformers():
    plain = v.load_embedder(device="cpu")
    query = v.load_embedder(device="cpu", prompts={"query": "query: ", "passage": "passage: "}, default_prompt_name="query")
    passage = v.load_embedder(device="cpu", prompts={"query": "query: ", "passage": "passage: "}, prompt_name="passage")
    half = v.load_embedder(device="cpu", model_kwargs={"dtype": torch.float16})
    texts = ["the cat", "a tall man"]
    for embedder, prompt in ((query, "query: "), (passage, "passage: ")): assert torch.allclose(embedder.encode(texts),
        plain.encode([prompt + t for t in texts]), atol=1e-5)
    assert (query.encode(texts)*plain.encode(texts)).sum(1).max() < .99
    assert len({plain.digest, query.digest, passage.digest, half.digest}) == 4 and "float16" in str(half.model.dtype)
    assert "Did you mean 'prompt_name'?" in refused(lambda: v.load_embedder(promt_name="query"), TypeError)
    assert "leave pooling out" in refused(lambda: v.load_embedder(prompt="query: ", pooling="mean"), TypeError)


CODE = '''
from transformers import BertConfig, BertModel
class OwnConfig(BertConfig): model_type = "own"
class OwnModel(BertModel):
    config_class = OwnConfig
    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.last_hidden_state = out.last_hidden_state + 1
        return out
'''


def test_code_of_the_models_own(tmp_path, monkeypatch):
    from transformers import AutoTokenizer, BertConfig, BertModel

    from vec2text_nb.embedders import MINILM, find_model
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path/"cache"))
    folder = tmp_path/"own"
    AutoTokenizer.from_pretrained(find_model(MINILM)).save_pretrained(folder)
    BertModel(BertConfig(vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16)).save_pretrained(folder)
    config = json.loads((folder/"config.json").read_text(encoding="utf-8")) | dict(
        model_type="own", auto_map=dict(AutoConfig="own_code.OwnConfig", AutoModel="own_code.OwnModel"))
    (folder/"config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder/"own_code.py").write_text(CODE, encoding="utf-8")
    (folder/"modules.json").write_text(json.dumps([dict(idx=i, name=str(i), type=f"sentence_transformers.models.{k}", path=p) for i, (k,
        p) in enumerate([("Transformer", ""), ("Pooling", "1_Pooling")])]), encoding="utf-8")
    (folder/"1_Pooling").mkdir()
    pooling = dict(word_embedding_dimension=8, pooling_mode_mean_tokens=True)
    (folder/"1_Pooling"/"config.json").write_text(json.dumps(pooling), encoding="utf-8")
    assert "trust_remote_code=True" in refused(lambda: v.load_embedder(folder, device="cpu"))
    trusted = v.load_embedder(folder, device="cpu", trust_remote_code=True)
    assert trusted.dim == 8 and trusted.encode(["a"]).shape == (1, 8) and "own_code.py" in trusted.files


# devices

@pytest.mark.parametrize("device", ["mps", "gpu", "meta", "CUDA", "cuda:99", torch.device("meta"), -1, ["cpu"]])
def test_a_device_that_is_not_there(pair, device):
    if device == "mps" and torch.backends.mps.is_available(): pytest.skip("this machine has MPS")
    for call in (lambda: v.load_pretrained_corrector(device=device), lambda: v.load_embedder(device=device), lambda: pair.to(device),
        lambda: pair.embedder.to(device),
                 lambda: type(pair.inversion_model).from_pretrained("nowhere", device=device)):
        message = refused(call, ValueError)
        assert message.startswith(f"device {device}: ") and "; use " in message and "\n" not in message


def test_the_default_device_changes_nothing(pair, target):
    def work():
        return [v.invert_embeddings(target.tolist(), pair, 1, 2, edits=Edits(1, beam=2)), v.invert_embeddings(target, pair, 1, 2,
            sampling=Sampling(top_p=.9)), v.invert_embeddings([], pair), [f.texts for f in pair.invert_stream(target, 1)],
                v.invert_strings(["a small boat"], pair), interpolate([0., 1.], [1., 0.], .5).tolist(),
                    pair.embedder.encode(["a small boat"]).tolist(),
                    v.load_pretrained_corrector(device="cpu").invert(target).texts]
    before = work()
    torch.set_default_device("meta")
    try: after = work()
    finally: torch.set_default_device(None)
    assert before == after


def test_the_default_type_changes_nothing(pair, target):
    def work(): return pair.embedder.encode(["a small boat"]).tolist(), v.invert_embeddings(target, pair, 1,
        sampling=Sampling(top_p=.9)), v.load_embedder(device="cpu").encode(["a boat"]).dtype
    before = work()
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try: assert work() == before
        finally: torch.set_default_dtype(torch.float32)


def test_threads_that_load_and_invert_at_once(pair, target):
    "transformers patches itself while it loads: two at once would leave all later models without weights"
    want, got = v.invert_embeddings(target, pair), []
    def work(): got.append(v.load_pretrained_corrector(device="cpu").invert(target).texts)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert got == [want]*3 and v.load_pretrained_corrector(device="cpu").invert(target).texts == want


def in_child(results, target): results.put((v.invert_embeddings(target.tolist(), v.load_pretrained_corrector(device="cpu")),
    torch.get_num_threads()))


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_was_forked_ends(pair, target):
    "With the threads of OpenMP started in the parent, it would wait for them forever"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        want = v.invert_embeddings(target, pair)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=in_child, args=(results, target), daemon=True)
        child.start()
        try: assert results.get(timeout=60) == (want, 1)
        finally: child.kill()
    finally: torch.set_num_threads(threads)


def test_free_memory_of_a_card_that_others_use(monkeypatch):
    for name, value in dict(mem_get_info=(100, 1000), memory_reserved=30, memory_allocated=10).items(): monkeypatch.setattr(torch.cuda,
        name, lambda d, value=value: value)
    for name, value in dict(recommended_max_memory=100, driver_allocated_memory=130).items(): monkeypatch.setattr(torch.mps, name,
        lambda value=value: value)
    assert [decoding.free_memory(torch.device(d)) for d in ("cuda", "mps")] == [120, 0]
