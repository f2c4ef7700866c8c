"Vector stores as their own clients and servers write them: the same rows come out, nothing is changed, every fault is one line."
import importlib.util
import json
import os
import pickle
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import qdrant_server

from vec2text_nb import store_clients
from vec2text_nb.utilities import one_line
from vec2text_nb.vector_stores import open_store

N, D = 50, 8
VECTORS = np.random.default_rng(0).standard_normal((N, D), dtype=np.float32)
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
TEXTS = [f"text {i}" for i in range(N)]
ORDER = np.random.default_rng(1).permutation(N).tolist()  # the rows are written out of order
SECRET = "s3cr3t/@"


def check(store, vectors=VECTORS, texts=True):
    "The sample is that of the ids, and each row is the one that was written"
    drawn = store.sample(20, seed=5)
    assert drawn.ids == [str(i) for i in np.random.default_rng(5).choice(N, 20, replace=False)]
    every = [*store.batches(17)]
    assert len(store) == N and store.dim == D and sorted(int(i) for rows in every for i in rows.ids) == [*range(N)]
    for rows in (drawn, store.rows([7, "5"]), *every):
        assert rows.vectors.dtype == np.float32
        np.testing.assert_allclose(rows.vectors, vectors[[*map(int, rows.ids)]], rtol=1e-6)
        assert rows.texts == [TEXTS[int(i)] if texts else None for i in rows.ids]


def state(folder: Path) -> dict: return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@contextmanager
def unchanged(folder: Path):
    before = state(folder)
    yield
    assert state(folder) == before


def line(error: pytest.ExceptionInfo) -> str:
    "The message, which is one line and tells no password"
    text = str(error.value)
    assert "\n" not in text and SECRET not in text and "s3cr3t" not in text and error.value.__cause__ is None
    return text


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server: return server.getsockname()[1]


def wait_for_port(port: int):
    for _ in range(600):
        try: return socket.create_connection(("127.0.0.1", port)).close()
        except OSError: time.sleep(.1)


# Chroma

def write_chroma(client):
    notes = client.create_collection("notes")
    notes.add([str(i) for i in ORDER], VECTORS[ORDER], documents=[TEXTS[i] for i in ORDER])
    return notes


def chroma_client(folder: Path):
    chromadb = pytest.importorskip("chromadb")
    return chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False))


@pytest.fixture(scope="module")
def chroma(tmp_path_factory):
    "A folder of Chroma that its client has open, with rows that are not yet in its index"
    folder = tmp_path_factory.mktemp("stores")/"chroma"
    client = chroma_client(folder)
    write_chroma(client)
    yield folder
    client.close()


def test_chroma_while_it_is_open_elsewhere(chroma):
    with unchanged(chroma), open_store(chroma) as store:
        check(store)
        assert (store.kind, store.embedder_name) == ("chroma", "all-MiniLM-L6-v2") and len(store.sample(1)) == 1
        copied = Path(store.folder.name)
    assert not copied.exists()


def test_chroma_from_another_version(chroma, tmp_path):
    shutil.copytree(chroma, tmp_path/"newer")
    with sqlite3.connect(tmp_path/"newer"/"chroma.sqlite3") as db:
        db.execute("UPDATE migrations SET hash = 'of a later version' WHERE dir = 'sysdb' AND version = 5")
    db.close()
    with unchanged(tmp_path/"newer"), pytest.raises(RuntimeError, match="could not be read") as error: open_store(tmp_path/"newer")
    assert "Inconsistent hash" in line(error) and "If another version wrote it than chromadb" in line(error)


def test_a_chroma_that_is_written_to(chroma, monkeypatch, tmp_path):
    "A folder that changes during each copy is an error, one that rests at the second try is read"
    shutil.copytree(chroma, tmp_path/"busy")
    real, calls = shutil.copytree, []
    def copytree(*args, **kwargs):
        real(*args, **kwargs)
        if args[0] != tmp_path/"busy": return # copytree calls itself for the folders inside
        calls.append(1)
        if len(calls) < busy: (tmp_path/"busy"/"new").write_text(str(calls), encoding="utf-8")
    monkeypatch.setattr(shutil, "copytree", copytree)
    busy = 9
    with pytest.raises(OSError, match="another program is writing to it") as error: open_store(tmp_path/"busy")
    line(error)
    assert len(calls) == 3
    calls.clear(); busy = 2
    with open_store(tmp_path/"busy") as store: check(store)


