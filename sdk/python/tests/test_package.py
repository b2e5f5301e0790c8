"""What is shipped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent

# What works in an environment that has nothing but the wheel.
TRY = """
import sys, rescind, rescind.wsgi
assert "site-packages" in rescind.__file__, rescind.__file__
client = rescind.Client("http://127.0.0.1:1", "app", "secret", timeout=1)
try:
    client.check("token")
except rescind.Unavailable:
    pass
try:
    import flask
except ImportError:
    assert sys.argv[1] == "bare"
else:
    assert sys.argv[1] == "flask"
    from rescind.flask import Rescind, current_session, token_required
    app = flask.Flask("x")
    Rescind(app, client=client)
    app.add_url_rule("/", view_func=token_required(lambda: ""))
    assert app.test_client().get("/").status_code == 401
print("fine")
"""

TYPED = """
from flask import Flask
from rescind import Client, Want
from rescind.flask import Rescind, current_session, token_required

app = Flask("x")
extension = Rescind(app)

@app.get("/")
@token_required(scope="read")
def view() -> str:
    return current_session.subject

@app.get("/all")
@token_required
def all_of_it() -> str:
    return ", ".join(sorted(current_session.claims))

Client("https://rescind.example.com", "app").check("token", Want(scope="read")).subject.upper()
Client(1)  # wrong
"""


def run(*command: str | Path, **options: object) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, capture_output=True, text=True, env=env, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return str(done.stdout)


class Wheel(unittest.TestCase):
    folder: Path
    wheel: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="rescind-wheel-")))
        copy = shutil.copytree(SOURCE, cls.folder / "copy", ignore=shutil.ignore_patterns("build", "dist", "*.egg-info", "__pycache__"))
        # Offline, with what is installed here.
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", cls.folder, copy)
        cls.wheel = next(cls.folder.glob("rescind-*.whl"))

    def environment(self, name: str, *options: str) -> Path:
        run(sys.executable, "-m", "venv", "--without-pip", *options, self.folder / name)
        python = self.folder / name / "bin" / "python"
        run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-compile", self.wheel)
        return python

    def test_it_holds_the_package_and_nothing_else(self) -> None:
        shipped = {name for name in zipfile.ZipFile(self.wheel).namelist() if not name.startswith("rescind-")}
        self.assertEqual(shipped, {f"rescind/{path.name}" for path in (SOURCE / "src" / "rescind").iterdir() if path.is_file()})
        self.assertIn("rescind/py.typed", shipped)

    def test_it_installs_into_an_empty_environment(self) -> None:
        self.assertEqual(run(self.environment("empty"), "-c", TRY, "bare", cwd=self.folder), "fine\n")

    def test_it_installs_beside_flask(self) -> None:
        python = self.environment("beside", "--system-site-packages")
        self.assertEqual(run(python, "-c", TRY, "flask", cwd=self.folder), "fine\n")

    def test_it_is_typed(self) -> None:
        run(sys.executable, "-m", "mypy", cwd=SOURCE)
        python = self.environment("typed", "--system-site-packages")
        (self.folder / "use.py").write_text(TYPED)
        command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", SOURCE / "dist" / "mypy", "--python-executable", str(python), "use.py"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        wrong = {TYPED.splitlines()[int(line.split(":")[1]) - 1] for line in done.stdout.splitlines() if "error:" in line}
        self.assertEqual(wrong, {"Client(1)  # wrong"}, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
