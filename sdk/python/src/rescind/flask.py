"""Rescind for Flask.

    from rescind.flask import Rescind, current_session, token_required

    app = Flask(__name__)
    rescind = Rescind(app)      # RESCIND_URL, RESCIND_CLIENT_ID, RESCIND_CLIENT_SECRET

    @app.post("/login")
    def login():
        return rescind.login(check_password(request))

    @app.post("/refresh")
    def refresh():
        return rescind.refresh()

    @app.post("/logout")
    def logout():
        return rescind.logout()

    @app.get("/notes")
    @token_required(scope="notes:read")
    def notes():
        return notes_of(current_session.subject)

Every check asks the server. What the guard answers itself stands in
rescind.guard; what a view answers or raises is never touched.
"""

from __future__ import annotations

import functools
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, ParamSpec, TypeVar, Union, cast, overload

from flask import Blueprint, Flask, Response, after_this_request, current_app, request
from werkzeug.local import LocalProxy

from .client import Client
from .cookies import Options
from .errors import CrossOrigin, Inactive, InsecureHost, Invalid, NotFound, Unavailable
from .guard import CROSS_ORIGIN, INSECURE_HOST, KEY, NOT_FOUND, Answer, Guard
from .values import Access, Checker, Device, Want

__all__ = ["Rescind", "current_session", "public", "token_required"]

MAX_BODY = 64 << 10  # bytes of a request's body that is looked at for a token

P = ParamSpec("P")
R = TypeVar("R")
View = Callable[P, R]


def _access() -> Access | None:
    # In the environ and not in flask.g, which belongs to the application context:
    # several requests can share one.
    return cast("Access | None", request.environ.get(KEY)) if request else None


#: What the guard in front of a view learned about the request's token: subject,
#: session, scope, claims. It is None (and falsy) where no guard has let a token
#: pass, so that reading a member there is an error.
current_session: Access = cast(Access, LocalProxy(_access))


class _State:
    """What belongs to one application."""

    def __init__(self, client: Client, guard: Guard) -> None:
        self.client = client
        self.guard = guard


def _state() -> _State:
    state = current_app.extensions.get("rescind")
    if not isinstance(state, _State):
        raise RuntimeError("Rescind(app) has not been called for this application")
    return state


