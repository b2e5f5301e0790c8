"""What can be wrong. No message holds a token or a secret."""

from __future__ import annotations


class Error(Exception):
    """Every error of this package."""


class Unavailable(Error):
    """The state could not be known: no answer, a late one, or one that is not
    understood. It says nothing about the token; an ending may or may not have
    happened. Answer 503, keep every token, try again."""


class Inactive(Error):
    """The server said that the token does not stand. Why is for its log alone."""


class InsufficientScope(Error):
    """The token stands, and is not meant for this; or a refresh asked for more
    scope than was granted."""


class Forbidden(Error):
    """The server refuses this client, or what it asks for. It says nothing
    about the token."""


class Foreign(Forbidden):
    """The token was issued to another client."""


class InsecureHost(Forbidden):
    """Cookies without protection are for loopback addresses only."""


class CrossOrigin(Forbidden):
    """A login that is to set cookies comes from another origin."""


class NotFound(Error):
    """There is no such session, or it is somebody else's."""


class Conflict(Error):
    """The state of the ledger does not allow it."""


class LimitReached(Conflict):
    """The subject has as many sessions as the configuration allows."""


class Invalid(Error, ValueError):
    """The request is wrong: repair the program, or its configuration."""
