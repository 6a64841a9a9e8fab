# SPDX-License-Identifier: MIT
"""The admin plane as an operator meets it: `banyan VERB` against real proxies with real app
servers (second_backend.py)."""

import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from conftest import HERE, PYTHON, Connection, children, free_port, program, until

BACKEND = HERE / "second_backend.py"


class Answer:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"<{self.code}\n{self.out}{self.err}>"

    @property
    def json(self):
        return json.loads(self.out)


class Plane:
    """A proxy with a control endpoint, and app servers."""

    def __init__(self, start, *options, threads=2, backends=("a", "b")):
        self.start, self.count = start, 0
        self.control = str(start.folder / f"control-{free_port()}.sock")
        self.address = ("127.0.0.1", free_port())
        self.backends = {}
        words = [w for name in backends for w in ("--backend", f"{name}={self.app(name)}")]
        self.argv = ["--bind", "%s:%d" % self.address, "--threads", threads, *words]
        self.argv += ["--control", self.control, *options]
        self.run()
        for name in backends:
            self.until_up(name)

    def run(self):
        self.proxy = self.start(program("banyan-proxy"), *self.argv)
        self.proxy.wait_log("listening on")

    def app(self, name):
        """Starts an app server; its endpoint."""
        endpoint = f"ipc://{self.start.folder}/{name}.sock"
        self.backends[name] = self.start(PYTHON, BACKEND, endpoint)
        self.backends[name].wait_log("ready")
        return endpoint

    def say(self, *words, control=None, env=None):
        argv = [program("banyan"), "--proxy", control or self.control, *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=env)
        return Answer(done)

    def done(self, *words):
        answer = self.say(*words)
        assert answer.code == 0, (words, answer)
        return answer

    def backend(self, name):
        """Its row of show backends; None: there is none."""
        rows = self.done("--json", "show", "backends").json["backends"]
        return next((r for r in rows if r["backend"] == f"default/{name}"), None)

    def until_up(self, name):
        until(lambda: (self.backend(name) or {}).get("health") == "up", f"{name} is up")

    def generation(self):
        return self.done("--json", "show", "generation").json["generation"]

    def ask(self, target, method="GET"):
        with Connection(self.address) as c:
            return c.ask(method, target)


@pytest.fixture(scope="module")
def plane(start_for_module):
    """For tests that leave everything as it was."""
    return Plane(start_for_module)


def test_it_answers(plane):
    assert plane.done("ping").out == "pong\n"
    assert plane.done("--json", "ping").json == {
        "code": 0,
        "generation": plane.generation(),
        "text": "pong",
    }
    who = plane.done("--json", "whoami").json["whoami"]
    assert who["role"] == "admin" and f"uid {os.getuid()} pid" in who["who"]


def test_the_socket_is_private(plane):
    assert stat.S_IMODE(os.stat(plane.control).st_mode) == 0o600
