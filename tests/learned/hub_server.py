"""A stand-in of the Hugging Face Hub on this machine: what one push and one load ask of it."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class StandIn(ThreadingHTTPServer):
    """Keeps what is pushed: `files` by (repository, path); `made`: what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.made, self.tokens = {}, [], set()
        self.refuses = False
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *words):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization"))
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.server.refuses:
            self._answer({"error": "not yours"}, 403)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.made.append(asked)
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self._answer({"url": f"{self.server.address}/{name}", "name": name})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif parts[4] == "preupload":
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif parts[4] == "commit":
            self._commit("/".join(parts[2:4]), body)
        else:
            self.send_error(404)

    def _commit(self, repository, body):
        for line in filter(None, body.splitlines()):
            step = json.loads(line)
            if step["key"] == "file":
                value = step["value"]
                assert value["encoding"] == "base64"
                content = base64.b64decode(value["content"])
                self.server.files[repository, value["path"]] = content
        url = f"{self.server.address}/{repository}/commit/{COMMIT}"
        self._answer({"success": True, "commitUrl": url, "commitOid": COMMIT})

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if "resolve" in parts:
            self._file("/".join(parts[:2]), "/".join(parts[4:]))
        elif parts[:2] == ["api", "models"]:
            repository = "/".join(parts[2:4])
            names = [path for name, path in self.server.files if name == repository]
            siblings = [{"rfilename": name} for name in names]
            self._answer({"id": repository, "sha": COMMIT, "siblings": siblings})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815 — http.server's name

    def _file(self, repository, path):
        content = self.server.files.get((repository, path))
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
