# Tokens as the documentation of flask-jwt-extended makes and revokes them.
import os
from datetime import timedelta

from flask import jsonify
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, get_jwt, jwt_required
from flask_jwt_extended import get_jwt_identity as subject

seconds = int(os.environ.get("ACCESS_SECONDS", "300"))

# The flaw, twice: each worker has a blocklist of its own, and refresh tokens never get onto it.
blocklist = set()


def init_app(app):
    app.config.update(JWT_SECRET_KEY=os.environ.get("JWT_SECRET", "change me"), JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=seconds))
    JWTManager(app).token_in_blocklist_loader(lambda header, payload: payload["jti"] in blocklist)


def issue(user):
    tokens = {"access_token": create_access_token(user), "refresh_token": create_refresh_token(user)}
    return jsonify(**tokens, token_type="Bearer", expires_in=seconds)


@jwt_required(refresh=True, locations=["json"])
def refresh():
    return issue(subject())


@jwt_required()
def logout():
    return end(get_jwt()["jti"])


@jwt_required()
def required():
    return None  # before_request goes on


def devices():
    return jsonify([{"id": get_jwt()["jti"]}])  # nobody has written down who holds the others


def end(jti):
    blocklist.add(jti)
    return "", 204
