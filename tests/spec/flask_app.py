"""The guarded application of spec/README.md, in Flask."""

import json
import os
import sys
import threading
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

import rescind as errors
from rescind.flask import Rescind, current_session, token_required

EVERY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def me() -> Response:
    return jsonify({name: getattr(current_session, name) for name in ("subject", "session", "client", "audience", "scope")})


def own() -> Response:
    return Response("own", 401, {"WWW-Authenticate": "Own"})


def application(options: dict[str, Any]) -> Flask:
    app = Flask(__name__)
    cookies = options["cookies"]
    app.config.update(
        RESCIND_URL=options["url"],
        RESCIND_CLIENT_ID=options["client_id"],
        RESCIND_CLIENT_SECRET=options["client_secret"],
        RESCIND_AUDIENCE=options["audience"],
        RESCIND_TIMEOUT=options["timeout_ms"] / 1000,
        RESCIND_COOKIES=bool(cookies),
    )
    if isinstance(cookies, dict):
        app.config.update({"RESCIND_" + name.upper(): value for name, value in cookies.items()})
    rescind = Rescind(app)
    app.add_url_rule("/auth/login", "login", lambda: rescind.login(**request.get_json()), methods=["POST"])
    app.add_url_rule("/auth/refresh", "refresh", rescind.refresh, methods=EVERY)
    app.add_url_rule("/auth/logout", "logout", rescind.logout, methods=EVERY)
    app.add_url_rule("/auth/logout-all", "logout_all", rescind.logout_all, methods=EVERY)
    app.add_url_rule("/api/me", "me", token_required(me), methods=EVERY)
    app.add_url_rule("/api/scoped", "scoped", token_required(scope="notes:read notes:write")(me), methods=EVERY)
    app.add_url_rule("/elsewhere/me", "elsewhere", token_required(audience=("elsewhere",))(me), methods=EVERY)
    app.add_url_rule("/api/own", "own", token_required(own))
    app.register_error_handler(errors.Forbidden, lambda error: Response(status=403))
    return app


class Handler(WSGIRequestHandler):
    def log(self, *args: object) -> None:
        pass


servers = [
    make_server("127.0.0.1", 0, application(options), threaded=True, request_handler=Handler) for options in json.loads(os.environ["SPEC_APPS"])
]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", *(f"http://127.0.0.1:{server.port}" for server in servers), flush=True)
sys.stdin.read()
