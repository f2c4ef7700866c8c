"The OpenAI embedder against a real HTTP server on the loopback: faults, limits, order, and a kill in the middle"
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

openai = pytest.importorskip("openai")
from openai_server import Server, error, good, vector  # noqa: E402

from vec2text_nb.api_embedders import BadResponse, OpenAIEmbedder  # noqa: E402
from vec2text_nb.embedders import load_embedder  # noqa: E402


@pytest.fixture
def make(tmp_path):
    "An embedder on a server"
    def make(server, **kw):
        kw = dict(model="text-embedding-3-small", dimensions=8, api_key="sk-test", cache_dir=tmp_path/"c", device="cpu") | kw
        return OpenAIEmbedder(base_url=server.url, **kw)
    return make


def expected(texts, dim=8): return torch.tensor([vector(t, dim) for t in texts], dtype=torch.float32)


def test_vectors_duplicates_batches_and_request(make):
    texts = ["b", "a", "b", "ümläut\n\t 😀", " lead", "c"]
    with Server() as s:
        e = make(s, batch_size=2)
        got = e.encode(texts)
        assert got.dtype == torch.float32 and torch.allclose(got, expected(texts))
        assert s.asked == [["b", "a"], ["ümläut\n\t 😀", " lead"], ["c"]]                # as they are, each once
        assert s.bodies[0] == {"model": "text-embedding-3-small", "input": ["b", "a"], "dimensions": 8, "encoding_format": "float"}
        assert s.keys[0] == "Bearer sk-test" and e.texts_paid == 5
        assert torch.equal(make(s).encode(texts), got) and len(s.asked) == 3              # a new object pays nothing
        make(s, dimensions=9).encode(["a"]), make(s, model="text-embedding-3-large").encode(["a"])
        assert len(s.asked) == 5                                                          # other vectors, other rows


def test_no_store_and_ada(make, tmp_path):
    with Server() as s:
        e = make(s, model="text-embedding-ada-002", dimensions=None, cache_dir=False)
        assert torch.allclose(e.encode(["x"]), expected(["x"], 1536)) and e.encode(["x"]).shape == (1, 1536)
        assert len(s.asked) == 2 and "dimensions" not in s.bodies[0]
    assert not list(tmp_path.iterdir())                                                   # nothing on disk


def test_nothing_is_written_before_the_first_text(make, tmp_path, monkeypatch):
    monkeypatch.setenv("VEC2TEXT_NB_CACHE", str(tmp_path/"env"))
    with Server() as s:
        e = make(s, cache_dir=None)
        e.encode([]), e.digest, repr(e)
        assert not list(tmp_path.iterdir())
        e.encode(["x"])
    assert [p.name for p in (tmp_path/"env").iterdir()] == ["openai.sqlite"]


@pytest.mark.parametrize("fault, pause", [
    (error(429, "slow down", retry_after="1"), 1),
    (error(429, "slow down", retry_after_ms="250"), .25),
    (error(500, "oops"), 0), (error(529, "overloaded"), 0), (error(408, "timeout"), 0),
    (lambda body: None, 0),                                                               # the connection is lost
    (lambda body: (200, b'{"data": [', {"content-length": 5000}), 0),                     # breaks off
])
def test_the_client_retries_what_is_temporary(make, fault, pause):
    with Server(fault) as s:
        start = time.perf_counter()
        assert torch.allclose(make(s).encode(["a", "b"]), expected(["a", "b"]))
        assert s.asked == [["a", "b"]] * 2 and time.perf_counter() - start >= pause


@pytest.mark.parametrize("fault, message", [
    (lambda body: (200, b'{"data": [', {}), "as JSON"),                                   # not JSON
    (lambda body: good(body) | {"data": good(body)["data"][:-1]}, "asked for 2 embeddings, got 1"),
    (lambda body: good(body | {"dimensions": 7}), r"shapes \[\(7,\)\]"),                   # too narrow
    (lambda body: good(body) | {"data": [dict(r, index=0) for r in good(body)["data"]]}, "got 1 with the indices"),
    (lambda body: (200, {"error": {"message": "busy"}}, {}), "busy"),
])
def test_a_bad_response_is_raised_and_what_came_before_is_kept(make, tmp_path, fault, message):
    with Server(good, fault) as s:
        with pytest.raises(BadResponse, match=message) as info: make(s, batch_size=2).encode(list("abcdef"))
        assert str(tmp_path/"c"/"openai.sqlite") in info.value.__notes__[0] and "only the rest" in info.value.__notes__[0]
        assert torch.allclose(make(s, batch_size=2).encode(list("abcdef")), expected("abcdef"))
        assert s.asked == [["a", "b"], ["c", "d"], ["c", "d"], ["e", "f"]]


@pytest.mark.parametrize("fault, kind, message", [
    (error(401, "Incorrect API key provided: sk-test", "invalid_api_key"), openai.AuthenticationError, "Incorrect API key"),
    (error(400, "This model's maximum context length is 8192 tokens"), openai.BadRequestError, "maximum context length"),
    (error(404, "The model does not exist", "model_not_found"), openai.NotFoundError, "does not exist"),
])
def test_what_is_not_temporary_is_raised_at_once(make, fault, kind, message):
    with Server(fault) as s:
        with pytest.raises(kind, match=message): make(s).encode(["a"])
        assert len(s.asked) == 1


