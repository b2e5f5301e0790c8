"""What goes to the server and comes back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

MAX_TOKEN = 16 << 10  #: length of the longest token that is looked at

_B64TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")


def well_formed(token: str) -> bool:
    """Whether a text can be a token at all (RFC 6750 section 2.1)."""
    body = token.rstrip("=")
    return body != "" and len(token) <= MAX_TOKEN and _B64TOKEN.issuperset(body)


_SESSION_ID = re.compile(r"(?!A*\Z)[A-Za-z0-9_-]{32}")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")


def is_session_id(text: str) -> bool:
    """Whether a text is the id of a session: 24 bytes as base64url, not all zero.
    It has one spelling."""
    return _SESSION_ID.fullmatch(text) is not None


def is_token_id(text: str) -> bool:
    """Whether a text is the id of an access token: 16 bytes as base64url, without
    bits to spare."""
    return _TOKEN_ID.fullmatch(text) is not None


class Secret:
    """A text that shows itself on request only."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        return self.__text

    def __bool__(self) -> bool:
        return self.__text != ""

    def __repr__(self) -> str:
        return "[secret]"

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")


@dataclass(frozen=True, slots=True)
class Want:
    """What a token must be good for.

    scope: scopes, separated by spaces, all of which it must have.
    audience: names, one of which it must be meant for; empty leaves it to the
    client.
    any_audience: the audience does not matter; the server still answers for
    those only that the client is registered with.
    touch: False if the check is no activity of the session.
    """

    scope: str = ""
    audience: tuple[str, ...] = ()
    any_audience: bool = False
    touch: bool = True


@dataclass(frozen=True, slots=True)
class Access:
    """What a check learned about a token that stands, in the ledger's words.
    Times are seconds since 1970."""

    subject: str
    session: str
    client: str
    audience: tuple[str, ...]
    scope: str
    claims: Mapping[str, Any]
    token_id: str
    issued_at: int
    expires_at: int

    def has_scope(self, scope: str) -> bool:
        """Whether the token has every one of these scopes."""
        return set(scope.split()) <= set(self.scope.split())


@dataclass(frozen=True, slots=True)
class Grant:
    """The tokens of a session. Lifetimes are seconds."""

    session: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    token_type: str
    expires_in: int
    refresh_token_timeout: int
    authorization_expires_in: int
    scope: str = ""

    def response(self) -> dict[str, Any]:
        """The token response for a client that keeps its tokens itself (RFC 6749
        section 5.1). It holds the tokens."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        if not self.scope:
            del said["scope"]
        return said


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session was opened. It helps a person recognise the session and
    decides nothing."""

    name: str = ""
    user_agent: str = ""
    ip: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an ending returns: every check that begins afterwards fails."""

    position: int
    epoch: str
    changed: bool  #: False: there was nothing left to end
    session: str = ""  #: the one that ended, where the selector means one


class Checker(Protocol):
    """Says whether an access token stands. It is asked on every request, from
    many threads. It raises Inactive if the token is no good, InsufficientScope if
    it is good for something else, and Unavailable if that could not be known;
    every other error counts as that one.

    The client is one. What answers from memory while it holds a lease has its
    place here too: nothing above it changes.
    """

    def check(self, token: str, want: Want = Want()) -> Access: ...


class Sessions(Protocol):
    """Opens, continues and ends sessions. The client is one."""

    def login(
        self,
        subject: str,
        *,
        scope: str = "",
        claims: Mapping[str, Any] | None = None,
        device: Device | None = None,
        audience: tuple[str, ...] = (),
        replaces: str = "",
    ) -> Grant: ...

    def refresh(self, token: str, *, scope: str = "") -> Grant: ...

    def logout(self, token: str, *, everywhere: bool = False) -> Receipt: ...
