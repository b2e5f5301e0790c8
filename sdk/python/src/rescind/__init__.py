"""Rescind: logout that really ends access.

    When a revocation returns without error, every check that begins afterwards,
    on any guard, on any node, fails.

An application does its own login; a Rescind server issues the tokens, keeps every
one of them in a ledger, and answers on every request whether the token still
stands. rescind.flask is the Flask extension, rescind.wsgi protects any WSGI
application, and Client makes the calls. All of them ask the server each time.
"""

from .client import Client, SessionView
from .cookies import Options as CookieOptions
from .errors import (
    Conflict,
    CrossOrigin,
    Error,
    Forbidden,
    Foreign,
    Inactive,
    InsecureHost,
    InsufficientScope,
    Invalid,
    LimitReached,
    NotFound,
    Unavailable,
)
from .guard import Answer, Guard
from .values import Access, Checker, Device, Grant, Receipt, Secret, Sessions, Want

__all__ = [
    "Access",
    "Answer",
    "Checker",
    "Client",
    "Conflict",
    "CookieOptions",
    "CrossOrigin",
    "Device",
    "Error",
    "Forbidden",
    "Foreign",
    "Grant",
    "Guard",
    "Inactive",
    "InsecureHost",
    "InsufficientScope",
    "Invalid",
    "LimitReached",
    "NotFound",
    "Receipt",
    "Secret",
    "SessionView",
    "Sessions",
    "Unavailable",
    "Want",
]
