"""A Hub on this machine that takes uploads: repositories made and commits written as `huggingface_hub` sends them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class UploadServer:
    """What it was sent: `repositories` with whether they are private, `files` by path; `status` refuses all, if set."""

    def __init__(self) -> None:
        self.repositories: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.status = 200
        self.url = ""

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        if self.status != 200:
            return self.status, {"error": "refused"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or "somebody"
            self.repositories[f"{owner}/{asked['name']}"] = asked.get("visibility") == "private"
            return 200, {"url": f"{self.url}/{owner}/{asked['name']}"}
        if path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            repository = path.removeprefix("/api/models/").removesuffix("/commit/main")
            url = f"{self.url}/{repository}/commit/{'1' * 40}"
            return 200, {"commitUrl": url, "commitOid": "1" * 40, "hookOutput": "", "success": True}
        return 404, {"error": f"{path} is not known here"}


@contextmanager
def serving_uploads() -> Iterator[UploadServer]:
    hub = UploadServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b"".join(iter(self.read_chunk, b""))
            status, value = hub.answer(self.path.partition("?")[0], body)
            self.reply(status, value)

        def do_GET(self):
            self.reply(404 if hub.status == 200 else hub.status, {"error": "nothing here"})

        def read_chunk(self):
            size = int(self.rfile.readline(), 16)
            content = self.rfile.read(size)
            self.rfile.readline()
            return content

        def reply(self, status, value):
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
