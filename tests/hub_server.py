"A server on the loopback that speaks the parts of the Hugging Face hub that publishing and loading use, with faults on demand"
import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from loopback import Loopback

SHA = "c0ffee" * 6 + "c0ff"  # the one revision


class Server(Loopback):
    "`with Server() as s`: s.repos[name] holds the files of a repository, s.private the private ones, s.commits what each commit changed"

    def __init__(self, faults: dict | None = None):
        super().__init__(Handler)
        self.faults = faults or {}  # (user, step) -> HTTP status; the steps are the methods of the handler
        self.repos, self.private, self.blobs, self.commits, self.asked, self.tokens = {}, set(), {}, [], [], set()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args): pass

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""): return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, content, status: int = 200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"content_type": "application/json", "content_length": len(data)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(data)

    def handle_any(self):
        s, path, body = self.server, unquote(urlsplit(self.path).path).strip("/").split("/"), self.body()
        s.asked.append(f"{self.command} {'/'.join(path)}")
        if self.headers["authorization"]: s.tokens.add(self.headers["authorization"].removeprefix("Bearer "))
        step, repo, rest = route(path, body)
        if status := s.faults.get((repo.split("/")[0], step)): return self.answer({"error": "as it was scripted"}, status)
        getattr(self, step)(repo, rest, body)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def create(self, repo, rest, body):
        s, asked = self.server, json.loads(body)
        there = repo in s.repos
        if not there and (asked.get("private") or asked.get("visibility") == "private"): s.private.add(repo)
        s.repos.setdefault(repo, {".gitattributes": b""})
        self.answer({"url": f"{s.url}/{repo}"} | ({"error": "You already created this model repo"} if there else {}), 409 if there else 200)

    def yaml(self, repo, rest, body): self.answer({})

    def info(self, repo, rest, body):
        s = self.server
        if repo not in s.repos: return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        self.answer({"id": repo, "sha": SHA, "private": repo in s.private, "siblings": [{"rfilename": name} for name in s.repos[repo]]})

    def tree(self, repo, rest, body):
        files = self.server.repos[repo]
        self.answer([{"type": "file", "path": name, "size": len(data), "oid": git_oid(data)} for name, data in files.items()])

    def preupload(self, repo, rest, body):
        paths = [f["path"] for f in json.loads(body)["files"]]
        self.answer({"files": [{"path": p, "uploadMode": "lfs" if p.endswith(".safetensors") else "regular", "shouldIgnore": False}
                               for p in paths]})

    def lfs(self, repo, rest, body):
        objects = [{"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{self.server.url}/put/{repo}/{o['oid']}"}}}
                   for o in json.loads(body)["objects"]]
        self.answer({"transfer": "basic", "objects": objects})

    def put(self, repo, rest, body):
        assert hashlib.sha256(body).hexdigest() == rest
        self.server.blobs[rest] = body
        self.answer({})

    def commit(self, repo, rest, body):
        files, changed = dict(self.server.repos[repo]), []
        for line in map(json.loads, body.splitlines()):
            key, value = line["key"], line["value"]
            if key == "file": files[value["path"]] = base64.b64decode(value["content"])
            if key == "lfsFile": files[value["path"]] = self.server.blobs[value["oid"]]
            if key == "deletedFile": del files[value["path"]]
            if key != "header": changed.append((key, value["path"]))
        self.server.repos[repo] = files
        self.server.commits.append(changed)
        self.answer({"commitUrl": f"{self.server.url}/{repo}/commit/{SHA}", "commitOid": SHA, "hookOutput": "", "success": True})

    def resolve(self, repo, rest, body):
        data = self.server.repos[repo].get(rest)
        if data is None: return self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        self.answer(data, X_Repo_Commit=SHA, ETag=f'"{git_oid(data)}"', content_type="application/octet-stream")


def git_oid(data: bytes) -> str: return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def route(path: list[str], body: bytes) -> tuple[str, str, str]:
    "What is asked for: the name of a step, the repository, the rest"
    match path:
        case ["api", "repos", "create"]:
            asked = json.loads(body)
            return "create", f"{asked['organization']}/{asked['name']}", ""
        case ["api", "validate-yaml"]: return "yaml", "", ""
        case ["api", "models", user, name]: return "info", f"{user}/{name}", ""
        case ["api", "models", user, name, "revision", _]: return "info", f"{user}/{name}", ""
        case ["api", "models", user, name, "tree", *_]: return "tree", f"{user}/{name}", ""
        case ["api", "models", user, name, ("preupload" | "commit") as step, "main"]: return step, f"{user}/{name}", ""
        case [user, name, "info", "lfs", "objects", "batch"]: return "lfs", f"{user}/{name.removesuffix('.git')}", ""
        case ["put", user, name, oid]: return "put", f"{user}/{name}", oid
        case [user, name, "resolve", _, *file]: return "resolve", f"{user}/{name}", "/".join(file)
    raise AssertionError(path)
