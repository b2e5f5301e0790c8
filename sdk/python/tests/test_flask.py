"""The Flask extension, against the real server."""

from __future__ import annotations

import logging
import time
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import werkzeug.exceptions
from flask import Blueprint, Flask, Response, abort, jsonify, redirect, request, stream_with_context
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import rescind
from rescind import Access, Inactive, InsufficientScope, Unavailable, Want
from rescind.flask import Rescind, current_session, public, token_required

from .ledger import PATIENCE, SECRET, Impostor, Server, always, answer

SAME = {"Sec-Fetch-Site": "same-origin"}
HOST = "https://app.example.com"


def application(server: Server, **config: object) -> Flask:
    """What an application looks like."""
    app = Flask(__name__)
    app.config.update(RESCIND_URL=server.url, RESCIND_CLIENT_ID="backend", RESCIND_CLIENT_SECRET=SECRET, RESCIND_TIMEOUT=PATIENCE)
    app.config.update(config)
    extension = Rescind(app)

    @app.post("/login")
    def login() -> Response:
        said = request.get_json()
        return extension.login(said.pop("subject"), **said)

    @app.post("/login-page")
    def login_page() -> Response:
        return extension.login("ada", response=redirect("/welcome"))  # type: ignore[arg-type]

    @app.route("/refresh", methods=["GET", "POST"])
    def refresh() -> Response:
        return extension.refresh()

    @app.route("/logout", methods=["GET", "POST"])
    def logout() -> Response:
        return extension.logout()

    @app.post("/logout-all")
    def logout_all() -> Response:
        return extension.logout_all()

    @app.route("/me", methods=["GET", "POST", "DELETE"])
    @token_required
    def me() -> Response:
        return jsonify(subject=current_session.subject, session=current_session.session, scope=current_session.scope, **current_session.claims)

    @app.get("/notes")
    @token_required(scope="notes:read")
    def notes() -> str:
        return "notes"

    @app.get("/elsewhere")
    @token_required(audience=("elsewhere",))
    def elsewhere() -> str:
        return "notes"

    @app.get("/maybe")
    @token_required(optional=True)
    def maybe() -> str:
        return current_session.subject if current_session else "nobody"

    @app.get("/open")
    def opened() -> str:
        return "nobody" if not current_session else current_session.subject

    @app.get("/devices")
    @token_required
    def devices() -> Response:
        return jsonify(extension.sessions())

    @app.delete("/devices/<session>")
    @token_required
    def end_device(session: str) -> Response:
        return extension.end_session(session)

    return app


class Browser(FlaskClient):
    """Sends what it is told to and keeps no cookies of its own."""

    origin = "http://localhost"

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        return super().open(*args, **{"base_url": self.origin, **kwargs})


