"""A Hub on this machine: what huggingface_hub asks for a login, a repository and a commit, and no more."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

TOKEN = "hf_" + "standin" * 5


class HubServer(ThreadingHTTPServer):
    """Keeps what it is sent.

    Attributes:
        repos: name -> whether the repository is private; versions of the client say so in two ways.
        files: name of the repository -> name of the file -> content.
        takes_commits: whether commits are taken; else the server has a fault.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.takes_commits = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing on stderr, which the tests look at."""

    def _answer(self, code: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _is_allowed(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "Invalid username or password."})
        return False

    def do_GET(self) -> None:
        if self._is_allowed():
            is_asked = self.path.startswith("/api/whoami")
            self._answer(200 if is_asked else 404, {"name": "ann", "type": "user", "orgs": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if not self._is_allowed():
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'ann'}/{asked['name']}"
            self.server.repos[name] = asked.get("private", asked.get("visibility") == "private")
            self._answer(200, {"url": f"{self.server.address}/{name}", "name": name})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            self._answer(200, {"files": files})
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.server.takes_commits:
            name = "/".join(self.path.split("/")[3:5])
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    content = base64.b64decode(row["value"]["content"])
                    self.server.files.setdefault(name, {})[row["value"]["path"]] = content
            self._answer(200, {"commitOid": "0" * 40, "commitUrl": f"{self.server.address}/{name}/commit/0"})
        else:
            self._answer(400, {"error": "no room"})


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """A server that runs in a thread until the block ends."""
    server = HubServer()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