def test_a_chroma_server(tmp_path):
    chromadb = pytest.importorskip("chromadb")
    port = free_port()
    # as the command chroma does, without the time that its own imports take
    command = ["chroma", "run", "--path", str(tmp_path/"served"), "--port", str(port)]
    run = f"import chromadb_rust_bindings; chromadb_rust_bindings.cli({command})"
    server = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        client = chromadb.HttpClient("127.0.0.1", port, settings=chromadb.Settings(anonymized_telemetry=False))
        write_chroma(client)
        with open_store(f"chroma+http://:{SECRET[:6]}@127.0.0.1:{port}") as store:
            assert repr(store) == f"chroma chroma+http://127.0.0.1:{port} [notes]: {N} vectors of {D} numbers, embedder all-MiniLM-L6-v2"
            check(store)
        with pytest.raises(ValueError, match="has no collection 'other'. It has: notes."):
            open_store(f"chroma+http://127.0.0.1:{port}", "other")
    finally:
        server.terminate()
        server.wait(10)


# Qdrant

POINTS = {i: (UNIT[i].tolist(), {"page_content": TEXTS[i], "page": i}) for i in ORDER}
COSINE = {"size": D, "distance": "Cosine"}
NAMED = {"vectors": {"title": COSINE | {"size": 3}, "body": COSINE | {"distance": "Dot"}},
         "points": {i: ({"title": [1., 2., 3.], "body": VECTORS[i].tolist()}, {"text": TEXTS[i]}) for i in ORDER}}


def test_a_qdrant_server():
    pytest.importorskip("qdrant_client")
    collections = {"notes": {"vectors": COSINE, "points": POINTS}, "named": NAMED, "empty": {"vectors": COSINE, "points": {}},
                   "many": {"vectors": COSINE | {"multivector_config": {"comparator": "max_sim"}}, "points": POINTS}}
    with qdrant_server.Server(collections, key="s3cr3t") as s:
        where = s.url.replace("http://", "qdrant+http://:s3cr3t@")
        with open_store(where, "notes") as store:
            assert repr(store) == f"qdrant qdrant+{s.url} [notes]: {N} vectors of {D} numbers, normalised by the store"
            check(store, UNIT)
        with open_store(where, "named", column="body", text_column="text") as store: check(store)
        for message, options in {
            "more than one collection: empty, many, named, notes": {}, "no collection 'other'": {"collection": "other"},
            "more than one vector: body, title. Say which with column=": {"collection": "named"}, "is empty": {"collection": "empty"},
            "no vector 'x'. It has: body, title.": {"collection": "named", "column": "x"}, "many vectors per point": {"collection": "many"},
            "no column 'x'. It has: page, page_content.": {"collection": "notes", "text_column": "x"},
        }.items():
            with pytest.raises(ValueError, match=message) as error: open_store(where, **options)
            line(error)
        with pytest.raises(RuntimeError, match="401") as error: open_store(where.replace("s3cr3t", "s3cr3t-wrong"))
        line(error)
        assert {a.split("?")[0].split("/")[-1] for a in s.asked if a.startswith("POST")} == {"scroll", "points"}


@pytest.fixture(scope="module")
def qdrant(tmp_path_factory):
    "A local folder of Qdrant that its client has open"
    qdrant_client = pytest.importorskip("qdrant_client")
    folder, models = tmp_path_factory.mktemp("stores")/"qdrant", qdrant_client.models
    with warnings.catch_warnings(action="ignore"):
        client = qdrant_client.QdrantClient(path=folder)
        client.create_collection("notes", models.VectorParams(**COSINE))
        client.upsert("notes", [models.PointStruct(id=i, vector=VECTORS[i].tolist(), payload=POINTS[i][1]) for i in ORDER])
        client.create_collection("named", {k: models.VectorParams(**v) for k, v in NAMED["vectors"].items()},
                                 sparse_vectors_config={"s": models.SparseVectorParams()})
        sparse = models.SparseVector(indices=[1], values=[2.])
        client.upsert("named", [models.PointStruct(id=f"00000000-0000-0000-0000-{i:012x}", payload={"text": TEXTS[i]},
                                                   vector={"body": VECTORS[i].tolist(), "s": sparse}) for i in ORDER])
    yield folder
    client.close()