class Case(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def browser(self, app: Flask) -> Browser:
        extension = app.extensions["rescind"]
        self.addCleanup(extension.client.close)
        browser = Browser(app, Response, use_cookies=False)
        browser.environ_base = {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": "Mozilla/5.0"}
        return browser

    def want(self, answer: TestResponse, status: int, error: str | None = None) -> TestResponse:
        self.assertEqual(answer.status_code, status, answer.data)
        if status in (401, 503) or error:
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertEqual((answer.json or {}).get("error"), error)
        if status == 401:
            self.assertTrue(answer.headers["WWW-Authenticate"].startswith('Bearer realm="rescind"'))
        self.assertEqual("Retry-After" in answer.headers, status == 503)
        return answer


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": "Bearer " + token}


class Bearer(Case):
    def setUp(self) -> None:
        self.app = application(self.server)
        self.web = self.browser(self.app)

    def login(self, subject: str = "ada", **more: object) -> dict[str, str]:
        answer = self.want(self.web.post("/login", json={"subject": subject, **more}), 200)
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        self.assertNotIn("Set-Cookie", answer.headers)
        said: dict[str, str] = answer.get_json()
        return said

    def test_a_revoked_token_never_passes_again(self) -> None:
        said = self.login(scope="notes:read", claims={"plan": "gold"})
        first = self.want(self.web.get("/me", headers=bearer(said["access_token"])), 200).get_json()
        self.assertEqual(first, {"subject": "ada", "session": said["session"], "scope": "notes:read", "plan": "gold"})
        self.want(self.web.get("/notes", headers=bearer(said["access_token"])), 200)
        self.want(self.web.post("/logout", headers=bearer(said["access_token"])), 204)
        for path in ("/me", "/notes", "/maybe", "/devices"):
            self.want(self.web.get(path, headers=bearer(said["access_token"])), 401, "invalid_token")
        self.want(self.web.post("/refresh", json={"refresh_token": said["refresh_token"]}), 401, "invalid_token")
        self.want(self.web.post("/logout", headers=bearer(said["access_token"])), 204)  # twice is no error

    def test_every_way_to_log_out(self) -> None:
        for how in ("access", "refresh", "form", "both"):
            with self.subTest(how):
                said = self.login()
                headers = bearer(said["access_token"]) if how in ("access", "both") else {}
                body = {"refresh_token": said["refresh_token"]}
                if how == "form":
                    answer = self.web.post("/logout", data=body)
                else:
                    answer = self.web.post("/logout", headers=headers, json=body if how != "access" else None)
                self.want(answer, 204)
                self.want(self.web.get("/me", headers=bearer(said["access_token"])), 401, "invalid_token")
        self.want(self.web.post("/logout"), 401)
        self.want(self.web.post("/logout", headers=bearer("forged")), 401, "invalid_token")
        self.want(self.web.post("/logout", headers=bearer("a b")), 400, "invalid_request")
        self.assertEqual(self.want(self.web.get("/logout"), 405, "method_not_allowed").headers["Allow"], "POST")

    def test_both_tokens_of_two_logins_end(self) -> None:
        one, two = self.login(), self.login()
        self.want(self.web.post("/logout", headers=bearer(one["access_token"]), json={"refresh_token": two["refresh_token"]}), 204)
        for said in (one, two):
            self.want(self.web.get("/me", headers=bearer(said["access_token"])), 401, "invalid_token")

    def test_an_expired_access_token_logs_out(self) -> None:
        said = self.login(expires_in=1)
        time.sleep(2.1)
        self.want(self.web.get("/me", headers=bearer(said["access_token"])), 401, "invalid_token")
        self.want(self.web.post("/logout-all", headers=bearer(said["access_token"])), 401, "invalid_token")
        self.want(self.web.post("/logout", headers=bearer(said["access_token"])), 204)
        self.want(self.web.post("/refresh", json={"refresh_token": said["refresh_token"]}), 401, "invalid_token")

    def test_refresh(self) -> None:
        said = self.login()
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: self.app.test_client().post("/refresh", json={"refresh_token": said["refresh_token"]}), range(6)))
        self.assertEqual({answer.status_code for answer in answers}, {200})
        successors = {answer.get_json()["refresh_token"] for answer in answers}
        self.assertEqual(len(successors), 1)  # a retry, and parallel tabs, get the one successor
        third = self.want(self.web.post("/refresh", data={"refresh_token": successors.pop()}), 200).get_json()
        self.want(self.web.get("/me", headers=bearer(third["access_token"])), 200)
        self.want(self.web.post("/refresh", json={"refresh_token": said["refresh_token"]}), 401, "invalid_token")  # reuse
        self.want(self.web.get("/me", headers=bearer(third["access_token"])), 401, "invalid_token")
        self.want(self.web.post("/refresh"), 401)
        self.want(self.web.post("/refresh", json={"refresh_token": "x" * 70000}), 400, "invalid_request")
        self.want(self.web.get("/refresh"), 405, "method_not_allowed")

    def test_credentials(self) -> None:
        token = self.login()["access_token"]
        for value, status, error in (
            (None, 401, None),
            ("", 401, None),
            ("Basic YTpi", 401, None),
            ("Bearer", 400, "invalid_request"),
            ("Bearer   ", 400, "invalid_request"),
            (f"Bearer {token} {token}", 400, "invalid_request"),
            (f"Bearer {token},Bearer {token}", 400, "invalid_request"),
            ("Bearer a\"b", 401, "invalid_token"),
            ("Bearer \xe4", 401, "invalid_token"),
            ("Bearer " + "a" * 20000, 401, "invalid_token"),
            (f"Bearer {token}x", 401, "invalid_token"),
            (f"bearer  {token}", 200, None),
        ):
            with self.subTest(value=value):
                self.want(self.web.get("/me", headers={"Authorization": value} if value is not None else {}), status, error)
        challenge = self.web.get("/me").headers["WWW-Authenticate"]
        self.assertEqual(challenge, 'Bearer realm="rescind"')  # RFC 6750 section 3.1: no error code
        for place in ({"query_string": {"access_token": token}}, {"data": {"access_token": token}}):
            self.want(self.web.post("/me", **place), 401)  # type: ignore[arg-type]
        cookies = {"Cookie": f"rescind-at={token}; __Host-rescind-at={token}"}
        self.want(self.web.get("/me", headers=cookies), 401)  # cookies are not enabled

    def test_scope_and_audience(self) -> None:
        said = self.login(scope="other")
        answer = self.want(self.web.get("/notes", headers=bearer(said["access_token"])), 403, "insufficient_scope")
        self.assertIn('scope="notes:read"', answer.headers["WWW-Authenticate"])
        self.want(self.web.get("/elsewhere", headers=bearer(said["access_token"])), 401, "invalid_token")
        said = self.login(audience=["elsewhere"])
        self.want(self.web.get("/me", headers=bearer(said["access_token"])), 200)
        self.want(self.web.get("/elsewhere", headers=bearer(said["access_token"])), 200)

    def test_optional(self) -> None:
        self.assertEqual(self.web.get("/maybe").text, "nobody")
        self.assertEqual(self.web.get("/maybe", headers=bearer(self.login()["access_token"])).text, "ada")
        self.want(self.web.get("/maybe", headers=bearer("bad")), 401, "invalid_token")
        self.want(self.web.get("/maybe", headers=bearer("b d")), 400, "invalid_request")
        self.want(self.web.get("/maybe", headers=bearer('b"d')), 401, "invalid_token")
        self.assertEqual(self.web.get("/open", headers=bearer(self.login()["access_token"])).text, "nobody")

    def test_requests_under_one_application_context_share_nothing(self) -> None:
        with self.app.app_context():
            self.want(self.web.get("/me", headers=bearer(self.login()["access_token"])), 200)
            self.assertEqual(self.web.get("/open").text, "nobody")

    def test_my_devices(self) -> None:
        here, there, foreign = self.login("eve"), self.login("eve"), self.login("mallory")
        views = self.want(self.web.get("/devices", headers=bearer(here["access_token"])), 200).get_json()
        self.assertEqual({view["id"]: view["current"] for view in views}, {here["session"]: True, there["session"]: False})
        self.assertEqual(views[0]["device"], {"user_agent": "Mozilla/5.0", "ip": "127.0.0.1"})
        self.want(self.web.delete("/devices/" + foreign["session"], headers=bearer(here["access_token"])), 404, "not_found")
        self.want(self.web.delete("/devices/nothing", headers=bearer(here["access_token"])), 404, "not_found")
        self.want(self.web.delete("/devices/" + there["session"], headers=bearer(here["access_token"])), 204)
        self.want(self.web.get("/me", headers=bearer(there["access_token"])), 401, "invalid_token")
        self.want(self.web.get("/me", headers=bearer(foreign["access_token"])), 200)
        self.want(self.web.post("/logout-all", headers=bearer(here["access_token"])), 204)
        self.want(self.web.get("/me", headers=bearer(here["access_token"])), 401, "invalid_token")

    def test_unavailable_is_neither_yes_nor_no(self) -> None:
        client = self.app.extensions["rescind"].client
        said = self.login()
        calls: list[Callable[[], TestResponse]] = [
            lambda: self.web.get("/me", headers=bearer(said["access_token"])),
            lambda: self.web.get("/maybe", headers=bearer(said["access_token"])),
            lambda: self.web.get("/devices", headers=bearer(said["access_token"])),
            lambda: self.web.post("/login", json={"subject": "ada"}),
            lambda: self.web.post("/refresh", json={"refresh_token": said["refresh_token"]}),
            lambda: self.web.post("/logout", headers=bearer(said["access_token"])),
            lambda: self.web.post("/logout-all", headers=bearer(said["access_token"])),
        ]

        def outage() -> None:
            client.timeout = 0.4
            with self.assertLogs("rescind", logging.WARNING) as logs:
                for call in calls:
                    began = time.monotonic()
                    self.want(call(), 503, "temporarily_unavailable")
                    self.assertLess(time.monotonic() - began, PATIENCE)
            client.timeout = PATIENCE
            for secret in (SECRET, said["access_token"], said["refresh_token"]):
                self.assertNotIn(secret, "".join(logs.output))

        self.server.freeze()
        try:
            outage()
        finally:
            self.server.thaw()
        # What it was asked while frozen it may do now, to all of ada's sessions.
        said.update(self.login("eve"))
        self.want(calls[0](), 200)
        self.server.kill()
        try:
            outage()
        finally:
            self.server.start()
        self.want(calls[0](), 200)  # without a restart of this process
        self.want(calls[5](), 204)
        self.want(calls[0](), 401, "invalid_token")

    def test_what_stays_open_can_ask_again(self) -> None:
        extension = Rescind()

        @self.app.get("/stream")
        @token_required
        def stream() -> Response:
            def events() -> Iterator[str]:
                yield str(extension.stands(scope="notes:read"))
                yield str(extension.stands(scope="notes:write"))
                self.server.kill()
                try:
                    yield str(extension.stands())
                except Unavailable:
                    yield "unavailable"
                self.server.start()
                self.want(self.app.test_client().post("/logout", headers=bearer(said["access_token"])), 204)
                yield str(extension.stands())

            return Response(stream_with_context(events()))

        said = self.login(scope="notes:read")
        answer = self.web.get("/stream", headers=bearer(said["access_token"]))
        self.assertEqual(list(answer.response), [b"True", b"False", b"unavailable", b"False"])

    def test_a_views_own_errors_are_its_own(self) -> None:
        errors: dict[str, Exception] = {
            "timeout": TimeoutError(),
            "connection": ConnectionRefusedError(),
            "key": KeyError("x"),
            "inactive": Inactive("of another use"),
            "scope": InsufficientScope("of another use"),
            "runtime": RuntimeError("StopIteration"),
        }

        @self.app.get("/fails/<how>")
        @token_required
        def fails(how: str) -> str:
            raise errors[how]

        @self.app.get("/aborts/<int:status>")
        @token_required
        def aborts(status: int) -> str:
            abort(status)

        @self.app.get("/says/<int:status>")
        @token_required
        def says(status: int) -> tuple[str, int, dict[str, str]]:
            return "mine", status, {"WWW-Authenticate": "Mine"}

        headers = bearer(self.login()["access_token"])
        with self.assertLogs(self.app.logger, logging.ERROR):
            for how in errors:
                answer = self.web.get("/fails/" + how, headers=headers)
                self.assertEqual((answer.status_code, "WWW-Authenticate" in answer.headers), (500, False), how)
        for status in (401, 403, 503):
            answer = self.web.get(f"/aborts/{status}", headers=headers)
            self.assertEqual((answer.status_code, answer.is_json, "Retry-After" in answer.headers), (status, False, False))
            answer = self.web.get(f"/says/{status}", headers=headers)
            self.assertEqual((answer.status_code, answer.text, answer.headers["WWW-Authenticate"]), (status, "mine", "Mine"))

    def test_an_applications_error_handlers_leave_the_guard_alone(self) -> None:
        def mine(error: Exception) -> tuple[str, int]:
            return "mine", 500

        self.app.register_error_handler(Exception, mine)
        self.app.register_error_handler(werkzeug.exceptions.HTTPException, mine)
        self.want(self.web.get("/me"), 401)
        broken = application(self.server)
        broken.register_error_handler(Exception, mine)
        broken.config["RESCIND_URL"] = "http://127.0.0.1:1"
        Rescind(broken)
        web = self.browser(broken)
        self.want(web.get("/me", headers=bearer("token")), 503, "temporarily_unavailable")
        self.want(web.post("/login", json={"subject": "ada"}), 503, "temporarily_unavailable")

    def test_protect_guards_all_but_public_views(self) -> None:
        app = application(self.server)
        extension = Rescind(app)
        extension.protect(app)
        for name in ("login", "refresh", "logout"):
            app.view_functions[name] = public(app.view_functions[name])
        web = self.browser(app)
        short = web.post("/login", json={"subject": "ada", "expires_in": 1}).get_json()
        said = web.post("/login", json={"subject": "ada"}).get_json()
        self.assertEqual(web.get("/open", headers=bearer(said["access_token"])).text, "ada")
        self.want(web.get("/open"), 401)
        self.want(web.get("/static/x"), 401)
        self.want(web.get("/no-such"), 404)
        self.want(web.options("/open"), 200)  # a preflight carries no credentials
        self.want(web.post("/open"), 405)
        time.sleep(2.1)
        self.want(web.get("/open", headers=bearer(short["access_token"])), 401, "invalid_token")
        self.want(web.post("/logout", headers=bearer(short["access_token"])), 204)
        blueprint = Blueprint("api", __name__, url_prefix="/api")
        blueprint.add_url_rule("/one", view_func=lambda: "one")
        fresh = application(self.server)
        Rescind(fresh).protect(blueprint, scope="api")
        fresh.register_blueprint(blueprint)
        web = self.browser(fresh)
        self.want(web.get("/api/one"), 401)
        self.want(web.get("/open"), 200)
        narrow = web.post("/login", json={"subject": "ada"}).get_json()
        self.want(web.get("/api/one", headers=bearer(narrow["access_token"])), 403, "insufficient_scope")

    def test_async_views(self) -> None:
        try:
            import asgiref  # noqa: F401  # what Flask needs for them
        except ImportError:
            seen = []
            with mock.patch.object(self.app, "ensure_sync", lambda view: seen.append(view) or view):

                @self.app.get("/async")
                @token_required
                def view() -> str:
                    return "fine"

                self.want(self.web.get("/async", headers=bearer(self.login()["access_token"])), 200)
            self.assertIn(view.__wrapped__, seen)  # type: ignore[attr-defined]

    def test_another_checker_has_its_place(self) -> None:
        class Lease:
            def check(self, token: str, want: Want = Want()) -> Access:
                if token == "odd":
                    raise ZeroDivisionError
                return Access("cached", "s", "c", (), "", {}, "t", 0, 0)

        app = application(self.server)
        Rescind(app, checker=Lease())
        web = self.browser(app)
        self.assertEqual(web.get("/me", headers=bearer("any")).get_json()["subject"], "cached")
        with self.assertLogs("rescind", logging.ERROR):
            self.want(web.get("/me", headers=bearer("odd")), 503, "temporarily_unavailable")

    def test_configuration(self) -> None:
        with mock.patch.dict("os.environ", clear=True), self.assertRaises(rescind.Invalid):
            Rescind(Flask("bare"))
        env = {"RESCIND_URL": self.server.url, "RESCIND_CLIENT_ID": "backend", "RESCIND_CLIENT_SECRET": SECRET}
        with mock.patch.dict("os.environ", env):
            app = Flask("factory")
            extension = Rescind()
            extension.init_app(app)
            with app.app_context():
                self.assertEqual(extension.client.login("ada").token_type, "Bearer")
                extension.client.close()
        with self.assertRaises(TypeError):
            token_required(scope=["a", "b"])  # type: ignore[call-overload]
        with self.assertRaises(RuntimeError), Flask("without").test_request_context():
            token_required(lambda: "")()


