"""gunicorn: several processes with several threads."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .ledger import PATIENCE, SECRET, Server, free_port, within

WORKERS, THREADS = 4, 4
IMPATIENT = {"X-Timeout": "0.7"}  # of the application, in seconds


class Said(NamedTuple):
    status: int
    body: dict[str, str]
    process: str
    retry: str | None
    took: float  # in the application; gunicorn lets requests wait for a thread


class Gunicorn(unittest.TestCase):
    preload = False
    server: Server
    port: int

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.port = free_port()
        here = Path(__file__).resolve().parent.parent
        env = {**os.environ, "RESCIND_URL": cls.server.url, "RESCIND_CLIENT_ID": "backend", "RESCIND_CLIENT_SECRET": SECRET}
        env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--threads", str(THREADS)]
        command += ["--bind", f"127.0.0.1:{cls.port}", "--log-level", "error", "--graceful-timeout", "3", "tests.application:app"]
        if cls.preload:
            command.append("--preload")
        cls.log = open(cls.server.folder / "gunicorn.log", "w+")  # noqa: SIM115
        cls.addClassCleanup(cls.log.close)
        cls.gunicorn = subprocess.Popen(command, cwd=here, env=env, stdout=cls.log, stderr=cls.log, start_new_session=True)
        cls.addClassCleanup(cls.end)
        if not within(PATIENCE)(cls.up):
            cls.log.seek(0)
            raise AssertionError("gunicorn does not start: " + cls.log.read())

    @classmethod
    def up(cls) -> bool:
        try:
            return cls.call("GET", "/me").status == 401
        except OSError:
            return False

    @classmethod
    def end(cls) -> None:
        cls.gunicorn.terminate()
        try:
            cls.gunicorn.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(cls.gunicorn.pid, signal.SIGKILL)  # whoever has not gone by himself
        except ProcessLookupError:
            pass
        cls.gunicorn.wait()

    @classmethod
    def call(cls, method: str, path: str, token: str = "", body: object = None, **more: str) -> Said:
        connection = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=2 * PATIENCE)
        try:
            headers = {**more, "Authorization": "Bearer " + token} if token else more
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            head = answer.headers
            return Said(answer.status, json.loads(text or b"{}"), head["X-Process"], head["Retry-After"], float(head["X-Took"]))
        finally:
            connection.close()

    def everywhere(self, token: str) -> list[Said]:
        """Asks until every process has answered."""
        answers: list[Said] = []
        end = time.monotonic() + PATIENCE
        with ThreadPoolExecutor(WORKERS * 3) as threads:
            while time.monotonic() < end:
                answers += threads.map(lambda _: self.call("GET", "/me", token), range(WORKERS * 3))
                if len({said.process for said in answers}) == WORKERS:
                    return answers
        self.fail("not every process has answered")

    def test_a_logout_in_one_process_holds_in_all_at_once(self) -> None:
        for _ in range(3):
            said = self.call("POST", "/login", body={"subject": "ada"}).body
            token = said["access_token"]
            self.assertEqual({answer.status for answer in self.everywhere(token)}, {200})
            self.assertEqual(self.call("POST", "/logout", token).status, 204)
            self.assertEqual({answer.status for answer in self.everywhere(token)}, {401})
            self.assertEqual(self.call("POST", "/refresh", body={"refresh_token": said["refresh_token"]}).status, 401)

    def test_threads_and_processes_never_mix_their_answers(self) -> None:
        logins = [self.call("POST", "/login", body={"subject": f"user{n}"}).body for n in range(8)]

        def ask(n: int) -> bool:
            mine = logins[n % len(logins)]
            answer = self.call("GET", "/me", mine["access_token"])
            return answer.body == {"subject": f"user{n % len(logins)}", "session": mine["session"]}

        with ThreadPoolExecutor(16) as threads:
            self.assertTrue(all(threads.map(ask, range(600))))

    def test_parallel_refreshes_in_all_processes_get_one_successor(self) -> None:
        token = self.call("POST", "/login", body={"subject": "ada"}).body["refresh_token"]
        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(lambda _: self.call("POST", "/refresh", body={"refresh_token": token}), range(16)))
        self.assertEqual({answer.status for answer in answers}, {200})
        self.assertEqual(len({answer.body["refresh_token"] for answer in answers}), 1)

    def test_an_outage_is_503_in_time_and_over_without_a_restart(self) -> None:
        token = self.call("POST", "/login", body={"subject": "ada"}).body["access_token"]
        self.everywhere(token)  # all have connections

        def unavailable() -> None:
            with ThreadPoolExecutor(WORKERS * THREADS) as threads:
                for said in threads.map(lambda _: self.call("GET", "/me", token, **IMPATIENT), range(WORKERS * THREADS)):
                    self.assertEqual((said.status, said.retry), (503, "1"))
                    self.assertLess(said.took, PATIENCE)
            said = self.call("POST", "/logout", token, **IMPATIENT)
            self.assertEqual((said.status, said.retry), (503, "1"))
            self.assertLess(said.took, PATIENCE)

        self.server.freeze()
        try:
            unavailable()
        finally:
            self.server.thaw()
        # That logout may have happened, or not: nobody was told that it did.
        self.assertIn(self.call("GET", "/me", token).status, (200, 401))
        token = self.call("POST", "/login", body={"subject": "ada"}).body["access_token"]
        self.assertEqual({answer.status for answer in self.everywhere(token)}, {200})
        self.server.kill()
        try:
            unavailable()
        finally:
            self.server.start()
        self.assertEqual({answer.status for answer in self.everywhere(token)}, {200})
        self.assertEqual(self.call("POST", "/logout", token).status, 204)
        self.assertEqual({answer.status for answer in self.everywhere(token)}, {401})


class Preloaded(Gunicorn):
    preload = True


if __name__ == "__main__":
    unittest.main()
