"""The vectors about clients, which every language runs: spec/README.md has their format."""

from __future__ import annotations

import base64
import json
import pathlib
import socket
import time
import unittest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_plus

import rescind
from rescind import Client, Want

from .ledger import PATIENCE, Impostor, receive

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "spec"
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*%+:")
SESSION = "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

OUTCOMES = {
    rescind.Unavailable: "unavailable",
    rescind.Inactive: "inactive",
    rescind.InsufficientScope: "scope",
    rescind.Foreign: "foreign",
    rescind.Forbidden: "forbidden",
    rescind.NotFound: "not_found",
    rescind.LimitReached: "limit",
    rescind.Conflict: "conflict",
    rescind.Invalid: "invalid",
}


def text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(text, value))
    part, times = value["repeat"]
    return str(part * times)


def wire(reply: dict[str, Any]) -> bytes:
    """What goes over the wire."""
    if "raw" in reply:
        return text(reply["raw"]).encode()
    body = json.dumps(reply["json"]).encode() if "json" in reply else b""
    body += base64.b64decode(reply.get("bytes", "")) + text(reply.get("body", "")).encode() + b" " * reply.get("pad", 0)
    head = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **reply.get("headers", {})}
    lines = [(name, value) for name, value in head.items() if value] + reply.get("twice", [])
    return "\r\n".join([f"HTTP/1.1 {reply.get('status', 200)} X", *(f"{name}: {value}" for name, value in lines), "", ""]).encode() + body


class Seen:
    """What came, to a server that answers in the real one's place, always the same."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.reply = reply
        self.requests: list[bytes] = []
        self.impostor = Impostor(self.serve)

    def serve(self, connection: socket.socket, number: int) -> None:
        request = receive(connection)
        if not request:
            return
        self.requests.append(request)
        connection.sendall(wire(self.reply))
        while self.reply.get("end") == "drip" and not self.impostor.over.wait(0.05):
            connection.sendall(b"1")
        if self.reply.get("end") == "hang":
            self.impostor.over.wait()


def ask(client: Client, vector: dict[str, Any], call: str) -> Any:
    token = text(vector.get("token", "rsr_token" if call == "logout_refresh" else "token"))
    want = vector.get("want", {})
    calls: dict[str, Callable[[], Any]] = {
        "check": lambda: client.check(token, Want(want.get("scope", ""), tuple(want.get("audience", ())), want.get("any_audience", False))),
        "refresh": lambda: client.refresh(token),
        "logout": lambda: client.logout(token),
        "logout_refresh": lambda: client.logout(token),
        "logout_all": lambda: client.logout(token, everywhere=True),
        "login": lambda: client.login("ada"),
        "end_session": lambda: client.end_session(text(vector.get("session", SESSION)), subject="ada"),
        "list": lambda: list(client.sessions("ada")),
    }
    return calls[call]()


class Vectors(unittest.TestCase):
    def test_every_vector(self) -> None:
        ran = 0
        with ThreadPoolExecutor(16) as threads:
            for path in sorted(FOLDER.glob("*.json")):
                suite = json.loads(path.read_text())
                if suite["kind"] != "client":
                    continue
                each = [(suite, vector, call) for vector in suite["vectors"] for call in vector.get("calls", ["check"])]
                for (_, vector, call), wrong in zip(each, threads.map(lambda one: self.wrong(*one), each)):
                    ran += 1
                    with self.subTest(f"{path.stem}: {vector['name']}/{call}"):
                        self.assertEqual(wrong, [])
        self.assertGreater(ran, 150)

    def wrong(self, suite: dict[str, Any], vector: dict[str, Any], call: str) -> list[str]:
        """Runs a vector, and says what is wrong."""
        reply = vector["reply"]
        seen = Seen(suite["replies"][reply] if isinstance(reply, str) else reply)
        who = vector.get("client", {})
        slow = "end" in seen.reply
        client = Client(
            seen.impostor.url,
            text(who.get("id", "app")),
            text(who.get("secret", "secret")),
            audience=who.get("audience", ""),
            timeout=0.3 if slow else PATIENCE,
        )
        wrong, found = [], None
        began = time.monotonic()
        try:
            found = ask(client, vector, call)
            outcome = "ok"
        except rescind.Error as error:
            outcome = next(word for kind, word in OUTCOMES.items() if isinstance(error, kind))
        except Exception as error:
            outcome = repr(error)
        finally:
            client.close()
            seen.impostor.stop()
        if slow and time.monotonic() - began > PATIENCE:
            wrong.append("it took too long")
        if outcome != vector["outcome"]:
            wrong.append(f"{outcome}, want {vector['outcome']}")
        for name, want in vector.get("access", {}).items():
            got = getattr(found, {"token": "token_id"}.get(name, name), None)
            if (list(got) if isinstance(got, tuple) else got) != want:
                wrong.append(f"{name} is {got!r}, want {want!r}")
        if vector.get("sent", len(seen.requests)) != len(seen.requests):
            wrong.append(f"{len(seen.requests)} requests, want {vector['sent']}")
        if "authorization" in vector:
            wrong += unauthorized(vector["authorization"], seen.requests[-1])
        return wrong


def unauthorized(want: Any, request: bytes) -> list[str]:
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    got = [value.strip() for name, _, value in (line.partition(":") for line in lines) if name.lower() == "authorization"]
    if want is None or isinstance(want, str):
        return [] if got == ([] if want is None else [want]) else [f"Authorization: {got}"]
    both = base64.b64decode(got[0].removeprefix("Basic "), validate=True).decode()
    left, _, right = both.partition(":")
    if [unquote_plus(left), unquote_plus(right)] != want or not PLAIN.issuperset(both):
        return [f"{both!r}, want {want}"]
    return []


if __name__ == "__main__":
    unittest.main()
