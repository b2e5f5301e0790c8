"""The real server, and servers that misbehave."""

from __future__ import annotations

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from rescind import Client

SECRET = "a-secret-of/this=test&with:what*needs?#encoding"
PATIENCE = 60.0  # seconds, longer than a busy machine ever takes: what takes longer hangs
ROOT = pathlib.Path(__file__).resolve().parents[3]

CONFIGURATION = """
log: {level: error}
sessions: {max: 20}
clients:
  - {id: backend, roles: [issue, introspect], audiences: ['URL', elsewhere], secret_env: RESCIND_TEST_SECRET}
  - {id: quiet, roles: [issue, introspect], no_logout_all: true, secret_env: RESCIND_TEST_SECRET}
  - {id: reader, roles: [introspect], audiences: [another], secret_env: RESCIND_TEST_SECRET}
  - {id: browser, public: true}
"""

_folder = pathlib.Path(tempfile.mkdtemp(prefix="rescind-python-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)


def program() -> str:
    """The server as it ships, built once."""
    given = os.environ.get("RESCIND_BIN")
    if given:
        return given
    built = _folder / "rescind"
    if not built.exists():
        command = ["go", "build", "-buildvcs=false", "-o", str(built), "./cmd/rescind"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "CGO_ENABLED": "0"}, check=True)
    return str(built)


_reserved: list[socket.socket] = []


def free_port() -> int:
    """A port on which nobody listens. On Linux nobody will who does not ask for it
    by its number: the system hands out no port that is bound, and a server that says
    SO_REUSEADDR, as all do, can listen on it all the same."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    port = int(sock.getsockname()[1])
    if sys.platform == "linux":
        _reserved.append(sock)
    else:
        sock.close()
    return port


class Server:
    """A running server on an empty folder, which can be frozen and killed."""

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rescind-python-ledger-"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (self.folder / "rescind.yaml").write_text(CONFIGURATION.replace("URL", self.url))
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        args = ["serve", "--config", str(self.folder / "rescind.yaml"), "--listen", f"127.0.0.1:{self.port}"]
        args += ["--store", f"pebble:{self.folder}/data"]
        env = {**os.environ, "RESCIND_TEST_SECRET": SECRET, "RESCIND_ADMIN_SECRET": "the-administrators-secret-of-this-test"}
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen([program(), *args], env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if "rescind is ready at " in line:
                return
        self.kill()
        said = (self.folder / "log").read_text()
        shutil.rmtree(self.folder)
        raise AssertionError("the server does not start: " + said)

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # until every thread has stopped

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        self.thaw()
        self.kill()
        shutil.rmtree(self.folder)

    def client(self, client_id: str = "backend", **options: object) -> Client:
        secret = "" if client_id == "browser" else SECRET
        return Client(self.url, client_id, secret, **{"timeout": PATIENCE, **options})  # type: ignore[arg-type]


class Impostor:
    """A server that answers each connection in its own way. serve gets the
    connection and the number of those before it."""

    def __init__(self, serve) -> None:  # type: ignore[no-untyped-def]
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections = 0
        self.over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections - 1), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                self.serve(connection, number)
            except OSError:
                pass  # the client has had enough

    def stop(self) -> None:
        self.over.set()
        self.listener.close()


def receive(connection: socket.socket) -> bytes:
    """One whole request."""
    text = bytearray()
    while b"\r\n\r\n" not in text:
        more = connection.recv(65536)
        if not more:
            return b""
        text += more
    head, _, body = text.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return bytes(text)


def answer(body: bytes | str, status: str = "200 OK", kind: str = "application/json", *more: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *more]
    return "\r\n".join((*head, "", "")).encode() + content


def always(reply: bytes):  # type: ignore[no-untyped-def]
    """Gives the same answer to every request."""

    def serve(connection: socket.socket, number: int) -> None:
        while receive(connection):
            connection.sendall(reply)

    return serve


def within(seconds: float):  # type: ignore[no-untyped-def]
    """Calls a function until it is true."""

    def poll(true) -> bool:  # type: ignore[no-untyped-def]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if true():
                return True
            time.sleep(0.02)
        return False

    return poll
