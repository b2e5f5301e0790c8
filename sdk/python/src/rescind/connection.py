"""HTTP/1.1 to one server, over connections that are kept alive.

The standard library's http.client reads the answers. What it lacks stands here:
a deadline for the whole call and not for each byte, a bound on what is read, and
connections for many threads and for processes that fork. urllib3 lacks the first
two as well, and would be one more dependency for applications to keep up with.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from typing import Any

MAX_HEADER = 32 << 10  # bytes of an answer beside its body
MAX_IDLE = 64  # connections kept for later
IDLE = 30.0  # seconds after which a connection is not used again


class NotUnderstood(Exception):
    """The answer is no HTTP, or longer than allowed."""


class Broken(Exception):
    """There was a connection, and it broke before the whole answer was there."""


class Reply:
    """A whole answer."""

    __slots__ = ("body", "header", "status")

    def __init__(self, status: int, header: http.client.HTTPMessage, body: bytes) -> None:
        self.status = status
        self.header = header
        self.body = body


class _Line:
    """A connection, and the bounds of the call that uses it."""

    __slots__ = ("budget", "deadline", "sock", "used")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deadline = 0.0
        self.budget = 0
        self.used = 0.0

    def arm(self) -> None:
        """Lets the next operation take as long as the call has left."""
        self.sock.settimeout(left(self.deadline))

    def send(self, data: bytes, until: float) -> None:
        view = memoryview(data)
        while view:
            self.sock.settimeout(left(until))
            view = view[self.sock.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads an answer from."""
        return io.BufferedReader(_Reader(self))

    def stale(self, now: float) -> bool:
        """Whether not to send on it. A server that has nothing to say is silent:
        if there is something to read, it has hung up."""
        if now - self.used > IDLE:
            return True
        if not hasattr(select, "poll"):  # Windows; elsewhere select knows small descriptors only
            return bool(select.select([self.sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        self.sock.close()


class _Reader(io.RawIOBase):
    """Reads an answer, for as long and as much as the call allows."""

    def __init__(self, line: _Line) -> None:
        self.line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.line.budget <= 0:
            raise NotUnderstood("the answer is too long")
        self.line.arm()
        n = self.line.sock.recv_into(buffer, min(len(buffer), self.line.budget))
        self.line.budget -= n
        return n


def left(deadline: float) -> float:
    """The seconds until a deadline, which has not passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("no answer in time")
    return seconds


Address = tuple[int, Any]


class _Lookup:
    """The address of a name, asked for in a thread of its own: nothing can
    interrupt the resolver. All who need it wait for the same answer."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: list[Address] = []
        self.error: OSError | None = None


class _Process:
    """The connections of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.idle: deque[_Line] = deque()  # newest last; its steps are atomic
        self.lock = threading.Lock()
        self.lookup: _Lookup | None = None

    def take(self) -> _Line | None:
        now = time.monotonic()
        while True:
            try:
                line = self.idle.pop()
            except IndexError:
                return None
            if not line.stale(now):
                return line
            line.close()

    def put(self, line: _Line) -> None:
        line.used = now = time.monotonic()
        self.idle.append(line)
        try:
            oldest = self.idle.popleft()
        except IndexError:
            return
        if now - oldest.used > IDLE or len(self.idle) >= MAX_IDLE:
            oldest.close()
        else:
            self.idle.appendleft(oldest)

    def close(self) -> None:
        while True:
            try:
                self.idle.pop().close()
            except IndexError:
                return


class Pool:
    """Connections to one server. All methods may be called from many threads, and
    after a fork: a child process never uses a connection of its parent, on which
    it would read its parent's answers."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self._process = _Process()

    def _mine(self) -> _Process:
        mine = self._process
        if mine.pid != os.getpid():
            # Only this process's copies are closed; the parent's live on. Its lock
            # may have been held by a thread that is not here, so it goes too.
            mine.close()
            mine = self._process = _Process()
        return mine

    def close(self) -> None:
        """Closes connections that are not in use."""
        self._mine().close()

    def call(self, method: str, request: bytes, *, timeout: float, limit: int, again: bool) -> Reply:
        """Sends a whole request and returns the whole answer, within timeout
        seconds from now. With again, the request is sent once more if the
        connection breaks; without, it is sent on a new connection, which cannot
        have been given up by the server. Neither connecting nor sending takes more
        than half of the time, so that there is some for a second attempt. Raises
        OSError (TimeoutError among it), Broken or NotUnderstood."""
        deadline = time.monotonic() + timeout

        def phase() -> float:
            return min(deadline, time.monotonic() + timeout / 2)

        def connect() -> _Line:
            try:
                return self._connect(mine, phase())
            except TimeoutError:  # nothing has been sent
                return self._connect(mine, deadline)

        mine = self._mine()
        line = mine.take() if again else None
        try:
            return self._exchange(mine, line or connect(), method, request, phase(), deadline, limit)
        except Broken:
            if not again:
                raise
        return self._exchange(mine, connect(), method, request, deadline, deadline, limit)

    def _exchange(self, mine: _Process, line: _Line, method: str, request: bytes, sent_by: float, deadline: float, limit: int) -> Reply:
        keep = False
        try:
            line.deadline, line.budget = deadline, limit + MAX_HEADER
            try:
                line.send(request, sent_by)
            except TimeoutError:
                raise Broken("the server does not take the request") from None
            response = http.client.HTTPResponse(line, method=method)  # type: ignore[arg-type]
            try:
                response.begin()
                if sum(len(name) + len(value) for name, value in response.headers.items()) > MAX_HEADER:
                    raise NotUnderstood("the answer's header is too long")
                body = response.read(limit + 1)
                if len(body) > limit:
                    raise NotUnderstood("the answer is too long")
                if response.length:
                    raise Broken("the answer breaks off")
                keep = response.isclosed() and not response.will_close and response.status >= 200
                return Reply(response.status, response.headers, body)
            finally:
                response.close()
        except TimeoutError:
            raise
        except (OSError, http.client.IncompleteRead) as error:
            raise Broken(type(error).__name__) from None
        except (http.client.HTTPException, ValueError) as error:
            raise NotUnderstood(type(error).__name__) from None
        finally:
            # Whatever else happens, a greenlet killed or a worker interrupted, a
            # connection with half an answer on it is not used again.
            if keep:
                mine.put(line)
            else:
                line.close()

    def _connect(self, mine: _Process, deadline: float) -> _Line:
        addresses = self._addresses(mine, deadline)
        last: OSError = OSError("the server's name has no address")
        for i, (family, address) in enumerate(addresses):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                # One that does not answer leaves time for the others.
                sock.settimeout(left(deadline) / (len(addresses) - i))
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.tls is not None:
                    sock.settimeout(left(deadline))
                    sock = self.tls.wrap_socket(sock, server_hostname=self.host)
                return _Line(sock)
            except OSError as error:
                sock.close()
                last = error
            except BaseException:
                sock.close()
                raise
        raise last

    def _addresses(self, mine: _Process, deadline: float) -> list[Address]:
        try:
            return self._resolve(socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # a name
        with mine.lock:
            lookup = mine.lookup
            if lookup is None:
                lookup = _Lookup()
                threading.Thread(target=self._look_up, args=(mine, lookup), name="rescind-lookup", daemon=True).start()
                mine.lookup = lookup
        if not lookup.done.wait(left(deadline)):
            raise TimeoutError("the server's name is not resolved in time")
        if lookup.error is not None:
            raise lookup.error
        return lookup.found

    def _look_up(self, mine: _Process, lookup: _Lookup) -> None:
        try:
            lookup.found = self._resolve(0)
        except OSError as error:
            lookup.error = error
        except Exception as error:  # a name that cannot be encoded
            lookup.error = OSError(type(error).__name__)
        finally:
            with mine.lock:
                mine.lookup = None
            lookup.done.set()

    def _resolve(self, flags: int) -> list[Address]:
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        return [(family, address) for family, _, _, _, address in found]