class Rescind:
    """The extension. One may serve several applications, by init_app.

    Configuration, from app.config, and else from environment variables of the same
    name (the first four only):

    RESCIND_URL, RESCIND_CLIENT_ID, RESCIND_CLIENT_SECRET
    RESCIND_CA_FILE              certificates to trust instead of the system's
    RESCIND_AUDIENCE             what checks ask for; default: what the server has for this client
    RESCIND_TIMEOUT              seconds for a whole call; default 2
    RESCIND_ALLOW_HTTP           permit http:// to hosts that are not loopback
    RESCIND_REALM                of the challenge; default "rescind"
    RESCIND_COOKIES              True: keep tokens in cookies; bearer tokens still pass
    RESCIND_REFRESH_PATH, RESCIND_TRUSTED_ORIGINS, RESCIND_ALLOW_CROSS_ORIGIN,
    RESCIND_AFTER_LOGOUT, RESCIND_CLEAR_SITE_DATA, RESCIND_INSECURE_LOOPBACK
                                 see rescind.CookieOptions

    checker: what is asked on every request; default: the client.
    """

    def __init__(self, app: Flask | None = None, *, client: Client | None = None, checker: Checker | None = None) -> None:
        self._client = client
        self._checker = checker
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Reads the configuration. It makes no call."""
        client = self._client or _client(app)
        options = _options(app) if app.config.get("RESCIND_COOKIES") else None
        guard = Guard(self._checker or client, client, cookies=options, realm=app.config.get("RESCIND_REALM", ""))
        app.extensions["rescind"] = _State(client, guard)
        # Only what this package raises has its own answer.
        app.register_error_handler(Unavailable, lambda error: _response(guard.refuse(error)))

    @property
    def client(self) -> Client:
        """The client of the current application."""
        return _state().client

    def login(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        device: Device | None = None,
        audience: tuple[str, ...] = (),
        cookies: bool | None = None,
        response: Response | None = None,
        **login: Any,
    ) -> Response:
        """Opens a session of a subject whom you have authenticated, and returns the
        answer that hands out its tokens; see Guard.login. With cookies, response
        may be an answer of your own, to which they are added. For more, such as
        replaces, see Client.login.

        Unavailable becomes 503 with Retry-After unless you catch it. The other
        errors are yours: LimitReached, Invalid, Forbidden."""
        guard = _state().guard
        if response is not None and (cookies is False or guard.cookies is None):
            raise Invalid("an answer of your own takes cookies, and they are not enabled")
        try:
            _, answer = guard.login(
                request.environ, subject, cookies=cookies, device=device, scope=scope, claims=claims, audience=audience, **login
            )
        except InsecureHost:
            return _response(guard.deny(INSECURE_HOST))
        except CrossOrigin:
            return _response(guard.deny(CROSS_ORIGIN))
        if response is None:
            return _response(answer)
        response.headers["Cache-Control"] = "no-store"
        for name, value in answer.headers:
            if name == "Set-Cookie":
                response.headers.add(name, value)
        return response

    def refresh(self) -> Response:
        """Continues the session of the refresh cookie, or of the refresh_token in
        the body, JSON or a form; see Guard.refresh."""
        token, unreadable = _body_token()
        return _response(_state().guard.refresh(request.environ, token, unreadable=unreadable))

    def logout(self) -> Response:
        """Ends the session of the request's tokens: cookies, bearer token, or the
        refresh_token in the body; see Guard.logout. The view must not be behind
        token_required: an expired access token is enough."""
        return self._logout(everywhere=False)

    def logout_all(self) -> Response:
        """Ends every session of the subject; see Guard.logout."""
        return self._logout(everywhere=True)

    def _logout(self, everywhere: bool) -> Response:
        token, unreadable = _body_token()
        return _response(_state().guard.logout(request.environ, token, everywhere=everywhere, unreadable=unreadable))

    def sessions(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The active sessions of the current subject ("my devices"), limit of them at
        most, as the server shows them, each with current: whether it is this one.
        Behind token_required. It needs the role issue."""
        access = _current()
        views = islice(_state().client.sessions(access.subject), limit)
        return [{**view, "current": view["id"] == access.session} for view in views]

    def end_session(self, session: str) -> Response:
        """Ends a session of the current subject by its id: 204, or 404 if it is
        somebody else's or nobody's. Behind token_required."""
        state, access = _state(), _current()
        try:
            state.client.end_session(session, subject=access.subject)
        except NotFound:
            return _response(state.guard.deny(NOT_FOUND))
        return Response(status=204, headers={"Cache-Control": "no-store"})

    def stands(self, *, scope: str = "", audience: tuple[str, ...] = ()) -> bool:
        """Asks again about the request's token, for answers that stay open behind
        token_required: event streams (under stream_with_context), WebSockets. It is
        no activity of the session. It raises Unavailable if nobody can know."""
        found = _state().guard.admit(request.environ, Want(scope=scope, audience=audience, touch=False))
        if isinstance(found, Answer) and found.status == 503:
            raise Unavailable("the state of the token could not be known")
        return isinstance(found, Access)

    def protect(self, app: Flask | Blueprint, *, scope: str = "", audience: tuple[str, ...] = ()) -> None:
        """Puts the guard in front of every view of an application or a blueprint
        but those that are marked by @public. Login, refresh and logout want that
        mark. Addresses that lead to no view are left to Flask, and so are the
        OPTIONS requests that it answers itself, which carry no credentials."""
        want = Want(scope=scope, audience=audience)

        def before() -> Response | None:
            rule = request.url_rule
            if rule is None or request.endpoint is None:
                return None
            if request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
                return None
            if getattr(current_app.view_functions.get(request.endpoint), "_rescind_public", False):
                return None
            return _admit(want, optional=False)

        app.before_request(before)

    def token_in_blocklist(self, jwt_header: Mapping[str, Any], jwt_payload: Mapping[str, Any]) -> bool:
        """For applications that keep flask-jwt-extended:

            jwt.token_in_blocklist_loader(rescind.token_in_blocklist)

        Asks whether the token, which that library has taken from the request and
        found well signed, stands in the ledger. Unavailable becomes 503."""
        for token in _jwt_candidates():
            if _says(token, jwt_payload):
                try:
                    _state().guard.checker.check(token, Want())
                    return False
                except Inactive:
                    return True
                except Unavailable:
                    raise
                except Exception as error:
                    raise Unavailable(f"token state: {type(error).__name__}") from None
        raise Unavailable("the token that was verified is not in the request where its configuration says")


@overload
def token_required(view: View[P, R], /) -> View[P, Union[R, Response]]: ...
@overload
def token_required(
    *, scope: str = "", audience: tuple[str, ...] = (), optional: bool = False
) -> Callable[[View[P, R]], View[P, Union[R, Response]]]: ...
def token_required(
    view: View[P, R] | None = None, /, *, scope: str = "", audience: tuple[str, ...] = (), optional: bool = False
) -> Any:
    """Lets a view handle requests whose token stands and has the scopes, separated
    by spaces. With optional, requests without credentials may pass, and then
    current_session is falsy; a token that is sent must stand all the same."""
    if isinstance(scope, (list, tuple, set)) or isinstance(audience, str):
        raise TypeError("scope is one string, audience a tuple of them")
    want = Want(scope=scope, audience=tuple(audience))

    def protect(view: View[P, R]) -> View[P, Union[R, Response]]:
        @functools.wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Union[R, Response]:
            refused = _admit(want, optional=optional)
            if refused is not None:
                return refused
            result: R = current_app.ensure_sync(view)(*args, **kwargs)
            return result

        return guarded

    return protect if view is None else protect(view)


