"A server on the loopback that speaks the embeddings language of OpenAI, with faults on demand"
import json
import socket
from hashlib import sha256
from http.server import BaseHTTPRequestHandler

import numpy as np
from loopback import Loopback


def vector(text: str, dim: int) -> list[float]:
    "A unit vector that depends on the text alone"
    v = np.random.default_rng(list(sha256(text.encode()).digest())).standard_normal(dim)
    return (v / np.linalg.norm(v)).tolist()


def good(body: dict) -> dict:
    "The answer that the API would give"
    dim = body.get("dimensions") or 1536
    return {"object": "list", "model": body["model"],
            "data": [{"object": "embedding", "index": i, "embedding": vector(t, dim)} for i, t in enumerate(body["input"])]}


def error(status: int, message: str, code: str | None = None, **headers):
    "A script entry: an error answer"
    return lambda body: (status, {"error": {"message": message, "type": code, "code": code}}, headers)


class Server(Loopback):
    "`with Server(entry, ...) as s`: an entry answers one request, then all are good. s.asked holds the texts of each request"

    def __init__(self, *script):
        super().__init__(Handler)
        self.script, self.asked, self.bodies, self.keys = list(script), [], [], []
        self.url += "/v1"

    def handle_error(self, request, client_address): pass  # a client that was killed is part of the tests


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        s = self.server
        s.asked.append(body["input"]), s.bodies.append(body), s.keys.append(self.headers["authorization"])
        entry = s.script.pop(0) if s.script else good
        answer = entry(body)
        if answer is None: return self.hang_up()                             # a connection that is lost
        status, content, headers = answer if isinstance(answer, tuple) else (200, answer, {})
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(data))} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)
        if int(headers.get("content-length", 0)) > len(data): self.hang_up()  # an answer that breaks off

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
