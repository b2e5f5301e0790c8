"""What the README shows does what it says."""

from __future__ import annotations

import os
import re
import unittest
from pathlib import Path
from typing import Any
from unittest import mock
from wsgiref.util import setup_testing_defaults

from .ledger import PATIENCE, SECRET, Server

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).resolve().parent.parent / "README.md").read_text(), re.DOTALL)


class Readme(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        env = {"RESCIND_URL": cls.server.url, "RESCIND_CLIENT_ID": "backend", "RESCIND_CLIENT_SECRET": SECRET}
        cls.enterClassContext(mock.patch.dict(os.environ, env))

    def run_block(self, mark: str, **names: Any) -> dict[str, Any]:
        (block,) = (block for block in BLOCKS if mark in block)
        exec(compile(block, "README.md", "exec"), names)
        return names

    def test_flask(self) -> None:
        names = self.run_block("app = Flask", __name__="readme", check_password=lambda q: q.json["user"], notes_of=lambda user: [user])
        web = names["app"].test_client()
        client = names["app"].extensions["rescind"].client
        client.timeout = PATIENCE
        self.addCleanup(client.close)

        def status(method: str, path: str, token: str) -> int:
            return int(web.open(path, method=method, headers={"Authorization": "Bearer " + token}).status_code)

        one, two, three = (web.post("/login", json={"user": "ada"}).json["access_token"] for _ in range(3))
        self.assertEqual(web.get("/notes").status_code, 401)
        self.assertEqual(web.get("/notes", headers={"Authorization": "Bearer " + one}).json, ["ada"])
        self.assertEqual(status("POST", "/logout", one), 204)
        self.assertEqual(status("GET", "/notes", one), 401)
        devices = web.get("/devices", headers={"Authorization": "Bearer " + two}).json
        other = next(device["id"] for device in devices if not device["current"])
        self.assertEqual(status("DELETE", "/devices/" + other, two), 204)
        self.assertEqual(status("GET", "/notes", three), 401)
        self.assertEqual(status("POST", "/logout-everywhere", two), 204)
        self.assertEqual(status("GET", "/notes", two), 401)

    def test_wsgi(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b"fine"]

        names = self.run_block("Protect(application", application=application)
        self.addCleanup(names["guard"].checker.close)
        for path, wanted in (("/health", "200 OK"), ("/x", "401 Unauthorized")):
            environ: dict[str, Any] = {"PATH_INFO": path}
            setup_testing_defaults(environ)
            start = mock.Mock()
            list(names["application"](environ, start))
            self.assertEqual(start.call_args.args[0], wanted)


if __name__ == "__main__":
    unittest.main()
