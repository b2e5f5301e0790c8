"""The client of a Rescind server."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, cast
from urllib.parse import quote_plus, urlencode, urlsplit

from .connection import Broken, NotUnderstood, Pool, Reply
from .errors import (
    Conflict,
    Error,
    Forbidden,
    Foreign,
    Inactive,
    InsufficientScope,
    Invalid,
    LimitReached,
    NotFound,
    Unavailable,
)
from .values import Access, Device, Grant, Receipt, Secret, Want, is_session_id, is_token_id, well_formed

MAX_REPLY = 256 << 10  # bytes of an answer
MAX_PAGE = 64 << 20  # of a page of sessions, each with claims and access tokens

MAX_EXACT = 2**53 - 1  # the largest number that JSON carries exactly everywhere (RFC 8259 section 6)

# What the server says, as "code" of problem details (RFC 9457) and "error" of
# OAuth (RFC 6749 section 5.2), and the status that goes with it; 0 is any.
# What is not here is not understood.
_WORDS: dict[str, tuple[type[Error], int]] = {
    "invalid_request": (Invalid, 0),
    "unsupported_grant_type": (Invalid, 0),
    "method_not_allowed": (Invalid, 0),
    "too_large": (Invalid, 0),
    "unsupported_media_type": (Invalid, 0),
    "invalid_token": (Inactive, 401),
    "invalid_grant": (Inactive, 400),
    "inactive": (Inactive, 400),
    "reuse": (Inactive, 400),
    "foreign": (Foreign, 403),
    "invalid_scope": (InsufficientScope, 0),
    "insufficient_scope": (InsufficientScope, 0),
    "invalid_client": (Forbidden, 0),
    "unauthorized_client": (Forbidden, 0),
    "forbidden": (Forbidden, 0),
    "not_found": (NotFound, 404),
    "conflict": (Conflict, 409),
    "limit": (LimitReached, 409),
}

_STANDARD = frozenset(
    "active scope client_id username token_type exp iat nbf sub aud iss jti sid cnf".split()
)  # members of an introspection that are not the session's own claims

_REFRESH = "rsr_"  # what refresh tokens begin with: they are presented differently

_LOGOUT = "/v1/logout"

_NOT_PRINTABLE = re.compile(r"[^ -~]")


class SessionView(TypedDict, total=False):
    """A session as the server shows it; never a token. Times are RFC 3339."""

    id: str
    state: str  # active, or ended
    subject: str
    client_id: str
    audience: list[str]
    scope: str
    claims: dict[str, Any]
    device: dict[str, str]
    created_at: str
    last_active_at: str
    idle_expires_at: str
    expires_at: str
    generation: int
    refreshed_at: str
    ended_at: str
    end_reason: str
    access_tokens: list[dict[str, Any]]


class Client:
    """Calls one server, over connections of its own. It may be shared by threads,
    and by processes that fork after it was made. It asks every time and remembers
    no answer.

    An answer counts only if it is exactly what the server promises: status,
    content type and members. Everything else (no connection, no answer within
    timeout seconds, a redirect, a proxy's page, 429, any 5xx) is Unavailable. So a
    token is inactive only if the server said so, and a session has ended only if
    there is a receipt.

    A call whose connection breaks is sent once more, where twice does what once
    does: reads, endings, and refreshes, which get the same successor again.

    url: as in https://rescind.example.com; a path in front of the endpoints is
    allowed. http:// is for loopback addresses, unless allow_http.
    audience: what a check asks for that names none. Empty leaves it to the server,
    which answers for the audiences that this client is registered with.
    timeout: of a whole call, in seconds, the second attempt included. Of an attempt,
    to find and reach the server has half of it, and so has sending the request.
    ca_file: certificates (PEM) to trust instead of the system's.
    tls: a context of your own instead; it must verify the server.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        client_secret: str | Secret = "",
        *,
        audience: str = "",
        timeout: float = 2.0,
        ca_file: str | None = None,
        tls: ssl.SSLContext | None = None,
        allow_http: bool = False,
    ) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https") or not url.isascii() or _NOT_PRINTABLE.search(url) or " " in url:
            raise Invalid("a server is an address as in https://rescind.example.com")
        if "@" in parts.netloc or "?" in url or "#" in url:
            raise Invalid("a server's address has no user, query or fragment: the secret has its own place")
        if parts.scheme == "http" and not allow_http and not loopback(host):
            raise Invalid(
                "http:// to a host that is not loopback shows secrets and tokens to everybody on the way: "
                "use https://, or allow it"
            )
        if not client_id:
            raise Invalid("a client has an id")
        if not timeout > 0:
            raise Invalid("a time-out is more than nothing")
        if parts.scheme == "http":
            context = None
        else:
            context = tls or ssl.create_default_context(cafile=ca_file)
            if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
                raise Invalid("a TLS context that does not verify the server protects nothing")
            if tls is None:
                context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.url = url.rstrip("/")
        self.client_id = client_id
        self.audience = audience
        self.timeout = timeout
        self._secret = client_secret if isinstance(client_secret, Secret) else Secret(client_secret)
        self._basic = Secret("")
        if self._secret:
            # Both parts are form-encoded first (RFC 6749 section 2.3.1).
            both = f"{quote_plus(client_id, safe='')}:{quote_plus(self._secret.reveal(), safe='')}"
            self._basic = Secret("Basic " + base64.b64encode(both.encode()).decode())
        self._path = parts.path.rstrip("/")
        self._host = parts.netloc
        self._pool = Pool(host, port or (443 if context else 80), context)

    @classmethod
    def from_env(cls, **options: Any) -> Client:
        """A client by RESCIND_URL, RESCIND_CLIENT_ID and RESCIND_CLIENT_SECRET,
        and what options say besides."""
        missing = [name for name in ("RESCIND_URL", "RESCIND_CLIENT_ID") if not os.environ.get(name)]
        if missing:
            raise Invalid("not set: " + ", ".join(missing))
        secret = os.environ.get("RESCIND_CLIENT_SECRET", "")
        return cls(os.environ["RESCIND_URL"], os.environ["RESCIND_CLIENT_ID"], secret, **options)

    def __repr__(self) -> str:
        return f"<rescind client {self.client_id} of {self.url}>"

    def close(self) -> None:
        """Closes connections that are not in use."""
        self._pool.close()

    # Checks.

    def check(self, token: str, want: Want = Want()) -> Access:
        """Says whether an access token stands, now. The client needs the role
        introspect or guard. Inactive comes from the server's {"active":false}, or
        for a token of another kind, audience or form, and from nothing else; that
        the server refuses this client is Unavailable too, for it says nothing
        about the token."""
        if not well_formed(token):
            raise Inactive("the text cannot be a token")
        path = "/oauth/introspect"
        form = {"token": token} if want.touch else {"token": token, "touch": "false"}
        try:
            said = self._fetch("POST", path, 200, form=form)
        except Unavailable:
            raise
        except Error as error:
            raise Unavailable(str(error)) from None
        if said.get("active") is False:
            raise Inactive("the token does not stand")
        if said.get("active") is not True:
            raise _unknown(path, "the answer does not say whether the token is active")
        if "token_type" not in said:
            raise Inactive("a refresh token is no access token")
        access = _access(path, said)
        audience = want.audience or ((self.audience,) if self.audience else ())
        if audience and not want.any_audience and not set(audience) & set(access.audience):
            raise Inactive("the token is meant for another audience")
        if not access.has_scope(want.scope):
            raise InsufficientScope("the token lacks a scope that this needs")
        return access

    # Logins, refreshes and endings.

    def login(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        device: Device | None = None,
        audience: tuple[str, ...] = (),
        replaces: str = "",
        client_id: str = "",
        expires_in: int = 0,
        session_expires_in: int = 0,
        idle_timeout: int = 0,
    ) -> Grant:
        """Records a new session of a subject whom you have authenticated, and
        returns its tokens. It needs the role issue; for the sessions of another
        client, admin. replaces is a session of the same subject that ends in the
        same step. After Unavailable there may be a session whose tokens nobody
        has; it ends with its idle time-out."""
        body = {
            "subject": subject,
            "scope": scope,
            "claims": dict(claims) if claims else None,
            "audience": list(audience),
            "replaces": replaces,
            "client_id": client_id,
            "expires_in": expires_in,
            "session_expires_in": session_expires_in,
            "idle_timeout": idle_timeout,
        }
        if device is not None:
            body["device"] = {"name": device.name, "user_agent": device.user_agent, "ip": device.ip}
        said = {name: value for name, value in body.items() if value or name == "subject"}
        return _grant("/v1/sessions", self._fetch("POST", "/v1/sessions", 201, body=said, again=False))

    def refresh(self, token: str, *, scope: str = "") -> Grant:
        """Rotates a refresh token of this client's. Every reason why one is
        refused is Inactive. scope narrows the one access token that comes."""
        if not well_formed(token):
            raise Inactive("the text cannot be a token")
        form = {"grant_type": "refresh_token", "refresh_token": token}
        if scope:
            form["scope"] = scope
        return _grant("/oauth/token", self._fetch("POST", "/oauth/token", 200, form=form))

    def logout(self, token: str, *, everywhere: bool = False) -> Receipt:
        """Ends the session that a token belongs to. The token is the credential: an
        expired access token serves, and any refresh token. With everywhere it ends
        all of the subject's, and then the token must stand. Inactive says that the
        token is forged, or, with everywhere, that it does not stand. Only a
        receipt is a logout: after anything else, repeat."""
        if not well_formed(token):
            raise Inactive("the text cannot be a token")
        body: dict[str, Any] = {"all": True} if everywhere else {}
        if token.startswith(_REFRESH):
            body["refresh_token"] = token
            return self._receipt("POST", _LOGOUT, body=body, credential="")
        return self._receipt("POST", _LOGOUT, body=body, credential="Bearer " + token)

    def revoke(self, *, reason: str = "", **selector: str) -> Receipt:
        """Ends what the selector names: one of token, session, or subject, the last
        perhaps with except_session. Sessions of other clients and all of a subject
        need the role revoke."""
        if "token" in selector and not well_formed(selector["token"]):
            raise Inactive("the text cannot be a token")
        body = {**selector, "reason": reason} if reason else dict(selector)
        return self._receipt("POST", "/v1/revocations", body=body)

    # "My devices".

    def sessions(self, subject: str = "", *, state: str = "active") -> Iterator[SessionView]:
        """Lists sessions of this client, page by page. state is active, ended, or
        empty for both. It needs the role issue."""
        after = ""
        while True:
            query = {"subject": subject, "state": state, "after": after}
            path = "/v1/sessions?" + urlencode({name: value for name, value in query.items() if value})
            page = self._fetch("GET", path, 200, limit=MAX_PAGE)
            found, before, after = page.get("sessions"), after, page.get("next", "")
            if not isinstance(found, list) or not isinstance(after, str) or after and after == before:
                raise _unknown(path, "the answer is no page")
            for view in found:
                if not isinstance(view, dict) or not isinstance(view.get("id"), str):
                    raise _unknown(path, "the answer is no page")
                yield cast(SessionView, view)
            if not after:
                return

    def end_session(self, session: str, *, subject: str = "") -> Receipt:
        """Ends a session by its id. With a subject it must be that subject's, else
        it is NotFound, as if it were not there."""
        if not is_session_id(session):
            raise NotFound("no such session")
        path = "/v1/sessions/" + session
        receipt = self._receipt("DELETE", path + ("?" + urlencode({"subject": subject}) if subject else ""))
        if receipt.session != session:
            raise _unknown("/v1/sessions", "the receipt is for something else")
        return receipt

    # Calls.

    def _receipt(self, method: str, path: str, **request: Any) -> Receipt:
        said = self._fetch(method, path, 200, **request)
        position, epoch, changed, session = said.get("position"), said.get("epoch"), said.get("changed"), said.get("session", "")
        # Without a receipt that names the ledger's epoch nothing has been promised.
        if type(position) is not int or position < 0 or not isinstance(epoch, str) or not epoch or type(changed) is not bool:
            raise _unknown(path, "the answer is no receipt")
        if not isinstance(session, str) or said.get("dry_run", False) is not False:
            raise _unknown(path, "the answer is no receipt")
        return Receipt(position, epoch, changed, session)

    def _fetch(
        self,
        method: str,
        path: str,
        status: int,
        *,
        form: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        credential: str | None = None,
        again: bool = True,
        limit: int = MAX_REPLY,
    ) -> dict[str, Any]:
        """Makes a call and reads an answer of the wanted status. It is the only way
        to an error other than Unavailable. credential stands in the Authorization
        header; None is this client's own."""
        head = [f"{method} {self._path}{path} HTTP/1.1", f"Host: {self._host}", "Accept: application/json"]
        head.append("User-Agent: rescind-python")
        content = b""
        if form is not None:
            fields = dict(form) if self._basic else {**form, "client_id": self.client_id}
            content = urlencode(fields).encode()
            head.append("Content-Type: application/x-www-form-urlencoded")
        elif body is not None:
            try:
                content = json.dumps(body, allow_nan=False).encode()
            except (TypeError, ValueError):
                raise Invalid("the request cannot be written as JSON") from None
            head.append("Content-Type: application/json")
        if method != "GET":
            head.append(f"Content-Length: {len(content)}")
        if credential is None:
            credential = self._basic.reveal()
        if credential:
            head.append("Authorization: " + credential)
        request = "\r\n".join((*head, "", "")).encode("ascii") + content
        where = path.partition("?")[0]  # a query names subjects
        try:
            reply = self._pool.call(method, request, timeout=self.timeout, limit=limit, again=again)
        except (OSError, Broken, NotUnderstood) as error:
            raise _unknown(where, str(error) or type(error).__name__) from None
        if reply.status != status:
            hidden = [self._secret.reveal(), credential, *(form or {}).values()]
            hidden += [value for value in (body or {}).values() if isinstance(value, str)]
            raise _refusal(where, reply, hidden)
        if _media_type(reply) != "application/json":
            raise _unknown(where, "the answer is no JSON")
        said = _object(reply.body)
        if said is None:
            raise _unknown(where, "the answer is not what it should be")
        return said