def test_a_qdrant_folder_while_it_is_open_elsewhere(qdrant):
    with unchanged(qdrant), open_store(qdrant, "notes") as store: check(store)
    with open_store(qdrant, "named", column="body") as store:
        rows = store.sample(N)
        np.testing.assert_array_equal(rows.vectors, VECTORS[[int(i[-12:], 16) for i in rows.ids]])
        assert [*rows.ids] == [f"00000000-0000-0000-0000-{i:012x}" for i in np.random.default_rng(0).choice(N, N, replace=False)]
    with pytest.raises(ValueError, match="has no vector 'title'"): open_store(qdrant, "named", column="title")


def test_a_pickle_is_not_trusted(qdrant, tmp_path):
    class Evil:
        def __reduce__(self): return Path.touch, (tmp_path/"harmed",)
    shutil.copytree(qdrant, tmp_path/"qdrant")
    with sqlite3.connect(tmp_path/"qdrant"/"collection"/"notes"/"storage.sqlite") as db:
        db.execute("UPDATE points SET point = ?", (pickle.dumps(Evil()),))
    db.close()
    with pytest.raises(ValueError, match="might run code"): open_store(tmp_path/"qdrant", "notes")
    assert not (tmp_path/"harmed").exists()


# SQLite

def write_vec0(path: Path, wal: bool):
    apsw, sqlite_vec = pytest.importorskip("apsw"), pytest.importorskip("sqlite_vec")
    db = apsw.Connection(str(path))
    if wal: db.execute("PRAGMA journal_mode=WAL")
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.execute("CREATE VIRTUAL TABLE notes USING vec0(embedding float[8], +text text)")
    db.execute("CREATE VIRTUAL TABLE keyed USING vec0(key text primary key, v float[8])")
    db.execute("BEGIN")
    for i in ORDER:
        db.execute("INSERT INTO notes (rowid, embedding, text) VALUES (?, ?, ?)", (i, VECTORS[i].tobytes(), TEXTS[i]))
        db.execute("INSERT INTO keyed (key, v) VALUES (?, ?)", (str(i), VECTORS[i].tobytes()))
    db.execute("COMMIT")
    return db


@pytest.mark.parametrize("wal", [False, True], ids=["rollback", "WAL"])
def test_sqlite_vec(wal, tmp_path, monkeypatch):
    db = write_vec0(tmp_path/"v.db", wal)
    files = {p: p.read_bytes() for p in (tmp_path/"v.db", tmp_path/"v.db-wal") if p.exists()}
    with open_store(tmp_path/"v.db", "notes") as store: check(store)
    with open_store(tmp_path/"v.db", "keyed") as store: check(store, texts=False)
    assert all(p.read_bytes() == data for p, data in files.items())
    with pytest.raises(ValueError, match="more than one vec0 table: keyed, notes"): open_store(tmp_path/"v.db")
    if not wal:
        monkeypatch.setattr(store_clients, "PATIENCE", .1)
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RuntimeError, match="v.db could not be read: BusyError: .*locked") as error: open_store(tmp_path/"v.db", "notes")
        line(error)
    db.close()
    with unchanged(tmp_path), open_store(tmp_path/"v.db", "notes") as store: check(store)


def test_a_row_that_goes_while_the_store_is_open(tmp_path):
    db = write_vec0(tmp_path/"v.db", wal=False)
    with open_store(tmp_path/"v.db", "notes") as store:
        db.execute("DELETE FROM notes WHERE rowid = ?", (int(store.ids[1]),))
        with pytest.raises(ValueError, match=r"v.db.*: the row \d+ was just deleted") as error: store.pick(np.arange(2))
        line(error)
    db.close()


def test_a_database_that_a_crash_left_behind(tmp_path):
    (tmp_path/"v.db").write_bytes(b"SQLite format 3\0" + b"\x10\0\2\2" + bytes(80))
    (tmp_path/"v.db-wal").touch()
    with pytest.raises(ValueError, match="was not closed properly"): open_store(tmp_path/"v.db")


# pgvector

def postgres_programs() -> Path | None:
    "The folder with initdb of a PostgreSQL that has pgvector: that of the package pgserver, or the system's"
    spec = importlib.util.find_spec("pgserver")
    folders = [Path(spec.origin).parent/"pginstall"/"bin"] if spec else []
    for folder in [*folders, *Path("/usr/lib/postgresql").glob("*/bin"), *map(Path, os.get_exec_path())]:
        if not (folder/"initdb").exists() or not (folder/"pg_config").exists(): continue
        shared = subprocess.run([folder/"pg_config", "--sharedir"], capture_output=True, text=True).stdout.strip()
        if (Path(shared)/"extension"/"vector.control").exists(): return folder


