"""A Hub on this machine: dataset repositories served from folders, as `huggingface_hub` asks for them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class HubServer:
    """Serves commits of one dataset; `branches` says which one each branch is at, `requests` what was asked for."""

    def __init__(self, dataset_id: str) -> None:
        self.dataset_id = dataset_id
        self.commits: dict[str, Path] = {}
        self.branches: dict[str, str] = {}
        self.requests: list[str] = []
        self.url = ""

    def downloads(self) -> list[str]:
        """Paths of the files whose content was asked for since the last call, sorted."""
        files = [
            path.split("/", 6)[6]
            for method, path in map(str.split, self.requests)
            if method == "GET" and "/resolve/" in path
        ]
        self.requests.clear()
        return sorted(files)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith(f"/api/datasets/{self.dataset_id}/"):
            verb, _, rest = path.removeprefix(f"/api/datasets/{self.dataset_id}/").partition("/")
            commit = self.branches.get(rest, rest)
            if commit in self.commits and verb == "revision":
                return 200, {}, json.dumps({"id": self.dataset_id, "sha": commit, "siblings": []}).encode()
            if commit in self.commits and verb == "tree":
                return 200, {}, json.dumps([self._entry(commit, file) for file in self._files(commit)]).encode()
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if path.startswith(f"/datasets/{self.dataset_id}/resolve/"):
            commit, _, name = path.removeprefix(f"/datasets/{self.dataset_id}/resolve/").partition("/")
            if name in self._files(commit):
                content = (self.commits[commit] / name).read_bytes()
                return 200, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": commit}, content
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 401, {"X-Error-Code": "RepoNotFound"}, b""

    def _files(self, commit: str) -> list[str]:
        folder = self.commits[commit]
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def _entry(self, commit: str, name: str) -> dict[str, object]:
        content = (self.commits[commit] / name).read_bytes()
        return {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving(dataset_id: str) -> Iterator[HubServer]:
    hub = HubServer(dataset_id)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            status, headers, content = hub.answer(path)
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield hub
        server.shutdown()
        thread.join()