def public(view: View[P, R]) -> View[P, R]:
    """Marks a view that Rescind.protect leaves alone. It stands right below the
    route, above all other decorators."""
    view._rescind_public = True  # type: ignore[attr-defined]
    return view


def _admit(want: Want, *, optional: bool) -> Response | None:
    guard = _state().guard
    found = guard.admit(request.environ, want, optional=optional)
    if isinstance(found, Answer):
        return _response(found)
    request.environ[KEY] = found
    if found is not None and guard.by_cookie(request.environ):
        after_this_request(_unkept)
    return None


def _unkept(response: Any) -> Any:
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _current() -> Access:
    access = _access()
    if access is None:
        raise RuntimeError("nobody is logged in here: the view needs token_required")
    return access


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, list(answer.headers))
    if not answer.body:
        response.headers.pop("Content-Type", None)
    return response


def _body_token() -> tuple[str | None, bool]:
    """The refresh token in a small JSON or form body; and whether there is a body
    that cannot be read, so that nobody knows what it asks for."""
    if request.content_length is None:
        return None, "Transfer-Encoding" in request.headers
    if request.content_length == 0:
        return None, False
    if request.content_length > MAX_BODY:
        return None, True
    if request.mimetype == "application/json":
        said = request.get_json(silent=True)
        tokens = [said["refresh_token"]] if isinstance(said, dict) and "refresh_token" in said else []
        unreadable = not isinstance(said, dict)
    else:
        tokens = request.form.getlist("refresh_token")
        unreadable = request.mimetype != "application/x-www-form-urlencoded"
    if unreadable or len(tokens) > 1 or not all(token is None or isinstance(token, str) for token in tokens):
        return None, True
    return (tokens[0] or None) if tokens else None, False


def _client(app: Flask) -> Client:
    def setting(name: str) -> Any:
        value = app.config.get(name)
        return os.environ.get(name) if value is None else value

    missing = [name for name in ("RESCIND_URL", "RESCIND_CLIENT_ID") if not setting(name)]
    if missing:
        raise Invalid("neither in app.config nor in the environment: " + ", ".join(missing))
    return Client(
        setting("RESCIND_URL"),
        setting("RESCIND_CLIENT_ID"),
        setting("RESCIND_CLIENT_SECRET") or "",
        audience=app.config.get("RESCIND_AUDIENCE", ""),
        timeout=app.config.get("RESCIND_TIMEOUT", 2.0),
        ca_file=setting("RESCIND_CA_FILE"),
        allow_http=app.config.get("RESCIND_ALLOW_HTTP", False),
    )


def _options(app: Flask) -> Options:
    get = app.config.get
    return Options(
        refresh_path=get("RESCIND_REFRESH_PATH", "/"),
        trusted_origins=get("RESCIND_TRUSTED_ORIGINS", ()),
        allow_cross_origin=get("RESCIND_ALLOW_CROSS_ORIGIN", False),
        after_logout=get("RESCIND_AFTER_LOGOUT", ""),
        clear_site_data=get("RESCIND_CLEAR_SITE_DATA", False),
        insecure_loopback=get("RESCIND_INSECURE_LOOPBACK", False),
    )


def _jwt_candidates() -> list[str]:
    """Every text of a request that flask-jwt-extended may have taken for its
    token. It does not say which one it was."""
    from flask_jwt_extended.config import config  # only those who have it come here

    texts: list[Any] = request.headers.get(config.header_name, "").replace(",", " ").split()
    texts += [request.cookies.get(name) for name in (config.access_cookie_name, config.refresh_cookie_name)]
    texts.append(request.args.get(config.query_string_name, "").removeprefix(config.query_string_value_prefix))
    if "json" in config.token_location and request.is_json:
        said = request.get_json(silent=True)
        if isinstance(said, Mapping):
            texts += [said.get(config.json_key), said.get(config.refresh_json_key)]
    return [text for text in texts if isinstance(text, str) and text.count(".") == 2]


def _says(token: str, payload: Mapping[str, Any]) -> bool:
    """Whether a JWT says what was verified. That library adds members to it."""
    part = token.split(".")[1]
    try:
        said = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and bool(said) and all(name in payload and payload[name] == said[name] for name in said)