@pytest.fixture(scope="module")
def postgres():
    "The address of a database on a server of its own, with a password"
    sqlalchemy = pytest.importorskip("sqlalchemy")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL with pgvector here: pip install pgserver (Python 3.12 at most), or install postgresql with its pgvector")
    port, other = free_port(), {"user": "nobody"} if os.geteuid() == 0 else {}  # PostgreSQL does not run as root
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        secret = Path(folder)/"password"
        secret.write_text(SECRET, encoding="utf-8")
        if other: [shutil.chown(p, "nobody") for p in (folder, secret)]
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **other)
        make = [programs/"initdb", "-D", f"{folder}/data", "-U", "me", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        serve = [programs/"postgres", "-D", f"{folder}/data", "-h", "127.0.0.1", "-p", str(port), "-c", "unix_socket_directories=", "-F"]
        subprocess.run(make, check=True, **quiet)
        server = subprocess.Popen(serve, **quiet)
        url = sqlalchemy.URL.create("postgresql+psycopg", "me", SECRET, "127.0.0.1", port, "postgres")
        try:
            engine = sqlalchemy.create_engine(url)
            wait_for_port(port)
            try: write_postgres(sqlalchemy, engine)
            finally: engine.dispose()
            yield url.render_as_string(hide_password=False)
        finally:
            server.send_signal(2)  # fast shutdown
            server.wait(20)


def write_postgres(sqlalchemy, engine):
    with engine.begin() as c:
        c.execute(sqlalchemy.text("CREATE EXTENSION vector"))
        half = c.execute(sqlalchemy.text("SELECT typname FROM pg_type WHERE typname = 'halfvec'")).scalar() or "vector"
        for statement in ['CREATE TABLE notes (id bigint PRIMARY KEY, "the vector" vector(8), content text)', "CREATE SCHEMA other",
                          f"CREATE TABLE other.plain (key uuid PRIMARY KEY, v {half})", "CREATE TABLE words (id int, body text)",
                          "CREATE TABLE empty (id int PRIMARY KEY, v vector(3))",
                          'CREATE VIEW seen AS SELECT id AS "odd "" name", "the vector", content AS body FROM notes']:
            c.execute(sqlalchemy.text(statement))
        c.execute(sqlalchemy.text("INSERT INTO notes VALUES (:i, :v, :t)"),
                  [dict(i=i, v=str(VECTORS[i].tolist()), t=TEXTS[i]) for i in ORDER])
        c.execute(sqlalchemy.text(f"INSERT INTO other.plain VALUES (cast(:k AS uuid), cast(:v AS {half}))"),
                  [dict(k=f"{i:032x}", v=str(VECTORS[i].tolist())) for i in ORDER])
        c.execute(sqlalchemy.text("INSERT INTO notes (id, content) VALUES (1000, 'no vector')"))


def test_pgvector(postgres):
    from sqlalchemy import text
    with open_store(postgres, "notes") as store:
        check(store)
        assert re.fullmatch(r"postgresql\+psycopg://127.0.0.1:\d+/postgres \[notes\]", store.name)  # no user, no password
        with store.reading() as c: assert c.execute(text("SHOW transaction_read_only")).scalar() == "on"
    with open_store(postgres.replace("+psycopg", ""), "seen", id_column='odd " name', text_column="body") as store: check(store)
    with open_store(postgres, "other.plain") as store:
        rows = store.rows([f"00000000-0000-0000-0000-{7:012x}"])
        np.testing.assert_allclose(rows.vectors[0], VECTORS[7], rtol=1e-3)  # 16 bits


@pytest.mark.parametrize("options, message", [
    ({}, "more than one table of vectors: empty, notes, other.plain, seen. Say which with collection="),
    ({"collection": "x"}, "has no table 'x'. It has: empty, notes, other.plain, seen, words."),
    ({"collection": "words"}, r"\[words\] has no column of vectors"),
    ({"collection": "empty"}, r"\[empty\] is empty"),
    ({"collection": "notes", "column": "x"}, "has no column 'x'. It has: content, id, the vector."),
    ({"collection": "seen"}, "has more than one column: .* Say which with id_column="),
])
def test_pgvector_faults(postgres, options, message):
    with pytest.raises(ValueError, match=message) as error: open_store(postgres, **options)
    line(error)


def test_a_wrong_password(postgres):
    with pytest.raises(ConnectionError, match="password authentication failed") as error:
        open_store(postgres.replace("s3cr3t", "s3cr3t-wrong"))
    line(error)


# LanceDB and FAISS: their notebook writes and reads them; here is what a notebook does not show

def test_lancedb_names_its_embedder(tmp_path):
    lancedb, pa = pytest.importorskip("lancedb"), pytest.importorskip("pyarrow")
    function = {"name": "sentence-transformers", "model": {"name": "all-MiniLM-L6-v2"}, "source_column": "text", "vector_column": "vector"}
    table = pa.table(dict(id=ORDER, text=[TEXTS[i] for i in ORDER], vector=pa.FixedSizeListArray.from_arrays(VECTORS[ORDER].ravel(), D)))
    table = table.replace_schema_metadata({"embedding_functions": json.dumps([function])})
    made = lancedb.connect(tmp_path).create_table("notes", table)
    with unchanged(tmp_path), open_store(tmp_path) as store:
        check(store)
        assert len(made) == N and store.embedder_name == "all-MiniLM-L6-v2"


def test_a_langchain_folder_of_faiss(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatL2(D)
    index.add(VECTORS)
    faiss.write_index(index, str(tmp_path/"index.faiss"))
    (tmp_path/"index.pkl").write_bytes(b"never read")
    with unchanged(tmp_path), open_store(tmp_path) as store: check(store, texts=False)


# faults of any store

@pytest.mark.parametrize("where", ["chroma+http", "qdrant+https", "postgresql+psycopg"])
@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
def test_a_server_that_does_not_answer(where, silent, monkeypatch):
    monkeypatch.setattr(store_clients, "PATIENCE", .3 if where != "postgresql+psycopg" else 2)  # libpq waits 2 seconds at least
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not silent: server.close()
        start = time.monotonic()
        with pytest.raises(ConnectionError, match=f"{port}.* (does not answer|gives no connection)") as error:
            open_store(f"{where}://me:s3cr3t@127.0.0.1:{port}/db")
        assert time.monotonic() - start < 6
    line(error)


@pytest.mark.parametrize("module, where, extra", [
    ("chromadb", "chroma", "chroma"), ("faiss", "a.faiss", "faiss"), ("lancedb", "lance", "lancedb"), ("apsw", "a.db", "sqlite-vec"),
    ("qdrant_client", None, "qdrant"), ("psycopg", "postgresql://host/db", "pgvector")])
def test_a_missing_client(module, where, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.chdir(tmp_path)
    for name in ("chroma/chroma.sqlite3", "lance/a.lance", "a.faiss", "a.db"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    with qdrant_server.Server({}) as s, pytest.raises(ImportError) as error: open_store(where or f"qdrant+{s.url}")
    assert f'pip install "vec2text_nb[{extra}]"' in one_line(error.value)


@pytest.mark.parametrize("vectors, message", [
    (np.tile(VECTORS[0], (N, 1)), "the first 50 vectors are all equal"), (VECTORS[:0], "is empty"), (VECTORS.astype(int), "floating-point"),
    (np.where(np.arange(N)[:, None] == 7, np.nan, VECTORS), "row '7' holds NaN"), (VECTORS[0], "shape"),
    (VECTORS * (np.arange(N)[:, None] != 3), "row '3' holds only zeros")])
def test_vectors_that_cannot_be_used(vectors, message, tmp_path):
    np.save(tmp_path/"v.npy", vectors)
    with pytest.raises(ValueError, match=message) as error, open_store(tmp_path/"v.npy") as store: store.sample(N)
    line(error)


# texts

def rows_with_texts(kind: str, folder: Path, texts: list) -> dict:
    "Three rows with these texts in a store of this kind, as arguments of `open_store`"
    vectors, where = VECTORS[:3], folder/"store"
    if kind == "jsonl":
        lines = [json.dumps({"embedding": v.tolist(), "body": t}) + "\n" for v, t in zip(vectors, texts)]
        where.with_suffix(".jsonl").write_text("".join(lines), encoding="utf-8")
    elif kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table(dict(embedding=vectors.tolist(), body=texts)), where.with_suffix(".parquet"))
    elif kind == "lancedb":
        lancedb, pa = pytest.importorskip("lancedb"), pytest.importorskip("pyarrow")
        made = pa.FixedSizeListArray.from_arrays(vectors.ravel(), D)
        lancedb.connect(where).create_table("notes", pa.table(dict(vector=made, body=texts)))
        return dict(where=where)
    elif kind == "db":
        apsw, sqlite_vec = pytest.importorskip("apsw"), pytest.importorskip("sqlite_vec")
        db = apsw.Connection(str(where.with_suffix(".db")))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        db.execute("CREATE VIRTUAL TABLE notes USING vec0(embedding float[8])")
        db.execute("CREATE TABLE words (body)")
        for i, (v, t) in enumerate(zip(vectors, texts), 1):
            db.execute("INSERT INTO notes (rowid, embedding) VALUES (?, ?)", (i, v.tobytes()))
            db.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (i, t))
        db.close()
        return dict(where=where.with_suffix(".db"), text_column="words.body")
    return dict(where=where.with_suffix(f".{kind}"))


@pytest.mark.parametrize("kind", ["parquet", "lancedb", "db"])
def test_texts_as_bytes(kind, tmp_path):
    "As Spark and DuckDB write them; what is not UTF-8 is an error that names row and column"
    texts = ["one", "zwölf", None]
    options = dict(text_column="body") | rows_with_texts(kind, tmp_path, [t and t.encode() for t in texts])
    with open_store(**options) as store: assert [t for rows in store.batches() for t in rows.texts] == texts
    (tmp_path/"bad").mkdir()
    options = dict(text_column="body") | rows_with_texts(kind, tmp_path/"bad", [b"one", "zwölf".encode("latin-1"), None])
    with pytest.raises(ValueError, match=r"body', holds bytes that are not UTF-8 in row '[12]': .* text_column=") as error:
        open_store(**options)
    line(error)


@pytest.mark.parametrize("kind, texts, what", [
    ("jsonl", [7, 8, 9], "int"), ("jsonl", [{"a": "b"}]*3, "dict"), ("jsonl", ["a", ["b"], "c"], "list"), ("parquet", [7, 8, 9], "int"),
    ("parquet", [["a"], ["b"], ["c"]], "list"), ("lancedb", [.5, 1.5, 2.5], "float"), ("db", ["a", "b", 9], "int")])
def test_texts_that_are_none(kind, texts, what, tmp_path):
    options = dict(text_column="body") | rows_with_texts(kind, tmp_path, texts)
    with pytest.raises(ValueError, match=f"body', holds a value of type {what} in row '[0-3]': expected strings") as error:
        open_store(**options)
    line(error)
    with open_store(**options | dict(text_column="")) as store: assert store.sample(3).texts == [None]*3


@pytest.mark.parametrize("payload, message", [
    ({"text": b"a"}, None), ({"text": 7}, "type int"), ({"text": ["a"]}, "type list"), ({"text": None}, None), ({}, None)])
def test_texts_of_qdrant(payload, message):
    store = store_clients.QdrantFolder.__new__(store_clients.QdrantFolder)
    store.vector, store.text, store.name = "", "text", "it"
    def read(): return store_clients.point_rows(store, {1: ([1., 2.], payload)}, [1]).texts
    if message is None: assert read() == ["a" if payload.get("text") else None]
    else:
        with pytest.raises(ValueError, match=f"'text', holds a value of {message} in row '1'"): read()


def test_pgvector_with_a_wrong_column_of_texts(postgres):
    with pytest.raises(ValueError, match="'id', holds a value of type int in row") as error: open_store(postgres, "notes", text_column="id")
    line(error)
    with open_store(postgres, "notes", text_column="") as store: check(store, texts=False)


def test_json_lines_whose_first_row_lacks_a_column(tmp_path):
    rows = [{"text": t} if t else {} for t in (None, "b", None, "d")]
    lines = [json.dumps({"v": v.tolist()} | row) for v, row in zip(VECTORS, rows)]
    (tmp_path/"v.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with open_store(tmp_path/"v.jsonl") as store: assert next(store.batches()).texts == [None, "b", None, "d"]


@pytest.mark.parametrize("name", ["a\0", "a\ud800"])
def test_ids_that_would_not_come_back(name, tmp_path):
    lines = [json.dumps({"id": i, "v": v.tolist()}) + "\n" for i, v in zip(["a", name, "c"], VECTORS)]
    (tmp_path/"v.jsonl").write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match="The id 'a.* choose a column of other ids with id_column=") as error:
        open_store(tmp_path/"v.jsonl")
    line(error)
    with open_store(tmp_path/"v.jsonl", id_column="") as store: assert len(store) == 3
