"""Any WSGI application."""

from __future__ import annotations

import io
import json
import time
import unittest
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from rescind import Access, CookieOptions, Guard, Inactive, Unavailable, Want
from rescind.wsgi import Protect

from .ledger import PATIENCE, Server


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    access = environ.get("rescind.access")
    start_response("418 I'm a teapot", [("Content-Type", "text/plain")])
    return [(access.subject if access else "nobody").encode()]


class Said:
    def __init__(self, app: Any, path: str, method: str = "GET", **headers: str) -> None:
        environ: dict[str, Any] = {"SCRIPT_NAME": "", "PATH_INFO": path, "REQUEST_METHOD": method, "wsgi.input": io.BytesIO(), "QUERY_STRING": ""}
        environ.update({"HTTP_" + name.upper(): value for name, value in headers.items()})
        environ["rescind.access"] = Access("of another middleware", "", "", (), "", {}, "", 0, 0)
        setup_testing_defaults(environ)

        def start(status: str, headers: list[tuple[str, str]], *more: object) -> Callable[[bytes], object]:
            self.status, self.headers = int(status.split()[0]), dict(headers)
            return lambda data: None

        result = app(environ, start)
        self.body = b"".join(result)
        if hasattr(result, "close"):
            result.close()


class Middleware(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self) -> None:
        self.client = self.server.client()
        self.addCleanup(self.client.close)
        self.guard = Guard(self.client, self.client)

    def protect(self, *args: Any, **options: Any) -> Any:
        return validator(Protect(validator(application), self.guard, *args, **options))

    def test_it_judges_every_request(self) -> None:
        app = self.protect(Want(scope="read"), public=("/open",))
        grant = self.client.login("ada", scope="read")
        header = "Bearer " + grant.access_token
        self.assertEqual(Said(app, "/x", authorization=header).body, b"ada")
        self.assertEqual(Said(app, "/x").status, 401)
        self.assertEqual(Said(app, "/x", authorization="Bearer").status, 400)
        self.assertEqual(Said(app, "/x", authorization="Bearer bad").status, 401)
        self.assertEqual(Said(app, "/x", authorization="Bearer " + self.client.login("ada").access_token).status, 403)
        self.assertEqual(Said(app, "/open").body, b"nobody")
        for path in ("/open", "/open/", "//open", "/Open", "/open/../x", "/x/../open"):
            self.assertEqual(Said(app, path).status, 418 if path == "/open" else 401, path)
        self.client.logout(grant.refresh_token)
        said = Said(app, "/x", authorization=header)
        self.assertEqual((said.status, json.loads(said.body)["error"]), (401, "invalid_token"))
        self.assertEqual(Said(app, "/x", "HEAD", authorization=header).body, b"")

    def test_optional_and_public_by_function(self) -> None:
        app = self.protect(optional=True)
        self.assertEqual(Said(app, "/x").body, b"nobody")
        self.assertEqual(Said(app, "/x", authorization="Bearer bad").status, 401)
        app = self.protect(public=lambda environ: environ["REQUEST_METHOD"] == "OPTIONS")
        self.assertEqual((Said(app, "/x", "OPTIONS").status, Said(app, "/x").status), (418, 401))
        with self.assertRaises(TypeError):
            Protect(application, self.guard, public="/open")

    def test_unavailable(self) -> None:
        app = self.protect()
        grant = self.client.login("ada")
        self.server.freeze()
        self.client.timeout = 0.5
        try:
            began = time.monotonic()
            said = Said(app, "/x", authorization="Bearer " + grant.access_token)
            self.assertLess(time.monotonic() - began, PATIENCE)
        finally:
            self.server.thaw()
        self.client.timeout = PATIENCE
        self.assertEqual((said.status, said.headers["Retry-After"], said.headers["Cache-Control"]), (503, "1", "no-store"))
        self.assertEqual(Said(app, "/x", authorization="Bearer " + grant.access_token).body, b"ada")

    def test_an_applications_own_errors_are_its_own(self) -> None:
        header = "Bearer " + self.client.login("ada").access_token
        for error in (Unavailable("of its own"), Inactive("of its own"), TimeoutError()):

            def failing(environ: dict[str, Any], start_response: Callable[..., Any], error: Exception = error) -> Iterable[bytes]:
                raise error

            with self.assertRaises(type(error)):
                Said(Protect(failing, self.guard), "/x", authorization=header)

    def test_routes_of_its_own(self) -> None:
        guard = Guard(self.client, self.client, cookies=CookieOptions())

        def routes(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            match environ["PATH_INFO"]:
                case "/login":
                    answer = guard.login(environ, "ada")[1]
                case "/refresh":
                    answer = guard.refresh(environ)
                case _:
                    answer = guard.logout(environ)
            return answer(environ, start_response)

        app = validator(routes)
        grant, answer = guard.login({"REQUEST_METHOD": "POST"}, "ada")
        self.assertEqual(Said(app, "/login", "POST").status, 200)
        guarded = Protect(application, guard)
        self.assertNotIn("Cache-Control", Said(guarded, "/x", authorization="Bearer " + grant.access_token).headers)
        opened = Said(guarded, "/x", cookie="__Host-rescind-at=" + grant.access_token)
        self.assertEqual((opened.body, opened.headers["Cache-Control"]), (b"ada", "no-store"))
        cookies = "; ".join(value.partition(";")[0] for name, value in answer.headers if name == "Set-Cookie")
        self.assertEqual(Said(app, "/logout", "POST", cookie=cookies, sec_fetch_site="cross-site").status, 403)
        self.assertEqual(Said(app, "/refresh", "POST", cookie=cookies, sec_fetch_site="same-origin").status, 200)
        self.assertEqual(Said(app, "/logout", "POST", cookie=cookies, sec_fetch_site="same-origin").status, 204)
        self.assertEqual(Said(app, "/refresh", "POST", cookie=cookies, sec_fetch_site="same-origin").status, 401)
        with self.assertRaises(Inactive):
            self.client.check(grant.access_token)
        with self.assertRaises(TypeError):
            Guard(self.client).refresh({"REQUEST_METHOD": "POST"}, "token")


if __name__ == "__main__":
    unittest.main()