class Cookies(Case):
    def setUp(self) -> None:
        self.app = application(self.server, RESCIND_COOKIES=True)
        self.web = self.enter(self.app)
        self.age(10)

    def age(self, seconds: float) -> None:
        """What access tokens are older than they say: by default none is new."""
        self.app.extensions["rescind"].guard.now = lambda: time.time() + seconds

    def enter(self, app: Flask) -> Browser:
        web = self.browser(app)
        web.origin = HOST
        return web

    def jar(self, answer: TestResponse) -> dict[str, tuple[str, set[str]]]:
        """The cookies that an answer sets: value and attributes."""
        found = {}
        for header in answer.headers.getlist("Set-Cookie"):
            first, *attributes = header.split("; ")
            name, _, value = first.partition("=")
            found[name] = (value, set(attributes))
        return found

    def login(self, web: Browser | None = None, headers: dict[str, str] | None = None) -> dict[str, str]:
        answer = self.want((web or self.web).post("/login", json={"subject": "ada"}, headers=headers), 200)
        self.assertEqual(list(answer.get_json()), ["session", "expires_in"])  # no token in the body
        return {name: value for name, (value, _) in self.jar(answer).items()}

    def send(self, cookies: dict[str, str], **more: str) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), **SAME, **more}

    def test_attributes(self) -> None:
        for config, names, path in (
            ({}, ("__Host-rescind-at", "__Host-rescind-rt"), "/"),
            ({"RESCIND_REFRESH_PATH": "/auth"}, ("__Host-rescind-at", "__Secure-rescind-rt"), "/auth"),
        ):
            web = self.enter(application(self.server, RESCIND_COOKIES=True, **config))
            answer = self.want(web.post("/login", json={"subject": "ada"}), 200)
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            cookies = self.jar(answer)
            self.assertEqual(set(cookies), set(names))
            age = f"Max-Age={30 * 24 * 3600}"
            self.assertEqual(cookies[names[0]][1], {"Path=/", age, "HttpOnly", "Secure", "SameSite=Lax"})
            self.assertEqual(cookies[names[1]][1], {f"Path={path}", age, "HttpOnly", "Secure", "SameSite=Strict"})

    def test_what_a_cookie_opens_is_not_kept(self) -> None:
        def kept() -> Response:
            return Response("x", headers={"Cache-Control": "private, max-age=60"})

        app = application(self.server, RESCIND_COOKIES=True)
        app.add_url_rule("/kept", view_func=token_required(kept))
        web = self.enter(app)
        cookies = self.login(web)
        self.assertEqual(self.want(web.get("/me", headers=self.send(cookies)), 200).headers["Cache-Control"], "no-store")
        self.assertEqual(self.want(web.get("/kept", headers=self.send(cookies)), 200).headers["Cache-Control"], "private, max-age=60")
        bearer = {"Authorization": "Bearer " + cookies["__Host-rescind-at"]}
        self.assertNotIn("Cache-Control", self.want(web.get("/me", headers=bearer), 200).headers)

    def test_a_revoked_token_never_passes_again(self) -> None:
        cookies = self.login()
        self.want(self.web.get("/me", headers=self.send(cookies)), 200)
        self.want(self.web.post("/me", headers=self.send(cookies)), 200)
        answer = self.want(self.web.post("/logout", headers=self.send(cookies)), 204)
        for value, attributes in self.jar(answer).values():
            self.assertEqual(value, "")
            self.assertIn("Max-Age=0", attributes)
        self.assertEqual(set(self.jar(answer)), {"__Host-rescind-at", "__Host-rescind-rt", "rescind-at", "rescind-rt"})
        for _ in range(2):
            answer = self.want(self.web.get("/me", headers=self.send(cookies)), 401, "invalid_token")
            self.assertEqual(self.jar(answer), {})
            answer = self.want(self.web.post("/refresh", headers=self.send(cookies)), 401, "invalid_token")
            self.assertEqual(self.jar(answer), {})  # would delete those of a parallel login
        self.want(self.web.post("/logout", headers=self.send(cookies)), 204)
        self.want(self.web.post("/logout", headers=SAME), 204)  # nothing to end
        self.want(self.web.post("/logout-all", headers=SAME), 401)

    def test_parallel_tabs_refresh_to_the_same_successor(self) -> None:
        cookies = self.login()

        def tab(_: int) -> TestResponse:
            return self.enter(self.app).post("/refresh", headers=self.send(cookies))

        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(tab, range(6)))
        self.assertEqual({answer.status_code for answer in answers}, {200})
        self.assertEqual(len({self.jar(answer)["__Host-rescind-rt"][0] for answer in answers}), 1)
        self.assertEqual(list(answers[0].get_json()), ["expires_in"])
        self.want(self.web.get("/me", headers=self.send({name: value for name, (value, _) in self.jar(answers[5]).items()})), 200)

    def test_either_cookie_alone_logs_out(self) -> None:
        for name in ("__Host-rescind-at", "__Host-rescind-rt"):
            cookies = self.login()
            self.want(self.web.post("/logout", headers=self.send({name: cookies[name]})), 204)
            self.want(self.web.get("/me", headers=self.send(cookies)), 401, "invalid_token")

    def test_cross_origin_requests_with_cookies_are_refused(self) -> None:
        app = application(self.server, RESCIND_COOKIES=True, RESCIND_TRUSTED_ORIGINS=["https://sibling.example.com"])
        web = self.enter(app)
        cookies = self.login(web)
        cookie = {"Cookie": self.send(cookies)["Cookie"]}
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": HOST},
            {"Sec-Fetch-Site": "nonsense"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://app.example.com.evil.example"},
            {"Origin": "https://app.example.com:8443"},
            {"Origin": "https://[broken"},
        ):
            with self.subTest(headers=headers):
                for method, path in (("POST", "/me"), ("DELETE", "/me"), ("POST", "/refresh"), ("POST", "/logout"), ("POST", "/logout-all")):
                    answer = self.want(web.open(path, method=method, headers={**cookie, **headers}), 403, "cross_origin")
                    self.assertEqual(self.jar(answer), {})
                self.want(web.get("/me", headers={**cookie, **headers}), 200)  # reading is for SameSite and CORS
                self.want(web.get("/me", headers={**cookie, **headers, "Upgrade": "websocket"}), 403, "cross_origin")
        for headers in ({"Sec-Fetch-Site": "none"}, {"Origin": HOST}, {}, {"Sec-Fetch-Site": "same-site", "Origin": "https://sibling.example.com"}):
            self.want(web.post("/me", headers={**cookie, **headers}), 200)
        self.want(web.get("/me", headers=cookie), 200)  # nobody has been logged out
        self.want(web.get("/logout", headers={**cookie, **SAME}), 405, "method_not_allowed")
        lax = self.enter(application(self.server, RESCIND_COOKIES=True, RESCIND_ALLOW_CROSS_ORIGIN=True))
        self.want(lax.post("/me", headers={**cookie, "Sec-Fetch-Site": "cross-site"}), 200)
        self.want(lax.post("/logout", headers={**cookie, "Sec-Fetch-Site": "cross-site"}), 403, "cross_origin")

    def test_one_credential_at_a_time(self) -> None:
        cookies = self.login()
        at, rt = cookies["__Host-rescind-at"], cookies["__Host-rescind-rt"]
        self.want(self.web.get("/me", headers=bearer(at)), 200)
        self.want(self.web.post("/me", headers={**bearer(at), "Sec-Fetch-Site": "cross-site"}), 200)  # no cookie, no CSRF
        self.want(self.web.get("/me", headers=self.send(cookies, **bearer(at))), 400, "invalid_request")
        self.want(self.web.get("/me", headers=self.send(cookies, Authorization="Bearer")), 400, "invalid_request")
        self.want(self.web.get("/me", headers=self.send(cookies, Authorization="Basic YTpi")), 200)
        twice = {"Cookie": f"__Host-rescind-at={at}; __Host-rescind-at={at}"}
        self.want(self.web.get("/me", headers=twice), 400, "invalid_request")
        self.want(self.web.post("/refresh", headers={"Cookie": f"__Host-rescind-rt={rt}; __Host-rescind-rt={rt}"}), 400, "invalid_request")
        self.want(self.web.post("/refresh", headers=self.send(cookies), json={"refresh_token": rt}), 400, "invalid_request")
        for value in ("a b", 'a"b', "\xe4", "a" * 20000):
            self.want(self.web.get("/me", headers={"Cookie": f"__Host-rescind-at={value}"}), 401, "invalid_token")
        self.want(self.web.get("/me", headers={"Cookie": "__Host-rescind-at="}), 401)
        for name in ("rescind-at", "__Secure-rescind-at", "__host-rescind-at"):
            self.want(self.web.get("/me", headers={"Cookie": f"{name}={at}"}), 401)  # planted from a subdomain

    def test_a_logout_ends_no_more_than_a_browser_has_of_ours(self) -> None:
        many = "; ".join(f"rescind-at=forged{n}" for n in range(100))
        cookies = self.login()
        client = self.app.extensions["rescind"].client
        with mock.patch.object(client, "logout", side_effect=client.logout) as logout:
            self.want(self.web.post("/logout", headers={"Cookie": many + "; " + self.send(cookies)["Cookie"], **SAME}), 204)
        self.assertEqual(logout.call_count, 8)
        self.want(self.web.get("/me", headers=self.send(cookies)), 401, "invalid_token")  # ours came first

    def test_a_login_ends_the_session_before(self) -> None:
        before = self.login()
        after = self.login(headers=self.send(before))
        self.want(self.web.get("/me", headers=self.send(before)), 401, "invalid_token")
        self.want(self.web.get("/me", headers=self.send(after)), 200)

    def test_native_clients_keep_their_tokens(self) -> None:
        said = self.want(self.web.post("/login", json={"subject": "ada", "cookies": False}), 200)
        self.assertEqual(self.jar(said), {})
        token, refresh = said.get_json()["access_token"], said.get_json()["refresh_token"]
        cross = {"Sec-Fetch-Site": "cross-site"}
        self.want(self.web.get("/me", headers=bearer(token)), 200)
        again = self.want(self.web.post("/refresh", json={"refresh_token": refresh}, headers=cross), 200)
        self.assertIn("access_token", again.get_json())
        self.assertEqual(self.jar(again), {})
        self.want(self.web.post("/logout", headers={**bearer(token), **cross}), 204)
        self.want(self.web.get("/me", headers=bearer(token)), 401, "invalid_token")

    def test_an_answer_of_ones_own_takes_the_cookies(self) -> None:
        answer = self.want(self.web.post("/login-page"), 302)
        self.assertEqual((answer.headers["Location"], set(self.jar(answer))), ("/welcome", {"__Host-rescind-at", "__Host-rescind-rt"}))
        self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_after_logout(self) -> None:
        app = application(self.server, RESCIND_COOKIES=True, RESCIND_AFTER_LOGOUT="/bye", RESCIND_CLEAR_SITE_DATA=True)
        web = self.enter(app)
        answer = self.want(web.post("/logout", headers=self.send(self.login(web))), 303)
        self.assertEqual((answer.headers["Location"], answer.headers["Clear-Site-Data"]), ("/bye", '"cache", "storage"'))
        for bad in ({"AFTER_LOGOUT": "//evil.example"}, {"AFTER_LOGOUT": "https://evil.example"}, {"AFTER_LOGOUT": "/\\evil"}, {"AFTER_LOGOUT": "/\r\nX: y"}, {"REFRESH_PATH": "auth"}, {"REFRESH_PATH": "/a;b"}, {"TRUSTED_ORIGINS": ["https://a/b"]}, {"TRUSTED_ORIGINS": ["a.example"]}, {"TRUSTED_ORIGINS": "https://a.example"}):
            with self.subTest(bad=bad), self.assertRaises(rescind.Invalid):
                application(self.server, RESCIND_COOKIES=True, **{"RESCIND_" + name: value for name, value in bad.items()})

    def test_insecure_loopback(self) -> None:
        app = application(self.server, RESCIND_COOKIES=True, RESCIND_INSECURE_LOOPBACK=True)
        web = self.browser(app)
        for host in ("localhost:5000", "127.0.0.1", "[::1]:80", "app.localhost."):
            web.origin = "http://" + host
            answer = self.want(web.post("/login", json={"subject": "ada"}), 200)
            self.assertEqual(set(self.jar(answer)), {"rescind-at", "rescind-rt"})
            self.assertNotIn("Secure", self.jar(answer)["rescind-at"][1])
        cookies = {name: value for name, (value, _) in self.jar(answer).items()}
        for host, more in (
            ("app.example.com", {}),
            ("localhost.evil.example", {}),
            ("localhost", {"X-Forwarded-Host": "app.example.com"}),
            ("localhost", {"Origin": "http://app.example.com"}),
        ):
            web.origin = "http://" + host
            for method, path in (("POST", "/login"), ("GET", "/me"), ("POST", "/refresh"), ("POST", "/logout")):
                headers = {**self.send(cookies), **more}
                self.want(web.open(path, method=method, json={"subject": "ada"} if path == "/login" else None, headers=headers), 403, "insecure_host")

    def test_a_token_that_is_too_long_for_a_cookie_does_not_stay_alive(self) -> None:
        with self.assertLogs(self.app.logger, logging.ERROR) as logs:
            answer = self.web.post("/login", json={"subject": "fat", "claims": {"much": "x" * 4000}})
        self.assertEqual((answer.status_code, self.jar(answer)), (500, {}))
        self.assertIn("too long for a cookie", "".join(logs.output))
        self.assertEqual(list(self.app.extensions["rescind"].client.sessions("fat")), [])

    def test_an_outage_touches_no_cookie(self) -> None:
        cookies = self.login()
        self.server.kill()
        try:
            for method, path in (("GET", "/me"), ("POST", "/refresh"), ("POST", "/logout"), ("POST", "/logout-all"), ("POST", "/login")):
                answer = self.web.open(path, method=method, headers=self.send(cookies), json={"subject": "ada"} if path == "/login" else None)
                self.assertEqual(self.jar(self.want(answer, 503, "temporarily_unavailable")), {})
        finally:
            self.server.start()
        self.want(self.web.get("/me", headers=self.send(cookies)), 200)
        self.want(self.web.post("/logout", headers=self.send(cookies)), 204)

    def test_a_logout_overtakes_a_refresh(self) -> None:
        cookies = self.login()
        client = self.app.extensions["rescind"].client
        refresh = client.refresh

        def overtaken(token: str, **more: str) -> object:
            grant = refresh(token, **more)
            client.logout(grant.access_token)
            return grant

        with mock.patch.object(client, "refresh", overtaken):
            answer = self.want(self.web.post("/refresh", headers=self.send(cookies)), 401, "invalid_token")
        self.assertEqual(self.jar(answer), {})

    def test_a_window_that_is_late_is_no_thief(self) -> None:
        first = self.login()
        second = {name: value for name, (value, _) in self.jar(self.want(self.web.post("/refresh", headers=self.send(first)), 200)).items()}
        self.age(0)
        for cookies in (second, second, first):
            answer = self.want(self.web.post("/refresh", headers=self.send(cookies)), 200)
            self.assertEqual(self.jar(answer), {})
            self.assertEqual(answer.headers["Cache-Control"], "no-store")
            self.assertGreater(answer.get_json()["expires_in"], 200)
        self.want(self.web.get("/me", headers=self.send(second)), 200)
        with mock.patch.object(self.app.extensions["rescind"].guard.checker, "check", side_effect=Unavailable("gone")):
            self.want(self.web.post("/refresh", headers=self.send(second)), 503, "temporarily_unavailable")
        self.age(10)  # not new any more
        self.assertEqual(len(self.jar(self.want(self.web.post("/refresh", headers=self.send(second)), 200))), 2)
        self.age(0)  # what is dead is not taken for new
        self.want(self.web.post("/logout", headers=self.send(second)), 204)
        self.want(self.web.post("/refresh", headers=self.send(second)), 401, "invalid_token")

    def test_an_outage_after_a_refresh_does_not_cost_the_session(self) -> None:
        cookies = self.login()
        guard = self.app.extensions["rescind"].guard
        for error in (Unavailable("gone"), ZeroDivisionError()):
            with mock.patch.object(guard, "_left", return_value=0), mock.patch.object(guard.checker, "check", side_effect=error):
                self.assertIn("__Host-rescind-rt", self.jar(self.want(self.web.post("/refresh", headers=self.send(cookies)), 200)))

    def test_one_failed_ending_does_not_keep_the_others_from_ending(self) -> None:
        one, two = self.login(), self.login()
        mixed = {"__Host-rescind-at": one["__Host-rescind-at"], "__Host-rescind-rt": two["__Host-rescind-rt"]}
        client = self.app.extensions["rescind"].client
        logout = client.logout

        def half(token: str, **more: bool) -> object:
            if token == one["__Host-rescind-at"]:
                raise Unavailable("gone")
            return logout(token, **more)

        with mock.patch.object(client, "logout", half):
            answer = self.want(self.web.post("/logout", headers=self.send(mixed)), 503, "temporarily_unavailable")
        self.assertEqual(self.jar(answer), {})
        self.want(self.web.get("/me", headers=self.send(two)), 401, "invalid_token")
        self.want(self.web.get("/me", headers=self.send(one)), 200)

    def test_logout_everywhere(self) -> None:
        one, two = self.login(), self.login()
        self.want(self.web.post("/logout-all", headers=self.send({"__Host-rescind-at": one["__Host-rescind-at"]})), 204)
        for cookies in (one, two):
            self.want(self.web.get("/me", headers=self.send(cookies)), 401, "invalid_token")
        answer = self.want(self.web.post("/logout-all", headers=self.send(one)), 401, "invalid_token")
        self.assertEqual(self.jar(answer), {})
        quiet = application(self.server, RESCIND_COOKIES=True)
        quiet.config["RESCIND_CLIENT_ID"] = "quiet"
        Rescind(quiet)
        web = self.enter(quiet)
        answer = self.want(web.post("/logout-all", headers=self.send(self.login(web))), 403, "forbidden")
        self.assertEqual(self.jar(answer), {})


