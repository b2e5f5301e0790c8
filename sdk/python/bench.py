"""Requests per second of a guarded Flask view beside a bare one and beside the
classic recipe, flask-jwt-extended with a blocklist in Redis: on this machine, in
one run, in turns. Everything shares its processors, the load too.

    PYTHONPATH=src /usr/bin/python3 bench.py

It needs gunicorn, flask-jwt-extended, redis (for Python), redis-server and ab.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, REQUESTS, CLIENTS = 5, 4000, 8
WORKERS, THREADS = 2, 4
NAMES = ("bare", "rescind", "classic")

if __name__ != "__main__":  # in gunicorn
    from flask import Flask

    app = Flask(__name__)
    kind = os.environ["BENCH_KIND"]

    def view() -> str:
        return "fine"

    if kind == "rescind":
        from rescind.flask import Rescind, token_required

        Rescind(app)
        view = token_required(scope="read")(view)  # type: ignore[assignment]
    elif kind == "classic":
        import redis
        from flask_jwt_extended import JWTManager, create_access_token, jwt_required

        app.config["JWT_SECRET_KEY"] = "a secret of forty characters, or of more"
        blocklist = redis.Redis(port=int(os.environ["BENCH_REDIS"]))
        JWTManager(app).token_in_blocklist_loader(lambda header, payload: blocklist.get(payload["jti"]) is not None)
        with app.app_context():
            Path(os.environ["BENCH_TOKEN"]).write_text(create_access_token("ada"))
        view = jwt_required()(view)
    app.add_url_rule("/", view_func=view)


def measure(port: int, token: str) -> tuple[float, float, float]:
    """Requests per second, and the median and the 99th percentile in ms."""
    command = ["ab", "-q", "-k", "-c", str(CLIENTS), "-n", str(REQUESTS), "-H", "Authorization: Bearer " + token]
    said = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Complete requests:      %d\n" % REQUESTS not in said:
        raise SystemExit("not every request was answered by 200:\n" + said)

    def number(pattern: str) -> float:
        found = re.search(pattern, said)
        assert found is not None, said
        return float(found.group(1))

    return number(r"Requests per second:\s+([\d.]+)"), number(r"50%\s+(\d+)"), number(r"99%\s+(\d+)")


def main() -> None:
    from tests.ledger import SECRET, Server, free_port

    folder = tempfile.mkdtemp(prefix="rescind-bench-")
    server, redis_port = Server(), free_port()
    running = [subprocess.Popen(["redis-server", "--port", str(redis_port), "--save", ""], stdout=subprocess.DEVNULL)]
    try:
        tokens = {"bare": "none", "rescind": server.client().login("ada", scope="read").access_token}
        env = {**os.environ, "RESCIND_URL": server.url, "RESCIND_CLIENT_ID": "backend", "RESCIND_CLIENT_SECRET": SECRET}
        env |= {"BENCH_REDIS": str(redis_port), "BENCH_TOKEN": folder + "/token"}
        ports = {name: free_port() for name in NAMES}
        for name, port in ports.items():
            command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--threads", str(THREADS)]
            command += ["--log-level", "error", "--bind", f"127.0.0.1:{port}", "bench:app"]
            running.append(subprocess.Popen(command, env={**env, "BENCH_KIND": name}))
        time.sleep(5)
        tokens["classic"] = Path(folder, "token").read_text()
        results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in NAMES}
        for turn in range(ROUNDS + 1):
            for name, port in ports.items():
                result = measure(port, tokens[name])
                if turn:  # the first warms up
                    results[name].append(result)
        print(f"{ROUNDS} rounds of {REQUESTS} requests by {CLIENTS} clients, {WORKERS} workers of {THREADS} threads, {os.cpu_count()} processors")
        for name, found in results.items():
            rates, halves, tails = zip(*found, strict=True)
            print(f"{name:8} {statistics.median(rates):7.0f}/s ({min(rates):.0f} to {max(rates):.0f})  ", end="")
            print(f"median {statistics.median(halves):.0f} ms, 99% {statistics.median(tails):.0f} ms")
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait()
        server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
