"""Judges WSGI requests, and speaks for browsers: login, refresh, logout.

Answers a guard gives itself, and no others; what the application answers is
never touched, whatever its status:

    401  no credentials (a challenge without an error code), or a token that does not stand
    403  the token stands and lacks a scope; or a cookie came with a request from another origin
    400  two credentials, or a header that is no bearer header
    503  the state could not be known; the token may be as good as ever

They carry Cache-Control: no-store and a small JSON object.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .cookies import Cookies, Options, tokens_of
from .errors import CrossOrigin, Error, Forbidden, Foreign, Inactive, InsecureHost, InsufficientScope, Invalid, Unavailable
from .values import Access, Checker, Device, Grant, Sessions, Want, well_formed

log = logging.getLogger("rescind")

Environ = Mapping[str, Any]

KEY = "rescind.access"  #: where a guard leaves the Access of a request in its environ


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer; also a WSGI application that gives it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response(f"{self.status} {_REASONS[self.status]}", list(self.headers))
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [self.body]


_REASONS = {
    200: "OK",
    204: "No Content",
    303: "See Other",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class _Denial:
    """One of the answers a guard gives itself."""

    status: int
    code: str  # of RFC 6750 section 3.1
    about: str
    challenge: bool = False  # it is about the credentials


# Without credentials there is no error code (RFC 6750 section 3.1).
NO_CREDENTIALS = _Denial(401, "", "", True)
INVALID_TOKEN = _Denial(401, "invalid_token", "the token is expired, revoked or malformed", True)
INSUFFICIENT_SCOPE = _Denial(403, "insufficient_scope", "the token lacks a scope that this needs", True)
TWO_CREDENTIALS = _Denial(400, "invalid_request", "one credential is needed, more than one was sent", True)
NO_BEARER = _Denial(400, "invalid_request", "the Authorization header holds no bearer token", True)
BAD_BODY = _Denial(400, "invalid_request", "the body is no JSON object or form with a refresh_token, or is too long")
FORBIDDEN = _Denial(403, "forbidden", "this is not allowed")
CROSS_ORIGIN = _Denial(403, "cross_origin", "the request comes from another origin")
INSECURE_HOST = _Denial(403, "insecure_host", "cookies without protection are for loopback addresses only")
NOT_FOUND = _Denial(404, "not_found", "there is no such session")
ONLY_POST = _Denial(405, "method_not_allowed", "use POST")
UNAVAILABLE = _Denial(503, "temporarily_unavailable", "the state of the token could not be known; try again")
COOKIE_TOO_LONG = _Denial(500, "server_error", "the token is too long for a cookie")

#: The seconds for which an access token counts as new: longer than the requests of
#: one browser overtake each other.
YOUNG = 10

_RETRY_AFTER = "1"  # what a 503 asks clients to wait, in seconds


_JOINED = re.compile(r",[ \t]*bearer[ ,]", re.IGNORECASE)


class Denied(Exception):
    """Ends the judgement of a request. It never leaves this package."""

    def __init__(self, denial: _Denial, scope: str = "") -> None:
        super().__init__(denial.code)
        self.denial = denial
        self.scope = scope


def quotable(text: str) -> str:
    """Drops what may not stand in the attributes of a challenge, quotes and
    backslashes among it (RFC 6750 section 3)."""
    return "".join(c for c in text if " " <= c <= "~" and c not in '"\\')


def bearer(environ: Environ) -> str:
    """Takes the token from the Authorization header, and from nowhere else: tokens
    in the query or in a form end up in logs and histories (RFC 9700 section
    4.3.2). Another scheme is somebody else's business. Servers join repeated
    headers by a comma."""
    header = str(environ.get("HTTP_AUTHORIZATION", "")).strip(" \t")  # not every server does (RFC 9110 section 5.5)
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Denied(TWO_CREDENTIALS if _JOINED.search(header) else NO_CREDENTIALS)
    token = token.strip(" ")
    if not token:
        raise Denied(NO_BEARER)
    if any(c in token for c in " ,\t"):
        raise Denied(TWO_CREDENTIALS)
    if not well_formed(token):
        raise Denied(INVALID_TOKEN)
    return token


class Guard:
    """Judges requests by their environ, in any number of threads.

    checker is asked on every request; sessions is for login, refresh and logout.
    The checker must know the access tokens that sessions hands out, whatever their
    audience: a refresh of cookies asks it.
    cookies: None for bearer tokens alone; else tokens may come in cookies too.
    """

    def __init__(
        self,
        checker: Checker,
        sessions: Sessions | None = None,
        *,
        cookies: Options | None = None,
        realm: str = "",
    ) -> None:
        self.checker = checker
        self.sessions = sessions
        self.cookies = Cookies(cookies) if cookies is not None else None
        self.realm = quotable(realm) or "rescind"
        self.now = time.time  # tells how old a token is; whether one stands, the checker knows alone

    # The judgement.

    def admit(self, environ: Environ, want: Want = Want(), *, optional: bool = False) -> Access | Answer | None:
        """Judges a request: what its token is good for, or the answer to give
        instead of the application's. With optional, a request without credentials
        may pass, as None; a token that is sent must stand all the same."""
        try:
            try:
                token = self._credential(environ)
            except Denied as denied:
                if optional and denied.denial is NO_CREDENTIALS:
                    return None
                raise
            try:
                return self.checker.check(token, want)
            except Exception as error:
                return self.refuse(error, want.scope)
        except Denied as denied:
            return self.deny(denied.denial, denied.scope)

    def by_cookie(self, environ: Environ) -> bool:
        """Whether it was a cookie that opened a request which admit has let pass.
        Browsers open such things by address, and their back button would show
        them after the logout: no cache may keep them unless the application says
        otherwise."""
        return self.cookies is not None and bool(self.cookies.values(environ, self.cookies.access))

    def _credential(self, environ: Environ) -> str:
        """The one token of a request. A cookie counts for unsafe methods and for
        upgrades only if the request comes from this origin or a trusted one."""
        if self.cookies is None:
            return bearer(environ)
        self._host(environ)
        found = self.cookies.values(environ, self.cookies.access)
        if not found:
            return bearer(environ)
        try:
            bearer(environ)
        except Denied as denied:
            if denied.denial is not NO_CREDENTIALS:
                raise Denied(TWO_CREDENTIALS) from None
        else:
            raise Denied(TWO_CREDENTIALS)
        token = _one(found)
        if not self.cookies.any_origin and self.cookies.foreign(environ):
            raise Denied(CROSS_ORIGIN)
        return token

    def _host(self, environ: Environ) -> None:
        if self.cookies is not None and self.cookies.refuses_host(environ):
            raise Denied(INSECURE_HOST)

    def refuse(self, error: Exception, scope: str = "") -> Answer:
        """The answer for an error of a Checker or of Sessions."""
        if isinstance(error, InsufficientScope):
            return self.deny(INSUFFICIENT_SCOPE, scope)
        if isinstance(error, (Inactive, Foreign)):
            return self.deny(INVALID_TOKEN)
        if isinstance(error, Unavailable):
            log.warning("token state unavailable: %s", error)
        else:
            # What is not understood is not known either. That this application may
            # not ask belongs here too: its users can do nothing about it.
            log.error("token state unavailable: %s: %s", type(error).__name__, error if isinstance(error, Error) else "unexpected")
        return self.deny(UNAVAILABLE)

    def deny(self, denial: _Denial, scope: str = "") -> Answer:
        """The answer for a denial. The scope stands in the challenge of
        insufficient_scope."""
        headers = []
        if denial.challenge:
            challenge = f'Bearer realm="{self.realm}"'
            if denial.code:
                challenge += f', error="{denial.code}", error_description="{denial.about}"'
            if denial is INSUFFICIENT_SCOPE:
                challenge += f', scope="{quotable(scope)}"'
            headers.append(("WWW-Authenticate", challenge))
        if denial is UNAVAILABLE:
            headers.append(("Retry-After", _RETRY_AFTER))
        if denial is ONLY_POST:
            headers.append(("Allow", "POST"))
        said: dict[str, Any] = {"status": denial.status}
        if denial.code:
            said |= {"error": denial.code, "error_description": denial.about}
        return _json(denial.status, said, headers)

    # Login, refresh, logout.

    def login(
        self,
        environ: Environ,
        subject: str,
        *,
        cookies: bool | None = None,
        device: Device | None = None,
        **login: Any,
    ) -> tuple[Grant, Answer]:
        """Opens a session, and makes the answer that hands out its tokens: in
        cookies, and then the body says {"session": …, "expires_in": …} only; or in the body,
        for clients that keep their tokens themselves. cookies=False chooses the
        latter.

        The session whose cookies the browser sent ends first (ASVS 7.2.4): they
        are about to be overwritten, and nobody could end it afterwards. The device
        is by default what the request says of itself. Errors are those of
        Sessions, InsecureHost on a host where unprotected cookies are refused,
        CrossOrigin for an unsafe method from another origin (whose author would choose
        in whose session the browser goes on; trust the origin of an identity provider
        that posts its answer), and Invalid where a token is too long for a cookie: give the session fewer
        claims, or the client opaque access tokens."""
        sessions = self._sessions()
        if device is None:
            agent, address = str(environ.get("HTTP_USER_AGENT", "")), str(environ.get("REMOTE_ADDR", ""))
            device = Device(user_agent=quotable(agent)[:512], ip=address[:64])
        ours = self.cookies if cookies is None or cookies else None
        if cookies and ours is None:
            raise Invalid("cookies are not enabled")
        if ours is None:
            grant = sessions.login(subject, device=device, **login)
            return grant, _json(200, grant.response(), [])
        if ours.refuses_host(environ):
            raise InsecureHost(INSECURE_HOST.about)
        if ours.foreign(environ):
            raise CrossOrigin(CROSS_ORIGIN.about)
        _end(sessions, tokens_of(environ))
        grant = sessions.login(subject, device=device, **login)
        if not ours.fits(grant):
            # Nobody will hold its tokens: it must not stay behind alive.
            sessions.logout(grant.refresh_token)
            raise Invalid(COOKIE_TOO_LONG.about)
        return grant, _json(200, {"session": grant.session, "expires_in": grant.expires_in}, ours.set(grant))

    def refresh(self, environ: Environ, token: str | None = None, *, unreadable: bool = False) -> Answer:
        """Continues a session: that of the refresh cookie, or that of the token
        which the request's body held; unreadable says that there is a body in which
        none could be looked for. POST only, with a cookie only from this origin. 200 brings new cookies and {"expires_in": …}, or the new tokens;
        parallel requests with one refresh token all get its one successor. A
        browser whose access cookie stands and is new brings nothing to refresh: one
        of its windows has just been here. To rotate again at once would put the
        token of a slower window two generations behind, and that is reuse. 401
        says that the session has ended, 503 that the token is as good as before.
        Neither touches a cookie: the answer may reach the browser after that of a
        parallel request which brought a successor, and would delete it."""
        try:
            return self._refresh(environ, token, unreadable)
        except Denied as denied:
            return self.deny(denied.denial)
        except Error as error:
            return self.refuse(error)

    def _refresh(self, environ: Environ, token: str | None, unreadable: bool) -> Answer:
        sessions = self._sessions()
        self._post(environ)
        found = self.cookies.values(environ, self.cookies.refresh) if self.cookies else []
        if token and found:
            raise Denied(TWO_CREDENTIALS)
        if token:
            return _json(200, sessions.refresh(token).response(), [])
        if self.cookies is not None and self.cookies.foreign(environ):
            raise Denied(CROSS_ORIGIN)
        if self.cookies is None or not found:
            raise Denied(BAD_BODY if unreadable else NO_CREDENTIALS)
        token = _one(found)
        try:
            left = self._left(environ, self.cookies)
        except Exception as error:
            return self.refuse(error)
        if left > 0:
            return _json(200, {"expires_in": left}, [])
        grant = sessions.refresh(token)
        if not self.cookies.fits(grant):
            log.error("refresh: %s (session %s)", COOKIE_TOO_LONG.about, grant.session)
            raise Denied(COOKIE_TOO_LONG)
        # A logout may have come between the refresh and here. Only a certain "no"
        # counts: the refresh itself was a yes, and to withhold the successor
        # because of an outage could cost the session. What has left for the
        # network cannot be called back, but then it brings dead tokens.
        try:
            self.checker.check(grant.access_token, Want(any_audience=True, touch=False))
        except Inactive:
            raise Denied(INVALID_TOKEN) from None
        except Exception as error:
            log.warning("refresh: the session is not looked at again: %s", type(error).__name__)
        return _json(200, {"expires_in": grant.expires_in}, self.cookies.set(grant))

    def _left(self, environ: Environ, cookies: Cookies) -> int:
        """The seconds that are left to an access cookie that stands and is new; 0
        for every other. The clock is this machine's: if it is wrong, tokens are new
        for longer, or never."""
        found = cookies.values(environ, cookies.access)
        if len(found) != 1 or not well_formed(found[0]):
            return 0
        try:
            access = self.checker.check(found[0], Want(any_audience=True, touch=False))
        except Inactive:
            return 0
        lifetime, age = access.expires_at - access.issued_at, self.now() - access.issued_at
        return int(lifetime - max(age, 0)) if abs(age) < min(YOUNG, lifetime / 2) else 0

    def logout(self, environ: Environ, token: str | None = None, *, everywhere: bool = False, unreadable: bool = False) -> Answer:
        """Ends the session of the request's tokens, and then clears the cookies:
        POST only, with cookies only from this origin, answered by 204 (or 303, see
        Options.after_logout). Tokens come in cookies, in the Authorization header,
        and as the one which the request's body held; unreadable says that there is a
        body in which none could be looked for, which matters where there is no other.
        An expired access token is enough, and so is the refresh token alone. Where cookies are in use, none of
        them means that there is nothing left to end. If a token's end is not
        certain, the answer is 503 and the cookies stay: without them nobody could
        try again, and a copy of the token would live on.

        With everywhere it ends every session of the subject. That needs a token
        that stands, else it is 401 and clears nothing: that the user is who the
        cookies say is no longer certain. 403 where the client forbids it."""
        try:
            return self._logout(environ, token, everywhere, unreadable)
        except Denied as denied:
            return self.deny(denied.denial)
        except Error as error:
            if everywhere and isinstance(error, Forbidden):
                return self.deny(FORBIDDEN)
            return self.refuse(error)

    def _logout(self, environ: Environ, token: str | None, everywhere: bool, unreadable: bool) -> Answer:
        sessions = self._sessions()
        self._post(environ)
        own = []
        try:
            own.append(bearer(environ))
        except Denied as denied:
            if denied.denial is not NO_CREDENTIALS:
                raise
        if token and not well_formed(token):
            raise Denied(INVALID_TOKEN)
        if token:
            own.append(token)
        kept = tokens_of(environ) if self.cookies else []
        if unreadable and not own and not kept:
            raise Denied(BAD_BODY)
        browser = self.cookies if kept or not own else None
        if browser is not None and browser.foreign(environ):
            raise Denied(CROSS_ORIGIN)
        if not own and not kept and (everywhere or browser is None):
            raise Denied(NO_CREDENTIALS)
        if everywhere:
            for each in own + kept:
                try:
                    sessions.logout(each, everywhere=True)
                    break
                except Inactive:
                    continue
            else:
                raise Denied(INVALID_TOKEN)
        dead = _end(sessions, own + kept)
        # A dead cookie has nothing to end. A dead token that was sent by name is
        # worth telling.
        if not everywhere and any(each in own for each in dead):
            raise Denied(INVALID_TOKEN)
        headers = browser.clear() if browser is not None else []
        if browser is not None and browser.after_logout:
            return Answer(303, (("Cache-Control", "no-store"), ("Location", browser.after_logout), ("Content-Length", "0"), *headers), b"")
        return Answer(204, (("Cache-Control", "no-store"), *headers), b"")

    def _post(self, environ: Environ) -> None:
        self._host(environ)
        if environ.get("REQUEST_METHOD") != "POST":
            raise Denied(ONLY_POST)  # a link or an image must not log anybody out

    def _sessions(self) -> Sessions:
        if self.sessions is None:
            raise TypeError("this guard has no sessions: it checks only")
        return self.sessions


def _end(sessions: Sessions, tokens: list[str]) -> list[str]:
    """Ends the session of every one of tokens: usually that is one, but where they
    come from two logins, both must end. One that fails does not keep the others
    from ending. Those that open nothing are returned."""
    dead: list[str] = []
    failed: Error | None = None
    for token in tokens:
        try:
            sessions.logout(token)
        except Inactive:
            dead.append(token)
        except Error as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return dead


def _one(found: list[str]) -> str:
    """The value of a cookie that came exactly once. Two of one name have come from
    two places, and nobody knows which is the user's."""
    if not found:
        raise Denied(NO_CREDENTIALS)
    if len(found) > 1:
        raise Denied(TWO_CREDENTIALS)
    if not well_formed(found[0]):
        raise Denied(INVALID_TOKEN)
    return found[0]


def _json(status: int, said: Mapping[str, Any], headers: list[tuple[str, str]]) -> Answer:
    """A small JSON object that no cache may keep."""
    body = json.dumps(said, separators=(",", ":")).encode()
    first = (
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/json"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Length", str(len(body))),
    )
    return Answer(status, (*first, *headers), body)
