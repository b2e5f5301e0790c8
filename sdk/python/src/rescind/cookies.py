"""A browser's tokens, in cookies that its scripts cannot read.

Who writes cookies when:

  - A login sets them, having ended the session whose cookies the browser sent.
  - A refresh sets them if the session still stands.
  - A logout clears them once the session has ended, never before.
  - Nothing else touches them. A failed check or refresh clears nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .client import loopback
from .errors import Invalid
from .values import Grant, well_formed

# Names of the cookies. A browser takes a __Host- cookie only with Secure, with
# Path=/ and without Domain, so no other host, no subdomain and nobody on plain
# HTTP can plant one; __Secure- only promises Secure.
ACCESS = "rescind-at"
REFRESH = "rescind-rt"
HOST = "__Host-"
SECURE = "__Secure-"

MAX_COOKIE = 4096  # name and value; browsers silently drop longer ones
MAX_CREDENTIALS = 8  # that one logout ends

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Options:
    """How cookies are used. The defaults are ready for use.

    refresh_path narrows where browsers send the refresh cookie; refresh and logout
    must then lie below it. The default, "/", gives the cookie the prefix __Host-,
    with which a browser takes it from this very host alone. A narrower path cannot
    have that prefix and gets __Secure- instead: other services under the same host
    name then do not see the refresh token, but a page on a sibling subdomain can
    plant a cookie of that name.
    trusted_origins may send requests with cookies as this origin does; each is
    "scheme://host" or "scheme://host:port". SameSite still applies.
    allow_cross_origin leaves unsafe methods to a CSRF protection of the
    application's own. Refresh and logout stay protected.
    after_logout is a local path to which a logout redirects (303).
    clear_site_data makes a logout ask the browser to drop this origin's cache and
    storage as well. It never says "cookies": that would drop those of every
    subdomain.
    insecure_loopback drops the prefixes and Secure, for development over plain
    HTTP. Requests for any host but localhost and loopback addresses are refused.
    """

    refresh_path: str = "/"
    trusted_origins: tuple[str, ...] = ()
    allow_cross_origin: bool = False
    after_logout: str = ""
    clear_site_data: bool = False
    insecure_loopback: bool = False


class Cookies:
    """The cookies of one application."""

    def __init__(self, options: Options) -> None:
        path = options.refresh_path or "/"
        if not _local_path(path) or any(c in path for c in ";,?#"):
            raise Invalid("a refresh path begins with one slash and is a path alone")
        if options.after_logout and not _local_path(options.after_logout):
            raise Invalid("after logout comes a path of this host, with one slash in front")
        if isinstance(options.trusted_origins, str):
            raise Invalid("trusted origins are a list")
        for origin in options.trusted_origins:
            if not _is_origin(origin):
                raise Invalid("a trusted origin is a scheme and a host, as in https://app.example.com")
        self.refresh_path = path
        self.origins = frozenset(options.trusted_origins)
        self.any_origin = options.allow_cross_origin
        self.after_logout = options.after_logout
        self.clear_site_data = options.clear_site_data
        self.insecure = options.insecure_loopback
        self.access, self.refresh = HOST + ACCESS, HOST + REFRESH
        if self.insecure:
            self.access, self.refresh = ACCESS, REFRESH
        elif path != "/":
            self.refresh = SECURE + REFRESH

    def values(self, environ: Mapping[str, Any], name: str) -> list[str]:
        """The values of a cookie; an empty one is none."""
        found = [value for given, value in _cookies(environ) if given == name]
        return [] if found == [""] else found

    def foreign(self, environ: Mapping[str, Any]) -> bool:
        """Whether a request that may change something comes from another origin.
        An upgrade is a GET, and yet it opens a way for everything."""
        if environ.get("REQUEST_METHOD") in ("GET", "HEAD", "OPTIONS") and not environ.get("HTTP_UPGRADE"):
            return False
        origin, site = environ.get("HTTP_ORIGIN", ""), environ.get("HTTP_SEC_FETCH_SITE", "")
        if site in ("same-origin", "none"):
            return False
        if not site:
            if not origin:
                return False  # no browser, or one whose SameSite has to do
            try:
                if urlsplit(origin).netloc == _host(environ):
                    return False
            except ValueError:
                pass
        return origin not in self.origins

    def refuses_host(self, environ: Mapping[str, Any]) -> bool:
        """Holds unprotected cookies back from everything but loopback. A proxy in
        front may have put its own idea of the host into the request; the browser's
        stands in Origin, and in what proxies add."""
        if not self.insecure:
            return False
        _, _, origin = environ.get("HTTP_ORIGIN", "").partition("://")
        others = (origin, environ.get("HTTP_X_FORWARDED_HOST", ""))
        return not _loopback(_host(environ)) or any(host and not _loopback(host) for host in others)

    def fits(self, grant: Grant) -> bool:
        return (
            len(self.access) + len(grant.access_token) <= MAX_COOKIE
            and len(self.refresh) + len(grant.refresh_token) <= MAX_COOKIE
        )

    def set(self, grant: Grant) -> Headers:
        """The cookies of a grant. Both last until the session's absolute end: an
        access cookie that vanished with its token could not log out, and activity
        may keep the session past the idle time-out of now."""
        age = grant.authorization_expires_in
        return [
            _cookie(self.access, "/", "Lax", grant.access_token, age),
            # Only requests from this site refresh, so none from elsewhere need carry it.
            _cookie(self.refresh, self.refresh_path, "Strict", grant.refresh_token, age),
        ]

    def clear(self) -> Headers:
        """Takes every cookie away that any options of ours may have set."""
        headers = [_cookie(name, "/", "Lax", "", 0) for name in (HOST + ACCESS, HOST + REFRESH, ACCESS, REFRESH)]
        if self.refresh_path != "/":
            headers += [_cookie(name, self.refresh_path, "Lax", "", 0) for name in (SECURE + REFRESH, REFRESH)]
        if self.clear_site_data:
            headers.append(("Clear-Site-Data", '"cache", "storage"'))
        return headers


def tokens_of(environ: Mapping[str, Any]) -> list[str]:
    """The tokens in cookies of ours, whatever options set them: those first that
    nobody else can have planted in such numbers."""
    found: list[str] = []
    cookies = _cookies(environ)
    for prefix in (HOST, SECURE, ""):
        for name in (prefix + ACCESS, prefix + REFRESH):
            for given, value in cookies:
                if given == name and well_formed(value) and value not in found:
                    found.append(value)
    return found[:MAX_CREDENTIALS]


def _cookies(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All cookies of a request, also those of one name, which http.cookies would
    make one."""
    found = []
    for pair in environ.get("HTTP_COOKIE", "").split(";"):
        name, equals, value = pair.strip(" \t").partition("=")
        if equals:
            found.append((name.strip(" \t"), value))
    return found


