"""The client: what an answer is worth, and what a network makes of it."""

from __future__ import annotations

import json
import os
import pickle
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import rescind
from rescind import Client, Device, Inactive, InsufficientScope, Invalid, NotFound, Unavailable, Want

from .ledger import PATIENCE, SECRET, Impostor, Server, always, answer, receive, within

GOOD = {
    "active": True,
    "scope": "read",
    "client_id": "backend",
    "token_type": "Bearer",
    "jti": "AAAAAAAAAAAAAAAAAAAAAA",
    "exp": 2**31,
    "iat": 1,
    "sub": "ada",
    "aud": ["notes"],
    "sid": "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}
GRANT = {
    "session": "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "access_token": "a",
    "refresh_token": "rsr_b",
    "token_type": "Bearer",
    "expires_in": 300,
    "refresh_token_timeout": 3600,
    "authorization_expires_in": 7200,
}


class AgainstTheServer(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)

    def setUp(self) -> None:
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def test_a_token_lives_until_its_session_ends(self) -> None:
        grant = self.client.login("ada", scope="notes:read notes:write", claims={"plan": "gold"}, device=Device(name="d"))
        access = self.client.check(grant.access_token, Want(scope="notes:read"))
        self.assertEqual((access.subject, access.session, access.client), ("ada", grant.session, "backend"))
        self.assertEqual(access.claims, {"plan": "gold"})
        self.assertTrue(access.has_scope("notes:write notes:read"))
        self.assertFalse(access.has_scope("notes:read admin"))
        self.assertAlmostEqual(access.expires_at, time.time() + grant.expires_in, delta=60)
        with self.assertRaises(InsufficientScope):
            self.client.check(grant.access_token, Want(scope="notes:read admin"))
        with self.assertRaises(Inactive):
            self.client.check(grant.access_token, Want(audience=("another",)))
        receipt = self.client.logout(grant.access_token)
        self.assertTrue(receipt.changed and receipt.epoch)
        self.assertEqual(receipt.session, grant.session)
        for _ in range(3):
            with self.assertRaises(Inactive):
                self.client.check(grant.access_token)
        with self.assertRaises(Inactive):
            self.client.refresh(grant.refresh_token)
        self.assertFalse(self.client.logout(grant.refresh_token).changed)

    def test_refresh_has_one_successor(self) -> None:
        first = self.client.login("ada")
        with ThreadPoolExecutor(8) as threads:
            grants = list(threads.map(self.client.refresh, [first.refresh_token] * 8))
        self.assertEqual(len({grant.refresh_token for grant in grants}), 1)
        self.assertNotEqual(grants[0].refresh_token, first.refresh_token)
        third = self.client.refresh(grants[0].refresh_token)
        with self.assertRaises(Inactive):
            self.client.refresh(first.refresh_token)  # two generations old: a theft
        with self.assertRaises(Inactive):
            self.client.check(third.access_token)

    def test_a_refresh_token_is_no_access_token(self) -> None:
        with self.assertRaises(Inactive):
            self.client.check(self.client.login("ada").refresh_token)

    def test_an_expired_access_token_logs_out(self) -> None:
        grant = self.client.login("ada", expires_in=1)
        time.sleep(2.1)
        with self.assertRaises(Inactive):
            self.client.check(grant.access_token)
        with self.assertRaises(Inactive):
            self.client.logout(grant.access_token, everywhere=True)
        self.assertTrue(self.client.logout(grant.access_token).changed)
        with self.assertRaises(Inactive):
            self.client.refresh(grant.refresh_token)

    def test_everywhere_and_my_devices(self) -> None:
        grants = [self.client.login("eve", device=Device(name=f"device {n}")) for n in range(3)]
        views = list(self.client.sessions("eve"))
        self.assertEqual({view["id"] for view in views}, {grant.session for grant in grants})
        self.assertEqual({view["device"]["name"] for view in views}, {"device 0", "device 1", "device 2"})
        with self.assertRaises(NotFound):
            self.client.end_session(grants[0].session, subject="mallory")
        for bad in ("", "..", "../x", "x?subject=eve", "ä", "a" * 32):
            with self.assertRaises(NotFound):
                self.client.end_session(bad, subject="eve")
        self.assertTrue(self.client.end_session(grants[0].session, subject="eve").changed)
        self.assertTrue(self.client.logout(grants[1].access_token, everywhere=True).changed)
        for grant in grants:
            with self.assertRaises(Inactive):
                self.client.check(grant.access_token)
        quiet = self.server.client("quiet")
        self.addCleanup(quiet.close)
        with self.assertRaises(rescind.Forbidden):
            quiet.logout(quiet.login("eve").access_token, everywhere=True)

    def test_a_password_change_ends_what_is_elsewhere(self) -> None:
        here, there = self.client.login("bob"), self.client.login("bob")
        self.assertEqual(self.client.revoke(session=there.session, reason="new password").session, there.session)
        self.client.check(here.access_token)
        with self.assertRaises(Inactive):
            self.client.check(there.access_token)
        with self.assertRaises(rescind.Forbidden):
            self.client.revoke(subject="bob")  # needs the role revoke

    def test_errors_are_told_apart(self) -> None:
        for subject in ("", "with space", "ä", "x" * 256):
            with self.assertRaises(Invalid):
                self.client.login(subject)
        with self.assertRaises(Invalid):
            self.client.login("ada", claims={"sub": "eve"})
        with self.assertRaises(Invalid):
            self.client.login("ada", claims={"n": float("nan")})
        for _ in range(20):
            self.client.login("many")
        with self.assertRaises(rescind.LimitReached):
            self.client.login("many")
        grant = self.client.login("ada", scope="read")
        with self.assertRaises(InsufficientScope):
            self.client.refresh(grant.refresh_token, scope="read write")
        reader = self.server.client("reader")
        self.addCleanup(reader.close)
        with self.assertRaises(rescind.Forbidden):
            reader.login("ada")
        with self.assertRaises(Inactive):
            reader.check(grant.access_token)  # not its audience

    def test_a_public_client_refreshes_and_logs_out(self) -> None:
        browser = self.server.client("browser")
        self.addCleanup(browser.close)
        admin = Client(self.server.url, "admin", "the-administrators-secret-of-this-test", timeout=PATIENCE)
        self.addCleanup(admin.close)
        grant = browser.refresh(admin.login("ada", client_id="browser").refresh_token)
        self.assertTrue(browser.logout(grant.access_token).changed)

    def test_a_wrong_secret_logs_nobody_out(self) -> None:
        grant = self.client.login("ada")
        stranger = Client(self.server.url, "backend", "wrong", timeout=PATIENCE)
        self.addCleanup(stranger.close)
        with self.assertRaises(Unavailable):
            stranger.check(grant.access_token)

    def test_connections_are_kept_and_shared(self) -> None:
        grant = self.client.login("ada")
        connect = socket.socket.connect
        made = []

        def count(sock: socket.socket, address: object) -> None:
            made.append(address)
            connect(sock, address)  # type: ignore[arg-type]

        with mock.patch.object(socket.socket, "connect", count), ThreadPoolExecutor(8) as threads:
            list(threads.map(self.client.check, [grant.access_token] * 200))
        self.assertLessEqual(len(made), 8)

    def test_a_forked_process_uses_no_connection_of_its_parent(self) -> None:
        grants = [self.client.login(f"fork{n}") for n in range(5)]
        self.client.check(grants[0].access_token)  # there is a connection now
        children = []
        for grant in grants[1:]:
            pid = os.fork()
            if pid == 0:
                try:
                    ok = all(self.client.check(grant.access_token).session == grant.session for _ in range(100))
                    os._exit(0 if ok else 1)
                finally:
                    os._exit(2)
            children.append(pid)
        for _ in range(100):
            self.assertEqual(self.client.check(grants[0].access_token).session, grants[0].session)
        for pid in children:
            self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def test_a_frozen_server_is_unavailable_in_time_and_recovers(self) -> None:
        client = self.server.client()
        self.addCleanup(client.close)
        grant = client.login("ada")
        self.server.freeze()
        client.timeout = 0.5
        try:
            for call in (client.check, client.refresh, client.logout):
                began = time.monotonic()
                with self.assertRaises(Unavailable):
                    call(grant.access_token)
                self.assertLess(time.monotonic() - began, PATIENCE)
        finally:
            self.server.thaw()
        client.timeout = PATIENCE
        # The logout may have happened or not; the answer is a certain one again.
        client.logout(grant.access_token)
        with self.assertRaises(Inactive):
            client.check(grant.access_token)


class AgainstImpostors(unittest.TestCase):
    def pretend(self, serve, **options):  # type: ignore[no-untyped-def]
        impostor = Impostor(serve)
        self.addCleanup(impostor.stop)
        client = Client(impostor.url, "backend", SECRET, **{"timeout": PATIENCE, **options})
        self.addCleanup(client.close)
        return client, impostor

    def until_the_end(self) -> threading.Event:
        """What a server waits for that stays silent."""
        over = threading.Event()
        self.addCleanup(over.set)
        return over

    def refused(self, reply: bytes, call=None) -> Unavailable:  # type: ignore[no-untyped-def]
        client, _ = self.pretend(always(reply))
        began = time.monotonic()
        with self.assertRaises(Unavailable) as caught:
            (call or (lambda c: c.check("token")))(client)
        self.assertLess(time.monotonic() - began, PATIENCE)
        return caught.exception

    def test_the_good_answer_is_good(self) -> None:
        client, _ = self.pretend(always(answer(json.dumps(GOOD))))
        self.assertEqual(client.check("token").subject, "ada")
        client, _ = self.pretend(always(answer(json.dumps(GRANT), "201 Created")))
        self.assertEqual(client.login("ada").access_token, "a")

    def test_pages_come_to_an_end(self) -> None:
        self.refused(answer('{"sessions":[],"next":"x"}'), lambda c: list(c.sessions("ada")))
        for page in ('{"sessions":null}', '{"sessions":[1]}', '{"sessions":[{"id":1}]}', '{"sessions":[],"next":1}'):
            self.refused(answer(page), lambda c: list(c.sessions("ada")))

    def test_redirects_are_not_followed(self) -> None:
        target, caught = self.pretend(always(answer(json.dumps(GOOD))))
        for status in ("301 Moved", "307 Temporary Redirect", "308 Permanent Redirect"):
            self.refused(answer("", status, "application/json", f"Location: {caught.url}/"))
        self.assertEqual(caught.connections, 0)
        del target

    def test_the_deadline_holds_for_the_whole_call(self) -> None:
        body = answer(json.dumps(GOOD))
        over = self.until_the_end()

        def dribble(connection: socket.socket, number: int) -> None:
            receive(connection)
            for byte in body:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)

        def headers(connection: socket.socket, number: int) -> None:
            receive(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"X: y\r\n")
                time.sleep(0.05)

        def interim(connection: socket.socket, number: int) -> None:
            receive(connection)
            while True:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                time.sleep(0.01)

        def chunks(connection: socket.socket, number: int) -> None:
            receive(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.sendall(b"1\r\n \r\n")
                time.sleep(0.05)

        def silent(connection: socket.socket, number: int) -> None:
            receive(connection)
            over.wait()

        for serve in (dribble, headers, interim, chunks, silent):
            for call in ("check", "login"):
                with self.subTest(serve=serve.__name__, call=call):
                    client, _ = self.pretend(serve, timeout=0.5)
                    began = time.monotonic()
                    with self.assertRaises(Unavailable):
                        getattr(client, call)("token")
                    self.assertLess(time.monotonic() - began, PATIENCE)

    def test_one_slow_phase_leaves_time_for_a_second_attempt(self) -> None:
        receipt = answer('{"position":1,"epoch":"e","changed":true}')
        over = self.until_the_end()

        def deaf(connection: socket.socket, number: int) -> None:
            if number == 0:
                over.wait()  # reads nothing, and the rest of a long request finds no room
            elif receive(connection):
                connection.sendall(receipt)

        long = "x" * 16_000_000
        client, impostor = self.pretend(deaf, timeout=8)
        began = time.monotonic()
        self.assertTrue(client.revoke(session="s", reason=long).changed)
        self.assertGreater(time.monotonic() - began, 3.5)
        self.assertEqual(impostor.connections, 2)
        # What must not be sent twice is not, and does not wait longer either.
        client, impostor = self.pretend(deaf, timeout=1)
        with self.assertRaises(Unavailable):
            client.login("ada", scope=long)
        self.assertTrue(within(PATIENCE)(lambda: impostor.connections > 0))
        self.assertEqual(impostor.connections, 1)
        # Both attempts together keep to the deadline.
        client, impostor = self.pretend(lambda connection, number: over.wait(), timeout=0.6)
        began = time.monotonic()
        with self.assertRaises(Unavailable):
            client.revoke(session="s", reason=long)
        self.assertLess(time.monotonic() - began, PATIENCE)
        self.assertTrue(within(PATIENCE)(lambda: impostor.connections > 1))
        self.assertEqual(impostor.connections, 2)

    def test_a_connection_that_does_not_come_about_leaves_time_for_another(self) -> None:
        # What the system does when nobody answers for as long as it may wait.
        connect = socket.socket.connect
        waits = []

        def unanswered(sock: socket.socket, address: object) -> None:
            waits.append(sock.gettimeout())
            if len(waits) == 1:
                raise TimeoutError("timed out")
            connect(sock, address)  # type: ignore[arg-type]

        client, _ = self.pretend(always(answer(json.dumps(GRANT), "201 Created")))
        with mock.patch.object(socket.socket, "connect", unanswered):
            self.assertEqual(client.login("ada").session, GRANT["session"])  # even what is sent only once
        self.assertEqual(len(waits), 2)
        self.assertTrue(0 < waits[0] <= PATIENCE / 2 < waits[1] <= PATIENCE, waits)

    def test_answers_are_bounded(self) -> None:
        def endless(head: bytes, more: bytes):  # type: ignore[no-untyped-def]
            def serve(connection: socket.socket, number: int) -> None:
                receive(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\n" + head)
                while True:
                    connection.sendall(more)

            return serve

        kind = b"Content-Type: application/json\r\n"
        for name, serve in {
            "header": endless(b"", b"X-Header: " + b"y" * 1000 + b"\r\n"),
            "line": endless(b"X: ", b"y" * 4096),
            "until it closes": endless(kind + b"\r\n", b" " * 65536),
            "length": endless(kind + b"Content-Length: 99999999999\r\n\r\n", b" " * 65536),
            "chunk": endless(kind + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFF\r\n", b" " * 65536),
            "chunks": endless(kind + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"),
        }.items():
            with self.subTest(name):
                client, _ = self.pretend(serve, timeout=10)
                began = time.monotonic()
                with self.assertRaises(Unavailable):
                    client.check("token")
                self.assertLess(time.monotonic() - began, 10)  # by its size, not by the deadline

    def test_a_broken_connection_is_tried_once_more(self) -> None:
        def second(connection: socket.socket, number: int) -> None:
            if receive(connection) and number > 0:
                connection.sendall(answer(json.dumps(GOOD)))

        client, impostor = self.pretend(second)
        self.assertEqual(client.check("token").subject, "ada")
        self.assertEqual(impostor.connections, 2)

        client, impostor = self.pretend(lambda connection, number: receive(connection))
        for call, attempts in ((client.check, 2), (client.refresh, 2), (client.logout, 2), (client.login, 1)):
            before = impostor.connections
            with self.assertRaises(Unavailable):
                call("token")
            self.assertEqual(impostor.connections - before, attempts)

    def test_a_closed_connection_is_not_used_again(self) -> None:
        served = []

        def one(connection: socket.socket, number: int) -> None:
            receive(connection)
            served.append(number)
            connection.sendall(answer(json.dumps(GOOD)))

        client, impostor = self.pretend(one)
        for _ in range(5):
            client.check("token")
            time.sleep(0.02)
        self.assertEqual(served, [0, 1, 2, 3, 4])

    def test_what_must_not_be_sent_twice_goes_over_a_new_connection(self) -> None:
        def once(connection: socket.socket, number: int) -> None:
            receive(connection)
            connection.sendall(answer(json.dumps(GOOD if number == 0 else GRANT), "200 OK" if number == 0 else "201 Created"))
            receive(connection)  # and hangs up

        client, impostor = self.pretend(once)
        client.check("token")
        self.assertEqual(client.login("ada").access_token, "a")
        self.assertEqual(impostor.connections, 2)

    def test_an_answer_that_breaks_off_or_is_too_long_says_nothing(self) -> None:
        inactive = b'{"active":false}'
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        for text in (
            (head % 100).encode() + inactive,
            (head % 10).encode() + inactive,
            answer(inactive + b" " * ((256 << 10) + 1 - len(inactive))),
        ):
            client, _ = self.pretend(lambda connection, number, text=text: (receive(connection), connection.sendall(text)))
            with self.assertRaises(Unavailable):
                client.check("token")
        client, _ = self.pretend(always(answer(inactive + b" " * ((256 << 10) - len(inactive)))))
        with self.assertRaises(Inactive):
            client.check("token")

    def test_half_an_answer_never_reaches_the_next_call(self) -> None:
        gone, answered = threading.Event(), threading.Event()

        def late(connection: socket.socket, number: int) -> None:
            receive(connection)
            if number == 0:
                gone.wait()
            try:
                connection.sendall(answer(json.dumps({**GOOD, "sub": f"number {number}"})))
            finally:
                answered.set()
            over.wait()

        over = self.until_the_end()
        client, _ = self.pretend(late, timeout=0.5)
        with self.assertRaises(Unavailable):
            client.check("token")
        gone.set()
        self.assertTrue(answered.wait(PATIENCE))
        client.timeout = PATIENCE
        self.assertEqual(client.check("token").subject, "number 1")

    def test_an_answer_too_many_never_reaches_the_next_call(self) -> None:
        extra = answer(json.dumps({**GOOD, "sub": "somebody else"}))
        sent = threading.Event()

        def together(connection: socket.socket, number: int) -> None:
            while receive(connection):
                connection.sendall(answer(json.dumps(GOOD)) + extra)
                sent.set()

        def later(connection: socket.socket, number: int) -> None:
            while receive(connection):
                connection.sendall(answer(json.dumps(GOOD)))
                time.sleep(0.1)
                connection.sendall(extra)
                sent.set()

        for serve in (together, later):
            client, _ = self.pretend(serve)
            for _ in range(4):
                sent.clear()
                self.assertEqual(client.check("token").subject, "ada")
                self.assertTrue(sent.wait(PATIENCE))

    def test_a_name_that_is_not_resolved_is_unavailable_in_time(self) -> None:
        client = Client("http://rescind.localhost:1", "backend", SECRET, timeout=0.4)
        resolve = socket.getaddrinfo
        asked = []
        over = self.until_the_end()

        def slow(host: str, *args: object, **options: object) -> object:
            if options.get("flags"):
                return resolve(host, *args, **options)  # type: ignore[arg-type]
            asked.append(host)
            over.wait()
            raise socket.gaierror("no such name")

        with mock.patch("socket.getaddrinfo", slow), ThreadPoolExecutor(4) as threads:
            began = time.monotonic()
            for error in threads.map(lambda _: self.assertRaises(Unavailable, client.check, "token"), range(4)):
                self.assertIsNone(error)
            self.assertLess(time.monotonic() - began, PATIENCE)
            self.assertEqual(len(asked), 1)  # all wait for the same answer

    def test_the_server_is_verified(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        key, cert = folder + "/key.pem", folder + "/cert.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        command += ["-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)

        def serve(connection: socket.socket, number: int) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                always(answer(json.dumps(GOOD)))(secure, number)

        impostor = Impostor(serve)
        self.addCleanup(impostor.stop)
        port = impostor.url.rpartition(":")[2]
        with self.assertRaises(Unavailable):
            Client(f"https://localhost:{port}", "backend", SECRET, timeout=PATIENCE).check("token")
        with self.assertRaises(Unavailable):
            Client(f"https://127.0.0.1:{port}", "backend", SECRET, ca_file=cert, timeout=PATIENCE).check("token")
        trusting = Client(f"https://localhost:{port}", "backend", SECRET, ca_file=cert, timeout=PATIENCE)
        self.addCleanup(trusting.close)
        before = impostor.connections
        for _ in range(3):
            self.assertEqual(trusting.check("token").subject, "ada")
        self.assertEqual(impostor.connections - before, 1)
        lax = ssl.create_default_context()
        lax.check_hostname = False
        with self.assertRaises(Invalid):
            Client(f"https://localhost:{port}", "backend", SECRET, tls=lax)

        over = self.until_the_end()

        def mute(connection: socket.socket, number: int) -> None:
            over.wait()

        def mute_at_first(connection: socket.socket, number: int) -> None:
            mute(connection, number) if number == 0 else serve(connection, number)

        impostor = Impostor(mute_at_first)
        self.addCleanup(impostor.stop)
        patient = Client(impostor.url.replace("http://127.0.0.1", "https://localhost"), "backend", SECRET, ca_file=cert, timeout=6)
        self.assertEqual(patient.check("token").subject, "ada")
        patient.close()

        impostor = Impostor(mute)
        self.addCleanup(impostor.stop)
        began = time.monotonic()
        with self.assertRaises(Unavailable):
            Client(impostor.url.replace("http:", "https:"), "backend", SECRET, ca_file=cert, timeout=0.4).check("token")
        self.assertLess(time.monotonic() - began, PATIENCE)


class Construction(unittest.TestCase):
    def test_addresses(self) -> None:
        for url in (
            "",
            "rescind.example.com",
            "ftp://rescind.example.com",
            "https://",
            "https://user:pass@rescind.example.com",
            "https://rescind.example.com?x",
            "https://rescind.example.com#x",
            "https://rescind.example.com:port",
            "https://rescind.example.com/a b",
            "https://rescind.example.com/\r\nX: y",
            "http://rescind.example.com",
            "http://10.0.0.1",
        ):
            with self.subTest(url=url), self.assertRaises(Invalid):
                Client(url, "backend", SECRET)
        for url in ("https://rescind.example.com/path/", "http://localhost:1", "http://[::1]:1", "http://127.0.0.2"):
            Client(url, "backend", SECRET)
        Client("http://10.0.0.1", "backend", SECRET, allow_http=True)
        with self.assertRaises(Invalid):
            Client("https://rescind.example.com", "", SECRET)
        with self.assertRaises(Invalid):
            Client("https://rescind.example.com", "backend", SECRET, timeout=0)

    def test_from_env(self) -> None:
        env = {"RESCIND_URL": "http://127.0.0.1:1", "RESCIND_CLIENT_ID": "backend", "RESCIND_CLIENT_SECRET": SECRET}
        with mock.patch.dict(os.environ, env):
            self.assertEqual(Client.from_env(timeout=1).timeout, 1)
        with mock.patch.dict(os.environ, clear=True), self.assertRaises(Invalid):
            Client.from_env()

    def test_nothing_that_is_printed_holds_a_secret(self) -> None:
        client = Client("http://127.0.0.1:1", "backend", SECRET)
        grant = rescind.Grant("s", "the-access-token", "the-refresh-token", "Bearer", 1, 1, 1)
        seen = [repr(client), str(client), f"{client}", repr(vars(client)), repr(grant), str(grant), repr(rescind.Secret(SECRET))]
        try:
            client.check("the-access-token")
        except Unavailable as error:
            seen += [str(error), repr(error)]
        echo = answer(json.dumps({"error": "invalid_request", "error_description": "no the-access-token " + SECRET}), "400 Bad Request")
        impostor = Impostor(always(echo))
        self.addCleanup(impostor.stop)
        client = Client(impostor.url, "backend", SECRET, timeout=PATIENCE)
        self.addCleanup(client.close)
        for call in (client.check, client.refresh, client.logout):
            try:
                call("the-access-token")
            except rescind.Error as error:
                seen += [str(error), repr(error)]
        for text in seen:
            for secret in (SECRET, "the-access-token", "the-refresh-token", "Basic "):
                self.assertNotIn(secret, text)
        with self.assertRaises(TypeError):
            pickle.dumps(client)


if __name__ == "__main__":
    unittest.main()
