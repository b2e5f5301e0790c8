# A notes application. Who logs out is on a blocklist: that of one worker, with one of two tokens.
import hmac
import os

import tokens
from flask import Blueprint, Flask, abort, jsonify, request

app = Flask(__name__)
tokens.init_app(app)
api = Blueprint("api", __name__, url_prefix="/api")
api.before_request(tokens.required)


@app.post("/login")
def login():
    return tokens.issue(check_password())


@app.post("/refresh")
def refresh():
    return tokens.refresh()


@app.post("/logout")
def logout():
    return tokens.logout()


@app.post("/logout-all")
def logout_all():
    return tokens.logout()  # what else could it end?


def subject():
    return tokens.subject()


@api.get("/me")
def me():
    return jsonify(subject=subject())


@api.get("/notes")
def list_notes():
    return jsonify(notes.get(subject(), []))


@api.post("/notes")
def add_note():
    text = (request.get_json(silent=True) or {}).get("text")
    if not isinstance(text, str) or len(text) > 1000:
        abort(400)
    notes.setdefault(subject(), []).append({"text": text})
    return jsonify(text=text), 201


@api.get("/devices")
def devices():
    return tokens.devices()


@api.delete("/devices/<device>")
def end_device(device):
    return tokens.end(device)


# The users, and their notes: every worker has its own, as long as it lives. Yours are in a database.
users = {"ada": "lovelace", "alan": "turing"}
notes = {}


def check_password():
    said = request.get_json(silent=True)
    user, password = (str(said.get(name)) for name in ("user", "password")) if isinstance(said, dict) else ("", "")
    right = hmac.compare_digest(password.encode(), users.get(user, "").encode())
    if not right or user not in users:
        abort(401)
    return user


@app.after_request
def name_worker(response):
    response.headers["X-Worker"] = os.getpid()
    return response


app.register_blueprint(api)
