"""The guarded application of spec/README.md, in Flask."""

import json
import os
import sys
import threading

from flask import Flask, Response, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

import rescind as errors
from rescind.flask import Rescind, current_session, token_required

options = json.loads(os.environ["SPEC_OPTIONS"])
cookies = options["cookies"]
app = Flask(__name__)
app.config.update(RESCIND_AUDIENCE=options["audience"], RESCIND_TIMEOUT=options["timeout_ms"] / 1000, RESCIND_COOKIES=bool(cookies))
if isinstance(cookies, dict):
    app.config.update({"RESCIND_" + name.upper(): value for name, value in cookies.items()})
rescind = Rescind(app)

EVERY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


@app.post("/auth/login")
def login() -> Response:
    return rescind.login(**request.get_json())


@app.route("/auth/refresh", methods=EVERY)
def refresh() -> Response:
    return rescind.refresh()


@app.route("/auth/logout", methods=EVERY)
def logout() -> Response:
    return rescind.logout()


@app.route("/auth/logout-all", methods=EVERY)
def logout_all() -> Response:
    return rescind.logout_all()


def me() -> Response:
    return jsonify({name: getattr(current_session, name) for name in ("subject", "session", "client", "audience", "scope")})


app.add_url_rule("/api/me", "me", token_required(me), methods=EVERY)
app.add_url_rule("/api/scoped", "scoped", token_required(scope="notes:read notes:write")(me), methods=EVERY)
app.add_url_rule("/elsewhere/me", "elsewhere", token_required(audience=("elsewhere",))(me), methods=EVERY)


@app.get("/api/own")
@token_required
def own() -> Response:
    return Response("own", 401, {"WWW-Authenticate": "Own"})


@app.errorhandler(errors.Forbidden)
def forbidden(error: errors.Forbidden) -> Response:
    return Response(status=403)


class Handler(WSGIRequestHandler):
    def log(self, *args: object) -> None:
        pass


server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Handler)


def end() -> None:
    sys.stdin.read()
    server.shutdown()


threading.Thread(target=end, daemon=True).start()
print(f"ready http://127.0.0.1:{server.port}", flush=True)
server.serve_forever()