def _cookie(name: str, path: str, site: str, value: str, age: int) -> tuple[str, str]:
    secure = "; Secure" if name.startswith("__") else ""
    return "Set-Cookie", f"{name}={value}; Path={path}; Max-Age={age}; HttpOnly{secure}; SameSite={site}"


def _local_path(path: str) -> bool:
    """Whether a browser that is sent there stays on this host. Two slashes begin
    another host's name, and browsers read a backslash as a slash."""
    return path.startswith("/") and not path.startswith("//") and all(" " <= c <= "~" and c not in '"\\' for c in path)


def _is_origin(origin: str) -> bool:
    try:
        parts = urlsplit(origin)
        _ = parts.port
    except ValueError:
        return False
    return bool(parts.scheme and parts.hostname) and origin == f"{parts.scheme}://{parts.netloc}" and "@" not in origin


def _host(environ: Mapping[str, Any]) -> str:
    """The host that the request is for, with its port."""
    host: str = environ.get("HTTP_HOST", "")
    if host:
        return host
    name: str = environ["SERVER_NAME"]
    port = environ["SERVER_PORT"]
    usual = "443" if environ.get("wsgi.url_scheme") == "https" else "80"
    return name if port == usual else f"{name}:{port}"


def _loopback(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    return loopback(host)
