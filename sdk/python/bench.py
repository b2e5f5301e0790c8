"""One of the applications that `go run ./bench sdk` measures, in gunicorn:
APPLICATION says which."""

from __future__ import annotations

import os

from flask import Flask, Response, jsonify

app = Flask(__name__)


def view() -> Response:
    return jsonify(ok=True)


match os.environ["APPLICATION"]:
    case "bare":
        pass
    case "rescind":
        from rescind.flask import Rescind, token_required

        Rescind(app)
        view = token_required(view)  # type: ignore[assignment]
    case "recipe":
        import redis
        from flask_jwt_extended import JWTManager, jwt_required

        app.config["JWT_SECRET_KEY"] = os.environ["JWT_SECRET"]
        blocklist = redis.Redis(port=int(os.environ["REDIS_PORT"]))
        JWTManager(app).token_in_blocklist_loader(lambda header, payload: blocklist.exists("revoked:" + payload["jti"]) == 1)
        view = jwt_required()(view)
    case other:
        raise SystemExit("there is no application " + other)

app.add_url_rule("/", view_func=view)
