"""A stand-in for the Hugging Face hub on this machine: what huggingface_hub 2.4.0 asks to push and fetch a model."""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_of_the_tests"
SIGNED = ("/lfs/", "/store/")  # addresses with keys of their own


class StandIn(ThreadingHTTPServer):
    """Keeps models as {repo: {file: bytes}}; `refusal` is the status that every writing call gets."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[tuple[str, dict]] = []  # repo, head of the commit
        self.objects: dict[str, bytes] = {}  # of LFS
        self.calls: list[str] = []
        self.refusal: int | None = None
        self.hangs_up = False  # at a commit
        self.upload_status = 200  # of large files
        self.mode = "lfs"  # how model.safetensors goes up, lfs | regular

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def sha(self, repo: str) -> str:
        """The commit that a model is at."""
        return hashlib.sha1(f"{repo} {len(self.commits)}".encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers one call."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Prints nothing."""

    def handle_one_call(self) -> None:
        """Finds the route of a call."""
        path = unquote(self.path.partition("?")[0])
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self.read_chunks()
        self.server.calls.append(f"{self.command} {path}")
        is_write = self.command in ("POST", "PUT") and not path.startswith(
            ("/lfs/", "/store/")
        )  # have keys of their own
        if is_write and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, {"error": "Invalid username or password."})
        if is_write and self.server.refusal:
            return self.send(self.server.refusal, {"error": "no"})
        for pattern, answer in ROUTES.items():
            found = re.fullmatch(pattern, f"{self.command} {path}")
            if found:
                return answer(self, body, *found.groups())
        return self.send(404, {"error": f"the stand-in has no {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = handle_one_call  # noqa: N815

    def read_chunks(self) -> bytes:
        """Returns a body of unknown length."""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send(self, status: int, content: object, **headers: str) -> None:
        """Sends JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def model_info(self, _, repo: str) -> None:
        """What is known of a model."""
        files = self.server.models.get(repo)
        if files is None:
            return self.send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        tags = re.findall(r"^- ([\w-]+)$", files.get("README.md", b"").decode(), re.MULTILINE)
        siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
        return self.send(
            200,
            {
                "_id": "1", "id": repo, "modelId": repo, "sha": self.server.sha(repo), "siblings": siblings,
                "private": self.server.private[repo], "tags": tags, "library_name": "timm",
            },
        )  # fmt: skip

    def tree(self, _, repo: str) -> None:
        """The files of a model."""
        files = self.server.models[repo]
        rows = [{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in files.items()]
        self.send(200, rows)

    def create(self, body: bytes) -> None:
        """Makes a model."""
        asked = json.loads(body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.server.models:
            return self.send(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{repo}"})
        self.server.models[repo] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.server.private[repo] = asked.get("private") or asked.get("visibility") == "private"
        return self.send(200, {"url": f"{self.server.url}/{repo}", "name": repo, "id": "1"})

    def validate(self, body: bytes) -> None:
        """Looks at the metadata of a card."""
        has_license = re.search(r"^license: \S", json.loads(body)["content"], re.MULTILINE)
        errors = [] if has_license else [{"message": '"license" is missing'}]
        self.send(400 if errors else 200, {"errors": errors, "warnings": []})

    def preupload(self, body: bytes, repo: str) -> None:
        """Says how each file shall go up."""
        modes = {"model.safetensors": self.server.mode}
        files = [
            {"path": file["path"], "uploadMode": modes.get(file["path"], "regular"), "shouldIgnore": False, "oid": None}
            for file in json.loads(body)["files"]
        ]
        self.send(200, {"files": files})

    def batch(self, body: bytes, repo: str) -> None:
        """Says where large files go."""
        objects = [
            {**one, "actions": {
                "upload": {"href": f"{self.server.url}/lfs/{one['oid']}"},
                "verify": {"href": f"{self.server.url}/verify"},
            }}
            for one in json.loads(body)["objects"]
        ]  # fmt: skip
        self.send(200, {"transfer": "basic", "objects": objects})

    def upload(self, body: bytes, oid: str) -> None:
        """Takes a large file."""
        self.server.objects[oid] = body
        self.send(self.server.upload_status, {})

    def open_store(self, _, repo: str) -> None:
        """Says where the newer way up, Xet, takes the pieces of large files."""
        store = {"casUrl": f"{self.server.url}/store", "accessToken": "key", "exp": int(time.time()) + 3600}
        self.send(200, store)

    def take_pieces(self, body: bytes) -> None:
        """Takes the pieces of one large file, each behind a head of 8 bytes; those of the tests are not compressed."""
        content, place = b"", 0
        while place < len(body):
            version, low, high, compression = struct.unpack_from("<BHBB", body, place)
            assert (version, compression) == (0, 0)
            size = low + (high << 16)
            content += body[place + 8 : place + 8 + size]
            place += 8 + size
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self.send(200, {"was_inserted": True})

    def take_list(self, _) -> None:
        """Takes the list of which pieces are a file."""
        self.send(200, {"result": 1})

    def verify(self, body: bytes) -> None:
        """Compares what has arrived with what was announced."""
        asked = json.loads(body)
        content = self.server.objects.get(asked["oid"], b"")
        is_whole = len(content) == asked["size"] and hashlib.sha256(content).hexdigest() == asked["oid"]
        self.send(200 if is_whole else 422, {})

    def commit(self, body: bytes, repo: str) -> None:
        """Puts files into a model."""
        if self.server.hangs_up:
            self.close_connection = True
            return self.connection.shutdown(socket.SHUT_RDWR)
        lines = [json.loads(line) for line in body.splitlines()]
        [head] = [line["value"] for line in lines if line["key"] == "header"]
        if head.get("parentCommit") not in (None, self.server.sha(repo)):
            return self.send(412, {"error": "A commit has happened since."})
        files = self.server.models[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif line["key"] != "header":
                raise AssertionError(f"a push deletes nothing: {line}")
        self.server.commits.append((repo, head))
        oid = self.server.sha(repo)
        return self.send(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.server.url}/{repo}/commit/{oid}"}
        )

    def resolve(self, _, repo: str, name: str) -> None:
        """Gives a file."""
        content = self.server.models.get(repo, {}).get(name)
        if content is None:
            return self.send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return self.send(200, content, X_Repo_Commit=self.server.sha(repo), ETag=etag)


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = {
    rf"GET /api/models/{REPO}(?:/revision/\w+)?": Handler.model_info,
    rf"GET /api/models/{REPO}/tree/\w+": Handler.tree,
    r"POST /api/repos/create": Handler.create,
    r"POST /api/validate-yaml": Handler.validate,
    rf"POST /api/models/{REPO}/preupload/main": Handler.preupload,
    rf"POST /{REPO}\.git/info/lfs/objects/batch": Handler.batch,
    r"PUT /lfs/(\w+)": Handler.upload,
    r"POST /verify": Handler.verify,
    rf"GET /api/models/{REPO}/xet-write-token/main": Handler.open_store,
    r"POST /store/v1/xorbs/default/\w+": Handler.take_pieces,
    r"POST /store/v1/shards": Handler.take_list,
    rf"POST /api/models/{REPO}/commit/main": Handler.commit,
    rf"(?:GET|HEAD) /{REPO}/resolve/\w+/(.+)": Handler.resolve,
}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """Gives a running stand-in."""
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