def loopback(host: str) -> bool:
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unknown(path: str, why: str) -> Unavailable:
    return Unavailable(f"{path}: {why}")


def _object(text: bytes) -> dict[str, Any] | None:
    """A JSON object, or nothing."""
    try:
        said = json.loads(text.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _no_number(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity are no JSON


def _media_type(reply: Reply) -> str:
    kinds: list[str] = reply.header.get_all("Content-Type") or [""]
    return kinds[0].partition(";")[0].strip().lower() if len(kinds) == 1 else ""


def _refusal(path: str, reply: Reply, hidden: list[str]) -> Error:
    """The error of an answer that is no success. Only the server's own refusals
    count: a proxy in front of it can answer 401 or 404 too, and knows nothing
    about tokens."""
    said = _object(reply.body) or {}
    member = {"application/problem+json": "code", "application/json": "error"}.get(_media_type(reply), "")
    word = said.get(member)
    not_understood: tuple[type[Error], int] = (Unavailable, 0)
    kind, status = _WORDS.get(word, not_understood) if isinstance(word, str) else not_understood
    if word == "rate_limited" and path == _LOGOUT:
        # Who fails too often is told so in place of why, and at logout nothing fails
        # but a token that is forged.
        kind, status = Inactive, 429
    # Only a bearer challenge refuses the token (RFC 6750 section 3); without one
    # the server has seen none.
    challenge = reply.header.get("WWW-Authenticate") or ""
    challenged = word != "invalid_token" or 'error="invalid_token"' in challenge
    if kind is Unavailable or not 400 <= reply.status < 500 or status not in (0, reply.status) or not challenged:
        return _unknown(path, f"status {reply.status}")
    detail = said.get("detail" if member == "code" else "error_description")
    # What is wrong with a request helps whoever repairs it, if it says so in
    # other words than the request's own.
    if kind is not Invalid or not isinstance(detail, str) or any(text and text in detail for text in hidden):
        detail = ""
    return kind(f"{path}: {word} {_NOT_PRINTABLE.sub('', detail)[:300]}".rstrip())


def _text(said: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = said.get(name, "")
    if not isinstance(value, str) or not value and not empty:
        raise ValueError(name)
    return value


def _number(said: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = said.get(name)
    if type(value) is not int or not least <= value <= MAX_EXACT:  # True is an int too
        raise ValueError(name)
    return value


def _access(path: str, said: Mapping[str, Any]) -> Access:
    """Reads an active answer of RFC 7662 section 2.2."""
    try:
        if _text(said, "token_type").lower() != "bearer":
            raise ValueError("token_type")
        audience = said.get("aud")
        if not isinstance(audience, list) or not all(isinstance(name, str) and name for name in audience):
            raise ValueError("aud")
        if not is_session_id(_text(said, "sid")) or not is_token_id(_text(said, "jti")):
            raise ValueError("id")
        return Access(
            subject=_text(said, "sub"),
            session=_text(said, "sid"),
            client=_text(said, "client_id"),
            audience=tuple(audience),
            scope=_text(said, "scope", empty=True),
            claims={name: value for name, value in said.items() if name not in _STANDARD},
            token_id=_text(said, "jti"),
            issued_at=_number(said, "iat", 1),
            expires_at=_number(said, "exp", 1),
        )
    except ValueError:
        raise _unknown(path, "the answer lacks something, or has it in another form") from None


def _grant(path: str, said: Mapping[str, Any]) -> Grant:
    """Lets a grant pass that has everything."""
    try:
        grant = Grant(
            session=_text(said, "session"),
            access_token=_text(said, "access_token"),
            refresh_token=_text(said, "refresh_token"),
            token_type=_text(said, "token_type"),
            expires_in=_number(said, "expires_in"),
            refresh_token_timeout=_number(said, "refresh_token_timeout"),
            authorization_expires_in=_number(said, "authorization_expires_in"),
            scope=_text(said, "scope", empty=True),
        )
        if grant.token_type.lower() != "bearer" or not is_session_id(grant.session):
            raise ValueError("session")
        if not well_formed(grant.access_token) or not well_formed(grant.refresh_token):
            raise ValueError("tokens")
        return grant
    except ValueError:
        raise _unknown(path, "the answer holds no tokens") from None
