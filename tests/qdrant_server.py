"A server on the loopback that answers as Qdrant does to what a reader asks: collections, pages of ids, points by id"
import json
from http.server import BaseHTTPRequestHandler

from loopback import Loopback

# what the client's models require of a collection's description, beside its vectors
CONFIG = {"hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
          "optimizer_config": {"deleted_threshold": .2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                               "flush_interval_sec": 5},
          "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0}}


class Server(Loopback):
    """`with Server(collections) as s`: s.asked holds what was asked for.

    A collection is {'vectors': parameters, 'points': {id: (vector, payload)}}."""

    def __init__(self, collections: dict, key: str = ""):
        super().__init__(Handler)
        self.collections, self.key, self.asked = collections, key, []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def answer(self, content: dict, status: int = 200):
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def result(self, content): self.answer({"result": content, "status": "ok", "time": 0})

    def do_GET(self):
        s = self.server
        s.asked.append(f"GET {self.path}")
        if self.path == "/": return self.answer({"title": "qdrant", "version": "1.15.0"})
        if self.headers.get("api-key", "") != s.key: return self.answer({"status": {"error": "Must provide an API key"}}, 401)
        match self.path.strip("/").split("/"):
            case ["collections"]: self.result({"collections": [{"name": name} for name in s.collections]})
            case ["collections", name]:
                self.result({"status": "green", "optimizer_status": "ok", "segments_count": 1, "payload_schema": {},
                             "config": {"params": {"vectors": s.collections[name]["vectors"]}, **CONFIG}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(f"POST {self.path}")
        name, _, step = self.path.removeprefix("/collections/").partition("/")
        points = self.server.collections[name.partition("?")[0]]["points"]
        if step.startswith("points/scroll"):
            ids = sorted(points)
            ids = ids[ids.index(asked["offset"]) if asked.get("offset") is not None else 0:]
            page, later = ids[:asked["limit"]], ids[asked["limit"]:]
            self.result({"points": [point(i, points, asked) for i in page], "next_page_offset": later[0] if later else None})
        else: self.result([point(i, points, asked) for i in asked["ids"] if i in points])


def point(i, points: dict, asked: dict) -> dict:
    "A point with as much of its payload and vectors as was asked for"
    vector, payload = points[i]
    some, named = asked.get("with_payload"), asked.get("with_vector")
    res = {"id": i}
    if some: res["payload"] = payload if some is True else {key: payload[key] for key in some if key in payload}
    if named: res["vector"] = vector if named is True else {key: vector[key] for key in named}
    return res
