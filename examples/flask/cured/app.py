# A notes application. The ledger says which tokens stand: who logs out is out, everywhere and at once.
import hmac
import os

from flask import Blueprint, Flask, abort, jsonify, request
from rescind.flask import Rescind, current_session

app = Flask(__name__)
rescind = Rescind(app)
api = Blueprint("api", __name__, url_prefix="/api")
rescind.protect(api)


@app.post("/login")
def login():
    return rescind.login(check_password())


@app.post("/refresh")
def refresh():
    return rescind.refresh()


@app.post("/logout")
def logout():
    return rescind.logout()  # an expired access token serves, and so does a refresh token


@app.post("/logout-all")
def logout_all():
    return rescind.logout_all()


def subject():
    return current_session.subject


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
    return jsonify(rescind.sessions())


@api.delete("/devices/<device>")
def end_device(device):
    return rescind.end_session(device)


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
