"""Protects any WSGI application.

    application = Protect(application, Guard(Client.from_env()), public=("/login", "/health"))

The application finds what the guard learned in environ["rescind.access"].
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from .guard import KEY, Answer, Guard
from .values import Want

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Protect:
    """Lets an application handle requests whose token is good for want.

    public: the paths that anybody may ask for, exactly as the application will see
    them; or a function of the environ that says so. Everything else is protected:
    another spelling of a path is another path.
    optional: requests without credentials may pass.
    """

    def __init__(
        self,
        application: Application,
        guard: Guard,
        want: Want = Want(),
        *,
        public: Collection[str] | Callable[[dict[str, Any]], bool] = (),
        optional: bool = False,
    ) -> None:
        if isinstance(public, str):
            raise TypeError("public is a collection of paths")
        self.application = application
        self.guard = guard
        self.want = want
        self.public = public
        self.optional = optional

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ.pop(KEY, None)
        if not self._is_public(environ):
            found = self.guard.admit(environ, self.want, optional=self.optional)
            if isinstance(found, Answer):
                return found(environ, start_response)
            if found is not None:
                environ[KEY] = found
                if self.guard.by_cookie(environ):
                    start_response = _unkept(start_response)
        return self.application(environ, start_response)

    def _is_public(self, environ: dict[str, Any]) -> bool:
        if callable(self.public):
            return self.public(environ)
        return environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") in self.public


def _unkept(start_response: Callable[..., Any]) -> Callable[..., Any]:
    def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
        if not any(name.lower() == "cache-control" for name, _ in headers):
            headers = [*headers, ("Cache-Control", "no-store")]
        return start_response(status, headers, *error)

    return start