class FlaskJWTExtended(Case):
    """An application that keeps its library: it verifies the signature, and the
    hook asks the ledger."""

    def setUp(self) -> None:
        import jwt as pyjwt
        from flask_jwt_extended import JWTManager, get_jwt_identity, jwt_required

        self.app = application(self.server, JWT_ALGORITHM="ES256", JWT_TOKEN_LOCATION=["headers", "cookies", "json"])
        self.app.config.update(JWT_COOKIE_CSRF_PROTECT=False, JWT_ACCESS_COOKIE_NAME="mine", JWT_DECODE_AUDIENCE=self.server.url)
        self.web = self.browser(self.app)
        manager = JWTManager(self.app)
        keys = pyjwt.PyJWKClient(self.server.url + "/.well-known/jwks.json")

        @manager.decode_key_loader
        def key(header: dict[str, str], payload: dict[str, object]) -> object:
            return keys.get_signing_key(header["kid"]).key

        manager.token_in_blocklist_loader(Rescind(self.app).token_in_blocklist)

        @self.app.route("/identity", methods=["GET", "POST"])
        @jwt_required()
        def identity() -> str:
            return str(get_jwt_identity())

        @self.app.get("/identity-maybe")
        @jwt_required(optional=True)
        def identity_maybe() -> str:
            return str(get_jwt_identity())

    def test_the_hook_asks_the_ledger(self) -> None:
        said = self.web.post("/login", json={"subject": "ada"}).get_json()
        token = said["access_token"]
        other = self.web.post("/login", json={"subject": "eve"}).get_json()["access_token"]
        ways: list[Callable[[], TestResponse]] = [
            lambda: self.web.get("/identity", headers=bearer(token)),
            lambda: self.web.get("/identity", headers={"Cookie": f"mine={token}"}),
            lambda: self.web.post("/identity", json={"access_token": token}),
            # Two tokens: it is the one that the library has verified that counts.
            lambda: self.web.post("/identity", headers={**bearer(token), "Cookie": f"mine={other}"}, json={"access_token": other}),
            lambda: self.web.get("/identity", headers={"Authorization": f"Other {other}", "Cookie": f"mine={token}"}),
            lambda: self.web.get("/identity-maybe", headers=bearer(token)),
        ]
        for way in ways:
            self.assertEqual(self.want(way(), 200).text, "ada")
        self.assertEqual(self.web.get("/identity-maybe").text, "None")
        self.server.kill()
        try:
            for way in ways:
                self.want(way(), 503, "temporarily_unavailable")
        finally:
            self.server.start()
        self.want(self.web.post("/logout", headers=bearer(token)), 204)
        for way in ways:
            answer = way()
            self.assertEqual((answer.status_code, answer.get_json()), (401, {"msg": "Token has been revoked"}))
        self.assertEqual(self.web.get("/identity", headers=bearer(other)).text, "eve")

    def test_moving_logs_nobody_out(self) -> None:
        """Old tokens keep the old check until they expire, new ones have the ledger."""
        import jwt as pyjwt
        from flask_jwt_extended import JWTManager, create_access_token, get_jwt, jwt_required

        app = application(self.server, JWT_SECRET_KEY="the-old-secret-of-the-application", JWT_DECODE_ALGORITHMS=["HS256", "ES256"])
        web = self.browser(app)
        manager = JWTManager(app)
        blocklist: set[str] = set()
        hook = Rescind(app).token_in_blocklist
        keys = pyjwt.PyJWKClient(self.server.url + "/.well-known/jwks.json")

        @manager.decode_key_loader
        def key(header: dict[str, str], payload: dict[str, object]) -> object:
            return keys.get_signing_key(header["kid"]).key if header["alg"] == "ES256" else app.config["JWT_SECRET_KEY"]

        @manager.token_in_blocklist_loader
        def revoked(header: dict[str, str], payload: dict[str, str]) -> bool:
            return hook(header, payload) if header["alg"] == "ES256" else payload["jti"] in blocklist

        @app.post("/move")
        @jwt_required()
        def move() -> Response:
            old = get_jwt()
            answer = Rescind().login(old["sub"])
            blocklist.add(old["jti"])
            return answer

        @app.get("/identity")
        @jwt_required()
        def identity() -> str:
            return str(get_jwt()["sub"])

        with app.app_context():
            old = create_access_token("ada")
        self.assertEqual(web.get("/identity", headers=bearer(old)).text, "ada")
        new = self.want(web.post("/move", headers=bearer(old)), 200).get_json()
        self.assertEqual(web.get("/identity", headers=bearer(old)).status_code, 401)
        self.assertEqual(web.get("/identity", headers=bearer(new["access_token"])).text, "ada")
        self.want(web.post("/logout", headers=bearer(new["access_token"])), 204)
        self.assertEqual(web.get("/identity", headers=bearer(new["access_token"])).status_code, 401)

    def test_a_token_that_is_found_nowhere_is_not_let_through(self) -> None:
        with self.app.test_request_context("/"), self.assertRaises(Unavailable):
            Rescind().token_in_blocklist({}, {"jti": "x"})

    def test_a_checker_that_fails_is_unavailable(self) -> None:
        class Odd:
            def check(self, token: str, want: Want = Want()) -> Access:
                raise ZeroDivisionError

        said = self.web.post("/login", json={"subject": "ada"}).get_json()
        with mock.patch.object(self.app.extensions["rescind"].guard, "checker", Odd()):
            self.want(self.web.get("/identity", headers=bearer(said["access_token"])), 503, "temporarily_unavailable")


class Proxied(Case):
    def test_a_proxys_own_words_are_no_verdict(self) -> None:
        for reply in (answer("no", "401 Unauthorized", "text/html"), answer('{"active":false}', "403 Forbidden"), answer("{}", "302 Found", "application/json", "Location: /")):
            impostor = Impostor(always(reply))
            self.addCleanup(impostor.stop)
            app = application(self.server)
            app.config["RESCIND_URL"] = impostor.url
            Rescind(app)
            web = self.browser(app)
            self.want(web.get("/me", headers=bearer("token")), 503, "temporarily_unavailable")
            self.want(web.post("/logout", headers=bearer("token")), 503, "temporarily_unavailable")
            self.want(web.post("/refresh", json={"refresh_token": "rsr_x"}), 503, "temporarily_unavailable")


if __name__ == "__main__":
    unittest.main()