def test_retries_end_with_the_error_of_the_server(make):
    quota = error(429, "You exceeded your quota", "insufficient_quota", retry_after_ms="1")
    with Server(*[quota] * 3) as s:
        with pytest.raises(openai.RateLimitError, match="exceeded your quota"): make(s, max_retries=2).encode(["a"])
        assert len(s.asked) == 3
    with Server(*[error(500, "the disk is full", retry_after_ms="1")] * 2) as s:
        with pytest.raises(openai.InternalServerError, match="disk is full"): make(s, max_retries=1).encode(["z"])
    e = make(s, max_retries=1)                                                            # nobody listens there any more
    with pytest.raises(openai.APIConnectionError) as info: e.encode(["y"])
    assert "received so far are kept" in info.value.__notes__[0]


def test_slow_answers_time_out(make):
    def slow(body):
        time.sleep(.6)
        return good(body)
    with Server(slow) as s:
        assert torch.allclose(make(s, timeout=.2).encode(["a"]), expected(["a"]))
        assert len(s.asked) == 2


def test_order_comes_from_the_index(make):
    backwards = lambda body: good(body) | {"data": good(body)["data"][::-1]}
    with Server(backwards) as s: assert torch.allclose(make(s).encode(["a", "b", "c"]), expected(["a", "b", "c"]))


def test_no_key_and_no_package(make, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Server() as s:
        make(s).encode(["a"])
        keyless = make(s, api_key=None)
        assert torch.allclose(keyless.encode(["a"]), expected(["a"]))                     # in the store: no key is needed
        with pytest.raises(ValueError, match="OPENAI_API_KEY"): keyless.encode(["b"])
        monkeypatch.setitem(sys.modules, "openai", None)
        with pytest.raises(ImportError, match=r"vec2text_nb\[openai\]"): make(s).encode(["b"])
        assert len(s.asked) == 1


def test_empty_text(make):
    with Server() as s:
        with pytest.raises(ValueError, match=r"texts\[2\] is empty"): make(s).encode(["a", "b", ""])
        assert s.asked == []
        got = make(s, empty="zero").encode(["", "a", ""])
        assert torch.equal(got[[0, 2]], torch.zeros(2, 8)) and torch.allclose(got[1:2], expected(["a"]))
        assert make(s, empty="zero").encode([""]).tolist() == [[0] * 8] and s.asked == [["a"]]


def test_a_broken_store_is_named(make, tmp_path):
    (tmp_path/"c").mkdir()
    (tmp_path/"c/openai.sqlite").write_text("not a database at all, " * 99, encoding="utf-8")
    with Server() as s, pytest.raises(Exception, match="not a database") as info: make(s).encode(["a"])
    assert "openai.sqlite" in info.value.__notes__[0] and s.asked == []


def test_two_writers(make):
    with Server() as s:
        es = [make(s, batch_size=1) for _ in range(4)]
        threads = [threading.Thread(target=e.encode, args=([f"{j}" for j in range(i, i + 10)],)) for i, e in enumerate(es)]
        [t.start() for t in threads], [t.join() for t in threads]
        before = len(s.asked)
        assert torch.allclose(make(s).encode([f"{j}" for j in range(13)]), expected([f"{j}" for j in range(13)])) and len(s.asked) == before


CHILD = """import sys
from vec2text_nb.embedders import OpenAIEmbedder
e = OpenAIEmbedder("text-embedding-3-small", 8, api_key="k", base_url=sys.argv[1], cache_dir=sys.argv[2], batch_size=2, device="cpu")
e.encode(list("abcdefg"))"""


def test_killed_between_batches_resumes_and_pays_only_for_the_rest(make, tmp_path):
    reached, release = threading.Event(), threading.Event()
    def hang(body):
        reached.set()
        release.wait(30)
    with Server(good, good, hang) as s:
        child = subprocess.Popen([sys.executable, "-c", CHILD, s.url, str(tmp_path/"c")], cwd=Path(__file__).parents[1])
        try: assert reached.wait(60)
        finally: child.kill(), child.wait()
        release.set()
        assert s.asked == [["a", "b"], ["c", "d"], ["e", "f"]]
        got = make(s, batch_size=2).encode(list("abcdefg"))
        assert s.asked[3:] == [["e", "f"], ["g"]] and torch.allclose(got, expected("abcdefg"))


def test_by_name(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    e = load_embedder("text-embedding-3-large", dimensions=256, device="cpu")
    assert (e.dim, e.base_url, e.normalized) == (256, "http://localhost:1/v1", True)
    assert len({load_embedder("text-embedding-3-large", dimensions=d, device="cpu").digest for d in (None, 255, 256)}) == 3
    for n, d in [("text-embedding-ada-002", 1536), ("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)]:
        assert load_embedder(n, device="cpu").dim == d
    assert np.isclose(np.linalg.norm(vector("x", 5)), 1)
