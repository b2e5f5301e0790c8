"""An application for gunicorn. Every answer names the process that gave it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, jsonify, request

from rescind.flask import Rescind, current_session, token_required

from .ledger import PATIENCE

app = Flask(__name__)
app.config.update(RESCIND_COOKIES=True, RESCIND_TIMEOUT=PATIENCE)
extension = Rescind(app)

# With --preload this runs before the processes fork, and leaves connections.
with app.app_context():
    client = extension.client
    client.check(client.login("preloaded").access_token)


@app.post("/login")
def login() -> Response:
    return extension.login(request.get_json()["subject"], cookies=False)


@app.post("/refresh")
def refresh() -> Response:
    return extension.refresh()


@app.post("/logout")
def logout() -> Response:
    return extension.logout()


@app.get("/me")
@token_required
def me() -> Response:
    time.sleep(0.005)  # so that other processes get their share
    return jsonify(subject=current_session.subject, session=current_session.session)


flask_app = app.wsgi_app


def named(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    began = time.monotonic()
    client.timeout = float(environ.get("HTTP_X_TIMEOUT", PATIENCE))  # an outage need not keep the tests waiting

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        own = [("X-Process", f"{os.getpid()}"), ("X-Took", f"{time.monotonic() - began}")]
        return start_response(status, [*headers, *own], *more)

    return flask_app(environ, start)


app.wsgi_app = named  # type: ignore[method-assign]
